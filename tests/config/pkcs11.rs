//! Root keys in tokens: the options of their section, and the refusal of a wrong section without revealing a secret.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use dekhand::config::Config;
use dekhand::config::ConfigError;
use dekhand::config::RootKeyStore;
use dekhand::token::options::ListedVersion;
use dekhand::token::options::Login;
use dekhand::token::options::MechanismChoice;
use dekhand::token::options::ObjectName;
use dekhand::token::options::Pkcs11Options;
use dekhand::token::pin::PinSource;
use dekhand::token::variable::EnvironmentVariable;
use dekhand::token::variable::VariableValue;

use crate::TOKENS;
use crate::parse;

/// A file whose only root key is in this token, on the fifth line.
pub(super) fn file_with(token: &str) -> String {
    format!("apiVersion: dekhand/v1\nroot_keys:\n  - name: a\n    pkcs11:\n      {{{token}}}\n")
}

/// A file with the required keys of a token, and these lines.
pub(super) fn token(more: &str) -> Result<Config, ConfigError> {
    parse(file_with(&format!(
        "module: /m.so, token: kube, pin: {{file: /p}}, {more}"
    )))
}

fn options(config: &Config, index: usize) -> &Pkcs11Options {
    match &config.root_keys.iter().nth(index).unwrap().store {
        RootKeyStore::Pkcs11(options) => options,
        RootKeyStore::Keyring(_) => panic!("a token"),
    }
}

/// Asserts that a file is refused at a key of the section, with a text in problem or hint.
pub(super) fn assert_refused(result: Result<Config, ConfigError>, key: &str, said: &str) {
    let error = result.expect_err(said);
    assert_eq!(
        error.key.as_deref(),
        Some(format!("root_keys[0]{key}").as_str()),
        "{error}"
    );
    assert!(error.place.is_some(), "{error}");
    let all = format!("{} {}", error.problem, error.hint.as_deref().unwrap_or_default());
    assert!(all.contains(said), "{all}");
    assert!(!format!("{all} {error:?}").contains("hunter2"), "{error:?}");
}

#[test]
fn every_setting_of_a_token_reaches_its_option() {
    let config = parse(TOKENS).unwrap();
    let id = |text: &str| ObjectName::Id(text.parse().unwrap());
    let version = |number: u16, object, activates: &str, retired: &str| ListedVersion {
        object,
        number: number.try_into().unwrap(),
        activates: activates.parse().ok(),
        retired: retired.parse().ok(),
    };
    let variable = |name: &str, value: &str| EnvironmentVariable {
        name: name.to_owned(),
        value: VariableValue::Text(value.to_owned()),
    };
    let expected = Pkcs11Options {
        module: PathBuf::from("/m/one.so"),
        token: "pkcs11:token=my%20kube;serial=0a".parse().unwrap(),
        login: Login::Vendor(0x8000_0001),
        pin: Some(PinSource::File("/p/pin".into())),
        admin_pin: Some(PinSource::Credential("admin-pin".to_owned())),
        sessions: 4,
        call_timeout: Duration::from_secs(25),
        open_timeout: Duration::from_secs(600),
        mechanism: MechanismChoice::AesCbc,
        environment: vec![
            variable("CONF", "/c"),
            variable("LIST", "a=b \"c\""),
            variable("EMPTY", ""),
            EnvironmentVariable {
                name: "API_KEY".to_owned(),
                value: VariableValue::File("/c/key".into()),
            },
            EnvironmentVariable {
                name: "API_PASSWORD".to_owned(),
                value: VariableValue::Credential("api".to_owned()),
            },
        ],
        versions: vec![
            version(
                1,
                id("00112233445566778899aabbccddeeff"),
                "2026-03-01T12:00:00Z",
                "2027-03-01T12:00:00Z",
            ),
            version(2, ObjectName::Label("my key".to_owned()), "2027-02-01T00:00:00Z", ""),
            version(3, id("0000000000000003"), "", ""),
        ],
        private: false,
        exportable: true,
    };
    assert_eq!(options(&config, 0), &expected);
    let shared: Vec<_> = config.root_keys.iter().map(|entry| entry.shared).collect();
    assert_eq!(shared, [false, true, false, false, false]);
    let two = |change: fn(&mut Pkcs11Options)| {
        let mut options = Pkcs11Options::new("/m/two.so".into(), "123".parse().unwrap());
        change(&mut options);
        options
    };
    assert_eq!(
        options(&config, 1),
        &two(|options| options.pin = Some(PinSource::Descriptor(3)))
    );
    assert_eq!(options(&config, 2).login, Login::None);
    assert_eq!(options(&config, 2).mechanism, MechanismChoice::RsaOaepSha1);
    assert_eq!(
        options(&config, 3),
        &two(|options| options.login = Login::ProtectedPath)
    );
}

#[test]
fn a_root_key_lives_in_one_place() {
    let both = "apiVersion: dekhand/v1\nroot_keys:\n  - {name: a, keyring: {file: /k}, pkcs11: {module: /m, token: t, login: none}}\n";
    assert_refused(parse(both), "", "two entries");
    let neither = "apiVersion: dekhand/v1\nroot_keys:\n  - {name: a}\n";
    assert_refused(parse(neither), "", "`keyring` or `pkcs11`");
}

#[test]
fn a_token_needs_a_module_a_name_and_a_way_in() {
    assert_refused(parse(file_with("token: t, login: none")), ".pkcs11.module", "missing");
    assert_refused(parse(file_with("module: /m, login: none")), ".pkcs11.token", "missing");
    assert_refused(parse(file_with("module: /m, token: t")), ".pkcs11", "`login: none`");
    assert_refused(
        parse(file_with("module: /m, token: t, login: \"vendor:3\"")),
        ".pkcs11",
        "`pin`, which `login: vendor:0x3` needs",
    );
    for login in ["none", "protected-path"] {
        assert_refused(token(&format!("login: {login}")), ".pkcs11.pin", "leave the PIN out");
        let admin = format!("module: /m, token: t, login: {login}, admin: {{pin: {{file: /p}}}}");
        assert_refused(parse(file_with(&admin)), ".pkcs11.admin.pin", "leave the PIN out");
    }
    assert_refused(token("admin: {}"), ".pkcs11.admin.pin", "missing");
}

#[test]
fn a_pin_written_into_the_file_is_refused_and_not_repeated() {
    let pin = |pin: &str| parse(file_with(&format!("module: /m.so, token: kube, pin: {pin}")));
    for (wrong, key, said) in [
        ("hunter2", ".pkcs11.pin", "chmod 0600"),
        ("\"hunter2\"", ".pkcs11.pin", "{file: /etc/dekhand/pin}"),
        ("{hunter2}", ".pkcs11.pin", "`descriptor`"),
        ("{hunter2: x}", ".pkcs11.pin", "`file`"),
        ("{hunter2, file: /p}", ".pkcs11.pin", "`file`"),
        ("{file: hunter2}", ".pkcs11.pin.file", "absolute path"),
        ("{file: {hunter2: 1}}", ".pkcs11.pin.file", "absolute path"),
        (
            "{credential: hunter2!}",
            ".pkcs11.pin.credential",
            "starting with a letter",
        ),
        ("{credential: /hunter2}", ".pkcs11.pin.credential", "LoadCredential"),
        ("{descriptor: hunter2}", ".pkcs11.pin.descriptor", "3 to 1023"),
        ("[hunter2]", ".pkcs11.pin", "found a list"),
        ("{file: /p, credential: hunter2}", ".pkcs11.pin", "expected one of"),
        ("{}", ".pkcs11.pin", "expected one of"),
        ("~", ".pkcs11.pin", "found nothing"),
        ("{file: /p, file: /hunter2}", ".pkcs11.pin.file", "given twice"),
    ] {
        assert_refused(pin(wrong), key, said);
    }
    for digits in [
        "1234",
        "\"1234\"",
        "{1234}",
        "{1234: x}",
        "{credential: \"1234\"}",
        "{descriptor: 1234}",
        "{file: 1234}",
    ] {
        let error = pin(digits).expect_err(digits);
        let all = format!("{error} {error:?}");
        assert!(!all.contains("1234"), "{all}");
    }
    for (admin, key) in [
        ("hunter2", ".pkcs11.admin"),
        ("{hunter2}", ".pkcs11.admin"),
        ("{pin: hunter2}", ".pkcs11.admin.pin"),
        ("{pin: {hunter2}}", ".pkcs11.admin.pin"),
        ("{pin: {file: /p}, hunter2: 1}", ".pkcs11.admin"),
    ] {
        assert_refused(token(&format!("admin: {admin}")), key, "");
    }
    let uri = |uri: &str| {
        parse(file_with(&format!(
            "module: /m.so, token: \"{uri}\", pin: {{file: /p}}"
        )))
    };
    assert_refused(uri("pkcs11:token=a?pin-value=hunter2"), ".pkcs11.token", "`pin` says");
    assert_refused(uri("pkcs11:token=a;hunter2=1"), ".pkcs11.token", "none of `token`");
}

#[test]
fn each_value_of_a_token_has_its_bounds() {
    for good in [
        "sessions: 1",
        "sessions: 4",
        "call_timeout: 1s",
        "call_timeout: 25s",
        "open_timeout: 10m",
        "login: user",
        "login: \"vendor:3\"",
        "login: vendor:0xffffffff",
        "mechanism: auto",
        "mechanism: aes-gcm",
        "mechanism: aes-kwp",
        "mechanism: rsa-oaep-sha256",
        "environment: []",
        "environment: [_A1=]",
        "environment: [TPM2_PIN_FILE=/p, PIN_PATH=/p, PINNED=1, AUTHOR=x, KEY_LABEL=x, X_TOKEN=/p, URL=https://u@h/a:b@c]",
        "versions: []",
        "versions: [{number: 9999, label: \"0123456789012345678901234567890123456789\"}]",
        "versions: [{number: 1, label: a, activates: 2026-03-01T12:00:00Z, retired: 2026-03-01T12:00:00Z}]",
    ] {
        token(good).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
}

#[test]
fn two_root_keys_share_a_token_but_no_key() {
    let entry = |name: &str, token: &str, versions: &str| {
        format!("  - {{name: {name}, pkcs11: {{module: /m, token: {token}, login: none, versions: [{versions}]}}}}\n")
    };
    let list = |entries: &[String]| parse(format!("apiVersion: dekhand/v1\nroot_keys:\n{}", entries.concat()));
    let by_id = "{number: 1, id: aabbccddeeff0011}";
    let by_label = "{number: 1, label: one}";
    list(&[entry("a", "t", ""), entry("b", "t", "")]).unwrap();
    list(&[entry("a", "t", by_label), entry("b", "u", by_label)]).unwrap();
    for (entries, key) in [
        ([entry("a", "t", ""), entry("a", "u", "")], "name"),
        (
            [entry("a", "t", by_id), entry("b", "t", by_id)],
            "pkcs11.versions[0].id",
        ),
        (
            [entry("a", "t", by_id), entry("b", "u", by_id)],
            "pkcs11.versions[0].id",
        ),
        (
            [entry("a", "t", by_label), entry("b", "t", by_label)],
            "pkcs11.versions[0].label",
        ),
    ] {
        let error = list(&entries).expect_err(key);
        assert_eq!(error.key, Some(format!("root_keys[1].{key}")), "{error}");
        assert!(error.problem.contains("`root_keys[0]`"), "{error}");
    }
    let config = list(&[entry("a", "t", ""), entry("b", "t", "")]).unwrap();
    assert_eq!(options(&config, 0).module, Path::new("/m"));
}

#[test]
fn without_a_login_there_are_no_private_keys() {
    let read = |more: &str| parse(file_with(&format!("module: /m.so, token: kube, {more}")));
    for (more, private) in [
        ("pin: {file: /p}", true),
        ("pin: {file: /p}, private: false", false),
        ("login: protected-path", true),
        ("login: none", false),
        ("login: none, private: false", false),
    ] {
        assert_eq!(options(&read(more).unwrap(), 0).private, private, "{more}");
    }
    let refused = read("login: none, private: true").unwrap_err().to_string();
    assert!(
        refused.contains("private") && refused.contains("`login: none`"),
        "{refused}"
    );
}
