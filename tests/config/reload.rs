//! What a running daemon takes of a changed file.

use dekhand::config::changes;

use crate::MINIMAL;
use crate::OTHER;
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
            "http",
            "root_keys",
            "log.format",
            "hardening.lock_memory",
            "hardening.seccomp",
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
    // One root key more, and nothing else.
    let more = parse(format!("{MINIMAL}  - {{name: b, keyring: {{file: /b}}}}\n")).unwrap();
    assert_eq!(changes(&old, &more).needs_restart, ["root_keys"]);
    assert_eq!(changes(&more, &old).needs_restart, ["root_keys"]);
    assert_eq!(changes(&old, &with("http: off").unwrap()).needs_restart, ["http"]);
}
