//! Calls that are begun and never ended, cancelled, or never fetched.

use crate::scene::Held;
use crate::scene::Scene;
use crate::wire::DATA;
use crate::wire::ENCRYPT;
use crate::wire::END_HEADERS;
use crate::wire::HEADERS;
use crate::wire::Hostile;
use crate::wire::INITIAL_WINDOW_SIZE;
use crate::wire::STATUS;
use crate::wire::call;
use crate::wire::cancel;
use crate::wire::encrypt_request;
use crate::wire::frame;
use crate::wire::id;
use crate::wire::message;
use crate::wire::setting;
use crate::wire::whole;
use crate::wire::window_update;

/// As many calls as a connection may have open.
const CALLS: usize = 1000;

/// One byte of a header block at a time, on connections of which each has called.
pub(crate) fn slow_headers(scene: &Scene) -> Held {
    let connections: Held = (0..60).map(|_| Hostile::greet(&scene.socket)).collect();
    for connection in &connections {
        connection.send(&whole(1, &call(STATUS), &[0; 5]));
        connection.settle();
        connection.send(&frame(HEADERS, END_HEADERS, 3, &call(ENCRYPT))[..5]);
    }
    let block = frame(HEADERS, END_HEADERS, 3, &call(ENCRYPT));
    for byte in block[5..].chunks(1).take(40) {
        for connection in &connections {
            connection.send(byte);
        }
        std::thread::sleep(scene.lasts / 40);
    }
    connections
}

/// Connections with many calls each, all begun with these bytes, which are no end.
fn begun(scene: &Scene, connections: usize, calls: usize, body: &[u8]) -> Held {
    let connections = (0..connections).map(|_| Hostile::greet(&scene.socket));
    let begin = |connection: Hostile| {
        let reader = connection.read_on();
        for number in 0..calls {
            connection.send(&frame(HEADERS, END_HEADERS, id(number), &call(ENCRYPT)));
            for part in body.chunks(16 << 10) {
                connection.send(&frame(DATA, 0, id(number), part));
            }
        }
        (connection, reader)
    };
    let open: Vec<_> = connections.map(begin).collect();
    std::thread::sleep(scene.lasts);
    let end = |(connection, reader): (Hostile, std::thread::JoinHandle<()>)| {
        connection.end();
        reader.join().unwrap();
        connection
    };
    open.into_iter().map(end).collect()
}

/// Eight connections whose calls have no message yet: four were enough for all the requests in flight that there are.
pub(crate) fn slow_data(scene: &Scene) -> Held {
    begun(scene, 8, CALLS, &message(0, &encrypt_request(32))[..6])
}

/// Messages of 200 KiB of which the last bytes never come.
pub(crate) fn large_and_unfinished(scene: &Scene) -> Held {
    let body = message(0, &encrypt_request(200 << 10));
    begun(scene, 8, 40, &body[..60 << 10])
}

/// Messages of which only the announced length comes, the longest that is legal.
pub(crate) fn announced(scene: &Scene) -> Held {
    begun(scene, 8, CALLS, &[0, 0, 4, 0, 0])
}

/// Calls that are begun, taken by the daemon, and cancelled: 10,000.
pub(crate) fn cancelled(scene: &Scene) -> Held {
    let connection = Hostile::greet(&scene.socket);
    for round in 0..20 {
        let calls = round * 500..(round + 1) * 500;
        let begin = |number| {
            let head = frame(HEADERS, END_HEADERS, id(number), &call(ENCRYPT));
            [
                head,
                frame(DATA, 0, id(number), &message(0, &encrypt_request(32))[..20]),
            ]
            .concat()
        };
        connection.send(&calls.clone().flat_map(begin).collect::<Vec<u8>>());
        connection.settle();
        connection.send(&calls.flat_map(|number| cancel(id(number))).collect::<Vec<u8>>());
        scene.owed(
            connection.must_settle(),
            "whoever cancels so many calls stays connected",
        );
    }
    vec![connection]
}

/// Finished calls whose answers have no window to be sent in.
pub(crate) fn zero_window(scene: &Scene) -> Held {
    let connections = (0..8).map(|_| {
        let connection = Hostile::greet(&scene.socket);
        connection.send(&setting(INITIAL_WINDOW_SIZE, 0));
        let body = message(0, &encrypt_request(32));
        for number in 0..CALLS {
            connection.send(&whole(id(number), &call(ENCRYPT), &body));
        }
        connection.settle();
        connection
    });
    let connections: Held = connections.collect();
    std::thread::sleep(scene.lasts);
    connections
}

/// Answers fetched byte by byte.
pub(crate) fn window_of_one(scene: &Scene) -> Held {
    let connections = zero_window(scene);
    let updates: Vec<u8> = (0..CALLS).flat_map(|number| window_update(id(number), 1)).collect();
    for _ in 0..20 {
        for connection in &connections {
            connection.send(&updates);
            connection.settle();
        }
    }
    connections
}

/// Answers that are never read at all.
pub(crate) fn unread(scene: &Scene) -> Held {
    let connections: Held = (0..8).map(|_| Hostile::greet(&scene.socket)).collect();
    let body = message(0, &encrypt_request(32));
    let flood = |connection: &Hostile| {
        connection.send(&window_update(0, 1 << 30));
        (0..20 * CALLS).all(|number| connection.send(&whole(id(number), &call(ENCRYPT), &body)))
    };
    std::thread::scope(|threads| {
        for connection in &connections {
            threads.spawn(|| flood(connection));
        }
    });
    connections
}
