//! The section of a root key in a PKCS#11 token, and the options made from it.

pub(super) mod values;

use std::path::PathBuf;

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::config::error::Fault;
use crate::config::pkcs11::values::ObjectLabel;
use crate::config::pkcs11::values::login_text;
use crate::config::values::AbsolutePath;
use crate::config::values::Flag;
use crate::config::values::Span;
use crate::config::values::Whole;
use crate::config::values::Word;
use crate::config::yaml::List;
use crate::config::yaml::Optional;
use crate::config::yaml::Required;
use crate::config::yaml::Section;
use crate::root_key::id::KeyId;
use crate::root_key::version::Number;
use crate::token::options::ListedVersion;
use crate::token::options::Login;
use crate::token::options::MechanismChoice;
use crate::token::options::ObjectName;
use crate::token::options::Pkcs11Options;
use crate::token::pin::PinSource;
use crate::token::uri::TokenName;
use crate::token::variable::EnvironmentVariable;

/// The most environment variables; every known module reads far fewer.
const MOST_VARIABLES: usize = 32;
/// The most versions: one a month for 20 years.
const MOST_VERSIONS: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pkcs11Section {
    module: Required<AbsolutePath>,
    token: Required<TokenName>,
    #[serde(default)]
    pin: Optional<PinSource>,
    #[serde(default)]
    admin: Optional<Section<AdminSection>>,
    #[serde(default)]
    login: Optional<Login>,
    #[serde(default)]
    sessions: Optional<Whole<1, 4>>,
    #[serde(default)]
    call_timeout: Optional<Span<1, 25>>,
    #[serde(default)]
    open_timeout: Optional<Span<1, 600>>,
    #[serde(default)]
    mechanism: Optional<Word<MechanismChoice>>,
    #[serde(default)]
    environment: Optional<List<Required<EnvironmentVariable>, 0, MOST_VARIABLES>>,
    #[serde(default)]
    versions: Optional<List<Section<VersionSection>, 0, MOST_VERSIONS>>,
    #[serde(default)]
    private: Optional<Flag>,
    #[serde(default)]
    exportable: Optional<Flag>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdminSection {
    pin: Required<PinSource>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionSection {
    number: Required<Number>,
    #[serde(default)]
    id: Optional<KeyId>,
    #[serde(default)]
    label: Optional<ObjectLabel>,
    #[serde(default)]
    activates: Optional<Timestamp>,
    #[serde(default)]
    retired: Optional<Timestamp>,
}

/// A refusal, and the path of the refused value within the section.
pub(super) type RefusedWithin = (String, Fault);

/// The options made from a section.
pub(super) fn options(section: Pkcs11Section) -> Result<Pkcs11Options, RefusedWithin> {
    let Pkcs11Section {
        module: Required(AbsolutePath(module)),
        token: Required(token),
        pin: Optional(pin),
        admin: Optional(admin),
        login: Optional(login),
        sessions: Optional(sessions),
        call_timeout: Optional(call_timeout),
        open_timeout: Optional(open_timeout),
        mechanism: Optional(mechanism),
        environment: Optional(environment),
        versions: Optional(versions),
        private: Optional(private),
        exportable: Optional(exportable),
    } = section;
    let admin_pin = admin.map(|Section(AdminSection { pin: Required(pin) })| pin);
    let login = login.unwrap_or_default();
    check_pins(login, pin.as_ref(), admin_pin.as_ref())?;
    let default = Pkcs11Options::new(PathBuf::new(), token.clone());
    let sessions = sessions.and_then(|Whole(sessions)| u8::try_from(sessions).ok());
    Ok(Pkcs11Options {
        module,
        token,
        login,
        pin,
        admin_pin,
        sessions: sessions.unwrap_or(default.sessions),
        call_timeout: call_timeout.map_or(default.call_timeout, |Span(timeout)| timeout),
        open_timeout: open_timeout.map_or(default.open_timeout, |Span(timeout)| timeout),
        mechanism: mechanism.map_or(default.mechanism, |Word(mechanism)| mechanism),
        environment: environment.map_or(Ok(default.environment), variables)?,
        versions: versions.map_or(Ok(default.versions), listed_versions)?,
        private: is_private(login, private)?,
        exportable: exportable.map_or(default.exportable, |Flag(exportable)| exportable),
    })
}

/// A token shows no private objects without a login.
fn is_private(login: Login, private: Option<Flag>) -> Result<bool, RefusedWithin> {
    match (login, private) {
        (Login::None, Some(Flag(true))) => {
            let refusal = Fault::new("`login: none` shows no private objects");
            Err((".private".to_owned(), refusal.hint("leave `private` out, or log in")))
        }
        (Login::None, _) => Ok(false),
        (_, private) => Ok(private.is_none_or(|Flag(private)| private)),
    }
}

fn check_pins(login: Login, pin: Option<&PinSource>, admin_pin: Option<&PinSource>) -> Result<(), RefusedWithin> {
    let words = login_text(login);
    let needed = matches!(login, Login::User | Login::Vendor(_));
    if needed && pin.is_none() {
        let refusal = Fault::new(format!("expected `pin`, which `login: {words}` needs")).hint(
            "name its source, as in `pin: {file: /etc/dekhand/pin}`, or set `login: none` if the token needs no PIN",
        );
        return Err((String::new(), refusal));
    }
    let useless = [(".pin", pin), (".admin.pin", admin_pin)];
    match useless.into_iter().find(|(_, pin)| !needed && pin.is_some()) {
        Some((key, _)) => {
            let refusal = Fault::new(format!("`login: {words}` uses no PIN of the configuration"));
            Err((key.to_owned(), refusal.hint("leave the PIN out, or `login`")))
        }
        None => Ok(()),
    }
}

fn variables<const LEAST: usize, const MOST: usize>(
    List(list): List<Required<EnvironmentVariable>, LEAST, MOST>,
) -> Result<Vec<EnvironmentVariable>, RefusedWithin> {
    let list: Vec<_> = list.into_iter().map(|Required(variable)| variable).collect();
    for (index, variable) in list.iter().enumerate() {
        if let Some(other) = position_before(&list, index, |other| other.name == variable.name) {
            let refusal = Fault::new(format!("`environment[{other}]` sets this variable too"));
            return Err((format!(".environment[{index}]"), refusal));
        }
    }
    Ok(list)
}

fn listed_versions<const LEAST: usize, const MOST: usize>(
    List(list): List<Section<VersionSection>, LEAST, MOST>,
) -> Result<Vec<ListedVersion>, RefusedWithin> {
    let mut versions: Vec<ListedVersion> = Vec::new();
    for (index, Section(section)) in list.into_iter().enumerate() {
        let at = |key: &str| format!(".versions[{index}]{key}");
        let version = listed_version(section).map_err(|refusal| (at(""), refusal))?;
        for (other, earlier) in versions.iter().enumerate() {
            let key = if earlier.object == version.object {
                key_of(&version.object)
            } else if earlier.number == version.number {
                "number"
            } else {
                continue;
            };
            let refusal = Fault::new(format!("`versions[{other}]` has this {key} too"));
            return Err((at(&format!(".{key}")), refusal));
        }
        versions.push(version);
    }
    Ok(versions)
}

fn listed_version(section: VersionSection) -> Result<ListedVersion, Fault> {
    let VersionSection {
        number: Required(number),
        id: Optional(id),
        label: Optional(label),
        activates: Optional(activates),
        retired: Optional(retired),
    } = section;
    let object = match (id, label) {
        (Some(id), None) => ObjectName::Id(id),
        (None, Some(ObjectLabel(label))) => ObjectName::Label(label),
        (None, None) => {
            return Err(Fault::new(
                "expected `id` or `label`, which identifies the key in the token",
            ));
        }
        (Some(_), Some(_)) => {
            let refusal = Fault::new("expected one of `id` and `label`, found both");
            return Err(refusal.hint("use the id: unlike a label, it never changes"));
        }
    };
    if activates.is_some_and(|activates| retired.is_some_and(|retired| retired < activates)) {
        let refusal = Fault::new("this version is retired before it activates");
        return Err(refusal.hint("leave `activates` out of a version that never encrypted"));
    }
    Ok(ListedVersion {
        object,
        number,
        activates,
        retired,
    })
}

/// The configuration key that names an object.
pub(super) fn key_of(object: &ObjectName) -> &'static str {
    match object {
        ObjectName::Id(_) => "id",
        ObjectName::Label(_) => "label",
    }
}

fn position_before<T>(list: &[T], index: usize, is: impl Fn(&T) -> bool) -> Option<usize> {
    list.iter().take(index).position(is)
}

/// The version of `new` that lists an object of `old`. If two root keys had the same object, neither would decrypt with
/// it. A label identifies an object only within one token.
pub(super) fn shared_object(old: &Pkcs11Options, new: &Pkcs11Options) -> Option<usize> {
    let one_token = old.module == new.module && old.token == new.token;
    new.versions.iter().position(|version| match version.object {
        ObjectName::Label(_) if !one_token => false,
        _ => old.versions.iter().any(|other| other.object == version.object),
    })
}
