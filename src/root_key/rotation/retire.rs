//! Retiring, restoring and destroying versions.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::root_key::primary::by_calendar;
use crate::root_key::rotation::Rotation;
use crate::root_key::rotation::check_confirmation;
use crate::root_key::rotation::error::RotationError;
use crate::root_key::rotation::find;
use crate::root_key::rotation::refusal::Refusal;
use crate::root_key::version::Selector;
use crate::root_key::version::State;
use crate::root_key::version::Version;

/// The shortest time between being the primary and being retired: by then every node has switched.
pub const NOT_PRIMARY_FOR: Duration = Duration::from_secs(3600);
/// The shortest time between being retired and being destroyed, by default.
pub const RETENTION: Duration = Duration::from_secs(90 * 24 * 3600);
/// A date nearer than this can no longer be withdrawn: nodes see a changed store only with their next probe.
const NEAR: Duration = Duration::from_secs(5 * 60);

/// A version that was destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destroyed {
    /// The version as it was.
    pub version: Version,
    /// When it was retired: backups of etcd from before this moment may need it.
    pub retired_since: Timestamp,
}

impl Rotation<'_> {
    /// Retires a version: payloads under it are not opened until it is restored. `unaudited` means that the operator
    /// has checked etcd.
    ///
    /// # Errors
    /// The version encrypts, did so recently or will do so soon, or is retired; etcd was not checked; or the store
    /// fails.
    pub async fn retire(&self, selector: &Selector, unaudited: bool) -> Result<Version, RotationError> {
        let retired = self.plan_retire(selector, unaudited).await?;
        self.relabel(&retired).await?;
        Ok(retired)
    }

    /// The version as [`Rotation::retire`] would leave it.
    ///
    /// # Errors
    /// As for [`Rotation::retire`].
    pub async fn plan_retire(&self, selector: &Selector, unaudited: bool) -> Result<Version, RotationError> {
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

    /// Restores a retired version: it decrypts again. It does not encrypt unless it is activated again.
    ///
    /// # Errors
    /// The version is not retired; or the store fails.
    pub async fn restore(&self, selector: &Selector) -> Result<Version, RotationError> {
        let restored = self.plan_restore(selector).await?;
        self.relabel(&restored).await?;
        Ok(restored)
    }

    /// The version as [`Rotation::restore`] would leave it.
    ///
    /// # Errors
    /// As for [`Rotation::restore`].
    pub async fn plan_restore(&self, selector: &Selector) -> Result<Version, RotationError> {
        let (versions, now) = (self.admin.versions().await?, self.clock.now());
        let version = find(&versions, selector)?;
        let State::RetiredSince(_) = version.state else {
            let number = version.number;
            return Err(Refusal::NothingToRestore { number }.into());
        };
        let state = match restored(version, by_calendar(&versions, now)) {
            // Not rounded down: the version must not become active before the primary.
            State::ActiveFrom(moment) => State::ActiveFrom(self.date_from(moment)),
            state @ (State::Pending | State::RetiredSince(_)) => state,
        };
        Ok(Version {
            state,
            ..version.clone()
        })
    }

    /// Destroys a retired version for ever. `confirmation` is the operator's input, `NAME.vN`.
    ///
    /// # Errors
    /// The version has not been retired for `retention`, etcd was not checked, or the confirmation is missing or wrong;
    /// or the store fails.
    pub async fn destroy(
        &self,
        selector: &Selector,
        retention: Duration,
        unaudited: bool,
        confirmation: Option<&str>,
    ) -> Result<Destroyed, RotationError> {
        let version = self.plan_destroy(selector, retention, unaudited).await?;
        check_confirmation(self.name, version.version.number, confirmation)?;
        self.admin.destroy(&version.version.id).await?;
        Ok(version)
    }

    /// The version that [`Rotation::destroy`] would destroy, once it is confirmed.
    ///
    /// # Errors
    /// As for [`Rotation::destroy`], except those of the confirmation.
    pub async fn plan_destroy(
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

/// Checks that no node encrypts under the version, may do so soon, or did so within [`NOT_PRIMARY_FOR`].
fn check_is_out_of_use(version: &Version, versions: &[Version], now: Timestamp) -> Result<(), Refusal> {
    let number = version.number;
    let primary = by_calendar(versions, now).ok_or(Refusal::NoPrimary { now })?;
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
            // Versions in between that are retired now are ignored: they could only make this moment earlier.
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

/// The state of a restored version. Its own activation date is lost. The version must not displace the primary: above
/// the primary it is pending; below, it has the primary's date. An earlier date passes first on a node whose clock is
/// slow, and that node would encrypt under the restored version until the primary's date.
fn restored(version: &Version, primary: Option<&Version>) -> State {
    match primary {
        Some(primary) if version.rank() < primary.rank() => primary.state,
        _ => State::Pending,
    }
}

#[cfg(test)]
mod tests;
