//! Header blocks before and behind the adapter of `:authority`: an independent decoder of HPACK must see the same
//! headers but for the authority, in every block of a connection.

mod conversation;
mod expected;
mod huffman;
mod table;

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use dekhand::listener::authority::AuthorityRewriter;
use httlib_hpack::Decoder;
use tokio::io::AsyncRead;
use tokio::io::ReadBuf;

use crate::authority::conversation::Block;
use crate::authority::conversation::Choices;
use crate::authority::conversation::Conversation;
use crate::authority::expected::Expected;

/// Checks one input. It chooses how reads are cut and how large their buffers are, then what is sent; or it is sent as it
/// is.
///
/// # Panics
/// The adapter has changed what it must not change, or has not changed what it must.
pub(crate) fn check(input: &[u8]) -> Outcome {
    let mut choices = Choices::new(input);
    let mut sizes = [(); 4].map(|()| choices.byte());
    let raw = choices.below(16) == 15;
    if raw {
        let sent = input.get(5..).unwrap_or_default();
        assert_eq!(read(sent, &mut sizes).len(), sent.len());
        return Outcome::default();
    }
    let conversation = Conversation::new(&mut choices);
    let received = read(&conversation.bytes, &mut sizes);
    compare(&conversation, &received)
}

/// What an input has reached.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Header blocks that both decoders took.
    pub(crate) blocks: u64,
    /// Authorities that were as expected, and other than they were sent.
    pub(crate) mended: u64,
}

fn compare(conversation: &Conversation, received: &[u8]) -> Outcome {
    let sent = &conversation.bytes;
    assert_eq!(received.len(), sent.len());
    let mut outcome = Outcome::default();
    let mut outside = 0;
    for fragment in conversation.blocks.iter().flat_map(|block| &block.fragments) {
        assert_eq!(
            received[outside..fragment.start],
            sent[outside..fragment.start],
            "between blocks"
        );
        outside = fragment.end;
    }
    assert_eq!(received[outside..], sent[outside..], "behind the last block");

    let (mut before, mut behind) = (Decoder::default(), Decoder::default());
    for block in &conversation.blocks {
        let Some(before) = decode(&mut before, block, sent) else {
            // An index that no table has, say: the connection ends here.
            break;
        };
        let behind = decode(&mut behind, block, received).expect("what was a header block still is one");
        assert_eq!((before.len(), behind.len()), (block.headers.len(), block.headers.len()));
        for ((before, behind), expected) in before.iter().zip(&behind).zip(&block.headers) {
            outcome.mended += u64::from(is_mended(before, behind, expected));
        }
        outcome.blocks += 1;
    }
    outcome
}

/// Name, value, and whether it may become an entry of a table.
type Header = (Vec<u8>, Vec<u8>, u8);

fn decode(decoder: &mut Decoder<'_>, block: &Block, bytes: &[u8]) -> Option<Vec<Header>> {
    let (mut whole, mut headers) = (vec![], vec![]);
    for fragment in &block.fragments {
        whole.extend_from_slice(&bytes[fragment.clone()]);
    }
    decoder.decode(&mut whole, &mut headers).ok()?;
    Some(headers)
}

fn is_mended(before: &Header, behind: &Header, expected: &Expected) -> bool {
    let emptied =
        (before.0 == b":authority" && before.1.is_empty()) && (behind.0 == b"accept-charset" && behind.1.is_empty());
    match expected {
        Expected::Gone => assert!(emptied, "{before:?} {behind:?}"),
        Expected::Authority(value) => assert_eq!(behind, &(before.0.clone(), value.clone(), before.2)),
        Expected::Same if before.0 != b":authority" => assert_eq!(before, behind),
        // From a table, where it is as it was mended before.
        Expected::Same => assert_eq!(
            (&before.0, before.1.len(), before.2),
            (&behind.0, behind.1.len(), behind.2)
        ),
        Expected::Unsure => assert!(emptied || (&before.0, before.2) == (&behind.0, behind.2)),
    }
    before != behind
}

/// All that comes out when `sent` goes in, in parts of these sizes.
fn read(sent: &[u8], sizes: &mut [u8; 4]) -> Vec<u8> {
    let [first, second, buffer, pending] = *sizes;
    let parts = Parts {
        left: sent,
        sizes: [first, second],
        pending: pending % 4,
        polls: 0,
    };
    let (mut mended, _hopeless) = AuthorityRewriter::over(parts);
    let mut context = Context::from_waker(Waker::noop());
    let mut received = vec![];
    let mut space = vec![0; if buffer == 0 { 16 << 10 } else { usize::from(buffer) }];
    loop {
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut mended).poll_read(&mut context, &mut buffer) {
            Poll::Pending => {}
            Poll::Ready(read) => {
                read.expect("memory can be read");
                if buffer.filled().is_empty() {
                    return received;
                }
                received.extend(buffer.filled());
            }
        }
    }
}

/// A stream that gives its bytes in parts, and says in between that it has none.
struct Parts<'a> {
    left: &'a [u8],
    sizes: [u8; 2],
    pending: u8,
    polls: u8,
}

impl AsyncRead for Parts<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.polls = self.polls.wrapping_add(1);
        if self.pending != 0 && self.polls % 4 < self.pending {
            return Poll::Pending;
        }
        self.sizes.swap(0, 1);
        let size = match self.sizes[0] {
            0 => usize::MAX,
            size => usize::from(size),
        };
        let (now, later) = self.left.split_at(size.min(self.left.len()).min(buffer.remaining()));
        buffer.put_slice(now);
        self.left = later;
        Poll::Ready(Ok(()))
    }
}
