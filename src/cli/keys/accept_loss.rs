//! `keys accept-loss`.

use serde_json::json;

use crate::cli::keys::Console;
use crate::cli::keys::error::KeysError;
use crate::cli::keys::store::OpenStore;
use crate::cli::keys::store::StoreAccess;
use crate::cli::keys::target::Target;
use crate::cli::output::OutputFormat;
use crate::root_key::id::KeyId;
use crate::root_key::rotation::accept_loss::accept_loss;
use crate::root_key::rotation::accept_loss::accept_other_key;
use crate::root_key::rotation::accept_loss::plan_accept_loss;
use crate::root_key::rotation::confirmation;
use crate::root_key::version::Version;

/// `keys accept-loss`
pub(super) async fn accept(
    target: &Target,
    id: &KeyId,
    confirm: Option<&str>,
    console: &mut Console<'_>,
) -> Result<(), KeysError> {
    let store = target.open(StoreAccess::Look, console)?;
    let listed = versions(&store).await?;
    if let Some(version) = exchanged(&store, &listed, id).await? {
        return accept_exchange(target, &version, confirm, console);
    }
    let lost = plan_accept_loss(target.recorded()?, &target.name, &listed, id)?;
    console.out.talk(&format!(
        "{} (id {id}) is lost: data encrypted under it stays unreadable, and this node may go back to an older \
         version; if there is a copy of the store, restore the copy instead",
        lost.number
    ));
    let expected = confirmation(&target.name, lost.number);
    let given = console.input.confirmed(confirm, &expected, console.out)?;
    // Looked up again: the store may have been restored meanwhile.
    let versions = versions(&store).await?;
    let lost = accept_loss(&target.high_water(), &target.name, &versions, id, given.as_deref())?;
    target.proof_record().forget(&target.name, id)?;
    match console.out.format() {
        OutputFormat::Text => console
            .out
            .data(&format!("{}  {} {id}  loss accepted", target.name, lost.number)),
        OutputFormat::Json => console.out.json(&json!({
            "root_key": target.name,
            "accepted": { "version": lost.number.to_string(), "number": lost.number, "id": id },
        })),
    }
    console
        .out
        .talk("the daemon of this node continues without it; run this command on every node that lost it");
    Ok(())
}

/// The version of this id, unless the token proves that its key is the one that this node has used.
async fn exchanged(store: &OpenStore, versions: &[Version], id: &KeyId) -> Result<Option<Version>, KeysError> {
    let Some(version) = versions.iter().find(|version| version.id == *id) else {
        return Ok(None);
    };
    let report = store.report(id).await.transpose()?;
    let another = report.is_some_and(|report| report.another_key || report.unproven);
    Ok(another.then(|| version.clone()))
}

/// Accepts the key that the token holds now as the version's key.
fn accept_exchange(
    target: &Target,
    version: &Version,
    confirm: Option<&str>,
    console: &mut Console<'_>,
) -> Result<(), KeysError> {
    let Version { number, id, .. } = version;
    let outcome = if counts(target, id)? {
        "this node encrypts under the new key"
    } else {
        "the new key is a public object, which dekhand does not use until there is a private copy of it"
    };
    console.out.talk(&format!(
        "the key of {number} (id {id}) was replaced: data encrypted under the old key stays unreadable, and {outcome}; \
         if you did not replace the key, an attacker may know the new one: restore the old key instead"
    ));
    let expected = confirmation(&target.name, *number);
    let given = console.input.confirmed(confirm, &expected, console.out)?;
    accept_other_key(&target.name, *number, given.as_deref())?;
    // Before the record is removed that lets this version count although its object is public.
    let counts = counts(target, id)?;
    target.proof_record().forget(&target.name, id)?;
    match console.out.format() {
        OutputFormat::Text => console
            .out
            .data(&format!("{}  {number} {id}  other key accepted", target.name)),
        OutputFormat::Json => console.out.json(&json!({
            "root_key": target.name,
            "accepted": { "version": number.to_string(), "number": number, "id": id },
        })),
    }
    console.out.talk(if counts {
        "restart the daemon of this node now: until the restart it may encrypt under a data key of the lost key, and \
         that data stays unreadable; then repeat this command and the restart on every node"
    } else {
        "the version is missing on this node until the token holds a private copy of the new key under the same label \
         and id (C_CopyObject with CKA_PRIVATE true), or `private: false` is set; run this command on every node"
    });
    Ok(())
}

/// Whether the new key counts once the version's record is removed. A public object counts only if the record lists its
/// version.
fn counts(target: &Target, id: &KeyId) -> Result<bool, KeysError> {
    let wants_private = target.token().is_some_and(|options| options.private);
    Ok(!wants_private || !target.proof_record().admits_public(&target.name, id)?)
}

/// The versions in the store; none if the whole keyring is lost, but an error if it cannot be read.
async fn versions(store: &OpenStore) -> Result<Vec<Version>, KeysError> {
    match store {
        OpenStore::Keyring(keyring) if !keyring.file().exists()? => Ok(Vec::new()),
        OpenStore::Keyring(_) | OpenStore::Token(_) => store.versions().await,
    }
}
