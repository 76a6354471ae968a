//! The judge's knowledge of a node, and what excuses a failed call.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::time::Duration;

use dekhand::root_key::id::KeyId;
use tokio::time::Instant;

use crate::daemon::DataKey;
use crate::store::Mood;
use crate::store::lock;
use crate::world::NODES;
use crate::world::World;

/// A daemon is well this long after its start.
pub(crate) const STARTING: Duration = Duration::from_secs(15);
/// A daemon is well again this long after the end of a fault: the longest pause of its reconciler, and calls that hung
/// until then.
const RECOVERING: Duration = Duration::from_secs(60);
/// A read that was refused because the store was unavailable makes Status fail for a minute; the call itself may end 10
/// s after its caller.
pub(crate) const REFUSED_READ: Duration = Duration::from_secs(75);
/// Unknown ids and bad wrapped keys are remembered for this long.
const UNKNOWN: Duration = Duration::from_secs(15);

fn is_recovering(good_since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(good_since) < RECOVERING
}

/// How long reads may fail after the end of this fault.
fn reads_fail_for(mood: Mood) -> Duration {
    match mood {
        // Every unwrap is permitted.
        Mood::Good | Mood::NoWraps => Duration::ZERO,
        // Waiting calls are tried again, and a key that was not found is proven missing.
        Mood::Away | Mood::Hangs | Mood::NoUse => Duration::from_secs(25),
        // A wrapped key that was proven bad is remembered for a minute.
        Mood::Lies => Duration::from_secs(75),
    }
}

/// Why a node may be unable to encrypt although its store can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// The reported version is missing from its store, or retired.
    Lacks,
    /// By its clock, no version has ever been active.
    NoneActive,
    /// The store refuses, or returns wrong keys.
    Refused,
}

/// The last uninterrupted period in which a cause held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spell {
    pub(crate) since: Instant,
    /// When it was last seen to hold.
    pub(crate) until: Instant,
    pub(crate) over: bool,
}

/// The judge's memory of a node.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) up_since: Option<Instant>,
    /// Since when its store has been unreachable, or reachable.
    pub(crate) bad_since: Option<Instant>,
    pub(crate) good_since: Instant,
    pub(crate) mood: Mood,
    pub(crate) mood_since: Instant,
    /// The start of an outage that the node must survive: it was running and well when the store became unavailable.
    pub(crate) endures_since: Option<Instant>,
    /// When Status of this process was last ok.
    pub(crate) last_ok: Option<Instant>,
    /// When an Encrypt last failed.
    pub(crate) refused_wrap: Option<Instant>,
    /// Until when reads may fail because of a fault of its store.
    pub(crate) reads_excused: Instant,
    /// When a read was last refused because the store was unavailable, or abandoned by a killed caller.
    pub(crate) refused_read: Option<Instant>,
    pub(crate) causes: BTreeMap<Cause, Spell>,
    /// Every `key_id` that it has reported, in order.
    pub(crate) key_ids: Vec<KeyId>,
    /// The version that its state directory names.
    pub(crate) mark: Option<KeyId>,
    /// Whether the node may go back to an older version.
    pub(crate) forgiven: bool,
    /// When its calendar was last set.
    pub(crate) clock_set: Instant,
    /// Versions that its store has ever held, each with whether a date that an operator chose for it has passed by the
    /// node's calendar.
    pub(crate) due: HashMap<KeyId, bool>,
    /// Data keys that this process has unwrapped, and when.
    unwrapped: HashMap<DataKey, Instant>,
    /// Data keys under which this process has sealed.
    sealed: HashSet<DataKey>,
}

impl Record {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            up_since: None,
            bad_since: None,
            good_since: now,
            mood: Mood::Good,
            mood_since: now,
            endures_since: None,
            last_ok: None,
            refused_wrap: None,
            reads_excused: now,
            refused_read: None,
            causes: BTreeMap::new(),
            key_ids: Vec::new(),
            mark: None,
            forgiven: false,
            clock_set: now,
            due: HashMap::new(),
            unwrapped: HashMap::new(),
            sealed: HashSet::new(),
        }
    }

    pub(crate) fn daemon_started(&mut self) {
        self.up_since = Some(Instant::now());
        (self.endures_since, self.last_ok) = (None, None);
        self.refused_read = None;
        self.unwrapped.clear();
        self.sealed.clear();
    }

    /// An operator's command, or a lost state directory, permits the node to go back once, when it notices.
    pub(crate) fn forgive(&mut self) {
        self.forgiven = true;
    }

    pub(crate) fn clock_set(&mut self) {
        self.clock_set = Instant::now();
    }

    pub(crate) fn mood(&mut self, mood: Mood, well: bool, now: Instant) {
        if mood != self.mood {
            self.reads_excused = self.reads_excused.max(now + reads_fail_for(self.mood));
            (self.mood, self.mood_since) = (mood, now);
        }
        match (mood.is_outage(), self.bad_since) {
            (true, None) => {
                self.bad_since = Some(now);
                self.endures_since = if well {
                    Some(now)
                } else {
                    // Status counts here: the node may not have noticed that an earlier outage had ended.
                    self.is_ok_after_all()
                        .then(|| self.endures_since.filter(|_| is_recovering(self.good_since, now)))
                        .map(|earlier| earlier.unwrap_or(now))
                };
            }
            (false, Some(_)) => (self.bad_since, self.good_since) = (None, now),
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Whether Status has been ok since the end of every fault that could stop it.
    fn is_ok_after_all(&self) -> bool {
        let causes_over = |ok: Instant| self.causes.values().all(|spell| spell.until < ok);
        self.last_ok.is_some_and(|ok| ok > self.good_since && causes_over(ok))
    }

    /// The lowest version that it may use: the one that it has reported, or has recorded to report it next. A defect
    /// that loses the record must not excuse the consequences.
    fn floor<'a>(&'a self, mark: Option<&'a KeyId>) -> Option<&'a KeyId> {
        let reported = self.key_ids.last().filter(|_| !self.forgiven);
        let next = mark.filter(|mark| reported.is_none() || !self.key_ids.contains(mark));
        next.or(reported)
    }

    pub(crate) fn sealed_here(&mut self, data_key: DataKey) {
        self.sealed.insert(data_key);
    }

    /// A value was opened while the store unwraps. The data key may have been unwrapped for another value: the TTL
    /// counts from that unwrap.
    pub(crate) fn opened(&mut self, data_key: DataKey, ttl: Duration, now: Instant) {
        if self.sealed.contains(&data_key) {
            return;
        }
        let unwrapped = self.unwrapped.entry(data_key).or_insert(now);
        // The TTL stays suspended until the node has noticed the end of the outage.
        if now.saturating_duration_since(*unwrapped) >= ttl && !is_recovering(self.good_since, now) {
            *unwrapped = now;
        }
    }

    fn note(&mut self, cause: Cause, holds: bool, now: Instant) {
        match (holds, self.causes.get_mut(&cause)) {
            (false, None) => {}
            (false, Some(spell)) => spell.over = true,
            (true, Some(spell)) if !spell.over => spell.until = now,
            (true, _) => {
                let (since, until) = (now, now);
                let over = false;
                self.causes.insert(cause, Spell { since, until, over });
            }
        }
    }
}

impl World {
    /// Checks every node for faults: before and after each change, and every few seconds.
    pub(crate) fn look(&self) {
        for node in NODES {
            self.look_at(node);
        }
    }

    /// Checks one node for faults, before a call to it is judged.
    pub(crate) fn look_at(&self, node: usize) {
        let mark = self.nodes[node].mark().map(|mark| mark.id);
        let mut record = self.nodes[node].record.borrow_mut();
        let now = Instant::now();
        for (cause, holds) in self.causes(node, record.floor(mark.as_ref())) {
            record.note(cause, holds, now);
        }
        self.note_dates(node, &mut record);
        drop(record);
        self.judge_mark(node, mark);
    }

    /// A calendar that was ahead for a while excuses the switch to versions of that time, and to no later ones.
    fn note_dates(&self, node: usize, record: &mut Record) {
        let soon = self.nodes[node].clock.borrow().now().unix() + 1;
        let stores = lock(&self.stores);
        for held in &stores.replica(node).held {
            record.due.entry(held.version.id.clone()).or_default();
        }
        for (id, due) in &mut record.due {
            let wanted = stores.known(id).into_iter().flat_map(|known| &known.wanted);
            *due |= wanted.into_iter().any(|wanted| wanted.unix() <= soon);
        }
    }

    fn causes(&self, node: usize, floor: Option<&KeyId>) -> [(Cause, bool); 3] {
        let now = self.nodes[node].clock.borrow().now();
        let stores = lock(&self.stores);
        let replica = stores.replica(node);
        let lacks = floor.is_some_and(|floor| {
            let held = replica.find(floor);
            held.is_none_or(|held| !held.version.state.decrypts())
        });
        let active = replica.held.iter().any(|held| held.version.state.is_active(now));
        let refused = matches!(stores.moods[node], Mood::NoWraps | Mood::NoUse | Mood::Lies);
        [
            (Cause::Lacks, lacks),
            (Cause::NoneActive, floor.is_none() && !active),
            (Cause::Refused, refused),
        ]
    }

    /// Why this node's Status and Encrypt may fail now; `None` if they must not.
    pub(crate) fn excuse(&self, node: usize) -> Option<&'static str> {
        let record = self.nodes[node].record.borrow();
        let now = Instant::now();
        let within = |since: Instant, limit: Duration| now.saturating_duration_since(since) < limit;
        if self.nodes[node].daemon.borrow().is_none() || record.up_since.is_none_or(|up| within(up, STARTING)) {
            return Some("it does not run, or has just begun to");
        }
        let held = |cause: Cause| {
            let known = record.causes.get(&cause);
            known.is_some_and(|spell| within(spell.until, RECOVERING))
        };
        if held(Cause::Lacks) {
            return Some("its store lacks what it has reported");
        }
        if held(Cause::NoneActive) {
            return Some("no version is active by its clock");
        }
        if held(Cause::Refused) {
            return Some("its store refuses");
        }
        if record.bad_since.is_none() {
            return within(record.good_since, RECOVERING)
                .then_some("its store has just come back")
                .filter(|_| record.good_since > self.start);
        }
        let policy = &self.setup.policy;
        let Some(endures) = record.endures_since else {
            return Some("it was not well when its store went away");
        };
        if !policy.has_reserve() {
            Some("its store is away, and it keeps no keys")
        } else if !within(endures, policy.tolerate.saturating_sub(self.setup.noticed())) {
            Some("its store has been away for too long")
        } else if record.refused_read.is_some_and(|refused| within(refused, REFUSED_READ)) {
            Some("it has just refused a read for want of its store")
        } else {
            None
        }
    }

    /// Why a node may be unable to open a value under this version; `None` if it must.
    pub(crate) fn excuse_read(&self, node: usize, data_key: &DataKey, id: &KeyId) -> Option<&'static str> {
        let record = self.nodes[node].record.borrow();
        let now = Instant::now();
        let within = |since: Instant, limit: Duration| now.saturating_duration_since(since) < limit;
        if record.up_since.is_none_or(|up| within(up, STARTING)) {
            return Some("it has just begun to run");
        }
        let known = {
            let stores = lock(&self.stores);
            stores
                .replica(node)
                .find(id)
                .and_then(|held| Some((held.since?, held.fresh)))
        };
        let Some((since, fresh)) = known else {
            return Some("its store lacks the version, or has retired it");
        };
        if within(since, if fresh { UNKNOWN } else { RECOVERING + UNKNOWN }) {
            return Some("its store got the version a moment ago");
        }
        // An outage suspends the TTL; a refusal does not.
        if self.must_be_cached(&record, data_key, record.bad_since.unwrap_or(now), since) {
            return None;
        }
        match record.bad_since {
            _ if matches!(record.mood, Mood::NoUse | Mood::Lies) => Some("its store refuses"),
            None if now < record.reads_excused => Some("its store has just come back"),
            None => None,
            Some(_) => Some("its store is away"),
        }
    }

    /// A data key that was younger than the TTL when an outage began opens values throughout the outage. During a
    /// refusal it opens values until it is as old as the TTL.
    fn must_be_cached(&self, record: &Record, data_key: &DataKey, bad: Instant, since: Instant) -> bool {
        let policy = &self.setup.policy;
        let roomy = policy.cache_capacity.get() >= 1000 && policy.has_reserve();
        let unwrapped = record.unwrapped.get(data_key);
        roomy
            && unwrapped.is_some_and(|unwrapped| {
                let age = bad.saturating_duration_since(*unwrapped);
                *unwrapped < bad && since < *unwrapped && age + self.setup.noticed() < policy.cache_ttl
            })
    }
}
