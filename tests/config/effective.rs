//! The effective configuration that is shown, also with options of the command line and with `--dev`.

use std::path::Path;

use dekhand::config::Config;
use dekhand::config::Effective;
use dekhand::config::Overrides;
use dekhand::config::RootKeyStore;
use dekhand::telemetry::log::LogLevel;

use crate::EXAMPLE;
use crate::MINIMAL;
use crate::OTHER;
use crate::TOKENS;
use crate::parse;

#[test]
fn options_of_the_command_line_go_before_the_file() {
    let overrides = Overrides {
        socket: "@k".parse().ok(),
        http: "off".parse().ok(),
        log_level: "error".parse().ok(),
        log_format: "json".parse().ok(),
    };
    let config = Config::parse(Path::new("f"), OTHER.as_bytes(), &overrides).unwrap();
    assert_eq!(config.listener.socket.to_string(), "@k");
    assert_eq!(config.http, None);
    assert_eq!(config.log.level, LogLevel::Error);
    let yaml = Effective::new(&config, Path::new("f"), OTHER.as_bytes(), &overrides).to_yaml();
    for line in ["  socket: \"@k\"", "http: off", "  level: error", "  format: json"] {
        let line = yaml.lines().find(|shown| shown.starts_with(line)).expect(line);
        assert!(line.contains("# --"), "{line}");
    }
}

#[test]
fn what_is_shown_can_be_loaded_and_comes_to_the_same() {
    let odd = "listen: {socket: \"@a b\"}\nstate: \"/a: #\\\"\\u00e4\\n\\u2028\\u0085 \\u2029 \\ufeff\"\nhttp: off\nname: \"1\"\n\
               outage: {tolerate: 1h 1ns}";
    for text in [
        MINIMAL.to_owned(),
        EXAMPLE.to_owned(),
        OTHER.to_owned(),
        TOKENS.to_owned(),
        format!("{MINIMAL}{odd}"),
    ] {
        let config = parse(&text).unwrap();
        let shown = Effective::new(&config, Path::new("f\n"), text.as_bytes(), &Overrides::default()).to_yaml();
        assert_eq!(parse(&shown).expect(&shown), config, "{shown}");
    }
}

#[test]
fn every_value_is_shown_with_its_source() {
    let text = format!("{MINIMAL}log:\n  level:\n    warn\n");
    let config = parse(&text).unwrap();
    let shown = Effective::new(&config, Path::new("/e/f"), text.as_bytes(), &Overrides::default());
    let yaml = shown.to_yaml();
    for (value, source) in [
        ("apiVersion: dekhand/v1", "/e/f:1"),
        ("state: /var/lib/dekhand", "default"),
        ("  - name: kube-root", "/e/f:3"),
        ("    shared: false", "default"),
        ("      file: /k/keyring.json", "/e/f:4"),
        ("  mode: \"0600\"", "default"),
        ("    ttl: 24h", "default"),
        ("  level: warn", "/e/f:7"),
    ] {
        let line = yaml.lines().find(|line| line.starts_with(value)).expect(value);
        assert!(line.ends_with(&format!("  # {source}")), "{line}");
    }
    let json = serde_json::to_value(&shown).unwrap();
    assert_eq!(json["file"], "/e/f");
    let setting = |key: &str| {
        let settings = json["settings"].as_array().unwrap().iter();
        settings.clone().find(|setting| setting["key"] == key).unwrap().clone()
    };
    let file = setting("root_keys[0].keyring.file");
    assert_eq!((&file["source"], &file["line"]), (&"file".into(), &4.into()));
    assert_eq!(file["reloadable"], false);
    let peers = setting("listen.peers");
    assert_eq!(
        (&peers["value"], &peers["source"]),
        (&serde_json::json!([0]), &"default".into())
    );
    assert_eq!(peers["reloadable"], true);
}

#[test]
fn a_token_is_shown_with_the_sources_of_its_pins() {
    let config = parse(TOKENS).unwrap();
    let yaml = Effective::new(&config, Path::new("f"), TOKENS.as_bytes(), &Overrides::default()).to_yaml();
    for line in [
        "  - name: new ",
        "    pkcs11:",
        "      token: \"pkcs11:token=my%20kube;serial=0a\" ",
        "      pin: {file: /p/pin} ",
        "      admin:",
        "        pin: {credential: admin-pin} ",
        "      login: \"vendor:0x80000001\" ",
        "      environment: [\"CONF=/c\", \"LIST=a=b \\\"c\\\"\", \"EMPTY=\", {file: /c/key, name: API_KEY}, {credential: api, name: API_PASSWORD}] ",
        "      versions:",
        "        - number: 1 ",
        "          id: 00112233445566778899aabbccddeeff ",
        "          activates: \"2026-03-01T12:00:00Z\" ",
        "          id: \"0000000000000003\" ",
        "      pin: {descriptor: 3} ",
        "      versions: [] ",
    ] {
        assert!(
            yaml.lines().any(|shown| format!("{shown} ").starts_with(line)),
            "{line} is not in\n{yaml}"
        );
    }
}

#[test]
fn dev_keeps_everything_in_its_directory() {
    let config = Config::dev(Path::new("/d"), &Overrides::default()).unwrap();
    assert_eq!(config.state, Path::new("/d/state"));
    assert_eq!(config.listener.socket.to_string(), "/d/kms.sock");
    let entry = config.root_keys.first();
    assert_eq!((entry.name.as_str(), entry.shared), ("dev", true));
    let RootKeyStore::Keyring(keyring) = &entry.store else {
        panic!("a keyring");
    };
    assert_eq!(keyring.file, Path::new("/d/keyring.json"));
    assert_eq!(config.http, "127.0.0.1:20358".parse().ok());
    let relative = Config::dev(Path::new("d"), &Overrides::default());
    assert!(relative.unwrap().state.is_absolute());
    let overrides = Overrides {
        http: "off".parse().ok(),
        ..Overrides::default()
    };
    assert_eq!(Config::dev(Path::new("/d"), &overrides).unwrap().http, None);
}
