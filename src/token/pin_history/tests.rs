//! The promises of the record of PINs.

mod unanswered;

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::files::stamp::Stamp;
use crate::token::pin::PinBytes;

/// A record with few rounds.
fn record() -> (TempDir, PinRecord) {
    let state = tempfile::tempdir().unwrap();
    let record = PinRecord::quick(state.path());
    (state, record)
}

/// The same with a constant salt, because one PIN in 256 has the same first bits as another.
fn record_of_kube() -> (TempDir, PinRecord) {
    let (state, record) = record();
    let salt = "07".repeat(16);
    let line = format!(r#"{{"token":"kube","salt":"{salt}","worked":[],"rejected":[]}}"#);
    let file = format!(r#"{{"apiVersion":"dekhand/pins/v1","tokens":[{line}]}}"#);
    files::replace(record.path(), file.as_bytes()).unwrap();
    (state, record)
}

/// A record of the same file whose hashes are all wrong, so that only stamps match.
fn without_hashes(record: &PinRecord) -> PinRecord {
    PinRecord {
        rounds: 3,
        ..record.clone()
    }
}

fn pin(text: &str, source: u64) -> Pin {
    Pin {
        bytes: PinBytes::new(Zeroizing::new(text.as_bytes().to_vec())),
        stamp: Stamp {
            device: 1,
            inode: source,
            changed: (1_700_000_000, 5),
            length: text.len().try_into().unwrap(),
        },
        made_anew: false,
    }
}

/// The same from a source that each start of the daemon makes anew.
fn credential(text: &str, source: u64) -> Pin {
    Pin {
        made_anew: true,
        ..pin(text, source)
    }
}

#[test]
fn a_pin_is_new_until_a_token_has_judged_it() {
    let (_state, record) = record();
    assert_eq!(record.status("kube", &pin("1234", 1)).unwrap(), PinStatus::New);
    record.note_worked("kube", &pin("1234", 1)).unwrap();
    assert_eq!(record.status("other", &pin("1234", 1)).unwrap(), PinStatus::New);
    assert_eq!(record.status("kube", &pin("1234", 1)).unwrap(), PinStatus::Worked);
}

#[test]
fn a_rejected_pin_is_known_again_after_a_restart_also_from_another_source() {
    let (state, record) = record();
    record.note_rejected("kube", &pin("9999", 1)).unwrap();
    let after = PinRecord::quick(state.path());
    assert_eq!(after.status("kube", &pin("9999", 1)).unwrap(), PinStatus::Rejected);
    // systemd rewrites the credential at each start.
    assert_eq!(after.status("kube", &pin("9999", 2)).unwrap(), PinStatus::Rejected);
    assert_eq!(after.status("kube", &pin("1234", 3)).unwrap(), PinStatus::Corrected);
}

#[test]
fn a_locked_tokens_pin_is_not_tried_before_its_source_is_touched_and_works_then() {
    let (_state, record) = record();
    record.note_worked("kube", &pin("1234", 1)).unwrap();
    record.note_locked("kube", &pin("1234", 1)).unwrap();
    assert_eq!(record.status("kube", &pin("1234", 1)).unwrap(), PinStatus::Rejected);
    assert_eq!(record.status("kube", &pin("1234", 2)).unwrap(), PinStatus::Worked);
    record.note_worked("kube", &pin("1234", 2)).unwrap();
    assert_eq!(record.status("kube", &pin("1234", 2)).unwrap(), PinStatus::Worked);
}

#[test]
fn an_unchanged_source_needs_no_hash() {
    let (_state, record) = record_of_kube();
    record.note_worked("kube", &pin("1234", 1)).unwrap();
    record.note_rejected("kube", &pin("9999", 2)).unwrap();
    let stamps = without_hashes(&record);
    assert_eq!(stamps.status("kube", &pin("1234", 1)).unwrap(), PinStatus::Worked);
    assert_eq!(stamps.status("kube", &pin("9999", 2)).unwrap(), PinStatus::Rejected);
    assert_eq!(stamps.status("kube", &pin("9999", 3)).unwrap(), PinStatus::Corrected);
}

#[test]
fn a_rewritten_source_with_the_same_pin_has_worked_still() {
    let (_state, record) = record();
    record.note_worked("kube", &pin("1234", 1)).unwrap();
    assert_eq!(record.status("kube", &pin("1234", 2)).unwrap(), PinStatus::Worked);
    record.note_worked("kube", &pin("1234", 2)).unwrap();
    let stamps = without_hashes(&record);
    assert_eq!(stamps.status("kube", &pin("1234", 2)).unwrap(), PinStatus::Worked);
}

#[test]
fn the_last_judgement_counts() {
    let (_state, record) = record();
    let pin = pin("1234", 1);
    for (note, status) in [
        (PinRecord::note_worked as fn(&_, &_, &_) -> _, PinStatus::Worked),
        (PinRecord::note_rejected, PinStatus::Rejected),
        (PinRecord::note_worked, PinStatus::Worked),
    ] {
        note(&record, "kube", &pin).unwrap();
        assert_eq!(record.status("kube", &pin).unwrap(), status);
    }
}

#[test]
fn the_commands_pin_does_not_displace_the_daemons() {
    let (_state, record) = record_of_kube();
    record.note_worked("kube", &pin("daemon", 1)).unwrap();
    record.note_worked("kube", &pin("admin", 2)).unwrap();
    record.note_rejected("kube", &pin("typo", 2)).unwrap();
    assert_eq!(record.status("kube", &pin("daemon", 1)).unwrap(), PinStatus::Worked);
    assert_eq!(record.status("kube", &pin("typo", 2)).unwrap(), PinStatus::Rejected);
    // Another PIN that works does not make a wrong one right.
    record.note_worked("kube", &pin("admin", 3)).unwrap();
    assert_eq!(record.status("kube", &pin("typo", 4)).unwrap(), PinStatus::Rejected);
}

#[test]
fn the_file_is_private_and_betrays_no_pin() {
    let (_state, record) = record();
    record.note_rejected("kube", &pin("98765432", 1)).unwrap();
    record.note_worked("kube", &pin("12345678", 2)).unwrap();
    let mode = std::fs::metadata(record.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(record.path()).unwrap();
    assert!(
        !text.contains("98765432") && !text.contains(&hex::encode("98765432")),
        "{text}"
    );
    // The file has at most 8 bits of a PIN that works.
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let worked = &file["tokens"][0]["worked"][0];
    assert!(worked["bits"].as_u64().unwrap() < 256);
    assert_eq!(worked.as_object().unwrap().len(), 2);
}

#[test]
fn two_memories_have_two_salts() {
    let ((_one_state, one), (_other_state, other)) = (record(), record());
    let hash = |record: &PinRecord| {
        record.note_rejected("kube", &pin("9999", 1)).unwrap();
        let file: serde_json::Value = serde_json::from_slice(&std::fs::read(record.path()).unwrap()).unwrap();
        file["tokens"][0]["rejected"][0]["hash"].to_string()
    };
    assert_ne!(hash(&one), hash(&other));
}

#[test]
fn the_oldest_token_goes_when_there_are_64_and_a_full_file_can_be_read() {
    let (_state, record) = record();
    let token = |token: u32| format!("{token:0>200}");
    let stamp = || Stamp {
        device: u64::MAX,
        inode: u64::MAX,
        changed: (i64::MIN, u64::MAX),
        length: u64::MAX,
    };
    let mut content = PinHistoryContent::default();
    for number in 0..70 {
        let full = |line: &mut PinLine| {
            let worked = |_| Worked {
                bits: 255,
                stamp: stamp(),
            };
            line.worked = (0..MOST_WORKED).map(worked).collect();
            let rejected = |_| Rejected {
                hash: content::Hex([255; 32]),
                stamp: stamp(),
            };
            line.rejected = (0..MOST_REJECTED).map(rejected).collect();
            let begun = |_| content::BegunLogin {
                bits: 255,
                stamp: stamp(),
                logins: 255,
            };
            line.begun = (0..MOST_REJECTED).map(begun).collect();
        };
        content.change(&token(number), full).unwrap();
    }
    record.replace(content).unwrap();
    record.note_rejected(&token(6), &pin("9999", 1)).unwrap();
    record.note_rejected(&token(70), &pin("9999", 1)).unwrap();
    let content = record.read().unwrap();
    let is_there = |number| content.line(&token(number)).is_some();
    assert!(is_there(70) && is_there(69) && is_there(6) && is_there(8));
    assert!(!is_there(7) && !is_there(5));
    assert_eq!(content.line(&token(6)).unwrap().rejected.len(), MOST_REJECTED);
}

#[test]
fn writers_at_one_time_lose_nothing() {
    let (_state, record) = record();
    std::thread::scope(|scope| {
        for token in 0..8 {
            let record = &record;
            scope.spawn(move || record.note_rejected(&token.to_string(), &pin("9999", 1)).unwrap());
        }
    });
    for token in 0..8 {
        let status = record.status(&token.to_string(), &pin("9999", 1)).unwrap();
        assert_eq!(status, PinStatus::Rejected, "token {token}");
    }
}

#[test]
fn a_damaged_file_is_an_error_that_says_what_to_do_and_never_new() {
    let (_state, record) = record();
    for content in [
        "",
        "{",
        "[]",
        "null",
        r#"{"apiVersion":"dekhand/pins/v1"}"#,
        r#"{"apiVersion":"dekhand/pins/v1","tokens":[],"more":1}"#,
        r#"{"apiVersion":"dekhand/pins/v1","tokens":[{"token":"kube","salt":"00","worked":[],"rejected":[]}]}"#,
        r#"{"apiVersion":"dekhand/pins/v2","tokens":[]}"#,
    ] {
        files::replace(record.path(), content.as_bytes()).unwrap();
        let error = record.status("kube", &pin("1234", 1)).unwrap_err();
        assert!(error.is_the_content(), "{content}");
        let text = error.to_string();
        assert!(
            text.contains("remove the file") || text.contains("apiVersion"),
            "{text}"
        );
        assert!(record.note_worked("kube", &pin("1234", 1)).is_err(), "{content}");
        assert!(record.note_rejected("kube", &pin("1234", 1)).is_err(), "{content}");
        assert_eq!(std::fs::read(record.path()).unwrap(), content.as_bytes());
    }
}

#[test]
fn a_damaged_file_set_aside_costs_one_try_and_no_more() {
    let (_state, record) = record();
    files::replace(record.path(), b"{").unwrap();
    let aside = record.set_aside().unwrap();
    assert_eq!(std::fs::read(&aside).unwrap(), b"{");
    assert_eq!(record.status("kube", &pin("9999", 1)).unwrap(), PinStatus::New);
    record.note_rejected("kube", &pin("9999", 1)).unwrap();
    // A second call finds a good file and does not touch it.
    record.set_aside().unwrap();
    assert_eq!(record.status("kube", &pin("9999", 1)).unwrap(), PinStatus::Rejected);
}

#[test]
fn a_file_that_others_can_read_is_not_believed() {
    let (_state, record) = record();
    record.note_rejected("kube", &pin("9999", 1)).unwrap();
    std::fs::set_permissions(record.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = record.status("kube", &pin("9999", 1)).unwrap_err();
    assert!(
        !error.is_the_content() && error.to_string().contains("chmod 0600"),
        "{error}"
    );
    assert!(record.set_aside().is_err());
}

#[test]
fn what_roots_command_notes_is_the_daemons_to_read() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (state, record) = record();
    std::os::unix::fs::chown(state.path(), Some(4321), Some(4321)).unwrap();
    record.note_rejected("kube", &pin("9999", 1)).unwrap();
    record.note_worked("kube", &pin("1234", 2)).unwrap();
    assert_eq!(record.status("kube", &pin("9999", 1)).unwrap(), PinStatus::Rejected);
    for name in ["pins.json", "pins.json.lock"] {
        let metadata = std::fs::metadata(state.path().join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (4321, 4321), "{name}");
    }
}

#[test]
fn the_rounds_are_those_of_the_design() {
    let record = PinRecord::of(Path::new("state"));
    assert_eq!(record.rounds, 600_000);
    // Computed with another implementation (Python's hashlib.pbkdf2_hmac).
    let hash = record.hash(&content::Hex([7; 16]), &pin("1234", 1));
    assert_eq!(
        hex::encode(*hash),
        "d5dbc98403b056d7ec40f06e81e787a6013028f408a78ed3f7b3290f8ac91437"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        content::decode(&bytes).ok();
    }
}
