//! The errors of a token, before the worker's recovery has judged them.

use crate::root_key::id::KeyId;
use crate::token::return_value::Remedy;
use crate::token::return_value::ReturnValue;

/// A call to a token failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// A function of the module failed.
    #[error("{function} failed with {value}")]
    Call {
        /// Such as `C_Encrypt`.
        function: String,
        /// Its return value.
        value: ReturnValue,
    },
    /// The module cannot be loaded.
    #[error("the PKCS#11 module {module} cannot be loaded: {reason}")]
    Load {
        /// Its path.
        module: String,
        /// The dynamic linker's message, which names a missing library.
        reason: String,
    },
    /// The module lacks a function that dekhand needs, or returns an impossible result.
    #[error("the PKCS#11 module {0}")]
    Module(String),
    /// The token violates the standard: a constant IV, a wrong length, a forged ciphertext that opens.
    #[error("the token {0}")]
    Misbehaved(String),
    /// The module has no token of this name: the token is gone, or the name is wrong.
    #[error("the module has no token {name}; its tokens: {seen}")]
    NoToken {
        /// The name.
        name: String,
        /// The tokens that the module has.
        seen: String,
    },
    /// An object was not found.
    #[error("the token holds no key with id {0}")]
    NotFound(KeyId),
    /// A list of versions lacks some that were there before; `None`: it has no version at all.
    #[error("the token lists {}", lack(.0))]
    Incomplete(Vec<Option<KeyId>>),
    /// The key, the token or the configuration does not permit it.
    #[error("{0}")]
    Refused(String),
    /// The token failed during the check that a key is the same as before. The error is not about the call that needed
    /// the check.
    #[error("the identity of the key in the token could not be checked: {0}")]
    Unproven(Box<Self>),
}

impl TokenError {
    /// Whether an unwrap may have failed because of its input. A value in etcd can name any mechanism and contain any
    /// bytes, so its refusal is no sign of a fault of the token.
    pub(crate) fn may_be_the_ciphertext(&self) -> bool {
        match self {
            Self::Call { value, .. } => value.may_mean_bad_ciphertext(),
            Self::Misbehaved(_) | Self::Refused(_) => true,
            Self::Load { .. }
            | Self::Module(_)
            | Self::NoToken { .. }
            | Self::NotFound(_)
            | Self::Incomplete(_)
            | Self::Unproven(_) => false,
        }
    }

    /// An error from a return value.
    pub(crate) fn call(function: &str, value: ReturnValue) -> Self {
        Self::Call {
            function: function.to_owned(),
            value,
        }
    }

    /// The return value, if the error has one.
    pub(crate) fn value(&self) -> Option<ReturnValue> {
        match self {
            Self::Call { value, .. } => Some(*value),
            Self::Unproven(error) => error.value(),
            _ => None,
        }
    }

    /// The remedy.
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::Call { value, .. } => value.remedy(),
            Self::Unproven(error) => error.remedy(),
            Self::Module(_) | Self::NoToken { .. } => Remedy::Module,
            // Without its login a session finds no objects, and gives no error.
            Self::NotFound(_) | Self::Incomplete(_) => Remedy::Login,
            Self::Load { .. } | Self::Misbehaved(_) | Self::Refused(_) => Remedy::Nothing,
        }
    }
}

fn lack(missing: &[Option<KeyId>]) -> String {
    let ids: Vec<String> = missing.iter().flatten().map(KeyId::to_string).collect();
    if ids.is_empty() {
        "no version of the root key".to_owned()
    } else {
        format!("no version {} any more", ids.join(", "))
    }
}

impl From<cryptoki::error::Error> for TokenError {
    fn from(error: cryptoki::error::Error) -> Self {
        use cryptoki::error::Error;
        match error {
            Error::Pkcs11(value, function) => Self::Call {
                function: format!("C_{function:?}"),
                value: ReturnValue::from(value),
            },
            Error::NullFunctionPointer => Self::Module("lacks a function that dekhand needs".to_owned()),
            Error::MissingSymbol(symbol) => Self::Module(format!("lacks the symbol {symbol}: it is no PKCS#11 module")),
            other => Self::Module(format!("returned an impossible result: {other}")),
        }
    }
}
