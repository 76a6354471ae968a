//! Accepting the loss of a version that this node has reported as its primary.

use crate::root_key::high_water::HighWater;
use crate::root_key::high_water::HighWaterFile;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::rotation::check_confirmation;
use crate::root_key::rotation::error::RotationError;
use crate::root_key::rotation::refusal::Refusal;
use crate::root_key::version::Number;
use crate::root_key::version::Version;

/// The recorded version, if its loss can be accepted once it is confirmed. `versions` are those of the store.
///
/// # Errors
/// This node has not reported `id`, or the store has it.
pub fn plan_accept_loss(
    recorded: Option<HighWater>,
    name: &RootKeyName,
    versions: &[Version],
    id: &KeyId,
) -> Result<HighWater, Refusal> {
    let recorded = recorded.ok_or_else(|| Refusal::NothingRecorded { name: name.clone() })?;
    let HighWater { number, id: known } = recorded.clone();
    if known != *id {
        return Err(Refusal::OtherRecorded { number, id: known });
    }
    match versions.iter().find(|version| version.id == *id) {
        None => Ok(recorded),
        Some(version) if version.state.decrypts() => Err(Refusal::NotLost { number, id: known }),
        Some(_) => Err(Refusal::NotLostButRetired { number, id: known }),
    }
}

/// Makes this node forget that it has reported `id`, so that it continues without that version. Payloads sealed under
/// it stay unreadable. `confirmation` is the operator's input, `NAME.vN`.
///
/// # Errors
/// As [`plan_accept_loss`]; the confirmation is missing or wrong; or the state directory cannot be read or written.
pub fn accept_loss(
    file: &HighWaterFile,
    name: &RootKeyName,
    versions: &[Version],
    id: &KeyId,
    confirmation: Option<&str>,
) -> Result<HighWater, RotationError> {
    let lost = plan_accept_loss(file.read(name)?, name, versions, id)?;
    check_confirmation(name, lost.number, confirmation)?;
    file.forget(name)?;
    Ok(lost)
}

/// Checks that the operator has confirmed the use of a different key for a version.
///
/// # Errors
/// The confirmation is missing or wrong.
pub fn accept_other_key(name: &RootKeyName, number: Number, confirmation: Option<&str>) -> Result<(), Refusal> {
    check_confirmation(name, number, confirmation)
}

#[cfg(test)]
mod tests;
