//! The refusals of the rules, each with a sentence that says what to do instead.

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::primary::LostPrimary;
use crate::root_key::version::Number;
use crate::root_key::version::Selector;
use crate::root_key::version::Version;

/// The rules forbid it. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each sentence says what its fields are")]
pub enum Refusal {
    /// `create` is for a root key without versions.
    #[error(
        "`{name}` has versions already ({}): run `dekhand keys rotate` to make the next one",
        list(known)
    )]
    HasVersions { name: RootKeyName, known: Vec<Number> },
    /// The missing version must not be silently replaced by a new one.
    #[error(transparent)]
    Lost(#[from] LostPrimary),
    /// Every command but `create` and `import` needs an existing version.
    #[error("`{name}` has no versions: run `dekhand keys create` to make the first one")]
    HasNone { name: RootKeyName },
    /// At most one version at a time may be pending.
    #[error(
        "{} (id {}) is still pending: date it with `dekhand keys activate {}` or put it aside with `dekhand keys \
         retire {}`",
        pending.number, pending.id, pending.number, pending.number
    )]
    Pending { pending: Version },
    /// The pending version has its date already.
    #[error("{} (id {}) becomes active at {at} and this node's clock says {now}: rotate after that", pending.number, pending.id)]
    Dated {
        pending: Version,
        at: Timestamp,
        now: Timestamp,
    },
    /// A version may be made and dated at once only in a store that all nodes share.
    #[error(
        "--activate-in requires one store for all nodes (`shared: true`); where each node has a token or a file of its \
         own, every node must have the version before any node encrypts under it: run `dekhand keys rotate`, bring the \
         version to every node, run `dekhand keys verify` there, then `dekhand keys activate`"
    )]
    NotShared,
    /// Numbers end at 9999.
    #[error("v9999 is the last version: add a root key with another name before this one in `root_keys:`")]
    NoNumberLeft,
    /// The selector names no version.
    #[error("there is no version {selector}; there are {}", list(known))]
    Unknown { selector: Selector, known: Vec<Number> },
    /// The selector names several versions.
    #[error("{} versions are named {selector}: select one by its id, {}", ids.len(), list(ids))]
    Ambiguous { selector: Selector, ids: Vec<KeyId> },
    /// There is nothing to activate.
    #[error("no version is pending: run `dekhand keys rotate` to make one")]
    NothingPending,
    /// There is more than one to activate.
    #[error("{} versions are pending: select one by its id, {}", ids.len(), list(ids))]
    SeveralPending { ids: Vec<KeyId> },
    /// An active version keeps its date.
    #[error("{number} has been active since {since}: its date can no longer be changed")]
    AlreadyActive { number: Number, since: Timestamp },
    /// A retired version is not activated.
    #[error("{number} has been retired since {since}: run `dekhand keys restore {number}` first")]
    Retired { number: Number, since: Timestamp },
    /// A date must not lie in the past.
    #[error("{at} has passed, this node's clock says {now}: choose a future moment, or set the clock")]
    Past { at: Timestamp, now: Timestamp },
    /// A date must not lie too far ahead.
    #[error(
        "{at} is more than a year from now ({now} by this node's clock): choose an earlier moment, or set the clock"
    )]
    TooFar { at: Timestamp, now: Timestamp },
    /// A clock that is behind would give a version too early a date.
    #[error(
        "this node's clock says {now}, but a version in the store has the later date {seen}: set the clock (or date a \
         pending version with --at)"
    )]
    ClockBehind { now: Timestamp, seen: Timestamp },
    /// The version would never encrypt.
    #[error("{number} would never encrypt: {higher} is higher and active from {from} on")]
    Below {
        number: Number,
        higher: Number,
        from: Timestamp,
    },
    /// A lower version would be skipped.
    #[error("{lower} becomes active only at {from}: choose a later moment for {number}")]
    BeforeLower {
        number: Number,
        lower: Number,
        from: Timestamp,
    },
    /// The primary cannot be retired.
    #[error(
        "{number} is the primary: run `dekhand keys rotate`, and retire it when nothing in etcd is stored under it"
    )]
    IsPrimary { number: Number },
    /// A node may switch to the version at any moment.
    #[error(
        "{number} becomes active at {at}, which is near, and nodes may already use that date: let it become active and \
         rotate again, or run `dekhand keys activate {number}` with a later moment and then retire it"
    )]
    TooNear { number: Number, at: Timestamp },
    /// Nodes may not have switched yet.
    #[error(
        "{number} was the primary until {until}: it can be retired {} later, at {from}, when every node has switched",
        length(*wait)
    )]
    PrimaryLately {
        number: Number,
        until: Timestamp,
        wait: Duration,
        from: Timestamp,
    },
    /// Without a primary no version counts as old.
    #[error("no version is active by this node's clock ({now}): set the clock, or activate a version first")]
    NoPrimary { now: Timestamp },
    /// The version is retired already.
    #[error("{number} has been retired since {since}")]
    AlreadyRetired { number: Number, since: Timestamp },
    /// The version is not retired.
    #[error("{number} is not retired: there is nothing to restore")]
    NothingToRestore { number: Number },
    /// Only a retired version can be destroyed.
    #[error("{number} is not retired: run `dekhand keys retire {number}` first, and check that no read fails")]
    NotRetired { number: Number },
    /// The version has not been retired for long enough.
    #[error(
        "{number} was retired at {since} and must stay so for {}: it can be destroyed at {from} (or set --retention)",
        length(*retention)
    )]
    Retained {
        number: Number,
        since: Timestamp,
        retention: Duration,
        from: Timestamp,
    },
    /// The operator has not confirmed that nothing in etcd needs the version.
    #[error(
        "this release cannot search etcd by itself: check every etcd of the cluster, and if nothing is stored under \
         {number} (id {id}), repeat the command with --unaudited"
    )]
    Unaudited { number: Number, id: KeyId },
    /// The operator has not confirmed a step that cannot be undone.
    #[error("this cannot be undone: confirm it with --confirm {expected}")]
    NotConfirmed { expected: String },
    /// There is no loss to accept.
    #[error("this node has never reported a version of `{name}`: there is no loss to accept")]
    NothingRecorded { name: RootKeyName },
    /// This node has reported another version.
    #[error("this node has reported {number} (id {id}): only the loss of that version can be accepted")]
    OtherRecorded { number: Number, id: KeyId },
    /// The version is in the store.
    #[error("{number} (id {id}) is not lost: it is in the store")]
    NotLost { number: Number, id: KeyId },
    /// The version is in the store, retired.
    #[error("{number} (id {id}) is not lost: it is retired; to use it again, run `dekhand keys restore {number}`")]
    NotLostButRetired { number: Number, id: KeyId },
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".into();
    }
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// Whole days as days, as in the configuration: `90d`, not "2months 29days 2h 52m 48s".
fn length(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let seconds = duration.as_secs();
    if seconds >= DAY && seconds.is_multiple_of(DAY) {
        return format!("{}d", seconds / DAY);
    }
    humantime::format_duration(duration).to_string()
}
