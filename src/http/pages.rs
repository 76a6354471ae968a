//! The response of each path.
//!
//! | path | response |
//! |---|---|
//! | `/livez`, `/healthz/liveness` | 200 while the gRPC runtime runs, else 503 |
//! | `/readyz`, `/healthz/readiness`, `/healthz` | 200 while Encrypt and Decrypt would succeed, else 503 |
//! | `/metrics` | the metrics |
//!
//! As in kube-apiserver, `/healthz` has all checks. Never use it as a liveness probe: a restart during an outage of the
//! root key loses the data keys with which dekhand serves through the outage. `?verbose` lists each check in
//! Kubernetes' format.

use std::fmt::Write as _;

use http_body_util::Full;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header;
use hyper::header::HeaderValue;

use crate::health::CheckResult;
use crate::health::Health;
use crate::telemetry::metrics::Metrics;

const TEXT: &str = "text/plain; charset=utf-8";
// The same text is valid in both formats; the scraper chooses the content type.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The pages. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Pages {
    health: Health,
    metrics: Metrics,
}

impl Pages {
    pub(super) fn new(health: Health, metrics: Metrics) -> Self {
        Self { health, metrics }
    }

    /// Answers a request from memory. The request's body is not read.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut response = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".into());
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allowed);
            return response;
        }
        let uri = request.uri();
        let verbose = uri.query().is_some_and(asks_for_each_check);
        match uri.path() {
            "/livez" | "/healthz/liveness" => checks("livez", &self.health.live(), verbose),
            "/readyz" | "/healthz/readiness" | "/healthz" => checks("readyz", &self.health.ready(), verbose),
            "/metrics" => page(StatusCode::OK, metrics_type(request), self.metrics.page()),
            _ => page(StatusCode::NOT_FOUND, TEXT, "no such page\n".into()),
        }
    }
}

fn asks_for_each_check(query: &str) -> bool {
    query
        .split('&')
        .any(|parameter| parameter.split('=').next() == Some("verbose"))
}

fn metrics_type<B>(request: &Request<B>) -> &'static str {
    let accepts = request.headers().get(header::ACCEPT).map(HeaderValue::to_str);
    match accepts {
        Some(Ok(types)) if types.contains("application/openmetrics-text") => OPEN_METRICS,
        _ => PROMETHEUS,
    }
}

/// As in Kubernetes: only `ok` if all checks pass and the request is not `verbose`.
fn checks(name: &str, verdicts: &[(&'static str, CheckResult)], verbose: bool) -> Response<Full<Bytes>> {
    let good = verdicts.iter().all(|(_, verdict)| verdict.is_ok());
    if good && !verbose {
        return page(StatusCode::OK, TEXT, "ok".into());
    }
    let mut text = String::new();
    for (check, verdict) in verdicts {
        let written = match verdict {
            Ok(word) => writeln!(text, "[+]{check} ok: {}", word.replace('\n', " ")),
            Err(reason) => writeln!(text, "[-]{check} failed: {}", reason.replace('\n', " ")),
        };
        debug_assert!(written.is_ok(), "a String takes all that is written");
    }
    let (status, end) = if good {
        (StatusCode::OK, "passed")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "failed")
    };
    text.push_str(name);
    text.push_str(" check ");
    text.push_str(end);
    text.push('\n');
    page(status, TEXT, text)
}

fn page(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
