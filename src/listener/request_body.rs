//! Reads the message of a request before its service sees the request, and bounds what unfinished messages hold.

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

use crate::listener::limits;
use crate::listener::limits::ConnectionRoom;
use crate::listener::limits::Permit;

/// In front of each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The bytes that unfinished messages hold, on all connections. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// Where the unfinished messages of one connection wait.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    pub(super) room: ConnectionRoom,
    pub(super) budget: Budget,
}

impl Arrivals {
    /// All bytes of a request's body. Most bodies come along with the headers: they take no place, so that nobody who
    /// only begins requests stands in the way of those who end them.
    ///
    /// # Cancel safety
    /// What has come is lost; its place is given back.
    pub(super) async fn whole(&self, mut body: Incoming, deadline: Instant) -> Result<Bytes, Status> {
        let deadline = deadline.min(Instant::now() + limits::MESSAGE_TIME);
        let mut come = Come::Nothing;
        let mut place = None;
        while !body.is_end_stream() {
            let frame = if let Some(frame) = body.frame().now_or_never() {
                frame
            } else {
                let waits = match &mut place {
                    Some(place) => place,
                    None => place.insert(self.place()?),
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

    fn place(&self) -> Result<Place, Status> {
        let permit = self.room.enter();
        Ok(Place {
            _permit: permit.ok_or_else(|| Status::resource_exhausted("too many requests are incomplete"))?,
            budget: self.budget.clone(),
            held: 0,
        })
    }
}

/// Refuses what no service accepts, as soon as that can be known: by the length that is announced, or that has come.
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

/// What has come of a body.
#[derive(Debug)]
enum Come {
    Nothing,
    /// A part of the connection's read buffer, which is not for keeping: a byte would keep all of it.
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
                // Room for a quarter more and not, as vectors have it, for as much again: it is counted.
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

/// The place of an unfinished message.
#[derive(Debug)]
struct Place {
    _permit: Permit,
    budget: Budget,
    held: usize,
}

impl Place {
    /// It holds so many bytes now.
    fn hold(&mut self, bytes: usize) -> Result<(), Status> {
        // Never less than before: what has come only grows.
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

impl Drop for Place {
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
