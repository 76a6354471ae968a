//! The promises of the proof record as a file.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::root_key::Wrapped;
use crate::root_key::mechanism::Mechanism;
use crate::secret::Key;
use crate::token::proof_record::content::VersionLine;

const DAY: u64 = 24 * 3600;

fn name() -> RootKeyName {
    "kube".parse().unwrap()
}

fn id(byte: u8) -> KeyId {
    [byte; 16].as_slice().try_into().unwrap()
}

/// Adds a proof, as the worker that has made the first one.
fn add(record: &ProofRecord, version: u8, proof: Proof) {
    let is_first = record.add_first(&name(), &id(version), proof.clone()).unwrap();
    let shown_by = record.read(&name()).unwrap().unwrap().proofs(&id(version))[0].clone();
    assert!(is_first || record.add_beside(&name(), &id(version), proof, &shown_by).unwrap());
}

fn proof(mechanism: Mechanism, byte: u8) -> Proof {
    let length = (0..600).find(|length| mechanism.fits(*length)).unwrap();
    let bytes = vec![byte; length];
    Proof::new(Wrapped { mechanism, bytes }, &Key::copied_from(&[byte; 32]).unwrap())
}

#[test]
fn what_was_recorded_is_there_for_the_next_process_and_the_first_of_a_mechanism_counts() {
    let state = tempfile::tempdir().unwrap();
    let record = ProofRecord::of(state.path());
    assert_eq!(record.read(&name()).unwrap(), None);
    record.begin(&name(), vec![id(9)]).unwrap();
    record.begin(&name(), Vec::new()).unwrap();
    for mechanism in Mechanism::ALL {
        add(&record, 1, proof(mechanism, 1));
        add(&record, 1, proof(mechanism, 2));
    }
    let line = ProofRecord::of(state.path()).read(&name()).unwrap().unwrap();
    assert_eq!(line.public, [id(9)]);
    assert_eq!(line.proofs(&id(1)), Mechanism::ALL.map(|mechanism| proof(mechanism, 1)));
    assert_eq!(line.proofs(&id(2)), []);
    let mode = std::fs::metadata(state.path().join("proofs.json"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

#[test]
fn a_version_has_one_first_proof_and_others_only_beside_it() {
    let state = tempfile::tempdir().unwrap();
    let record = ProofRecord::of(state.path());
    record.begin(&name(), Vec::new()).unwrap();
    let beside = |shown_by: Proof| {
        record
            .add_beside(&name(), &id(1), proof(Mechanism::AesCbc, 1), &shown_by)
            .unwrap()
    };
    assert!(!beside(proof(Mechanism::AesGcm, 1)));
    assert!(record.add_first(&name(), &id(1), proof(Mechanism::AesGcm, 1)).unwrap());
    // Of another worker, which may have found another key.
    for mechanism in Mechanism::ALL {
        assert!(!record.add_first(&name(), &id(1), proof(mechanism, 2)).unwrap());
    }
    // Another key has opened this one, of which nothing is recorded any more.
    assert!(!beside(proof(Mechanism::AesGcm, 2)));
    assert!(beside(proof(Mechanism::AesGcm, 1)));
    let line = record.read(&name()).unwrap().unwrap();
    let expected = [Mechanism::AesGcm, Mechanism::AesCbc].map(|mechanism| proof(mechanism, 1));
    assert_eq!(line.proofs(&id(1)), expected);
}

#[test]
fn a_proof_that_has_not_ended_is_begun_again_a_day_later() {
    let state = tempfile::tempdir().unwrap();
    let record = ProofRecord::of(state.path());
    record.begin(&name(), Vec::new()).unwrap();
    let empty = record.read(&name()).unwrap();
    let begin = |mechanism, at| {
        let at = Timestamp::from_unix(at);
        record.begin_proof(&name(), &id(1), mechanism, at).unwrap()
    };
    let first = Some(Timestamp::from_unix(DAY));
    assert_eq!(begin(Mechanism::AesCbc, DAY), None);
    // Also if the clock was set back.
    for at in [DAY, 1, 2 * DAY - 1] {
        assert_eq!(begin(Mechanism::AesCbc, at), first, "{at}");
    }
    assert_eq!(record.read(&name()).unwrap().unwrap().proofs(&id(1)), []);
    assert_eq!(begin(Mechanism::AesKwp, DAY), None);
    assert_eq!(begin(Mechanism::AesCbc, 2 * DAY), None);
    // One has ended with a proof, one without.
    assert!(record.add_first(&name(), &id(1), proof(Mechanism::AesCbc, 1)).unwrap());
    record.end_proof(&name(), &id(1), Mechanism::AesKwp).unwrap();
    for mechanism in [Mechanism::AesCbc, Mechanism::AesKwp] {
        assert_eq!(begin(mechanism, 2 * DAY), None);
        record.end_proof(&name(), &id(1), mechanism).unwrap();
    }
    assert!(record.forget(&name(), &id(1)).unwrap());
    assert_eq!(record.read(&name()).unwrap(), empty);
    // Also where nothing else is known of the version.
    assert_eq!(begin(Mechanism::AesCbc, DAY), None);
    assert!(record.forget(&name(), &id(1)).unwrap());
    assert_eq!(record.read(&name()).unwrap(), empty);
}

#[test]
fn a_version_that_is_forgotten_is_forgotten_alone() {
    let state = tempfile::tempdir().unwrap();
    let record = ProofRecord::of(state.path());
    assert!(!record.forget(&name(), &id(1)).unwrap());
    assert!(!state.path().join("proofs.json").exists());
    record.begin(&name(), vec![id(1), id(2)]).unwrap();
    for byte in [1, 2] {
        add(&record, byte, proof(Mechanism::AesGcm, byte));
    }
    assert!(record.forget(&name(), &id(1)).unwrap());
    let line = record.read(&name()).unwrap().unwrap();
    assert_eq!(
        (line.public.as_slice(), line.proofs(&id(1)).len()),
        ([id(2)].as_slice(), 0)
    );
    assert_eq!(line.proofs(&id(2)).len(), 1);
    record.is_private_now(&name(), &[id(2)]).unwrap();
    let line = record.read(&name()).unwrap().unwrap();
    assert!(line.public.is_empty() && line.proofs(&id(2)).len() == 1);
}

#[test]
fn nothing_is_recorded_before_the_records_have_begun() {
    let state = tempfile::tempdir().unwrap();
    let record = ProofRecord::of(state.path());
    let added = record.add_first(&name(), &id(1), proof(Mechanism::AesGcm, 1));
    assert!(matches!(added, Err(ProofRecordError::NotBegun(_))));
}

#[test]
fn what_dekhand_has_not_written_is_an_error_and_stays_as_it_is() {
    let state = tempfile::tempdir().unwrap();
    let record = ProofRecord::of(state.path());
    let path = state.path().join("proofs.json");
    let with = |version: &str| {
        format!(
            "{{\"apiVersion\":\"dekhand/proofs/v1\",\"rootKeys\":[{{\"name\":\"kube\",\"public\":[],\
             \"versions\":[{version}]}}]}}"
        )
    };
    let of = |proof: &str| with(&format!("{{\"id\":\"0101010101010101\",\"proofs\":[{proof}]}}"));
    let sha256 = "00".repeat(32);
    for content in [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "{\"apiVersion\":\"dekhand/proofs/v2\",\"rootKeys\":[]}".to_owned(),
        "{\"apiVersion\":\"dekhand/proofs/v1\",\"rootKeys\":[],\"more\":1}".to_owned(),
        with("{\"id\":\"01\",\"proofs\":[]}"),
        of(&format!(
            "{{\"mechanism\":9,\"wrapped\":\"00\",\"sha256\":\"{sha256}\"}}"
        )),
        of(&format!(
            "{{\"mechanism\":1,\"wrapped\":\"00\",\"sha256\":\"{sha256}\"}}"
        )),
        of(&format!(
            "{{\"mechanism\":3,\"wrapped\":\"{}\",\"sha256\":\"00\"}}",
            "00".repeat(40)
        )),
        format!("{}{}", with(""), " ".repeat(9 << 20)),
    ] {
        files::replace(&path, content.as_bytes()).unwrap();
        assert!(record.read(&name()).is_err(), "{content:.100}");
        assert!(record.begin(&name(), Vec::new()).is_err(), "{content:.100}");
        assert!(record.forget(&name(), &id(1)).is_err(), "{content:.100}");
        assert!(record.add_first(&name(), &id(1), proof(Mechanism::AesGcm, 1)).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
    files::replace(&path, with("").as_bytes()).unwrap();
    assert!(record.read(&name()).unwrap().is_some());
}

#[test]
fn no_record_is_dropped_for_another() {
    let state = tempfile::tempdir().unwrap();
    let record = ProofRecord::of(state.path());
    let versions = (0..MOST_VERSIONS).map(|number| VersionLine {
        id: u64::try_from(number)
            .unwrap()
            .to_be_bytes()
            .as_slice()
            .try_into()
            .unwrap(),
        proofs: vec![proof(Mechanism::RsaOaepSha256, 1)],
        begun: Vec::new(),
    });
    let line = ProofLine {
        name: name(),
        public: Vec::new(),
        versions: versions.collect(),
    };
    let root_keys = vec![line.clone()];
    let upgraded = Vec::new();
    record.replace(&ProofRecordContent { upgraded, root_keys }).unwrap();
    let added = record.add_first(&name(), &id(1), proof(Mechanism::AesGcm, 1));
    assert!(matches!(added, Err(ProofRecordError::Full { .. })), "{added:?}");
    assert_eq!(record.read(&name()).unwrap(), Some(line));
}

#[test]
fn an_upgrade_is_noted_once_and_a_root_key_that_comes_later_is_new() {
    let state = tempfile::tempdir().unwrap();
    let record = ProofRecord::of(state.path());
    let later: RootKeyName = "later".parse().unwrap();
    assert!(!record.is_upgraded(&name()).unwrap());
    record.note_upgrade(vec![name()]).unwrap();
    record.note_upgrade(vec![name(), later.clone()]).unwrap();
    record.begin(&name(), vec![id(1)]).unwrap();
    assert!(record.is_upgraded(&name()).unwrap());
    assert!(!record.is_upgraded(&later).unwrap());
    assert_eq!(record.read(&name()).unwrap().unwrap().public, [id(1)]);
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let state = tempfile::tempdir().unwrap();
    let record = ProofRecord::of(state.path());
    let version = |number: usize| VersionLine {
        id: (number as u64).to_be_bytes().as_slice().try_into().unwrap(),
        proofs: Mechanism::ALL.map(|mechanism| proof(mechanism, 1)).into(),
        begun: Vec::new(),
    };
    let versions: Vec<VersionLine> = (1..MOST_VERSIONS).map(version).collect();
    let line = |root_key: usize| ProofLine {
        name: format!("kube-{root_key}").parse().unwrap(),
        public: Vec::new(),
        versions: versions.clone(),
    };
    let mut content = ProofRecordContent::default();
    // As many root keys as there is room for.
    while content::encode(&content).unwrap().len() as u64 <= LIMIT {
        content.root_keys.push(line(content.root_keys.len()));
    }
    assert!(matches!(
        record.replace(&content),
        Err(ProofRecordError::TooLong { .. })
    ));
    assert!(!state.path().join("proofs.json").exists());
    content.root_keys.pop();
    record.replace(&content).unwrap();
    assert!(record.read(&"kube-0".parse().unwrap()).unwrap().is_some());
}
