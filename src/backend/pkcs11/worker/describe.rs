//! Reports on a module, its tokens and their mechanisms, for commands.

use cryptoki::mechanism::Mechanism as CryptokiMechanism;
use cryptoki::object::Attribute;
use cryptoki::session::Session;

use crate::backend::pkcs11::worker::sessions::Access;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::token::error::TokenError;
use crate::token::key_object::KeyKind;
use crate::token::key_object::KeyObject;
use crate::token::module::Module;
use crate::token::module::TokenInfo;
use crate::token::options::MechanismChoice;
use crate::token::problem::CallError;
use crate::token::report::MechanismReport;
use crate::token::report::TokenReport;
use crate::token::session::find_token;
use crate::token::uri::TokenName;
use crate::token::wrap;
use crate::token::wrap::select;

/// The tokens of a module. One that cannot be read is shown with its slot alone.
pub(super) fn tokens(module: &Module) -> Result<Vec<TokenReport>, TokenError> {
    let mut reports = Vec::new();
    for slot in module.slots()? {
        let description = module.slot_description(slot).unwrap_or_default();
        match module.token_info(slot) {
            Ok(info) => reports.push(report(slot.id(), description, &info)),
            Err(error) => {
                let silent = TokenInfo::default();
                reports.push(report(slot.id(), format!("{description}: {error}"), &silent));
            }
        }
    }
    Ok(reports)
}

/// One token, with the mechanisms of dekhand that it lists.
pub(super) fn token(module: &Module, name: &TokenName) -> Result<TokenReport, TokenError> {
    let (slot, info) = find_token(module, name)?;
    let description = module.slot_description(slot).unwrap_or_default();
    let listed = module.mechanisms(slot)?;
    Ok(TokenReport {
        mechanisms: wrap::listed(&listed),
        ..report(slot.id(), description, &info)
    })
}

/// The test of each mechanism with a version's key, or with a session key.
pub(super) fn mechanisms(
    access: Access<'_>,
    id: Option<&KeyId>,
    choice: MechanismChoice,
    heartbeat: &dyn Fn() -> bool,
) -> Result<Vec<MechanismReport>, CallError> {
    let random = || KeyId::random().map_err(|error| Error::new(Kind::Outage, "no id for a trial").because(error));
    let (id, key) = match id {
        Some(id) => (id.clone(), access.open.finder().key(access.session, id, heartbeat)?),
        None => (random()?, throwaway(access.session)?),
    };
    let mut sessions = || access.open.session();
    Ok(select::try_all(access.open.module(), &mut sessions, &key, &id, choice)?)
}

/// A key that is deleted with its session.
fn throwaway(session: &Session) -> Result<KeyObject, TokenError> {
    let template = [
        Attribute::Token(false),
        Attribute::ValueLen(32.into()),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
    ];
    let handle = session.generate_key(&CryptokiMechanism::AesKeyGen, &template)?;
    Ok(KeyObject {
        kind: KeyKind::Aes256,
        wraps: handle,
        unwraps: handle,
    })
}

fn report(slot: u64, slot_description: String, info: &TokenInfo) -> TokenReport {
    TokenReport {
        slot,
        slot_description,
        label: info.label.clone(),
        serial: info.serial.clone(),
        manufacturer: info.manufacturer.clone(),
        model: info.model.clone(),
        firmware: info.firmware.clone(),
        initialized: info.initialized,
        login_required: info.login_required,
        protected_path: info.protected_path,
        write_protected: info.write_protected,
        pin: info.pin(),
        mechanisms: Vec::new(),
    }
}
