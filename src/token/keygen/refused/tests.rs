//! The promises for a token that refuses a template.

use std::cell::Cell;

use super::*;

fn attributes() -> Vec<Attribute> {
    vec![
        Attribute::ValueLen(32.into()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Wrap(false),
        Attribute::Derive(false),
    ]
}

fn inconsistent() -> TokenError {
    TokenError::call("C_GenerateKey", ReturnValue::TEMPLATE_INCONSISTENT)
}

/// The refused attributes that are found, for a token that refuses those that `refuses` matches.
fn found(refuses: impl Fn(&[Attribute]) -> bool) -> Refused {
    find_out(&attributes(), &|| false, &mut |attributes| {
        assert!(!attributes.contains(&Attribute::Token(true)), "a trial was to stay");
        if refuses(attributes) {
            Err(inconsistent())
        } else {
            Ok(())
        }
    })
}

fn message(refused: Refused) -> String {
    refused.into_error(&attributes(), &inconsistent()).to_string()
}

#[test]
fn the_refused_attribute_is_named_with_the_option_that_helps() {
    for (attribute, name, advice) in [
        (Attribute::Private(true), "CKA_PRIVATE = CK_TRUE", "private: false"),
        (
            Attribute::Extractable(false),
            "CKA_EXTRACTABLE = CK_FALSE",
            "exportable: true",
        ),
        (Attribute::Sensitive(true), "CKA_SENSITIVE = CK_TRUE", "--print"),
    ] {
        let refused = found(|attributes| attributes.contains(&attribute));
        assert_eq!(refused, Refused::Attributes(vec![attribute.attribute_type()]));
        assert_eq!(refused.spare(), None);
        let message = message(refused);
        assert!(
            message.contains(name) && message.contains(advice) && message.contains("CKR_TEMPLATE_INCONSISTENT"),
            "{message}"
        );
    }
}

#[test]
fn several_refused_attributes_are_all_named() {
    let refused = found(|attributes| {
        attributes.contains(&Attribute::Private(true)) || attributes.contains(&Attribute::Extractable(false))
    });
    assert_eq!(
        refused,
        Refused::Attributes(vec![AttributeType::Private, AttributeType::Extractable])
    );
    let message = message(refused);
    assert!(
        message.contains("private: false") && message.contains("exportable: true"),
        "{message}"
    );
}

#[test]
fn an_attribute_that_says_the_default_is_left_out() {
    let refused = found(|attributes| attributes.contains(&Attribute::Derive(false)));
    assert_eq!(refused.spare(), Some([AttributeType::Derive].as_slice()));
}

#[test]
fn a_token_that_keeps_nothing_is_told_from_one_that_refuses_an_attribute() {
    let refused = found(|_| false);
    assert_eq!(refused, Refused::Keeping);
    assert!(message(refused).contains("CKA_TOKEN"));
}

#[test]
fn what_cannot_be_found_out_lists_all_attributes() {
    let refused = found(|_| true);
    assert_eq!(refused, Refused::Unknown);
    let message = message(refused);
    assert!(
        message.contains("CKA_PRIVATE") && message.contains("CKA_WRAP"),
        "{message}"
    );
}

#[test]
fn a_token_in_trouble_is_not_asked_on() {
    let tries = Cell::new(0);
    let refused = find_out(&attributes(), &|| false, &mut |_| {
        tries.set(tries.get() + 1);
        Err(TokenError::call("C_GenerateKey", ReturnValue::DEVICE_ERROR))
    });
    assert_eq!((refused, tries.get()), (Refused::Unknown, 1));
}

#[test]
fn a_slow_token_is_not_asked_for_ever() {
    let tries = Cell::new(0);
    let refused = find_out(&attributes(), &|| tries.get() == 3, &mut |_| {
        tries.set(tries.get() + 1);
        Err(inconsistent())
    });
    assert_eq!((refused, tries.get()), (Refused::Unknown, 3));
}
