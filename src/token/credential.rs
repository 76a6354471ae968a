//! A credential that systemd gives to the service, as a file in a directory of its own (systemd.exec, `LoadCredential=`).

use std::ffi::OsStr;
use std::fs::Metadata;
use std::path::Path;

use zeroize::Zeroizing;

use crate::files;
use crate::files::FileError;

/// The variable in which systemd passes the directory of a service's credentials.
pub(super) const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// A credential cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    /// This process has no credentials.
    #[error(
        "the credential {0} is configured, but this process has no credentials ({DIRECTORY} is not set): start it as a \
         service with LoadCredential={0}:PATH, or configure a file"
    )]
    None(String),
    /// The name is not a file name in the directory of credentials.
    #[error("the configured name of a credential is not a file name")]
    Name,
    /// The file cannot be read.
    #[error("the credential cannot be read")]
    File(#[from] FileError),
}

/// Reads the credential of this name in the directory of credentials, at most `limit` bytes.
pub(super) fn read(
    name: &str,
    directory: Option<&OsStr>,
    limit: u64,
) -> Result<(Zeroizing<Vec<u8>>, Metadata), CredentialError> {
    if name.contains(['/', '\0']) || ["", ".", ".."].contains(&name) {
        return Err(CredentialError::Name);
    }
    match directory.map(Path::new) {
        Some(directory) if directory.is_absolute() => Ok(files::read_granted(&directory.join(name), limit)?),
        _ => Err(CredentialError::None(name.to_owned())),
    }
}
