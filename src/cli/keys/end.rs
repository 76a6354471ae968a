//! `keys retire`, `keys restore` and `keys destroy`.

use crate::cli::keys::Console;
use crate::cli::keys::DestroyArgs;
use crate::cli::keys::error::KeysError;
use crate::cli::keys::show;
use crate::cli::keys::target::Target;
use crate::root_key::Admin as _;
use crate::root_key::rotation::confirmation;
use crate::root_key::rotation::end::Destroyed;
use crate::root_key::version::Selector;
use crate::root_key::version::State;

/// `keys retire`
pub(super) async fn retire(
    target: &Target,
    version: &Selector,
    unaudited: bool,
    console: &mut Console<'_>,
) -> Result<(), KeysError> {
    let admin = target.writer()?;
    let retired = target.rules(&admin, console.clock).retire(version, unaudited).await?;
    let versions = admin.versions().await?;
    show::change(target, &retired, &versions, show::NothingMore {}, console);
    let number = retired.number;
    console.out.talk(&format!(
        "nodes open nothing under {number} any more as soon as they see this; watch for reads that fail: \
         `dekhand keys restore {number}` takes it back"
    ));
    talk_of_other_nodes(target, console);
    Ok(())
}

/// `keys restore`
pub(super) async fn restore(target: &Target, version: &Selector, console: &mut Console<'_>) -> Result<(), KeysError> {
    let admin = target.writer()?;
    let restored = target.rules(&admin, console.clock).restore(version).await?;
    let versions = admin.versions().await?;
    show::change(target, &restored, &versions, show::NothingMore {}, console);
    let number = restored.number;
    console.out.talk(&match restored.state {
        State::Pending => format!("{number} decrypts again; it encrypts only when it is activated"),
        State::ActiveFrom(_) | State::RetiredSince(_) => {
            format!("{number} decrypts again; a higher version goes on encrypting")
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
        which: _,
    } = args;
    let (retention, unaudited) = (*retention, *unaudited);
    // Asked without the lock: nobody else should have to wait for an answer.
    let reader = target.reader();
    let Destroyed { version, retired_since } = target
        .rules(&reader, console.clock)
        .destroyable(version, retention, unaudited)
        .await?;
    console.out.talk(&format!(
        "{} (id {}) will be destroyed for ever: backups of etcd from before {retired_since} become unreadable, as far \
         as they are stored under it",
        version.number, version.id
    ));
    let expected = confirmation(&target.name, version.number);
    let given = console.input.confirmed(confirm.as_deref(), &expected, console.out)?;
    let admin = target.writer()?;
    let selector = Selector::Id(version.id);
    let rules = target.rules(&admin, console.clock);
    let destroyed = rules.destroy(&selector, retention, unaudited, given.as_deref()).await?;
    let versions = admin.versions().await?;
    show::change(target, &destroyed.version, &versions, show::NothingMore {}, console);
    console.out.talk(&format!(
        "destroyed here; copies of {} on other nodes and in backups still hold the key",
        target.keyring.file.display()
    ));
    Ok(())
}

fn talk_of_other_nodes(target: &Target, console: &mut Console<'_>) {
    if !target.shared {
        let file = target.keyring.file.display();
        console
            .out
            .talk(&format!("next: do the same on every other node, or copy {file} there"));
    }
}
