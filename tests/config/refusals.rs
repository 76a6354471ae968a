//! A wrong file is refused with its place, its key, the expected value and a hint.

use crate::MINIMAL;
use crate::assert_refused;
use crate::parse;
use crate::refused;
use crate::with;

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    assert_refused(
        "listen:\n  sokcet: /x",
        "listen.sokcet",
        (6, 3),
        "no such key",
        "did you mean `socket`?",
    );
    assert_refused("lgo: {}", "lgo", (5, 1), "expected `apiVersion`", "did you mean `log`?");
    // A key of another section.
    assert_refused("max_age: 1h", "max_age", (5, 1), "no such key", "`data_keys.max_age`?");
    assert_refused(
        "data_keys: {cache: {tll: 1h}}",
        "data_keys.cache.tll",
        (5, 21),
        "`ttl`",
        "`ttl`?",
    );
    assert_refused("<<: {}", "<<", (5, 1), "no such key", "");
    assert_refused("1: 2", "1", (5, 1), "no such key", "");
}

#[test]
fn settings_of_later_releases_are_not_accepted_before() {
    assert_refused("write: {format: 2}", "write", (5, 1), "no such key", "");
}

#[test]
fn what_is_missing_is_named() {
    for (text, key, problem) in [
        ("name: a", "apiVersion", "missing"),
        ("apiVersion: dekhand/v1", "root_keys", "missing"),
        (
            "apiVersion: dekhand/v1\nroot_keys: []",
            "root_keys",
            "found an empty list",
        ),
        (
            "apiVersion: dekhand/v1\nroot_keys: [{}]",
            "root_keys[0].name",
            "missing",
        ),
        (
            "apiVersion: dekhand/v1\nroot_keys: [{name: a}]",
            "root_keys[0]",
            "expected `keyring` or `pkcs11`",
        ),
        (
            "apiVersion: dekhand/v1\nroot_keys: [{name: a, keyring: {}}]",
            "root_keys[0].keyring.file",
            "missing",
        ),
    ] {
        let error = refused(text);
        assert_eq!(error.key.as_deref(), Some(key), "{text}: {error}");
        assert!(error.problem.contains(problem), "{text}: {error}");
        assert!(error.place.is_some(), "{text}: {error}");
    }
}

#[test]
fn a_key_given_twice_is_refused_where_it_stands_again() {
    assert_refused("log: {}\nname: a\nlog: {}", "log", (7, 1), "given twice", "");
    assert_refused(
        "log:\n  level: info\n  level: warn",
        "log.level",
        (7, 3),
        "given twice",
        "",
    );
    assert_refused("root_keys: []", "root_keys", (5, 1), "given twice", "");
}

#[test]
fn a_null_is_no_way_to_leave_something_out() {
    for null in ["", " ~", " null", " !!null null"] {
        for key in [
            "name",
            "state",
            "listen",
            "http",
            "data_keys",
            "outage",
            "probe",
            "log",
            "hardening",
            "worker",
        ] {
            let error = with(&format!("{key}:{null}")).expect_err(key);
            if !null.contains('!') {
                assert_eq!(error.key.as_deref(), Some(key), "{error}");
                assert!(error.problem.contains("found nothing"), "{error}");
                assert_eq!(error.place.map(|place| place.line), Some(5));
            }
        }
    }
    assert_refused("listen: {peers: ~}", "listen.peers", (5, 17), "found nothing", "");
    assert_refused("listen: {peers: [~]}", "listen.peers[0]", (5, 18), "found nothing", "");
    assert_refused(
        "data_keys:\n  cache:\n    ttl: null",
        "data_keys.cache.ttl",
        (7, 10),
        "found nothing",
        "",
    );
}

#[test]
fn every_bound_holds_on_both_sides() {
    for (good, wrong) in [
        ("listen: {mode: \"0600\"}", "listen: {mode: \"0400\"}"),
        ("listen: {mode: \"666\"}", "listen: {mode: \"0667\"}"),
        ("listen: {mode: \"0660\"}", "listen: {mode: \"+660\"}"),
        ("listen: {peers: []}", "listen: {peers: [-1]}"),
        ("listen: {peers: [4294967294]}", "listen: {peers: [4294967295]}"),
        ("listen: {status_version: v2}", "listen: {status_version: v3}"),
        ("listen: {v1beta1: auto}", "listen: {v1beta1: on}"),
        ("listen: {v1beta1: off}", "listen: {v1beta1: false}"),
        ("http: {}", "http: []"),
        ("http: {address: 0.0.0.0:65535}", "http: {address: 0.0.0.0:65536}"),
        ("http: {address: 127.0.0.1:1}", "http: {address: 127.0.0.1:0}"),
        ("data_keys: {max_uses: 1}", "data_keys: {max_uses: 0}"),
        ("data_keys: {max_uses: 4294967296}", "data_keys: {max_uses: 4294967297}"),
        ("data_keys: {max_uses: 2}", "data_keys: {max_uses: 2.0}"),
        ("data_keys: {max_age: 1m}", "data_keys: {max_age: 59s}"),
        ("data_keys: {max_age: 365d}", "data_keys: {max_age: 366d}"),
        ("data_keys: {cache: {ttl: 0s}}", "data_keys: {cache: {ttl: -1s}}"),
        ("data_keys: {cache: {ttl: 500ms}}", "data_keys: {cache: {ttl: 500}}"),
        ("data_keys: {cache: {ttl: 30d}}", "data_keys: {cache: {ttl: 30d 1ns}}"),
        ("data_keys: {cache: {capacity: 1}}", "data_keys: {cache: {capacity: 0}}"),
        (
            "data_keys: {cache: {capacity: 1000000}}",
            "data_keys: {cache: {capacity: 1000001}}",
        ),
        ("outage: {tolerate: 0}", "outage: {tolerate: \"\"}"),
        ("outage: {tolerate: 30d}", "outage: {tolerate: 31d}"),
        ("probe: {interval: 1s}", "probe: {interval: 999ms}"),
        ("probe: {interval: 1h}", "probe: {interval: 61m}"),
        ("log: {requests: true}", "log: {requests: yes}"),
        ("hardening: {seccomp: false}", "hardening: {seccomp: \"false\"}"),
        ("name: 0-9", "name: -a"),
        ("name: \"1\"", "name: 1"),
        (
            "name: abcdefghijklmnopqrstuvwxyz012345",
            "name: abcdefghijklmnopqrstuvwxyz0123456",
        ),
        ("worker: {memory: 64MiB}", "worker: {memory: 65535KiB}"),
        ("worker: {memory: 64GiB}", "worker: {memory: 65GiB}"),
        ("worker: {memory: 65536KiB}", "worker: {memory: 512MB}"),
        ("worker: {memory: 512 MiB}", "worker: {memory: 536870912}"),
        ("worker: {memory: 1GiB}", "worker: {memory: 1.5GiB}"),
        ("worker: {}", "worker: {memory: 99999999999999999999GiB}"),
        ("state: /a", "state: a"),
        ("state: \"/a b\"", "state: \"/a\\0b\""),
    ] {
        with(good).unwrap_or_else(|error| panic!("{good}: {error}"));
        let error = with(wrong).expect_err(wrong);
        assert!(error.problem.starts_with("expected "), "{error}");
        assert!(error.key.is_some() && error.place.is_some(), "{error}");
    }
}

#[test]
fn a_wrong_value_is_told_what_was_expected_and_is_not_quoted() {
    assert_refused(
        "log: {level: inof}",
        "log.level",
        (5, 14),
        "`warn` or `info`",
        "did you mean `info`?",
    );
    assert_refused(
        "data_keys:\n  max_age: 24",
        "data_keys.max_age",
        (6, 12),
        "60s to 365d",
        "the unit",
    );
    assert_refused("listen: {mode: 600}", "listen.mode", (5, 16), "octal", "in quotes");
    assert_refused("listen: {mode: 0600}", "listen.mode", (5, 16), "in quotes", "\"0600\"");
    assert_refused(
        "listen:\n  mode: 0600 # x",
        "listen.mode",
        (6, 9),
        "in quotes",
        "\"0600\"",
    );
    assert_refused("listen: {peers: [root]}", "listen.peers[0]", (5, 18), "a uid", "id -u");
    assert_refused("listen: {peers: 0}", "listen.peers", (5, 17), "a list", "");
    assert_refused(
        "listen: {socket: \"unix:///a\"}",
        "listen.socket",
        (5, 18),
        "absolute path",
        "`unix://`",
    );
    assert_refused("http: 127.0.0.1:1", "http", (5, 7), "`off`", "{address: IP:PORT}");
    assert_refused("http: false", "http", (5, 7), "`off`", "http: off");
    assert_refused(
        "http: {address: \"localhost:1\"}",
        "http.address",
        (5, 17),
        "an IP address",
        "127.0.0.1",
    );
    assert_refused("state: ~/x", "state", (5, 8), "an absolute path", "not expanded");
    assert_refused("log: on", "log", (5, 6), "a section", "");
    for lines in [
        "name: 'Hunter2!'",
        "log: {level: Hunter2}",
        "data_keys: {max_age: Hunter2}",
        "log: Hunter2",
        "- Hunter2",
    ] {
        let error = with(lines).expect_err(lines);
        let all = format!("{error} {error:?} {:?}", error.hint);
        assert!(!all.contains("Hunter2"), "{all}");
    }
}

#[test]
fn another_api_version_is_refused() {
    let error = refused(MINIMAL.replace("dekhand/v1", "dekhand/v2"));
    assert_eq!(error.key.as_deref(), Some("apiVersion"));
    assert!(error.problem.contains("`dekhand/v1`"), "{error}");
    assert!(error.hint.unwrap().contains("newer release"));
}

#[test]
fn a_mode_beside_an_abstract_socket_is_refused() {
    assert_refused(
        "listen: {socket: \"@k\", mode: \"0600\"}",
        "listen.mode",
        (5, 30),
        "no mode",
        "leave it out",
    );
}

#[test]
fn no_root_key_has_the_name_or_the_file_of_another() {
    let entry = |name: &str, file: &str| format!("  - {{name: {name}, keyring: {{file: {file}}}}}\n");
    let list = |entries: &[String]| format!("apiVersion: dekhand/v1\nroot_keys:\n{}", entries.concat());
    let error = refused(list(&[entry("a", "/a"), entry("b", "/b"), entry("a", "/c")]));
    assert_eq!(error.key.as_deref(), Some("root_keys[2].name"));
    assert_eq!(error.place.map(|place| (place.line, place.column)), Some((5, 12)));
    assert!(error.problem.contains("root_keys[0]"), "{error}");
    let error = refused(list(&[entry("a", "/a"), entry("b", "/a")]));
    assert_eq!(error.key.as_deref(), Some("root_keys[1].keyring.file"));
    let many = |count| {
        (0..count)
            .map(|n| entry(&format!("k{n}"), &format!("/k{n}")))
            .collect::<Vec<_>>()
    };
    assert_eq!(parse(list(&many(16))).unwrap().root_keys.iter().count(), 16);
    assert!(refused(list(&many(17))).problem.contains("1 to 16 items"));
}
