//! `keys activate`.

use serde::Serialize;

use crate::cli::keys::Console;
use crate::cli::keys::error::KeysError;
use crate::cli::keys::next_steps;
use crate::cli::keys::show;
use crate::cli::keys::store::StoreAccess;
use crate::cli::keys::target::Target;
use crate::clock::Timestamp;
use crate::root_key::rotation::activate::Dated;
use crate::root_key::rotation::activate::When;
use crate::root_key::version::Selector;

#[derive(Debug, Serialize)]
struct ActivateDetails {
    /// Its previous date.
    before: Option<Timestamp>,
}

/// `keys activate`
pub(super) async fn activate(
    target: &Target,
    version: Option<&Selector>,
    when: When,
    console: &mut Console<'_>,
) -> Result<(), KeysError> {
    let recorded = target.recorded()?;
    let store = target.open(StoreAccess::Change, console)?;
    let dated = target
        .rules(&store, console)
        .activate(version, when, recorded.as_ref())
        .await?;
    let versions = store.versions().await?;
    let Dated { version, at, before } = dated;
    show::change(target, &version, &versions, ActivateDetails { before }, console);
    let now = console.clock.now();
    console
        .out
        .talk(&format!("it encrypts from {at} on; this node's clock says {now}"));
    if let Some(before) = before {
        console.out.talk(&format!(
            "its date was {before}: a node that does not see the new date in time uses the old one"
        ));
    }
    if !target.shared {
        console.out.talk(&next_steps::same_date(target, at));
    }
    Ok(())
}
