//! What each call's outcome must be: the invariants, and what excuses a failure.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::time::Duration;

use dekhand::clock::Timestamp;
use dekhand::proto::v2::StatusResponse;
use dekhand::root_key::id::KeyId;
use tokio::time::Instant;
use tonic::Code;

use crate::daemon::Failure;
use crate::daemon::Sealed;
use crate::store::Mood;
use crate::store::lock;
use crate::world::NODES;
use crate::world::World;

/// A daemon is well so long after its start.
const STARTING: Duration = Duration::from_secs(15);
/// It is well again so long after what ailed it ended: the longest pause of its keeper, and calls that hung till then.
const RECOVERING: Duration = Duration::from_secs(60);
/// It knows what ails its store, or has changed in it, after so long without traffic: a probe, and calls that hang.
const NOTICED: Duration = Duration::from_secs(150);
/// A read that was refused for want of the store shows in Status for a minute; the call itself may end 10 s later.
const REFUSED_READ: Duration = Duration::from_secs(75);
/// What was unknown or proven bad is remembered for so long.
const UNKNOWN: Duration = Duration::from_secs(15);

/// Why a node may be unable to encrypt although its store can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// Its store lacks, or has retired, what it has reported.
    Lacks,
    /// By its clock, no version has ever been active.
    NoneActive,
    /// The store refuses, or lies.
    Refused,
}

/// What the judge remembers of a node.
#[derive(Debug)]
pub(crate) struct Record {
    up_since: Option<Instant>,
    /// Since when its store can't be reached, or can be.
    bad_since: Option<Instant>,
    good_since: Instant,
    mood: Mood,
    mood_since: Instant,
    /// Whether it was well, and ran, when its store went away.
    well_when_bad: bool,
    refused_read: Option<Instant>,
    /// Since when a cause holds or held, and until when.
    causes: BTreeMap<Cause, (Instant, Instant)>,
    /// Every `key_id` that it has reported, in order.
    key_ids: Vec<KeyId>,
    /// When its calendar was set last.
    clock_set: Instant,
    /// The latest that its calendar ever said.
    latest: Timestamp,
    /// Seeds that this process has unwrapped, and when.
    unwrapped: HashMap<usize, Instant>,
    /// Seeds that this process has sealed.
    sealed: HashSet<usize>,
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
            well_when_bad: false,
            refused_read: None,
            causes: BTreeMap::new(),
            key_ids: Vec::new(),
            clock_set: now,
            latest: Timestamp::from_unix(0),
            unwrapped: HashMap::new(),
            sealed: HashSet::new(),
        }
    }

    pub(crate) fn daemon_started(&mut self) {
        self.up_since = Some(Instant::now());
        self.well_when_bad = false;
        self.refused_read = None;
        self.unwrapped.clear();
        self.sealed.clear();
    }

    /// An operator's word, or a lost state directory, lets it report what it will.
    pub(crate) fn forgive(&mut self) {
        self.key_ids.clear();
        self.latest = Timestamp::from_unix(0);
    }

    pub(crate) fn clock_set(&mut self) {
        self.clock_set = Instant::now();
    }

    pub(crate) fn mood(&mut self, mood: Mood, well: bool, now: Instant) {
        if mood != self.mood {
            (self.mood, self.mood_since) = (mood, now);
        }
        match (mood.is_outage(), self.bad_since) {
            (true, None) => {
                self.bad_since = Some(now);
                self.well_when_bad = well;
            }
            (false, Some(_)) => (self.bad_since, self.good_since) = (None, now),
            (true, Some(_)) | (false, None) => {}
        }
    }

    pub(crate) fn sealed_here(&mut self, dek: usize) {
        self.sealed.insert(dek);
    }

    fn note(&mut self, cause: Cause, holds: bool, now: Instant) {
        if !holds {
            return;
        }
        let (since, until) = self.causes.entry(cause).or_insert((now, now));
        // Between two looks nothing changes; the clock alone is looked at every few seconds.
        if now.saturating_duration_since(*until) > Duration::from_secs(6) {
            *since = now;
        }
        *until = now;
    }
}

impl World {
    /// Looks at what may ail every node: before and after each change, and every few seconds.
    pub(crate) fn look(&self) {
        for node in NODES {
            let causes = self.causes(node);
            let mut record = self.nodes[node].record.borrow_mut();
            let now = Instant::now();
            for (cause, holds) in causes {
                record.note(cause, holds, now);
            }
            let calendar = self.nodes[node].clock.borrow().now();
            record.latest = record.latest.max(calendar);
        }
    }

    fn causes(&self, node: usize) -> [(Cause, bool); 3] {
        let mark = self.nodes[node].mark();
        let now = self.nodes[node].clock.borrow().now();
        let stores = lock(&self.stores);
        let replica = stores.replica(node);
        let lacks = mark.as_ref().is_some_and(|mark| {
            let held = replica.find(&mark.id);
            held.is_none_or(|held| !held.version.state.decrypts())
        });
        let active = replica.held.iter().any(|held| held.version.state.is_active(now));
        let refused = matches!(stores.moods[node], Mood::NoWraps | Mood::NoUse | Mood::Lies);
        [
            (Cause::Lacks, lacks),
            (Cause::NoneActive, mark.is_none() && !active),
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
            known.is_some_and(|(_, until)| within(*until, RECOVERING))
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
        let Some(bad) = record.bad_since else {
            return within(record.good_since, RECOVERING)
                .then_some("its store has just come back")
                .filter(|_| record.good_since > self.start);
        };
        let policy = &self.setup.policy;
        if !record.well_when_bad {
            Some("it was not well when its store went away")
        } else if !policy.has_reserve() {
            Some("its store is away, and it keeps no keys")
        } else if !within(bad, policy.tolerate.saturating_sub(NOTICED)) {
            Some("its store has been away for too long")
        } else if record.refused_read.is_some_and(|refused| within(refused, REFUSED_READ)) {
            Some("it has just refused a read for want of its store")
        } else {
            None
        }
    }

    /// Judges what Status said.
    pub(crate) fn judge_status(&self, node: usize, answer: &Result<StatusResponse, Failure>) {
        self.look();
        match answer {
            Err(failure) => {
                self.tell(|| format!("status {node}: {failure}"));
                if self.excuse(node).is_none() {
                    self.violate("writes stop only when the design says so", || {
                        format!("Status of node {node} fails without a reason: {failure}")
                    });
                }
            }
            Ok(status) => match status.key_id.parse::<KeyId>() {
                Ok(id) if lock(&self.stores).known(&id).is_some() => {
                    self.judge_key_id(node, &id);
                    self.judge_ok(node, &id);
                    self.judge_date(node, &id);
                }
                _ => self.violate("no rotation that nobody asked for", || {
                    format!("node {node} reports {}, which names no version", status.key_id)
                }),
            },
        }
    }

    /// A `key_id` never goes back, and never forth unasked.
    fn judge_key_id(&self, node: usize, id: &KeyId) {
        let mut record = self.nodes[node].record.borrow_mut();
        if record.key_ids.last() == Some(id) {
            return;
        }
        let (number, wanted) = {
            let stores = lock(&self.stores);
            let known = stores.known(id).unwrap();
            (known.number, known.wanted.iter().min().copied())
        };
        let last = record.key_ids.last().cloned();
        self.tell(|| format!("node {node} reports {}", self.name_of(id)));
        self.switches.set(self.switches.get() + 1);
        let lower = last.as_ref().is_some_and(|last| lock(&self.stores).known(last).unwrap().number > number);
        if record.key_ids.contains(id) || lower {
            let last = last.map(|last| self.name_of(&last)).unwrap_or_default();
            self.violate("the key_id that one API server sees never goes back", || {
                format!("node {node} reports {} after {last}", self.name_of(id))
            });
        }
        let asked = wanted.is_some_and(|wanted| wanted.unix() <= record.latest.unix() + 1);
        if !asked && !record.key_ids.is_empty() {
            self.violate("no rotation that nobody asked for", || {
                format!("node {node} reports {}, wanted from {wanted:?}", self.name_of(id))
            });
        }
        record.key_ids.push(id.clone());
    }

    /// A node that can't do what Status says must not say it, once it can know.
    fn judge_ok(&self, node: usize, id: &KeyId) {
        let record = self.nodes[node].record.borrow();
        let now = Instant::now();
        let for_long = |since: Instant, limit: Duration| now.saturating_duration_since(since) > limit;
        if record.up_since.is_none_or(|up| !for_long(up, NOTICED)) {
            return;
        }
        let policy = &self.setup.policy;
        let reason = match record.bad_since {
            Some(bad) if !policy.has_reserve() && for_long(bad, NOTICED) => "its store is away and it keeps no keys",
            Some(bad) if for_long(bad, policy.tolerate + NOTICED) => "its store is away for too long",
            Some(_) => return,
            None if !for_long(record.good_since, NOTICED) => return,
            None => {
                let lacks = record.causes.get(&Cause::Lacks);
                let lacks = lacks.is_some_and(|(since, until)| *until == now && for_long(*since, NOTICED));
                match record.mood {
                    Mood::NoUse | Mood::Lies if for_long(record.mood_since, NOTICED) => "its store unwraps nothing",
                    _ if lacks => "its store lacks what it has reported",
                    _ => return,
                }
            }
        };
        self.violate("no node ok that cannot do what it says", || {
            format!("node {node} is ok under {}, although {reason}", self.name_of(id))
        });
    }

    /// A version whose date has passed encrypts, where the node could know of it.
    fn judge_date(&self, node: usize, id: &KeyId) {
        let record = self.nodes[node].record.borrow();
        let now = Instant::now();
        let for_long = |since: Instant| now.saturating_duration_since(since) > NOTICED;
        if record.up_since.is_none_or(|up| !for_long(up)) || record.causes.values().any(|(_, until)| !for_long(*until)) {
            return;
        }
        // What it could see of its store: all until now, or what was there when that went away.
        let seen = match record.bad_since {
            _ if record.clock_set.elapsed() < STARTING => return,
            None if for_long(record.good_since) => now,
            Some(bad) if record.well_when_bad => bad,
            _ => return,
        };
        if record.bad_since.is_some() && seen.saturating_duration_since(record.good_since) <= NOTICED {
            return;
        }
        let calendar = self.nodes[node].clock.borrow().now();
        let stores = lock(&self.stores);
        let due = |held: &&crate::store::Held| {
            let known = held.since.map(|since| since.max(held.changed));
            held.version.state.is_active(Timestamp::from_unix(calendar.unix().saturating_sub(5)))
                && known.is_some_and(|known| seen.saturating_duration_since(known) > NOTICED)
                && record.up_since.is_some_and(|up| seen.saturating_duration_since(up) > NOTICED)
        };
        let versions = stores.replica(node);
        let highest = versions.held.iter().filter(due).max_by(|one, other| one.version.rank().cmp(&other.version.rank()));
        let Some((highest, reported)) = highest.zip(versions.find(id)) else {
            return;
        };
        if highest.version.rank() > reported.version.rank() {
            let (late, reported) = (highest.version.clone(), reported.version.number);
            drop(stores);
            self.violate("a version encrypts from its date on", || {
                format!("node {node} reports {reported}, and {} is {:?}", self.name_of(&late.id), late.state)
            });
        }
    }

    /// Judges what Encrypt said. `promised` is the key_id that Status named a moment before, `after` what it says now.
    pub(crate) fn judge_encrypt(
        &self,
        node: usize,
        promised: Option<&str>,
        answer: &Result<Sealed, Failure>,
        after: &Result<StatusResponse, Failure>,
    ) {
        self.look();
        match answer {
            Err(failure) => {
                self.tell(|| format!("encrypt {node}: {failure}"));
                let excuse = self.excuse(node).or_else(|| self.waits_for_data_key(node));
                if excuse.is_none() {
                    self.violate("no node ok that cannot do what it says", || {
                        format!("Encrypt of node {node} fails without a reason: {failure}")
                    });
                }
                self.judge_promise(node, promised, failure);
            }
            Ok(sealed) => {
                let inside = sealed.bytes.get(3).map(|length| 4..4 + usize::from(*length));
                let inside = inside.and_then(|id| sealed.bytes.get(id)).map(hex::encode);
                if inside.as_deref() != Some(sealed.key_id.as_str()) {
                    self.violate("the key_id is the id's bytes", || {
                        format!("node {node} says {} of what it sealed under {inside:?}", sealed.key_id)
                    });
                }
                let now = after.as_ref().map(|status| status.key_id.as_str()).ok();
                if promised.is_some_and(|promised| promised != sealed.key_id) && now != Some(&sealed.key_id) {
                    self.violate("Status equals Encrypt in key_id", || {
                        format!("node {node} promised {promised:?}, sealed under {}, and says {now:?}", sealed.key_id)
                    });
                }
            }
        }
    }

    /// While limits of use or age are tight, an Encrypt may wait until the node knows that its store is away.
    fn waits_for_data_key(&self, node: usize) -> Option<&'static str> {
        let record = self.nodes[node].record.borrow();
        let tight = self.setup.policy.max_uses < 1000 || self.setup.policy.max_age < Duration::from_secs(12 * 3600);
        let lately = record.bad_since.is_some_and(|bad| bad.elapsed() < NOTICED);
        (tight && lately).then_some("the next data key can't be made yet")
    }

    /// Status has just said ok: Encrypt must work, but for what can't be known yet.
    fn judge_promise(&self, node: usize, promised: Option<&str>, failure: &Failure) {
        let record = self.nodes[node].record.borrow();
        let unknown_yet = record.mood_since.elapsed() < NOTICED || record.up_since.is_none_or(|up| up.elapsed() < STARTING);
        if promised.is_some() && !unknown_yet {
            self.violate("no node ok that cannot do what it says", || {
                format!("Status of node {node} was ok a moment before Encrypt failed: {failure}")
            });
        }
    }

    /// Judges what Decrypt said.
    pub(crate) fn judge_decrypt(&self, node: usize, dek: usize, answer: &Result<Vec<u8>, Failure>) {
        let (id, seed) = {
            let etcd = self.etcd.borrow();
            (etcd.deks[dek].id.clone(), etcd.deks[dek].seed)
        };
        let now = Instant::now();
        match answer {
            Ok(payload) if *payload == seed => {
                let mut record = self.nodes[node].record.borrow_mut();
                if !record.sealed.contains(&dek) {
                    let ttl = self.setup.policy.cache_ttl;
                    let known = record.unwrapped.get(&dek).is_some_and(|since| now.saturating_duration_since(*since) < ttl);
                    if !known {
                        record.unwrapped.insert(dek, now);
                    }
                }
            }
            Ok(_) => self.violate("what was not sealed is never returned", || {
                format!("node {node} opened a value under {} to other bytes", self.name_of(&id))
            }),
            Err(failure) => {
                self.tell(|| format!("decrypt {node} of {}: {failure}", self.name_of(&id)));
                let excuse = self.excuse_read(node, dek, &id);
                let mut record = self.nodes[node].record.borrow_mut();
                if matches!(failure.code, Code::Unavailable | Code::DeadlineExceeded) {
                    record.refused_read = Some(now);
                }
                if excuse.is_none() {
                    self.violate("no stored object unreadable while its key exists", || {
                        format!("node {node} can't read a value under {}: {failure}", self.name_of(&id))
                    });
                }
            }
        }
    }

    /// Why a node may be unable to open a value under this version; `None` if it must.
    fn excuse_read(&self, node: usize, dek: usize, id: &KeyId) -> Option<&'static str> {
        let record = self.nodes[node].record.borrow();
        let now = Instant::now();
        let within = |since: Instant, limit: Duration| now.saturating_duration_since(since) < limit;
        if record.up_since.is_none_or(|up| within(up, STARTING)) {
            return Some("it has just begun to run");
        }
        let known = {
            let stores = lock(&self.stores);
            stores.replica(node).find(id).and_then(|held| Some((held.since?, held.fresh)))
        };
        let Some((since, fresh)) = known else {
            return Some("its store lacks the version, or has retired it");
        };
        if within(since, if fresh { UNKNOWN } else { RECOVERING + UNKNOWN }) {
            return Some("its store got the version a moment ago");
        }
        if matches!(record.mood, Mood::NoUse | Mood::Lies) {
            return Some("its store refuses");
        }
        match record.bad_since {
            None if within(record.mood_since, RECOVERING + UNKNOWN) && record.mood_since > self.start => {
                Some("its store has just come back")
            }
            None => None,
            Some(bad) if self.must_be_cached(&record, dek, bad, since) => None,
            Some(_) => Some("its store is away"),
        }
    }

    /// What was opened before an outage is opened all through it.
    fn must_be_cached(&self, record: &Record, dek: usize, bad: Instant, since: Instant) -> bool {
        let policy = &self.setup.policy;
        let roomy = policy.cache_capacity.get() >= 1000 && policy.has_reserve();
        let unwrapped = record.unwrapped.get(&dek);
        roomy
            && unwrapped.is_some_and(|unwrapped| {
                let age = bad.saturating_duration_since(*unwrapped);
                *unwrapped < bad && since < *unwrapped && age + NOTICED < policy.cache_ttl
            })
    }

    /// An API server could or could not write.
    pub(crate) fn judge_write(&self, node: usize, wrote: bool, disconnected: impl FnOnce() -> bool) {
        if wrote {
            return;
        }
        self.look();
        let excused = self.excuse(node).is_some() || disconnected();
        let record = self.nodes[node].record.borrow();
        let lately = |since: Option<Instant>| since.is_some_and(|since| since.elapsed() < NOTICED);
        let lately = lately(record.up_since) || record.causes.values().any(|(_, until)| lately(Some(*until)));
        let lately = lately || record.good_since.elapsed() < NOTICED || record.refused_read.is_some_and(|at| at.elapsed() < NOTICED);
        self.tell(|| format!("api {node} can't write"));
        if !excused && !lately {
            self.violate("writes stop only when the design says so", || {
                format!("the API server of node {node} can't write without a reason")
            });
        }
    }
}
