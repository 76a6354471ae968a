//! Why a command on versions did not do what it should.

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
        "{} (id {}) was made, but could not be given its date: it is pending; `dekhand keys activate {}` dates it",
        made.number, made.id, made.number
    )]
    Undated {
        /// The version.
        made: Version,
        /// What the store said.
        source: Error,
    },
    /// A version was made, and the store does not show it.
    #[error(
        "the store does not list {} (id {}), which it has just made: nothing must encrypt under it before \
         `dekhand keys list` shows it on every node",
        made.number, made.id
    )]
    Unlisted {
        /// The version.
        made: Version,
    },
    /// Two versions of one number were made at once, and this command's could not be taken back.
    #[error(
        "{number} (id {kept}) was made by another command at the same time; this one's, id {own}, should be destroyed \
         and could not be"
    )]
    NotTakenBack {
        /// The number of both.
        number: Number,
        /// The version that stays.
        kept: KeyId,
        /// The version that this command made.
        own: KeyId,
        /// What the store said.
        source: Error,
    },
}
