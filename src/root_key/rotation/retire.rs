//! The end of versions: retired, restored, destroyed.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::root_key::rotation::Rotation;
use crate::root_key::rotation::check_confirmation;
use crate::root_key::rotation::error::RotationError;
use crate::root_key::rotation::find;
use crate::root_key::rotation::primary;
use crate::root_key::rotation::refusal::Refusal;
use crate::root_key::version::Selector;
use crate::root_key::version::State;
use crate::root_key::version::Version;

/// A version is not retired sooner after it was the primary: by then every node has switched.
pub const NOT_PRIMARY_FOR: Duration = Duration::from_secs(3600);
/// A version is not destroyed sooner after it was retired, unless the operator says otherwise.
pub const RETENTION: Duration = Duration::from_secs(90 * 24 * 3600);
/// Nodes see a changed store with their next probe; a date nearer than this may be one that they go by already.
const NEAR: Duration = Duration::from_secs(5 * 60);
/// The finest step of dates in any store: labels of tokens have minutes.
const STEP: Duration = Duration::from_secs(60);

/// A version that was destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destroyed {
    /// What it was.
    pub version: Version,
    /// Since when it was retired: backups of etcd from before this moment may need it.
    pub retired_since: Timestamp,
}

impl Rotation<'_> {
    /// Retires a version: nothing under it is opened any more, until it is restored. `unaudited` says that the operator
    /// has looked at etcd.
    ///
    /// # Errors
    /// It encrypts, did so lately or will so soon, is retired, nobody has looked at etcd; or the store fails.
    pub async fn retire(&self, selector: &Selector, unaudited: bool) -> Result<Version, RotationError> {
        let retired = self.retirable(selector, unaudited).await?;
        self.admin.relabel(&retired.id, retired.state).await?;
        Ok(retired)
    }

    /// What [`Rotation::retire`] would make of the version.
    ///
    /// # Errors
    /// As there.
    pub async fn retirable(&self, selector: &Selector, unaudited: bool) -> Result<Version, RotationError> {
        let (versions, now) = (self.admin.versions().await?, self.clock.now());
        let version = find(&versions, selector)?;
        check_is_out_of_use(version, &versions, now)?;
        check_audit(version, unaudited)?;
        let state = State::RetiredSince(self.date_until(now));
        Ok(Version {
            state,
            ..version.clone()
        })
    }

    /// Takes a retired version back: it decrypts again, and never encrypts by this alone.
    ///
    /// # Errors
    /// It is not retired; or the store fails.
    pub async fn restore(&self, selector: &Selector) -> Result<Version, RotationError> {
        let restored = self.restorable(selector).await?;
        self.admin.relabel(&restored.id, restored.state).await?;
        Ok(restored)
    }

    /// What [`Rotation::restore`] would make of the version.
    ///
    /// # Errors
    /// As there.
    pub async fn restorable(&self, selector: &Selector) -> Result<Version, RotationError> {
        let (versions, now) = (self.admin.versions().await?, self.clock.now());
        let version = find(&versions, selector)?;
        let State::RetiredSince(since) = version.state else {
            let number = version.number;
            return Err(Refusal::NothingToRestore { number }.into());
        };
        let state = match restored(version, since, primary(&versions, now)) {
            State::ActiveFrom(moment) => State::ActiveFrom(self.date_until(moment)),
            state @ (State::Pending | State::RetiredSince(_)) => state,
        };
        Ok(Version {
            state,
            ..version.clone()
        })
    }

    /// Destroys a retired version for ever. `confirmation` is what the operator typed: `NAME.vN`.
    ///
    /// # Errors
    /// It is not retired for `retention`, nobody has looked at etcd, it was not confirmed; or the store fails.
    pub async fn destroy(
        &self,
        selector: &Selector,
        retention: Duration,
        unaudited: bool,
        confirmation: Option<&str>,
    ) -> Result<Destroyed, RotationError> {
        let version = self.destroyable(selector, retention, unaudited).await?;
        check_confirmation(self.name, version.version.number, confirmation)?;
        self.admin.destroy(&version.version.id).await?;
        Ok(version)
    }

    /// What [`Rotation::destroy`] would destroy, once it is confirmed.
    ///
    /// # Errors
    /// As there, but for the confirmation.
    pub async fn destroyable(
        &self,
        selector: &Selector,
        retention: Duration,
        unaudited: bool,
    ) -> Result<Destroyed, RotationError> {
        let (versions, now) = (self.admin.versions().await?, self.clock.now());
        let version = find(&versions, selector)?;
        let number = version.number;
        let State::RetiredSince(since) = version.state else {
            return Err(Refusal::NotRetired { number }.into());
        };
        if now.since(since) < retention {
            return Err(RotationError::Refused(Refusal::Retained {
                number,
                since,
                retention,
                from: since.after(retention),
            }));
        }
        check_audit(version, unaudited)?;
        Ok(Destroyed {
            version: version.clone(),
            retired_since: since,
        })
    }
}

fn check_audit(version: &Version, unaudited: bool) -> Result<(), Refusal> {
    if unaudited {
        return Ok(());
    }
    Err(Refusal::Unaudited {
        number: version.number,
        id: version.id.clone(),
    })
}

/// That no node encrypts under the version, or will, or did so within [`NOT_PRIMARY_FOR`].
fn check_is_out_of_use(version: &Version, versions: &[Version], now: Timestamp) -> Result<(), Refusal> {
    let number = version.number;
    let primary = primary(versions, now).ok_or(Refusal::NoPrimary { now })?;
    match version.state {
        State::RetiredSince(since) => Err(Refusal::AlreadyRetired { number, since }),
        State::Pending => Ok(()),
        State::ActiveFrom(at) if at > now => {
            if at <= now.after(NEAR) {
                Err(Refusal::TooNear { number, at })
            } else {
                Ok(())
            }
        }
        State::ActiveFrom(_) if version.id == primary.id => Err(Refusal::IsPrimary { number }),
        State::ActiveFrom(_) => {
            // Versions between that are retired by now would only make this moment earlier.
            let above = versions.iter().filter(|other| other.rank() > version.rank());
            let next = above
                .filter(|other| other.state.is_active(now))
                .min_by(|one, other| one.rank().cmp(&other.rank()));
            let until = next.unwrap_or(primary).state.moment().unwrap_or(now);
            if now.since(until) >= NOT_PRIMARY_FOR {
                return Ok(());
            }
            Err(Refusal::PrimaryLately {
                number,
                until,
                wait: NOT_PRIMARY_FOR,
                from: until.after(NOT_PRIMARY_FOR),
            })
        }
    }
}

/// The state of a version that is taken back. Its own activation is forgotten; whatever it was, the version must not
/// outrank the primary now: above it waits for a date, below it is active from a moment before the primary's.
fn restored(version: &Version, retired: Timestamp, primary: Option<&Version>) -> State {
    match primary {
        Some(primary) if version.rank() < primary.rank() => {
            let activation = primary.state.moment().unwrap_or(retired).unix();
            let before = activation.saturating_sub(STEP.as_secs());
            State::ActiveFrom(retired.min(Timestamp::from_unix(before)))
        }
        _ => State::Pending,
    }
}

#[cfg(test)]
mod tests;
