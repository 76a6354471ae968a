//! The responses to probes and scrapers, over real connections.

use std::io::Read as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::clock::Clock;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn start() -> (Http, SocketAddr) {
    start_with(Health::new(Clock::system()))
}

fn start_with(health: Health) -> (Http, SocketAddr) {
    let http = Http::start(ANY_PORT, health, Metrics::new()).unwrap();
    let address = wait_for_address(&http);
    (http, address)
}

fn wait_for_address(http: &Http) -> SocketAddr {
    for _ in 0..6000 {
        if let Some(address) = http.address() {
            return address;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("never listened");
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = ask(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    (status.parse().unwrap(), body.to_owned())
}

#[test]
fn all_paths_answer_while_all_is_well() {
    let (_http, address) = start();
    for path in [
        "/livez",
        "/readyz",
        "/healthz",
        "/healthz/liveness",
        "/healthz/readiness",
    ] {
        assert_eq!(get(address, path), (200, "ok".to_owned()), "{path}");
    }
    assert_eq!(
        get(address, "/livez?verbose"),
        (200, "[+]runtime ok: running\nlivez check passed\n".to_owned())
    );
    assert_eq!(get(address, "/nothing").0, 404);
}

#[test]
fn a_failed_check_is_named_where_readiness_is_asked_and_liveness_holds() {
    let health = Health::new(Clock::system());
    let away = Arc::new(AtomicBool::new(true));
    let switch = away.clone();
    health.require("socket", || Ok("listening".into()));
    health.require("root-key", move || {
        if switch.load(Ordering::Relaxed) {
            Err("cannot be\nreached".into())
        } else {
            Ok("good".into())
        }
    });
    let (_http, address) = start_with(health);
    let expected =
        "[+]runtime ok: running\n[+]socket ok: listening\n[-]root-key failed: cannot be reached\nreadyz check failed\n";
    for path in ["/readyz", "/readyz?verbose", "/healthz", "/healthz/readiness"] {
        assert_eq!(get(address, path), (503, expected.to_owned()), "{path}");
    }
    assert_eq!(get(address, "/livez").0, 200);
    away.store(false, Ordering::Relaxed);
    let expected = "[+]runtime ok: running\n[+]socket ok: listening\n[+]root-key ok: good\nreadyz check passed\n";
    assert_eq!(get(address, "/readyz?verbose=1"), (200, expected.to_owned()));
}

#[test]
fn metrics_come_in_the_form_that_the_scraper_asks_for() {
    let (_http, address) = start();
    let plain = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(plain.contains("content-type: text/plain; version=0.0.4"), "{plain}");
    assert!(plain.contains("dekhand_connections 0"), "{plain}");
    let open = ask(
        address,
        "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n\r\n",
    );
    assert!(open.contains("content-type: application/openmetrics-text"), "{open}");
}

#[test]
fn only_get_and_head_are_answered() {
    let (_http, address) = start();
    let head = ask(address, "HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    let post = ask(
        address,
        "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    );
    assert!(
        post.starts_with("HTTP/1.1 405") && post.contains("allow: GET, HEAD"),
        "{post}"
    );
}

#[test]
fn silent_and_endless_connections_make_room_for_probes() {
    let (_http, address) = start();
    let mut idle: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(get(address, "/livez").0, 200);
    assert!(matches!(idle[0].read(&mut [0; 1]), Ok(0) | Err(_)));
    // The daemon may answer, or close the connection before everything is written; it does not read forever.
    let mut endless = TcpStream::connect(address).unwrap();
    while endless.write_all(&[b'x'; 4096]).is_ok() {}
    assert_eq!(get(address, "/livez").0, 200);
}

#[test]
fn a_taken_port_is_tried_again_until_it_is_free() {
    let taken = TcpListener::bind(ANY_PORT).unwrap();
    let address = taken.local_addr().unwrap();
    let http = Http::start(address, Health::new(Clock::system()), Metrics::new()).unwrap();
    thread::sleep(Duration::from_millis(50));
    assert_eq!(http.address(), None);
    drop(taken);
    assert_eq!(wait_for_address(&http), address);
    assert_eq!(get(address, "/livez").0, 200);
}

#[test]
fn it_stops_with_its_handle() {
    let (http, address) = start();
    let _idle = TcpStream::connect(address).unwrap();
    drop(http);
    // The thread is not joined, so its end may take a moment.
    let start = std::time::Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(60), "it goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}
