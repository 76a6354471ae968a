//! The values of a worker's environment variables. The spawner reads those that are secrets, at each start of a worker.

use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::files;
use crate::files::FileError;
use crate::token::credential;
use crate::token::credential::CredentialError;

/// Linux passes no longer string to a program.
const LIMIT: u64 = 128 << 10;

/// A variable that the module reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentVariable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: VariableValue,
}

/// Where a variable's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VariableValue {
    /// The configuration, which everybody may read.
    Text(String),
    /// A file that only its owner can read.
    File(PathBuf),
    /// A credential of this name, in the directory that systemd gives the service.
    Credential(String),
}

/// A variable's value cannot be read. The error contains nothing of what was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VariableError {
    /// The file cannot be read.
    #[error("its file cannot be read")]
    File(#[from] FileError),
    /// The credential cannot be read.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// A program's environment cannot contain it.
    #[error("its value has a zero byte")]
    Zero,
}

impl VariableValue {
    /// The value now, without a line break at its end.
    ///
    /// # Errors
    /// The file or credential cannot be read, or other users could read it.
    pub(crate) fn read(&self) -> Result<OsString, VariableError> {
        let (bytes, _) = match self {
            Self::Text(text) => return Ok(text.into()),
            Self::File(path) => files::read_secret(path, LIMIT)?,
            Self::Credential(name) => {
                let directory = env::var_os(credential::DIRECTORY);
                credential::read(name, directory.as_deref(), LIMIT)?
            }
        };
        if bytes.contains(&0) {
            return Err(VariableError::Zero);
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        Ok(OsString::from_vec(line.strip_suffix(b"\r").unwrap_or(line).to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_value_comes_from_a_file_that_only_its_owner_can_read_and_is_not_in_the_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::write(&path, "hunter2\n").unwrap();
        set_mode(0o600);
        let value = VariableValue::File(path.clone());
        assert_eq!(value.read().unwrap(), "hunter2");
        set_mode(0o644);
        let error = value.read().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        std::fs::write(&path, "hunter2\0").unwrap();
        set_mode(0o600);
        let error = value.read().unwrap_err();
        assert!(matches!(error, VariableError::Zero), "{error}");
        assert!(matches!(
            VariableValue::Credential("../key".to_owned()).read(),
            Err(VariableError::Credential(CredentialError::Name))
        ));
    }
}
