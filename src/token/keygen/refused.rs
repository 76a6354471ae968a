//! Which attribute a token refuses, since its return value does not say: found by making keys that nobody keeps.

use std::time::Duration;

use cryptoki::object::Attribute;
use cryptoki::object::AttributeType;

use crate::clock::Clock;
use crate::token::error::TokenError;
use crate::token::keygen::template;
use crate::token::keygen::template::value_text;
use crate::token::return_value::ReturnValue;

/// Some tokens take seconds for a key, and the call must end.
const LIMIT: Duration = Duration::from_secs(5);

/// Without these no key can be made.
const ESSENTIAL: [AttributeType; 5] = [
    AttributeType::Token,
    AttributeType::ValueLen,
    AttributeType::Value,
    AttributeType::ModulusBits,
    AttributeType::PublicExponent,
];

/// Without these an object is of no kind; of a key that the token makes, the mechanism says it.
const KIND: [AttributeType; 2] = [AttributeType::Class, AttributeType::KeyType];

/// Left out for a token that refuses to hear of them. What they say is what the mechanism says or the default, and is
/// read back: a key that may wrap is not kept.
const SPARE: [AttributeType; 7] = [
    AttributeType::Class,
    AttributeType::KeyType,
    AttributeType::Wrap,
    AttributeType::Unwrap,
    AttributeType::Sign,
    AttributeType::Verify,
    AttributeType::Derive,
];

/// What a token refuses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// These attributes.
    Attributes(Vec<AttributeType>),
    /// That the key stays: the same key is made for a session.
    Keeping,
    /// It could not be found out.
    Unknown,
}

/// Whether a return value means that something about the attributes is wrong.
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

/// Says when enough time was spent on finding out.
pub(super) fn patience() -> impl Fn() -> bool {
    let clock = Clock::system();
    let end = clock.boottime().saturating_add(LIMIT);
    move || clock.boottime() > end
}

/// Finds out what is refused about `attributes`. `make` makes a key with what it is given, and destroys it.
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
            // The token is in trouble, or makes no keys for a session: this leads nowhere.
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
    // More than one is refused: those that can't be added to what is taken.
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

    /// The error that says what is refused, and what helps.
    pub(super) fn into_error(self, attributes: &[Attribute], error: &TokenError) -> TokenError {
        let by_hand = "make the key with the vendor's tool: `--print` shows what it must be";
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
                "the token makes such a key for a session and refuses to keep it (CKA_TOKEN): it is full, or keeps \
                 only keys of its administrator's; {by_hand}"
            ),
            Self::Unknown => {
                let names: Vec<String> = attributes
                    .iter()
                    .map(|attribute| attribute.attribute_type().to_string())
                    .collect();
                format!(
                    "the token refuses one of the attributes {}, and does not say which; {by_hand}",
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
        Attribute::Private(false) => Some("remove `private: false`, which this token does not want"),
        Attribute::Extractable(false) => {
            Some("set `exportable: true` for a token whose keys may leave it wrapped, as a second device needs them")
        }
        Attribute::Extractable(true) => Some("remove `exportable: true`, which this token does not want"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
