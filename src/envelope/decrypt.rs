//! Opens the payload of a `Decrypt`: from the cache, or by one unwrap for all callers with the same wrapped key.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::crypto::NotAuthentic;
use crate::crypto::derive::Purpose;
use crate::crypto::suite::Cipher;
use crate::envelope::Inner;
use crate::envelope::cache::CacheKey;
use crate::envelope::data_key::cipher_of_unwrapped;
use crate::envelope::error::EnvelopeError;
use crate::envelope::sealed_format::Sealed;
use crate::envelope::sealed_format::associated_data;
use crate::envelope::state::Flight;
use crate::envelope::state::ListingWanted;
use crate::envelope::state::Place;
use crate::envelope::state::Unwrapped;
use crate::envelope::unopened::PayloadName;
use crate::envelope::unopened::WrapName;
use crate::quota::Permit;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::root_key::waiters::Waiter;
use crate::root_key::waiters::Waiters;
use crate::telemetry::metrics::VersionLabels;

/// A caller that waits for an unknown version is answered this long before its deadline.
const TIME_TO_ANSWER: Duration = Duration::from_millis(200);

pub(crate) async fn open(
    inner: &Arc<Inner>,
    purpose: Purpose,
    bytes: &[u8],
    key_id: Option<&str>,
    caller: Caller,
) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let sealed = Sealed::parse(bytes)?;
    if key_id.is_some_and(|key_id| !sealed.id.is_written(key_id)) {
        return Err(EnvelopeError::KeyIdMismatch { inside: sealed.id });
    }
    let store = find(inner, &sealed.id, caller.deadline).await?;
    let key = CacheKey {
        purpose,
        header: sealed.header.into(),
    };
    if let Some(answer) = from_memory(inner, store, &key, &sealed, bytes) {
        return answer;
    }
    let (landing, waiter) = {
        let mut state = inner.lock();
        if let Some(Flight { landing, waiters }) = state.flights.get(&key) {
            (landing.clone(), waiters.join(caller))
        } else {
            let permit = inner
                .flights
                .enter(caller.connection)
                .ok_or(EnvelopeError::TooManyCalls)?;
            let (waiters, waiter) = Waiters::of_caller(caller);
            let flight = start(inner.clone(), permit, store, key.clone(), bytes.to_vec(), waiters);
            state.flights.insert(key.clone(), flight.clone());
            (flight.landing, waiter)
        }
    };
    let mut waiting = Waiting {
        inner,
        store,
        waiter,
        deadline: caller.deadline,
        answered: false,
    };
    let landed = landing.await;
    waiting.answered = true;
    drop(waiting);
    let opened = match landed? {
        Unwrapped::Cipher(cipher) => {
            let opened = cipher.open(&associated_data(purpose, sealed.header), sealed.body);
            opened.ok().map(|payload| (payload, cipher))
        }
        Unwrapped::WrongCommitment => None,
    };
    let Some((payload, cipher)) = opened else {
        let payload = PayloadName::of(purpose, bytes);
        let now = inner.clock.boottime();
        inner.lock().unopened.note_payload(payload, &WrapName::of(&sealed), now);
        return Err(not_authentic(&sealed));
    };
    // Kept here too: the payload that started the unwrap may be the only bad one among those that share it.
    keep(inner, store, key, &sealed, cipher);
    Ok(payload)
}

/// The answer that needs no call to a root key, if there is one.
fn from_memory(
    inner: &Inner,
    store: usize,
    key: &CacheKey,
    sealed: &Sealed<'_>,
    bytes: &[u8],
) -> Option<Result<Zeroizing<Vec<u8>>, EnvelopeError>> {
    let associated_data = associated_data(key.purpose, sealed.header);
    let refused = || Some(Err(not_authentic(sealed)));
    let now = inner.clock.boottime();
    {
        let mut state = inner.lock();
        if let Some(cipher) = state.cached(key, now) {
            drop(state);
            let opened = cipher.open(&associated_data, sealed.body);
            return Some(opened.map_err(|_| not_authentic(sealed)));
        }
        if state.cache.is_bad(key, now, state.away(store).is_some()) {
            return refused();
        }
    }
    let wrap = WrapName::of(sealed);
    let unproven = inner.lock().unopened.key(&wrap, now);
    let payload = PayloadName::of(key.purpose, bytes);
    if let Some(unproven) = unproven
        && let Some(data_key) = unproven.key
    {
        if let Ok(cipher) = cipher_of_unwrapped(&data_key, sealed, key.purpose)
            && let Ok(payload) = cipher.open(&associated_data, sealed.body)
        {
            keep(inner, store, key.clone(), sealed, Arc::new(cipher));
            return Some(Ok(payload));
        }
        if unproven.is_confirmed {
            inner.lock().unopened.note_payload(payload, &wrap, now);
            return refused();
        }
    }
    let state = inner.lock();
    if state.unopened.is_bad(&payload, now, state.away(store).is_some()) {
        return refused();
    }
    None
}

fn not_authentic(sealed: &Sealed<'_>) -> EnvelopeError {
    EnvelopeError::NotAuthentic { id: sealed.id.clone() }
}

/// Keeps the cipher of a data key under which a payload has opened.
fn keep(inner: &Inner, store: usize, key: CacheKey, sealed: &Sealed<'_>, cipher: Arc<Cipher>) {
    let mut state = inner.lock();
    if !state.policy.cache_ttl.is_zero() {
        state.unopened.forget_key(&WrapName::of(sealed));
    }
    if state.locate(&sealed.id) == Place::Store(store) {
        let now = inner.clock.boottime();
        if state.cached(&key, now).is_none() {
            state.keep(key, sealed.id.clone(), cipher, now);
        }
    }
}

/// The store that holds a version. Waits for an unlisted version until shortly before the caller's deadline.
async fn find(inner: &Inner, id: &KeyId, deadline: Instant) -> Result<usize, EnvelopeError> {
    let until = deadline.checked_sub(TIME_TO_ANSWER).unwrap_or(deadline);
    let listings_before = {
        let state = inner.lock();
        if let Place::Store(store) = state.locate(id) {
            return Ok(store);
        }
        state.listings()
    };
    let mut changes = inner.changes.subscribe();
    loop {
        {
            let mut state = inner.lock();
            let now = inner.clock.boottime();
            match state.locate(id) {
                Place::Store(store) => return Ok(store),
                Place::Retired => return Err(EnvelopeError::Retired(id.clone())),
                Place::Ambiguous => return Err(EnvelopeError::Ambiguous(id.clone())),
                Place::Unknown => {}
            }
            let given_up = state.was_given_up(id, now);
            if given_up || Instant::now() >= until {
                if let Some((store, unavailable)) = state.store_away() {
                    state.truth.note_unreadable(store, unavailable.to_string(), now);
                    return Err(unavailable);
                }
                if !given_up && !state.all_listed_since(&listings_before) {
                    // The caller's deadline was too short for a listing, so the version may still exist.
                    return Err(EnvelopeError::Unavailable(
                        "the versions were not listed in time".into(),
                    ));
                }
                if !given_up {
                    state.give_up(id.clone(), now);
                }
                return Err(EnvelopeError::UnknownVersion(id.clone()));
            }
            if state.want_listing(ListingWanted::ByDecrypt) {
                inner.reconcile_wanted.notify_one();
            }
        }
        tokio::select! {
            outcome = changes.changed() => outcome.map_err(|_| EnvelopeError::Stopped)?,
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

/// Begins an unwrap. Once the call to the root key has begun, the unwrap continues without callers; before that, it
/// ends when the last caller leaves.
fn start(inner: Arc<Inner>, permit: Permit, store: usize, key: CacheKey, bytes: Vec<u8>, waiters: Waiters) -> Flight {
    let waiting = waiters.clone();
    let task = tokio::spawn(async move {
        // Only the caller that begins the unwrap takes a permit; callers that join take none.
        let _permit = permit;
        let _landed = Landed {
            inner: &inner,
            key: &key,
        };
        tokio::select! {
            biased;
            unwrapped = unwrap(&inner, store, &key, &bytes, &waiting) => unwrapped,
            () = waiting.abandoned() => Err(EnvelopeError::TooManyCalls),
        }
    });
    let landing = async move { task.await.unwrap_or(Err(EnvelopeError::Stopped)) };
    Flight {
        landing: landing.boxed().shared(),
        waiters,
    }
}

/// A caller that waits for an unwrap. If its deadline passes before the unwrap has begun, while the root key is
/// unavailable, this counts as a read that the outage refused, whether or not other callers still wait. A caller that
/// hung up earlier does not count.
struct Waiting<'a> {
    inner: &'a Inner,
    store: usize,
    waiter: Waiter,
    deadline: Instant,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // The API server's timer for this request and ours do not expire at exactly the same moment.
        let gave_up = Instant::now() + TIME_TO_ANSWER >= self.deadline;
        if self.answered || self.waiter.has_begun() || !gave_up {
            return;
        }
        let mut state = self.inner.lock();
        if let Some(reason) = state.away(self.store) {
            let now = self.inner.clock.boottime();
            state.truth.note_unreadable(self.store, reason, now);
        }
    }
}

/// Removes a flight when it ends, even by a panic.
struct Landed<'a> {
    inner: &'a Inner,
    key: &'a CacheKey,
}

impl Drop for Landed<'_> {
    fn drop(&mut self) {
        self.inner.lock().flights.remove(self.key);
    }
}

async fn unwrap(
    inner: &Inner,
    store: usize,
    key: &CacheKey,
    bytes: &[u8],
    waiters: &Waiters,
) -> Result<Unwrapped, EnvelopeError> {
    let sealed = Sealed::parse(bytes)?;
    let root_key = &inner.store(store)?.root_key;
    let unwrapped = root_key.unwrap(&sealed.id, &sealed.wrapped(), waiters).await;
    inner.note(store, unwrapped.as_ref().map(drop));
    let now = inner.clock.boottime();
    let data_key = match unwrapped {
        Ok(data_key) => data_key,
        Err(error) => {
            let mut state = inner.lock();
            return match error.kind() {
                Kind::BadInput => {
                    state.cache.put_bad(key.clone(), now);
                    Err(not_authentic(&sealed))
                }
                Kind::Outage => {
                    state.truth.note_unreadable(store, error.chain(), now);
                    Err((&error).into())
                }
                Kind::Refusal | Kind::Corruption | Kind::Busy => Err((&error).into()),
            };
        }
    };
    inner
        .metrics
        .unwraps
        .get_or_create(&VersionLabels {
            key_id: sealed.id.to_string(),
        })
        .inc();
    // The commitment is stored with the wrapped key, so a writer to etcd can change it as easily as a body.
    let unwrapped = match cipher_of_unwrapped(&data_key, &sealed, key.purpose) {
        Ok(cipher) => Unwrapped::Cipher(Arc::new(cipher)),
        Err(NotAuthentic) => Unwrapped::WrongCommitment,
    };
    // A data key enters the cache only after a payload has opened under it. Tried here, since the caller may be gone.
    let associated_data = associated_data(key.purpose, sealed.header);
    match &unwrapped {
        Unwrapped::Cipher(cipher) if cipher.open(&associated_data, sealed.body).is_ok() => {
            keep(inner, store, key.clone(), &sealed, cipher.clone());
        }
        Unwrapped::Cipher(_) | Unwrapped::WrongCommitment => {
            let mut state = inner.lock();
            if state.locate(&sealed.id) == Place::Store(store) {
                state.note_unproven(WrapName::of(&sealed), data_key, now);
            }
        }
    }
    Ok(unwrapped)
}
