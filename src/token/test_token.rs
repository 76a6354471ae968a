//! A session at a SoftHSM token, for tests that run in a process of their own: `token_shim::alone`.

use cryptoki::context::CInitializeArgs;
use cryptoki::context::CInitializeFlags;
use cryptoki::context::Pkcs11;
use cryptoki::object::Attribute;
use cryptoki::object::KeyType;
use cryptoki::object::ObjectClass;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use token_shim::token::PIN;

use crate::token::options::Pkcs11Options;

/// A read-write session that is logged in to the token of this process.
pub(crate) fn session() -> Session {
    let context = Pkcs11::new(token_shim::path()).unwrap();
    let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    context.initialize(arguments).unwrap();
    let slot = context.get_slots_with_initialized_token().unwrap().remove(0);
    let session = context.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::new(PIN.into()))).unwrap();
    session
}

/// The options of a configuration that names only module and token.
pub(crate) fn options() -> Pkcs11Options {
    Pkcs11Options::new(token_shim::path(), "kube".parse().unwrap())
}

/// Creates a secret key of these bytes in the token, as anyone who is logged in can.
pub(crate) fn plant(session: &Session, label: &str, id: &[u8], key_type: KeyType, bytes: usize) -> ObjectHandle {
    put(session, label, id, (key_type, bytes), true)
}

/// Creates a public AES key in the token, as anyone can.
pub(crate) fn plant_public(session: &Session, label: &str, id: &[u8]) -> ObjectHandle {
    put(session, label, id, (KeyType::AES, 32), false)
}

fn put(session: &Session, label: &str, id: &[u8], (key_type, bytes): (KeyType, usize), private: bool) -> ObjectHandle {
    session
        .create_object(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(key_type),
            Attribute::Token(true),
            Attribute::Private(private),
            Attribute::Label(label.into()),
            Attribute::Id(id.into()),
            Attribute::Value(vec![7; bytes]),
        ])
        .unwrap()
}
