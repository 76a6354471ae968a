//! What can go wrong with a token, before the recovery ladder has judged it.

use crate::root_key::id::KeyId;
use crate::token::return_value::Remedy;
use crate::token::return_value::ReturnValue;

/// A call to a token failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// A function of the module said no.
    #[error("{function} failed with {value}")]
    Call {
        /// Such as `C_Encrypt`.
        function: String,
        /// What it returned.
        value: ReturnValue,
    },
    /// The module can't be loaded.
    #[error("the PKCS#11 module {module} cannot be loaded: {reason}")]
    Load {
        /// Its path.
        module: String,
        /// What the dynamic linker says: it names a library that is missing.
        reason: String,
    },
    /// The module lacks a function that dekhand needs, or answers what can't be.
    #[error("the PKCS#11 module {0}")]
    Module(String),
    /// A token answered what it must not: a constant IV, a wrong length, a forged ciphertext that opens.
    #[error("the token {0}")]
    Misbehaved(String),
    /// The module knows no token of this name: it is gone, or the name is wrong.
    #[error("the module shows no token {name}; it shows: {seen}")]
    NoToken {
        /// The name.
        name: String,
        /// What there is instead.
        seen: String,
    },
    /// An object that was there, or should be, is not found.
    #[error("the token holds no key with id {0}")]
    NotFound(KeyId),
    /// A list of versions lacks some that were there; `None`: it has none at all.
    #[error("the token shows {}", lack(.0))]
    Incomplete(Vec<Option<KeyId>>),
    /// It can't be done with this key, token or configuration.
    #[error("{0}")]
    Refused(String),
    /// The token failed when it was to show that a key is the one of before. It says nothing of what was to be done then.
    #[error("the token could not show which key it holds: {0}")]
    Unproven(Box<Self>),
}

impl TokenError {
    /// Whether an unwrap may have failed for what it was given. A value in etcd can name any mechanism and hold any bytes:
    /// that a token refuses those says nothing about the token.
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

    /// Of a return value.
    pub(crate) fn call(function: &str, value: ReturnValue) -> Self {
        Self::Call {
            function: function.to_owned(),
            value,
        }
    }

    /// The return value, if it was one.
    pub(crate) fn value(&self) -> Option<ReturnValue> {
        match self {
            Self::Call { value, .. } => Some(*value),
            Self::Unproven(error) => error.value(),
            _ => None,
        }
    }

    /// What helps.
    pub(crate) fn cure(&self) -> Remedy {
        match self {
            Self::Call { value, .. } => value.cure(),
            Self::Unproven(error) => error.cure(),
            Self::Module(_) | Self::NoToken { .. } => Remedy::Module,
            // A lost login finds nothing.
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
            other => Self::Module(format!("answered what cannot be: {other}")),
        }
    }
}
