//! The rules of rotation: which commands on the versions of a root key are allowed, and when.

pub mod accept_loss;
pub mod activate;
pub mod create;
pub mod error;
pub mod refusal;
pub mod retire;
pub mod verify;

use std::time::Duration;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::root_key::Admin;
use crate::root_key::high_water::HighWater;
use crate::root_key::name::RootKeyName;
use crate::root_key::primary::reported;
use crate::root_key::rotation::error::RotationError;
use crate::root_key::rotation::refusal::Refusal;
use crate::root_key::version::Number;
use crate::root_key::version::Selector;
use crate::root_key::version::Version;

/// The rules, applied to one root key by one command.
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'a> {
    /// The store of its versions. If the store supports it, no other command changes them at the same time.
    pub admin: &'a dyn Admin,
    /// Its name.
    pub name: &'a RootKeyName,
    /// This node's clock, which dates versions.
    pub clock: &'a Clock,
    /// Whether one store serves all nodes.
    pub shared: bool,
    /// The resolution of dates in the store.
    pub step: Duration,
}

impl Rotation<'_> {
    /// The versions of the store, which must have the one that this node has reported as its primary.
    async fn versions(&self, recorded: Option<&HighWater>) -> Result<Vec<Version>, RotationError> {
        let versions = self.admin.versions().await?;
        reported(&versions, recorded).map_err(Refusal::from)?;
        Ok(versions)
    }

    /// Gives a version the state that a plan has for it.
    async fn relabel(&self, planned: &Version) -> Result<(), RotationError> {
        Ok(self.admin.relabel(&planned.id, planned.state).await?)
    }

    /// The latest date of the store that is not after `moment`.
    fn date_until(&self, moment: Timestamp) -> Timestamp {
        date_until(moment, self.step)
    }

    /// The earliest date of the store that is not before `moment`: no node may encrypt earlier than the operator asked.
    fn date_from(&self, moment: Timestamp) -> Timestamp {
        let until = self.date_until(moment);
        if until == moment {
            moment
        } else {
            until.after(self.step)
        }
    }
}

/// The latest date that is not after `moment`, in multiples of `step`. For dates that must take effect at once.
fn date_until(moment: Timestamp, step: Duration) -> Timestamp {
    Timestamp::from_unix(moment.unix() - moment.unix() % step.as_secs().max(1))
}

/// The version that a selector names.
///
/// # Errors
/// The selector names no version, or several.
pub fn find<'a>(versions: &'a [Version], selector: &Selector) -> Result<&'a Version, Refusal> {
    let named: Vec<&Version> = versions.iter().filter(|version| selector.names(version)).collect();
    match named.as_slice() {
        [version] => Ok(version),
        [] => Err(Refusal::Unknown {
            selector: selector.clone(),
            known: versions.iter().map(|version| version.number).collect(),
        }),
        several => Err(Refusal::Ambiguous {
            selector: selector.clone(),
            ids: several.iter().map(|version| version.id.clone()).collect(),
        }),
    }
}

/// The operator's confirmation of a step that cannot be undone: `NAME.vN`.
pub fn confirmation(name: &RootKeyName, number: Number) -> String {
    format!("{name}.{number}")
}

fn check_confirmation(name: &RootKeyName, number: Number, given: Option<&str>) -> Result<(), Refusal> {
    let expected = confirmation(name, number);
    if given == Some(expected.as_str()) {
        Ok(())
    } else {
        Err(Refusal::NotConfirmed { expected })
    }
}

#[cfg(test)]
mod tests;
