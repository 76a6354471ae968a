//! How versions are printed, as text and as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::backend::pkcs11::notices::Noted;
use crate::cli::keys::Console;
use crate::cli::keys::error::KeysError;
use crate::cli::keys::store::OpenStore;
use crate::cli::keys::store::StoreAccess;
use crate::cli::keys::target::Target;
use crate::cli::output::OutputFormat;
use crate::clock::Timestamp;
use crate::root_key::high_water::HighWater;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::primary::Candidates;
use crate::root_key::primary::Choice;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::root_key::version::Version;
use crate::token::report::KeyReport;

/// A version, as `--output json` shows it.
#[derive(Clone, Debug, Serialize)]
pub(in crate::cli) struct ShownVersion {
    version: String,
    number: Number,
    id: KeyId,
    /// `pending` (also with a date in the future), `active` or `retired`.
    state: &'static str,
    /// The date of its state; for a pending version it is in the future.
    since: Option<Timestamp>,
    primary: bool,
    /// Only for a key in a token.
    #[serde(flatten)]
    key: Option<ShownKey>,
}

/// A version's key as the token reports it.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct ShownKey {
    key: Option<String>,
    label: Option<String>,
    /// By their PKCS#11 names without `CKA_`.
    attributes: BTreeMap<String, Option<bool>>,
    warnings: Vec<String>,
    /// Whether it differs from the key that this node has used under its id.
    another_key: bool,
    /// Whether the token can no longer do anything that would prove which key it is.
    unproven: bool,
}

#[derive(Debug, Serialize)]
struct ShownRootKey {
    name: RootKeyName,
    backend: &'static str,
    shared: bool,
    versions: Vec<ShownVersion>,
    /// Versions that are used although their objects are public, and what to do about each.
    public: Vec<String>,
    /// Objects of the token that are ignored, and why.
    left_out: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ShownRootKeys {
    root_keys: Vec<ShownRootKey>,
}

/// The output of a command that changed a version.
#[derive(Debug, Serialize)]
struct ShownChange<'a, T> {
    root_key: &'a RootKeyName,
    version: ShownVersion,
    #[serde(flatten)]
    more: T,
}

/// No fields beside the version.
#[derive(Debug, Serialize)]
pub(super) struct NoDetails {}

impl ShownVersion {
    pub(in crate::cli) fn new(version: &Version, primary: Option<&KeyId>, now: Timestamp) -> Self {
        let state = match version.state {
            State::RetiredSince(_) => "retired",
            _ if version.state.is_pending(now) => "pending",
            State::Pending | State::ActiveFrom(_) => "active",
        };
        Self {
            version: version.number.to_string(),
            number: version.number,
            id: version.id.clone(),
            state,
            since: version.state.moment(),
            primary: primary == Some(&version.id),
            key: None,
        }
    }

    /// One line.
    pub(in crate::cli) fn line(&self) -> String {
        let state = match (self.state, self.since) {
            ("pending", None) => "pending".to_owned(),
            ("pending", Some(moment)) => format!("pending, active from {moment}"),
            (state, Some(moment)) => format!("{state} since {moment}"),
            (state, None) => state.to_owned(),
        };
        let primary = if self.primary { "  primary" } else { "" };
        format!("{:<5}  {state:<42}  {}{primary}", self.version, self.id)
    }
}

impl From<KeyReport> for ShownKey {
    fn from(report: KeyReport) -> Self {
        let KeyReport {
            key,
            label,
            attributes,
            warnings,
            another_key,
            unproven,
        } = report;
        Self {
            key: Some(key),
            label: Some(label),
            attributes: attributes.into_iter().collect(),
            warnings,
            another_key,
            unproven,
        }
    }
}

/// Reads a version's key back from its token, and warns about weak attributes. `None` for a keyring.
pub(super) async fn key(
    target: &Target,
    store: &OpenStore,
    version: &Version,
    console: &mut Console<'_>,
) -> Option<ShownKey> {
    let shown = match store.report(&version.id).await? {
        Ok(report) => ShownKey::from(report),
        // The version exists nevertheless.
        Err(error) => ShownKey {
            warnings: vec![format!(
                "its attributes cannot be read from the token: {}",
                error.chain()
            )],
            ..ShownKey::default()
        },
    };
    for warning in &shown.warnings {
        console
            .out
            .talk(&format!("warning: {} {}: {warning}", target.name, version.number));
    }
    Some(shown)
}

/// The version that encrypts on a node that has reported `recorded`, by the daemon's own rule; or why no version may.
fn primary(versions: &[Version], recorded: Option<&HighWater>, now: Timestamp) -> Result<KeyId, String> {
    let candidates = Candidates {
        versions,
        high_water: recorded,
        now,
    };
    // The daemon also requires a data key under it; a command has none.
    match candidates.choose(|_| true) {
        Choice::Primary(version) | Choice::Wait(version) => Ok(version.id),
        Choice::Refuse(sentence) => Err(sentence),
    }
}

/// Prints a version that a command has changed.
pub(super) fn change(
    target: &Target,
    version: &Version,
    versions: &[Version],
    more: impl Serialize,
    console: &mut Console<'_>,
) {
    let now = console.clock.now();
    // The change is done, so an unreadable state directory is no failure: no version is then shown as primary.
    let recorded = target.recorded().ok();
    let primary = recorded.and_then(|recorded| primary(versions, recorded.as_ref(), now).ok());
    let shown = ShownVersion::new(version, primary.as_ref(), now);
    match console.out.format() {
        OutputFormat::Text => console.out.data(&format!("{}  {}", target.name, shown.line())),
        OutputFormat::Json => console.out.json(&ShownChange {
            root_key: &target.name,
            version: shown,
            more,
        }),
    }
}

/// `keys list`
pub(super) async fn list(targets: &[&Target], console: &mut Console<'_>) -> Result<(), KeysError> {
    let mut root_keys = Vec::new();
    for target in targets {
        let shown = root_key(target, console).await;
        root_keys.push(shown.map_err(|error| target.explain(error))?);
    }
    match console.out.format() {
        OutputFormat::Json => console.out.json(&ShownRootKeys { root_keys }),
        OutputFormat::Text => {
            for (root_key, target) in root_keys.iter().zip(targets) {
                console.out.data(&text(root_key, target));
            }
        }
    }
    Ok(())
}

async fn root_key(target: &Target, console: &mut Console<'_>) -> Result<ShownRootKey, KeysError> {
    let now = console.clock.now();
    let store = target.open(StoreAccess::Look, console)?;
    let versions = store.versions().await?;
    let recorded = target.recorded()?;
    let primary = primary(&versions, recorded.as_ref(), now);
    if let (Some(_), Err(refusal)) = (&recorded, &primary) {
        console.out.talk(&format!(
            "{}: no version may encrypt on this node: {refusal}",
            target.name
        ));
    }
    let primary = primary.ok();
    let mut shown = Vec::new();
    for version in &versions {
        shown.push(ShownVersion {
            key: key(target, &store, version, console).await,
            ..ShownVersion::new(version, primary.as_ref(), now)
        });
    }
    let Noted { public, left_out, .. } = store.noted();
    Ok(ShownRootKey {
        public,
        left_out,
        name: target.name.clone(),
        backend: target.backend(),
        shared: target.shared,
        versions: shown,
    })
}

fn text(root_key: &ShownRootKey, target: &Target) -> String {
    let ShownRootKey {
        name,
        backend,
        shared,
        versions,
        // Printed as warnings, as by every command.
        public: _,
        left_out: _,
    } = root_key;
    let whose = if *shared {
        "one for all nodes"
    } else {
        "each node has its own"
    };
    let mut text = format!("{name}  {backend} {}, {whose}", target.place());
    if versions.is_empty() {
        text.push_str("\n  no versions: `dekhand keys create` makes the first one");
    }
    // The newest first: it matters most.
    for version in versions.iter().rev() {
        text.push_str("\n  ");
        text.push_str(&version.line());
    }
    text
}
