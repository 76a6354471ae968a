//! The messages between daemon, spawner and workers: no bytes panic their reader, and what it accepts is one message that
//! reads back from its own bytes.

use dekhand::backend::pkcs11::ipc::call::Call;
use dekhand::backend::pkcs11::ipc::frame;
use dekhand::backend::pkcs11::ipc::frame::Frame;
use dekhand::backend::pkcs11::ipc::message::FromWorker;
use dekhand::backend::pkcs11::ipc::message::ToSpawner;
use dekhand::backend::pkcs11::ipc::message::ToWorker;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Checks one input, as each end may receive it. Says whether it is a message.
pub(crate) fn check(bytes: &[u8]) -> bool {
    frame::read::<ToWorker<Call>>(bytes).ok();
    frame::read::<FromWorker>(bytes).ok();
    reads_back::<ToWorker<Call>>(bytes) | reads_back::<FromWorker>(bytes) | reads_back::<ToSpawner>(bytes)
}

fn reads_back<M: Serialize + DeserializeOwned>(bytes: &[u8]) -> bool {
    let Ok(message) = frame::decode::<M>(bytes) else {
        return false;
    };
    let written = Frame::of(&message).expect("a message that was read is not too long");
    let again: M = frame::decode(written.message()).expect("what is written is read");
    assert_eq!(Frame::of(&again).expect("as long").message(), written.message());
    true
}
