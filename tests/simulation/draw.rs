//! Draws a schedule from a seed: rotations, and faults at the worst moments.

use std::num::NonZeroUsize;
use std::time::Duration;

use dekhand::envelope::policy::Policy;
use dekhand::envelope::policy::Reuse;

use crate::chance::Chance;
use crate::operator::Command;
use crate::plan::Plan;
use crate::plan::Setup;
use crate::plan::Step;
use crate::store::Flavour;
use crate::store::Mood;
use crate::store::Topology;

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

impl Plan {
    /// The schedule of a seed. A seed always gives the same schedule.
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut draw = Draw {
            chance: Chance::new(seed, 0),
            setup: Setup::quiet(Topology::Shared, Flavour::Keyring),
            steps: Vec::new(),
            moments: Vec::new(),
        };
        draw.setup.seed = seed;
        draw.world();
        draw.rotations();
        if draw.lasts_days() {
            let (at, node) = (draw.chance.within(HOUR, 10 * HOUR), draw.node());
            draw.long_outage(at, node);
        }
        for _ in 0..draw.chance.within(2, 9) {
            draw.trouble();
        }
        let mut steps = draw.steps;
        steps.retain(|(at, _)| *at < draw.setup.length);
        steps.sort_by_key(|(at, _)| *at);
        let setup = draw.setup;
        Self { setup, steps }
    }
}

struct Draw {
    chance: Chance,
    setup: Setup,
    steps: Vec<(u64, Step)>,
    /// The moments of changes. Faults are drawn near them.
    moments: Vec<u64>,
}

impl Draw {
    fn world(&mut self) {
        let chance = &mut self.chance;
        let setup = &mut self.setup;
        setup.topology = chance.pick(&[Topology::Shared, Topology::PerNode, Topology::Late]);
        setup.flavour = chance.pick(&[Flavour::Keyring, Flavour::Token]);
        setup.policy = policy(chance);
        setup.lag = chance.pick(&[(0, 2), (1, 30), (10, 300)]);
        setup.objects = chance.index(5) + 2;
        setup.pace = chance.pick(&[20, 60, 200]);
        setup.ready = chance.pick(&[10, 300, 300, 300]);
        setup.length = chance.within(HOUR, 3 * HOUR);
        if chance.percent(2) {
            // Several days with few events, so that limits of 24 h are reached.
            setup.length = chance.within(30 * HOUR, 50 * HOUR);
            (setup.pace, setup.ready) = (900, 3600);
        }
        if chance.percent(40) {
            setup.skew = [0; 3].map(|_: i64| {
                let skews = [0, 0, 3, -3, 40, -40, 400, -400, 4000, -4000];
                chance.pick(&skews)
            });
        }
    }

    fn at(&mut self, at: u64, step: Step) {
        self.steps.push((at, step));
    }

    fn node(&mut self) -> usize {
        self.chance.index(3)
    }

    /// The node on which commands run. If every node has a store of its own, mostly the first one, and sometimes
    /// another one by a second operator.
    fn desk(&mut self) -> usize {
        let at_the_first = self.setup.topology == Topology::PerNode && self.chance.percent(85);
        if at_the_first { 0 } else { self.node() }
    }

    fn lasts_days(&self) -> bool {
        self.setup.length > 24 * HOUR
    }

    /// One rotation after another, with its follow-up commands.
    fn rotations(&mut self) {
        let mut at = self.chance.within(5 * MINUTE, 30 * MINUTE);
        while at < self.setup.length {
            let lead = self.chance.pick(&[5 * MINUTE, 10 * MINUTE, 10 * MINUTE, 30 * MINUTE]);
            let desk = self.desk();
            self.at(at, Step::Keys(desk, Command::Rotate(lead)));
            if self.chance.percent(25) {
                // Two operators who work independently.
                let (other, later) = (self.desk(), self.chance.within(0, 20));
                self.at(at + later, Step::Keys(other, Command::Rotate(lead)));
            }
            if self.chance.percent(20) {
                let (desk, later) = (self.desk(), self.chance.within(1, lead));
                let command = self.chance.pick(&[Command::Activate(lead), Command::PutAside]);
                self.at(at + later, Step::Keys(desk, command));
            }
            let active = at + lead;
            self.moments.extend([at, active, active]);
            if self.chance.percent(5) {
                // A node that cannot make a data key of the new version before its date.
                let node = self.node();
                self.at(at.saturating_sub(5), Step::Mood(node, Mood::NoWraps));
                self.at(active + 5 * MINUTE, Step::Mood(node, Mood::Good));
            }
            if self.chance.percent(70) {
                let (node, later) = (self.node(), self.chance.within(4 * MINUTE, 20 * MINUTE));
                self.at(active + later, Step::Migrate(node));
            }
            self.end_of_versions(active);
            let (least, most) = if self.lasts_days() {
                (5 * HOUR, 30 * HOUR)
            } else {
                (10 * MINUTE, 2 * HOUR)
            };
            at = active + self.chance.within(least, most);
        }
    }

    fn end_of_versions(&mut self, active: u64) {
        if !self.chance.percent(60) {
            return;
        }
        let retired = active + self.chance.within(50 * MINUTE, 90 * MINUTE);
        let (desk, careless) = (self.desk(), self.chance.percent(15));
        self.at(retired, Step::Keys(desk, Command::Retire(careless)));
        self.moments.push(retired);
        if self.chance.percent(40) {
            let (desk, later) = (self.desk(), self.chance.within(MINUTE, 40 * MINUTE));
            self.at(retired + later, Step::Keys(desk, Command::Restore));
        }
        if self.chance.percent(40) {
            let (desk, later) = (self.desk(), self.chance.within(5 * MINUTE, HOUR));
            let retention = self.chance.pick(&[0, 10 * MINUTE, HOUR]);
            self.at(retired + later, Step::Keys(desk, Command::Destroy(retention)));
        }
    }

    /// A moment at which a fault may begin.
    fn moment(&mut self) -> u64 {
        if self.moments.is_empty() || self.chance.percent(40) {
            return self.chance.within(MINUTE, self.setup.length);
        }
        let around = self.chance.pick(&self.moments);
        let spread = self.chance.pick(&[5, 90, 600]);
        (around + self.chance.within(0, 2 * spread)).saturating_sub(spread)
    }

    fn lasts(&mut self) -> u64 {
        let most = self.chance.pick(&[5, 30, 3 * MINUTE, 15 * MINUTE, 90 * MINUTE]);
        self.chance.within(1, most)
    }

    fn trouble(&mut self) {
        let (at, end) = (self.moment(), self.lasts());
        let end = at + end;
        let node = self.node();
        match self.chance.within(0, 99) {
            0..25 => self.outage(at, end, node),
            25..30 => self.long_outage(at, node),
            30..42 => {
                let mood = self.chance.pick(&[Mood::NoWraps, Mood::NoUse, Mood::Lies]);
                self.at(at, Step::Mood(node, mood));
                self.at(end, Step::Mood(node, Mood::Good));
            }
            42..55 => {
                let keeps_state = self.chance.percent(85);
                self.at(at, Step::Stop(node));
                self.at(end, Step::Start { node, keeps_state });
            }
            55..65 => {
                let in_1970 = self.chance.percent(50);
                self.at(at, Step::Reboot { node, in_1970 });
                let skew = self.setup.skew[node];
                self.at(end, Step::SetClock(node, skew));
            }
            65..72 => {
                let skew = self.chance.pick(&[0, 30, -30, 600, -600, 7200, -7200]);
                self.at(at, Step::SetClock(node, skew));
                self.at(end, Step::SetClock(node, 0));
            }
            72..80 => {
                let step = self
                    .chance
                    .pick(&[Step::RestartApi(node), Step::ReloadApi(node), Step::List(node)]);
                self.at(at, step);
            }
            80..88 if self.setup.topology == Topology::Late => {
                self.at(at, Step::Part(node));
                self.at(end, Step::Join(node));
            }
            _ => self.backup(at, end, node),
        }
    }

    fn outage(&mut self, at: u64, end: u64, node: usize) {
        let mood = self.chance.pick(&[Mood::Away, Mood::Hangs]);
        let all = self.setup.topology == Topology::Shared && self.chance.percent(60);
        for node in 0..3 {
            if all || self.chance.percent(10) {
                self.at(at, Step::Mood(node, mood));
                self.at(end, Step::Mood(node, Mood::Good));
            }
        }
        self.at(at, Step::Mood(node, mood));
        self.at(end, Step::Mood(node, Mood::Good));
        if self.chance.percent(50) {
            let api = Step::RestartApi(node);
            let step = self
                .chance
                .pick(&[api.clone(), api, Step::ReloadApi(node), Step::Stop(node)]);
            let during = self.chance.within(at, end);
            self.at(during, step);
            let keeps_state = true;
            self.at(end + 5, Step::Start { node, keeps_state });
        }
    }

    /// A node that must serve from memory while API servers restart and read every value.
    fn long_outage(&mut self, at: u64, node: usize) {
        let mood = self.chance.pick(&[Mood::Away, Mood::Hangs]);
        let lasts = if self.lasts_days() {
            self.chance.within(20 * HOUR, 30 * HOUR)
        } else {
            self.chance.within(20 * MINUTE, 100 * MINUTE)
        };
        self.at(at.saturating_sub(2 * MINUTE), Step::RestartApi(node));
        self.at(at, Step::Mood(node, mood));
        self.at(at + lasts / 2, Step::ReloadApi(node));
        self.at(at + lasts / 2 + 30, Step::List(node));
        self.at(at + lasts, Step::Mood(node, Mood::Good));
    }

    /// A backup, its restore after a change, and the operators' reaction.
    fn backup(&mut self, at: u64, end: u64, node: usize) {
        self.at(at, Step::BackUp(node));
        let restored = at + self.chance.within(MINUTE, HOUR);
        let but = self.chance.pick(&[0, 0, 1, 2]);
        self.at(restored, Step::Restore(node, but));
        let mended = restored + (end - at);
        if self.chance.percent(70) {
            self.at(mended, Step::BringBack(node));
        } else {
            let every = self.setup.topology == Topology::Shared;
            for other in 0..3 {
                if every || other == node {
                    self.at(mended, Step::Keys(other, Command::AcceptLoss));
                }
            }
        }
        if self.chance.percent(30) {
            let during = self.chance.within(restored, mended);
            let in_1970 = self.chance.percent(30);
            self.at(during, Step::Reboot { node, in_1970 });
            self.at(mended + 5, Step::SetClock(node, 0));
        }
    }
}

/// Mostly dekhand's defaults, sometimes other settings that operators may choose.
fn policy(chance: &mut Chance) -> Policy {
    let mut policy = Policy::default();
    if chance.percent(50) {
        return policy;
    }
    let seconds = Duration::from_secs;
    policy.max_age = chance.pick(&[policy.max_age, seconds(HOUR), seconds(20 * MINUTE)]);
    policy.max_uses = chance.pick(&[policy.max_uses, policy.max_uses, 3, 1]);
    policy.cache_ttl = chance.pick(&[policy.cache_ttl, seconds(HOUR), seconds(10 * MINUTE), Duration::ZERO]);
    policy.cache_capacity = chance.pick(&[policy.cache_capacity, NonZeroUsize::new(2).unwrap()]);
    policy.tolerate = chance.pick(&[policy.tolerate, seconds(HOUR), seconds(10 * MINUTE)]);
    policy.probe_interval = chance.pick(&[seconds(MINUTE), seconds(10)]);
    if chance.percent(15) {
        policy.reuse = Reuse::Never;
    }
    policy
}
