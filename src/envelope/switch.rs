//! Decides which version encrypts, and writes it down before anybody hears of it.

use std::time::Duration;

use crate::envelope::Inner;
use crate::envelope::error::EnvelopeError;
use crate::envelope::primary::Choice;
use crate::envelope::sleep_if;
use crate::envelope::state::Mark;
use crate::envelope::state::Primary;
use crate::root_key::high_water::HighWater;
use crate::root_key::id::key_id_hash;
use crate::root_key::version::Version;
use crate::telemetry::log::chain;
use crate::telemetry::metrics::KeyIdHashLabels;

/// While an activation is to come, the calendar is looked at so often: it may be set at any time.
const LOOK_AT_CALENDAR: Duration = Duration::from_secs(1);
/// A mark that could not be written is tried again after so long.
const RETRY_MARK: Duration = Duration::from_secs(1);

/// Runs for ever. It calls no root key, so an outage does not delay a switch.
pub(crate) async fn run(inner: &Inner) {
    loop {
        let look_again = step(inner).await;
        tokio::select! {
            biased;
            () = inner.switch_wanted.notified() => {}
            () = sleep_if(look_again) => {}
        }
    }
}

/// Applies the rules once; says when to look again unasked.
async fn step(inner: &Inner) -> Option<Duration> {
    let choice = {
        let state = inner.lock();
        // The rules need a listing and the mark; the keeper brings both and calls again.
        let candidates = state.candidates(inner.clock.now())?;
        candidates.choose(|id| state.has_data_keys(id, &inner.purposes))
    };
    match choice {
        Choice::Primary(version) => match report(inner, version).await {
            Ok(()) => {}
            Err(error) => {
                let reason = chain(error.as_ref());
                let mut state = inner.lock();
                if !state.has_primary() {
                    let refusal = format!("the version that should encrypt can't be written down: {reason}");
                    state.set_absent(EnvelopeError::Refused(refusal));
                }
                if state.mark_error.as_ref() != Some(&reason) {
                    tracing::error!(
                        error = reason,
                        "the new primary can't be written down, so it is not used"
                    );
                    state.mark_error = Some(reason);
                }
                return Some(RETRY_MARK);
            }
        },
        Choice::Wait(version) => {
            let reason = format!("version {} has no proven data key yet", version.number);
            wait_for_data_key(inner, EnvelopeError::Unavailable(reason));
        }
        Choice::Refuse(sentence) => absent(inner, EnvelopeError::Refused(sentence)),
    }
    let state = inner.lock();
    let to_come = state.candidates(inner.clock.now())?.next_activation();
    to_come.map(|_| LOOK_AT_CALENDAR)
}

/// Makes `version` the primary: on disk first, then for everybody in one step.
async fn report(inner: &Inner, version: Version) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mark = HighWater {
        number: version.number,
        id: version.id.clone(),
    };
    let (known, reported) = {
        let state = inner.lock();
        let reported = state.encrypts(&version.id);
        (state.mark == Mark::Read(Some(mark.clone())), reported)
    };
    if !known {
        let (file, mark) = (inner.high_water.clone(), mark.clone());
        let Some(name) = inner.stores.first().map(|store| store.name.clone()) else {
            return Ok(());
        };
        inner.files.run(move || file.write(&name, mark)).await??;
    }
    let mut state = inner.lock();
    state.mark = Mark::Read(Some(mark));
    state.mark_error = None;
    state.primary = Primary::Present(version.clone());
    state.drop_standing_below_the_primary(inner.clock.now());
    drop(state);
    if !reported {
        let key_id = version.id.to_string();
        tracing::info!(key_id, version = %version.number, "this version encrypts from now on");
        let key_id_hash = key_id_hash(&key_id);
        inner.metrics.primary.clear();
        inner
            .metrics
            .primary
            .get_or_create(&KeyIdHashLabels { key_id_hash })
            .set(1);
        inner.changed();
    }
    Ok(())
}

/// Every start comes through here for a moment. What makes it last, the keeper logs.
fn wait_for_data_key(inner: &Inner, reason: EnvelopeError) {
    let sentence = reason.to_string();
    if set_absent(inner, reason) {
        tracing::debug!(reason = sentence, "no version encrypts yet");
    }
}

fn absent(inner: &Inner, reason: EnvelopeError) {
    let sentence = reason.to_string();
    if set_absent(inner, reason) {
        tracing::warn!(reason = sentence, "no version encrypts");
    }
}

/// Says whether that is news.
fn set_absent(inner: &Inner, reason: EnvelopeError) -> bool {
    let news = inner.lock().set_absent(reason);
    if news {
        inner.metrics.primary.clear();
        inner.changed();
        // What ends it, the keeper finds: at the pace of something that is not good.
        inner.keeper_wanted.notify_one();
    }
    news
}
