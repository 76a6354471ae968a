//! Files that cannot be trusted or used, and the good copy that replaces them.

use std::path::Path;

use dekhand::config::Config;
use dekhand::config::ConfigOrigin;
use dekhand::config::Overrides;
use dekhand::config::keep_good_copy;

use crate::Home;

#[test]
fn a_file_that_others_can_write_is_refused() {
    let home = Home::new();
    home.write(&home.text, 0o644);
    Config::load(&home.file, &Overrides::default()).unwrap();
    home.write(&home.text, 0o664);
    let error = Config::load(&home.file, &Overrides::default()).unwrap_err();
    let source = error.source.expect("the cause is told").to_string();
    assert!(source.contains("chmod go-w"), "{source}");
}

#[test]
fn a_broken_file_is_replaced_by_its_good_copy() {
    let home = Home::new();
    home.write(&home.text, 0o600);
    let (good, origin) = home.load().unwrap();
    assert!(matches!(origin, ConfigOrigin::File));
    home.keep();
    for broken in [format!("{}nmae: a\n", home.text), format!("{}][", home.text)] {
        home.write(&broken, 0o600);
        let (config, origin) = home.load().unwrap();
        assert_eq!(config, good);
        let ConfigOrigin::GoodCopy { copy, error } = origin else {
            panic!("the file was taken");
        };
        assert_eq!(copy, home.directory.path().join("config.good.yaml"));
        assert!(error.place.is_some(), "{error}");
    }
    home.write(&home.text, 0o600);
    assert!(matches!(home.load().unwrap().1, ConfigOrigin::File));
}

#[test]
fn the_longest_configuration_has_a_good_copy_too() {
    let home = Home::new();
    let text = format!("{}{}", home.text, "#".repeat(64 * 1024 - home.text.len()));
    keep_good_copy(home.directory.path(), &home.file, text.as_bytes()).unwrap();
    home.write(&format!("{}x", home.text), 0o600);
    assert!(matches!(home.load().unwrap().1, ConfigOrigin::GoodCopy { .. }));
}

#[test]
fn without_a_copy_of_this_very_file_its_error_stands() {
    let home = Home::new();
    home.write(&format!("{}nmae: a\n", home.text), 0o600);
    let error = home.load().unwrap_err();
    assert_eq!(
        (error.key.as_deref(), error.hint.as_deref()),
        (Some("nmae"), Some("did you mean `name`?"))
    );
    // Another daemon's copy, a copy that other users could read, and a broken copy.
    keep_good_copy(home.directory.path(), Path::new("/other"), home.text.as_bytes()).unwrap();
    let error = home.load().unwrap_err();
    assert!(error.hint.unwrap().contains("copy of another file"));
    keep_good_copy(home.directory.path(), &home.file, b"a").unwrap();
    let error = home.load().unwrap_err();
    assert_eq!(error.key.as_deref(), Some("nmae"));
    let hint = error.hint.unwrap();
    assert!(hint.contains("expected a section"), "{hint}");
}
