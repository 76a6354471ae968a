//! Hostile connections, and connections without HTTP/2.

use std::convert::Infallible;

use futures_util::StreamExt as _;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Bytes;
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use super::wire::CONTINUATION;
use super::wire::DATA;
use super::wire::END_HEADERS;
use super::wire::GOAWAY;
use super::wire::HEADERS;
use super::wire::RST_STREAM;
use super::wire::SETTINGS;
use super::*;

/// Waits until the daemon closes the connection, and ignores the bytes before.
async fn closed(stream: &mut UnixStream) {
    let mut sink = vec![0; 4096];
    let end = async { while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {} };
    tokio::time::timeout(HANG, end)
        .await
        .expect("the daemon closes the connection");
}

#[tokio::test]
async fn a_foreign_uid_is_refused_and_counted() {
    let nobody = rustix::process::geteuid().as_raw() + 1;
    let daemon = Daemon::start_with(|listener| listener.peers = Peers::only(&[nobody]));
    closed(&mut daemon.connect().await).await;
    assert_eq!(daemon.metrics.refused_peers.get(), 1);
    daemon.peers.set(&[]);
    assert_eq!(encrypt(&daemon.client().await, b"payload").await.unwrap(), b"payload");
}

#[tokio::test]
async fn a_uid_that_is_banned_finishes_its_calls_and_is_closed() {
    let daemon = Daemon::start();
    let client = daemon.client().await;
    let call = tokio::spawn(async move { encrypt(&client, b"wait").await });
    daemon.until_waiting(1).await;
    daemon.peers.ban_all();
    closed(&mut daemon.connect().await).await;
    daemon.service.go_on.notify_waiters();
    assert_eq!(call.await.unwrap().unwrap(), b"wait");
    until(|| daemon.metrics.connections.get() == 0).await;
}

#[tokio::test]
async fn http_1_tls_and_random_bytes_are_closed_at_once_and_hurt_nobody() {
    let daemon = Daemon::start();
    let client = daemon.client().await;
    let greetings: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00",
        &vec![0xa5; 100_000],
    ];
    for greeting in greetings {
        let mut stream = daemon.connect().await;
        // The daemon may close the connection before everything is written.
        stream.write_all(greeting).await.ok();
        closed(&mut stream).await;
    }
    assert_eq!(encrypt(&client, b"payload").await.unwrap(), b"payload");
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_for_5_s_is_closed() {
    let daemon = Daemon::start();
    let mut silent = daemon.connect().await;
    let mut halting = daemon.connect().await;
    halting.write_all(&wire::PREFACE[..23]).await.unwrap();
    let begin = tokio::time::Instant::now();
    closed(&mut silent).await;
    closed(&mut halting).await;
    assert!(begin.elapsed() >= Duration::from_millis(4900), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn silent_connections_make_room_for_callers() {
    let daemon = Daemon::start();
    let client = daemon.client().await;
    let mut silent = vec![];
    for round in 0..5 {
        for _ in 0..100 {
            silent.push(daemon.connect().await);
        }
        let newcomer = daemon.client().await;
        assert_eq!(encrypt(&newcomer, b"payload").await.unwrap(), b"payload", "{round}");
    }
    assert_eq!(encrypt(&client, b"payload").await.unwrap(), b"payload");
    assert!(daemon.metrics.connections.get() <= 64);
    closed(&mut silent[0]).await;
}

#[tokio::test]
async fn slow_headers_make_room_for_callers() {
    let daemon = Daemon::start();
    let mut slow = vec![];
    for _ in 0..100 {
        let mut stream = daemon.connect().await;
        wire::greet(&mut stream).await;
        // A header block that never ends.
        stream.write_all(&wire::frame(HEADERS, 0, 1, &[0x83])).await.unwrap();
        slow.push(stream);
    }
    let newcomer = daemon.client().await;
    assert_eq!(encrypt(&newcomer, b"payload").await.unwrap(), b"payload");
    closed(&mut slow[0]).await;
}

#[tokio::test]
async fn when_all_connections_have_called_the_newcomer_is_closed() {
    let daemon = Daemon::start();
    let mut clients = vec![];
    for _ in 0..64 {
        let client = daemon.client().await;
        encrypt(&client, b"payload").await.unwrap();
        clients.push(client);
    }
    closed(&mut daemon.connect().await).await;
    for client in &clients {
        assert_eq!(encrypt(client, b"payload").await.unwrap(), b"payload");
    }
    drop(clients.pop());
    until(|| daemon.metrics.connections.get() == 63).await;
    encrypt(&daemon.client().await, b"payload").await.unwrap();
}

#[tokio::test]
async fn a_thousand_calls_cancelled_in_one_write_cause_no_goaway() {
    let daemon = Daemon::start();
    let mut stream = daemon.connect().await;
    wire::greet(&mut stream).await;
    let call = wire::call("/v2.KeyManagementService/Encrypt");
    for round in 0..3 {
        let burst: Vec<u8> = (0..1000)
            .flat_map(|number| {
                let id = (round * 1000 + number) * 2 + 1;
                [wire::frame(HEADERS, END_HEADERS, id, &call), wire::cancel(id)].concat()
            })
            .collect();
        stream.write_all(&burst).await.unwrap();
        let kinds = wire::ping(&mut stream).await;
        assert!(!kinds.contains(&GOAWAY), "{kinds:?}");
    }
    assert_eq!(daemon.metrics.connections.get(), 1);
}

/// What a client may begin behind the preface and not finish. Each is sent at once.
fn unfinished() -> Vec<(&'static str, Vec<u8>)> {
    let settings = wire::frame(SETTINGS, 0, 0, &[]);
    let behind_settings = |bytes: &[u8]| [&settings, bytes].concat();
    let call = wire::call("/v2.KeyManagementService/Encrypt");
    let headers = wire::frame(HEADERS, END_HEADERS, 1, &call);
    let data = wire::frame(DATA, 0, 1, &[0; 100]);
    let block = wire::frame(HEADERS, 0, 1, &call);
    vec![
        ("nothing behind the preface", vec![]),
        ("a part of the first frame", settings[..5].to_vec()),
        ("a part of a frame's header", behind_settings(&headers[..8])),
        ("a part of a frame", behind_settings(&headers[..20])),
        ("a header block without its last fragment", behind_settings(&block)),
        (
            "a part of a message's frame",
            behind_settings(&[&headers, &data[..50]].concat()),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn what_is_begun_and_not_finished_within_5_s_ends_the_connection() {
    let daemon = Daemon::start();
    for (name, bytes) in unfinished() {
        let mut stream = daemon.connect().await;
        stream.write_all(wire::PREFACE).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let begin = tokio::time::Instant::now();
        closed(&mut stream).await;
        let elapsed = begin.elapsed();
        assert!((4900..6000).contains(&elapsed.as_millis()), "{name}: {elapsed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_block_that_comes_byte_by_byte_ends_the_connection_after_5_s() {
    let daemon = Daemon::start();
    let mut stream = daemon.connect().await;
    wire::greet(&mut stream).await;
    let block = wire::frame(HEADERS, END_HEADERS, 1, &wire::call("/v2.KeyManagementService/Encrypt"));
    let begin = tokio::time::Instant::now();
    let (mut read, mut write) = stream.split();
    let mut sink = [0; 4096];
    let trickle = async {
        for byte in block {
            if write.write_all(&[byte]).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let end = async { while read.read(&mut sink).await.is_ok_and(|count| count > 0) {} };
    tokio::select! {
        () = trickle => panic!("all bytes were taken"),
        ended = tokio::time::timeout(HANG, end) => ended.expect("the daemon closes the connection"),
    }
    assert!(begin.elapsed() < Duration::from_secs(7), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_finished_what_it_began_may_be_idle() {
    let daemon = Daemon::start();
    let client = daemon.client().await;
    encrypt(&client, b"payload").await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(encrypt(&client, b"payload").await.unwrap(), b"payload");
    assert_eq!(daemon.metrics.connections.get(), 1);
}

#[tokio::test]
async fn metadata_of_16_kib_is_taken_and_more_is_answered() {
    let daemon = Daemon::start();
    let mut client = daemon.client().await;
    let mut answer = async |bytes: usize| {
        let mut request = tonic::Request::new(StatusRequest {});
        let baggage = "x".repeat(bytes).parse().unwrap();
        request.metadata_mut().insert("baggage", baggage);
        client.status(request).await.map(drop).map_err(|status| status.code())
    };
    assert_eq!(answer(8 << 10).await, Ok(()));
    assert_eq!(answer(15 << 10).await, Ok(()));
    assert_eq!(answer(16 << 10).await, Err(tonic::Code::ResourceExhausted));
    assert_eq!(answer(60 << 10).await, Err(tonic::Code::ResourceExhausted));
    assert_eq!(answer(10).await, Ok(()), "the connection is as good as before");
}

#[tokio::test]
async fn headers_over_the_limit_of_http_2_are_refused_and_the_connection_survives() {
    let daemon = Daemon::start();
    let mut stream = daemon.connect().await;
    wire::greet(&mut stream).await;
    let mut block = wire::call("/v2.KeyManagementService/Status");
    for _ in 0..600 {
        wire::literal(&mut block, 58, &"x".repeat(100)); // user-agent
    }
    assert!(
        block.len() > 60 << 10,
        "with the overhead of its fields it is over the limit"
    );
    let mut fragments = block.chunks(16 << 10).peekable();
    let mut kind = HEADERS;
    while let Some(fragment) = fragments.next() {
        let last = if fragments.peek().is_none() { END_HEADERS } else { 0 };
        let end_stream = u8::from(kind == HEADERS);
        stream
            .write_all(&wire::frame(kind, last | end_stream, 1, fragment))
            .await
            .unwrap();
        kind = CONTINUATION;
    }
    // The refusal may come behind the first acknowledgement.
    let mut kinds = wire::ping(&mut stream).await;
    kinds.extend(wire::ping(&mut stream).await);
    assert!(!kinds.contains(&GOAWAY), "{kinds:?}");
    assert!(kinds.contains(&HEADERS) || kinds.contains(&RST_STREAM), "{kinds:?}");
    assert_eq!(daemon.answered("Status", "OK"), 0);
}

#[tokio::test]
async fn requests_beyond_the_streams_of_a_connection_do_not_end_it() {
    let daemon = Daemon::start();
    let mut stream = daemon.connect().await;
    wire::greet(&mut stream).await;
    let call = wire::call("/v2.KeyManagementService/Encrypt");
    let burst: Vec<u8> = (0..1500)
        .flat_map(|number| wire::frame(HEADERS, END_HEADERS, number * 2 + 1, &call))
        .collect();
    let (mut read, mut write) = stream.split();
    let mut sink = vec![0; 1 << 16];
    tokio::select! {
        written = write.write_all(&burst) => written.unwrap(),
        () = async { while read.read(&mut sink).await.is_ok_and(|count| count > 0) {} } => panic!("closed"),
    }
    assert_eq!(encrypt(&daemon.client().await, b"payload").await.unwrap(), b"payload");
    // Their messages never come, and the daemon does not wait for them for long.
    until(|| daemon.answered("Encrypt", "DEADLINE_EXCEEDED") >= 1024).await;
}

/// Begins `count` messages of 200 KiB on a new connection and finishes none: the last 10 KiB never come. Dropping the
/// set drops the connection.
async fn begin_messages(daemon: &Daemon, count: usize) -> JoinSet<()> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(daemon.connect().await))
        .await
        .unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    for _ in 0..count {
        // Not compressed, 200 KiB announced, and in them the first bytes of a plaintext as long as that.
        let mut begun = vec![0, 0, 3, 32, 0, 10, 0xfc, 0xbf, 12];
        begun.resize(190 << 10, 0);
        let frames = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(begun)))]).chain(stream::pending());
        let request = hyper::Request::post("http://localhost/v2.KeyManagementService/Encrypt")
            .header("content-type", "application/grpc")
            .body(StreamBody::new(frames))
            .unwrap();
        let mut sender = sender.clone();
        tasks.spawn(async move {
            drop(sender.send_request(request).await);
        });
    }
    tasks
}

#[tokio::test]
async fn callers_that_never_finish_their_messages_hold_a_bounded_part_of_memory() {
    let daemon = Daemon::start();
    let client = daemon.client().await;
    let refused = || daemon.answered("Encrypt", "RESOURCE_EXHAUSTED");
    let mut unfinished = vec![];
    // 7.4 MiB each: no connection is over the limit of 16 MiB alone, and 88 of these messages are.
    for _ in 0..4 {
        unfinished.push(begin_messages(&daemon, 40).await);
    }
    until(|| refused() >= 160 - 88).await;
    // Refused messages have released their bytes, and the others still wait: they hold nearly the whole budget.
    let again = begin_messages(&daemon, 40).await;
    until(|| refused() >= 200 - 88).await;
    assert!(refused() < 200, "some messages are within the budget");
    drop((unfinished, again));

    until(|| daemon.metrics.connections.get() == 1).await;
    // More than the limit, one after the other: neither dropped messages nor complete ones stay counted.
    let large = vec![7; 200 << 10];
    for _ in 0..100 {
        assert_eq!(encrypt(&client, &large).await.unwrap().len(), large.len());
    }
}
