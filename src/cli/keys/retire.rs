//! `keys retire`, `keys restore` and `keys destroy`.

use crate::cli::keys::Console;
use crate::cli::keys::arguments::DestroyArgs;
use crate::cli::keys::error::KeysError;
use crate::cli::keys::next_steps;
use crate::cli::keys::show;
use crate::cli::keys::store::StoreAccess;
use crate::cli::keys::target::Target;
use crate::root_key::rotation::confirmation;
use crate::root_key::rotation::retire::Destroyed;
use crate::root_key::version::Selector;
use crate::root_key::version::State;

/// `keys retire`
pub(super) async fn retire(
    target: &Target,
    version: &Selector,
    unaudited: bool,
    console: &mut Console<'_>,
) -> Result<(), KeysError> {
    let store = target.open(StoreAccess::Change, console)?;
    let retired = target.rules(&store, console).retire(version, unaudited).await?;
    let versions = store.versions().await?;
    show::change(target, &retired, &versions, show::NoDetails {}, console);
    let number = retired.number;
    console.out.talk(&format!(
        "nodes decrypt nothing under {number} once they see this; watch for failing reads: `dekhand keys restore \
         {number}` undoes it"
    ));
    talk_of_other_nodes(target, console);
    Ok(())
}

/// `keys restore`
pub(super) async fn restore(target: &Target, version: &Selector, console: &mut Console<'_>) -> Result<(), KeysError> {
    let store = target.open(StoreAccess::Change, console)?;
    let restored = target.rules(&store, console).restore(version).await?;
    let versions = store.versions().await?;
    show::change(target, &restored, &versions, show::NoDetails {}, console);
    let number = restored.number;
    console.out.talk(&match restored.state {
        State::Pending => format!("{number} decrypts again; it encrypts only after it is activated"),
        State::ActiveFrom(_) | State::RetiredSince(_) => {
            format!("{number} decrypts again; a higher version still encrypts")
        }
    });
    talk_of_other_nodes(target, console);
    Ok(())
}

/// `keys destroy`
pub(super) async fn destroy(target: &Target, args: &DestroyArgs, console: &mut Console<'_>) -> Result<(), KeysError> {
    let DestroyArgs {
        version,
        unaudited,
        retention,
        confirm,
        print: _,
        which: _,
    } = args;
    let (retention, unaudited) = (*retention, *unaudited);
    // Asks without holding the lock: other commands must not wait for the operator's answer.
    let store = target.open(StoreAccess::Consider, console)?;
    let Destroyed { version, retired_since } = target
        .rules(&store, console)
        .plan_destroy(version, retention, unaudited)
        .await?;
    console.out.talk(&format!(
        "{} (id {}) will be destroyed permanently: in backups of etcd from before {retired_since}, everything that is \
         encrypted under it becomes unreadable",
        version.number, version.id
    ));
    let expected = confirmation(&target.name, version.number);
    let given = console.input.confirmed(confirm.as_deref(), &expected, console.out)?;
    let store = target.hold(store)?;
    let selector = Selector::Id(version.id);
    let rules = target.rules(&store, console);
    let destroyed = rules.destroy(&selector, retention, unaudited, given.as_deref()).await?;
    let versions = store.versions().await?;
    show::change(target, &destroyed.version, &versions, show::NoDetails {}, console);
    console
        .out
        .talk(&next_steps::other_copies(target, destroyed.version.number));
    Ok(())
}

fn talk_of_other_nodes(target: &Target, console: &mut Console<'_>) {
    if !target.shared {
        console.out.talk(&next_steps::same_elsewhere(target));
    }
}
