//! The objects that have an id or a label which is known: a version's, or those that the configuration lists.

use std::collections::HashSet;

use cryptoki::object::Attribute;
use cryptoki::session::Session;

use crate::backend::pkcs11::options::ObjectName;
use crate::backend::pkcs11::worker::error::TokenError;
use crate::backend::pkcs11::worker::find::admission::Admission;
use crate::backend::pkcs11::worker::find::candidate::Candidate;
use crate::backend::pkcs11::worker::find::search;
use crate::backend::pkcs11::worker::find::search::Place;

/// Beside private objects so many of the same name are looked at, to be told of: anybody can make any number.
const MOST_BESIDE: usize = 20;

/// The objects of this name. Whether a search looks at `CKA_PRIVATE` or not, those that count are among them.
pub(super) fn all(
    session: &Session,
    name: &ObjectName,
    admission: &Admission,
) -> Result<Vec<(Place, Candidate)>, TokenError> {
    let mut found = private(session, name, admission)?;
    let known: HashSet<u64> = found.iter().map(|(place, _)| place.handle.handle()).collect();
    let mut others = match search::keys(session, &[template(name)], &|| true) {
        Ok(others) => others,
        // More than can be looked at: they do not count.
        Err(TokenError::Refused(_)) if !found.is_empty() => Vec::new(),
        Err(error) => return Err(error),
    };
    others.retain(|place| !known.contains(&place.handle.handle()));
    if !found.is_empty() {
        others.truncate(MOST_BESIDE);
    }
    found.extend(read(session, name, others)?);
    Ok(found)
}

/// The private objects of this name, if that can be searched for.
pub(super) fn private(
    session: &Session,
    name: &ObjectName,
    admission: &Admission,
) -> Result<Vec<(Place, Candidate)>, TokenError> {
    if !admission.prefers_private() {
        return Ok(Vec::new());
    }
    let places = search::private_keys(session, &[template(name)], &|| true)?;
    read(session, name, places.unwrap_or_default())
}

/// Whether an object has this name. A token that looks only at a part of what it is asked for must not choose for us.
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

fn read(session: &Session, name: &ObjectName, places: Vec<Place>) -> Result<Vec<(Place, Candidate)>, TokenError> {
    let mut found = Vec::new();
    for place in places {
        let label = search::label(session, place, search::LONGEST_OF_ANY)?;
        let candidate = search::candidate(session, place, label, None)?;
        if is_named(name, &candidate) {
            found.push((place, candidate));
        }
    }
    Ok(found)
}
