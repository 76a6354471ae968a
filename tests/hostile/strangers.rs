//! Callers that do not speak HTTP/2, or stop speaking it.

use crate::scene::Held;
use crate::scene::Scene;
use crate::wire::Hostile;
use crate::wire::PREFACE;
use crate::wire::SETTINGS;
use crate::wire::STATUS;
use crate::wire::call;
use crate::wire::frame;
use crate::wire::whole;

pub(crate) fn silent(scene: &Scene) -> Held {
    (0..500).map(|_| Hostile::connect(&scene.socket)).collect()
}

pub(crate) fn come_and_go(scene: &Scene) -> Held {
    for _ in 0..5000 {
        drop(Hostile::connect(&scene.socket));
    }
    vec![]
}

/// One byte of the preface at a time, and never its end.
pub(crate) fn slow_preface(scene: &Scene) -> Held {
    let connections: Held = (0..100).map(|_| Hostile::connect(&scene.socket)).collect();
    for byte in PREFACE.chunks(1).take(PREFACE.len() - 1) {
        for connection in &connections {
            connection.send(byte);
        }
        std::thread::sleep(scene.lasts / 24);
    }
    connections
}

/// Connections that made one call each, and stay.
pub(crate) fn called_once(scene: &Scene) -> Held {
    let made = (0..100).map(|_| {
        let connection = Hostile::greet(&scene.socket);
        connection.send(&whole(1, &call(STATUS), &[0; 5]));
        connection.settle();
        scene.let_the_good_call();
        connection
    });
    made.collect()
}

pub(crate) fn other_protocols(scene: &Scene) -> Held {
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.extend(noise(506));
    let greetings = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n".to_vec(),
        b"POST /v2.KeyManagementService/Encrypt HTTP/1.1\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0".to_vec(),
        b"PRI * HTTP/1.1\r\n\r\n".to_vec(),
        hello,
        vec![0; 100_000],
        noise(100_000),
        // HTTP/2 in name only: the preface, and then noise, or a frame that must not be the first.
        [PREFACE, &noise(100_000)].concat(),
        [PREFACE, &frame(SETTINGS, 0, 0, &[0; 5])].concat(),
        [PREFACE, &[0xff; 9], &noise(100_000)].concat(),
    ];
    for number in 0..900 {
        let connection = Hostile::connect(&scene.socket);
        connection.send(&greetings[number % greetings.len()]);
    }
    vec![]
}

/// The same bytes in every run (Marsaglia's xorshift).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}
