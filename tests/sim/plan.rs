//! A schedule: what the world is like, and what happens in it when.

use std::time::Duration;

use dekhand::envelope::policy::Policy;

use crate::operator::Command;
use crate::store::Flavour;
use crate::store::Mood;
use crate::store::Topology;

/// What the world is like.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) topology: Topology,
    pub(crate) flavour: Flavour,
    pub(crate) policy: Policy,
    /// A change reaches another replica after so many seconds, at least and at most.
    pub(crate) lag: (u64, u64),
    /// Seconds by which the nodes' calendars are wrong.
    pub(crate) skew: [i64; 3],
    /// Secrets in etcd.
    pub(crate) objects: usize,
    /// Seconds between what an API server is asked to do.
    pub(crate) pace: u64,
    /// Seconds between looks at an API server's `/readyz`.
    pub(crate) ready: u64,
    /// Seconds until everything is mended.
    pub(crate) length: u64,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A node's way to its store changes.
    Mood(usize, Mood),
    /// A daemon is killed.
    Stop(usize),
    /// A daemon that does not run is started, with its state directory or an empty one.
    Start { node: usize, keeps_state: bool },
    /// The machine restarts, with its daemon and API server; its calendar is in 1970 or as it was.
    Reboot { node: usize, in_1970: bool },
    /// A node's calendar is set, so many seconds off.
    SetClock(usize, i64),
    /// An API server is killed and started again: it has lost its memory, and reads everything.
    RestartApi(usize),
    /// An API server loads its encryption configuration again.
    ReloadApi(usize),
    /// Every value is read from etcd by one API server.
    List(usize),
    /// Every value that is not under the newest key is written again by one API server.
    Migrate(usize),
    /// Changes reach and leave a replica no more.
    Part(usize),
    /// They do again.
    Join(usize),
    /// A node's store is copied.
    BackUp(usize),
    /// A node's store becomes what the newest backup of it holds but so many.
    Restore(usize, usize),
    /// A node's store gets everything that any backup or other store has.
    BringBack(usize),
    /// Somebody runs `dekhand keys` on a node.
    Keys(usize, Command),
}

/// A schedule.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) setup: Setup,
    /// Seconds since the start, and what happens then, in order.
    pub(crate) steps: Vec<(u64, Step)>,
}

impl Setup {
    /// A quiet world with true clocks and dekhand's defaults.
    pub(crate) fn quiet(topology: Topology, flavour: Flavour) -> Self {
        Self {
            seed: 0,
            topology,
            flavour,
            policy: Policy::default(),
            lag: (1, 5),
            skew: [0; 3],
            objects: 4,
            pace: 60,
            ready: 10,
            length: 3600,
        }
    }

    /// A daemon knows what ails its store, or has changed in it, after so long without traffic: a probe, one that came
    /// too early, and calls that hang.
    pub(crate) fn noticed(&self) -> Duration {
        2 * self.policy.probe_interval + Duration::from_secs(30)
    }

    /// The finest step of dates in its stores.
    pub(crate) fn step(&self) -> Duration {
        match self.flavour {
            Flavour::Keyring => Duration::from_secs(1),
            Flavour::Token => Duration::from_secs(60),
        }
    }
}
