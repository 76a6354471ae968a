//! The types of values in a `pkcs11` section. A value that could hold a secret is never quoted.

use serde::Deserialize;
use serde::de::Error;
use serde::de::MapAccess;

use crate::clock::Timestamp;
use crate::config::error::Fault;
use crate::config::values::AbsolutePath;
use crate::config::values::QUOTES;
use crate::config::values::Whole;
use crate::config::yaml::FromYaml;
use crate::config::yaml::Optional;
use crate::config::yaml::Required;
use crate::config::yaml::Section;
use crate::config::yaml::Wrong;
use crate::config::yaml::YamlNode;
use crate::root_key::id::KeyId;
use crate::root_key::version::Number;
use crate::token::options::Login;
use crate::token::pin::PinSource;
use crate::token::uri::TokenName;
use crate::token::variable::EnvironmentVariable;
use crate::token::variable::VariableValue;

impl FromYaml for TokenName {
    fn expected() -> String {
        "a token's label, its serial, or its URI of RFC 7512 such as `pkcs11:token=kube`".to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Text(text) => text.parse::<Self>().map_err(|error| Wrong::hint(error.to_string())),
            YamlNode::Number(_) => Err(Wrong::hint(QUOTES)),
            _ => Err(Wrong::default()),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PinSection {
    file: Optional<AbsolutePath>,
    credential: Optional<CredentialName>,
    // 0 to 2 are stdin, stdout and stderr; 1023 is the highest descriptor of a process by default.
    descriptor: Optional<Whole<3, 1023>>,
}

impl FromYaml for PinSource {
    const WRONG_TEXT: &str = "a text";

    fn expected() -> String {
        "where the PIN comes from: `{file: PATH}`, `{credential: NAME}` or `{descriptor: NUMBER}`".to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Text(_) | YamlNode::Number(_) => Err(Wrong::hint(
                "a PIN does not belong in this file: put it in one that only its owner can read (chmod 0600), and \
                 name that, as in `pin: {file: /etc/dekhand/pin}`",
            )),
            _ => Err(Wrong::default()),
        }
    }

    fn read_section<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let Section(section) = Section::read_section(map)?;
        let PinSection {
            file: Optional(file),
            credential: Optional(credential),
            descriptor: Optional(descriptor),
        } = section;
        match (file, credential, descriptor) {
            (Some(AbsolutePath(file)), None, None) => Ok(Self::File(file)),
            (None, Some(CredentialName(name)), None) => Ok(Self::Credential(name)),
            // The bounds of `Whole` ensure that it is a small number.
            (None, None, Some(Whole(number))) => u32::try_from(number).map(Self::Descriptor).map_err(A::Error::custom),
            _ => {
                let refusal = Fault::new("expected one of `file`, `credential` and `descriptor`");
                Err(A::Error::custom(refusal))
            }
        }
    }
}

/// The name of one of a service's credentials, which is also a file name.
#[derive(Debug)]
struct CredentialName(String);

impl FromYaml for CredentialName {
    // A PIN of digits does not pass as a name.
    fn expected() -> String {
        "the name of a credential, 1 to 255 of A-Z, a-z, 0-9, `.`, `_`, `:`, `@` and -, starting with a letter"
            .to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte);
        match found {
            YamlNode::Text(text)
                if text.len() <= 255
                    && text.starts_with(|first: char| first.is_ascii_alphabetic())
                    && text.bytes().all(good) =>
            {
                Ok(Self((*text).to_owned()))
            }
            YamlNode::Text(text) if text.contains('/') => Err(Wrong::hint(
                "name the credential alone, as in LoadCredential=NAME:PATH; for a path write `file:`",
            )),
            _ => Err(Wrong::default()),
        }
    }
}

impl FromYaml for Login {
    fn expected() -> String {
        "`user` or `none` or `protected-path` or `vendor:NUMBER`".to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Text("user") => Ok(Self::User),
            YamlNode::Text("none") => Ok(Self::None),
            YamlNode::Text("protected-path") => Ok(Self::ProtectedPath),
            YamlNode::Text(text) => {
                let number = text.strip_prefix("vendor:").ok_or_else(Wrong::default)?;
                vendor_user(number).map(Self::Vendor).ok_or_else(|| {
                    Wrong::hint("the number is the user type of the vendor's header file, such as `vendor:0x80000001`")
                })
            }
            _ => Err(Wrong::default()),
        }
    }
}

/// The number of a user type, of which 0 to 2 are PKCS#11's own.
fn vendor_user(text: &str) -> Option<u32> {
    let number = match text.strip_prefix("0x") {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => u32::from_str_radix(digits, 16),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse(),
        _ => return None,
    };
    number.ok().filter(|number| *number > 2)
}

/// A login as the configuration writes it.
pub(in crate::config) fn login_text(login: Login) -> String {
    match login {
        Login::User => "user".to_owned(),
        Login::None => "none".to_owned(),
        Login::ProtectedPath => "protected-path".to_owned(),
        Login::Vendor(number) => format!("vendor:{number:#x}"),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VariableSection {
    name: Required<VariableName>,
    #[serde(default)]
    file: Optional<AbsolutePath>,
    #[serde(default)]
    credential: Optional<CredentialName>,
}

/// The name of an environment variable.
#[derive(Debug)]
struct VariableName(String);

impl FromYaml for VariableName {
    fn expected() -> String {
        "a name of letters, digits and `_`".to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Text(text) if is_variable_name(text) => Ok(Self((*text).to_owned())),
            _ => Err(Wrong::default()),
        }
    }
}

fn is_variable_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts = |first: char| first.is_ascii_alphabetic() || first == '_';
    name.len() <= 128 && name.starts_with(starts) && name.bytes().all(good)
}

impl FromYaml for EnvironmentVariable {
    const WRONG_TEXT: &str = "a text";

    fn expected() -> String {
        "`NAME=value`, a name of letters, digits and `_`; or `{name: NAME, file: PATH}` for a secret".to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        let YamlNode::Text(text) = found else {
            return Err(Wrong::default());
        };
        let (name, value) = text.split_once('=').ok_or_else(Wrong::default)?;
        if !is_variable_name(name) {
            return Err(Wrong::default());
        }
        if value.contains(char::is_control) {
            return Err(Wrong::hint("a value must not have control characters"));
        }
        if !value.starts_with('/') && names_a_secret(name) || has_a_password(value) {
            return Err(Wrong::hint(
                "this variable seems to be a secret, which does not belong in this file: set the token's PIN with \
                 `pin`, and put another secret into a file that only its owner can read (chmod 0600), as in `{name: \
                 NAME, file: /etc/dekhand/secret}`, or into a credential, as in `{name: NAME, credential: secret}`",
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            value: VariableValue::Text(value.to_owned()),
        })
    }

    fn read_section<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let Section(section) = Section::read_section(map)?;
        let VariableSection {
            name: Required(VariableName(name)),
            file: Optional(file),
            credential: Optional(credential),
        } = section;
        let value = match (file, credential) {
            (Some(AbsolutePath(file)), None) => VariableValue::File(file),
            (None, Some(CredentialName(credential))) => VariableValue::Credential(credential),
            _ => {
                let refusal = Fault::new("expected one of `file` and `credential`");
                return Err(A::Error::custom(refusal));
            }
        };
        Ok(Self { name, value })
    }
}

/// Whether a value is an address with a password, as in `https://user:password@host`.
fn has_a_password(value: &str) -> bool {
    let authority = value
        .split_once("://")
        .map(|(_, rest)| rest.split('/').next().unwrap_or_default());
    let user = authority.and_then(|authority| authority.rsplit_once('@'));
    user.is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, password)| !password.is_empty()))
}

/// Words in the names of variables that hold secrets.
const SECRETS: [&str; 14] = [
    "APIKEY",
    "AUTH",
    "CREDENTIAL",
    "CREDENTIALS",
    "PASS",
    "PASSCODE",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PIN",
    "PW",
    "PWD",
    "SECRET",
    "SECRETS",
];
/// Words that name a secret at the end of a name, as in `API_KEY`, and otherwise what it is about.
const SECRETS_AT_THE_END: [&str; 2] = ["KEY", "TOKEN"];

/// Whether a variable of this name holds a secret itself, not the path of one.
fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words = || name.split('_');
    let of = |list: &'static [&str]| move |word: &str| list.contains(&word);
    let ends = |list: &'static [&str]| words().next_back().is_some_and(of(list));
    let path = ends(&["FILE", "PATH", "DIR", "DIRECTORY", "SOCK"]);
    !path && (words().any(of(&SECRETS)) || ends(&SECRETS_AT_THE_END))
}

impl FromYaml for KeyId {
    fn expected() -> String {
        "an id of 8 to 32 bytes, written as 16 to 64 hexadecimal digits".to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Text(text) => text.parse().map_err(|_| Wrong::default()),
            // YAML reads digits, also with an `e` among them, as a number.
            _ => Err(Wrong::hint("put the id in quotes")),
        }
    }
}

/// The label of a key, within limits that every token supports.
#[derive(Debug)]
pub(in crate::config) struct ObjectLabel(pub(in crate::config) String);

impl FromYaml for ObjectLabel {
    fn expected() -> String {
        "a label of 1 to 40 bytes without control characters".to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Text(text) if (1..=40).contains(&text.len()) && !text.contains(char::is_control) => {
                Ok(Self((*text).to_owned()))
            }
            YamlNode::Text(_) => Err(Wrong::default()),
            _ => Err(Wrong::hint(QUOTES)),
        }
    }
}

impl FromYaml for Number {
    fn expected() -> String {
        "a version number from 1 to 9999".to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Number(number) => {
                let number = u16::try_from(*number).map_err(|_| Wrong::default())?;
                Self::try_from(number).map_err(|_| Wrong::default())
            }
            YamlNode::Text(_) => Err(Wrong::hint("write the number alone, as in `number: 2`")),
            _ => Err(Wrong::default()),
        }
    }
}

impl FromYaml for Timestamp {
    fn expected() -> String {
        "a time in UTC such as 2026-03-01T12:00:00Z".to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Text(text) => text.parse().map_err(|_| Wrong::default()),
            _ => Err(Wrong::default()),
        }
    }
}
