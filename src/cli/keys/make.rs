//! `keys create`, `keys rotate` and `keys import`.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::backend::keyring::admin::KeyringAdmin;
use crate::cli::keys::Console;
use crate::cli::keys::error::KeysError;
use crate::cli::keys::key_text;
use crate::cli::keys::key_text::Form;
use crate::cli::keys::show;
use crate::cli::keys::target::Target;
use crate::root_key::Admin as _;
use crate::root_key::high_water::HighWater;
use crate::root_key::id::KeyId;
use crate::root_key::rotation::check_recorded;
use crate::root_key::rotation::make::Made;
use crate::root_key::version::State;

#[derive(Debug, Serialize)]
struct More {
    /// The id of this command's own version, if that was destroyed in favour of the one shown.
    yielded: Option<KeyId>,
}

/// `keys create`
pub(super) async fn create(target: &Target, console: &mut Console<'_>) -> Result<(), KeysError> {
    let (admin, recorded) = (target.writer()?, target.recorded()?);
    prepare(&admin, recorded.as_ref())?;
    let made = target.rules(&admin, console.clock).create(recorded.as_ref()).await?;
    show(target, &admin, made, console).await
}

/// `keys rotate`
pub(super) async fn rotate(
    target: &Target,
    activate_in: Option<Duration>,
    console: &mut Console<'_>,
) -> Result<(), KeysError> {
    let (admin, recorded) = (target.writer()?, target.recorded()?);
    let made = target
        .rules(&admin, console.clock)
        .rotate(activate_in, recorded.as_ref())
        .await?;
    show(target, &admin, made, console).await
}

/// `keys import`
pub(super) async fn import(
    target: &Target,
    form: Form,
    file: &Path,
    console: &mut Console<'_>,
) -> Result<(), KeysError> {
    let key = key_text::read(form, file, console.input)?;
    let (admin, recorded) = (target.writer()?, target.recorded()?);
    prepare(&admin, recorded.as_ref())?;
    let made = target
        .rules(&admin, console.clock)
        .import(key, recorded.as_ref())
        .await?;
    show(target, &admin, made, console).await
}

/// Makes the keyring if there is none, and none was lost.
fn prepare(admin: &KeyringAdmin, recorded: Option<&HighWater>) -> Result<(), KeysError> {
    if admin.file().exists()? {
        return Ok(());
    }
    check_recorded(&[], recorded)?;
    Ok(admin.create_file()?)
}

async fn show(target: &Target, admin: &KeyringAdmin, made: Made, console: &mut Console<'_>) -> Result<(), KeysError> {
    let versions = admin.versions().await?;
    let Made {
        version,
        yielded,
        rivals,
    } = made;
    let number = version.number;
    if let Some(own) = &yielded {
        console.out.talk(&format!(
            "another command made a {number} at the same time: this one's, id {own}, was destroyed again, unused"
        ));
    }
    for rival in rivals {
        console.out.talk(&format!(
            "another command made a {number} at the same time, id {rival}: if `dekhand keys list` goes on showing it, \
             activate by id and retire the other"
        ));
    }
    show::change(target, &version, &versions, More { yielded }, console);
    let file = target.keyring.file.display();
    match version.state {
        State::Pending if target.shared => console.out.talk(
            "next: `dekhand keys activate --in 10m` gives it the date from which it encrypts; until then it only decrypts",
        ),
        State::Pending => console.out.talk(&format!(
            "next: copy {file} to every other node, run `dekhand keys verify` there, then `dekhand keys activate`"
        )),
        State::ActiveFrom(moment) => {
            let now = console.clock.now();
            console.out.talk(&format!("it encrypts from {moment} on; this node's clock says {now}"));
        }
        State::RetiredSince(_) => {}
    }
    console.out.talk(&format!(
        "keep a copy of {file} where only you can read it: without this key, what is stored under it is lost"
    ));
    Ok(())
}
