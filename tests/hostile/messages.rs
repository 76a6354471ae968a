//! Requests that are HTTP/2, and not what gRPC or KMS expect.

use crate::scene::Held;
use crate::scene::Scene;
use crate::wire::DATA;
use crate::wire::ENCRYPT;
use crate::wire::END_HEADERS;
use crate::wire::HEADERS;
use crate::wire::Hostile;
use crate::wire::V1_DECRYPT;
use crate::wire::V1_ENCRYPT;
use crate::wire::V1_VERSION;
use crate::wire::call;
use crate::wire::encrypt_request;
use crate::wire::field;
use crate::wire::frame;
use crate::wire::id;
use crate::wire::message;
use crate::wire::request;
use crate::wire::whole;

/// The same request again and again on one connection, and each must leave it open.
fn again(scene: &Scene, times: usize, block: &[u8], body: &[u8]) -> Held {
    let connection = Hostile::greet(&scene.socket);
    for number in 0..times {
        connection.send(&whole(id(number), block, body));
        scene.owed(connection.must_settle(), "one bad request does not end the connection");
    }
    vec![connection]
}

/// 5 MiB in one message, which takes no notice of windows.
pub(crate) fn five_mib(scene: &Scene) -> Held {
    let body = message(0, &encrypt_request(5 << 20));
    let connections = (0..20).map(|_| {
        let connection = Hostile::greet(&scene.socket);
        connection.send(&whole(1, &call(ENCRYPT), &body));
        connection
    });
    connections.collect()
}

/// 5 MiB in one message, as far as windows allow: the daemon has refused it before.
pub(crate) fn five_mib_within_windows(scene: &Scene) -> Held {
    let body = message(0, &encrypt_request(5 << 20));
    again(scene, 200, &call(ENCRYPT), &body[..60 << 10])
}

pub(crate) fn compressed(scene: &Scene) -> Held {
    let body = message(1, &encrypt_request(32));
    again(scene, 100, &call(ENCRYPT), &body);
    let mut block = call(ENCRYPT);
    field(&mut block, "grpc-encoding", "gzip");
    again(scene, 100, &block, &body);
    again(scene, 100, &call(ENCRYPT), &message(0xff, &encrypt_request(32)))
}

pub(crate) fn two_messages(scene: &Scene) -> Held {
    let one = message(0, &encrypt_request(32));
    again(scene, 100, &call(ENCRYPT), &one.repeat(2));
    again(scene, 20, &call(ENCRYPT), &one.repeat(1000))
}

/// KMS v1: ciphers as long as the protocol allows, and longer; plaintexts of 5 MiB; versions that are none.
pub(crate) fn v1beta1(scene: &Scene) -> Held {
    let long = |tag: u8, length: usize| {
        let version = b"\x0a\x07v1beta1";
        let mut bytes = encrypt_request(length);
        bytes[0] = tag;
        message(0, &[version, &bytes[..]].concat())
    };
    let (encrypt, decrypt) = (call(V1_ENCRYPT), call(V1_DECRYPT));
    drop(again(scene, 50, &decrypt, &long(0x12, 65_535)));
    drop(again(scene, 50, &decrypt, &long(0x12, 65_536)));
    drop(again(scene, 50, &decrypt, &long(0x12, 250 << 10)));
    drop(again(scene, 50, &encrypt, &long(0x12, 5 << 20)[..60 << 10]));
    drop(again(
        scene,
        50,
        &encrypt,
        &message(0, &[&[0x0a, 200, 1][..], &[b'v'; 200]].concat()),
    ));
    again(scene, 50, &call(V1_VERSION), &message(0, &[0xff; 100]))
}

pub(crate) fn malformed(scene: &Scene) -> Held {
    let bodies: [&[u8]; 8] = [
        &[],                                          // no message
        &[0, 0, 0],                                   // no whole length
        &message(0, &[0x0a, 0xff, 0xff, 0xff, 0x7f]), // a plaintext longer than the message
        &message(0, &[0xff; 100]),                    // a tag that never ends
        &message(0, &[0x0b; 200]),                    // groups in groups
        &message(0, &[0x12, 2, 0xc3, 0x28]),          // a uid that is no UTF-8
        &message(0, &[0x08, 1, 0x10, 1]),             // wrong types
        &message(0, &b"\x1a\x00".repeat(10_000)),     // unknown fields
    ];
    for body in bodies {
        drop(again(scene, 50, &call(ENCRYPT), body));
    }
    vec![]
}

pub(crate) fn wrong_requests(scene: &Scene) -> Held {
    let body = message(0, &encrypt_request(32));
    let mut long_path = "/v2.KeyManagementService/".to_owned();
    long_path.push_str(&"E".repeat(8000));
    let blocks = [
        request("GET", ENCRYPT, "application/grpc"),
        request("PRI", ENCRYPT, "application/grpc"),
        request("POST", ENCRYPT, "application/json"),
        request("POST", ENCRYPT, ""),
        request("POST", "/", "application/grpc"),
        request("POST", "/v3.KeyManagementService/Encrypt", "application/grpc"),
        request("POST", "/v2.KeyManagementService/Destroy", "application/grpc"),
        request("POST", &long_path, "application/grpc"),
    ];
    for block in blocks {
        drop(again(scene, 50, &block, &body));
    }
    // Not even a request: no method, two paths, capital letters, a connection's own header, a bad authority.
    let twice = [call(ENCRYPT), call(ENCRYPT)].concat();
    let mut capital = call(ENCRYPT);
    field(&mut capital, "Capital", "x");
    let mut hop = call(ENCRYPT);
    field(&mut hop, "connection", "close");
    for block in [vec![0x86], twice, capital, hop, vec![0xbf]] {
        let connection = Hostile::greet(&scene.socket);
        for number in 0..50 {
            connection.send(&frame(HEADERS, END_HEADERS, id(number), &block));
        }
        connection.settle();
    }
    vec![]
}

/// More bytes than the headers announced, and frames that belong to no call.
pub(crate) fn out_of_order(scene: &Scene) -> Held {
    let mut block = call(ENCRYPT);
    field(&mut block, "content-length", "3");
    let one = message(0, &encrypt_request(32));
    for number in 0..100 {
        let connection = Hostile::greet(&scene.socket);
        connection.send(&whole(1, &block, &one));
        connection.send(&frame(DATA, 0, id(1000 - number), &one));
        connection.settle();
    }
    vec![]
}
