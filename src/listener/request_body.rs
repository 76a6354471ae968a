//! Reads the message of a request before its service is called, and limits the memory of unfinished messages.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use hyper::body::Bytes;
use hyper::body::Incoming;
use tokio::time::Instant;
use tonic::Status;

use crate::caller::ConnectionId;
use crate::listener::limits;
use crate::quota::Permit;
use crate::quota::Quota;

/// Bytes in front of each message: a flag for compression, and the length.
const PREFIX: usize = 5;

/// The bytes of unfinished messages, on all connections. Cheap to clone; clones share one count.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// The limits of one connection's unfinished messages.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    pub(super) connection: ConnectionId,
    pub(super) quota: Quota,
    pub(super) budget: Budget,
}

impl Arrivals {
    /// All bytes of a request's body. A body that comes together with its headers needs no place, so that callers which
    /// only begin requests do not block those that finish them.
    ///
    /// # Cancel safety
    /// The bytes that have come are lost; their place is given back.
    pub(super) async fn whole(&self, mut body: Incoming, deadline: Instant) -> Result<Bytes, Status> {
        let deadline = deadline.min(Instant::now() + limits::MESSAGE_TIME);
        let mut come = Come::Nothing;
        let mut message = None;
        while !body.is_end_stream() {
            let frame = if let Some(frame) = body.frame().now_or_never() {
                frame
            } else {
                let waits = match &mut message {
                    Some(message) => message,
                    None => message.insert(self.begin()?),
                };
                let copy = come.copied();
                waits.hold(copy.capacity())?;
                come = Come::Copied(copy);
                let frame = tokio::time::timeout_at(deadline, body.frame()).await;
                frame.map_err(|_| Status::deadline_exceeded("the message did not come in time"))?
            };
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| Status::cancelled(format!("the request ended early: {error}")))?;
            if let Ok(data) = frame.into_data() {
                come = come.and(data);
                check_length(come.bytes())?;
            }
        }
        Ok(come.into_bytes())
    }

    fn begin(&self) -> Result<UnfinishedMessage, Status> {
        let permit = self.quota.enter(Some(self.connection));
        Ok(UnfinishedMessage {
            _permit: permit.ok_or_else(|| Status::resource_exhausted("too many requests are incomplete"))?,
            budget: self.budget.clone(),
            held: 0,
        })
    }
}

/// Refuses a message that is too long for every service, by its announced length or by the bytes that have come.
fn check_length(bytes: &[u8]) -> Result<(), Status> {
    let announced = match bytes {
        [_, a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]),
        _ => 0,
    };
    let announced = usize::try_from(announced).unwrap_or(usize::MAX);
    if announced > limits::LONGEST_MESSAGE || bytes.len() > PREFIX + limits::LONGEST_MESSAGE {
        return Err(Status::resource_exhausted(
            "the message is larger than this service accepts",
        ));
    }
    Ok(())
}

/// The bytes of a body that have come.
#[derive(Debug)]
enum Come {
    Nothing,
    /// A part of the connection's read buffer. It must not be kept: one byte of it keeps the whole buffer in memory.
    Part(Bytes),
    Copied(Vec<u8>),
}

impl Come {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::Part(part) => part,
            Self::Copied(copy) => copy,
        }
    }

    fn and(self, more: Bytes) -> Self {
        match self {
            _ if more.is_empty() => self,
            Self::Nothing => Self::Part(more),
            Self::Part(_) | Self::Copied(_) => {
                let mut copy = self.copied();
                // Grows by a quarter, not by the doubling of vectors: the capacity counts against the budget.
                if copy.capacity() - copy.len() < more.len() {
                    copy.reserve_exact(more.len().max(copy.len() / 4));
                }
                copy.extend_from_slice(&more);
                Self::Copied(copy)
            }
        }
    }

    fn copied(self) -> Vec<u8> {
        match self {
            Self::Nothing => vec![],
            Self::Part(part) => part.to_vec(),
            Self::Copied(copy) => copy,
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::Part(part) => part,
            Self::Copied(copy) => copy.into(),
        }
    }
}

/// An unfinished message: its permit and the bytes that it holds.
#[derive(Debug)]
struct UnfinishedMessage {
    _permit: Permit,
    budget: Budget,
    held: usize,
}

impl UnfinishedMessage {
    /// Counts the bytes that the message holds now.
    fn hold(&mut self, bytes: usize) -> Result<(), Status> {
        // Never less than before: the bytes of a message only grow.
        let more = bytes.saturating_sub(limits::ASSURED_BYTES).saturating_sub(self.held);
        if more == 0 {
            return Ok(());
        }
        self.held += more;
        if self.budget.0.fetch_add(more, Ordering::Relaxed) + more > limits::UNFINISHED_BYTES {
            return Err(Status::resource_exhausted("too many requests are incomplete"));
        }
        Ok(())
    }
}

impl Drop for UnfinishedMessage {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_announced_too_long_is_refused_before_it_comes() {
        assert!(check_length(&[0, 0, 4, 0, 0]).is_ok());
        assert!(check_length(&[0, 0, 4, 0, 1]).is_err());
        assert!(check_length(&[0, 0xff, 0xff, 0xff]).is_ok(), "not known yet");
        assert!(check_length(&vec![0; PREFIX + limits::LONGEST_MESSAGE]).is_ok());
        assert!(check_length(&vec![0; PREFIX + limits::LONGEST_MESSAGE + 1]).is_err());
    }

    #[test]
    fn what_comes_in_parts_is_put_together_with_little_room_to_spare() {
        let mut come = Come::Nothing;
        let mut expected = vec![];
        for part in 0..200_u8 {
            let part = vec![part; 1000];
            expected.extend_from_slice(&part);
            come = come.and(Bytes::new()).and(part.into());
            if let Come::Copied(copy) = &come {
                assert!(copy.capacity() <= copy.len() * 5 / 4 + 1000);
            }
        }
        assert_eq!(come.into_bytes(), expected);
    }
}
