//! The calls to a worker.

use zeroize::Zeroizing;

use crate::backend::pkcs11::protocol::ProtocolError;
use crate::backend::pkcs11::protocol::version;
use crate::proto::token_worker as wire;
use crate::proto::token_worker::to_worker::Call as Wire;
use crate::root_key::Wrapped;
use crate::root_key::id::KeyId;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::secret::Key;

/// A call to the token. The arrow shows its result, an [`Outcome`](super::outcome::Outcome).
#[derive(Debug)]
pub(in crate::backend::pkcs11) enum Call {
    /// Load the module, find the token, log in. -> `Done`
    Open,
    /// Every version of the root key. A list that lacks one of `expected`, or is empty, must be proven. -> `Versions`
    Find {
        /// Ids that the previous list had.
        expected: Vec<KeyId>,
    },
    /// Wrap a data key. -> `Wrapped`
    Wrap {
        /// Under this version.
        id: KeyId,
        /// The key.
        data_key: Key,
    },
    /// Unwrap a data key. -> `DataKey`
    Unwrap {
        /// Under this version.
        id: KeyId,
        /// The wrapped key.
        wrapped: Wrapped,
    },
    /// The tokens of the module; needs no login. -> `Report` of a `Vec<TokenReport>`
    Tokens,
    /// One token and its mechanisms; needs no login. -> `Report` of a `TokenReport`
    Describe,
    /// Try each wrap mechanism, with a version's key or a session key. -> `Report` of a `Vec<MechanismReport>`
    Probe {
        /// The version; a session key if there is none.
        id: Option<KeyId>,
    },
    /// Read the attributes of a version's key. -> `Report` of a `KeyReport`
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

    /// The call, encoded as a message.
    pub(in crate::backend::pkcs11) fn to_wire(&self, number: u64) -> wire::ToWorker {
        let bytes = |id: &KeyId| id.as_bytes().to_vec();
        let call = match self {
            Self::Open => Wire::Open(wire::Open {}),
            Self::Find { expected } => Wire::Find(wire::Find {
                expected: expected.iter().map(bytes).collect(),
            }),
            Self::Wrap { id, data_key } => Wire::Wrap(wire::Wrap {
                id: bytes(id),
                data_key: data_key.expose().to_vec(),
            }),
            Self::Unwrap { id, wrapped } => Wire::Unwrap(wire::Unwrap {
                id: bytes(id),
                mechanism: wrapped.mechanism.number().into(),
                wrapped: wrapped.bytes.clone(),
            }),
            Self::Tokens => Wire::Tokens(wire::Tokens {}),
            Self::Describe => Wire::Describe(wire::Describe {}),
            Self::Probe { id } => Wire::Probe(wire::Probe {
                id: id.as_ref().map(bytes).unwrap_or_default(),
            }),
            Self::Attributes { id } => Wire::Attributes(wire::Attributes { id: bytes(id) }),
            Self::Generate { number, state } => Wire::Generate(wire::Generate {
                version: u16::from(*number).into(),
                state: Some(version::state_to_wire(*state)),
            }),
            Self::Import { number, state, key } => Wire::Import(wire::Import {
                version: u16::from(*number).into(),
                state: Some(version::state_to_wire(*state)),
                key: key.expose().to_vec(),
            }),
            Self::Relabel { id, state } => Wire::Relabel(wire::Relabel {
                id: bytes(id),
                state: Some(version::state_to_wire(*state)),
            }),
            Self::Destroy { id } => Wire::Destroy(wire::Destroy { id: bytes(id) }),
        };
        wire::ToWorker {
            number,
            call: Some(call),
        }
    }

    /// Decodes a call.
    ///
    /// # Errors
    /// The message is not a valid call.
    pub(in crate::backend::pkcs11) fn from_wire(mut message: wire::ToWorker) -> Result<Self, ProtocolError> {
        let id = |bytes: &[u8]| KeyId::try_from(bytes).map_err(|_| ProtocolError::Field("id"));
        let key = |bytes: Vec<u8>| {
            let bytes = Zeroizing::new(bytes);
            Key::copied_from(&bytes).ok_or(ProtocolError::Field("key"))
        };
        Ok(match message.call.take().ok_or(ProtocolError::Field("call"))? {
            Wire::Open(_) => Self::Open,
            Wire::Find(mut find) => Self::Find {
                expected: std::mem::take(&mut find.expected)
                    .iter()
                    .map(|bytes| id(bytes))
                    .collect::<Result<_, _>>()?,
            },
            Wire::Wrap(mut wrap) => Self::Wrap {
                id: id(&wrap.id)?,
                data_key: key(std::mem::take(&mut wrap.data_key))?,
            },
            Wire::Unwrap(unwrap) => Self::Unwrap {
                id: id(&unwrap.id)?,
                wrapped: Wrapped {
                    mechanism: version::mechanism_from_wire(unwrap.mechanism)?,
                    bytes: unwrap.wrapped,
                },
            },
            Wire::Tokens(_) => Self::Tokens,
            Wire::Describe(_) => Self::Describe,
            Wire::Probe(probe) => Self::Probe {
                id: if probe.id.is_empty() {
                    None
                } else {
                    Some(id(&probe.id)?)
                },
            },
            Wire::Attributes(attributes) => Self::Attributes {
                id: id(&attributes.id)?,
            },
            Wire::Generate(generate) => Self::Generate {
                number: version::number_from_wire(generate.version)?,
                state: version::state_from_wire(generate.state)?,
            },
            Wire::Import(mut import) => Self::Import {
                number: version::number_from_wire(import.version)?,
                state: version::state_from_wire(import.state.take())?,
                key: key(std::mem::take(&mut import.key))?,
            },
            Wire::Relabel(relabel) => Self::Relabel {
                id: id(&relabel.id)?,
                state: version::state_from_wire(relabel.state)?,
            },
            Wire::Destroy(destroy) => Self::Destroy { id: id(&destroy.id)? },
        })
    }
}

// Messages that contain a key wipe it on drop.

impl Drop for wire::Wrap {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.data_key);
    }
}

impl Drop for wire::Import {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}
