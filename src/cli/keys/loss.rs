//! `keys accept-loss`.

use serde_json::json;

use crate::cli::keys::Console;
use crate::cli::keys::error::KeysError;
use crate::cli::keys::opened::Opened;
use crate::cli::keys::opened::Purpose;
use crate::cli::keys::target::Target;
use crate::cli::output::Format;
use crate::root_key::id::KeyId;
use crate::root_key::rotation::confirmation;
use crate::root_key::rotation::loss::accept_loss;
use crate::root_key::rotation::loss::acceptable;
use crate::root_key::version::Version;

/// `keys accept-loss`
pub(super) async fn accept(
    target: &Target,
    id: &KeyId,
    confirm: Option<&str>,
    console: &mut Console<'_>,
) -> Result<(), KeysError> {
    let store = target.open(Purpose::Look, console)?;
    let lost = acceptable(target.recorded()?, &target.name, &versions(&store).await?, id)?;
    console.out.talk(&format!(
        "{} (id {id}) is lost: what is stored under it stays unreadable, and this node may go back to an older version; \
         if a copy of the store may still be found, restore that instead",
        lost.number
    ));
    let expected = confirmation(&target.name, lost.number);
    let given = console.input.confirmed(confirm, &expected, console.out)?;
    // Looked up again: the store may be back.
    let versions = versions(&store).await?;
    let lost = accept_loss(&target.high_water(), &target.name, &versions, id, given.as_deref())?;
    match console.out.format() {
        Format::Text => console
            .out
            .data(&format!("{}  {} {id}  loss accepted", target.name, lost.number)),
        Format::Json => console.out.json(&json!({
            "root_key": target.name,
            "accepted": { "version": lost.number.to_string(), "number": lost.number, "id": id },
        })),
    }
    console
        .out
        .talk("the daemon of this node goes on with what the store has; do the same on every node that lost it");
    Ok(())
}

/// What the store has; nothing if a whole keyring is lost, but never if it just can't be read.
async fn versions(store: &Opened) -> Result<Vec<Version>, KeysError> {
    match store {
        Opened::Keyring(keyring) if !keyring.file().exists()? => Ok(Vec::new()),
        Opened::Keyring(_) | Opened::Token(_) => store.versions().await,
    }
}
