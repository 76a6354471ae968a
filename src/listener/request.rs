//! One request between HTTP/2 and its service: its place, message, deadline, panics and metrics.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use http_body_util::Full;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::http::HeaderValue;
use tonic::Code;
use tonic::Status;
use tonic::body::Body;
use tower::ServiceExt as _;

use crate::caller::Caller;
use crate::caller::ConnectionId;
use crate::listener::connection_table::ConnectionEntry;
use crate::listener::limits;
use crate::listener::request_body::Arrivals;
use crate::listener::request_head;
use crate::listener::response_permit;
use crate::listener::timeout;
use crate::quota::Quota;
use crate::rpc::code;
use crate::telemetry::limit::LineLimit;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::RequestLabels;

/// A gRPC service that answers the requests of all connections.
pub trait GrpcService:
    tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> GrpcService for S where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// The caller of a request that came through the listener; for another request, one with the longest timeout.
pub fn caller_of(extensions: &tonic::Extensions) -> Caller {
    let without_listener = || Caller::new(None, Caller::LONGEST_TIMEOUT);
    extensions.get().copied().unwrap_or_else(without_listener)
}

/// The gRPC service as one connection calls it, with the state that its requests share.
#[derive(Clone, Debug)]
pub(super) struct ConnectionService<S> {
    pub(super) service: S,
    pub(super) connection: ConnectionId,
    pub(super) in_flight: Quota,
    pub(super) arrivals: Arrivals,
    pub(super) unfetched: Quota,
    pub(super) entry: Arc<ConnectionEntry>,
    pub(super) metrics: Metrics,
    pub(super) lines: Arc<LineLimit>,
}

impl<S: GrpcService> ConnectionService<S> {
    /// Answers one request. Its deadline runs from now. Its place is taken when the response is first polled, so that a
    /// burst of requests that do not wait is not refused because they arrive together.
    ///
    /// # Cancel safety
    /// The request is counted as cancelled, and its service is dropped.
    pub(super) fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<S> {
        self.entry.called();
        let timeout = timeout::of(request.headers());
        let caller = timeout.map(|timeout| Caller::new(Some(self.connection), timeout));
        let count = Count::begin(&self.metrics, request.uri().path());
        let lines = self.lines.clone();
        let connection = self.clone();
        async move {
            let response = match connection.serve(request, caller).await {
                Ok(response) => response,
                Err(status) => {
                    if let Some(suppressed) = lines.pass() {
                        let code = code::name(status.code());
                        tracing::warn!(
                            api = count.api,
                            method = count.method,
                            code,
                            reason = status.message(),
                            suppressed,
                            "refused a call"
                        );
                    }
                    status.into_http()
                }
            };
            count.end(&response);
            Ok(response)
        }
    }

    async fn serve(
        self,
        request: Request<Incoming>,
        caller: Result<Caller, timeout::Malformed>,
    ) -> Result<Response<Body>, Status> {
        let caller = caller.map_err(|timeout::Malformed| Status::invalid_argument("grpc-timeout is malformed"))?;
        if request.method() != Method::POST {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            return Ok(response);
        }
        let (head, body) = request.into_parts();
        let length = request_head::length(&head);
        let mut head = if length > limits::ASSURED_HEADERS {
            request_head::reduced(&head)
        } else {
            head
        };
        let message = self.arrivals.whole(body, caller.deadline).await?;
        // After the message: a request that is refused before its message has come must be reset, and HTTP/2 counts
        // the frames behind a reset as the caller's error, for which it would end the connection.
        if length > limits::LONGEST_HEADERS {
            return Err(Status::resource_exhausted("the request's headers exceed 16 KiB"));
        }
        let _permit = self
            .in_flight
            .enter(Some(self.connection))
            .ok_or_else(|| Status::resource_exhausted("too many requests are in flight"))?;
        head.extensions.insert(caller);
        let request = Request::from_parts(head, Body::new(Full::new(message)));
        let call = AssertUnwindSafe(self.service.oneshot(request)).catch_unwind();
        match tokio::time::timeout_at(caller.deadline, call).await {
            Ok(Ok(Ok(response))) if code_of(&response) == Code::OutOfRange => {
                // Only tonic returns this code, for a message over its limit.
                Err(Status::resource_exhausted(
                    "the message is larger than this service accepts",
                ))
            }
            Ok(Ok(Ok(response))) => response_permit::keep(response, self.connection, &self.unfetched),
            Ok(Err(_panic)) => Err(Status::internal("internal error in the KMS plugin")),
            Err(_elapsed) => Err(Status::deadline_exceeded("the request's deadline has passed")),
        }
    }
}

/// The code in a response's headers. A response with a message has OK in its trailers.
fn code_of(response: &Response<Body>) -> Code {
    let status = response.headers().get(Status::GRPC_STATUS).map(HeaderValue::as_bytes);
    match status {
        Some(status) => Code::from_bytes(status),
        None if response.status() == StatusCode::OK => Code::Ok,
        None => Code::Unimplemented,
    }
}

/// Counts a request once; as cancelled if this is dropped before the request ends.
#[derive(Debug)]
struct Count {
    metrics: Metrics,
    api: &'static str,
    method: &'static str,
    code: Code,
}

impl Count {
    fn begin(metrics: &Metrics, path: &str) -> Self {
        // Only known names: a caller must not create labels.
        let (api, method) = match path {
            "/v2.KeyManagementService/Status" => ("v2", "Status"),
            "/v2.KeyManagementService/Encrypt" => ("v2", "Encrypt"),
            "/v2.KeyManagementService/Decrypt" => ("v2", "Decrypt"),
            "/v1beta1.KeyManagementService/Version" => ("v1beta1", "Version"),
            "/v1beta1.KeyManagementService/Encrypt" => ("v1beta1", "Encrypt"),
            "/v1beta1.KeyManagementService/Decrypt" => ("v1beta1", "Decrypt"),
            _ => ("other", "other"),
        };
        Self {
            metrics: metrics.clone(),
            api,
            method,
            code: Code::Cancelled,
        }
    }

    fn end(mut self, response: &Response<Body>) {
        self.code = code_of(response);
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let labels = RequestLabels {
            api: self.api,
            method: self.method,
            code: code::name(self.code),
        };
        self.metrics.requests.get_or_create(&labels).inc();
    }
}
