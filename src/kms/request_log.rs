//! Logs requests: refused ones at a limited rate, and all of them if the operator sets `log.requests`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use tokio::time::Instant;
use tonic::Code;
use tonic::Response;
use tonic::Status;

use crate::kms::error::KmsError;
use crate::rpc::code;
use crate::telemetry::limit::LineLimit;
use crate::telemetry::log::chain;

/// Lines a second about refused requests. The limit is there because callers can provoke these lines.
const REFUSALS: u32 = 10;
/// Bytes of the longest caller's text that a line quotes.
const LONGEST_QUOTED: usize = 1024;

/// Writes the lines of all services. Clones share one rate limit.
#[derive(Clone, Debug)]
pub(super) struct RequestLog {
    all: Arc<AtomicBool>,
    refusals: Arc<LineLimit>,
}

/// The fields that are logged about one request. None is secret, and a caller's text is escaped.
#[derive(Debug)]
pub(super) struct RequestLine {
    api: &'static str,
    method: &'static str,
    uid: String,
    begin: Instant,
    pub(super) key_id: String,
    pub(super) payload_bytes: usize,
    pub(super) sealed_bytes: usize,
}

impl RequestLine {
    /// `api` is the protocol: `v2` or `v1beta1`. KMS v1 has no uid.
    pub(super) fn begin(api: &'static str, method: &'static str, uid: &str) -> Self {
        Self {
            api,
            method,
            uid: escaped(uid),
            begin: Instant::now(),
            key_id: String::new(),
            payload_bytes: 0,
            sealed_bytes: 0,
        }
    }
}

/// A caller's text, escaped and limited so that it can neither forge a line nor fill the log.
pub(super) fn escaped(text: &str) -> String {
    if text.len() > LONGEST_QUOTED {
        return format!("[{} bytes]", text.len());
    }
    // kube-apiserver's uids need no escapes.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.bytes().all(plain) {
        text.to_owned()
    } else {
        text.escape_debug().to_string()
    }
}

impl RequestLog {
    pub(super) fn new(all: Arc<AtomicBool>) -> Self {
        Self {
            all,
            refusals: Arc::new(LineLimit::new(REFUSALS)),
        }
    }

    /// Logs the outcome of a request and makes its response.
    pub(super) fn end<T>(&self, line: RequestLine, result: Result<T, KmsError>) -> Result<Response<T>, Status> {
        let RequestLine {
            api,
            method,
            uid,
            begin,
            key_id,
            payload_bytes,
            sealed_bytes,
        } = line;
        let answer = result.map_err(|error| {
            let status = error.status();
            if let Some(suppressed) = self.refusals.pass() {
                let (code, detail) = (code::name(status.code()), chain(&error));
                tracing::warn!(api, method, uid, code, detail, suppressed, "refused a request");
            }
            status
        });
        if self.all.load(Ordering::Relaxed) {
            let code = code::name(answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
            // JSON has no 128-bit numbers; 64 bits last for half a million years.
            let microseconds = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
            tracing::info!(
                api,
                method,
                uid,
                key_id,
                payload_bytes,
                sealed_bytes,
                code,
                microseconds,
                "answered a request"
            );
        }
        answer.map(Response::new)
    }
}
