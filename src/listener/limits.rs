//! The limits for callers, per connection and in total. Each limit has its reason.
//!
//! Every connection has a small guaranteed share that other connections cannot take. The share covers the requests of a
//! kube-apiserver in every situation, so they are served under an attack too. Behind the services, a request carries
//! its [`Caller`](crate::caller::Caller): the envelope guarantees each connection as many calls to root keys, and
//! connections take turns before a token.

use std::time::Duration;

use crate::quota::ASSURED_CALLS;
use crate::quota::Pool;
use crate::quota::QuotaSize;

/// The most connections at a time. A kube-apiserver holds one per provider, two during a reload.
pub(super) const CONNECTIONS: usize = 64;
/// Time for HTTP/2's preface.
pub(super) const PREFACE_TIME: Duration = Duration::from_secs(5);
/// Time for a frame or a header block from its first byte, and for the first frame.
pub(super) const FRAME_TIME: Duration = Duration::from_secs(5);
/// Time for a request's message after its headers. gRPC clients send them together.
pub(super) const MESSAGE_TIME: Duration = Duration::from_secs(5);
/// The least time that a finished response waits to be fetched. A caller that grants no window would keep it forever.
pub(super) const FETCH_TIME: Duration = Duration::from_secs(5);
/// Time for requests in flight when their connection is to end. The daemon must end within 5 s, and a log that is not
/// read takes more than one of them.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(3);
/// The interval at which a connection that is to end is looked at, and the number of looks without a request after which
/// it is closed. Callers that react to the end of a connection close it within a millisecond.
pub(super) const IDLE_LOOK: Duration = Duration::from_millis(10);
pub(super) const IDLE_LOOKS: u32 = 10;

/// HTTP/2 streams per connection: more than the limit on requests in flight, so that requests beyond that limit receive
/// `RESOURCE_EXHAUSTED`.
pub(super) const STREAMS: u32 = 1024;
/// Requests that were cancelled before they were accepted. Twice the number of streams is not yet an attack.
pub(super) const CANCELLED_STREAMS: usize = 2048;
/// HTTP/2 window of one request: the largest legal message (35 KiB) needs no second round trip.
pub(super) const STREAM_WINDOW: u32 = 64 << 10;
/// HTTP/2 window of a connection: bytes of all its requests before they are read. Read bytes have a budget of their
/// own.
pub(super) const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of a request's headers that HTTP/2 accepts, with 32 bytes for each field (RFC 9113, 6.5.2). It resets a request
/// with more of them, and ends the connection above four times as many.
pub(super) const HEADER_LIST: u32 = 64 << 10;
/// Bytes of a request's headers, counted alike. kube-apiserver's are below 1 KiB; tracing adds up to 8 KiB of baggage to
/// them. A request with more gets `RESOURCE_EXHAUSTED`.
pub(super) const LONGEST_HEADERS: usize = 16 << 10;
/// Bytes of headers that are kept as they are until the message has come. Of longer ones only what services read is
/// kept.
pub(super) const ASSURED_HEADERS: usize = 1 << 10;
/// Bytes that are buffered per request for a caller that does not read. Responses are below 2 KiB.
pub(super) const SEND_BUFFER: usize = 16 << 10;
/// Bytes that are read from a connection per turn: about ten calls, or 80 small frames. A flood gets one connection's
/// share of the time, and no more. A call takes three turns, each of which comes after those of all other connections.
pub(super) const TURN: u64 = 1 << 10;

/// Bytes of the longest message, as in the services; the largest legal message has 35 KiB.
pub(super) const LONGEST_MESSAGE: usize = 256 << 10;
/// Bytes of all unfinished messages: a hundred of the largest legal ones, more than legitimate callers send at once.
/// Without this limit, callers that never finish a message of 256 KiB could hold half a gigabyte.
pub(super) const UNFINISHED_BYTES: usize = 4 << 20;
/// Bytes of each unfinished message that do not count. kube-apiserver's messages are shorter, so they are never refused
/// because of the bytes that others hold.
pub(super) const ASSURED_BYTES: usize = 2 << 10;

/// Requests in a service, which may wait for the root key.
pub(super) const IN_FLIGHT: QuotaSize = QuotaSize {
    per_connection: 512,
    assured: ASSURED_CALLS,
    pool: Pool::BesideAssured(2048),
};
/// Requests whose messages have not come yet. All streams of a connection may be in this state: a client that sends a
/// thousand requests at once may send all headers first.
pub(super) const UNFINISHED: QuotaSize = QuotaSize {
    per_connection: 1024,
    assured: 16,
    pool: Pool::BesideAssured(1024),
};

/// Requests whose responses are ready, but have no window. kube-apiserver's windows are always open.
pub(super) const UNFETCHED: QuotaSize = QuotaSize {
    per_connection: 1024,
    assured: 64,
    pool: Pool::BesideAssured(1024),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::ConnectionId;
    use crate::quota::Quota;

    #[test]
    fn no_connection_exceeds_its_room_nor_all_together_theirs_and_each_has_what_it_is_assured_of() {
        let quota = Quota::new(IN_FLIGHT);
        let enter = |connection| quota.enter(Some(ConnectionId(connection)));
        let permits: Vec<Vec<_>> = (0..6)
            .map(|connection| std::iter::from_fn(|| enter(connection)).collect())
            .collect();
        let held: Vec<_> = permits.iter().map(Vec::len).collect();
        assert_eq!(held, [512, 512, 512, 512, 16 + 64, 16]);
        drop(permits);
        assert!(enter(4).is_some());
    }
}
