//! Why a service refuses a request: one code and one fixed sentence for the caller, the detail for the log.

use tonic::Code;
use tonic::Status;

use crate::envelope::error::EnvelopeError;
use crate::envelope::error::ErrorKind;

/// A refused request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// A field of the request is invalid; the sentence names it.
    #[error("{0}")]
    Field(&'static str),
    /// The envelope could not seal or open the payload.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

impl Refusal {
    /// The status for the caller. Nothing in it depends on keys or payloads.
    pub(super) fn status(&self) -> Status {
        let (code, sentence) = match self {
            Self::Field(sentence) => (Code::InvalidArgument, *sentence),
            Self::Envelope(error) => answer(error.kind()),
        };
        Status::new(code, sentence)
    }
}

/// Refuses a request with the sentence `otherwise`, unless a condition holds.
pub(super) fn check(holds: bool, otherwise: &'static str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::Field(otherwise)) }
}

fn answer(kind: ErrorKind) -> (Code, &'static str) {
    match kind {
        ErrorKind::InvalidArgument => (
            Code::InvalidArgument,
            "the payload is malformed, was changed, or has a wrong length",
        ),
        ErrorKind::FailedPrecondition => (
            Code::FailedPrecondition,
            "the root-key version of this payload does not decrypt on this node",
        ),
        ErrorKind::Unavailable => (Code::Unavailable, "the root key cannot be reached"),
        ErrorKind::ResourceExhausted => (Code::ResourceExhausted, "too many requests wait for the root key"),
        ErrorKind::Refused => (
            Code::FailedPrecondition,
            "the root key refuses requests until an operator intervenes",
        ),
        ErrorKind::Internal => (Code::Internal, "internal error in the KMS plugin"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root_key::fake::id;

    #[test]
    fn each_kind_of_failure_has_its_code_and_the_detail_stays_inside() {
        let secret = "pkcs11: slot 7 says CKR_DEVICE_ERROR";
        for (error, code) in [
            (EnvelopeError::NotAuthentic { id: id(7) }, Code::InvalidArgument),
            (EnvelopeError::KeyIdMismatch { inside: id(7) }, Code::InvalidArgument),
            (EnvelopeError::UnknownVersion(id(7)), Code::FailedPrecondition),
            (EnvelopeError::Retired(id(7)), Code::FailedPrecondition),
            (EnvelopeError::Unavailable(secret.into()), Code::Unavailable),
            (EnvelopeError::TooManyCalls, Code::ResourceExhausted),
            (EnvelopeError::Refused(secret.into()), Code::FailedPrecondition),
            (EnvelopeError::Stopped, Code::Internal),
        ] {
            let detail = error.to_string();
            let refusal = Refusal::from(error);
            let status = refusal.status();
            assert_eq!(status.code(), code);
            assert_eq!(crate::telemetry::log::chain(&refusal), detail);
            assert!(!status.message().contains(secret) && !status.message().contains(&id(7).to_string()));
        }
    }
}
