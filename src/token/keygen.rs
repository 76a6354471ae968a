//! Creates, labels and destroys root keys, on the read-write session of a command.
//!
//! None of these calls may be repeated blindly. A new key whose attributes differ from the request is destroyed at
//! once; if that fails too, the error names the key that is left in the token.

mod make;
mod refused;
pub(crate) mod report;
pub(crate) mod template;

use cryptoki::object::Attribute;
use cryptoki::session::Session;

use crate::clock::Clock;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::root_key::version::Version;
use crate::secret::Key;
use crate::token::attribute;
use crate::token::error::TokenError;
use crate::token::key_object::KeyObject;
use crate::token::keygen::make::GeneratedKey;
use crate::token::keygen::template::Wish;
use crate::token::label;
use crate::token::options::Login;
use crate::token::options::Pkcs11Options;
use crate::token::return_value::ReturnValue;

/// Longer than any label that a token stores.
const LONGEST_LABEL: usize = 1024;

/// Generates a key in the token, with a random id: an AES key, or an RSA pair if the configuration names such a
/// mechanism. The version's moment is rounded to the minute, which is the resolution of the label.
///
/// # Errors
/// The token refuses, and the message has the reason; or the token fails.
pub(crate) fn generate(
    session: &Session,
    options: &Pkcs11Options,
    root_key: &RootKeyName,
    number: Number,
    state: State,
) -> Result<Version, TokenError> {
    let (version, label) = version(root_key, number, state)?;
    let wish = Wish::new(options, &label, &version.id);
    let made = if template::is_rsa(options) {
        make::rsa(session, wish)
    } else {
        make::aes(session, wish)
    };
    finished(session, options, made, version, &label)
}

/// Imports a key that another system made, with a random id.
///
/// # Errors
/// As [`generate`].
pub(crate) fn import(
    session: &Session,
    options: &Pkcs11Options,
    root_key: &RootKeyName,
    number: Number,
    state: State,
    key: &Key,
) -> Result<Version, TokenError> {
    if template::is_rsa(options) {
        return Err(TokenError::Refused(format!(
            "`mechanism: {}` needs an RSA key, and a key of 32 bytes is not one",
            options.mechanism
        )));
    }
    let (version, label) = version(root_key, number, state)?;
    let made = make::imported(session, Wish::new(options, &label, &version.id), key);
    finished(session, options, made, version, &label)
}

fn version(root_key: &RootKeyName, number: Number, state: State) -> Result<(Version, String), TokenError> {
    let id = KeyId::random().map_err(|error| TokenError::Refused(error.to_string()))?;
    let state = label::rounded(state, Clock::system().now());
    let label = label::write(root_key, number, state);
    Ok((Version { number, state, id }, label))
}

fn finished(
    session: &Session,
    options: &Pkcs11Options,
    made: Result<GeneratedKey, TokenError>,
    version: Version,
    label: &str,
) -> Result<Version, TokenError> {
    let made = made.map_err(|error| explained(error, options))?;
    match made.check(session, options, label, &version.id) {
        Ok(()) => Ok(version),
        Err(fault) => Err(made.undone(session, label, fault)),
    }
}

/// Explains a refusal that is not about attributes. Other errors stay as they are, for the recovery of the call.
fn explained(error: TokenError, options: &Pkcs11Options) -> TokenError {
    let Some(value) = error.value() else {
        return error;
    };
    let text = match value {
        ReturnValue::FUNCTION_NOT_SUPPORTED | ReturnValue::MECHANISM_INVALID | ReturnValue::ACTION_PROHIBITED => {
            "the token does not let an application create such a key: create it with the vendor's tool; `--print` \
             shows the attributes that it needs"
        }
        ReturnValue::SESSION_READ_ONLY => "the token has opened a read-only session",
        ReturnValue::TOKEN_WRITE_PROTECTED => "the token is write-protected",
        ReturnValue::DEVICE_MEMORY => "the token is full",
        ReturnValue::KEY_SIZE_RANGE => "the token does not support keys of this size",
        ReturnValue::USER_NOT_LOGGED_IN if options.login == Login::None => {
            "the token does not create such a key without a login: set `login: user`, or `private: false` if it holds \
             no private objects"
        }
        _ => return error,
    };
    TokenError::Refused(format!("{text} ({error})"))
}

/// Changes a version's label to another state, and reads it back. The state's moment is rounded to the minute. For an
/// RSA key the private half counts; the public half gets the same label if the token allows that.
///
/// # Errors
/// The token or the configuration refuses, and the message has the remedy; or the token fails.
pub(crate) fn relabel(
    session: &Session,
    options: &Pkcs11Options,
    key: &KeyObject,
    root_key: &RootKeyName,
    number: Number,
    state: State,
) -> Result<(), TokenError> {
    if !options.versions.is_empty() {
        // A new label would even do harm: the list may name the object by its label.
        return Err(TokenError::Refused(
            "the configuration lists all versions, so labels have no effect: change `versions:` in it".to_owned(),
        ));
    }
    let label = label::write(root_key, number, label::rounded(state, Clock::system().now()));
    let attributes = [Attribute::Label(label.as_bytes().to_vec())];
    if let Err(error) = session.update_attributes(key.unwraps, &attributes) {
        let error = TokenError::from(error);
        let refused = refused::is_about_attributes(&error)
            || matches!(
                error.value(),
                Some(
                    ReturnValue::FUNCTION_NOT_SUPPORTED
                        | ReturnValue::ACTION_PROHIBITED
                        | ReturnValue::SESSION_READ_ONLY
                        | ReturnValue::TOKEN_WRITE_PROTECTED
                )
            );
        return Err(if refused {
            label_stays(&error.to_string())
        } else {
            error
        });
    }
    let read = attribute::bytes(
        session,
        key.unwraps,
        cryptoki::object::AttributeType::Label,
        LONGEST_LABEL,
    )?;
    if read.as_deref() != Some(label.as_bytes()) {
        return Err(label_stays("it reported success, but the label is not the new one"));
    }
    if key.wraps != key.unwraps {
        // For users of other tools; nothing depends on it.
        session.update_attributes(key.wraps, &attributes).ok();
    }
    Ok(())
}

fn label_stays(why: &str) -> TokenError {
    TokenError::Refused(format!(
        "the token does not change a label ({why}): list each version under `versions:` in the configuration"
    ))
}

/// Destroys a version's key permanently.
///
/// # Errors
/// The token refuses or fails; the public half of an RSA key may be left then.
pub(crate) fn destroy(session: &Session, key: &KeyObject) -> Result<(), TokenError> {
    session.destroy_object(key.unwraps).map_err(|error| {
        let error = TokenError::from(error);
        match error.value() {
            Some(
                ReturnValue::FUNCTION_NOT_SUPPORTED
                | ReturnValue::ACTION_PROHIBITED
                | ReturnValue::SESSION_READ_ONLY
                | ReturnValue::TOKEN_WRITE_PROTECTED
                | ReturnValue::ATTRIBUTE_READ_ONLY,
            ) => TokenError::Refused(format!(
                "the token does not destroy this key ({error}): destroy it with the vendor's tool"
            )),
            _ => error,
        }
    })?;
    if key.wraps != key.unwraps {
        session.destroy_object(key.wraps).map_err(|error| {
            TokenError::Refused(format!(
                "the private key is destroyed; the public key, which is no secret, is left: {}",
                TokenError::from(error)
            ))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
