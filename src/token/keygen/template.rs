//! The attributes of a new root key.
//!
//! A root key only encrypts and decrypts. A key that may also wrap could take other keys out of the token and then
//! decrypt them, so `CKA_WRAP` and `CKA_UNWRAP` are set to false: on some tokens their default is true.

use std::fmt;

use cryptoki::object::Attribute;
use cryptoki::object::AttributeType;
use cryptoki::object::KeyType;
use cryptoki::object::ObjectClass;
use zeroize::Zeroize as _;

use crate::root_key::id::KeyId;
use crate::secret::Key;
use crate::token::options::MechanismChoice;
use crate::token::options::Pkcs11Options;

/// Bits of the modulus of an RSA root key that dekhand makes: as strong as AES-128 (NIST SP 800-57, part 1).
pub(crate) const RSA_BITS: u64 = 3072;
const PUBLIC_EXPONENT: [u8; 3] = [1, 0, 1];

/// The choices that the attributes depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    label: &'a str,
    id: &'a KeyId,
    private: bool,
    exportable: bool,
}

/// Whether new root keys are RSA keys: only if the configuration names such a mechanism.
pub(crate) fn is_rsa(options: &Pkcs11Options) -> bool {
    match options.mechanism {
        MechanismChoice::RsaOaepSha256 | MechanismChoice::RsaOaepSha1 => true,
        MechanismChoice::Auto | MechanismChoice::AesGcm | MechanismChoice::AesKwp | MechanismChoice::AesCbc => false,
    }
}

impl<'a> Wish<'a> {
    /// The attributes of a key with this label and id.
    pub(crate) fn new(options: &Pkcs11Options, label: &'a str, id: &'a KeyId) -> Self {
        Self {
            label,
            id,
            private: options.private,
            exportable: options.exportable,
        }
    }

    /// An AES key that the token makes.
    pub(crate) fn aes(self) -> Vec<Attribute> {
        let mut attributes = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::ValueLen(32.into()),
        ];
        attributes.extend(self.secret());
        attributes
    }

    /// An AES key that another system made.
    pub(crate) fn imported(self, key: &Key) -> Wiped {
        let mut attributes = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Value(key.expose().to_vec()),
        ];
        attributes.extend(self.secret());
        Wiped(attributes)
    }

    fn secret(self) -> Vec<Attribute> {
        let mut attributes = self.kept();
        attributes.extend([
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
            Attribute::Sign(false),
            Attribute::Verify(false),
            Attribute::Derive(false),
        ]);
        attributes.extend(self.named());
        attributes
    }

    /// The public half of an RSA key. It is not secret.
    pub(crate) fn rsa_public(self) -> Vec<Attribute> {
        let mut attributes = vec![
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(KeyType::RSA),
            Attribute::ModulusBits(RSA_BITS.into()),
            Attribute::PublicExponent(PUBLIC_EXPONENT.to_vec()),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Encrypt(true),
            Attribute::Wrap(false),
            Attribute::Verify(false),
            Attribute::Derive(false),
        ];
        attributes.extend(self.named());
        attributes
    }

    /// The private half of an RSA key.
    pub(crate) fn rsa_private(self) -> Vec<Attribute> {
        let mut attributes = vec![
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::RSA),
        ];
        attributes.extend(self.kept());
        attributes.extend([
            Attribute::Decrypt(true),
            Attribute::Unwrap(false),
            Attribute::Sign(false),
            Attribute::Derive(false),
        ]);
        attributes.extend(self.named());
        attributes
    }

    fn kept(self) -> Vec<Attribute> {
        vec![
            Attribute::Token(true),
            Attribute::Private(self.private),
            Attribute::Sensitive(true),
            Attribute::Extractable(self.exportable),
        ]
    }

    fn named(self) -> [Attribute; 2] {
        [
            Attribute::Label(self.label.as_bytes().to_vec()),
            Attribute::Id(self.id.as_bytes().to_vec()),
        ]
    }
}

/// Attributes that include a key, which is wiped on drop.
pub(crate) struct Wiped(Vec<Attribute>);

impl Wiped {
    /// The attributes, for `C_CreateObject`.
    pub(crate) fn expose(&self) -> &[Attribute] {
        &self.0
    }

    /// The same without some of them.
    pub(crate) fn without(&self, some: &[AttributeType]) -> Self {
        Self(without(&self.0, some))
    }
}

impl fmt::Debug for Wiped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        for attribute in &mut self.0 {
            if let Attribute::Value(key) = attribute {
                key.zeroize();
            }
        }
    }
}

/// Attributes without some of them.
pub(crate) fn without(attributes: &[Attribute], some: &[AttributeType]) -> Vec<Attribute> {
    let stays = |attribute: &&Attribute| !some.contains(&attribute.attribute_type());
    attributes.iter().filter(stays).cloned().collect()
}

/// The same attributes, for a session object.
pub(super) fn of_a_session(attributes: &[Attribute]) -> Vec<Attribute> {
    let of_a_session = |attribute: &Attribute| match attribute {
        Attribute::Token(_) => Attribute::Token(false),
        other => other.clone(),
    };
    attributes.iter().map(of_a_session).collect()
}

/// An attribute's value as PKCS#11 writes it; never that of a key.
pub(crate) fn value_text(attribute: &Attribute) -> String {
    match attribute {
        Attribute::Class(class) => match *class {
            ObjectClass::SECRET_KEY => "CKO_SECRET_KEY".to_owned(),
            ObjectClass::PRIVATE_KEY => "CKO_PRIVATE_KEY".to_owned(),
            ObjectClass::PUBLIC_KEY => "CKO_PUBLIC_KEY".to_owned(),
            other => other.to_string(),
        },
        Attribute::KeyType(key_type) => match *key_type {
            KeyType::AES => "CKK_AES".to_owned(),
            KeyType::RSA => "CKK_RSA".to_owned(),
            other => other.to_string(),
        },
        Attribute::ValueLen(number) | Attribute::ModulusBits(number) => number.to_string(),
        Attribute::Label(label) => String::from_utf8_lossy(label).into_owned(),
        Attribute::Id(bytes) | Attribute::PublicExponent(bytes) => hex::encode(bytes),
        Attribute::Decrypt(flag)
        | Attribute::Derive(flag)
        | Attribute::Encrypt(flag)
        | Attribute::Extractable(flag)
        | Attribute::Private(flag)
        | Attribute::Sensitive(flag)
        | Attribute::Sign(flag)
        | Attribute::Token(flag)
        | Attribute::Unwrap(flag)
        | Attribute::Verify(flag)
        | Attribute::Wrap(flag) => if *flag { "CK_TRUE" } else { "CK_FALSE" }.to_owned(),
        _ => "[redacted]".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Pkcs11Options {
        Pkcs11Options::new("/usr/lib/module.so".into(), "kube".parse().unwrap())
    }

    fn flag(attributes: &[Attribute], attribute: AttributeType) -> Option<String> {
        let of_type = |other: &&Attribute| other.attribute_type() == attribute;
        attributes.iter().find(of_type).map(value_text)
    }

    #[test]
    fn a_root_key_encrypts_and_decrypts_and_does_nothing_else() {
        let id = KeyId::random().unwrap();
        let (options, key) = (options(), Key::random().unwrap());
        let wish = Wish::new(&options, "kube.v1", &id);
        for attributes in [wish.aes(), wish.imported(&key).expose().to_vec()] {
            for (attribute, expected) in [
                (AttributeType::Token, "CK_TRUE"),
                (AttributeType::Private, "CK_TRUE"),
                (AttributeType::Sensitive, "CK_TRUE"),
                (AttributeType::Extractable, "CK_FALSE"),
                (AttributeType::Encrypt, "CK_TRUE"),
                (AttributeType::Decrypt, "CK_TRUE"),
                (AttributeType::Wrap, "CK_FALSE"),
                (AttributeType::Unwrap, "CK_FALSE"),
                (AttributeType::Sign, "CK_FALSE"),
                (AttributeType::Derive, "CK_FALSE"),
                (AttributeType::Label, "kube.v1"),
                (AttributeType::Id, &id.to_string()),
            ] {
                assert_eq!(flag(&attributes, attribute).as_deref(), Some(expected), "{attribute}");
            }
        }
        let (public, private) = (wish.rsa_public(), wish.rsa_private());
        assert_eq!(flag(&public, AttributeType::Decrypt), None);
        assert_eq!(flag(&private, AttributeType::Encrypt), None);
        assert_eq!(flag(&private, AttributeType::Unwrap).as_deref(), Some("CK_FALSE"));
        assert_eq!(flag(&private, AttributeType::Sensitive).as_deref(), Some("CK_TRUE"));
    }

    #[test]
    fn options_change_what_they_say_and_nothing_else() {
        let id = KeyId::random().unwrap();
        let mut options = options();
        let before = Wish::new(&options, "kube.v1", &id).aes();
        options.private = false;
        options.exportable = true;
        let after = Wish::new(&options, "kube.v1", &id).aes();
        let changed: Vec<Attribute> = after
            .into_iter()
            .filter(|attribute| !before.contains(attribute))
            .collect();
        assert_eq!(changed, [Attribute::Private(false), Attribute::Extractable(true)]);
    }

    #[test]
    fn a_key_is_never_shown() {
        assert_eq!(value_text(&Attribute::Value(b"secret".to_vec())), "[redacted]");
    }
}
