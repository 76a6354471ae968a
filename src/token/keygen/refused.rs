//! Finds the attribute that a token refuses, which its return value does not name, by making keys that are not kept.

use std::time::Duration;

use cryptoki::object::Attribute;
use cryptoki::object::AttributeType;

use crate::clock::Clock;
use crate::token::error::TokenError;
use crate::token::keygen::template;
use crate::token::keygen::template::value_text;
use crate::token::return_value::ReturnValue;

/// Some tokens take seconds to make a key, and the call must end.
const LIMIT: Duration = Duration::from_secs(5);

/// No key can be made without these.
const ESSENTIAL: [AttributeType; 5] = [
    AttributeType::Token,
    AttributeType::ValueLen,
    AttributeType::Value,
    AttributeType::ModulusBits,
    AttributeType::PublicExponent,
];

/// They define the kind of the object; for a key that the token makes, the mechanism defines it.
const KIND: [AttributeType; 2] = [AttributeType::Class, AttributeType::KeyType];

/// Left out for a token that refuses them. Their values are those of the mechanism or the defaults, and are read back:
/// a key that may wrap is not kept.
const SPARE: [AttributeType; 7] = [
    AttributeType::Class,
    AttributeType::KeyType,
    AttributeType::Wrap,
    AttributeType::Unwrap,
    AttributeType::Sign,
    AttributeType::Verify,
    AttributeType::Derive,
];

/// The attributes that a token refuses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// These attributes.
    Attributes(Vec<AttributeType>),
    /// A key that stays in the token: the same key is made as a session object.
    Keeping,
    /// Unknown.
    Unknown,
}

/// Whether a return value means that an attribute is wrong.
pub(super) fn is_about_attributes(error: &TokenError) -> bool {
    matches!(
        error.value(),
        Some(
            ReturnValue::TEMPLATE_INCONSISTENT
                | ReturnValue::TEMPLATE_INCOMPLETE
                | ReturnValue::ATTRIBUTE_TYPE_INVALID
                | ReturnValue::ATTRIBUTE_VALUE_INVALID
                | ReturnValue::ATTRIBUTE_READ_ONLY
                | ReturnValue::ATTRIBUTE_SENSITIVE
                | ReturnValue::ARGUMENTS_BAD
        )
    )
}

/// Returns whether the time for the search is used up.
pub(super) fn patience() -> impl Fn() -> bool {
    let clock = Clock::system();
    let end = clock.boottime().saturating_add(LIMIT);
    move || clock.boottime() > end
}

/// Finds the refused attributes among `attributes`. `make` makes a key with its argument, and destroys it.
pub(super) fn find_out(
    attributes: &[Attribute],
    is_late: &dyn Fn() -> bool,
    make: &mut dyn FnMut(&[Attribute]) -> Result<(), TokenError>,
) -> Refused {
    let mut attempt = |attributes: &[Attribute]| {
        if is_late() {
            return None;
        }
        match make(attributes) {
            Ok(()) => Some(true),
            Err(error) if is_about_attributes(&error) => Some(false),
            // The token fails, or makes no session keys: the search cannot succeed.
            Err(_) => None,
        }
    };
    let passing = template::of_a_session(attributes);
    match attempt(&passing) {
        Some(true) => return Refused::Keeping,
        Some(false) => {}
        None => return Refused::Unknown,
    }
    let of = |attribute: &Attribute| attribute.attribute_type();
    for left_out in passing.iter().map(of).filter(|one| !ESSENTIAL.contains(one)) {
        match attempt(&template::without(&passing, &[left_out])) {
            Some(true) => return Refused::Attributes(vec![left_out]),
            Some(false) => {}
            None => return Refused::Unknown,
        }
    }
    // Several attributes are refused: those that cannot be added to the accepted ones.
    let (mut taken, others): (Vec<Attribute>, Vec<Attribute>) = passing
        .iter()
        .cloned()
        .partition(|attribute| ESSENTIAL.contains(&of(attribute)) || KIND.contains(&of(attribute)));
    let mut refused = Vec::new();
    if attempt(&taken) != Some(true) {
        return Refused::Unknown;
    }
    for attribute in others {
        let left_out = attribute.attribute_type();
        taken.push(attribute);
        match attempt(&taken) {
            Some(true) => {}
            Some(false) => {
                taken.pop();
                refused.push(left_out);
            }
            None => return Refused::Unknown,
        }
    }
    if refused.is_empty() {
        Refused::Unknown
    } else {
        Refused::Attributes(refused)
    }
}

impl Refused {
    /// The attributes to leave out, if the key is as good without them.
    pub(super) fn spare(&self) -> Option<&[AttributeType]> {
        match self {
            Self::Attributes(refused) if refused.iter().all(|one| SPARE.contains(one)) => Some(refused),
            Self::Attributes(_) | Self::Keeping | Self::Unknown => None,
        }
    }

    /// The error that names the refused attributes and the remedy.
    pub(super) fn into_error(self, attributes: &[Attribute], error: &TokenError) -> TokenError {
        let by_hand = "create the key with the vendor's tool: `--print` shows the attributes that it needs";
        let text = match self {
            Self::Attributes(refused) => {
                let is_refused = |attribute: &&Attribute| refused.contains(&attribute.attribute_type());
                let shown: Vec<String> = attributes
                    .iter()
                    .filter(is_refused)
                    .map(|attribute| format!("{} = {}", attribute.attribute_type(), value_text(attribute)))
                    .collect();
                let advice: Vec<&str> = attributes.iter().filter(is_refused).filter_map(advice).collect();
                let advice = if advice.is_empty() {
                    by_hand.to_owned()
                } else {
                    advice.join("; ")
                };
                format!("the token refuses {}: {advice}", shown.join(" and "))
            }
            Self::Keeping => format!(
                "the token makes such a key for a session but refuses to keep it (CKA_TOKEN): it is full, or keeps \
                 only keys that its administrator makes; {by_hand}"
            ),
            Self::Unknown => {
                let names: Vec<String> = attributes
                    .iter()
                    .map(|attribute| attribute.attribute_type().to_string())
                    .collect();
                format!(
                    "the token refuses one of the attributes {}, but its error does not name it; {by_hand}",
                    names.join(", ")
                )
            }
        };
        TokenError::Refused(format!("{text} ({error})"))
    }
}

/// The option that helps.
fn advice(refused: &Attribute) -> Option<&'static str> {
    match refused {
        Attribute::Private(true) => Some("set `private: false` for a token that holds no private objects"),
        Attribute::Private(false) => Some("remove `private: false`, which this token does not allow"),
        Attribute::Extractable(false) => {
            Some("set `exportable: true` for a token whose keys may leave it wrapped, as for a second device")
        }
        Attribute::Extractable(true) => Some("remove `exportable: true`, which this token does not allow"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
