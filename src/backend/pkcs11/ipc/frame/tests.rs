//! The content of frames, and the errors for frames that dekhand has not written.

use super::*;
use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::message::Answer;
use crate::backend::pkcs11::ipc::message::FromWorker;
use crate::backend::pkcs11::ipc::message::Level;
use crate::backend::pkcs11::ipc::message::Outcome;
use crate::backend::pkcs11::ipc::message::ToWorker;
use crate::clock::Timestamp;
use crate::root_key::Wrapped;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::root_key::version::State;
use crate::secret::Key;
use crate::token::problem::Failure;

/// The numbers of variants in messages.
const ATTRIBUTES: u32 = 7;
const RELABEL: u32 = 10;
const ACTIVE_FROM: u32 = 1;

/// A key that is easy to find among other bytes.
const BYTES: [u8; 32] = [0xa7; 32];

fn key() -> Key {
    Key::copied_from(&BYTES).unwrap()
}

fn id() -> KeyId {
    KeyId::try_from([9; 16].as_slice()).unwrap()
}

fn has_the_key(bytes: &[u8]) -> bool {
    bytes.windows(BYTES.len()).any(|window| window == BYTES)
}

/// The messages that carry a key.
fn with_a_key() -> [Frame; 3] {
    let (id, number) = (id(), 1.try_into().unwrap());
    let state = State::ActiveFrom(Timestamp::from_unix(1_772_366_400));
    let calls = [
        Call::Wrap { id, data_key: key() },
        Call::Import {
            number,
            state,
            key: key(),
        },
    ];
    let [wrap, import] = calls.map(|call| Frame::of(&ToWorker { number: 1, call }).unwrap());
    let answer = Answer {
        number: 1,
        memory: 0,
        result: Ok(Outcome::DataKey(key())),
    };
    [wrap, import, Frame::of(&FromWorker::Answer(answer)).unwrap()]
}

#[test]
fn the_bytes_of_a_key_are_written_once_into_a_buffer_of_the_right_size() {
    for frame in with_a_key() {
        assert_eq!(frame.0.capacity(), frame.0.len(), "it has never grown");
        assert!(has_the_key(frame.as_bytes()));
        assert_eq!(format!("{frame:?}"), "[redacted]");
    }
}

#[test]
fn a_message_with_a_key_is_neither_printed_nor_written_as_text() {
    for frame in with_a_key() {
        let (debug, json) = if let Ok(message) = decode::<ToWorker<Call>>(frame.message()) {
            (format!("{message:?}"), serde_json::to_string(&message))
        } else {
            let message: FromWorker = decode(frame.message()).unwrap();
            (format!("{message:?}"), serde_json::to_string(&message))
        };
        assert!(debug.contains("[redacted]") && !debug.contains("167"), "{debug}");
        assert!(json.unwrap_err().to_string().contains("never written as text"));
    }
}

#[test]
fn a_length_beyond_every_message_is_refused_before_anything_is_allocated_for_it() {
    for length in [u32::MAX, (1 << 20) + 1] {
        let error = read::<FromWorker>(length.to_be_bytes().as_slice()).unwrap_err();
        assert!(
            matches!(error, ProtocolError::TooLong(said) if said == length as usize),
            "{error}"
        );
    }
    let longest = FromWorker::NotStarted("a".repeat(1 << 20));
    assert!(matches!(Frame::of(&longest).unwrap_err(), ProtocolError::TooLong(_)));
}

#[test]
fn a_length_inside_a_message_that_goes_beyond_it_is_refused() {
    // An unwrap whose wrapped key claims to have 2^63 bytes.
    let call = Call::Unwrap {
        id: id(),
        wrapped: Wrapped {
            mechanism: Mechanism::AesGcm,
            bytes: Vec::new(),
        },
    };
    let frame = Frame::of(&ToWorker { number: 1, call }).unwrap();
    let mut message = frame.message().to_vec();
    assert_eq!(message.pop(), Some(0));
    message.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]);
    decode::<ToWorker<Call>>(&message).unwrap_err();
}

#[test]
fn what_is_cut_short_or_continues_is_no_message() {
    for frame in with_a_key() {
        let message = frame.message();
        let is_call = decode::<ToWorker<Call>>(message).is_ok();
        let is_one = |bytes: &[u8]| {
            if is_call {
                decode::<ToWorker<Call>>(bytes).is_ok()
            } else {
                decode::<FromWorker>(bytes).is_ok()
            }
        };
        assert!(is_one(message));
        for length in 0..message.len() {
            assert!(!is_one(&message[..length]), "{length} bytes");
        }
        assert!(!is_one(&[message, &[0]].concat()));
    }
}

#[test]
fn keys_ids_numbers_and_dates_out_of_their_range_are_no_message() {
    let call = Call::Generate {
        number: 1.try_into().unwrap(),
        state: State::Pending,
    };
    let frame = Frame::of(&ToWorker { number: 1, call }).unwrap();
    let mut message = frame.message().to_vec();
    let number = message.iter().rposition(|byte| *byte == 1).unwrap();
    message[number] = 0;
    decode::<ToWorker<Call>>(&message).unwrap_err();

    let [wrap, ..] = with_a_key();
    let mut message = wrap.message().to_vec();
    message.pop();
    let length = message.len() - 32;
    assert_eq!(message[length], 32, "the length of the key");
    message[length] = 31;
    decode::<ToWorker<Call>>(&message).unwrap_err();

    let attributes = |id: &[u8]| Frame::of(&(1_u64, ATTRIBUTES, id)).unwrap();
    let call: ToWorker<Call> = decode(attributes(id().as_bytes()).message()).unwrap();
    assert!(matches!(call.call, Call::Attributes { id: same } if same == id()));
    for length in [0, 7, 33] {
        decode::<ToWorker<Call>>(attributes(&vec![9; length]).message()).unwrap_err();
    }

    let relabel = |date: u64| {
        let (call, state) = (RELABEL, ACTIVE_FROM);
        Frame::of(&(1_u64, call, id(), state, date)).unwrap()
    };
    decode::<ToWorker<Call>>(relabel(1_772_366_400).message()).unwrap();
    // The first second of the year 10000, which has no text in RFC 3339.
    decode::<ToWorker<Call>>(relabel(253_402_300_800).message()).unwrap_err();
}

#[test]
fn an_error_arrives_with_its_kind_and_its_causes() {
    let cause = std::io::Error::other("the cable is cut");
    let error = Error::new(Kind::Refusal, "a data key cannot be wrapped").because(cause);
    let failure = Failure {
        pin_rejected: true,
        ..error.into()
    };
    let answer = Answer {
        number: 3,
        memory: 4,
        result: Err(failure),
    };
    let frame = Frame::of(&FromWorker::Answer(answer)).unwrap();
    let FromWorker::Answer(answer) = decode(frame.message()).unwrap() else {
        panic!("no answer");
    };
    let failure = answer.result.unwrap_err();
    assert_eq!(failure.error.kind(), Kind::Refusal);
    assert_eq!(failure.error.chain(), "a data key cannot be wrapped: the cable is cut");
    assert!(failure.pin_rejected && !failure.ends_worker);
}

#[test]
fn messages_in_a_row_are_read_one_by_one() {
    let mut stream = Vec::new();
    for message in ["one", "two"] {
        let (level, message) = (Level::Info, message.to_owned());
        write(&mut stream, &FromWorker::Event { level, message }).unwrap();
    }
    let mut stream = stream.as_slice();
    for expected in ["one", "two"] {
        let message = read(&mut stream).unwrap();
        assert!(matches!(message, FromWorker::Event { message, .. } if message == expected));
    }
    let end = read::<FromWorker>(&mut stream).unwrap_err();
    assert!(
        matches!(&end, ProtocolError::Channel(error) if error.kind() == std::io::ErrorKind::UnexpectedEof),
        "{end}"
    );
}
