//! `C_FindObjects` over a token's keys, with a limit on the number of results.

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
/// A longer label does not belong to the root key, not even with a mistake in it.
pub(super) const LONGEST_OF_OURS: usize = 2 * label::LONGEST;
/// Longer than any label that a token stores.
pub(super) const LONGEST_OF_ANY: usize = 1024;

/// A secret or private key of the token.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundKey {
    pub(super) class: Class,
    pub(super) handle: ObjectHandle,
}

/// The token's secret and private keys that have these attributes. A search cannot be interrupted and continued:
/// `heartbeat` is called for its side effects.
pub(super) fn keys(
    session: &Session,
    with: &[Attribute],
    heartbeat: &dyn Fn() -> bool,
) -> Result<Vec<FoundKey>, TokenError> {
    let mut places = Vec::new();
    for (class, object_class) in [
        (Class::Secret, ObjectClass::SECRET_KEY),
        (Class::Private, ObjectClass::PRIVATE_KEY),
    ] {
        let handles = objects(session, object_class, with, heartbeat)?;
        places.extend(handles.into_iter().map(|handle| FoundKey { class, handle }));
    }
    Ok(places)
}

/// As [`keys`], of private objects alone. This is only a filter: the module may ignore it. `None` if the module refuses
/// such a search.
pub(super) fn private_keys(
    session: &Session,
    with: &[Attribute],
    heartbeat: &dyn Fn() -> bool,
) -> Result<Option<Vec<FoundKey>>, TokenError> {
    let with = [with, &[Attribute::Private(true)]].concat();
    match keys(session, &with, heartbeat) {
        Ok(places) => Ok(Some(places)),
        Err(error) if refuses_a_template(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn refuses_a_template(error: &TokenError) -> bool {
    let value = error.value();
    value.is_some() && error.remedy() == Remedy::Nothing
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
    heartbeat: &dyn Fn() -> bool,
) -> Result<Vec<ObjectHandle>, TokenError> {
    let mut template = vec![Attribute::Class(class), Attribute::Token(true)];
    template.extend_from_slice(with);
    let mut handles = Vec::new();
    let mut seen = HashSet::new();
    // cryptoki asks for 10 objects at a time and takes fewer for the end; a larger number would lose results of a token
    // that returns smaller portions.
    for (count, handle) in session.iter_objects(&template)?.enumerate() {
        if count == MOST_OBJECTS {
            return Err(TokenError::Refused(format!(
                "the token holds more than {MOST_OBJECTS} keys: list the root key's under `versions:`"
            )));
        }
        let handle = handle?;
        heartbeat();
        if seen.insert(handle.handle()) {
            handles.push(handle);
        }
    }
    Ok(handles)
}

/// The first of them, at most `most`; none if the module refuses such a search.
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

/// The attributes of an object; `None` if it is gone: other users of the token can destroy public objects.
pub(super) fn unless_gone<T>(read: Result<T, TokenError>) -> Result<Option<T>, TokenError> {
    match read {
        Err(error) if error.value() == Some(ReturnValue::OBJECT_HANDLE_INVALID) => Ok(None),
        read => read.map(Some),
    }
}

/// The label of an object, if it has no more bytes than `most`.
pub(super) fn label(session: &Session, place: FoundKey, most: usize) -> Result<attribute::Bytes, TokenError> {
    attribute::bytes(session, place.handle, AttributeType::Label, most)
}

/// The same with one call to the token, because most labels are other applications'; `None` also for a label that does
/// not belong to the root key.
pub(super) fn label_at_once(calls: &Calls, session: &Session, place: FoundKey) -> Result<Option<Vec<u8>>, TokenError> {
    let mut buffer = [0; LONGEST_OF_OURS];
    let label = calls.attribute(session, place.handle, AttributeType::Label, &mut buffer)?;
    Ok(label.map(<[u8]>::to_vec))
}

/// The attributes of an object with this label; `makeup` holds those that never change and are known already.
pub(super) fn candidate(
    session: &Session,
    place: FoundKey,
    label: attribute::Bytes,
    makeup: Option<Makeup>,
) -> Result<Candidate, TokenError> {
    let FoundKey { class, handle } = place;
    Ok(Candidate {
        label,
        id: attribute::bytes(session, handle, AttributeType::Id, id::LONGEST)?,
        // Never cached by the handle, which may be another object's by now.
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
