//! The parser of the sealed format: no input panics it, and what it accepts is those bytes and no others.

use dekhand::root_key::sealed_format::Sealed;
use dekhand::root_key::sealed_format::header;

/// Checks one input. Says whether it is a sealed payload in form.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let Ok(sealed) = Sealed::parse(bytes) else {
        return false;
    };
    assert_eq!([sealed.header, sealed.body].concat(), bytes);
    let rebuilt = header(sealed.suite, &sealed.id, &sealed.wrapped(), sealed.commitment);
    assert_eq!(rebuilt, sealed.header);
    true
}
