//! The copy of the last good configuration, with which the daemon starts if the file is broken.

use std::path::Path;
use std::path::PathBuf;

use crate::config::Config;
use crate::config::error::ConfigError;
use crate::config::error::Fault;
use crate::config::name::DaemonName;
use crate::config::overrides::Overrides;
use crate::config::preflight;
use crate::config::resolve::default_state;
use crate::files;
use crate::files::FileError;

const NAME: &str = "config.good.yaml";
/// The first line names the original file: a daemon must not start with the copy of another daemon's file.
const HEAD: &str = "# the last good configuration that dekhand read from ";
/// Bytes of the longest copy: the text, and a first line with a path of 4096 bytes, each of them escaped.
const LIMIT: u64 = preflight::LIMIT as u64 + 32 * 1024;

/// The origin of a configuration.
#[derive(Debug)]
pub enum ConfigOrigin {
    /// The file.
    File,
    /// The copy, because the file is broken.
    GoodCopy {
        /// The copy's path.
        copy: PathBuf,
        /// What is wrong with the file.
        error: Box<ConfigError>,
    },
}

/// Keeps a copy of the good configuration `text`, read from `file`, in the state directory, which must exist.
///
/// # Errors
/// The copy cannot be written; an older copy then stays as it is.
pub fn keep_good_copy(state: &Path, file: &Path, text: &[u8]) -> Result<(), FileError> {
    let mut content = head(file).into_bytes();
    content.extend_from_slice(text);
    files::replace(&state.join(NAME), &content)
}

fn head(file: &Path) -> String {
    let absolute = std::path::absolute(file);
    let name = absolute.as_deref().unwrap_or(file).display().to_string();
    format!("{HEAD}{}\n", name.escape_debug())
}

/// The configuration of `file`, or of its good copy if the file is broken or missing.
///
/// # Errors
/// The error in the file, if it has no usable copy.
pub fn load_or_good_copy(file: &Path, overrides: &Overrides) -> Result<(Config, ConfigOrigin), ConfigError> {
    let content = match Config::read(file) {
        Ok(content) => content,
        Err(error) => return good_copy(file, b"", error, overrides),
    };
    match Config::parse(file, &content, overrides) {
        Ok(config) => Ok((config, ConfigOrigin::File)),
        Err(error) => good_copy(file, &content, error, overrides),
    }
}

fn good_copy(
    file: &Path,
    broken: &[u8],
    error: ConfigError,
    overrides: &Overrides,
) -> Result<(Config, ConfigOrigin), ConfigError> {
    let copy = state_of_broken(broken).join(NAME);
    match read_copy(file, &copy, overrides) {
        Ok(Some(config)) => {
            let error = Box::new(error);
            Ok((config, ConfigOrigin::GoodCopy { copy, error }))
        }
        Ok(None) => Err(error),
        Err(reason) => {
            let hint = error.hint.map(|hint| hint + "; ").unwrap_or_default();
            let hint = Some(format!("{hint}the good copy cannot be used either: {reason}"));
            Err(ConfigError { hint, ..error })
        }
    }
}

/// The copy, if there is one of this file.
fn read_copy(file: &Path, copy: &Path, overrides: &Overrides) -> Result<Option<Config>, ConfigError> {
    let content = match files::read_private(copy, LIMIT) {
        Ok(content) => content,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => {
            let reason = error.to_string();
            let refusal = Fault::new(reason);
            return Err(ConfigError {
                source: Some(Box::new(error)),
                ..ConfigError::new(copy, refusal)
            });
        }
    };
    let Some(text) = content.strip_prefix(head(file).as_bytes()) else {
        return Err(ConfigError::new(copy, Fault::new("this is the copy of another file")));
    };
    Config::parse(copy, text, overrides).map(Some)
}

/// The state directory that a broken file names, found without a parser.
fn state_of_broken(content: &[u8]) -> PathBuf {
    let content = String::from_utf8_lossy(content);
    let value = |key: &str| {
        content.lines().find_map(|line| {
            let value = line.strip_prefix(key)?.strip_prefix(':')?;
            let value = value.split(" #").next()?.trim();
            let value = value.trim_matches(['"', '\'']);
            (!value.is_empty()).then(|| value.to_owned())
        })
    };
    match value("state") {
        Some(state) if state.starts_with('/') => state.into(),
        _ => {
            let name = value("name").and_then(|name| name.parse::<DaemonName>().ok());
            default_state(&name.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_directory_of_a_broken_file_is_found() {
        for (text, state) in [
            ("state: /a/b\n][", "/a/b"),
            ("x\nstate:   \"/a b\"   # there\r\n", "/a b"),
            ("state: '/a'", "/a"),
            ("\u{0}\nstate:\nname: two", "/var/lib/two"),
            ("  state: /a\n", "/var/lib/dekhand"),
            ("state: a\n", "/var/lib/dekhand"),
            ("name: ../x\n", "/var/lib/dekhand"),
            ("", "/var/lib/dekhand"),
        ] {
            assert_eq!(state_of_broken(text.as_bytes()), Path::new(state), "{text}");
        }
        assert_eq!(state_of_broken(b"\xff\nstate: /a"), Path::new("/a"));
    }
}
