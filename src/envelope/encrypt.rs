//! Chooses the data key for an `Encrypt`: the current one, or one made for this payload alone.

use std::sync::Arc;

use crate::caller::Caller;
use crate::crypto::derive::Purpose;
use crate::crypto::suite::Suite;
use crate::envelope::Inner;
use crate::envelope::data_key::DataKey;
use crate::envelope::error::EnvelopeError;
use crate::envelope::policy::Reuse;
use crate::envelope::rollover::Taken;
use crate::envelope::state::EnvelopeState;
use crate::envelope::store_health::Event;
use crate::root_key::error::Error;
use crate::root_key::error::Reaction;
use crate::root_key::id::KeyId;
use crate::root_key::waiters::Waiters;

/// The data key that seals a payload of `length` bytes.
pub(crate) async fn data_key_for(
    inner: &Arc<Inner>,
    purpose: Purpose,
    length: usize,
    caller: Caller,
) -> Result<Arc<DataKey>, EnvelopeError> {
    let mut changes = inner.changes.subscribe();
    loop {
        match next(inner, purpose, length)? {
            Next::Take(data_key) => return Ok(data_key),
            Next::Make(id, suite) => return single_use(inner, id, purpose, suite, caller).await,
            Next::Wait => changes.changed().await.map_err(|_| EnvelopeError::Stopped)?,
        }
    }
}

/// The source of the next data key.
enum Next {
    /// The current data key.
    Take(Arc<DataKey>),
    /// A new data key for one payload alone.
    Make(KeyId, Suite),
    /// Wait until the reconciler has made one.
    Wait,
}

/// Makes a data key for one payload. The call continues after its caller has gone, so that the root key's health is
/// recorded however short the callers' deadlines are.
async fn single_use(
    inner: &Arc<Inner>,
    id: KeyId,
    purpose: Purpose,
    suite: Suite,
    caller: Caller,
) -> Result<Arc<DataKey>, EnvelopeError> {
    let permit = inner
        .single_use
        .enter(caller.connection)
        .ok_or(EnvelopeError::TooManyCalls)?;
    let inner = inner.clone();
    let (waiters, waiter) = Waiters::of_caller(caller);
    let making = tokio::spawn(async move {
        let _permit = permit;
        tokio::select! {
            biased;
            made = inner.make_data_key(&id, purpose, suite, &waiters) => {
                if let Err(error) = &made {
                    note_refusal(&inner, &id, error);
                }
                made.map_err(|error| EnvelopeError::from(&error))
            }
            () = waiters.abandoned() => Err(EnvelopeError::TooManyCalls),
        }
    });
    let made = making.await.map_err(|_| EnvelopeError::Stopped)?;
    drop(waiter);
    made.map(Arc::new)
}

/// Without reuse no data key remains to encrypt with, so Status must fail as soon as the root key refuses an Encrypt.
/// Status recovers when the reconciler has made and proven a data key.
fn note_refusal(inner: &Inner, id: &KeyId, error: &Error) {
    if error.reaction() != Reaction::Operator {
        return;
    }
    let state = inner.lock();
    if state.encrypts(id) && inner.observe(state, &Event::Refused { id, error }).is_some() {
        inner.reconcile_wanted.notify_one();
    }
}

fn next(inner: &Inner, purpose: Purpose, length: usize) -> Result<Next, EnvelopeError> {
    let mut state = inner.lock();
    let now = inner.clock.boottime();
    let id = state.ready(now)?.id.clone();
    let suspended = state.health.is_outage();
    let EnvelopeState { policy, rollovers, .. } = &mut *state;
    if policy.reuse == Reuse::Never {
        return Ok(Next::Make(id, policy.suite));
    }
    let Some(rollover) = rollovers.get_mut(&(id, purpose)) else {
        // A listing has just dropped the version; `promotion` will set the reason in a moment.
        return Err(EnvelopeError::Unavailable(
            "the primary version is no longer in the store".into(),
        ));
    };
    let Taken { key, next_is_due } = rollover.take(length, policy, now, suspended);
    if next_is_due {
        inner.reconcile_wanted.notify_one();
    }
    if key.is_none() {
        // If this payload has ended the data key, an outage leaves no other to wait for.
        state.ready(now)?;
    }
    Ok(key.map_or(Next::Wait, Next::Take))
}
