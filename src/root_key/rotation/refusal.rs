//! What the rules forbid, each with a sentence that says what to do instead.

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Number;
use crate::root_key::version::Selector;
use crate::root_key::version::Version;

/// The rules forbid it. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each sentence says what its fields are")]
pub enum Refusal {
    /// `create` is for a root key that has nothing.
    #[error(
        "`{name}` has versions already ({}): `dekhand keys rotate` makes the next one",
        list(known)
    )]
    HasVersions { name: RootKeyName, known: Vec<Number> },
    /// What a lost or outdated store lacks must not be made a second time in silence.
    #[error(
        "the store lacks version {number} with id {id}, which this node has reported as primary; bring the store up to \
         date, or `dekhand keys accept-loss {id}` to go on without it"
    )]
    Lost { number: Number, id: KeyId },
    /// Everything but `create` and `import` is about versions that are there.
    #[error("`{name}` has no versions: `dekhand keys create` makes the first one")]
    HasNone { name: RootKeyName },
    /// One version at a time is on its way.
    #[error(
        "{} (id {}) is still pending: `dekhand keys activate {}` dates it, `dekhand keys retire {}` puts it aside",
        pending.number, pending.id, pending.number, pending.number
    )]
    Pending { pending: Version },
    /// The same, and it has its date.
    #[error("{} (id {}) becomes active at {at} and this node's clock says {now}: rotate after that", pending.number, pending.id)]
    Dated {
        pending: Version,
        at: Timestamp,
        now: Timestamp,
    },
    /// A date in the same breath as the key needs a store that all nodes see.
    #[error(
        "--activate-in is for one store that serves all nodes (`shared: true`): where every node has a token or a file \
         of its own, the version must be on each of them before one encrypts under it, else the others can't read what \
         it writes; make it with `dekhand keys rotate`, bring it to every node, `dekhand keys verify` there, then \
         `dekhand keys activate`"
    )]
    NotShared,
    /// Numbers end at 9999.
    #[error("v9999 is the last: add a root key of another name in front of this one in `root_keys:`")]
    NoNumberLeft,
    /// No version is named so.
    #[error("there is no version {selector}; there are {}", list(known))]
    Unknown { selector: Selector, known: Vec<Number> },
    /// Several versions are named so.
    #[error("{} versions are {selector}: name one by its id, {}", ids.len(), list(ids))]
    Ambiguous { selector: Selector, ids: Vec<KeyId> },
    /// There is nothing to activate.
    #[error("no version is pending: `dekhand keys rotate` makes one")]
    NothingPending,
    /// There is more than one to activate.
    #[error("{} versions are pending: name one by its id, {}", ids.len(), list(ids))]
    SeveralPending { ids: Vec<KeyId> },
    /// What is active keeps its date.
    #[error("{number} is active since {since}: its date can't be changed any more")]
    AlreadyActive { number: Number, since: Timestamp },
    /// A retired version is not activated.
    #[error("{number} is retired since {since}: `dekhand keys restore {number}` first")]
    Retired { number: Number, since: Timestamp },
    /// No date lies in the past.
    #[error("{at} has passed, this node's clock says {now}: choose a moment to come, or set the clock")]
    Past { at: Timestamp, now: Timestamp },
    /// No date lies too far ahead.
    #[error(
        "{at} is more than a year from now, {now} by this node's clock: choose an earlier moment, or set the clock"
    )]
    TooFar { at: Timestamp, now: Timestamp },
    /// A clock that is behind would date a version before its time.
    #[error(
        "this node's clock says {now}, and the store knows of {seen}: set the clock (a pending version can also be dated by \
         --at)"
    )]
    ClockBehind { now: Timestamp, seen: Timestamp },
    /// It would never encrypt.
    #[error("{number} would never encrypt: {higher} is higher and active from {from} on")]
    Below {
        number: Number,
        higher: Number,
        from: Timestamp,
    },
    /// One version would be skipped.
    #[error("{lower} becomes active only at {from}: choose a later moment for {number}")]
    BeforeLower {
        number: Number,
        lower: Number,
        from: Timestamp,
    },
    /// What encrypts can't be retired.
    #[error(
        "{number} is the primary: `dekhand keys rotate`, and retire it when nothing in etcd is stored under it any more"
    )]
    IsPrimary { number: Number },
    /// A node may switch at any moment.
    #[error(
        "{number} becomes active at {at}, which is near, and nodes may go by that already: let it, then rotate again, or \
         `dekhand keys activate {number}` with a later moment and retire it then"
    )]
    TooNear { number: Number, at: Timestamp },
    /// Nodes may not have switched yet.
    #[error(
        "{number} was the primary until {until}: it can be retired {} later, when every node has switched, at {from}",
        length(*wait)
    )]
    PrimaryLately {
        number: Number,
        until: Timestamp,
        wait: Duration,
        from: Timestamp,
    },
    /// Without a primary nobody knows what is old.
    #[error("no version is active by this node's clock, {now}: set the clock, or activate a version first")]
    NoPrimary { now: Timestamp },
    /// It is retired.
    #[error("{number} is retired already, since {since}")]
    AlreadyRetired { number: Number, since: Timestamp },
    /// It is not retired.
    #[error("{number} is not retired: there is nothing to restore")]
    NothingToRestore { number: Number },
    /// Only what has been retired can be destroyed.
    #[error("{number} is not retired: `dekhand keys retire {number}` first, and see that nobody misses it")]
    NotRetired { number: Number },
    /// It has not been retired for long enough.
    #[error(
        "{number} is retired since {since}, and must be for {}: it can be destroyed at {from} (--retention changes that)",
        length(*retention)
    )]
    Retained {
        number: Number,
        since: Timestamp,
        retention: Duration,
        from: Timestamp,
    },
    /// Nobody has looked whether etcd still needs it.
    #[error(
        "this needs a look at every etcd of the cluster, which this release can't do by itself: make sure that nothing \
         is stored under {number} (id {id}), then say --unaudited"
    )]
    Unaudited { number: Number, id: KeyId },
    /// It can't be undone, and the operator has not said its name.
    #[error("this can't be undone: confirm it with --confirm {expected}")]
    NotConfirmed { expected: String },
    /// There is no loss to accept.
    #[error("this node has never reported a version of `{name}`: there is no loss to accept")]
    NothingRecorded { name: RootKeyName },
    /// The loss is another one.
    #[error("what this node has reported is {number} (id {id}): only that loss can be accepted")]
    OtherRecorded { number: Number, id: KeyId },
    /// Nothing is lost.
    #[error("{number} (id {id}) is not lost: the store has it")]
    NotLost { number: Number, id: KeyId },
    /// Nothing is lost either.
    #[error("{number} (id {id}) is not lost: it is retired; `dekhand keys restore {number}` takes it back")]
    NotLostButRetired { number: Number, id: KeyId },
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".into();
    }
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// Whole days as days, as they are asked for: `90d` is not "2months 29days 2h 52m 48s".
fn length(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let seconds = duration.as_secs();
    if seconds >= DAY && seconds.is_multiple_of(DAY) {
        return format!("{}d", seconds / DAY);
    }
    humantime::format_duration(duration).to_string()
}
