//! `keys create`, `keys rotate` and `keys import`.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::cli::keys::Console;
use crate::cli::keys::error::KeysError;
use crate::cli::keys::input::Input;
use crate::cli::keys::key_encoding;
use crate::cli::keys::key_encoding::Form;
use crate::cli::keys::key_encoding::NotAKey;
use crate::cli::keys::next_steps;
use crate::cli::keys::show;
use crate::cli::keys::show::ShownKey;
use crate::cli::keys::store::OpenStore;
use crate::cli::keys::store::StoreAccess;
use crate::cli::keys::target::Target;
use crate::files;
use crate::root_key::high_water::HighWater;
use crate::root_key::id::KeyId;
use crate::root_key::primary::reported;
use crate::root_key::rotation::create::Made;
use crate::root_key::rotation::refusal::Refusal;
use crate::root_key::version::State;
use crate::secret::Key;

#[derive(Debug, Serialize)]
struct CreateDetails {
    /// The id of this command's own version, if it was destroyed in favour of the version shown.
    yielded: Option<KeyId>,
    #[serde(flatten)]
    key: Option<ShownKey>,
}

/// `keys create`
pub(super) async fn create(target: &Target, console: &mut Console<'_>) -> Result<(), KeysError> {
    let recorded = target.recorded()?;
    let store = target.open(StoreAccess::Change, console)?;
    prepare(&store, recorded.as_ref())?;
    refuse_beside_mistakes(&store, target).await?;
    let made = target.rules(&store, console).create(recorded.as_ref()).await?;
    show(target, &store, made, console).await
}

/// `keys rotate`
pub(super) async fn rotate(
    target: &Target,
    activate_in: Option<Duration>,
    console: &mut Console<'_>,
) -> Result<(), KeysError> {
    let recorded = target.recorded()?;
    let store = target.open(StoreAccess::Change, console)?;
    let made = target
        .rules(&store, console)
        .rotate(activate_in, recorded.as_ref())
        .await?;
    show(target, &store, made, console).await
}

/// `keys import`
pub(super) async fn import(
    target: &Target,
    form: Form,
    file: &Path,
    console: &mut Console<'_>,
) -> Result<(), KeysError> {
    let key = read_key(form, file, console.input)?;
    let recorded = target.recorded()?;
    let store = target.open(StoreAccess::Change, console)?;
    prepare(&store, recorded.as_ref())?;
    refuse_beside_mistakes(&store, target).await?;
    let made = target.rules(&store, console).import(key, recorded.as_ref()).await?;
    show(target, &store, made, console).await
}

/// Reads the key in a file that only its owner may read, or, for `-`, on stdin.
fn read_key(form: Form, file: &Path, input: &mut Input) -> Result<Key, KeysError> {
    let bytes = if file == Path::new("-") {
        input.read_all(key_encoding::LIMIT)?
    } else {
        match files::read_private(file, u64::try_from(key_encoding::LIMIT).unwrap_or(u64::MAX)) {
            // The error would quote the "path", which is a key.
            Err(error) if error.is_not_found() && key_encoding::is_key(file.as_os_str().as_bytes()) => {
                return Err(NotAKey::on_the_command_line().into());
            }
            read => read?,
        }
    };
    Ok(key_encoding::parse(form, &bytes)?)
}

/// Creates the keyring if there is none and none was lost. A token is initialised with its vendor's tools.
fn prepare(store: &OpenStore, recorded: Option<&HighWater>) -> Result<(), KeysError> {
    let OpenStore::Keyring(keyring) = store else {
        return Ok(());
    };
    if keyring.file().exists()? {
        return Ok(());
    }
    reported(&[], recorded).map_err(Refusal::from)?;
    Ok(keyring.create_file()?)
}

/// Refuses a first version beside a private key that was probably meant to be one: whoever made it had the PIN, and may
/// have data under it. A public object blocks nothing, since anybody can make one.
async fn refuse_beside_mistakes(store: &OpenStore, target: &Target) -> Result<(), KeysError> {
    if store.versions().await?.is_empty() && store.noted().leaves_out_private_key {
        return Err(KeysError::BesideMistake {
            name: target.name.clone(),
        });
    }
    Ok(())
}

async fn show(target: &Target, store: &OpenStore, made: Made, console: &mut Console<'_>) -> Result<(), KeysError> {
    let versions = store.versions().await?;
    let Made {
        version,
        yielded,
        rivals,
    } = made;
    let number = version.number;
    if let Some(own) = &yielded {
        console.out.talk(&format!(
            "another command created a {number} at the same time: the key of this command, id {own}, was destroyed"
        ));
    }
    for rival in rivals {
        console.out.talk(&format!(
            "another command created a {number} at the same time, id {rival}: if `dekhand keys list` still shows both, \
             activate one by its id and retire the other"
        ));
    }
    let key = show::key(target, store, &version, console).await;
    show::change(target, &version, &versions, CreateDetails { yielded, key }, console);
    match version.state {
        State::Pending => console.out.talk(&next_steps::bring_to_other_nodes(target)),
        State::ActiveFrom(moment) => {
            let now = console.clock.now();
            console
                .out
                .talk(&format!("it encrypts from {moment} on; this node's clock says {now}"));
        }
        State::RetiredSince(_) => {}
    }
    console.out.talk(&next_steps::keep_a_copy(target));
    Ok(())
}
