//! Reads a root key's attributes from the token, and warns of those that are weaker than they should be.

use cryptoki::object::AttributeType;
use cryptoki::session::Session;

use crate::token::attribute;
use crate::token::error::TokenError;
use crate::token::key_object::KeyKind;
use crate::token::key_object::KeyObject;
use crate::token::report::KeyReport;

/// Longer than any label that a token stores.
const LONGEST_LABEL: usize = 1024;

/// The attributes, in the order in which they are shown. `CKA_ENCRYPT` of an RSA key is that of its public half.
const ATTRIBUTES: [(&str, AttributeType); 11] = [
    ("SENSITIVE", AttributeType::Sensitive),
    ("ALWAYS_SENSITIVE", AttributeType::AlwaysSensitive),
    ("EXTRACTABLE", AttributeType::Extractable),
    ("NEVER_EXTRACTABLE", AttributeType::NeverExtractable),
    ("ENCRYPT", AttributeType::Encrypt),
    ("DECRYPT", AttributeType::Decrypt),
    ("WRAP", AttributeType::Wrap),
    ("UNWRAP", AttributeType::Unwrap),
    ("DERIVE", AttributeType::Derive),
    ("PRIVATE", AttributeType::Private),
    ("LOCAL", AttributeType::Local),
];

/// Reads a root key's attributes, one at a time: an attribute that a token does not disclose is `None`.
///
/// # Errors
/// The label cannot be read: the token fails, or the key is gone.
pub(crate) fn attributes(session: &Session, key: &KeyObject, exportable: bool) -> Result<KeyReport, TokenError> {
    let is_rsa = matches!(key.kind, KeyKind::Rsa { .. });
    let attributes: Vec<(String, Option<bool>)> = ATTRIBUTES
        .iter()
        .map(|(name, attribute)| {
            let of_the_public_half = is_rsa && matches!(attribute, AttributeType::Encrypt | AttributeType::Wrap);
            let object = if of_the_public_half { key.wraps } else { key.unwraps };
            ((*name).to_owned(), attribute::flag(session, object, *attribute))
        })
        .collect();
    let label = attribute::bytes(session, key.unwraps, AttributeType::Label, LONGEST_LABEL)?;
    Ok(KeyReport {
        key: match key.kind {
            KeyKind::Aes256 => "AES-256".to_owned(),
            KeyKind::Rsa { bits } => format!("RSA-{bits}"),
        },
        label: String::from_utf8_lossy(label.as_deref().unwrap_or_default()).into_owned(),
        warnings: warnings(&attributes, is_rsa, exportable),
        attributes,
        another_key: false,
        unproven: false,
    })
}

/// Attributes that are weaker than those of a key that dekhand makes. With `exportable` a key may leave the token.
fn warnings(attributes: &[(String, Option<bool>)], is_rsa: bool, exportable: bool) -> Vec<String> {
    let is = |name: &str, expected: bool| {
        let value = attributes
            .iter()
            .find(|(other, _)| other == name)
            .and_then(|(_, value)| *value);
        value == Some(expected)
    };
    let mut warnings = Vec::new();
    let mut warn = |weak: bool, text: &str| {
        if weak {
            warnings.push(text.to_owned());
        }
    };
    warn(
        is("SENSITIVE", false),
        "CKA_SENSITIVE is false: anyone who is logged in can read the key",
    );
    warn(
        is("SENSITIVE", true) && is("ALWAYS_SENSITIVE", false),
        "CKA_ALWAYS_SENSITIVE is false: the key was made outside the token, or could once be read",
    );
    if !exportable {
        warn(
            is("EXTRACTABLE", true),
            "CKA_EXTRACTABLE is true: the key can leave the token, wrapped under another key",
        );
        warn(
            is("EXTRACTABLE", false) && is("NEVER_EXTRACTABLE", false),
            "CKA_NEVER_EXTRACTABLE is false: the key was made outside the token, or could once leave it",
        );
    }
    warn(
        is("ENCRYPT", false),
        if is_rsa {
            "CKA_ENCRYPT of the public key is false: it cannot wrap data keys"
        } else {
            "CKA_ENCRYPT is false: the key cannot wrap data keys"
        },
    );
    warn(
        is("DECRYPT", false),
        "CKA_DECRYPT is false: the key cannot unwrap data keys",
    );
    warn(
        is("WRAP", true),
        if is_rsa {
            "CKA_WRAP of the public key is true: other keys of the token can be wrapped under it and then decrypted"
        } else {
            "CKA_WRAP is true: other keys of the token can be wrapped under this one and then decrypted"
        },
    );
    warn(
        is("UNWRAP", true),
        "CKA_UNWRAP is true: data encrypted with this key can be made a key of the token",
    );
    warn(
        is("DERIVE", true),
        "CKA_DERIVE is true: other keys can be derived from this one",
    );
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Vec<(String, Option<bool>)> {
        let value = |name: &str| !matches!(name, "EXTRACTABLE" | "WRAP" | "UNWRAP" | "DERIVE");
        ATTRIBUTES
            .iter()
            .map(|(name, _)| ((*name).to_owned(), Some(value(name))))
            .collect()
    }

    fn with(name: &str, value: Option<bool>) -> Vec<(String, Option<bool>)> {
        let mut attributes = good();
        attributes.iter_mut().find(|(other, _)| other == name).unwrap().1 = value;
        attributes
    }

    #[test]
    fn a_key_as_dekhand_makes_it_has_no_warning() {
        assert_eq!(warnings(&good(), false, false), Vec::<String>::new());
        assert_eq!(warnings(&good(), true, false), Vec::<String>::new());
    }

    #[test]
    fn each_weakness_has_its_warning() {
        for (name, weak) in [
            ("SENSITIVE", false),
            ("ALWAYS_SENSITIVE", false),
            ("EXTRACTABLE", true),
            ("NEVER_EXTRACTABLE", false),
            ("ENCRYPT", false),
            ("DECRYPT", false),
            ("WRAP", true),
            ("UNWRAP", true),
            ("DERIVE", true),
        ] {
            let found = warnings(&with(name, Some(weak)), false, false);
            assert!(
                matches!(found.as_slice(), [warning] if warning.starts_with(&format!("CKA_{name} "))),
                "{name}: {found:?}"
            );
        }
    }

    #[test]
    fn what_a_token_does_not_say_is_no_weakness() {
        for (name, _) in ATTRIBUTES {
            assert_eq!(warnings(&with(name, None), false, false), Vec::<String>::new());
        }
    }

    #[test]
    fn an_exportable_key_is_as_the_configuration_wants_it() {
        assert_eq!(
            warnings(&with("EXTRACTABLE", Some(true)), false, true),
            Vec::<String>::new()
        );
        assert_eq!(
            warnings(&with("NEVER_EXTRACTABLE", Some(false)), false, true),
            Vec::<String>::new()
        );
    }
}
