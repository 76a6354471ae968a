//! `keys retire`, `keys restore` and `keys destroy`.

use crate::cli::keys::DestroyArgs;
use crate::cli::keys::Session;
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
    session: &mut Session<'_>,
) -> Result<(), KeysError> {
    let admin = target.writer()?;
    let retired = target.rules(&admin, session.clock).retire(version, unaudited).await?;
    let versions = admin.versions().await?;
    show::change(target, &retired, &versions, show::NothingMore {}, session);
    let number = retired.number;
    session.out.talk(&format!(
        "nodes open nothing under {number} any more as soon as they see this; watch for reads that fail: \
         `dekhand keys restore {number}` takes it back"
    ));
    talk_of_other_nodes(target, session);
    Ok(())
}

/// `keys restore`
pub(super) async fn restore(target: &Target, version: &Selector, session: &mut Session<'_>) -> Result<(), KeysError> {
    let admin = target.writer()?;
    let restored = target.rules(&admin, session.clock).restore(version).await?;
    let versions = admin.versions().await?;
    show::change(target, &restored, &versions, show::NothingMore {}, session);
    let number = restored.number;
    session.out.talk(&match restored.state {
        State::Pending => format!("{number} decrypts again; it encrypts only when it is activated"),
        State::ActiveFrom(_) | State::RetiredSince(_) => {
            format!("{number} decrypts again; a higher version goes on encrypting")
        }
    });
    talk_of_other_nodes(target, session);
    Ok(())
}

/// `keys destroy`
pub(super) async fn destroy(target: &Target, args: &DestroyArgs, session: &mut Session<'_>) -> Result<(), KeysError> {
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
        .rules(&reader, session.clock)
        .destroyable(version, retention, unaudited)
        .await?;
    session.out.talk(&format!(
        "{} (id {}) will be destroyed for ever: backups of etcd from before {retired_since} become unreadable, as far \
         as they are stored under it",
        version.number, version.id
    ));
    let expected = confirmation(&target.name, version.number);
    let given = session.input.confirmed(confirm.as_deref(), &expected, session.out)?;
    let admin = target.writer()?;
    let selector = Selector::Id(version.id);
    let rules = target.rules(&admin, session.clock);
    let destroyed = rules.destroy(&selector, retention, unaudited, given.as_deref()).await?;
    let versions = admin.versions().await?;
    show::change(target, &destroyed.version, &versions, show::NothingMore {}, session);
    session.out.talk(&format!(
        "destroyed here; copies of {} on other nodes and in backups still hold the key",
        target.keyring.file.display()
    ));
    Ok(())
}

fn talk_of_other_nodes(target: &Target, session: &mut Session<'_>) {
    if !target.shared {
        let file = target.keyring.file.display();
        session
            .out
            .talk(&format!("next: do the same on every other node, or copy {file} there"));
    }
}
