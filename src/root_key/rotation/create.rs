//! New versions: created, rotated to, imported.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::root_key::high_water::HighWater;
use crate::root_key::id::KeyId;
use crate::root_key::rotation::Rotation;
use crate::root_key::rotation::activate;
use crate::root_key::rotation::date_until;
use crate::root_key::rotation::error::RotationError;
use crate::root_key::rotation::refusal::Refusal;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::root_key::version::Version;
use crate::secret::Key;

/// The outcome of making a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The version that stays: this command's, or that of another command which used the same number at the same time.
    pub version: Version,
    /// The id of this command's own version, if it was destroyed, unused, in favour of the other one.
    pub yielded: Option<KeyId>,
    /// Versions of the same number with lower ids; the commands that made them destroy them.
    pub rivals: Vec<KeyId>,
}

/// A version that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Its number.
    pub number: Number,
    /// Its state.
    pub state: State,
}

impl Next {
    /// The first version of a root key: there is no older one, so it is active at once. `step` is that of the store's
    /// dates.
    pub fn first(now: Timestamp, step: Duration) -> Self {
        Self {
            number: Number::FIRST,
            state: State::ActiveFrom(date_until(now, step)),
        }
    }
}

impl Rotation<'_> {
    /// Makes v1, active at once. `recorded` is the version of the root key that this node has reported.
    ///
    /// # Errors
    /// There are versions, or the reported version is missing from the store; or the store fails.
    pub async fn create(&self, recorded: Option<&HighWater>) -> Result<Made, RotationError> {
        let next = self.plan_create(recorded).await?;
        self.make(next, None).await
    }

    /// The version that [`Rotation::create`] would make.
    ///
    /// # Errors
    /// As for [`Rotation::create`].
    pub async fn plan_create(&self, recorded: Option<&HighWater>) -> Result<Next, RotationError> {
        let versions = self.versions(recorded).await?;
        if versions.is_empty() {
            return Ok(Next::first(self.clock.now(), self.step));
        }
        Err(RotationError::Refused(Refusal::HasVersions {
            name: self.name.clone(),
            known: versions.iter().map(|version| version.number).collect(),
        }))
    }

    /// Makes the next version: pending, or, if one store serves all nodes, active after `activate_in`. `recorded` is
    /// the version of the root key that this node has reported.
    ///
    /// # Errors
    /// There is no version yet, one is pending, `activate_in` is not allowed for this store, or the reported version is
    /// missing from the store; or the store fails.
    pub async fn rotate(
        &self,
        activate_in: Option<Duration>,
        recorded: Option<&HighWater>,
    ) -> Result<Made, RotationError> {
        let next = self.plan_rotate(activate_in, recorded).await?;
        self.make(next, None).await
    }

    /// The version that [`Rotation::rotate`] would make.
    ///
    /// # Errors
    /// As for [`Rotation::rotate`].
    pub async fn plan_rotate(
        &self,
        activate_in: Option<Duration>,
        recorded: Option<&HighWater>,
    ) -> Result<Next, RotationError> {
        if activate_in.is_some() && !self.shared {
            return Err(Refusal::NotShared.into());
        }
        let versions = self.versions(recorded).await?;
        if versions.is_empty() {
            let name = self.name.clone();
            return Err(Refusal::HasNone { name }.into());
        }
        let number = self.next_number(&versions)?;
        let state = match activate_in {
            None => State::Pending,
            Some(duration) => State::ActiveFrom(self.moment_in(duration)?),
        };
        Ok(Next { number, state })
    }

    /// Makes a version of a key that another system made: v1, active at once, or the next one, pending.
    ///
    /// # Errors
    /// A version is pending; the reported version is missing from the store; or the store fails, or has the key
    /// already.
    pub async fn import(&self, key: Key, recorded: Option<&HighWater>) -> Result<Made, RotationError> {
        let next = self.plan_import(recorded).await?;
        self.make(next, Some(key)).await
    }

    /// The version that [`Rotation::import`] would make.
    ///
    /// # Errors
    /// As for [`Rotation::import`], except those about the key.
    pub async fn plan_import(&self, recorded: Option<&HighWater>) -> Result<Next, RotationError> {
        let versions = self.versions(recorded).await?;
        if versions.is_empty() {
            return Ok(Next::first(self.clock.now(), self.step));
        }
        Ok(Next {
            number: self.next_number(&versions)?,
            state: State::Pending,
        })
    }

    fn next_number(&self, versions: &[Version]) -> Result<Number, Refusal> {
        let now = self.clock.now();
        activate::check_clock(versions, now)?;
        if let Some(pending) = versions.iter().find(|version| version.state.is_pending(now)) {
            let pending = pending.clone();
            return Err(match pending.state {
                State::ActiveFrom(at) => Refusal::Dated { pending, at, now },
                State::Pending | State::RetiredSince(_) => Refusal::Pending { pending },
            });
        }
        let highest = versions.iter().map(|version| version.number).max();
        match highest {
            None => Ok(Number::FIRST),
            Some(highest) => highest.next().ok_or(Refusal::NoNumberLeft),
        }
    }

    /// Makes a version as pending first, so that it is unused while it may have to be destroyed again.
    async fn make(&self, next: Next, key: Option<Key>) -> Result<Made, RotationError> {
        let Next { number, state } = next;
        let own = match key {
            None => self.admin.generate(number, State::Pending).await?,
            Some(key) => self.admin.import(number, State::Pending, key).await?,
        };
        let mut made = self.settle(own).await?;
        if made.yielded.is_none() && state != made.version.state {
            let dated = self.admin.relabel(&made.version.id, state).await;
            if let Err(source) = dated {
                let made = made.version;
                return Err(RotationError::Undated { made, source });
            }
            made.version.state = state;
        }
        Ok(made)
    }

    /// If several commands have made versions of one number at one time, the one with the highest id stays. Every other
    /// command destroys its own.
    async fn settle(&self, own: Version) -> Result<Made, RotationError> {
        let mut versions = self.admin.versions().await?;
        if !versions.iter().any(|version| version.id == own.id) {
            return Err(RotationError::Unlisted { made: own });
        }
        versions.retain(|version| version.number == own.number && version.id != own.id);
        match versions.iter().max_by(|one, other| one.id.cmp(&other.id)) {
            Some(highest) if highest.id > own.id => {
                let kept = highest.clone();
                if let Err(source) = self.admin.destroy(&own.id).await {
                    return Err(RotationError::NotTakenBack {
                        number: own.number,
                        kept: kept.id,
                        own: own.id,
                        source,
                    });
                }
                Ok(Made {
                    version: kept,
                    yielded: Some(own.id),
                    rivals: Vec::new(),
                })
            }
            _ => Ok(Made {
                version: own,
                yielded: None,
                rivals: versions.into_iter().map(|version| version.id).collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
