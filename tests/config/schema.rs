//! What the example, the page and the schema say is the same.

use std::path::Path;
use std::time::Duration;

use dekhand::config::Effective;
use dekhand::config::Overrides;
use dekhand::config::Source;
use dekhand::config::Store;
use dekhand::config::known_settings;
use dekhand::envelope::policy::Policy;
use dekhand::envelope::policy::Reuse;
use dekhand::hardening::HardeningOptions;
use dekhand::hardening::LockMemory;
use dekhand::kms::options::KmsOptions;
use dekhand::kms::options::StatusVersion;
use dekhand::telemetry::log::Level;
use dekhand::telemetry::log::LogOptions;

use crate::EXAMPLE;
use crate::MINIMAL;
use crate::OTHER;
use crate::PAGE;
use crate::parse;
use crate::with;

#[test]
fn the_example_loads_and_states_the_defaults() {
    let example = parse(EXAMPLE).unwrap();
    let minimal = parse(MINIMAL.replace("/k/", "/var/lib/dekhand/")).unwrap();
    assert_eq!(example, minimal);
    assert_eq!(example.policy, Policy::default());
    assert_eq!(example.kms, KmsOptions::default());
    assert_eq!(example.log, LogOptions::default());
    assert_eq!(example.hardening, HardeningOptions::default());
    assert_eq!(example.name.as_str(), "dekhand");
    assert_eq!(example.state, Path::new("/var/lib/dekhand"));
    assert_eq!(example.listener.socket.to_string(), "/run/dekhand/kms.sock");
    assert_eq!(example.listener.mode, 0o600);
    assert_eq!(example.listener.peers, [0]);
    assert_eq!(example.http, "127.0.0.1:20358".parse().ok());
}

#[test]
fn the_example_says_every_setting_itself() {
    let config = parse(EXAMPLE).unwrap();
    let effective = Effective::new(&config, Path::new("f"), EXAMPLE.as_bytes(), &Overrides::default());
    for setting in &effective.settings {
        assert!(
            matches!(setting.source, Source::File { .. }),
            "{} is missing",
            setting.key
        );
    }
    assert_eq!(effective.settings.len(), known_settings().len());
}

#[test]
fn the_page_has_a_section_for_every_setting_and_for_no_other() {
    let sections: Vec<_> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'))
        .filter(|section| !["http", "root_keys"].contains(section))
        .collect();
    assert_eq!(sections, known_settings());
}

#[test]
fn the_page_says_truly_what_can_change_while_the_daemon_runs() {
    let config = parse(EXAMPLE).unwrap();
    let effective = Effective::new(&config, Path::new("f"), EXAMPLE.as_bytes(), &Overrides::default());
    for setting in effective.settings.iter().skip(1) {
        let heading = format!("\n### `{}`\n", setting.key.replace("[0]", "[]"));
        let (_, section) = PAGE.split_once(&heading).unwrap();
        let section = section.split("\n#").next().unwrap();
        let (told, other) = if setting.reloadable {
            ("\n- Reload", "\n- Restart")
        } else {
            ("\n- Restart", "\n- Reload")
        };
        assert!(section.contains(told) && !section.contains(other), "{}", setting.key);
    }
}

#[test]
fn the_short_file_and_the_error_of_the_page_are_true() {
    let (_, rest) = PAGE.split_once("```yaml\n").unwrap();
    let (short, _) = rest.split_once("```").unwrap();
    parse(short).unwrap();
    let error = with("listen:\n  sokcet: /x").unwrap_err().to_string();
    let (_, message) = error.split_once(": ").unwrap();
    assert!(PAGE.contains(message), "{message}");
}

#[test]
fn every_setting_reaches_its_option() {
    let config = parse(OTHER).unwrap();
    assert_eq!(config.name.as_str(), "two");
    assert_eq!(config.state, Path::new("/s"));
    assert_eq!(config.listener.socket.to_string(), "/r/k.sock");
    assert_eq!(config.listener.mode, 0o660);
    assert_eq!(config.listener.peers, [0, 2001]);
    assert_eq!(config.kms.status_version, StatusVersion::V2beta1);
    assert!(config.kms.log_requests);
    assert_eq!(config.http, "[::1]:1".parse().ok());
    let entries: Vec<_> = config.root_keys.iter().collect();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0], config.root_keys.first());
    assert_eq!((entries[0].name.as_str(), entries[0].shared), ("new", true));
    assert_eq!((entries[1].name.as_str(), entries[1].shared), ("old", false));
    let Store::Keyring(keyring) = &entries[1].store else {
        panic!("a keyring");
    };
    assert_eq!(keyring.file, Path::new("/k/old.json"));
    assert_eq!(config.root_keys.named(&"old".parse().unwrap()), Some(entries[1]));
    assert_eq!(config.policy.max_uses, 1 << 32);
    assert_eq!(config.policy.max_age, Duration::from_secs(60));
    assert_eq!(config.policy.reuse, Reuse::Never);
    assert_eq!(config.policy.cache_ttl, Duration::ZERO);
    assert_eq!(config.policy.cache_capacity.get(), 1);
    assert_eq!(config.policy.tolerate, Duration::from_secs(30 * 86400));
    assert_eq!(config.policy.probe_interval, Duration::from_secs(1));
    assert_eq!(config.log.level, Level::Debug);
    assert_eq!(config.hardening.lock_memory, LockMemory::Off);
    assert!(!config.hardening.seccomp);
    assert_eq!(with("http: off").unwrap().http, None);
    assert_eq!(
        with("listen: {socket: \"@k\"}").unwrap().listener.socket.to_string(),
        "@k"
    );
}

#[test]
fn state_and_socket_derive_from_the_name() {
    let config = with("name: two").unwrap();
    assert_eq!(config.state, Path::new("/var/lib/two"));
    assert_eq!(config.listener.socket.to_string(), "/run/two/kms.sock");
}
