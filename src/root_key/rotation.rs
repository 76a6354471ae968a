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
use crate::root_key::rotation::refusal::Refusal;
use crate::root_key::version::Number;
use crate::root_key::version::Selector;
use crate::root_key::version::State;
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

/// Whether a version is not active yet: it has no date, or a future one.
pub fn is_pending(version: &Version, now: Timestamp) -> bool {
    match version.state {
        State::Pending => true,
        State::ActiveFrom(moment) => moment > now,
        State::RetiredSince(_) => false,
    }
}

/// The version that encrypts by the store and the calendar alone: the highest whose activation has passed. A node may
/// still use the one before: it switches when it has made a data key under the new one, and never back
/// (`root_key::primary`).
pub fn primary(versions: &[Version], now: Timestamp) -> Option<&Version> {
    let active = versions.iter().filter(|version| version.state.is_active(now));
    active.max_by(|one, other| one.rank().cmp(&other.rank()))
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

/// Checks that the store has the version that this node has reported as its primary. A store without it was lost, or is
/// a copy from before the version was made.
///
/// # Errors
/// The version is missing from the store.
pub fn check_recorded(versions: &[Version], recorded: Option<&HighWater>) -> Result<(), Refusal> {
    match recorded {
        Some(HighWater { number, id }) if !versions.iter().any(|version| version.id == *id) => Err(Refusal::Lost {
            number: *number,
            id: id.clone(),
        }),
        _ => Ok(()),
    }
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
