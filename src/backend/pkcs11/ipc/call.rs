//! The calls to a worker.

use serde::Deserialize;
use serde::Serialize;

use crate::backend::pkcs11::ipc::exposed_key;
use crate::root_key::Wrapped;
use crate::root_key::id::KeyId;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::secret::Key;

/// A call to the token. The arrow shows its result, an [`Outcome`](super::message::Outcome).
#[derive(Debug, Serialize, Deserialize)]
pub enum Call {
    /// Load the module, find the token, log in. -> `Done`
    Open,
    /// Every version of the root key. A list that lacks one of `expected`, or is empty, must be proven. -> `Listed`
    Find {
        /// Ids that the previous list had.
        expected: Vec<KeyId>,
    },
    /// Wrap a data key. -> `Wrapped`
    Wrap {
        /// Under this version.
        id: KeyId,
        /// The key.
        #[serde(with = "exposed_key")]
        data_key: Key,
    },
    /// Unwrap a data key. -> `DataKey`
    Unwrap {
        /// Under this version.
        id: KeyId,
        /// The wrapped key.
        wrapped: Wrapped,
    },
    /// The tokens of the module; needs no login. -> `Tokens`
    Tokens,
    /// One token and its mechanisms; needs no login. -> `Token`
    Describe,
    /// Try each wrap mechanism, with a version's key or a session key. -> `Mechanisms`
    Probe {
        /// The version; a session key if there is none.
        id: Option<KeyId>,
    },
    /// Read the attributes of a version's key. -> `Attributes`
    Attributes {
        /// The version.
        id: KeyId,
    },
    /// Generate a key in the token. -> `Versions` of one
    Generate {
        /// Its number.
        number: Number,
        /// Its state.
        state: State,
    },
    /// Import a key into the token. -> `Versions` of one
    Import {
        /// Its number.
        number: Number,
        /// Its state.
        state: State,
        /// The key.
        #[serde(with = "exposed_key")]
        key: Key,
    },
    /// Change a version's label. -> `Done`
    Relabel {
        /// The version.
        id: KeyId,
        /// The state for the label.
        state: State,
    },
    /// Destroy a version's key. -> `Done`
    Destroy {
        /// The version.
        id: KeyId,
    },
}

impl Call {
    /// Whether it may be repeated with another worker after the first one died, because doing it twice does no harm.
    pub(in crate::backend::pkcs11) fn can_be_repeated(&self) -> bool {
        match self {
            Self::Open
            | Self::Find { .. }
            | Self::Wrap { .. }
            | Self::Unwrap { .. }
            | Self::Tokens
            | Self::Describe
            | Self::Probe { .. }
            | Self::Attributes { .. } => true,
            Self::Generate { .. } | Self::Import { .. } | Self::Relabel { .. } | Self::Destroy { .. } => false,
        }
    }

    /// Whether it creates a key in the token.
    pub(in crate::backend::pkcs11) fn makes_a_key(&self) -> bool {
        matches!(self, Self::Generate { .. } | Self::Import { .. })
    }

    /// The error message if it fails.
    pub(in crate::backend::pkcs11) fn doing(&self) -> String {
        match self {
            Self::Open => "the token cannot be opened".to_owned(),
            Self::Find { .. } => "the versions in the token cannot be listed".to_owned(),
            Self::Wrap { id, .. } => format!("a data key cannot be wrapped under version {id}"),
            Self::Unwrap { id, .. } => format!("a data key cannot be unwrapped under version {id}"),
            Self::Tokens => "the module's tokens cannot be listed".to_owned(),
            Self::Describe => "the token cannot be described".to_owned(),
            Self::Probe { .. } => "the mechanisms cannot be tried".to_owned(),
            Self::Attributes { id } => format!("the attributes of version {id} cannot be read"),
            Self::Generate { number, .. } => format!("the key of {number} cannot be made"),
            Self::Import { number, .. } => format!("the key of {number} cannot be imported"),
            Self::Relabel { id, .. } => format!("the label of version {id} cannot be changed"),
            Self::Destroy { id } => format!("the key of version {id} cannot be destroyed"),
        }
    }
}
