//! The invariants: the required outcome of each call.

use std::time::Duration;

use dekhand::clock::Timestamp;
use dekhand::proto::v2::StatusResponse;
use dekhand::root_key::id::KeyId;
use tokio::time::Instant;
use tonic::Code;

use crate::api::POLL_FAILING;
use crate::daemon::Failure;
use crate::daemon::Sealed;
use crate::record::Cause;
use crate::record::REFUSED_READ;
use crate::record::Record;
use crate::record::STARTING;
use crate::store::Held;
use crate::store::Mood;
use crate::store::lock;
use crate::world::World;

impl World {
    /// Judges a result of Status.
    pub(crate) fn judge_status(&self, node: usize, answer: &Result<StatusResponse, Failure>) {
        self.look_at(node);
        match answer {
            Err(failure) => {
                self.tell(|| format!("status {node}: {failure}"));
                if self.excuse(node).is_none() {
                    self.violate("writes stop only when the design says so", || {
                        format!("Status of node {node} fails without a reason: {failure}")
                    });
                }
            }
            Ok(status) if status.healthz != "ok" || status.version != "v2" => {
                self.violate("what is not ok is an error of gRPC", || {
                    format!("node {node} says {:?} of version {:?}", status.healthz, status.version)
                });
            }
            Ok(status) => match status.key_id.parse::<KeyId>() {
                Ok(id) if lock(&self.stores).known(&id).is_some() => {
                    self.nodes[node].record.borrow_mut().last_ok = Some(Instant::now());
                    self.judge_key_id(node, &id);
                    self.judge_written(node, &id);
                    self.end_of_forgiveness(node, &id);
                    self.judge_ok(node, &id);
                    self.judge_date(node, &id);
                }
                _ => self.violate("no rotation that nobody asked for", || {
                    format!("node {node} reports {}, which names no version", status.key_id)
                }),
            },
        }
    }

    /// A `key_id` never goes back, and changes only after an operator's request.
    fn judge_key_id(&self, node: usize, id: &KeyId) {
        let mut record = self.nodes[node].record.borrow_mut();
        if record.key_ids.last() == Some(id) {
            return;
        }
        let last = record.key_ids.last().cloned();
        self.tell(|| format!("node {node} reports {}", self.name_of(id)));
        self.switches.set(self.switches.get() + 1);
        let lower = last.as_ref().is_some_and(|last| self.is_above(last, id));
        let back = record.key_ids.contains(id) || lower;
        if record.forgiven {
            record.key_ids.clear();
        } else if back {
            let last = last.map(|last| self.name_of(&last)).unwrap_or_default();
            self.violate("the key_id that one API server sees never goes back", || {
                format!("node {node} reports {} after {last}", self.name_of(id))
            });
        }
        let asked = record.due.get(id).is_some_and(|due| *due);
        if !asked && !record.key_ids.is_empty() {
            self.violate("no rotation that nobody asked for", || {
                format!(
                    "node {node} reports {}, which no date that passed was for",
                    self.name_of(id)
                )
            });
        }
        record.key_ids.push(id.clone());
    }

    /// A node records a version in its state directory before it reports it.
    fn judge_written(&self, node: usize, id: &KeyId) {
        let record = self.nodes[node].record.borrow();
        if !record.forgiven && record.mark.as_ref() != Some(id) {
            self.violate("what is reported is written down first", || {
                let mark = record.mark.as_ref().map(|mark| self.name_of(mark));
                format!(
                    "node {node} reports {}, and has written down {mark:?}",
                    self.name_of(id)
                )
            });
        }
    }

    /// Judges the recorded primary of a node: the record is the decision, and Status may report it much later.
    pub(crate) fn judge_mark(&self, node: usize, mark: Option<KeyId>) {
        let mut record = self.nodes[node].record.borrow_mut();
        if record.mark == mark {
            return;
        }
        record.mark.clone_from(&mark);
        if let Some(id) = mark.filter(|id| self.is_known_undated(node, &record, id)) {
            self.violate("no rotation that nobody asked for", || {
                format!(
                    "node {node} switches to {}, which its store does not date so",
                    self.name_of(&id)
                )
            });
        }
    }

    /// Whether a node must know that a version has no date, or a future one. An operator may have withdrawn an earlier
    /// date. The calendar is never set between a switch and this check.
    fn is_known_undated(&self, node: usize, record: &Record, id: &KeyId) -> bool {
        let stores = lock(&self.stores);
        // It knows the store's state of now, or that from before its store became unavailable.
        let seen = record.bad_since.unwrap_or_else(Instant::now);
        let for_long = |since: Instant| seen.saturating_duration_since(since) > self.setup.noticed();
        let reached = for_long(record.good_since) && record.up_since.is_some_and(for_long);
        let held = stores.replica(node).find(id).filter(|held| for_long(held.changed));
        let soon = Timestamp::from_unix(self.nodes[node].clock.borrow().now().unix() + 1);
        reached && held.is_some_and(|held| !held.version.state.is_active(soon))
    }

    /// Whether one version is above another: by number, then by id.
    fn is_above(&self, one: &KeyId, other: &KeyId) -> bool {
        let stores = lock(&self.stores);
        let rank = |id| stores.known(id).map(|known| (known.number, &known.id));
        rank(one) > rank(other)
    }

    /// The permission to go back ends when the state directory names the reported version: then the node has noticed.
    fn end_of_forgiveness(&self, node: usize, id: &KeyId) {
        let machine = &self.nodes[node];
        if machine.record.borrow().forgiven && machine.mark().is_some_and(|mark| mark.id == *id) {
            machine.record.borrow_mut().forgiven = false;
        }
    }

    /// Status must not be ok if the node cannot do what it reports, as soon as the node can know that.
    fn judge_ok(&self, node: usize, id: &KeyId) {
        let record = self.nodes[node].record.borrow();
        let (now, noticed) = (Instant::now(), self.setup.noticed());
        let for_long = |since: Instant, limit: Duration| now.saturating_duration_since(since) > limit;
        if record.up_since.is_none_or(|up| !for_long(up, noticed)) {
            return;
        }
        let policy = &self.setup.policy;
        let reason = match record.bad_since {
            Some(bad) if !policy.has_reserve() && for_long(bad, noticed) => "its store is away and it keeps no keys",
            Some(bad) if for_long(bad, policy.tolerate + noticed) => "its store is away for too long",
            Some(_) => return,
            None if !for_long(record.good_since, noticed) => return,
            None => {
                let lacks = record.causes.get(&Cause::Lacks);
                let lacks = lacks.is_some_and(|spell| !spell.over && for_long(spell.since, noticed));
                match record.mood {
                    Mood::NoUse | Mood::Lies if for_long(record.mood_since, noticed) => "its store unwraps nothing",
                    _ if lacks => "its store lacks what it has reported",
                    _ => return,
                }
            }
        };
        self.violate("no node ok that cannot do what it says", || {
            format!("node {node} is ok under {}, although {reason}", self.name_of(id))
        });
    }

    /// A version whose date has passed encrypts, if the node could know of it.
    fn judge_date(&self, node: usize, id: &KeyId) {
        let record = self.nodes[node].record.borrow();
        let (now, noticed) = (Instant::now(), self.setup.noticed());
        let for_long = |since: Instant| now.saturating_duration_since(since) > noticed;
        if record.up_since.is_none_or(|up| !for_long(up)) || record.causes.values().any(|spell| !for_long(spell.until))
        {
            return;
        }
        // The node's view of its store: the state of now, or that from before the store became unavailable.
        let seen = match record.bad_since {
            _ if record.clock_set.elapsed() < STARTING => return,
            None if for_long(record.good_since) => now,
            Some(bad) if record.endures_since == Some(bad) => bad,
            _ => return,
        };
        if record.bad_since.is_some() && seen.saturating_duration_since(record.good_since) <= noticed {
            return;
        }
        let calendar = self.nodes[node].clock.borrow().now();
        let stores = lock(&self.stores);
        let due = |held: &&Held| {
            let known = held.since.map(|since| since.max(held.changed));
            held.version
                .state
                .is_active(Timestamp::from_unix(calendar.unix().saturating_sub(5)))
                && known.is_some_and(|known| seen.saturating_duration_since(known) > noticed)
                && record
                    .up_since
                    .is_some_and(|up| seen.saturating_duration_since(up) > noticed)
        };
        let versions = stores.replica(node);
        let highest = versions
            .held
            .iter()
            .filter(due)
            .max_by(|one, other| one.version.rank().cmp(&other.version.rank()));
        let Some((highest, reported)) = highest.zip(versions.find(id)) else {
            return;
        };
        if highest.version.rank() > reported.version.rank() {
            let (late, reported) = (highest.version.clone(), reported.version.number);
            drop(stores);
            self.violate("a version encrypts from its date on", || {
                format!(
                    "node {node} reports {reported}, and {} is {:?}",
                    self.name_of(&late.id),
                    late.state
                )
            });
        }
    }

    /// Judges a result of Encrypt. `promised` is the `key_id` that Status reported just before, `after` the one that it
    /// reports now.
    pub(crate) fn judge_encrypt(
        &self,
        node: usize,
        promised: Option<&str>,
        answer: &Result<Sealed, Failure>,
        after: &Result<StatusResponse, Failure>,
    ) {
        self.look_at(node);
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
                        format!(
                            "node {node} promised {promised:?}, sealed under {}, and says {now:?}",
                            sealed.key_id
                        )
                    });
                }
            }
        }
    }

    /// While limits of use or age are tight, an Encrypt may wait until the node has noticed that its store is
    /// unavailable.
    fn waits_for_data_key(&self, node: usize) -> Option<&'static str> {
        let record = self.nodes[node].record.borrow();
        let tight = self.setup.policy.max_uses < 1000 || self.setup.policy.max_age < Duration::from_secs(12 * 3600);
        let lately = record.bad_since.is_some_and(|bad| bad.elapsed() < self.setup.noticed());
        (tight && lately).then_some("the next data key can't be made yet")
    }

    /// Status was ok just now, so Encrypt must work, except for faults that the node cannot know yet.
    fn judge_promise(&self, node: usize, promised: Option<&str>, failure: &Failure) {
        let mut record = self.nodes[node].record.borrow_mut();
        let lacks = record.causes.get(&Cause::Lacks);
        let lately = record.mood_since.elapsed() < self.setup.noticed()
            || lacks.is_some_and(|spell| spell.since.elapsed() < self.setup.noticed());
        // Probes seldom wrap, so the first Encrypt discovers that wraps are refused.
        let first =
            record.mood == Mood::NoWraps && record.refused_wrap.is_none_or(|refused| refused < record.mood_since);
        let unknown_yet = lately || first || record.up_since.is_none_or(|up| up.elapsed() < STARTING);
        record.refused_wrap = Some(Instant::now());
        if promised.is_some() && !unknown_yet {
            self.violate("no node ok that cannot do what it says", || {
                format!("Status of node {node} was ok a moment before Encrypt failed: {failure}")
            });
        }
    }

    /// Without a reserve, Status fails as soon as a call has failed because the store is unavailable.
    pub(crate) fn judge_reserve(&self, node: usize, failure: &Failure, after: &Result<StatusResponse, Failure>) {
        let away = self.nodes[node].record.borrow().bad_since.is_some();
        let keeps_none = !self.setup.policy.has_reserve();
        if failure.code == Code::Unavailable && away && keeps_none && after.is_ok() {
            self.violate("no node ok that cannot do what it says", || {
                format!("node {node} keeps no keys, has just failed for want of its store ({failure}), and is ok")
            });
        }
    }

    /// Judges a result of Decrypt.
    pub(crate) fn judge_decrypt(&self, node: usize, dek: usize, answer: &Result<Vec<u8>, Failure>) {
        let (id, seed, data_key) = {
            let etcd = self.etcd.borrow();
            let dek = &etcd.deks[dek];
            (dek.id.clone(), dek.seed, dek.sealed.data_key())
        };
        let now = Instant::now();
        match answer {
            Ok(payload) if *payload == seed => {
                let mut record = self.nodes[node].record.borrow_mut();
                // A store that is unavailable or refuses unwraps nothing: the data key came from the cache, and its age
                // is unchanged.
                if matches!(record.mood, Mood::Good | Mood::NoWraps) {
                    record.opened(data_key, self.setup.policy.cache_ttl, now);
                }
            }
            Ok(_) => self.violate("what was not sealed is never returned", || {
                format!("node {node} opened a value under {} to other bytes", self.name_of(&id))
            }),
            Err(failure) => {
                self.tell(|| format!("decrypt {node} of {}: {failure}", self.name_of(&id)));
                let excuse = self.excuse_read(node, &data_key, &id);
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

    /// An API server was killed while it waited for a read. The call to the store continues: if it fails because the
    /// store is unavailable, Status fails, although no caller sees the error.
    pub(crate) fn judge_given_up(&self, node: usize, since: Instant) {
        let mut record = self.nodes[node].record.borrow_mut();
        if record.bad_since.is_some() || record.good_since >= since {
            record.refused_read = Some(Instant::now());
        }
    }

    /// Judges whether an API server could write.
    pub(crate) fn judge_write(&self, node: usize, wrote: bool, disconnected: impl FnOnce() -> bool) {
        if wrote {
            return;
        }
        self.look_at(node);
        let excused = self.excuse(node).is_some() || disconnected();
        let record = self.nodes[node].record.borrow();
        // The API server learns only by its next Status that the daemon is well again.
        let noticed = self.setup.noticed();
        let lately = |since: Option<Instant>| since.is_some_and(|since| since.elapsed() < noticed);
        let lately = lately(record.up_since) || record.causes.values().any(|spell| lately(Some(spell.until)));
        let lately = lately
            || record.good_since.elapsed() < noticed
            || record
                .refused_read
                .is_some_and(|at| at.elapsed() < noticed.max(REFUSED_READ + POLL_FAILING));
        self.tell(|| format!("api {node} can't write"));
        if !excused && !lately {
            self.violate("writes stop only when the design says so", || {
                format!("the API server of node {node} can't write without a reason")
            });
        }
    }
}
