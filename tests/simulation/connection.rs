//! An API server's connection to its daemon, and the outcome of every call over it.

use std::cell::RefCell;
use std::time::Duration;

use dekhand::proto::v2::StatusResponse;
use tokio::time::Instant;
use tokio::time::sleep;
use tonic::Code;

use crate::daemon::Door;
use crate::daemon::Failure;
use crate::daemon::Sealed;
use crate::daemon::TIMEOUT;
use crate::world::World;

/// A call that finds no daemon looks again at this interval.
const LOOK: Duration = Duration::from_millis(250);
/// grpc-go dials again after this wait. It can grow to two minutes, unless the socket outlives the daemon. Here it
/// stays short: the simulation is about the daemon.
const DIAL: Duration = Duration::from_secs(5);

/// Status is never slower than this.
const SOON: Duration = Duration::from_secs(1);

/// A connection that is dialled again when it breaks.
#[derive(Default)]
pub(crate) struct Connection {
    broken: RefCell<Option<Instant>>,
    /// When a call last found no daemon, or lost it.
    last_broken: RefCell<Option<Instant>>,
}

/// A waiting read. It is abandoned when its API server is killed.
struct Waiting<'a> {
    world: &'a World,
    node: usize,
    /// The start of the daemon that serves it.
    daemon: Instant,
    since: Instant,
    ended: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let daemon = self.world.nodes[self.node].daemon.borrow();
        if !self.ended && daemon.as_ref().is_some_and(|daemon| daemon.since == self.daemon) {
            self.world.judge_given_up(self.node, self.since);
        }
    }
}

/// Calls Status. It is served from memory, so faults of the store do not slow it.
async fn asked(door: &mut Door, world: &World, node: usize) -> Result<StatusResponse, Failure> {
    let begun = Instant::now();
    let answer = door.status().await;
    if begun.elapsed() > SOON {
        world.violate("Status answers within 1 s", || {
            format!("Status of node {node} took {:?}", begun.elapsed())
        });
    }
    answer
}

impl Connection {
    /// Whether calls may have failed because the daemon was not running.
    pub(crate) fn was_broken_lately(&self) -> bool {
        self.last_broken
            .borrow()
            .is_some_and(|when| when.elapsed() < Duration::from_secs(90))
    }

    /// The daemon's services and the time of its start. The wait for them counts against the call's timeout.
    async fn door(&self, world: &World, node: usize) -> Result<(Door, Instant), Failure> {
        let until = Instant::now() + TIMEOUT;
        loop {
            let dials = self.broken.borrow().is_none_or(|since| since.elapsed() >= DIAL);
            if let Some(daemon) = world.nodes[node].daemon.borrow().as_ref().filter(|_| dials) {
                *self.broken.borrow_mut() = None;
                return Ok((daemon.door(until), daemon.since));
            }
            self.broke();
            if Instant::now() >= until {
                return Err(Failure::new(Code::DeadlineExceeded, "no connection"));
            }
            sleep(LOOK).await;
        }
    }

    fn broke(&self) {
        let now = Instant::now();
        self.broken.borrow_mut().get_or_insert(now);
        *self.last_broken.borrow_mut() = Some(now);
    }

    /// A result counts only if the same daemon still runs.
    fn answered<T>(
        &self,
        world: &World,
        node: usize,
        since: Instant,
        answer: Result<T, Failure>,
    ) -> Result<Result<T, Failure>, Failure> {
        world.count(node, answer.as_ref().map_or_else(|failure| failure.code, |_| Code::Ok));
        let daemon = world.nodes[node].daemon.borrow();
        if daemon.as_ref().is_some_and(|daemon| daemon.since == since) {
            return Ok(answer);
        }
        self.broke();
        Err(Failure::new(Code::Unavailable, "the connection was closed"))
    }

    pub(crate) async fn status(&self, world: &World, node: usize) -> Result<StatusResponse, Failure> {
        let (mut door, since) = self.door(world, node).await?;
        let answer = asked(&mut door, world, node).await;
        let answer = self.answered(world, node, since, answer)?;
        world.judge_status(node, &answer);
        answer
    }

    /// `promised` is the `key_id` that Status has just reported.
    pub(crate) async fn encrypt(
        &self,
        world: &World,
        node: usize,
        payload: &[u8],
        promised: Option<&str>,
    ) -> Result<Sealed, Failure> {
        let (mut door, since) = self.door(world, node).await?;
        let answer = door.encrypt(payload).await;
        let answer = self.answered(world, node, since, answer)?;
        let after = asked(&mut door.again(), world, node).await;
        world.judge_encrypt(node, promised, &answer, &after);
        if let Err(failure) = &answer {
            world.judge_reserve(node, failure, &after);
        }
        answer
    }

    pub(crate) async fn decrypt(&self, world: &World, node: usize, dek: usize) -> Result<(), Failure> {
        let (mut door, since) = self.door(world, node).await?;
        let (sealed, seed) = {
            let etcd = world.etcd.borrow();
            (etcd.deks[dek].sealed.clone(), etcd.deks[dek].seed)
        };
        let mut waiting = Waiting {
            world,
            node,
            daemon: since,
            since: Instant::now(),
            ended: false,
        };
        let answer = door.decrypt(&sealed).await;
        waiting.ended = true;
        let answer = self.answered(world, node, since, answer)?;
        world.judge_decrypt(node, dek, &answer);
        if let Err(failure) = &answer {
            let after = asked(&mut door.again(), world, node).await;
            world.judge_reserve(node, failure, &after);
        }
        match answer {
            Ok(payload) if payload == seed => Ok(()),
            Ok(_) => Err(Failure::new(Code::Internal, "another seed came back")),
            Err(failure) => Err(failure),
        }
    }
}
