//! Callers of every Kubernetes version, by the `:authority` that they send.

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use super::wire::END_HEADERS;
use super::wire::GOAWAY;
use super::wire::HEADERS;
use super::wire::RST_STREAM;
use super::*;

/// A call of Status, without compression and with an empty message; `authority` is a whole representation.
fn status(stream: u32, authority: &[u8]) -> Vec<u8> {
    let mut block = vec![0x83, 0x86]; // :method POST, :scheme http
    wire::literal(&mut block, 4, "/v2.KeyManagementService/Status");
    block.extend(authority);
    wire::literal(&mut block, 31, "application/grpc");
    let headers = wire::frame(HEADERS, END_HEADERS, stream, &block);
    [headers, wire::frame(0, 1, stream, &[0; 5])].concat()
}

/// A literal that becomes an entry of the table, as grpc-go writes it.
fn raw(authority: &str) -> Vec<u8> {
    [&[0x41, u8::try_from(authority.len()).unwrap()], authority.as_bytes()].concat()
}

#[tokio::test]
async fn every_authority_of_every_api_server_is_served() {
    let huffman = vec![0x41, 0x89, 0x62, 0xcb, 0x6a, 0x63, 0xaa, 0xe8, 0x39, 0x3a, 0xff]; // /run/k.sock
    let known = [
        "/run/k.sock",
        "%2Frun%2Fk.sock",
        "@k",
        "%40x",
        "localhost",
        "k.sock",
        "%2Frun%2Fplugin@localhost",
    ];
    let indexed_empty = vec![0x81];
    let authorities = known.map(raw).into_iter().chain([huffman, indexed_empty, vec![]]);
    for authority in authorities {
        let daemon = Daemon::start();
        let mut stream = daemon.connect().await;
        wire::greet(&mut stream).await;
        stream.write_all(&status(1, &authority)).await.unwrap();
        until(|| daemon.answered("Status", "OK") == 1).await;
        // By its entry, which is the newest but for that of an authority that makes none; and as a literal again.
        let again = if authority.first() == Some(&0x41) {
            vec![0xbe]
        } else {
            authority.clone()
        };
        stream.write_all(&status(3, &again)).await.unwrap();
        stream.write_all(&status(5, &authority)).await.unwrap();
        until(|| daemon.answered("Status", "OK") == 3).await;
        assert_eq!(daemon.metrics.refused_authorities.get(), 0, "{authority:?}");
    }
}

#[tokio::test]
async fn an_authority_that_cannot_be_mended_is_reset_counted_and_its_connection_ended() {
    let daemon = Daemon::start();
    let client = daemon.client().await;
    let mut stream = daemon.connect().await;
    wire::greet(&mut stream).await;
    // "#" in Huffman's code.
    stream.write_all(&status(1, &[0x41, 0x82, 0xff, 0xaf])).await.unwrap();
    let mut kinds = vec![];
    while let Some((kind, _)) = tokio::time::timeout(HANG, wire::next(&mut stream)).await.unwrap() {
        kinds.push(kind);
        if kind == wire::PING {
            // The daemon waits for the acknowledgement before it ends the connection in order.
            break;
        }
    }
    assert!(kinds.contains(&RST_STREAM) && kinds.contains(&GOAWAY), "{kinds:?}");
    assert_eq!(daemon.metrics.refused_authorities.get(), 1);
    assert_eq!(daemon.answered("Status", "OK"), 0);
    // The connection ends whether or not the client answers.
    tokio::time::timeout(HANG, stream.read_to_end(&mut vec![]))
        .await
        .unwrap()
        .ok();
    until(|| daemon.metrics.connections.get() == 1).await;
    assert_eq!(encrypt(&client, b"payload").await.unwrap(), b"payload");
}
