//! Activation: the date from which a pending version encrypts.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::root_key::high_water::HighWater;
use crate::root_key::primary::by_calendar;
use crate::root_key::rotation::Rotation;
use crate::root_key::rotation::error::RotationError;
use crate::root_key::rotation::find;
use crate::root_key::rotation::refusal::Refusal;
use crate::root_key::version::Selector;
use crate::root_key::version::State;
use crate::root_key::version::Version;

/// The latest date, from now: a later one would be a typing error or a wrong clock.
const FARTHEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The moment that an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// This time from now, by this node's clock.
    In(Duration),
    /// This moment.
    At(Timestamp),
}

/// A version that was given a date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dated {
    /// The version with its new date.
    pub version: Version,
    /// The date.
    pub at: Timestamp,
    /// The former date. A node that does not see the new one in time uses the former one.
    pub before: Option<Timestamp>,
}

impl Rotation<'_> {
    /// Dates the pending version, or the selected one of several. `recorded` is the version of the root key that this
    /// node has reported.
    ///
    /// # Errors
    /// The version is not pending, the moment is not allowed, or the reported version is missing from the store; or the
    /// store fails.
    pub async fn activate(
        &self,
        selector: Option<&Selector>,
        when: When,
        recorded: Option<&HighWater>,
    ) -> Result<Dated, RotationError> {
        let dated = self.plan_activate(selector, when, recorded).await?;
        self.relabel(&dated.version).await?;
        Ok(dated)
    }

    /// The version as [`Rotation::activate`] would date it.
    ///
    /// # Errors
    /// As for [`Rotation::activate`].
    pub async fn plan_activate(
        &self,
        selector: Option<&Selector>,
        when: When,
        recorded: Option<&HighWater>,
    ) -> Result<Dated, RotationError> {
        let (versions, now) = (self.versions(recorded).await?, self.clock.now());
        if matches!(when, When::In(_)) {
            check_clock(&versions, now)?;
        }
        let version = match selector {
            Some(selector) => find(&versions, selector)?,
            None => only_pending(&versions, now)?,
        };
        let before = match version.state {
            State::Pending => None,
            State::ActiveFrom(moment) if moment > now => {
                // It may be in the future by this node's clock alone.
                check_clock(&versions, now)?;
                Some(moment)
            }
            State::ActiveFrom(since) => {
                let number = version.number;
                return Err(Refusal::AlreadyActive { number, since }.into());
            }
            State::RetiredSince(since) => {
                let number = version.number;
                return Err(Refusal::Retired { number, since }.into());
            }
        };
        let at = match when {
            When::In(duration) => self.moment_in(duration)?,
            When::At(moment) => self.date_from(check_moment(moment, now)?),
        };
        check_order(version, at, &versions)?;
        let state = State::ActiveFrom(at);
        let version = Version {
            state,
            ..version.clone()
        };
        Ok(Dated { version, at, before })
    }

    /// The store's date that lies `duration` ahead.
    pub(super) fn moment_in(&self, duration: Duration) -> Result<Timestamp, Refusal> {
        let now = self.clock.now();
        Ok(self.date_from(check_moment(now.after(duration), now)?))
    }
}

fn only_pending(versions: &[Version], now: Timestamp) -> Result<&Version, Refusal> {
    let pending: Vec<&Version> = versions
        .iter()
        .filter(|version| version.state.is_pending(now))
        .collect();
    match pending.as_slice() {
        [version] => Ok(version),
        [] => Err(Refusal::NothingPending),
        several => Err(Refusal::SeveralPending {
            ids: several.iter().map(|version| version.id.clone()).collect(),
        }),
    }
}

/// With a clock that is behind, "in ten minutes" would be in the past for all other nodes. So the dates in the store
/// that must have passed are compared with the clock.
pub(super) fn check_clock(versions: &[Version], now: Timestamp) -> Result<(), Refusal> {
    let retired = versions.iter().filter_map(|version| match version.state {
        // The date of a retirement is never in the future.
        State::RetiredSince(moment) => Some(moment),
        State::Pending | State::ActiveFrom(_) => None,
    });
    let active = versions.iter().filter_map(|version| match version.state {
        State::ActiveFrom(moment) => Some(moment),
        State::Pending | State::RetiredSince(_) => None,
    });
    let unreached = match by_calendar(versions, now) {
        Some(_) => None,
        None => active.min(),
    };
    match retired.chain(unreached).max() {
        Some(seen) if seen > now => Err(Refusal::ClockBehind { now, seen }),
        _ => Ok(()),
    }
}

fn check_moment(at: Timestamp, now: Timestamp) -> Result<Timestamp, Refusal> {
    if at < now {
        Err(Refusal::Past { at, now })
    } else if at > now.after(FARTHEST) {
        Err(Refusal::TooFar { at, now })
    } else {
        Ok(at)
    }
}

/// Versions become primary in the order of their numbers.
fn check_order(version: &Version, at: Timestamp, versions: &[Version]) -> Result<(), Refusal> {
    let number = version.number;
    for other in versions {
        if let State::ActiveFrom(from) = other.state {
            if other.number > number {
                let higher = other.number;
                return Err(Refusal::Below { number, higher, from });
            }
            if other.number < number && from > at {
                let lower = other.number;
                return Err(Refusal::BeforeLower { number, lower, from });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
