//! A response that keeps a place until its caller has fetched it.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use hyper::Response;
use hyper::body::Body as _;
use hyper::body::Bytes;
use hyper::body::Frame;
use hyper::body::SizeHint;
use tonic::Status;
use tonic::body::Body;

use crate::caller::ConnectionId;
use crate::quota::Permit;
use crate::quota::Quota;

/// Gives a response a place among those that are not fetched. One without a message needs no window, and so no place.
pub(super) fn keep(
    response: Response<Body>,
    connection: ConnectionId,
    quota: &Quota,
) -> Result<Response<Body>, Status> {
    if response.body().is_end_stream() {
        return Ok(response);
    }
    let place = quota.enter(Some(connection));
    let place = place.ok_or_else(|| Status::resource_exhausted("too many responses are not fetched"))?;
    Ok(response.map(|body| Body::new(Kept { body, _place: place })))
}

/// The body of a response, and its place.
#[derive(Debug)]
struct Kept {
    body: Body,
    _place: Permit,
}

impl hyper::body::Body for Kept {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
