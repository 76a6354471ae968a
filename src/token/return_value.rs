//! The return values of PKCS#11 functions, and the remedy for each.

use std::fmt;

use cryptoki::error::RvError;

/// A `CK_RV` that is not `CKR_OK`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ReturnValue(pub(crate) u64);

/// The remedy for a failed call. The recovery of calls uses this table. The value of a bad ciphertext can be that of a
/// bad device, so the recovery also looks at the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Remedy {
    /// A new session, and another search for the key: its handle has changed.
    Session,
    /// `C_Login`.
    Login,
    /// Close every session, `C_Finalize`, `C_Initialize`.
    Module,
    /// None by itself: the PIN is wrong, expired or locked.
    Pin,
    /// None by itself: the token refuses.
    Nothing,
}

macro_rules! values {
    ($($name:ident $variant:ident = $value:literal,)*) => {
        impl ReturnValue {
            $(pub(crate) const $name: Self = Self($value);)*

            fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }

        impl From<RvError> for ReturnValue {
            fn from(error: RvError) -> Self {
                match error {
                    $(RvError::$variant => Self::$name,)*
                    RvError::VendorDefined(value) | RvError::UnknownErrorCode(value) => Self(value),
                    // Values that no function that dekhand calls should return.
                    _ => Self::GENERAL_ERROR,
                }
            }
        }
    };
}

// PKCS#11 3.0, section 5.1; names without CKR_.
values! {
    CANCEL Cancel = 0x1,
    HOST_MEMORY HostMemory = 0x2,
    SLOT_ID_INVALID SlotIdInvalid = 0x3,
    GENERAL_ERROR GeneralError = 0x5,
    FUNCTION_FAILED FunctionFailed = 0x6,
    ARGUMENTS_BAD ArgumentsBad = 0x7,
    CANT_LOCK CantLock = 0xA,
    ATTRIBUTE_READ_ONLY AttributeReadOnly = 0x10,
    ATTRIBUTE_SENSITIVE AttributeSensitive = 0x11,
    ATTRIBUTE_TYPE_INVALID AttributeTypeInvalid = 0x12,
    ATTRIBUTE_VALUE_INVALID AttributeValueInvalid = 0x13,
    ACTION_PROHIBITED ActionProhibited = 0x1B,
    DATA_INVALID DataInvalid = 0x20,
    DATA_LEN_RANGE DataLenRange = 0x21,
    DEVICE_ERROR DeviceError = 0x30,
    DEVICE_MEMORY DeviceMemory = 0x31,
    DEVICE_REMOVED DeviceRemoved = 0x32,
    ENCRYPTED_DATA_INVALID EncryptedDataInvalid = 0x40,
    ENCRYPTED_DATA_LEN_RANGE EncryptedDataLenRange = 0x41,
    FUNCTION_CANCELED FunctionCanceled = 0x50,
    FUNCTION_NOT_SUPPORTED FunctionNotSupported = 0x54,
    KEY_HANDLE_INVALID KeyHandleInvalid = 0x60,
    KEY_SIZE_RANGE KeySizeRange = 0x62,
    KEY_TYPE_INCONSISTENT KeyTypeInconsistent = 0x63,
    KEY_FUNCTION_NOT_PERMITTED KeyFunctionNotPermitted = 0x68,
    MECHANISM_INVALID MechanismInvalid = 0x70,
    MECHANISM_PARAM_INVALID MechanismParamInvalid = 0x71,
    OBJECT_HANDLE_INVALID ObjectHandleInvalid = 0x82,
    OPERATION_ACTIVE OperationActive = 0x90,
    OPERATION_NOT_INITIALIZED OperationNotInitialized = 0x91,
    PIN_INCORRECT PinIncorrect = 0xA0,
    PIN_INVALID PinInvalid = 0xA1,
    PIN_LEN_RANGE PinLenRange = 0xA2,
    PIN_EXPIRED PinExpired = 0xA3,
    PIN_LOCKED PinLocked = 0xA4,
    SESSION_CLOSED SessionClosed = 0xB0,
    SESSION_COUNT SessionCount = 0xB1,
    SESSION_HANDLE_INVALID SessionHandleInvalid = 0xB3,
    SESSION_READ_ONLY SessionReadOnly = 0xB5,
    SESSION_EXISTS SessionExists = 0xB6,
    TEMPLATE_INCOMPLETE TemplateIncomplete = 0xD0,
    TEMPLATE_INCONSISTENT TemplateInconsistent = 0xD1,
    TOKEN_NOT_PRESENT TokenNotPresent = 0xE0,
    TOKEN_NOT_RECOGNIZED TokenNotRecognized = 0xE1,
    TOKEN_WRITE_PROTECTED TokenWriteProtected = 0xE2,
    USER_ALREADY_LOGGED_IN UserAlreadyLoggedIn = 0x100,
    USER_NOT_LOGGED_IN UserNotLoggedIn = 0x101,
    USER_PIN_NOT_INITIALIZED UserPinNotInitialized = 0x102,
    USER_TYPE_INVALID UserTypeInvalid = 0x103,
    WRAPPED_KEY_INVALID WrappedKeyInvalid = 0x110,
    RANDOM_NO_RNG RandomNoRng = 0x121,
    BUFFER_TOO_SMALL BufferTooSmall = 0x150,
    CRYPTOKI_NOT_INITIALIZED CryptokiNotInitialized = 0x190,
    CRYPTOKI_ALREADY_INITIALIZED CryptokiAlreadyInitialized = 0x191,
}

impl ReturnValue {
    /// The remedy by the value alone.
    #[expect(
        clippy::match_same_arms,
        reason = "these are the entries of the recovery's table, which has none for the others"
    )]
    pub(crate) fn remedy(self) -> Remedy {
        match self {
            Self::SESSION_CLOSED
            | Self::SESSION_HANDLE_INVALID
            | Self::OPERATION_ACTIVE
            | Self::OBJECT_HANDLE_INVALID
            | Self::KEY_HANDLE_INVALID => Remedy::Session,
            Self::USER_NOT_LOGGED_IN => Remedy::Login,
            Self::DEVICE_ERROR
            | Self::DEVICE_REMOVED
            | Self::CRYPTOKI_NOT_INITIALIZED
            | Self::TOKEN_NOT_PRESENT
            | Self::TOKEN_NOT_RECOGNIZED
            | Self::GENERAL_ERROR => Remedy::Module,
            Self::PIN_INCORRECT | Self::PIN_INVALID | Self::PIN_LEN_RANGE | Self::PIN_EXPIRED | Self::PIN_LOCKED => {
                Remedy::Pin
            }
            Self::MECHANISM_INVALID
            | Self::MECHANISM_PARAM_INVALID
            | Self::FUNCTION_NOT_SUPPORTED
            | Self::KEY_FUNCTION_NOT_PERMITTED
            | Self::KEY_TYPE_INCONSISTENT
            | Self::KEY_SIZE_RANGE
            | Self::ACTION_PROHIBITED
            | Self::USER_TYPE_INVALID
            | Self::USER_PIN_NOT_INITIALIZED => Remedy::Nothing,
            // An undocumented value is taken for a failing device: it recovers, or stays an outage.
            _ => Remedy::Module,
        }
    }

    /// Whether a failed unwrap with this value may have had a bad ciphertext: only a canary can decide. Vendors have
    /// values of their own for that, so every value may mean it, except those about sessions, logins, PINs or the token
    /// itself.
    pub(crate) fn may_mean_bad_ciphertext(self) -> bool {
        match self {
            Self::DEVICE_REMOVED
            | Self::CRYPTOKI_NOT_INITIALIZED
            | Self::TOKEN_NOT_PRESENT
            | Self::TOKEN_NOT_RECOGNIZED => false,
            other => matches!(other.remedy(), Remedy::Module | Remedy::Nothing),
        }
    }
}

impl fmt::Display for ReturnValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "CKR_{name} ({:#x})", self.0),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

impl fmt::Debug for ReturnValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_only_a_vendor_knows_may_mean_a_bad_ciphertext() {
        for value in [0x8000_0070, 0x1234, 0x2, 0x5, 0x6, 0x7, 0x30, 0x40, 0x42, 0x70, 0x110] {
            assert!(ReturnValue(value).may_mean_bad_ciphertext(), "{value:#x}");
        }
        for value in [0x32, 0x60, 0x82, 0x90, 0xA0, 0xA4, 0xB0, 0xB3, 0xE0, 0xE1, 0x101, 0x190] {
            assert!(!ReturnValue(value).may_mean_bad_ciphertext(), "{value:#x}");
        }
    }
}
