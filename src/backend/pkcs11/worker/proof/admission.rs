//! Decides which public objects this node keeps using: those that it may have used before it had proof records.

use crate::backend::pkcs11::ipc::message::Level;
use crate::backend::pkcs11::notices::Noted;
use crate::backend::pkcs11::worker::mutex::lock;
use crate::backend::pkcs11::worker::proof::Proofs;
use crate::backend::pkcs11::worker::proof::unreadable;
use crate::backend::pkcs11::worker::sessions::Open;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::high_water::HighWater;
use crate::root_key::high_water::HighWaterError;
use crate::root_key::high_water::HighWaterFile;
use crate::root_key::id::KeyId;
use crate::root_key::version::Version;
use crate::token::objects::Admission;
use crate::token::objects::Found;
use crate::token::objects::UpTo;
use crate::token::problem::CallError;
use crate::token::proof_record::ProofRecord;
use crate::token::proof_record::ProofRecordError;

impl Proofs {
    /// The public objects that count now.
    pub(in crate::backend::pkcs11::worker) fn admission(&self, job: u64) -> Result<Admission, CallError> {
        self.outlet.while_using_disk(job, || self.read_admission())
    }

    fn read_admission(&self) -> Result<Admission, CallError> {
        if !self.assignment.options.private {
            return Ok(Admission::All);
        }
        let Some(record) = &self.record else {
            return Ok(Admission::default());
        };
        if let Some(line) = record.read(&self.assignment.root_key).map_err(unreadable)? {
            return Ok(Admission::Only(line.public.into_iter().collect()));
        }
        // A node that joined after a change of root key has reported no version of the old root key, but still reads
        // with it.
        let may_have_used = record.is_upgraded(&self.assignment.root_key).map_err(unreadable)?;
        match self.reported() {
            Ok(None) if !may_have_used => Ok(Admission::default()),
            Ok(primary) => Ok(Admission::UpTo(UpTo {
                root_key: self.assignment.root_key.clone(),
                listed: self.assignment.options.versions.clone(),
                primary,
            })),
            Err(error) => {
                let message =
                    "the record of reported versions cannot be read, so public keys cannot be told from planted ones";
                Err(Error::new(Kind::Outage, message).because(error).into())
            }
        }
    }

    /// Whether this node has reported a primary, or has decrypted by the root key before an upgrade, or this is
    /// unknown.
    pub(super) fn is_reported(&self) -> bool {
        let name = &self.assignment.root_key;
        let may_have_used = self
            .record
            .as_ref()
            .is_some_and(|record| !matches!(record.is_upgraded(name), Ok(false)));
        may_have_used || !matches!(self.reported(), Ok(None))
    }

    fn reported(&self) -> Result<Option<HighWater>, HighWaterError> {
        let Some(state) = &self.assignment.state else {
            return Ok(None);
        };
        HighWaterFile::of(state).read(&self.assignment.root_key)
    }

    /// Records an accepted list: the first one begins the records. A version whose object is private by now no longer
    /// counts as a public one.
    pub(in crate::backend::pkcs11::worker) fn note_listed(&self, job: u64, open: Open<'_>, found: &Found) {
        let Some(record) = self.recorder() else {
            return;
        };
        self.outlet
            .while_using_disk(job, || self.record_list(record, open, found));
    }

    fn record_list(&self, record: &ProofRecord, open: Open<'_>, found: &Found) {
        let name = &self.assignment.root_key;
        let ids = |versions: &[Version]| -> Vec<KeyId> { versions.iter().map(|version| version.id.clone()).collect() };
        let public = ids(&found.public);
        let noted = record.read(name).and_then(|line| match line {
            None => {
                record.begin(name, public.clone())?;
                if self.assignment.options.private {
                    open.finder().admit(Admission::Only(public.iter().cloned().collect()));
                }
                Ok(())
            }
            Some(line) => {
                let listed = ids(&found.versions);
                let now_private = |id: &KeyId| listed.contains(id) && !public.contains(id);
                let private: Vec<KeyId> = line.public.into_iter().filter(now_private).collect();
                if private.is_empty() || !self.assignment.options.private {
                    return Ok::<_, ProofRecordError>(());
                }
                record.is_private_now(name, &private)
            }
        });
        if let Err(error) = noted {
            let told = format!("the keys that this node keeps using could not be recorded: {error}");
            self.outlet.say(Level::Warn, told);
        }
    }

    /// Notes about a list for operators. Versions with public objects are logged as errors, once.
    pub(in crate::backend::pkcs11::worker) fn noted(&self, found: &Found) -> Noted {
        let public = go_on(&found.public);
        for told in &public {
            if lock(&self.told).insert(told.clone()) {
                self.outlet.say(Level::Error, told.clone());
            }
        }
        Noted {
            public,
            left_out: found.warnings.clone(),
            leaves_out_private_key: found.leaves_out_private_key,
        }
    }
}

/// Notes about the versions that stay in use although their objects are public: one for each of the first few, because
/// there may be any number and an answer to the daemon has a limited length.
fn go_on(public: &[Version]) -> Vec<String> {
    const MOST: usize = 5;
    // The highest first, so that the primary is among them.
    let mut told: Vec<String> = public.iter().rev().take(MOST).map(goes_on).collect();
    let more = public.len().saturating_sub(MOST);
    if more > 0 {
        told.push(format!(
            "{more} more versions are public objects: `dekhand keys list` lists all versions"
        ));
    }
    told
}

fn goes_on(Version { number, id, .. }: &Version) -> String {
    format!(
        "{number} (id {id}) is a public object, which can be exchanged without the PIN; it stays in use because it was \
         in the token when the proof records of this node began: make a private copy of it (C_CopyObject with \
         CKA_PRIVATE true) and destroy the public one, or set `private: false`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root_key::version::State;

    #[test]
    fn a_flood_of_public_versions_is_told_in_a_few_lines() {
        let version = |number: u16| Version {
            number: number.try_into().unwrap(),
            state: State::Pending,
            id: [7; 32].as_slice().try_into().unwrap(),
        };
        let all: Vec<Version> = (1..=9999).map(version).collect();
        let told = go_on(&all);
        assert_eq!(told.len(), 6);
        assert!(told[0].starts_with("v9999 (id 0707"), "{}", told[0]);
        assert_eq!(
            told[5],
            "9994 more versions are public objects: `dekhand keys list` lists all versions"
        );
        assert_eq!(go_on(&all[..5]).len(), 5);
    }
}
