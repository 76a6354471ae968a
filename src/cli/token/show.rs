//! How a token is shown, to people and to programs.

use serde::Serialize;

use crate::token::report::PinState;
use crate::token::report::TokenReport;

/// A token, as `--output json` shows it.
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "flags of PKCS#11, each for itself")]
pub(super) struct ShownToken {
    label: String,
    serial: String,
    model: String,
    manufacturer: String,
    firmware: String,
    slot: u64,
    slot_description: String,
    initialized: bool,
    login_required: bool,
    protected_path: bool,
    write_protected: bool,
    pin: PinState,
    /// The wrap mechanisms of dekhand that the token lists; empty in a list of tokens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mechanisms: Vec<String>,
}

impl From<TokenReport> for ShownToken {
    fn from(report: TokenReport) -> Self {
        let TokenReport {
            slot,
            slot_description,
            label,
            serial,
            manufacturer,
            model,
            firmware,
            initialized,
            login_required,
            protected_path,
            write_protected,
            pin,
            mechanisms,
        } = report;
        Self {
            label,
            serial,
            model,
            manufacturer,
            firmware,
            slot,
            slot_description,
            initialized,
            login_required,
            protected_path,
            write_protected,
            pin,
            mechanisms,
        }
    }
}

impl ShownToken {
    /// A block of lines, indented.
    pub(super) fn text(&self) -> String {
        let Self {
            label,
            serial,
            model,
            manufacturer,
            firmware,
            slot,
            slot_description,
            initialized,
            login_required,
            protected_path,
            write_protected,
            pin,
            mechanisms: _,
        } = self;
        let flags = [
            (*initialized, "initialised", "not initialised"),
            (*login_required, "login required", "no login"),
            (*protected_path, "PIN pad", ""),
            (*write_protected, "write-protected", ""),
        ];
        let flags = flags.map(|(set, yes, no)| if set { yes } else { no });
        let flags: Vec<&str> = flags.into_iter().filter(|flag| !flag.is_empty()).collect();
        let lines = [
            ("serial", or_none(serial)),
            ("model", format!("{}, firmware {firmware}", or_none(model))),
            ("manufacturer", or_none(manufacturer)),
            ("slot", format!("{slot:#x}  {slot_description}")),
            ("flags", flags.join(", ")),
            ("PIN", pin_text(*pin).to_owned()),
        ];
        let mut text = format!("  {}\n", if label.is_empty() { "(no label)" } else { label });
        for (name, value) in lines {
            text.push_str(&line(name, &value));
        }
        text
    }
}

/// One line of a block.
pub(super) fn line(name: &str, value: &str) -> String {
    format!("    {name:<13}  {value}\n")
}

fn or_none(text: &str) -> String {
    if text.is_empty() {
        "none".to_owned()
    } else {
        text.to_owned()
    }
}

fn pin_text(pin: PinState) -> &'static str {
    match pin {
        PinState::Unset => "not set: login as the user is impossible",
        PinState::Good => "no failed attempt is reported (some tokens never report any)",
        PinState::CountLow => "a wrong PIN was entered since the last login",
        PinState::FinalTry => "ONE ATTEMPT LEFT: the next wrong PIN locks it",
        PinState::Locked => "LOCKED: the security officer must set a new PIN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> TokenReport {
        TokenReport {
            slot: 0x6d,
            slot_description: "SoftHSM slot ID 0x6d".to_owned(),
            label: "kube".to_owned(),
            serial: String::new(),
            manufacturer: "SoftHSM project".to_owned(),
            model: "SoftHSM v2".to_owned(),
            firmware: "2.6".to_owned(),
            initialized: true,
            login_required: true,
            protected_path: false,
            write_protected: false,
            pin: PinState::FinalTry,
            mechanisms: Vec::new(),
        }
    }

    #[test]
    fn a_token_shows_what_an_operator_names_it_by_and_how_its_pin_stands() {
        let text = ShownToken::from(report()).text();
        let expected = "  kube
    serial         none
    model          SoftHSM v2, firmware 2.6
    manufacturer   SoftHSM project
    slot           0x6d  SoftHSM slot ID 0x6d
    flags          initialised, login required
    PIN            ONE ATTEMPT LEFT: the next wrong PIN locks it
";
        assert_eq!(text, expected);
    }

    #[test]
    fn programs_read_flags_and_the_state_of_the_pin_by_name() {
        let value = serde_json::to_value(ShownToken::from(report())).unwrap();
        assert_eq!((&value["label"], &value["slot"]), (&"kube".into(), &0x6d.into()));
        assert_eq!(
            (&value["initialized"], &value["pin"]),
            (&true.into(), &"final-try".into())
        );
        assert!(value.get("mechanisms").is_none(), "a list does not ask for them");
    }
}
