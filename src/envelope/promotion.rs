//! Carries out what the rules of `primary` decide: records the new primary on disk before Status reports it.

use std::time::Duration;

use crate::envelope::Inner;
use crate::envelope::error::EnvelopeError;
use crate::envelope::sleep_if;
use crate::envelope::state::EnvelopeState;
use crate::envelope::state::HighWaterRead;
use crate::envelope::state::Primary;
use crate::root_key::high_water::HighWater;
use crate::root_key::id::key_id_hash;
use crate::root_key::primary::Choice;
use crate::root_key::version::Version;
use crate::telemetry::log::chain;
use crate::telemetry::metrics::KeyIdHashLabels;

/// How often the calendar is checked while an activation is due: the system clock may be set at any time.
const LOOK_AT_CALENDAR: Duration = Duration::from_secs(1);
/// The wait before a failed write of the high-water mark is tried again.
const RETRY_WRITE: Duration = Duration::from_secs(1);

/// Never returns. Calls no root key, so an outage does not delay a switch.
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

/// Applies the rules once. Returns when to apply them again without a notification.
async fn step(inner: &Inner) -> Option<Duration> {
    let (choice, is_ahead) = {
        let state = inner.lock();
        let choice = choose(inner, &state)?;
        let wanted = match &choice {
            Choice::Primary(version) => Some(high_water_of(version)),
            Choice::Wait(_) | Choice::Refuse(_) => None,
        };
        let is_ahead = state.written_ahead.is_some() && state.written_ahead != wanted;
        (choice, is_ahead)
    };
    // A loss must reach Status before the writes below, which may take long.
    match &choice {
        Choice::Primary(_) => {}
        Choice::Wait(version) => {
            let reason = format!("version {} has no proven data key yet", version.number);
            wait_for_data_key(inner, EnvelopeError::Unavailable(reason));
        }
        Choice::Refuse(sentence) => absent(inner, EnvelopeError::Refused(sentence.clone())),
    }
    if is_ahead {
        return Some(match take_back(inner).await {
            Ok(()) => Duration::ZERO,
            Err(error) => {
                let unwritten = Unwritten::BeforeAgain {
                    stands_in_the_way: matches!(choice, Choice::Primary(_)),
                };
                not_written(inner, unwritten, error.as_ref())
            }
        });
    }
    if let Choice::Primary(version) = choice {
        match report(inner, version).await {
            Ok(true) => {}
            // The choice has changed meanwhile.
            Ok(false) => return Some(Duration::ZERO),
            Err(error) => return Some(not_written(inner, Unwritten::New, error.as_ref())),
        }
    }
    let state = inner.lock();
    let to_come = state.candidates(inner.clock.now())?.next_activation();
    to_come.map(|_| LOOK_AT_CALENDAR)
}

/// The choice by the rules now. The rules need a listing and the high-water mark; the reconciler reads both and calls
/// again.
fn choose(inner: &Inner, state: &EnvelopeState) -> Option<Choice> {
    let candidates = state.candidates(inner.clock.now())?;
    Some(candidates.choose(|id| state.has_data_keys(id, &inner.purposes)))
}

fn high_water_of(version: &Version) -> HighWater {
    HighWater {
        number: version.number,
        id: version.id.clone(),
    }
}

type Written<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Makes `version` the primary: on disk first, then in memory in one step. The write may take seconds, and the version
/// may be refused or leave the store meanwhile, so the rules are applied again after the write. Returns whether the
/// version is the primary now.
async fn report(inner: &Inner, version: Version) -> Written<bool> {
    let high_water = high_water_of(&version);
    let known = inner.lock().high_water == HighWaterRead::Read(Some(high_water.clone()));
    if !known {
        let (file, high_water) = (inner.high_water.clone(), high_water.clone());
        let Some(name) = inner.stores.first().map(|store| store.name.clone()) else {
            return Ok(false);
        };
        inner.lock().written_ahead = Some(high_water.clone());
        inner.files.run(move || file.write(&name, high_water)).await??;
    }
    let mut state = inner.lock();
    state.high_water_error = None;
    let version = match choose(inner, &state) {
        Some(Choice::Primary(now)) if now.id == version.id => now,
        Some(Choice::Primary(higher)) if higher.rank() > version.rank() => return Ok(false),
        // The high-water mark can no longer be read; the version may still be good.
        None => return Ok(false),
        Some(_) => {
            drop(state);
            let key_id = version.id.to_string();
            tracing::warn!(
                key_id,
                version = %version.number,
                "this version was refused, left the store or got another date while it was being recorded; it does \
                 not encrypt on this node"
            );
            return Ok(false);
        }
    };
    let reported = state.encrypts(&version.id);
    state.high_water = HighWaterRead::Read(Some(high_water));
    state.written_ahead = None;
    state.primary = Primary::Present(version.clone());
    state.drop_data_keys_below_the_primary(inner.clock.now());
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
    Ok(true)
}

/// Writes the version that was reported last into the file again. The file names a version that no Status has reported;
/// after a restart with it, the node could not continue with the version that works.
async fn take_back(inner: &Inner) -> Written<()> {
    let high_water = inner.lock().high_water.clone();
    let (HighWaterRead::Read(high_water), Some(store)) = (high_water, inner.stores.first()) else {
        return Ok(());
    };
    let (file, name) = (inner.high_water.clone(), store.name.clone());
    let write = move || match high_water {
        Some(high_water) => file.write(&name, high_water),
        None => file.forget(&name),
    };
    inner.files.run(write).await??;
    let mut state = inner.lock();
    state.written_ahead = None;
    state.high_water_error = None;
    Ok(())
}

/// A version that could not be written into the file `primary`.
#[derive(Clone, Copy, Debug)]
enum Unwritten {
    /// A version that should encrypt.
    New,
    /// The version that was reported last, to replace one that does not encrypt.
    BeforeAgain {
        /// Whether only this write keeps a version from encrypting.
        stands_in_the_way: bool,
    },
}

/// Records a failed write. Returns the wait before the next one.
fn not_written(
    inner: &Inner,
    unwritten: Unwritten,
    error: &(dyn std::error::Error + Send + Sync + 'static),
) -> Duration {
    let reason = chain(error);
    let (sentence, stands_in_the_way) = match unwritten {
        Unwritten::New => (format!("the new primary cannot be recorded: {reason}"), true),
        Unwritten::BeforeAgain { stands_in_the_way } => (
            format!("the file `primary` names a version that does not encrypt, and cannot be corrected: {reason}"),
            stands_in_the_way,
        ),
    };
    let mut state = inner.lock();
    if stands_in_the_way && !state.has_primary() {
        state.set_absent(EnvelopeError::Refused(sentence.clone()));
    }
    if state.high_water_error.as_ref() != Some(&sentence) {
        match unwritten {
            Unwritten::New => tracing::error!(error = reason, "the new primary cannot be recorded, so it is not used"),
            Unwritten::BeforeAgain { .. } => tracing::error!(
                error = reason,
                "the file `primary` names a version that does not encrypt, and cannot be corrected"
            ),
        }
        state.high_water_error = Some(sentence);
    }
    RETRY_WRITE
}

/// Logged at debug level, since every start waits here for a moment. If the wait lasts, the reconciler logs the cause.
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

/// Returns whether this or the reason is new.
fn set_absent(inner: &Inner, reason: EnvelopeError) -> bool {
    let news = inner.lock().set_absent(reason);
    if news {
        inner.metrics.primary.clear();
        inner.changed();
        // The reconciler then works at the pace of its retries, to end this state soon.
        inner.reconcile_wanted.notify_one();
    }
    news
}
