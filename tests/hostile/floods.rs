//! Callers that send frames without end.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Instant;

use prost::Message as _;

use crate::scene::Held;
use crate::scene::Scene;
use crate::wire::CONTINUATION;
use crate::wire::DATA;
use crate::wire::DECRYPT;
use crate::wire::ENCRYPT;
use crate::wire::END_HEADERS;
use crate::wire::END_STREAM;
use crate::wire::HEADERS;
use crate::wire::Hostile;
use crate::wire::INITIAL_WINDOW_SIZE;
use crate::wire::PING;
use crate::wire::PRIORITY;
use crate::wire::SETTINGS;
use crate::wire::call;
use crate::wire::cancel;
use crate::wire::encrypt_request;
use crate::wire::frame;
use crate::wire::id;
use crate::wire::message;
use crate::wire::setting;
use crate::wire::whole;
use crate::wire::window_update;
use support::daemon::request_for;

/// Connections that flood at once.
const CONNECTIONS: usize = 16;

/// Sends one after the other what `next` makes of a count, on connections at once, until the time is over; who is
/// closed connects anew. Answers are read, or not.
pub(crate) fn flood(scene: &Scene, read: bool, begin: &[u8], next: impl Fn(usize) -> Vec<u8> + Sync) -> Held {
    let until = Instant::now() + scene.lasts;
    let one = || {
        let mut last = None;
        while Instant::now() < until {
            let connection = Hostile::greet(&scene.socket);
            let reader = read.then(|| connection.read_on());
            let mut goes_on = connection.send(begin);
            for count in 0.. {
                if !goes_on || Instant::now() >= until {
                    break;
                }
                goes_on = connection.send(&next(count));
            }
            if let Some(reader) = reader {
                connection.end();
                reader.join().unwrap();
            } else {
                last = Some(connection);
            }
        }
        last
    };
    std::thread::scope(|threads| {
        let all: Vec<_> = (0..CONNECTIONS).map(|_| threads.spawn(one)).collect();
        all.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    })
}

fn same(scene: &Scene, read: bool, frame: &[u8]) -> Held {
    let many = frame.repeat((32 << 10) / frame.len());
    flood(scene, read, &[], |_| many.clone())
}

pub(crate) fn pings(scene: &Scene) -> Held {
    same(scene, true, &frame(PING, 0, 0, b"flooding"))
}

pub(crate) fn pings_unread(scene: &Scene) -> Held {
    same(scene, false, &frame(PING, 0, 0, b"flooding"))
}

pub(crate) fn settings(scene: &Scene) -> Held {
    same(scene, true, &frame(SETTINGS, 0, 0, &[]))
}

pub(crate) fn settings_unread(scene: &Scene) -> Held {
    same(scene, false, &setting(INITIAL_WINDOW_SIZE, 1))
}

/// Each moves the window of every call that is open.
pub(crate) fn settings_with_open_calls(scene: &Scene) -> Held {
    let begun: Vec<u8> = (0..512)
        .flat_map(|number| frame(HEADERS, END_HEADERS, id(number), &call(ENCRYPT)))
        .collect();
    let moves = [setting(INITIAL_WINDOW_SIZE, 1), setting(INITIAL_WINDOW_SIZE, 100_000)]
        .concat()
        .repeat(500);
    flood(scene, true, &begun, |_| moves.clone())
}

pub(crate) fn window_updates(scene: &Scene) -> Held {
    same(scene, true, &window_update(0, 1))
}

pub(crate) fn window_updates_of_calls(scene: &Scene) -> Held {
    let begun: Vec<u8> = (0..512)
        .flat_map(|number| frame(HEADERS, END_HEADERS, id(number), &call(ENCRYPT)))
        .collect();
    let updates: Vec<u8> = (0..512).flat_map(|number| window_update(id(number), 1)).collect();
    flood(scene, true, &begun, |_| updates.clone())
}

/// Frames that mean nothing, or nothing any more.
pub(crate) fn ignored_frames(scene: &Scene) -> Held {
    let frames = [frame(0xfa, 0, 0, &[7; 100]), frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 7])].concat();
    same(scene, true, &frames)
}

pub(crate) fn empty_data(scene: &Scene) -> Held {
    let begun = frame(HEADERS, END_HEADERS, 1, &call(ENCRYPT));
    let empty = frame(DATA, 0, 1, &[]).repeat(3000);
    flood(scene, true, &begun, |_| empty.clone())
}

/// A header block that never ends, in pieces of nothing, of one byte and of 16 KiB.
pub(crate) fn continuations(scene: &Scene) -> Held {
    let mut block = call(ENCRYPT);
    // Then a field without value, again and again: `\0`, name of one byte, value of none.
    block.extend(b"\x00\x01x\x00".repeat(4096));
    let begun = frame(HEADERS, 0, 1, &block[..200]);
    let pieces = [
        frame(CONTINUATION, 0, 1, &[]).repeat(3000),
        (0..3000)
            .flat_map(|at| frame(CONTINUATION, 0, 1, &b"\x00\x01x\x00"[at % 4..=at % 4]))
            .collect(),
        frame(CONTINUATION, 0, 1, &b"\x00\x01x\x00".repeat(4096)),
    ];
    let number = std::sync::atomic::AtomicUsize::new(0);
    flood(scene, true, &begun, |count| {
        if count == 0 {
            number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        pieces[number.load(std::sync::atomic::Ordering::Relaxed) % pieces.len()].clone()
    })
}

/// Begun and cancelled in one write, 10,000 times on a connection.
pub(crate) fn rapid_reset(scene: &Scene) -> Held {
    let block = call(ENCRYPT);
    let pair = |number| [frame(HEADERS, END_HEADERS, id(number), &block), cancel(id(number))].concat();
    let ten_thousand: Vec<u8> = (0..10_000).flat_map(pair).collect();
    let connections: Held = (0..4).map(|_| Hostile::greet(&scene.socket)).collect();
    std::thread::scope(|threads| {
        for connection in &connections {
            threads.spawn(|| {
                let reader = connection.read_on();
                connection.send(&ten_thousand);
                std::thread::sleep(scene.lasts / 2);
                connection.end();
                reader.join().unwrap();
            });
        }
    });
    connections
}

/// Calls that the daemon itself must reset (CVE-2025-8671): a window update of nothing on each.
pub(crate) fn made_you_reset(scene: &Scene) -> Held {
    let block = call(ENCRYPT);
    flood(scene, true, &[], |count| {
        let one = |number| {
            [
                frame(HEADERS, END_HEADERS, id(number), &block),
                window_update(id(number), 0),
            ]
            .concat()
        };
        (count * 500..(count + 1) * 500).flat_map(one).collect()
    })
}

/// As many whole calls as the connections can carry.
pub(crate) fn calls(scene: &Scene) -> Held {
    let (block, body) = (call(ENCRYPT), message(0, &encrypt_request(32)));
    flood(scene, true, &window_update(0, 1 << 30), |count| {
        (count * 100..(count + 1) * 100)
            .flat_map(|number| whole(id(number), &block, &body))
            .collect()
    })
}

/// Decrypts that name the version which encrypts, each with another wrapped key: none is in memory, or known as bad.
pub(crate) fn forged_wrapped_keys(scene: &Scene) -> Held {
    let block = call(DECRYPT);
    let number = AtomicU32::new(0);
    flood(scene, true, &window_update(0, 1 << 30), |count| {
        let one = |stream| {
            let mut forged = scene.sealed.clone();
            // Behind format, id and length: the first bytes that the root key made.
            let number = number.fetch_add(1, Ordering::Relaxed);
            forged.ciphertext[30..34].copy_from_slice(&number.to_be_bytes());
            whole(id(stream), &block, &message(0, &request_for(&forged).encode_to_vec()))
        };
        (count * 100..(count + 1) * 100).flat_map(one).collect()
    })
}

/// The headers of calls that never have a message, each call ended at once.
pub(crate) fn empty_calls(scene: &Scene) -> Held {
    let block = call(ENCRYPT);
    flood(scene, true, &window_update(0, 1 << 30), |count| {
        let one = |number| frame(HEADERS, END_HEADERS | END_STREAM, id(number), &block);
        (count * 200..(count + 1) * 200).flat_map(one).collect()
    })
}
