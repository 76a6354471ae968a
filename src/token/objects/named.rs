//! The objects with a known id or label: a version's, or those that the configuration lists.

use std::collections::HashSet;

use cryptoki::object::Attribute;
use cryptoki::session::Session;

use crate::token::attribute;
use crate::token::error::TokenError;
use crate::token::objects::admission::Admission;
use crate::token::objects::candidate::Candidate;
use crate::token::objects::search;
use crate::token::objects::search::FoundKey;
use crate::token::options::ObjectName;
use crate::token::return_value::ReturnValue;

/// The most public objects of one name that are read for warnings: other users of the token can make any number.
const MOST_BESIDE: usize = 20;

/// The objects of this name. Those that count are among them, whether a search honours `CKA_PRIVATE` or not.
pub(super) fn all(
    session: &Session,
    name: &ObjectName,
    admission: &Admission,
    heartbeat: &dyn Fn() -> bool,
) -> Result<Vec<(FoundKey, Candidate)>, TokenError> {
    let mut found = private(session, name, admission, heartbeat)?;
    let known: HashSet<u64> = found.iter().map(|(place, _)| place.handle.handle()).collect();
    let mut others = match search::keys(session, &[template(name)], heartbeat) {
        Ok(others) => others,
        // More objects than can be read: they do not count.
        Err(TokenError::Refused(_)) if !found.is_empty() => Vec::new(),
        Err(error) => return Err(error),
    };
    others.retain(|place| !known.contains(&place.handle.handle()));
    if !found.is_empty() {
        others.truncate(MOST_BESIDE);
    }
    found.extend(read(session, name, others, heartbeat)?);
    Ok(found)
}

/// The private objects of this name. If the module ignores `CKA_PRIVATE` in a search, this attribute is all that is
/// read of the others.
pub(super) fn private(
    session: &Session,
    name: &ObjectName,
    admission: &Admission,
    heartbeat: &dyn Fn() -> bool,
) -> Result<Vec<(FoundKey, Candidate)>, TokenError> {
    if !admission.prefers_private() {
        return Ok(Vec::new());
    }
    let with = [template(name)];
    let places = match search::private_keys(session, &with, heartbeat)? {
        Some(places) => places,
        None => search::keys(session, &with, heartbeat)?,
    };
    let mut private = Vec::new();
    for place in places {
        // A missing object is noticed when it is read.
        if search::unless_gone(attribute::is_private(session, place.handle))? != Some(false) {
            private.push(place);
        }
        heartbeat();
    }
    read(session, name, private, heartbeat)
}

/// Whether an object has this name. A module may ignore parts of a template, and its choice must not decide.
pub(super) fn is_named(name: &ObjectName, candidate: &Candidate) -> bool {
    match name {
        ObjectName::Id(id) => candidate.id.as_deref() == Some(id.as_bytes()),
        ObjectName::Label(label) => candidate.label.as_deref() == Some(label.as_bytes()),
    }
}

fn template(name: &ObjectName) -> Attribute {
    match name {
        ObjectName::Id(id) => Attribute::Id(id.as_bytes().to_vec()),
        ObjectName::Label(label) => Attribute::Label(label.as_bytes().to_vec()),
    }
}

pub(super) fn read(
    session: &Session,
    name: &ObjectName,
    places: Vec<FoundKey>,
    heartbeat: &dyn Fn() -> bool,
) -> Result<Vec<(FoundKey, Candidate)>, TokenError> {
    let mut found = Vec::new();
    let mut gone = Vec::new();
    for place in places {
        let read = search::label(session, place, search::LONGEST_OF_ANY)
            .and_then(|label| search::candidate(session, place, label, None));
        match read {
            Ok(candidate) if is_named(name, &candidate) => found.push((place, candidate)),
            Ok(_) => {}
            Err(error) if error.value() == Some(ReturnValue::OBJECT_HANDLE_INVALID) => gone.push((place, error)),
            Err(error) => return Err(error),
        }
        heartbeat();
    }
    if gone.is_empty() {
        return Ok(found);
    }
    // Destroyed by another process meanwhile; or the token reports this when the login is lost.
    let left = search::keys(session, &[template(name)], heartbeat)?;
    let left: HashSet<u64> = left.iter().map(|place| place.handle.handle()).collect();
    match gone
        .into_iter()
        .find(|(place, _)| left.contains(&place.handle.handle()))
    {
        Some((_, error)) => Err(error),
        None => Ok(found),
    }
}
