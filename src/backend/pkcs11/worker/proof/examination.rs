//! One check of a version's objects by its proofs.

use cryptoki::session::Session;

use crate::backend::pkcs11::worker::activity::Activity;
use crate::backend::pkcs11::worker::channel::Outlet;
use crate::backend::pkcs11::worker::proof::Shown;
use crate::backend::pkcs11::worker::proof::making::make;
use crate::backend::pkcs11::worker::proof::opens;
use crate::backend::pkcs11::worker::sessions::Access;
use crate::root_key::id::KeyId;
use crate::token::error::TokenError;
use crate::token::key_object::KeyObject;
use crate::token::problem::CallError;
use crate::token::proof_record::Proof;
use crate::token::return_value::Remedy;
use crate::token::wrap::select;

/// One check of a version's objects.
pub(super) struct Examination<'a> {
    pub(super) outlet: &'a Outlet,
    pub(super) activity: &'a Activity,
    pub(super) access: Access<'a>,
    pub(super) id: &'a KeyId,
    pub(super) key: &'a KeyObject,
}

/// The result of a proof that did not confirm the key.
enum Unconfirmed {
    /// It opened to another key.
    Differs,
    /// It did not open; a failing token may be the reason.
    Fails(TokenError),
}

impl Examination<'_> {
    pub(super) fn examine(&self, proofs: &[Proof]) -> Result<Shown, CallError> {
        let of_kind = |proof: &&Proof| select::is_of_kind(proof.mechanism(), self.key.kind);
        let proofs: Vec<&Proof> = proofs.iter().filter(of_kind).collect();
        if proofs.is_empty() {
            // An RSA key in the place of an AES key, or the reverse.
            return Ok(Shown::Another);
        }
        let mut unconfirmed = Vec::new();
        for proof in &proofs {
            self.outlet.restart_timeout(self.access.job);
            // A session with a failed call may be unusable.
            let fresh = if unconfirmed.is_empty() {
                None
            } else {
                Some(self.access.open.session()?)
            };
            match self.open(fresh.as_ref().unwrap_or(self.access.session), proof)? {
                None => return Ok(Shown::Proven),
                Some(reason) => unconfirmed.push(reason),
            }
        }
        self.settle(&proofs, unconfirmed)
    }

    /// `None`: the proof confirms the key.
    fn open(&self, session: &Session, proof: &Proof) -> Result<Option<Unconfirmed>, CallError> {
        match opens(self.access.open, session, self.id, self.key, proof) {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(Unconfirmed::Differs)),
            Err(error) if error.may_be_the_ciphertext() && !self.activity.is_throttled(&error) => {
                Ok(Some(Unconfirmed::Fails(error)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// No proof has confirmed the key. If the token wraps and unwraps with these objects before and after another
    /// attempt, they are another key; otherwise the token fails.
    fn settle(&self, proofs: &[&Proof], unconfirmed: Vec<Unconfirmed>) -> Result<Shown, CallError> {
        let mut trouble = None;
        for proof in proofs {
            self.outlet.restart_timeout(self.access.job);
            let mut sessions = || self.access.open.session();
            match select::one(
                self.access.open.module(),
                &mut sessions,
                self.key,
                self.id,
                proof.mechanism(),
            ) {
                Ok(Some(method)) => {
                    self.outlet.restart_timeout(self.access.job);
                    let session = self.access.open.session()?;
                    if self.open(&session, proof)?.is_none() {
                        return Ok(Shown::Proven);
                    }
                    make(self.access.open, self.id, self.key, method)?;
                    return Ok(Shown::Another);
                }
                Ok(None) => {}
                Err(error) => drop(trouble.get_or_insert(error)),
            }
        }
        if let Some(trouble) = trouble {
            return Err(trouble.into());
        }
        let mut not_done = true;
        for reason in unconfirmed {
            match reason {
                Unconfirmed::Differs => return Ok(Shown::Another),
                Unconfirmed::Fails(error) => not_done &= error.remedy() == Remedy::Nothing,
            }
        }
        if not_done {
            return Ok(Shown::NotDone);
        }
        // The key can only unwrap, so another key and a failing device look the same; other calls check the device.
        Err(CallError::outage(format!(
            "the token does not open the proof record of version {}, and cannot wrap under it, so the cause is unknown",
            self.id
        )))
    }
}
