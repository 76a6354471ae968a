//! The answers of a worker.

use zeroize::Zeroizing;

use crate::backend::pkcs11::notices::Noted;
use crate::backend::pkcs11::protocol::ProtocolError;
use crate::backend::pkcs11::protocol::version;
use crate::proto::token_worker as wire;
use crate::proto::token_worker::answer::Outcome as Wire;
use crate::root_key::Wrapped;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::version::Version;
use crate::secret::Key;
use crate::token::problem::Failure;

/// The result of a successful call.
#[derive(Debug)]
pub(in crate::backend::pkcs11) enum Outcome {
    /// Success without a value.
    Done,
    /// Versions, in order.
    Versions(Vec<Version>),
    /// The same, with notes about the token's objects for operators.
    Listed(Vec<Version>, Noted),
    /// A wrapped data key.
    Wrapped(Wrapped),
    /// An unwrapped data key.
    DataKey(Key),
    /// A report for a command, as JSON.
    Report(Vec<u8>),
}

/// One answer.
#[derive(Debug)]
pub(in crate::backend::pkcs11) struct Answer {
    /// The number of the call.
    pub(in crate::backend::pkcs11) number: u64,
    /// Bytes of data memory that the worker uses.
    pub(in crate::backend::pkcs11) memory: u64,
    /// The result of the call.
    pub(in crate::backend::pkcs11) result: Result<Outcome, Failure>,
}

impl Answer {
    /// The answer, encoded as a message.
    pub(in crate::backend::pkcs11) fn to_wire(&self) -> wire::FromWorker {
        let outcome = match &self.result {
            Ok(Outcome::Done) => Wire::Done(wire::Done {}),
            Ok(Outcome::Versions(versions)) => Wire::Versions(wire::Versions {
                versions: versions.iter().map(version::to_wire).collect(),
            }),
            Ok(Outcome::Listed(versions, Noted { public, left_out })) => Wire::Listed(wire::Listed {
                versions: versions.iter().map(version::to_wire).collect(),
                public: public.clone(),
                left_out: left_out.clone(),
            }),
            Ok(Outcome::Wrapped(Wrapped { mechanism, bytes })) => Wire::Wrapped(wire::Wrapped {
                mechanism: mechanism.number().into(),
                bytes: bytes.clone(),
            }),
            Ok(Outcome::DataKey(key)) => Wire::DataKey(key.expose().to_vec()),
            Ok(Outcome::Report(report)) => Wire::Report(report.clone()),
            Err(failure) => {
                let Failure {
                    error,
                    ends_worker,
                    pin_rejected,
                } = failure;
                Wire::Failure(wire::Failure {
                    kind: kind_to_wire(error.kind()),
                    message: error.chain(),
                    ends_worker: *ends_worker,
                    pin_rejected: *pin_rejected,
                })
            }
        };
        wire::FromWorker {
            what: Some(wire::from_worker::What::Answer(wire::Answer {
                number: self.number,
                memory: self.memory,
                outcome: Some(outcome),
            })),
        }
    }

    /// Decodes an answer.
    pub(in crate::backend::pkcs11) fn from_wire(mut answer: wire::Answer) -> Result<Self, ProtocolError> {
        let (number, memory) = (answer.number, answer.memory);
        let outcome = answer.outcome.take().ok_or(ProtocolError::Field("outcome"))?;
        let result = match outcome {
            Wire::Failure(failure) => Err(Failure {
                error: Error::new(kind_from_wire(failure.kind)?, failure.message),
                ends_worker: failure.ends_worker,
                pin_rejected: failure.pin_rejected,
            }),
            Wire::Done(_) => Ok(Outcome::Done),
            Wire::Versions(versions) => {
                let versions = versions.versions.into_iter().map(version::from_wire);
                Ok(Outcome::Versions(versions.collect::<Result<_, _>>()?))
            }
            Wire::Listed(listed) => {
                let wire::Listed {
                    versions,
                    public,
                    left_out,
                } = listed;
                let versions = versions.into_iter().map(version::from_wire);
                Ok(Outcome::Listed(
                    versions.collect::<Result<_, _>>()?,
                    Noted { public, left_out },
                ))
            }
            Wire::Wrapped(wrapped) => Ok(Outcome::Wrapped(Wrapped {
                mechanism: version::mechanism_from_wire(wrapped.mechanism)?,
                bytes: wrapped.bytes,
            })),
            Wire::DataKey(bytes) => {
                let bytes = Zeroizing::new(bytes);
                let key = Key::copied_from(&bytes).ok_or(ProtocolError::Field("data_key"))?;
                Ok(Outcome::DataKey(key))
            }
            Wire::Report(report) => Ok(Outcome::Report(report)),
        };
        Ok(Self { number, memory, result })
    }
}

fn kind_to_wire(kind: Kind) -> u32 {
    match kind {
        Kind::Outage => 1,
        Kind::Refusal => 2,
        Kind::Corruption => 3,
        Kind::BadInput => 4,
        Kind::Busy => 5,
    }
}

fn kind_from_wire(kind: u32) -> Result<Kind, ProtocolError> {
    Ok(match kind {
        1 => Kind::Outage,
        2 => Kind::Refusal,
        3 => Kind::Corruption,
        4 => Kind::BadInput,
        5 => Kind::Busy,
        _ => return Err(ProtocolError::Field("kind")),
    })
}

impl Drop for wire::Answer {
    fn drop(&mut self) {
        if let Some(Wire::DataKey(key)) = &mut self.outcome {
            zeroize::Zeroize::zeroize(key);
        }
    }
}
