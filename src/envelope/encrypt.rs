//! The way of `Encrypt`: the data key that stands ready, or one made for this payload alone.

use std::sync::Arc;

use crate::crypto::derive::Purpose;
use crate::crypto::suite::Suite;
use crate::envelope::Inner;
use crate::envelope::data_key::DataKey;
use crate::envelope::error::EnvelopeError;
use crate::envelope::policy::Reuse;
use crate::envelope::state::State;
use crate::proto::asker::Asker;
use crate::root_key::error::Error;
use crate::root_key::error::Remedy;
use crate::root_key::id::KeyId;
use crate::root_key::patience::Patience;

/// The data key that seals the next payload.
pub(crate) async fn data_key_for(
    inner: &Arc<Inner>,
    purpose: Purpose,
    asker: Asker,
) -> Result<Arc<DataKey>, EnvelopeError> {
    let mut changes = inner.changes.subscribe();
    loop {
        match next(inner, purpose)? {
            Next::Take(data_key) => return Ok(data_key),
            Next::Make(id, suite) => return single_use(inner, id, purpose, suite, asker).await,
            Next::Wait => changes.changed().await.map_err(|_| EnvelopeError::Stopped)?,
        }
    }
}

/// Where the next data key comes from.
enum Next {
    /// It stands ready.
    Take(Arc<DataKey>),
    /// It is made for one payload alone.
    Make(KeyId, Suite),
    /// The reconciler makes it.
    Wait,
}

/// A data key for one payload. Once begun it is made to its end also when the caller goes away, so that the truth about
/// the root key does not depend on the callers' patience.
async fn single_use(
    inner: &Arc<Inner>,
    id: KeyId,
    purpose: Purpose,
    suite: Suite,
    asker: Asker,
) -> Result<Arc<DataKey>, EnvelopeError> {
    let permit = inner
        .single_use
        .enter(asker.origin)
        .ok_or(EnvelopeError::TooManyCalls)?;
    let inner = inner.clone();
    let (patience, caller) = Patience::of_a_caller(asker);
    let making = tokio::spawn(async move {
        let _permit = permit;
        tokio::select! {
            biased;
            made = inner.make_data_key(&id, purpose, suite, &patience) => {
                if let Err(error) = &made {
                    note_refusal(&inner, &id, error);
                }
                made.map_err(|error| EnvelopeError::from(&error))
            }
            () = patience.lost() => Err(EnvelopeError::TooManyCalls),
        }
    });
    let made = making.await.map_err(|_| EnvelopeError::Stopped)?;
    drop(caller);
    made.map(Arc::new)
}

/// Without reuse there is no data key that goes on: what the root key refuses to an Encrypt, Status must not promise to
/// the next one. The reconciler ends it, with a data key that is proven.
fn note_refusal(inner: &Inner, id: &KeyId, error: &Error) {
    if error.remedy() != Remedy::Operator {
        return;
    }
    let mut state = inner.lock();
    if state.encrypts(id) && state.truth.note_refusal(error) {
        drop(state);
        tracing::error!(key_id = %id, error = error.chain(), "the root key refuses; nothing is encrypted");
        inner.reconcile_wanted.notify_one();
    }
}

fn next(inner: &Inner, purpose: Purpose) -> Result<Next, EnvelopeError> {
    let mut state = inner.lock();
    let now = inner.clock.boottime();
    let id = state.ready(now)?.id.clone();
    let suspended = state.truth.is_outage();
    let State { policy, standing, .. } = &mut *state;
    if policy.reuse == Reuse::Never {
        return Ok(Next::Make(id, policy.suite));
    }
    let Some(standing) = standing.get_mut(&(id, purpose)) else {
        // The listing was taken a moment ago; the switch is about to say why.
        return Err(EnvelopeError::Unavailable(
            "the version that encrypts left the store".into(),
        ));
    };
    let taken = standing.take(policy, now, suspended);
    if standing.wants_spare(policy, now) {
        inner.reconcile_wanted.notify_one();
    }
    Ok(taken.map_or(Next::Wait, Next::Take))
}
