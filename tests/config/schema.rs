//! The example, the page and the schema agree.

use std::path::Path;
use std::time::Duration;

use dekhand::config::Effective;
use dekhand::config::Overrides;
use dekhand::config::RootKeyStore;
use dekhand::config::Setting;
use dekhand::config::ValueSource;
use dekhand::config::known_settings;
use dekhand::envelope::policy::Policy;
use dekhand::envelope::policy::Reuse;
use dekhand::hardening::HardeningOptions;
use dekhand::hardening::LockMemory;
use dekhand::kms::options::KmsOptions;
use dekhand::kms::options::StatusVersion;
use dekhand::kms::options::V1beta1;
use dekhand::telemetry::log::LogLevel;
use dekhand::telemetry::log::LogOptions;
use dekhand::token::options::Pkcs11Options;

use crate::EXAMPLE;
use crate::MINIMAL;
use crate::OTHER;
use crate::PAGE;
use crate::TOKENS;
use crate::parse;
use crate::with;

#[test]
fn the_example_loads_and_states_the_defaults() {
    let example = parse(EXAMPLE).unwrap();
    let mut minimal = parse(MINIMAL.replace("/k/", "/var/lib/dekhand/")).unwrap();
    // Has no default. The example's daemon runs as root.
    minimal.listener.group = Some(0);
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

/// The example, and the example with the token that its comments describe in place of the keyring.
fn examples() -> [String; 2] {
    let (before, rest) = EXAMPLE.split_once("    keyring:").unwrap();
    let (_, rest) = rest.split_once("    #pkcs11:").unwrap();
    let (token, after) = rest.split_once("\n\n").unwrap();
    let token = token.replace("\n    #", "\n    ");
    [EXAMPLE.to_owned(), format!("{before}    pkcs11:{token}\n\n{after}")]
}

/// The settings of a file.
fn settings(text: &str) -> Vec<Setting> {
    let config = parse(text).expect(text);
    Effective::new(&config, Path::new("f"), text.as_bytes(), &Overrides::default()).settings
}

/// Its path in the schema: `root_keys[].name` of `root_keys[12].name`.
fn schema_path(setting: &Setting) -> String {
    let parts = setting.key.split('[').map(|part| match part.split_once(']') {
        Some((_, rest)) => format!("]{rest}"),
        None => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("[")
}

#[test]
fn the_examples_say_every_setting_themselves() {
    let said: Vec<_> = examples().iter().flat_map(|example| settings(example)).collect();
    for setting in &said {
        let in_file = matches!(setting.source, ValueSource::File { .. });
        assert!(in_file, "{} is missing", setting.key);
    }
    let said: Vec<_> = said.iter().map(schema_path).collect();
    for known in known_settings() {
        // A list of them is for few tokens, and none is the default.
        let known = known.split_once("versions[]").map_or(known, |(token, _)| {
            assert_eq!(token, "root_keys[].pkcs11.");
            "root_keys[].pkcs11.versions"
        });
        assert!(said.iter().any(|setting| setting == known), "{known} is missing");
    }
}

#[test]
fn the_example_of_a_token_states_the_defaults() {
    let [_, example] = examples();
    let parsed = parse(&example).unwrap();
    let RootKeyStore::Pkcs11(said) = &parsed.root_keys.first().store else {
        panic!("a token");
    };
    let mut default = Pkcs11Options::new(said.module.clone(), said.token.clone());
    default.pin.clone_from(&said.pin);
    default.admin_pin.clone_from(&said.admin_pin);
    default.environment.clone_from(&said.environment);
    default.versions.clone_from(&said.versions);
    assert_eq!(**said, default);
    assert_eq!(parsed.worker_memory, 512 << 20);
}

#[test]
fn the_page_has_a_section_for_every_setting_and_for_no_other() {
    let sections: Vec<_> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'))
        .filter(|section| !["http", "root_keys", "root_keys[].pkcs11.versions"].contains(section))
        .collect();
    assert_eq!(sections, known_settings());
}

#[test]
fn the_page_says_truly_what_can_change_while_the_daemon_runs() {
    let files = examples().into_iter().chain([TOKENS.to_owned()]);
    for setting in files.flat_map(|file| settings(&file)) {
        let path = schema_path(&setting);
        if path == "apiVersion" {
            continue;
        }
        let heading = format!("\n### `{path}`\n");
        let (_, section) = PAGE.split_once(&heading).expect(&path);
        let section = section.split("\n#").next().unwrap();
        let (told, other) = if setting.reloadable {
            ("\n- Reload", "\n- Restart")
        } else {
            ("\n- Restart", "\n- Reload")
        };
        assert!(section.contains(told) && !section.contains(other), "{path}");
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
    assert_eq!(config.kms.v1beta1, V1beta1::Off);
    assert!(config.kms.log_requests);
    assert_eq!(config.http, "[::1]:1".parse().ok());
    let entries: Vec<_> = config.root_keys.iter().collect();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0], config.root_keys.first());
    assert_eq!((entries[0].name.as_str(), entries[0].shared), ("new", true));
    assert_eq!((entries[1].name.as_str(), entries[1].shared), ("old", false));
    let RootKeyStore::Keyring(keyring) = &entries[1].store else {
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
    assert_eq!(config.log.level, LogLevel::Debug);
    assert_eq!(config.hardening.lock_memory, LockMemory::Off);
    assert!(!config.hardening.seccomp);
    assert_eq!(config.worker_memory, 64 << 20);
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
