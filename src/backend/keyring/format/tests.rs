//! Promises of the keyring's format.

use proptest::prelude::*;

use super::*;

fn entry_of(number: u16, id: u8, state: State, origin: Origin, key: u8) -> KeyringEntry {
    KeyringEntry {
        version: Version {
            number: Number::try_from(number).unwrap(),
            state,
            id: KeyId::try_from([id; 16].as_slice()).unwrap(),
        },
        origin,
        key: Key::copied_from(&[key; 32]).unwrap(),
    }
}

fn sample() -> KeyringContent {
    let at = Timestamp::from_unix(1_772_366_400);
    KeyringContent {
        name: "kube-root".parse().unwrap(),
        entries: vec![
            entry_of(1, 0xa1, State::RetiredSince(at), Origin::Imported, 0xc1),
            entry_of(2, 0xa2, State::ActiveFrom(at), Origin::Generated, 0xc2),
            entry_of(2, 0xa3, State::Pending, Origin::Generated, 0xc3),
        ],
    }
}

fn text() -> String {
    String::from_utf8(encode(&sample()).unwrap().to_vec()).unwrap()
}

fn flaw(text: &str) -> KeyringFlaw {
    decode(text.as_bytes()).unwrap_err()
}

#[test]
fn a_keyring_reads_back_as_it_was_written() {
    assert!(decode(text().as_bytes()).unwrap().same_as(&sample()));
}

/// A keyring can be repaired without dekhand: the digest can be computed from the specification by piping `printf` of
/// the fields of the module `digest` into `sha256sum`.
#[test]
fn the_digest_is_the_one_that_is_specified() {
    let at = Timestamp::from_unix(0x6655_4433);
    let content = KeyringContent {
        name: "k".parse().unwrap(),
        entries: vec![entry_of(258, 0xab, State::ActiveFrom(at), Origin::Imported, 0xcd)],
    };
    let mut fields = b"\0\0\0\x12dekhand/keyring/v1\0\0\0\x01k\0\0\0\x02\x01\x02\0\0\0\x10".to_vec();
    fields.extend_from_slice(&[0xab; 16]);
    fields.extend_from_slice(b"\0\0\0\x06active\0\0\0\x08\0\0\0\0\x66\x55\x44\x33\0\0\0\x08imported\0\0\0\x20");
    fields.extend_from_slice(&[0xcd; 32]);
    assert_eq!(
        digest(&content).as_slice(),
        <sha2::Sha256 as sha2::Digest>::digest(&fields).as_slice()
    );
}

#[test]
fn every_change_of_one_byte_is_refused_or_changes_nothing() {
    let good = text();
    let mut harmless = 0;
    for place in 0..good.len() {
        for byte in 0..=u8::MAX {
            let mut bytes = good.clone().into_bytes();
            bytes[place] = byte;
            if let Ok(content) = decode(&bytes) {
                assert!(content.same_as(&sample()), "byte {place} changed to {byte}");
                harmless += 1;
            }
        }
    }
    // At least the unchanged bytes and the spaces.
    assert!(harmless > good.len());
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let good = text();
    for length in 0..good.trim_end().len() {
        assert!(decode(&good.as_bytes()[..length]).is_err(), "{length} bytes");
    }
    assert!(decode(format!("{good}{{}}").as_bytes()).is_err());
    assert!(decode(format!("{good}\0").as_bytes()).is_err());
}

#[test]
fn every_edit_by_hand_is_refused_with_its_place_and_without_its_text() {
    let key = "c2".repeat(32);
    let cases = [
        (r#""number": 1,"#, r#""number": 3,"#, "the digest does not match"),
        ("kube-root", "other-root", "the digest does not match"),
        (r#""retired""#, r#""active""#, "the digest does not match"),
        (
            "2026-03-01T12:00:00Z",
            "2026-03-01T12:00:01Z",
            "the digest does not match",
        ),
        ("imported", "generated", "the digest does not match"),
        (key.as_str(), "", "version 2 of 3: `key` is not 64 hexadecimal digits"),
        ("c2", "c3", "the digest does not match"),
        (
            r#""pending","#,
            r#""pending", "since": "2026-03-01T12:00:00Z","#,
            "version 3 of 3: it is pending and has a date",
        ),
        (r#""pending""#, r#""active""#, "version 3 of 3: it has no date"),
        (
            r#""since": "2026-03-01T12:00:00Z","#,
            "",
            "version 1 of 3: it has no date",
        ),
        (
            "a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3",
            "a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2",
            "two versions have one id",
        ),
        (
            r#""origin""#,
            r#""note": "x", "origin""#,
            "line 10, column 12: a field is unknown",
        ),
        (r#""number": 1,"#, r#""number": 0,"#, "line 6"),
        (r#""number": 1,"#, r#""number": 10000,"#, "line 6"),
        (r#""number": 1,"#, r#""number": 1, "number": 1,"#, "line 6"),
        (r#""name""#, r#""a": 1, "name""#, "line 3"),
        ("kube-root", r"kube\u002droot", "a string has a backslash"),
        ("kube-root", "Kube Root", "`name` is not the name of a root key"),
        ("{", "[", "line 2, column 15: this is not JSON"),
    ];
    for (from, to, expected) in cases {
        let edited = text().replacen(from, to, 1);
        assert_ne!(edited, text(), "{from} is in the file");
        let said = flaw(&edited).to_string();
        assert!(said.starts_with(expected), "{from} -> {to}: {said}");
        assert!(
            !said.contains("c1c1") && !said.contains("c2c2") && !said.contains("kube"),
            "{said}"
        );
    }
}

#[test]
fn a_newer_format_is_told_from_a_damaged_one() {
    let newer = text()
        .replacen("keyring/v1", "keyring/v2", 1)
        .replacen(r#""name""#, r#""rootKey""#, 1);
    assert_eq!(flaw(&newer), KeyringFlaw::Newer(2));
    for wrong in ["keyring/v0", "keyring/v", "keyring/v1a", "secret"] {
        let edited = text().replacen("keyring/v1", wrong, 1);
        assert_eq!(
            flaw(&edited),
            KeyringFlaw::Wrong("apiVersion is not that of a keyring"),
            "{wrong}"
        );
    }
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let mut content = sample();
    content.entries[1].version.state = State::ActiveFrom(Timestamp::from_unix(u64::MAX));
    assert!(encode(&content).is_err());
    let mut content = sample();
    content.entries[1].version.id = content.entries[0].version.id.clone();
    assert_eq!(
        encode(&content).unwrap_err(),
        KeyringFlaw::Wrong("two versions have one id")
    );
}

#[test]
fn the_longest_versions_have_room_and_a_keyring_has_its_limits() {
    let at = State::RetiredSince(Timestamp::from_unix(1_772_366_400));
    let many = |count: u32| KeyringContent {
        name: "0123456789abcdef".parse().unwrap(),
        entries: (0..count)
            .map(|index| {
                let mut id = [0xff; 32];
                id[..4].copy_from_slice(&index.to_be_bytes());
                let mut entry = entry_of(9999, 0, at, Origin::Generated, 1);
                entry.version.id = KeyId::try_from(id.as_slice()).unwrap();
                entry
            })
            .collect(),
    };
    assert_eq!(decode(&encode(&many(1000)).unwrap()).unwrap().entries.len(), 1000);
    for count in [15_000, 2 * 9999 + 1] {
        let flaw = encode(&many(count)).unwrap_err();
        assert_eq!(flaw, KeyringFlaw::Wrong("it has too many versions"), "{count}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn no_nearly_good_file_makes_the_parser_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..8),
    ) {
        let mut bytes = text().into_bytes();
        for (place, byte, how) in edits {
            let place = place.index(bytes.len());
            match how {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => { bytes.remove(place); }
            }
        }
        if let Ok(content) = decode(&bytes) {
            prop_assert!(content.same_as(&sample()));
        }
    }
}
