//! The high-water file `primary`: for each root key, the highest version that this node has reported. Survives
//! restarts.

use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::files;
use crate::files::FileError;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Number;

const LIMIT: u64 = 64 * 1024;
const API_VERSION: &str = "dekhand/primary/v1";

/// The highest version that this node reported as its primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HighWater {
    /// Its number.
    pub number: Number,
    /// Its id.
    pub id: KeyId,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    api_version: String,
    root_keys: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: RootKeyName,
    primary: HighWater,
}

/// The high-water file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HighWaterError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The content is not in the format that dekhand writes.
    #[error(
        "{path} is damaged: it records the version that this node reported last; restore it, or remove it if the store \
         has every version that any node has ever reported"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A newer release wrote the file.
    #[error("{path} has apiVersion `{found}`, and this release supports `{API_VERSION}`")]
    ApiVersion {
        /// The file.
        path: PathBuf,
        /// The apiVersion of the file.
        found: String,
    },
}

/// The file `primary` in a state directory.
#[derive(Clone, Debug)]
pub struct HighWaterFile {
    path: PathBuf,
}

impl HighWaterFile {
    /// The file of a state directory; it need not exist.
    pub fn of(state: &Path) -> Self {
        Self {
            path: state.join("primary"),
        }
    }

    /// The recorded version of one root key; `None` if this node never reported a version of it.
    ///
    /// # Errors
    /// The file cannot be read or is damaged. This must not be treated as `None`: an older version could then encrypt.
    pub fn read(&self, name: &RootKeyName) -> Result<Option<HighWater>, HighWaterError> {
        let entries = self.entries()?;
        Ok(entries
            .into_iter()
            .find(|entry| entry.name == *name)
            .map(|entry| entry.primary))
    }

    /// Whether this node ever reported a version of any root key.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn has_any(&self) -> Result<bool, HighWaterError> {
        Ok(!self.entries()?.is_empty())
    }

    /// Records that this node reports `primary` from now on. On disk before this returns.
    ///
    /// # Errors
    /// The file cannot be written; the old content remains.
    pub fn write(&self, name: &RootKeyName, primary: HighWater) -> Result<(), HighWaterError> {
        let _lock = self.lock()?;
        let mut entries = self.entries()?;
        entries.retain(|entry| entry.name != *name);
        entries.push(Entry {
            name: name.clone(),
            primary,
        });
        self.replace(entries)
    }

    /// Removes the record of one root key, because the operator accepts that the version is lost.
    ///
    /// # Errors
    /// The file cannot be written; the old content remains.
    pub fn forget(&self, name: &RootKeyName) -> Result<(), HighWaterError> {
        let _lock = self.lock()?;
        let mut entries = self.entries()?;
        entries.retain(|entry| entry.name != *name);
        self.replace(entries)
    }

    // Two processes change the file: the daemon and `keys accept-loss`.
    fn lock(&self) -> Result<files::Lock, FileError> {
        files::lock(&files::with_suffix(&self.path, ".lock"))
    }

    fn entries(&self) -> Result<Vec<Entry>, HighWaterError> {
        let content = match files::read_state(&self.path, LIMIT) {
            Ok(content) => content,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let File { api_version, root_keys } =
            serde_json::from_slice(&content).map_err(|source| HighWaterError::Damaged {
                path: self.path.clone(),
                source,
            })?;
        if api_version == API_VERSION {
            Ok(root_keys)
        } else {
            Err(HighWaterError::ApiVersion {
                path: self.path.clone(),
                found: api_version,
            })
        }
    }

    fn replace(&self, root_keys: Vec<Entry>) -> Result<(), HighWaterError> {
        let file = File {
            api_version: API_VERSION.into(),
            root_keys,
        };
        let content = serde_json::to_vec_pretty(&file).map_err(|source| HighWaterError::Damaged {
            path: self.path.clone(),
            source,
        })?;
        Ok(files::replace(&self.path, &content)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn high_water(number: u16) -> HighWater {
        HighWater {
            number: Number::try_from(number).unwrap(),
            id: KeyId::random().unwrap(),
        }
    }

    #[test]
    fn each_root_key_has_a_mark_of_its_own_that_outlives_the_process() {
        let state = tempfile::tempdir().unwrap();
        let file = HighWaterFile::of(state.path());
        let (one, two): (RootKeyName, RootKeyName) = ("one".parse().unwrap(), "two".parse().unwrap());
        assert_eq!(file.read(&one).unwrap(), None);
        let (first, second) = (high_water(3), high_water(7));
        file.write(&one, first.clone()).unwrap();
        file.write(&two, second.clone()).unwrap();
        assert_eq!(HighWaterFile::of(state.path()).read(&one).unwrap(), Some(first));
        file.forget(&one).unwrap();
        assert_eq!(
            (file.read(&one).unwrap(), file.read(&two).unwrap()),
            (None, Some(second))
        );
    }

    #[test]
    fn a_damaged_mark_is_an_error_and_never_none() {
        let state = tempfile::tempdir().unwrap();
        let file = HighWaterFile::of(state.path());
        for content in ["", "{", "{\"apiVersion\":\"dekhand/primary/v2\",\"rootKeys\":[]}"] {
            files::replace(&state.path().join("primary"), content.as_bytes()).unwrap();
            assert!(file.read(&"one".parse().unwrap()).is_err(), "{content}");
            assert!(file.write(&"one".parse().unwrap(), high_water(1)).is_err(), "{content}");
        }
    }
}
