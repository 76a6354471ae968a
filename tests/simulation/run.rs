//! Runs a schedule to its end, repairs every fault, and checks that everything is well then.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use dekhand::root_key::id::KeyId;
use tokio::task::LocalSet;
use tokio::time::sleep;
use tokio::time::sleep_until;

use crate::connection::Connection;
use crate::operator;
use crate::operator::Command;
use crate::panics;
use crate::plan::Plan;
use crate::plan::Step;
use crate::store::Mood;
use crate::store::lock;
use crate::world::NODES;
use crate::world::Violation;
use crate::world::World;

/// The outcome of a schedule.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<Violation>,
    pub(crate) story: Vec<String>,
    pub(crate) calls: u64,
    pub(crate) digest: u64,
    pub(crate) switches: u64,
    pub(crate) seconds: u64,
}

impl Outcome {
    /// A seed must give the same run each time: otherwise a failure could not be repeated.
    pub(crate) fn demand_repeated(&mut self, again: &Self) {
        let (one, other) = ((self.calls, self.digest), (again.calls, again.digest));
        if one != other && self.violation.is_none() {
            self.violation = Some(Violation {
                invariant: "a seed is always the same schedule",
                what: format!("calls and their digest were {one:?}, then {other:?}"),
            });
        }
    }
}

/// Runs a schedule; `tells` is whether its story is printed.
pub(crate) fn run(plan: &Plan, tells: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let local = LocalSet::new();
    panics::take();
    local.block_on(&runtime, async {
        let world = World::new(plan.setup.clone(), tells);
        let mut played = {
            let (world, steps) = (world.clone(), plan.steps.clone());
            tokio::task::spawn_local(async move { play(&world, steps).await })
        };
        tokio::select! {
            biased;
            () = world.violated.notified() => {}
            panic = panics::one() => world.violate("nothing panics", || panic),
            _ = &mut played => {}
        }
        // The last task may have ended at the same moment as the schedule, or by a panic.
        if let Some(panic) = panics::take() {
            world.violate("nothing panics", || panic);
        }
        played.abort();
        Outcome {
            violation: world.violation.borrow().clone(),
            story: world
                .story
                .as_ref()
                .map(|story| story.borrow().clone())
                .unwrap_or_default(),
            calls: world.calls.get(),
            digest: world.digest.get(),
            switches: world.switches.get(),
            seconds: world.start.elapsed().as_secs(),
        }
    })
}

async fn play(world: &Rc<World>, steps: Vec<(u64, Step)>) {
    tokio::task::spawn_local(world.clone().carry());
    tokio::task::spawn_local(look(world.clone()));
    operator::run(world, 0, Command::Create).await;
    lock(&world.stores).spread();
    for node in NODES {
        world.start_daemon(node);
        world.start_api(node);
    }
    for node in NODES {
        tokio::task::spawn_local(ask(world.clone(), node));
    }
    for (at, step) in &steps {
        sleep_until(world.start + Duration::from_secs(*at)).await;
        world.perform(step);
    }
    sleep_until(world.start + Duration::from_secs(world.setup.length)).await;
    mend(world).await;
    all_is_well(world).await;
}

/// Checks the nodes often enough that no fault is missed.
async fn look(world: Rc<World>) {
    loop {
        sleep(Duration::from_secs(5)).await;
        world.look();
    }
}

/// Repeatedly calls Encrypt, and checks it against Status.
async fn ask(world: Rc<World>, node: usize) {
    let connection = Connection::default();
    loop {
        sleep(Duration::from_secs(87)).await;
        if let Ok(status) = connection.status(&world, node).await {
            connection
                .encrypt(&world, node, b"a payload", Some(&status.key_id))
                .await
                .ok();
        }
    }
}

/// Repairs every fault that can be repaired.
async fn mend(world: &Rc<World>) {
    world.tell(|| "everything is mended".into());
    for node in NODES {
        world.perform(&Step::Mood(node, Mood::Good));
        world.perform(&Step::SetClock(node, 0));
    }
    for replica in NODES {
        world.perform(&Step::Join(replica));
    }
    // Running commands end, and changes on their way arrive.
    sleep(Duration::from_secs(600)).await;
    for node in NODES {
        world.perform(&Step::BringBack(node));
        restore(world, node).await;
        let lost = world.nodes[node]
            .mark()
            .is_some_and(|mark| lock(&world.stores).replica(node).find(&mark.id).is_none());
        if lost {
            operator::run(world, node, Command::AcceptLoss).await;
        }
        let keeps_state = true;
        world.perform(&Step::Start { node, keeps_state });
    }
    sleep(Duration::from_secs(600)).await;
}

/// Every version that a node has reported, or that etcd needs, decrypts again.
async fn restore(world: &Rc<World>, node: usize) {
    let reported = world.nodes.iter().filter_map(|node| node.mark().map(|mark| mark.id));
    let needed: BTreeSet<KeyId> = reported.chain(world.needed()).collect();
    for id in needed {
        let retired = {
            let stores = lock(&world.stores);
            let held = stores.replica(node).find(&id);
            held.is_some_and(|held| !held.version.state.decrypts())
        };
        if retired {
            operator::restore(world, node, &id).await;
        }
    }
}

/// Every daemon is ok and works, and every API server, started again, reads and writes.
async fn all_is_well(world: &Rc<World>) {
    for node in NODES {
        world.start_api(node);
    }
    sleep(Duration::from_secs(30)).await;
    for node in NODES {
        let api = world.nodes[node].api.borrow().clone().unwrap();
        let gone: Vec<String> = world
            .needed()
            .iter()
            .filter(|id| world.is_gone(id))
            .map(|id| world.name_of(id))
            .collect();
        if !api.list().await && gone.is_empty() {
            world.violate("all is well at the end", || {
                format!("the API server of node {node} can't list")
            });
        }
        if !api.write(0) {
            world.violate("all is well at the end", || {
                format!("the API server of node {node} can't write")
            });
        }
        if let Some(excuse) = world.excuse(node) {
            world.violate("all is well at the end", || {
                format!("node {node} is not well: {excuse}")
            });
        }
        world.tell(|| format!("node {node} is well at the end; gone for ever: {gone:?}"));
    }
}
