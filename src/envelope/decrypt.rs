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
use crate::envelope::locations::VersionLocation;
use crate::envelope::state::InFlightUnwrap;
use crate::envelope::state::ListingWanted;
use crate::envelope::state::Unwrapped;
use crate::envelope::store_health::Event;
use crate::envelope::unopened::PayloadName;
use crate::envelope::unopened::WrapName;
use crate::quota::Permit;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::root_key::sealed_format::Sealed;
use crate::root_key::sealed_format::associated_data;
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
    let (shared, waiter) = {
        let mut state = inner.lock();
        if let Some(InFlightUnwrap { shared, waiters }) = state.unwraps.get(&key) {
            (shared.clone(), waiters.join(caller))
        } else {
            let permit = inner
                .unwrap_quota
                .enter(caller.connection)
                .ok_or(EnvelopeError::TooManyCalls)?;
            let (waiters, waiter) = Waiters::of_caller(caller);
            let unwrap = start(inner.clone(), permit, store, key.clone(), bytes.to_vec(), waiters);
            state.unwraps.insert(key.clone(), unwrap.clone());
            (unwrap.shared, waiter)
        }
    };
    let mut waiting = Waiting {
        inner,
        store,
        waiter,
        deadline: caller.deadline,
        answered: false,
    };
    let unwrapped = shared.await;
    waiting.answered = true;
    drop(waiting);
    let opened = match unwrapped? {
        // Again, since the payload that has started the unwrap may be the only bad one among those that share it.
        Unwrapped::Cipher(cipher) => open_and_admit(inner, store, &key, &sealed, &cipher),
        Unwrapped::WrongCommitment => None,
    };
    opened.ok_or_else(|| {
        let payload = PayloadName::of(purpose, bytes);
        let now = inner.clock.boottime();
        inner.lock().unopened.note_payload(payload, &WrapName::of(&sealed), now);
        not_authentic(&sealed)
    })
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
            && let Some(payload) = open_and_admit(inner, store, key, sealed, &Arc::new(cipher))
        {
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

/// Opens a payload under a data key that was unwrapped, and admits the data key to the cache only if the payload opens:
/// an attacker who can write to etcd can change a stored commitment as easily as a body.
fn open_and_admit(
    inner: &Inner,
    store: usize,
    key: &CacheKey,
    sealed: &Sealed<'_>,
    cipher: &Arc<Cipher>,
) -> Option<Zeroizing<Vec<u8>>> {
    let associated_data = associated_data(key.purpose, sealed.header);
    let payload = cipher.open(&associated_data, sealed.body).ok()?;
    let mut state = inner.lock();
    if !state.policy.cache_ttl.is_zero() {
        state.unopened.forget_key(&WrapName::of(sealed));
    }
    if state.locations.of(&sealed.id) == VersionLocation::Store(store) {
        let now = inner.clock.boottime();
        if state.cached(key, now).is_none() {
            state.keep(key.clone(), sealed.id.clone(), cipher.clone(), now);
        }
    }
    Some(payload)
}

/// The store that holds a version. Waits for an unlisted version until shortly before the caller's deadline.
async fn find(inner: &Inner, id: &KeyId, deadline: Instant) -> Result<usize, EnvelopeError> {
    let until = deadline.checked_sub(TIME_TO_ANSWER).unwrap_or(deadline);
    let listings_before = {
        let state = inner.lock();
        if let VersionLocation::Store(store) = state.locations.of(id) {
            return Ok(store);
        }
        state.locations.listings()
    };
    let mut changes = inner.changes.subscribe();
    loop {
        {
            let mut state = inner.lock();
            let now = inner.clock.boottime();
            match state.locations.of(id) {
                VersionLocation::Store(store) => return Ok(store),
                VersionLocation::Retired => return Err(EnvelopeError::Retired(id.clone())),
                VersionLocation::Ambiguous => return Err(EnvelopeError::Ambiguous(id.clone())),
                VersionLocation::Unknown => {}
            }
            let given_up = state.was_given_up(id, now);
            if given_up || Instant::now() >= until {
                if let Some((store, unavailable)) = state.locations.unlisted() {
                    let reason = unavailable.to_string();
                    inner.observe(state, &Event::ReadRefused { store, reason });
                    return Err(unavailable);
                }
                if !given_up && !state.locations.all_listed_since(&listings_before) {
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
fn start(
    inner: Arc<Inner>,
    permit: Permit,
    store: usize,
    key: CacheKey,
    bytes: Vec<u8>,
    waiters: Waiters,
) -> InFlightUnwrap {
    let waiting = waiters.clone();
    let task = tokio::spawn(async move {
        // Only the caller that begins the unwrap takes a permit; callers that join take none.
        let _permit = permit;
        let _end = EndOfUnwrap {
            inner: &inner,
            key: &key,
        };
        tokio::select! {
            biased;
            unwrapped = unwrap(&inner, store, &key, &bytes, &waiting) => unwrapped,
            () = waiting.abandoned() => Err(EnvelopeError::TooManyCalls),
        }
    });
    let shared = async move { task.await.unwrap_or(Err(EnvelopeError::Stopped)) };
    InFlightUnwrap {
        shared: shared.boxed().shared(),
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
        let (state, store) = (self.inner.lock(), self.store);
        if let Some(reason) = state.away(store) {
            self.inner.observe(state, &Event::ReadRefused { store, reason });
        }
    }
}

/// Removes an unwrap when it ends, even by a panic.
struct EndOfUnwrap<'a> {
    inner: &'a Inner,
    key: &'a CacheKey,
}

impl Drop for EndOfUnwrap<'_> {
    fn drop(&mut self) {
        self.inner.lock().unwraps.remove(self.key);
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
                    let reason = error.chain();
                    inner.observe(state, &Event::ReadRefused { store, reason });
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
    let unwrapped = match cipher_of_unwrapped(&data_key, &sealed, key.purpose) {
        Ok(cipher) => Unwrapped::Cipher(Arc::new(cipher)),
        Err(NotAuthentic) => Unwrapped::WrongCommitment,
    };
    // Opened here already, since the caller may be gone.
    let opened = match &unwrapped {
        Unwrapped::Cipher(cipher) => open_and_admit(inner, store, key, &sealed, cipher),
        Unwrapped::WrongCommitment => None,
    };
    let mut state = inner.lock();
    if opened.is_some() {
        inner.observe(state, &Event::Verified { store });
    } else if state.locations.of(&sealed.id) == VersionLocation::Store(store) {
        state.note_unproven(WrapName::of(&sealed), data_key, now);
    }
    Ok(unwrapped)
}
