//! The errors of commands on versions.

use crate::root_key::error::Error;
use crate::root_key::high_water::HighWaterError;
use crate::root_key::id::KeyId;
use crate::root_key::rotation::refusal::Refusal;
use crate::root_key::version::Number;
use crate::root_key::version::Version;

/// A command on versions failed.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The rules forbid it; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
    /// The state directory failed.
    #[error(transparent)]
    HighWater(#[from] HighWaterError),
    /// A version was made, but could not be dated.
    #[error(
        "{} (id {}) was made, but could not be dated: it is pending; run `dekhand keys activate {}` to date it",
        made.number, made.id, made.number
    )]
    Undated {
        /// The version.
        made: Version,
        /// The store's error.
        source: Error,
    },
    /// A version was made, but the store does not list it.
    #[error(
        "{} (id {}) was made, but the store does not list it: do not activate it before `dekhand keys list` shows it \
         on every node",
        made.number, made.id
    )]
    Unlisted {
        /// The version.
        made: Version,
    },
    /// Two commands made versions of one number at once, and this command could not destroy its own.
    #[error(
        "another command made {number} (id {kept}) at the same time; the duplicate that this command made (id {own}) \
         should be destroyed, but could not be"
    )]
    NotTakenBack {
        /// The number of both.
        number: Number,
        /// The version that stays.
        kept: KeyId,
        /// The version that this command made.
        own: KeyId,
        /// The store's error.
        source: Error,
    },
}
