//! The changes of a file that a running daemon applies.

use dekhand::config::changes;

use crate::MINIMAL;
use crate::OTHER;
use crate::TOKENS;
use crate::parse;
use crate::with;

#[test]
fn each_change_is_reported_and_only_what_can_change_is_taken() {
    let (old, new) = (parse(MINIMAL).unwrap(), parse(OTHER).unwrap());
    let found = changes(&old, &new);
    assert_eq!(
        found.reloadable,
        [
            "listen.peers",
            "data_keys.suite",
            "data_keys.max_uses",
            "data_keys.max_age",
            "data_keys.reuse",
            "data_keys.cache.ttl",
            "data_keys.cache.capacity",
            "outage.tolerate",
            "probe.interval",
            "log.level",
            "log.requests",
        ]
    );
    assert_eq!(
        found.needs_restart,
        [
            "name",
            "state",
            "listen.socket",
            "listen.mode",
            "listen.status_version",
            "listen.v1beta1",
            "http",
            "root_keys",
            "log.format",
            "hardening.lock_memory",
            "hardening.seccomp",
            "worker.memory",
        ]
    );
    let mut running = old.clone();
    running.reload(&new);
    let left = changes(&running, &new);
    assert!(left.reloadable.is_empty());
    assert_eq!(left.needs_restart, found.needs_restart);
    assert_eq!(changes(&old, &running).reloadable, found.reloadable);
    assert!(changes(&old, &running).needs_restart.is_empty());
    assert!(changes(&old, &old).is_empty());
    // One more root key, and no other change.
    let more = parse(format!("{MINIMAL}  - {{name: b, keyring: {{file: /b}}}}\n")).unwrap();
    assert_eq!(changes(&old, &more).needs_restart, ["root_keys"]);
    assert_eq!(changes(&more, &old).needs_restart, ["root_keys"]);
    assert_eq!(changes(&old, &with("http: off").unwrap()).needs_restart, ["http"]);
}

#[test]
fn each_difference_between_two_tokens_waits_for_a_restart() {
    let old = parse(TOKENS).unwrap();
    for (from, to) in [
        ("/m/one.so", "/m/three.so"),
        ("serial=0a", "serial=0b"),
        ("{file: /p/pin}", "{file: /p/other}"),
        ("{credential: admin-pin}", "{file: /p/admin-pin}"),
        ("admin: {pin: {credential: admin-pin}}", ""),
        ("vendor:0x80000001", "user"),
        ("sessions: 4", ""),
        ("call_timeout: 25s", ""),
        ("open_timeout: 10m", ""),
        ("mechanism: aes-cbc", ""),
        ("EMPTY=", "EMPTY=1"),
        ("label: my key", "label: your key"),
        ("label: my key, activates: 2027-02-01T00:00:00Z", "label: my key"),
        // The same value, of another version.
        (
            ", activates: 2027-02-01T00:00:00Z}\n        - {number: 3, ",
            "}\n        - {number: 3, activates: 2027-02-01T00:00:00Z, ",
        ),
        ("private: false", ""),
        ("exportable: true", ""),
    ] {
        assert!(TOKENS.contains(from), "{from}");
        let new = parse(TOKENS.replacen(from, to, 1)).expect(to);
        let found = changes(&old, &new);
        assert_eq!(
            (found.reloadable.len(), found.needs_restart),
            (0, vec!["root_keys"]),
            "{from}"
        );
        let mut running = old.clone();
        running.reload(&new);
        assert_eq!(running, old);
    }
}
