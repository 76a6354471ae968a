//! Bounds the bytes of requests that are not complete yet, over all connections.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use hyper::body::Body;
use hyper::body::Bytes;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::body::SizeHint;
use tonic::Status;

/// So many bytes of incomplete requests at once. A thousand of the largest legal ones would not fit, which nobody
/// sends; without a bound 2,048 callers that never finish a message of 256 KiB would hold half a gigabyte.
pub(super) const LIMIT: usize = 16 << 20;

/// The bytes that incomplete requests hold. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// Counts a request's body until it is read to its end or dropped.
    pub(super) fn count(&self, body: Incoming) -> Counted {
        Counted {
            body,
            budget: self.clone(),
            held: 0,
        }
    }
}

/// A body whose bytes are counted.
#[derive(Debug)]
pub(super) struct Counted {
    body: Incoming,
    budget: Budget,
    held: usize,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.held += data.len();
            let before = self.budget.0.fetch_add(data.len(), Ordering::Relaxed);
            if before + data.len() > LIMIT {
                let status = Status::resource_exhausted("too many requests are incomplete");
                return Poll::Ready(Some(Err(status)));
            }
        }
        let lost = |error: hyper::Error| Status::cancelled(format!("the request ended early: {error}"));
        Poll::Ready(frame.map(|frame| frame.map_err(lost)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.held, Ordering::Relaxed);
    }
}
