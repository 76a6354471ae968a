//! The digest in a keyring file: it finds truncation, bit flips and hand edits, not forgery.
//!
//! SHA-256 (FIPS 180-4) over fields, each written as its length in bytes, 4 bytes big endian, and then its bytes:
//!
//! 1. `dekhand/keyring/v1`
//! 2. the root key's name
//! 3. for each version, in the order of the file:
//!    1. the number, 2 bytes big endian
//!    2. the id's bytes
//!    3. `pending`, `active` or `retired`
//!    4. the seconds of `since` after 1970-01-01T00:00:00Z, 8 bytes big endian; no bytes when it is pending
//!    5. `generated` or `imported`
//!    6. the 32 bytes of the key
//!
//! Anyone who can write the file can also write a matching digest: the file is protected by its owner and mode.

use sha2::Digest as _;
use sha2::Sha256;

use crate::backend::keyring::content::KeyringContent;
use crate::backend::keyring::content::KeyringEntry;
use crate::backend::keyring::content::Origin;
use crate::root_key::version::State;
use crate::root_key::version::Version;

const DOMAIN: &[u8] = b"dekhand/keyring/v1";

/// The digest of the whole content of a keyring.
pub(super) fn digest(content: &KeyringContent) -> [u8; 32] {
    let KeyringContent { name, entries } = content;
    let mut fields = Fields(Sha256::new());
    fields.add(DOMAIN);
    fields.add(name.as_str().as_bytes());
    for KeyringEntry { version, origin, key } in entries {
        let Version { number, state, id } = version;
        fields.add(&u16::from(*number).to_be_bytes());
        fields.add(id.as_bytes());
        fields.add(match state {
            State::Pending => b"pending",
            State::ActiveFrom(_) => b"active",
            State::RetiredSince(_) => b"retired",
        });
        match state.moment() {
            None => fields.add(&[]),
            Some(moment) => fields.add(&moment.unix().to_be_bytes()),
        }
        fields.add(match origin {
            Origin::Generated => b"generated",
            Origin::Imported => b"imported",
        });
        fields.add(key.expose());
    }
    fields.0.finalize().into()
}

struct Fields(Sha256);

impl Fields {
    fn add(&mut self, field: &[u8]) {
        // No field has 4 GiB: names, ids and keys are bounded by their types.
        let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
        self.0.update(length.to_be_bytes());
        self.0.update(field);
    }
}
