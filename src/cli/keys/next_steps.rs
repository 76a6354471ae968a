//! The next steps that a command prints, by the kind of store.

use crate::cli::keys::target::Target;
use crate::clock::Timestamp;
use crate::config::RootKeyStore;
use crate::root_key::version::Number;

/// After a pending version was created.
pub(super) fn bring_to_other_nodes(target: &Target) -> String {
    if target.shared {
        return "next: set the date from which it encrypts, with `dekhand keys activate --in 10m`; until then it only \
                decrypts"
            .to_owned();
    }
    let how = match &target.store {
        RootKeyStore::Keyring(options) => format!("copy {} to every other node", options.file.display()),
        RootKeyStore::Pkcs11(_) => {
            "copy this key, with its id and its label, into the token of every other node with the tools of \
                             the token's vendor"
                .to_owned()
        }
    };
    format!("next: {how}, run `dekhand keys verify` there, then `dekhand keys activate`")
}

/// After a key was created.
pub(super) fn keep_a_copy(target: &Target) -> String {
    let how = match &target.store {
        RootKeyStore::Keyring(options) => {
            format!("keep a copy of {} where only you can read it", options.file.display())
        }
        RootKeyStore::Pkcs11(_) => "keep a backup of the token, made with the vendor's tools".to_owned(),
    };
    format!("{how}: without this key, all data encrypted under it is lost")
}

/// After a version was activated, where each node has a store of its own.
pub(super) fn same_date(target: &Target, at: Timestamp) -> String {
    let or_copy = match &target.store {
        RootKeyStore::Keyring(options) => format!(", or copy {}", options.file.display()),
        RootKeyStore::Pkcs11(_) => String::new(),
    };
    format!("next: set the same date on every other node (`dekhand keys activate --at {at}` there{or_copy})")
}

/// After a version was retired or restored, where each node has a store of its own.
pub(super) fn same_elsewhere(target: &Target) -> String {
    let or_copy = match &target.store {
        RootKeyStore::Keyring(options) => format!(", or copy {} there", options.file.display()),
        RootKeyStore::Pkcs11(_) => String::new(),
    };
    format!("next: do the same on every other node{or_copy}")
}

/// After a version was destroyed.
pub(super) fn other_copies(target: &Target, number: Number) -> String {
    match &target.store {
        RootKeyStore::Keyring(options) => format!(
            "destroyed here; copies of {} on other nodes and in backups still hold the key",
            options.file.display()
        ),
        RootKeyStore::Pkcs11(options) if !options.versions.is_empty() => {
            format!("destroyed here; now remove {number} from `versions:` in the configuration of every node")
        }
        RootKeyStore::Pkcs11(_) => {
            "destroyed here; other tokens, backups and clones of this token may still hold the key".to_owned()
        }
    }
}
