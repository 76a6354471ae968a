//! Operators: they run `dekhand keys` as the rotation page describes, under the real rules.

use std::time::Duration;

use dekhand::clock::Clock;
use dekhand::clock::Timestamp;
use dekhand::root_key::id::KeyId;
use dekhand::root_key::name::RootKeyName;
use dekhand::root_key::rotation::Rotation;
use dekhand::root_key::rotation::accept_loss::accept_loss;
use dekhand::root_key::rotation::activate::When;
use dekhand::root_key::rotation::confirmation;
use dekhand::root_key::rotation::error::RotationError;
use dekhand::root_key::rotation::verify;
use dekhand::root_key::rotation::verify::VerifyError;
use dekhand::root_key::version::Selector;
use dekhand::root_key::version::State;
use dekhand::root_key::version::Version;
use tokio::time::sleep;

use crate::daemon::root_key_name;
use crate::link::Link;
use crate::link::Session;
use crate::store::Flavour;
use crate::store::Topology;
use crate::store::lock;
use crate::world::NODES;
use crate::world::World;

/// An operator's goal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    /// Make the first version.
    Create,
    /// Make the next version on all nodes, active this many seconds later.
    Rotate(u64),
    /// Activate the pending version, this many seconds from now.
    Activate(u64),
    /// Retire the oldest version that is not the primary, on all nodes. `true`: without a check of etcd.
    Retire(bool),
    /// Put a pending version aside.
    PutAside,
    /// Restore the newest retired version on all nodes.
    Restore,
    /// Destroy the oldest retired version on all nodes after this many seconds of retention.
    Destroy(u64),
    /// Accept the loss of the version that this node has reported and that is missing from its store.
    AcceptLoss,
}

/// Why a command did not reach its goal.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Rules(#[from] RotationError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error("{0}")]
    Careful(String),
}

/// One node's `dekhand keys`.
struct Keys<'a> {
    world: &'a World,
    node: usize,
    session: Session,
    name: RootKeyName,
    clock: Clock,
}

impl<'a> Keys<'a> {
    fn on(world: &'a World, node: usize, asked: bool) -> Self {
        Self {
            world,
            node,
            session: Session::new(&world.stores, node, asked),
            name: root_key_name(),
            clock: world.nodes[node].clock.borrow().clone(),
        }
    }

    /// The last listed version that is not active yet by this node's clock.
    fn pending(&self) -> Result<Version, Stopped> {
        let now = self.clock.now();
        let mut versions = self.versions().into_iter();
        let pending = versions.rfind(|version| version.state.is_pending(now));
        pending.ok_or_else(|| Stopped::Careful("nothing is pending".into()))
    }

    fn rules(&self) -> Rotation<'_> {
        Rotation {
            admin: &self.session,
            name: &self.name,
            clock: &self.clock,
            shared: self.world.setup.topology != Topology::PerNode,
            step: self.world.setup.step(),
        }
    }

    fn versions(&self) -> Vec<Version> {
        lock(&self.world.stores).replica(self.node).versions()
    }

    /// Commands on one keyring take turns; commands on a token do not.
    async fn turn(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        match self.world.setup.flavour {
            Flavour::Keyring => {
                let place = lock(&self.world.stores).place(self.node);
                Some(self.world.turns[place].lock().await)
            }
            Flavour::Token => None,
        }
    }
}

/// Runs an operator's command on a node, and adds its outcome to the story.
pub(crate) async fn run(world: &World, node: usize, command: Command) {
    let outcome = execute(world, node, command).await;
    world.look();
    world.tell(|| match &outcome {
        Ok(done) => format!("keys on {node}: {done}"),
        Err(stopped) => format!("keys on {node}: not done: {stopped}"),
    });
}

async fn execute(world: &World, node: usize, command: Command) -> Result<String, Stopped> {
    match command {
        Command::Create => {
            let keys = Keys::on(world, node, true);
            let _turn = keys.turn().await;
            let recorded = world.nodes[node].mark();
            let made = keys.rules().create(recorded.as_ref()).await?;
            Ok(format!("created {}", world.name_of(&made.version.id)))
        }
        Command::Rotate(lead) => rotate(world, node, lead).await,
        Command::Activate(lead) => activate(world, node, lead).await,
        Command::Retire(careless) => {
            let Some(version) = oldest_unused(world, node, careless) else {
                return Err(Stopped::Careful("nothing to retire".into()));
            };
            everywhere(world, node, &version, async |keys, selector| {
                keys.rules().retire(selector, true).await.map(drop)
            })
            .await?;
            Ok(format!("retired {}", world.name_of(&version.id)))
        }
        Command::PutAside => {
            let keys = Keys::on(world, node, false);
            let version = keys.pending()?;
            everywhere(world, node, &version, async |keys, selector| {
                keys.rules().retire(selector, true).await.map(drop)
            })
            .await?;
            Ok(format!("put {} aside", world.name_of(&version.id)))
        }
        Command::Restore => {
            let retired = Keys::on(world, node, false).versions();
            let version = retired.into_iter().rfind(|version| !version.state.decrypts());
            let version = version.ok_or_else(|| Stopped::Careful("nothing is retired".into()))?;
            everywhere(world, node, &version, async |keys, selector| {
                keys.rules().restore(selector).await.map(drop)
            })
            .await?;
            Ok(format!("restored {}", world.name_of(&version.id)))
        }
        Command::Destroy(retention) => destroy(world, node, Duration::from_secs(retention)).await,
        Command::AcceptLoss => {
            let keys = Keys::on(world, node, false);
            let machine = &world.nodes[node];
            let lost = machine
                .mark()
                .ok_or_else(|| Stopped::Careful("nothing reported".into()))?;
            let confirmed = confirmation(&keys.name, lost.number);
            accept_loss(
                &machine.high_water(),
                &keys.name,
                &keys.versions(),
                &lost.id,
                Some(&confirmed),
            )?;
            machine.record.borrow_mut().forgive();
            Ok(format!("accepted the loss of {}", world.name_of(&lost.id)))
        }
    }
}

/// Restores a version on a node, because it is still needed.
pub(crate) async fn restore(world: &World, node: usize, id: &KeyId) {
    let keys = Keys::on(world, node, false);
    let _turn = keys.turn().await;
    let restored = keys.rules().restore(&Selector::Id(id.clone())).await;
    world.look();
    world.tell(|| match restored {
        Ok(version) => format!("keys on {node}: restored {}: {:?}", world.name_of(id), version.state),
        Err(error) => format!("keys on {node}: {} not restored: {error}", world.name_of(id)),
    });
}

/// The oldest version that no value in etcd needs, if the operator checks etcd.
fn oldest_unused(world: &World, node: usize, careless: bool) -> Option<Version> {
    let etcd = world.etcd.borrow();
    let needed = |version: &Version| {
        etcd.objects
            .iter()
            .flatten()
            .any(|dek| etcd.deks[*dek].id == version.id)
    };
    let versions = lock(&world.stores).replica(node).versions();
    let mut decrypting = versions.into_iter().filter(|version| version.state.decrypts());
    decrypting.find(|version| careless || !needed(version))
}

/// Runs one command on every node that has its own store, with pauses as people make them.
async fn everywhere(
    world: &World,
    node: usize,
    version: &Version,
    command: impl AsyncFn(&Keys<'_>, &Selector) -> Result<(), RotationError>,
) -> Result<(), Stopped> {
    let selector = Selector::Id(version.id.clone());
    let first = Keys::on(world, node, false);
    {
        let _turn = first.turn().await;
        command(&first, &selector).await?;
    }
    world.look();
    if world.setup.topology == Topology::PerNode {
        for other in NODES.filter(|other| *other != node) {
            sleep(Duration::from_secs(20)).await;
            let keys = Keys::on(world, other, false);
            let _turn = keys.turn().await;
            if let Err(error) = command(&keys, &selector).await {
                world.tell(|| format!("keys on {other}: not done: {error}"));
            }
            world.look();
        }
    }
    Ok(())
}

async fn rotate(world: &World, node: usize, lead: u64) -> Result<String, Stopped> {
    let lead = Duration::from_secs(lead);
    let keys = Keys::on(world, node, true);
    let recorded = world.nodes[node].mark();
    if world.setup.topology != Topology::PerNode {
        let _turn = keys.turn().await;
        let made = keys.rules().rotate(Some(lead), recorded.as_ref()).await?;
        return Ok(format!(
            "made {} {:?}",
            world.name_of(&made.version.id),
            made.version.state
        ));
    }
    let made = {
        let _turn = keys.turn().await;
        keys.rules().rotate(None, recorded.as_ref()).await?.version
    };
    world.tell(|| format!("keys on {node}: made {}", world.name_of(&made.id)));
    let selector = Selector::Id(made.id.clone());
    for other in NODES.filter(|other| *other != node) {
        sleep(Duration::from_secs(40)).await;
        carry(world, node, other, &made)?;
    }
    let here = Link::new(&world.stores, node);
    let record = verify::record(here.as_ref(), &keys.name, Some(&selector), keys.clock.now()).await?;
    for other in NODES.filter(|other| *other != node) {
        let there = Link::new(&world.stores, other);
        verify::against(there.as_ref(), &keys.name, &record).await?;
    }
    let at = date(world, node, &selector, When::In(lead)).await?;
    for other in NODES.filter(|other| *other != node) {
        sleep(Duration::from_secs(20)).await;
        if let Err(stopped) = date(world, other, &selector, When::At(at)).await {
            world.tell(|| format!("keys on {other}: not done: {stopped}"));
        }
    }
    Ok(format!("dated {} to {at}", world.name_of(&made.id)))
}

/// Brings a version to another node: the whole file, or a single key.
fn carry(world: &World, from: usize, to: usize, version: &Version) -> Result<(), Stopped> {
    let mut stores = lock(&world.stores);
    if stores.moods[from].is_outage() || stores.moods[to].is_outage() {
        return Err(Stopped::Careful(format!(
            "the store of node {from} or {to} can't be reached"
        )));
    }
    let held = stores.replica(from).held.clone();
    match world.setup.flavour {
        Flavour::Keyring => {
            let known = |id| held.iter().any(|held| held.version.id == id);
            if !stores
                .replica(to)
                .versions()
                .into_iter()
                .all(|version| known(version.id))
            {
                return Err(Stopped::Careful(format!("node {to} has what node {from} lacks")));
            }
            stores.restore(to, &held);
            stores.arrived(to, &version.id);
        }
        Flavour::Token => {
            let key = held.into_iter().find(|held| held.version.id == version.id);
            let key = key.ok_or_else(|| Stopped::Careful("it is gone again".into()))?;
            stores.apply(to, crate::store::Change::Add(key));
        }
    }
    drop(stores);
    world.look();
    Ok(())
}

async fn date(world: &World, node: usize, selector: &Selector, when: When) -> Result<Timestamp, Stopped> {
    let keys = Keys::on(world, node, true);
    let _turn = keys.turn().await;
    let recorded = world.nodes[node].mark();
    let dated = keys.rules().activate(Some(selector), when, recorded.as_ref()).await?;
    world.look();
    Ok(dated.at)
}

async fn activate(world: &World, node: usize, lead: u64) -> Result<String, Stopped> {
    let keys = Keys::on(world, node, true);
    let version = keys.pending()?;
    let lacks = |node: usize| lock(&world.stores).replica(node).find(&version.id).is_none();
    if world.setup.topology == Topology::PerNode && NODES.into_iter().any(lacks) {
        return Err(Stopped::Careful("a node lacks the version".into()));
    }
    let selector = Selector::Id(version.id.clone());
    let at = date(world, node, &selector, When::In(Duration::from_secs(lead))).await?;
    if world.setup.topology == Topology::PerNode {
        for other in NODES.filter(|other| *other != node) {
            if let Err(stopped) = date(world, other, &selector, When::At(at)).await {
                world.tell(|| format!("keys on {other}: not done: {stopped}"));
            }
        }
    }
    Ok(format!("dated {} to {at}", world.name_of(&version.id)))
}

async fn destroy(world: &World, node: usize, retention: Duration) -> Result<String, Stopped> {
    let retired = Keys::on(world, node, false).versions();
    let version = retired
        .into_iter()
        .find(|version| matches!(version.state, State::RetiredSince(_)));
    let version = version.ok_or_else(|| Stopped::Careful("nothing is retired".into()))?;
    everywhere(world, node, &version, async |keys, selector| {
        let confirmed = confirmation(&keys.name, version.number);
        let destroyed = keys.rules().destroy(selector, retention, true, Some(&confirmed)).await;
        destroyed.map(drop)
    })
    .await?;
    Ok(format!("destroyed {}", world.name_of(&version.id)))
}
