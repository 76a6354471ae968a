//! `C_FindObjects` over a token's keys, with a bound on what a token can hand out.

use std::collections::HashSet;

use cryptoki::object::Attribute;
use cryptoki::object::AttributeType;
use cryptoki::object::ObjectClass;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use crate::root_key::id;
use crate::token::attribute;
use crate::token::error::TokenError;
use crate::token::label;
use crate::token::objects::candidate::Candidate;
use crate::token::objects::candidate::Class;
use crate::token::objects::candidate::Makeup;
use crate::token::raw::Calls;
use crate::token::return_value::Remedy;
use crate::token::return_value::ReturnValue;

/// More keys than any partition is sold with.
const MOST_OBJECTS: usize = 100_000;
/// What is longer than this is no label of ours, not even one with a mistake in it.
pub(super) const LONGEST_OF_OURS: usize = 2 * label::LONGEST;
/// No token stores a longer label.
pub(super) const LONGEST_OF_ANY: usize = 1024;

/// A secret or private key of the token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) class: Class,
    pub(super) handle: ObjectHandle,
}

/// The token's secret and private keys that have these attributes. A search can't be left and gone on with: `goes_on` is
/// called for its own sake.
pub(super) fn keys(
    session: &Session,
    with: &[Attribute],
    goes_on: &dyn Fn() -> bool,
) -> Result<Vec<Place>, TokenError> {
    let mut places = Vec::new();
    for (class, object_class) in [
        (Class::Secret, ObjectClass::SECRET_KEY),
        (Class::Private, ObjectClass::PRIVATE_KEY),
    ] {
        let handles = objects(session, object_class, with, goes_on)?;
        places.extend(handles.into_iter().map(|handle| Place { class, handle }));
    }
    Ok(places)
}

/// As [`keys`], of private objects alone as far as the module looks at that: a filter and no proof. `None` where it
/// refuses such a search.
pub(super) fn private_keys(
    session: &Session,
    with: &[Attribute],
    goes_on: &dyn Fn() -> bool,
) -> Result<Option<Vec<Place>>, TokenError> {
    let with = [with, &[Attribute::Private(true)]].concat();
    match keys(session, &with, goes_on) {
        Ok(places) => Ok(Some(places)),
        Err(error) if refuses_a_template(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn refuses_a_template(error: &TokenError) -> bool {
    let value = error.value();
    value.is_some() && error.cure() == Remedy::Nothing
        || matches!(
            value,
            Some(
                ReturnValue::ARGUMENTS_BAD
                    | ReturnValue::ATTRIBUTE_READ_ONLY
                    | ReturnValue::ATTRIBUTE_SENSITIVE
                    | ReturnValue::ATTRIBUTE_TYPE_INVALID
                    | ReturnValue::ATTRIBUTE_VALUE_INVALID
                    | ReturnValue::TEMPLATE_INCOMPLETE
                    | ReturnValue::TEMPLATE_INCONSISTENT
            )
        )
}

/// The token's objects of a class that have these attributes, each once.
pub(super) fn objects(
    session: &Session,
    class: ObjectClass,
    with: &[Attribute],
    goes_on: &dyn Fn() -> bool,
) -> Result<Vec<ObjectHandle>, TokenError> {
    let mut template = vec![Attribute::Class(class), Attribute::Token(true)];
    template.extend_from_slice(with);
    let mut handles = Vec::new();
    let mut seen = HashSet::new();
    // The crate asks for 10 at a time and takes fewer for the end; asking for more would lose what a token hands out
    // in smaller portions.
    for (count, handle) in session.iter_objects(&template)?.enumerate() {
        if count == MOST_OBJECTS {
            return Err(TokenError::Refused(format!(
                "the token holds more than {MOST_OBJECTS} keys: name the root key's under `versions:`"
            )));
        }
        let handle = handle?;
        goes_on();
        if seen.insert(handle.handle()) {
            handles.push(handle);
        }
    }
    Ok(handles)
}

/// The first of them, at most `most`; none where the module refuses such a search.
pub(super) fn first(
    session: &Session,
    class: ObjectClass,
    with: &[Attribute],
    most: usize,
) -> Result<Vec<ObjectHandle>, TokenError> {
    let mut template = vec![Attribute::Class(class), Attribute::Token(true)];
    template.extend_from_slice(with);
    let found = || -> Result<Vec<ObjectHandle>, TokenError> {
        let handles = session.iter_objects(&template)?.take(most);
        Ok(handles.collect::<Result<_, _>>()?)
    };
    match found() {
        Err(error) if refuses_a_template(&error) => Ok(Vec::new()),
        found => found,
    }
}

/// What was read of an object; `None` if it has gone meanwhile: anybody can destroy public ones.
pub(super) fn unless_gone<T>(read: Result<T, TokenError>) -> Result<Option<T>, TokenError> {
    match read {
        Err(error) if error.value() == Some(ReturnValue::OBJECT_HANDLE_INVALID) => Ok(None),
        read => read.map(Some),
    }
}

/// The label of an object, if it has no more bytes than `most`.
pub(super) fn label(session: &Session, place: Place, most: usize) -> Result<attribute::Bytes, TokenError> {
    attribute::bytes(session, place.handle, AttributeType::Label, most)
}

/// The same with one call to the token, for most labels are somebody else's; `None` also for one that is none of ours.
pub(super) fn label_at_once(calls: &Calls, session: &Session, place: Place) -> Result<Option<Vec<u8>>, TokenError> {
    let mut buffer = [0; LONGEST_OF_OURS];
    let label = calls.attribute(session, place.handle, AttributeType::Label, &mut buffer)?;
    Ok(label.map(<[u8]>::to_vec))
}

/// What is to be known of an object with this label; `makeup` is what is known already and never changes.
pub(super) fn candidate(
    session: &Session,
    place: Place,
    label: attribute::Bytes,
    makeup: Option<Makeup>,
) -> Result<Candidate, TokenError> {
    let Place { class, handle } = place;
    Ok(Candidate {
        label,
        id: attribute::bytes(session, handle, AttributeType::Id, id::LONGEST)?,
        // Never remembered by the handle, which may be another object's by now.
        private: attribute::is_private(session, handle)?,
        makeup: makeup.unwrap_or_else(|| Makeup {
            class,
            key_type: attribute::key_type(session, handle),
            length: match class {
                Class::Secret => attribute::number(session, handle, AttributeType::ValueLen),
                Class::Private => None,
            },
        }),
    })
}
