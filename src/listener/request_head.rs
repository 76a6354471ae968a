//! The headers of a request: their length, and the few of them that services read.

use hyper::Request;
use hyper::header::HeaderValue;
use hyper::http::Uri;
use hyper::http::request::Parts;

/// The headers that tonic's services read. The listener has read `grpc-timeout` before.
const READ: [&str; 4] = ["content-type", "grpc-accept-encoding", "grpc-encoding", "te"];

/// Overhead of each field (RFC 9113, 6.5.2).
const FIELD: usize = 32;

/// The longest path that is kept. Those of all methods are shorter.
const LONGEST_PATH: usize = 256;

/// The bytes of all header fields, counted as HTTP/2 counts them, but for the names of its own fields.
pub(super) fn length(head: &Parts) -> usize {
    let own = [
        head.method.as_str(),
        head.uri.scheme_str().unwrap_or_default(),
        head.uri.authority().map_or("", |authority| authority.as_str()),
        head.uri.path_and_query().map_or("", |path| path.as_str()),
    ];
    let own: usize = own.iter().map(|value| value.len() + FIELD).sum();
    let fields = head.headers.iter();
    own + fields
        .map(|(name, value)| name.as_str().len() + value.len() + FIELD)
        .sum::<usize>()
}

/// The same head with only what services read, copied: each value of the original keeps the buffer in memory from which
/// it was decoded. A path that is longer than that of any method becomes `/`, which no service has either.
pub(super) fn reduced(head: &Parts) -> Parts {
    let (mut reduced, ()) = Request::new(()).into_parts();
    reduced.method = head.method.clone();
    reduced.version = head.version;
    let path = Some(head.uri.path()).filter(|path| path.len() <= LONGEST_PATH);
    reduced.uri = path.and_then(|path| path.parse().ok()).unwrap_or(Uri::from_static("/"));
    for name in READ {
        let value = head
            .headers
            .get(name)
            .map(|value| HeaderValue::from_bytes(value.as_bytes()));
        if let Some(Ok(value)) = value {
            reduced.headers.insert(name, value);
        }
    }
    reduced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_headers_only_what_services_read_is_kept() {
        let request = Request::post("http://localhost/v2.KeyManagementService/Status")
            .header("content-type", "application/grpc")
            .header("grpc-encoding", "identity")
            .header("baggage", "x".repeat(8 << 10))
            .body(());
        let (head, ()) = request.unwrap().into_parts();
        assert!((8 << 10..9 << 10).contains(&length(&head)), "{}", length(&head));
        let reduced = reduced(&head);
        assert_eq!(reduced.method, "POST");
        assert_eq!(reduced.uri, "/v2.KeyManagementService/Status");
        assert_eq!(reduced.headers.len(), 2);
        assert_eq!(reduced.headers["content-type"], "application/grpc");
    }

    #[test]
    fn a_path_that_no_method_has_is_not_kept() {
        let long = format!("http://localhost/{}", "x".repeat(10_000));
        let (head, ()) = Request::post(long).body(()).unwrap().into_parts();
        assert!(length(&head) > 10_000);
        assert_eq!(reduced(&head).uri, "/");
    }
}
