//! The configuration: no text panics its reader, a refusal fits on a line, and what is accepted can be shown and loaded
//! again.

use std::path::Path;

use dekhand::config::Config;
use dekhand::config::Effective;
use dekhand::config::Overrides;

/// Checks one input. Says whether it is a configuration.
pub(crate) fn check(text: &[u8]) -> bool {
    let (file, overrides) = (Path::new("config.yaml"), Overrides::default());
    match Config::parse(file, text, &overrides) {
        Ok(config) => {
            let shown = Effective::new(&config, file, text, &overrides).to_yaml();
            let again = Config::parse(file, shown.as_bytes(), &overrides).expect("what is shown loads");
            assert_eq!(again, config);
            true
        }
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() < 2000 && !said.contains(char::is_control), "{said:?}");
            false
        }
    }
}
