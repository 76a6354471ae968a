//! A token's description of itself, in printable form.

use cryptoki_sys as sys;

use crate::token::report::PinState;

/// A token's description and flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are the flags of CK_TOKEN_INFO")]
pub(crate) struct TokenInfo {
    /// The label.
    pub(crate) label: String,
    /// The serial number; empty, all zeros or not unique on some tokens.
    pub(crate) serial: String,
    /// The manufacturer.
    pub(crate) manufacturer: String,
    /// The model.
    pub(crate) model: String,
    /// The firmware's version, such as `2.6`.
    pub(crate) firmware: String,
    /// Whether it was initialised.
    pub(crate) initialized: bool,
    /// Whether it requires a login.
    pub(crate) login_required: bool,
    /// Whether the PIN is typed at a device of its own.
    pub(crate) protected_path: bool,
    /// Whether it is write-protected.
    pub(crate) write_protected: bool,
    /// Whether the normal user has a PIN.
    pub(crate) pin_set: bool,
    /// Whether a wrong PIN was given since the last login. Some tokens never set this flag, or the next two.
    pub(crate) pin_count_low: bool,
    /// Whether the next wrong PIN locks it.
    pub(crate) pin_final_try: bool,
    /// Whether it is locked.
    pub(crate) pin_locked: bool,
}

impl TokenInfo {
    /// From the result of `C_GetTokenInfo`. Its numbers of sessions, memory and the clock are not used.
    pub(crate) fn of(raw: &sys::CK_TOKEN_INFO) -> Self {
        let has = |flag| raw.flags & flag != 0;
        let firmware = raw.firmwareVersion;
        Self {
            label: text(&raw.label),
            serial: text(&raw.serialNumber),
            manufacturer: text(&raw.manufacturerID),
            model: text(&raw.model),
            firmware: format!("{}.{}", firmware.major, firmware.minor),
            initialized: has(sys::CKF_TOKEN_INITIALIZED),
            login_required: has(sys::CKF_LOGIN_REQUIRED),
            protected_path: has(sys::CKF_PROTECTED_AUTHENTICATION_PATH),
            write_protected: has(sys::CKF_WRITE_PROTECTED),
            pin_set: has(sys::CKF_USER_PIN_INITIALIZED),
            pin_count_low: has(sys::CKF_USER_PIN_COUNT_LOW),
            pin_final_try: has(sys::CKF_USER_PIN_FINAL_TRY),
            pin_locked: has(sys::CKF_USER_PIN_LOCKED),
        }
    }

    /// The name of the token in messages and records: `kube (SoftHSM project, serial 0a1b2c)`.
    pub(crate) fn name(&self) -> String {
        let Self {
            label,
            serial,
            manufacturer,
            ..
        } = self;
        format!("{label} ({manufacturer}, serial {serial})")
    }

    /// The state of the normal user's PIN.
    pub(crate) fn pin(&self) -> PinState {
        if self.pin_locked {
            PinState::Locked
        } else if self.pin_final_try {
            PinState::FinalTry
        } else if self.pin_count_low {
            PinState::CountLow
        } else if self.pin_set {
            PinState::Good
        } else {
            PinState::Unset
        }
    }
}

/// A field padded with blanks, or with zeros, which the standard does not allow. Control characters never reach a
/// terminal.
pub(crate) fn text(field: &[u8]) -> String {
    let text = String::from_utf8_lossy(field);
    let text = text.trim_end_matches([' ', '\0']);
    text.chars()
        .map(|char| {
            if char.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                char
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_cut_and_odd_bytes_do_no_harm() {
        assert_eq!(text(b"kube    "), "kube");
        assert_eq!(text(b"a b\0\0\0"), "a b");
        assert_eq!(text(b"\xff\x1b[2J \0 "), "\u{fffd}\u{fffd}[2J");
        assert_eq!(text(&[0; 16]), "");
    }

    #[test]
    fn the_gravest_flag_of_a_pin_is_shown() {
        let with = |flags| {
            let raw = sys::CK_TOKEN_INFO {
                flags,
                utcTime: [0xff; 16],
                ..Default::default()
            };
            TokenInfo::of(&raw).pin()
        };
        let set = sys::CKF_USER_PIN_INITIALIZED;
        let low = set | sys::CKF_USER_PIN_COUNT_LOW;
        assert_eq!(with(0), PinState::Unset);
        assert_eq!(with(set), PinState::Good);
        assert_eq!(with(low), PinState::CountLow);
        assert_eq!(with(low | sys::CKF_USER_PIN_FINAL_TRY), PinState::FinalTry);
        assert_eq!(with(low | sys::CKF_USER_PIN_LOCKED), PinState::Locked);
    }
}
