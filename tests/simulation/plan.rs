//! A schedule: the setup of the world, and its events with their times.

use std::time::Duration;

use dekhand::envelope::policy::Policy;

use crate::operator::Command;
use crate::store::Flavour;
use crate::store::Mood;
use crate::store::Topology;

/// The setup of the world.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) topology: Topology,
    pub(crate) flavour: Flavour,
    pub(crate) policy: Policy,
    /// The shortest and the longest time, in seconds, that a change takes to reach another replica.
    pub(crate) lag: (u64, u64),
    /// The errors of the nodes' calendars, in seconds.
    pub(crate) skew: [i64; 3],
    /// The number of Secrets in etcd.
    pub(crate) objects: usize,
    /// Seconds between requests to an API server.
    pub(crate) pace: u64,
    /// Seconds between checks of an API server's `/readyz`.
    pub(crate) ready: u64,
    /// Seconds until every fault is repaired.
    pub(crate) length: u64,
}

/// An event.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The fault of a node's connection to its store changes.
    Mood(usize, Mood),
    /// A daemon is killed.
    Stop(usize),
    /// A stopped daemon is started, with its state directory or an empty one.
    Start { node: usize, keeps_state: bool },
    /// The machine restarts, with its daemon and API server. Its calendar starts in 1970 or keeps its error.
    Reboot { node: usize, in_1970: bool },
    /// A node's calendar is set, with this error in seconds.
    SetClock(usize, i64),
    /// An API server is killed and started again: it has lost its memory, and reads every value.
    RestartApi(usize),
    /// An API server loads its encryption configuration again.
    ReloadApi(usize),
    /// Every value is read from etcd by one API server.
    List(usize),
    /// Every value that is not under the newest key is written again by one API server.
    Migrate(usize),
    /// Changes no longer reach or leave a replica.
    Part(usize),
    /// Changes reach and leave the replica again.
    Join(usize),
    /// A backup of a node's store is made.
    BackUp(usize),
    /// A node's store is restored from the newest backup but this many.
    Restore(usize, usize),
    /// A node's store gets every version of all backups and other stores.
    BringBack(usize),
    /// An operator runs `dekhand keys` on a node.
    Keys(usize, Command),
}

/// A schedule.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) setup: Setup,
    /// The events in order, with their seconds since the start.
    pub(crate) steps: Vec<(u64, Step)>,
}

impl Setup {
    /// A world without events, with correct clocks and dekhand's defaults.
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

    /// The time within which a daemon without traffic notices a fault or a change of its store: a probe, one that came
    /// too early, and calls that hang.
    pub(crate) fn noticed(&self) -> Duration {
        2 * self.policy.probe_interval + Duration::from_secs(30)
    }

    /// The resolution of dates in its stores.
    pub(crate) fn step(&self) -> Duration {
        match self.flavour {
            Flavour::Keyring => Duration::from_secs(1),
            Flavour::Token => Duration::from_secs(60),
        }
    }
}
