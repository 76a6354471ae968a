//! What the log is told of requests: every refusal within limits, every request if the operator wants it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use tokio::time::Instant;
use tonic::Code;
use tonic::Response;
use tonic::Status;

use crate::kms::status::Refusal;
use crate::proto::code;
use crate::telemetry::limit::LineLimit;
use crate::telemetry::log::chain;

/// Lines a second about refused requests: callers can provoke them.
const REFUSALS: u32 = 10;
/// Bytes of a caller's text that a line quotes.
const LONGEST_QUOTED: usize = 1024;

/// Writes the lines of all services. Clones share their limit.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    all: Arc<AtomicBool>,
    refusals: Arc<LineLimit>,
}

/// One request as the log names it: nothing in it is secret, and what a caller wrote is escaped.
#[derive(Debug)]
pub(super) struct Line {
    api: &'static str,
    method: &'static str,
    uid: String,
    begin: Instant,
    pub(super) key_id: String,
    pub(super) payload_bytes: usize,
    pub(super) sealed_bytes: usize,
}

impl Line {
    /// `api` is the protocol: `v2`, `v1beta1`. A uid is what KMS v1 has none of.
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

/// A caller's text without what could forge a line or fill the log.
pub(super) fn escaped(text: &str) -> String {
    if text.len() > LONGEST_QUOTED {
        return format!("[{} bytes]", text.len());
    }
    // What kube-apiserver sends needs no escapes.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.bytes().all(plain) {
        text.to_owned()
    } else {
        text.escape_debug().to_string()
    }
}

impl Journal {
    pub(super) fn new(all: Arc<AtomicBool>) -> Self {
        Self {
            all,
            refusals: Arc::new(LineLimit::new(REFUSALS)),
        }
    }

    /// Logs how a request ended and makes its answer.
    pub(super) fn end<T>(&self, line: Line, result: Result<T, Refusal>) -> Result<Response<T>, Status> {
        let Line {
            api,
            method,
            uid,
            begin,
            key_id,
            payload_bytes,
            sealed_bytes,
        } = line;
        let answer = result.map_err(|refusal| {
            let status = refusal.status();
            if let Some(suppressed) = self.refusals.pass() {
                let (code, detail) = (code::name(status.code()), chain(&refusal));
                tracing::warn!(api, method, uid, code, detail, suppressed, "refused a request");
            }
            status
        });
        if self.all.load(Ordering::Relaxed) {
            let code = code::name(answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
            // JSON has no number of 128 bits; half a million years are enough.
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
