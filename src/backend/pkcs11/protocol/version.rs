//! Versions of a root key on the wire.

use crate::backend::pkcs11::protocol::ProtocolError;
use crate::clock::Timestamp;
use crate::proto::token_worker as wire;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::root_key::version::Version;

pub(super) fn to_wire(version: &Version) -> wire::Version {
    let Version { number, state, id } = version;
    wire::Version {
        number: u16::from(*number).into(),
        state: Some(state_to_wire(*state)),
        id: id.as_bytes().to_vec(),
    }
}

pub(super) fn from_wire(version: wire::Version) -> Result<Version, ProtocolError> {
    let wire::Version { number, state, id } = version;
    Ok(Version {
        number: number_from_wire(number)?,
        state: state_from_wire(state)?,
        id: KeyId::try_from(id.as_slice()).map_err(|_| ProtocolError::Field("id"))?,
    })
}

pub(super) fn state_to_wire(state: State) -> wire::State {
    use wire::state::State as Wire;
    let state = match state {
        State::Pending => Wire::Pending(wire::Pending {}),
        State::ActiveFrom(moment) => Wire::ActiveFrom(moment.unix()),
        State::RetiredSince(moment) => Wire::RetiredSince(moment.unix()),
    };
    wire::State { state: Some(state) }
}

pub(super) fn state_from_wire(state: Option<wire::State>) -> Result<State, ProtocolError> {
    use wire::state::State as Wire;
    let state = state.and_then(|state| state.state);
    Ok(match state.ok_or(ProtocolError::Field("state"))? {
        Wire::Pending(_) => State::Pending,
        Wire::ActiveFrom(moment) => State::ActiveFrom(Timestamp::from_unix(moment)),
        Wire::RetiredSince(moment) => State::RetiredSince(Timestamp::from_unix(moment)),
    })
}

pub(super) fn number_from_wire(number: u32) -> Result<Number, ProtocolError> {
    let number = u16::try_from(number).map_err(|_| ProtocolError::Field("number"))?;
    Number::try_from(number).map_err(|_| ProtocolError::Field("number"))
}

pub(super) fn mechanism_from_wire(number: u32) -> Result<Mechanism, ProtocolError> {
    let number = u8::try_from(number).ok().and_then(Mechanism::from_number);
    number.ok_or(ProtocolError::Field("mechanism"))
}
