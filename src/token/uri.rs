//! The name of a token: by label or serial, because slot numbers change.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

/// The name of a token, by its own description: a URI of RFC 7512 such as `pkcs11:token=kube;serial=0a1b`, or a text
/// alone. The text is the label of a token; only if no token has this label, it is a serial number
/// ([`as_serial`](Self::as_serial)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenName(Said);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Text(String),
    Uri(Attributes),
}

/// At least a label or a serial. An absent attribute matches every token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Attributes {
    label: Option<String>,
    serial: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
}

// Bytes of the fields of CK_TOKEN_INFO, which are padded with spaces.
const LONGEST_LABEL: usize = 32;
const LONGEST_SERIAL: usize = 16;
const LONGEST_MANUFACTURER: usize = 32;
const LONGEST_MODEL: usize = 16;

const SCHEME: &str = "pkcs11:";

/// A text is not a token's name. The error has the reason and never quotes the text, because URIs can carry PINs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotATokenName(&'static str);

impl TokenName {
    /// Whether a token of this label, serial number, manufacturer and model, all without their padding, has this name.
    pub fn matches(&self, label: &str, serial: &str, manufacturer: &str, model: &str) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        match &self.0 {
            Said::Text(text) => text == label,
            Said::Uri(wanted) => {
                is(&wanted.label, label)
                    && is(&wanted.serial, serial)
                    && is(&wanted.manufacturer, manufacturer)
                    && is(&wanted.model, model)
            }
        }
    }

    /// The label, if the name has one.
    pub fn label(&self) -> Option<&str> {
        match &self.0 {
            Said::Text(text) => Some(text),
            Said::Uri(attributes) => attributes.label.as_deref(),
        }
    }

    /// The meaning of a text alone if no token has it as its label: the serial number. `None` for a URI, which names
    /// its attribute.
    pub fn as_serial(&self) -> Option<Self> {
        match &self.0 {
            Said::Text(text) if text.len() <= LONGEST_SERIAL => Some(Self(Said::Uri(Attributes {
                serial: Some(text.clone()),
                ..Attributes::default()
            }))),
            Said::Text(_) | Said::Uri(_) => None,
        }
    }
}

impl FromStr for TokenName {
    type Err = NotATokenName;

    fn from_str(text: &str) -> Result<Self, NotATokenName> {
        match text.split_at_checked(SCHEME.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => attributes(rest).map(Said::Uri).map(Self),
            _ => checked(text.to_owned(), LONGEST_LABEL).map(Said::Text).map(Self),
        }
    }
}

fn attributes(path: &str) -> Result<Attributes, NotATokenName> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    if let Some(attribute) = query.split('&').next().filter(|attribute| !attribute.is_empty()) {
        return Err(not_here(attribute));
    }
    let mut found = Attributes::default();
    for attribute in path.split(';').filter(|_| !path.is_empty()) {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        let (place, longest) = match name {
            "token" => (&mut found.label, LONGEST_LABEL),
            "serial" => (&mut found.serial, LONGEST_SERIAL),
            "manufacturer" => (&mut found.manufacturer, LONGEST_MANUFACTURER),
            "model" => (&mut found.model, LONGEST_MODEL),
            _ => return Err(not_here(attribute)),
        };
        if place.is_some() {
            return Err(NotATokenName("an attribute of the URI is given twice"));
        }
        *place = Some(checked(percent_decoded(value)?, longest)?);
    }
    if found.label.is_none() && found.serial.is_none() {
        return Err(NotATokenName("the URI needs `token=` (the label) or `serial=`"));
    }
    Ok(found)
}

/// Why an attribute is not allowed in the name of a token.
fn not_here(attribute: &str) -> NotATokenName {
    let name = attribute.split('=').next().unwrap_or_default();
    NotATokenName(match name {
        "pin-value" | "pin-source" => "leave the PIN out of the URI: `pin` says where it comes from",
        "module-path" | "module-name" | "library-manufacturer" | "library-description" | "library-version" => {
            "leave the module out of the URI: `module` names it"
        }
        "object" | "id" | "type" => {
            "leave the key out of the URI: root keys are found by their labels, or as `versions` lists them"
        }
        "slot-id" | "slot-description" | "slot-manufacturer" => {
            "leave the slot out of the URI, since slots change: name the token by `token=` or `serial=`"
        }
        _ => "the URI has an attribute that is none of `token`, `serial`, `manufacturer` and `model`",
    })
}

fn percent_decoded(text: &str) -> Result<String, NotATokenName> {
    const WRONG: NotATokenName = NotATokenName("a `%` in the URI must be followed by two hexadecimal digits");
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).ok_or(WRONG)?;
        bytes.extend(hex::decode(digits).map_err(|_| WRONG)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| NotATokenName("an attribute of the URI is not UTF-8"))
}

/// A field of a token's description, checked for length and characters.
fn checked(text: String, longest: usize) -> Result<String, NotATokenName> {
    let problem = if text.is_empty() {
        "an empty label, serial, manufacturer or model names no token"
    } else if text.len() > longest {
        "a label and a manufacturer have at most 32 bytes, a serial and a model at most 16"
    } else if text.contains(char::is_control) {
        "no token's description has control characters"
    } else if text.ends_with(' ') {
        "spaces at the end are padding: leave them out"
    } else {
        return Ok(text);
    };
    Err(NotATokenName(problem))
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attributes {
            label,
            serial,
            manufacturer,
            model,
        } = match &self.0 {
            Said::Text(text) => return f.write_str(text),
            Said::Uri(attributes) => attributes,
        };
        f.write_str(SCHEME)?;
        let attributes = [
            ("token", label),
            ("serial", serial),
            ("manufacturer", manufacturer),
            ("model", model),
        ];
        let mut separator = "";
        for (name, value) in attributes {
            let Some(value) = value else { continue };
            write!(f, "{separator}{name}=")?;
            separator = ";";
            for byte in value.bytes() {
                match char::from(byte) {
                    plain if plain.is_ascii_alphanumeric() || "-._~".contains(plain) => f.write_char(plain)?,
                    _ => write!(f, "%{byte:02X}")?,
                }
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for TokenName {
    type Error = NotATokenName;

    fn try_from(text: String) -> Result<Self, NotATokenName> {
        text.parse()
    }
}

impl From<TokenName> for String {
    fn from(name: TokenName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TokenName {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_text_alone_is_a_label_first_and_a_serial_where_no_label_matches() {
        let kube = name("kube");
        assert!(kube.matches("kube", "1", "", ""));
        assert!(!kube.matches("other", "kube", "", ""));
        let serial = kube.as_serial().unwrap();
        assert!(serial.matches("other", "kube", "m", "o"));
        assert!(!serial.matches("kube", "1", "", ""));
        assert_eq!(serial.as_serial(), None);
        assert_eq!(name("longer than a serial can be").as_serial(), None);
        assert_eq!(name("pkcs11:token=kube").as_serial(), None);
    }

    #[test]
    fn a_uri_matches_by_all_that_it_says() {
        let all = name("pkcs11:model=SoftHSM%20v2;token=my%20k%c3%bcbe;serial=0a;manufacturer=SoftHSM%20project");
        assert!(all.matches("my kübe", "0a", "SoftHSM project", "SoftHSM v2"));
        for (label, serial, manufacturer, model) in [
            ("my kube", "0a", "SoftHSM project", "SoftHSM v2"),
            ("my kübe", "0A", "SoftHSM project", "SoftHSM v2"),
            ("my kübe", "0a", "SoftHSM", "SoftHSM v2"),
            ("my kübe", "0a", "SoftHSM project", ""),
        ] {
            assert!(!all.matches(label, serial, manufacturer, model));
        }
        assert!(name("PKCS11:serial=1").matches("x", "1", "y", "z"));
        assert!(name("pkcs11:token=%3B%3f%25+").matches(";?%+", "", "", ""));
    }

    #[test]
    fn a_name_reads_back_as_it_prints() {
        for (text, printed) in [
            ("kube", "kube"),
            ("my kübe; 1?", "my kübe; 1?"),
            ("pkcs11:token=kube", "pkcs11:token=kube"),
            ("pkcs11:serial=1;token=a%20b", "pkcs11:token=a%20b;serial=1"),
            ("pkcs11:token=a b%2f;model=x", "pkcs11:token=a%20b%2F;model=x"),
        ] {
            assert_eq!(name(text).to_string(), printed);
            assert_eq!(name(printed), name(text));
            let json = serde_json::to_string(&name(text)).unwrap();
            assert_eq!(serde_json::from_str::<TokenName>(&json).unwrap(), name(text));
        }
    }

    #[test]
    fn what_names_no_token_is_refused_with_what_to_do_and_never_quoted() {
        for (text, reason) in [
            ("", "empty"),
            ("a\0b", "control"),
            ("kube    ", "padding"),
            ("a label of more than thirty-two by", "32 bytes"),
            ("pkcs11:", "`token=`"),
            ("pkcs11:model=x", "`token=`"),
            ("pkcs11:token=", "empty"),
            ("pkcs11:serial=", "empty"),
            ("pkcs11:token=a;serial=", "empty"),
            ("pkcs11:serial=12345678901234567", "at most 16"),
            ("pkcs11:token=a;token=b", "twice"),
            ("pkcs11:token=a%00", "control"),
            ("pkcs11:token=a%0a", "control"),
            ("pkcs11:token=a%20", "padding"),
            ("pkcs11:token=a%2", "two hexadecimal digits"),
            ("pkcs11:token=a%zz", "two hexadecimal digits"),
            ("pkcs11:token=a%ä", "two hexadecimal digits"),
            ("pkcs11:token=%ff", "UTF-8"),
            ("pkcs11:token=a;", "attribute"),
            ("pkcs11:token=a;x-hunter2=b", "attribute"),
            ("pkcs11:hunter2", "attribute"),
            ("pkcs11:token=a;object=k", "`versions`"),
            ("pkcs11:token=a;id=%01", "`versions`"),
            ("pkcs11:token=a;slot-id=1", "slots change"),
            ("pkcs11:token=a;library-version=1", "`module`"),
            ("pkcs11:token=a;pin-value=hunter2", "`pin`"),
            ("pkcs11:token=a?pin-value=hunter2", "`pin`"),
            ("pkcs11:token=a?pin-source=/p&module-path=/m", "`pin`"),
            ("pkcs11:token=a?module-path=/m", "`module`"),
            ("pkcs11:token=a?x=hunter2", "attribute"),
        ] {
            let error = text.parse::<TokenName>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
