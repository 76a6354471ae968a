//! Makes one key with all the attributes it should have, checks them, and destroys the key if they are wrong.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::object::AttributeType;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use crate::root_key::id::KeyId;
use crate::root_key::id::LONGEST;
use crate::secret::Key;
use crate::token::attribute;
use crate::token::error::TokenError;
use crate::token::keygen::LONGEST_LABEL;
use crate::token::keygen::refused;
use crate::token::keygen::refused::Refused;
use crate::token::keygen::template;
use crate::token::keygen::template::Wish;
use crate::token::options::Pkcs11Options;

/// The objects of a new key.
#[derive(Clone, Copy, Debug)]
pub(super) struct GeneratedKey {
    /// The object that unwraps; its label and id count.
    secret: ObjectHandle,
    /// The public half of an RSA key.
    public: Option<ObjectHandle>,
}

/// Lets the token make an AES key.
pub(super) fn aes(session: &Session, wish: Wish<'_>) -> Result<GeneratedKey, TokenError> {
    let make = |attributes: &[Attribute]| Ok(session.generate_key(&Mechanism::AesKeyGen, attributes)?);
    let attributes = wish.aes();
    let secret = make(&attributes).or_else(|error| {
        let refused = find_out(session, &error, &attributes, &make);
        again(refused, &attributes, error, |spare| {
            make(&template::without(&attributes, spare))
        })
    })?;
    Ok(GeneratedKey { secret, public: None })
}

/// Imports an AES key into the token.
pub(super) fn imported(session: &Session, wish: Wish<'_>, key: &Key) -> Result<GeneratedKey, TokenError> {
    let make = |attributes: &[Attribute]| Ok(session.create_object(attributes)?);
    let attributes = wish.imported(key);
    let secret = make(attributes.expose()).or_else(|error| {
        // A trial has a key of its own.
        let other = Key::random().map_err(|error| TokenError::Refused(error.to_string()))?;
        let trial = wish.imported(&other);
        let refused = find_out(session, &error, trial.expose(), &make);
        again(refused, trial.expose(), error, |spare| {
            make(attributes.without(spare).expose())
        })
    })?;
    Ok(GeneratedKey { secret, public: None })
}

/// Lets the token make an RSA pair.
pub(super) fn rsa(session: &Session, wish: Wish<'_>) -> Result<GeneratedKey, TokenError> {
    let make = |public: &[Attribute], private: &[Attribute]| -> Result<GeneratedKey, TokenError> {
        let (public, secret) = session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, public, private)?;
        let public = Some(public);
        Ok(GeneratedKey { secret, public })
    };
    let (public, private) = (wish.rsa_public(), wish.rsa_private());
    make(&public, &private).or_else(|error| {
        if !refused::is_about_attributes(&error) {
            return Err(error);
        }
        let late = refused::patience();
        let throw_away = |made: GeneratedKey| made.destroy(session);
        let of_a_session = |attributes: &[Attribute]| template::of_a_session(attributes);
        let public_kept = of_a_session(&public);
        let refused = refused::find_out(&private, &late, &mut |private| {
            make(&public_kept, private).and_then(throw_away)
        });
        if refused != Refused::Unknown {
            return again(refused, &private, error, |spare| {
                make(&public, &template::without(&private, spare))
            });
        }
        let private_kept = of_a_session(&private);
        let refused = refused::find_out(&public, &late, &mut |public| {
            make(public, &private_kept).and_then(throw_away)
        });
        again(refused, &public, error, |spare| {
            make(&template::without(&public, spare), &private)
        })
    })
}

/// The attributes that the token refuses for a single object.
fn find_out(
    session: &Session,
    error: &TokenError,
    attributes: &[Attribute],
    make: &dyn Fn(&[Attribute]) -> Result<ObjectHandle, TokenError>,
) -> Option<Refused> {
    refused::is_about_attributes(error).then(|| {
        refused::find_out(attributes, &refused::patience(), &mut |attributes| {
            Ok(session.destroy_object(make(attributes)?)?)
        })
    })
}

/// Makes the key without the refused attributes if it is as good without them; otherwise the error names them.
fn again<T>(
    refused: impl Into<Option<Refused>>,
    attributes: &[Attribute],
    error: TokenError,
    make_without: impl FnOnce(&[AttributeType]) -> Result<T, TokenError>,
) -> Result<T, TokenError> {
    match refused.into() {
        None => Err(error),
        Some(refused) => match refused.spare() {
            Some(spare) => make_without(spare),
            None => Err(refused.into_error(attributes, &error)),
        },
    }
}

impl GeneratedKey {
    /// Whether the key has the requested attributes. A token may cut a label, or ignore an attribute.
    pub(super) fn check(
        self,
        session: &Session,
        options: &Pkcs11Options,
        label: &str,
        id: &KeyId,
    ) -> Result<(), TokenError> {
        let read = attribute::bytes(session, self.secret, AttributeType::Label, LONGEST_LABEL)?;
        if read.as_deref() != Some(label.as_bytes()) {
            return Err(TokenError::Refused(format!(
                "the token does not store the label {label} unchanged"
            )));
        }
        for object in self.objects() {
            let read = attribute::bytes(session, object, AttributeType::Id, LONGEST)?;
            if read.as_deref() != Some(id.as_bytes()) {
                return Err(TokenError::Refused(
                    "the token does not store a CKA_ID unchanged".to_owned(),
                ));
            }
        }
        for (attribute, is_wrong) in [
            (AttributeType::Token, Some(false)),
            (AttributeType::Sensitive, Some(false)),
            (AttributeType::Extractable, (!options.exportable).then_some(true)),
            (AttributeType::Wrap, Some(true)),
            (AttributeType::Unwrap, Some(true)),
            (AttributeType::Decrypt, Some(false)),
        ] {
            let read = attribute::flag(session, self.secret, attribute);
            if read.is_some() && read == is_wrong {
                let read = if read == Some(true) { "true" } else { "false" };
                return Err(TokenError::Refused(format!(
                    "the token has made a key whose {attribute} is {read}"
                )));
            }
        }
        // A key that is not reported as private would not count.
        if options.private && !attribute::is_private(session, self.secret)? {
            return Err(TokenError::Refused(
                "the token has made a key that it does not report as private (CKA_PRIVATE): set `private: false` if it \
                 holds no private objects"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Destroys a key with wrong attributes, and adds that to the error.
    pub(super) fn undone(self, session: &Session, label: &str, fault: TokenError) -> TokenError {
        match self.destroy(session) {
            Ok(()) => match fault {
                TokenError::Refused(fault) => TokenError::Refused(format!("{fault}; the new key was destroyed")),
                other => other,
            },
            Err(error) => TokenError::Refused(format!(
                "{fault}; the new key could not be destroyed ({error}): look for the label {label} in the token, and \
                 destroy it"
            )),
        }
    }

    fn destroy(self, session: &Session) -> Result<(), TokenError> {
        let results: Vec<_> = self.objects().map(|object| session.destroy_object(object)).collect();
        for result in results {
            result?;
        }
        Ok(())
    }

    fn objects(self) -> impl Iterator<Item = ObjectHandle> {
        std::iter::once(self.secret).chain(self.public)
    }
}
