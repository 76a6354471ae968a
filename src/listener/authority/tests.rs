//! The bytes that callers send, and the bytes that reach HTTP/2.

use std::collections::VecDeque;

use super::*;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// A stream that returns one part per read.
struct Parts(VecDeque<Vec<u8>>);

impl AsyncRead for Parts {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(mut part) = self.0.pop_front() {
            let now = part.len().min(buffer.remaining());
            buffer.put_slice(&part[..now]);
            part.drain(..now);
            if !part.is_empty() {
                self.0.push_front(part);
            }
        }
        Poll::Ready(Ok(()))
    }
}

struct Read {
    bytes: Vec<u8>,
    hopeless: bool,
    still_looking: bool,
}

fn read_parts(parts: impl IntoIterator<Item = Vec<u8>>, space: usize) -> Read {
    let parts = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let (mut mended, mut hopeless) = AuthorityRewriter::over(Parts(parts));
    let mut context = Context::from_waker(std::task::Waker::noop());
    let (mut bytes, mut space) = (vec![], vec![0; space]);
    let mut still_looking = true;
    loop {
        let mut buffer = ReadBuf::new(&mut space);
        assert!(matches!(
            Pin::new(&mut mended).poll_read(&mut context, &mut buffer),
            Poll::Ready(Ok(()))
        ));
        if buffer.filled().is_empty() {
            let hopeless = hopeless.try_recv().is_ok();
            return Read {
                bytes,
                hopeless,
                still_looking,
            };
        }
        bytes.extend(buffer.filled());
        still_looking = mended.walk.is_some();
    }
}

fn read(bytes: &[u8]) -> Read {
    read_parts([bytes.to_vec()], 16 << 10)
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

fn headers(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, block)
}

/// `/run/k.sock` in Huffman code, and the same corrected.
const CODED: [u8; 9] = [0x62, 0xcb, 0x6a, 0x63, 0xaa, 0xe8, 0x39, 0x3a, 0xff];
const CODED_MENDED: [u8; 9] = [0x5a, 0xcb, 0x6a, 0x5b, 0xaa, 0xe8, 0x39, 0x3a, 0xff];

fn literal(head: &[u8], coded: bool, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap() | if coded { 0x80 } else { 0 };
    [head, &[length], value].concat()
}

/// The beginnings of every literal whose name is `:authority`.
fn heads() -> Vec<Vec<u8>> {
    let name = b"\x0a:authority".as_slice();
    let coded = b"\x88\xb8\x3b\x53\x39\xec\x32\x7d\x7f".as_slice();
    let mut heads = vec![vec![0x41], vec![0x01], vec![0x11]];
    for form in [0x40, 0x00, 0x10] {
        heads.extend([name, coded].map(|name| [&[form], name].concat()));
    }
    heads
}

#[test]
fn the_paths_of_sockets_are_mended_in_every_literal_and_what_has_an_authority_is_left_alone() {
    let wanted: [(&[u8], &[u8]); 9] = [
        (b"/run/k.sock", b"-run-k.sock"),
        (b"%2Frun%2Fk.sock", b"-2Frun-2Fk.sock"),
        (b"@k", b"-k"),
        (b"%40x", b"-40x"),
        (b"/a b=c:d", b"-a-b=c-d"),
        (b"/caf\xc3\xa9/{k}\x00", b"-caf----k--"),
        (b"localhost", b"localhost"),
        (b"k.sock", b"k.sock"),
        (b"", b""),
    ];
    for head in heads() {
        for (sent, seen) in wanted {
            let read = read(&headers(&literal(&head, false, sent)));
            assert_eq!(read.bytes, headers(&literal(&head, false, seen)), "{head:?} {sent:?}");
        }
        let read = read(&headers(&literal(&head, true, &CODED)));
        assert_eq!(read.bytes, headers(&literal(&head, true, &CODED_MENDED)), "{head:?}");
    }
}

#[test]
fn an_indexed_empty_authority_becomes_a_header_that_nobody_heeds() {
    let read = read(&headers(&[0x83, 0x86, 0x81, 0x84]));
    assert_eq!(read.bytes, headers(&[0x83, 0x86, 0x8f, 0x84]));
    assert!(read.still_looking);
}

#[test]
fn other_headers_are_left_alone_whatever_they_hold() {
    let path = literal(&[0x44], false, b"\x41\x02/a%");
    let name = literal(
        &[0x40, 10, b':', b'a', b'u', b't', b'h', b'o', b'r', b'i', b't', b'z'],
        false,
        b"/a",
    );
    let named_by_table = literal(&[0x7e], false, b"/a");
    let value = literal(b"\x40\x01x", false, b":authority");
    let block = [
        vec![0x3f, 0xe1, 0x1f],
        path,
        name,
        named_by_table,
        value,
        vec![0xff, 0x80, 0x00],
    ]
    .concat();
    let read = read(&headers(&block));
    assert_eq!(read.bytes, headers(&block));
    assert!(read.still_looking);
}

#[test]
fn data_that_looks_like_an_authority_is_left_alone() {
    let data = headers(&literal(&[0x41], false, b"/run/k.sock"));
    let sent = [frame(0, 1, &data), frame(4, 0, &data), frame(0xbe, 0xff, &data)].concat();
    assert_eq!(read(&sent).bytes, sent);
}

#[test]
fn reads_may_be_cut_anywhere_and_be_as_small_as_a_byte() {
    let sent = [headers(&literal(&[0x41], true, &CODED)), headers(&[0xbe])].concat();
    let seen = [headers(&literal(&[0x41], true, &CODED_MENDED)), headers(&[0xbe])].concat();
    for space in [1, 2, 3, 64] {
        for first in 0..sent.len() {
            for second in first..sent.len() {
                let parts = [&sent[..first], &sent[first..second], &sent[second..]].map(<[u8]>::to_vec);
                assert_eq!(read_parts(parts, space).bytes, seen, "{first} {second} {space}");
            }
        }
        let bytes = sent.iter().map(|byte| vec![*byte]);
        assert_eq!(read_parts(bytes, space).bytes, seen, "{space}");
    }
}

/// A block in a padded HEADERS frame with priority, and a CONTINUATION for all that does not fit before a cut.
fn split(block: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut ends = cuts.to_vec();
    ends.push(block.len());
    let padding = 255;
    let first = [
        &[padding, 0x80, 0, 0, 0, 15],
        &block[..ends[0]],
        &vec![0x41; usize::from(padding)],
    ]
    .concat();
    let mut frames = frame(HEADERS, 0x28 | if cuts.is_empty() { END_HEADERS } else { 0 }, &first);
    for (at, parts) in ends.windows(2).enumerate() {
        let flags = if at + 2 == ends.len() { END_HEADERS } else { 0 };
        frames.extend(frame(CONTINUATION, flags, &block[parts[0]..parts[1]]));
    }
    frames
}

#[test]
fn blocks_may_be_padded_have_a_priority_and_be_split_anywhere() {
    let (sent, seen) = (literal(&[0x41], true, &CODED), literal(&[0x41], true, &CODED_MENDED));
    let behind = headers(&literal(&[0x41], false, b"/x"));
    let behind_mended = headers(&literal(&[0x41], false, b"-x"));
    for first in 0..sent.len() {
        for second in first..sent.len() {
            for cuts in [
                vec![],
                vec![first],
                vec![first, second],
                vec![first, first, second, second],
            ] {
                let [sent, seen] = [(&sent, &behind), (&seen, &behind_mended)]
                    .map(|(block, behind)| [split(block, &cuts), behind.clone()].concat());
                assert_eq!(read(&sent).bytes, seen, "{cuts:?}");
                let bytes = sent.iter().map(|byte| vec![*byte]);
                assert_eq!(read_parts(bytes, 5).bytes, seen, "{cuts:?}");
            }
        }
    }
}

#[test]
fn a_connection_with_an_acceptable_authority_is_not_looked_at_any_further() {
    let bad = headers(&literal(&[0x41], false, b"/run/k.sock"));
    for good in ["localhost", "k.sock", "10.0.0.1"] {
        let sent = [headers(&literal(&[0x41], false, good.as_bytes())), bad.clone()].concat();
        let read = read(&sent);
        assert_eq!(read.bytes, sent);
        assert!(!read.still_looking && !read.hopeless);
    }
    // The walk goes on, since a client sends the literal again when the table has evicted it.
    let read = read(&[bad.clone(), headers(&[0xbe]), bad].concat());
    assert!(read.still_looking);
    assert!(!read.bytes.contains(&b'/'));
}

#[test]
fn a_character_without_a_twin_is_told_and_left_to_http2() {
    // "#", and the first 14 bits of a code that is longer than all replacements.
    for value in [[0xff, 0xaf].as_slice(), &[0xff, 0xff]] {
        let sent = headers(&literal(&[0x41], true, value));
        let read = read(&[sent.clone(), sent.clone()].concat());
        assert_eq!(read.bytes, [sent.clone(), sent].concat());
        assert!(read.hopeless && !read.still_looking);
    }
}

#[test]
fn what_is_no_http2_is_left_to_http2_and_looked_at_no_further() {
    let broken: [&[u8]; 8] = [
        &frame(CONTINUATION, END_HEADERS, b""),
        &frame(5, END_HEADERS, b"\0\0\0\x02"),
        &[frame(HEADERS, 0, b""), frame(0, 0, b"")].concat(),
        &[frame(HEADERS, 0, b""), frame(HEADERS, 0, b"")].concat(),
        &frame(HEADERS, 0x8, b""),
        &frame(HEADERS, 0x8, b"\x05abcd"),
        &frame(HEADERS, 0x20, b"abcd"),
        &headers(&[0x41, 0x7f, 0x80, 0x80, 0x80, 0x80]),
    ];
    for broken in broken.into_iter().chain([headers(&[0x41, 5, b'/']).as_slice()]) {
        let sent = [broken, &headers(&literal(&[0x41], false, b"/x"))].concat();
        let read = read(&sent);
        assert_eq!(read.bytes.len(), sent.len());
        assert!(read.bytes.ends_with(b"/x"), "{broken:?}");
        assert!(!read.still_looking && !read.hopeless, "{broken:?}");
    }
}

#[test]
fn little_is_held_back_however_long_a_symbol_takes() {
    // A symbol and a part of one, and then many frames without the rest.
    let mut parts = vec![frame(HEADERS, 0, &[0x41, 0x82, 0x62])];
    parts.extend((0..10_000).map(|_| frame(CONTINUATION, 0, b"")));
    let sent = parts.concat();
    let (mut mended, _told) = AuthorityRewriter::over(Parts(parts.into()));
    let mut context = Context::from_waker(std::task::Waker::noop());
    let (mut received, mut space) = (Vec::<u8>::new(), [0; 64]);
    while received.len() < sent.len() {
        let mut buffer = ReadBuf::new(&mut space);
        assert!(matches!(
            Pin::new(&mut mended).poll_read(&mut context, &mut buffer),
            Poll::Ready(Ok(()))
        ));
        received.extend(buffer.filled());
        assert!(mended.walk.as_ref().is_none_or(|walk| walk.held.len() <= 512));
        assert!(mended.released.len() <= 1024);
    }
    let mut expected = sent;
    expected[11] = CODED_MENDED[0];
    assert!(received == expected && mended.walk.is_none());
}
