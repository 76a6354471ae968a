//! Header blocks that are small on the wire and large, slow or wrong behind it.

use crate::floods::flood;
use crate::scene::Held;
use crate::scene::Scene;
use crate::wire::CONTINUATION;
use crate::wire::ENCRYPT;
use crate::wire::END_HEADERS;
use crate::wire::END_STREAM;
use crate::wire::HEADERS;
use crate::wire::call;
use crate::wire::field;
use crate::wire::frame;
use crate::wire::id;
use crate::wire::integer;
use crate::wire::remembered;

/// A field of 4,000 bytes that is remembered, and then named by one byte 16,000 times for each call: 64 MiB each.
pub(crate) fn references(scene: &Scene) -> Held {
    let mut first = call(ENCRYPT);
    remembered(&mut first, "x", &"v".repeat(4000));
    let mut bomb = call(ENCRYPT);
    bomb.resize(16 << 10, 0xbe);
    let begin = frame(HEADERS, END_HEADERS | END_STREAM, 1, &first);
    flood(scene, true, &begin, |count| {
        frame(HEADERS, END_HEADERS | END_STREAM, id(count + 1), &bomb)
    })
}

/// The same within the limit of a header list: each call has what it may have, and stays open.
pub(crate) fn references_within_the_limit(scene: &Scene) -> Held {
    let mut first = call(ENCRYPT);
    remembered(&mut first, "x", &"v".repeat(3900));
    let mut block = call(ENCRYPT);
    block.extend([0xbe; 3]);
    let begin = frame(HEADERS, END_HEADERS, 1, &first);
    flood(scene, true, &begin, |count| {
        (count * 100..(count + 1) * 100)
            .flat_map(|number| frame(HEADERS, END_HEADERS, id(number + 1), &block))
            .collect()
    })
}

/// Integers that never end, or exceed every type.
pub(crate) fn integers(scene: &Scene) -> Held {
    let endless = [&[0x7f][..], &[0xff; 16_000]].concat();
    let mut large = vec![];
    integer(&mut large, 0x80, 7, usize::MAX / 2);
    let mut name = vec![0];
    integer(&mut name, 0, 7, usize::MAX / 2);
    let blocks = [endless, large, name];
    flood(scene, true, &[], |count| {
        frame(HEADERS, END_HEADERS, id(count), &blocks[count % blocks.len()])
    })
}

/// Updates of the table's size, up and down, thousands in one block, each of which empties a full table.
pub(crate) fn table_sizes(scene: &Scene) -> Held {
    let mut up_and_down = vec![0x20];
    integer(&mut up_and_down, 0x20, 5, 4096);
    let mut updates = up_and_down.repeat(3000);
    updates.extend(call(ENCRYPT));
    for _ in 0..50 {
        remembered(&mut updates, "x", "v");
    }
    let mut beyond = vec![];
    integer(&mut beyond, 0x20, 5, 1 << 30);
    flood(scene, true, &[], |count| {
        let block = if count % 50 == 49 { &beyond } else { &updates };
        frame(HEADERS, END_HEADERS | END_STREAM, id(count), block)
    })
}

/// Blocks of the size of a whole header list and beyond it, spread over CONTINUATION frames.
pub(crate) fn large(scene: &Scene) -> Held {
    let mut block = call(ENCRYPT);
    while block.len() < 60 << 10 {
        field(&mut block, "x-large", &"v".repeat(1000));
    }
    flood(scene, true, &[], |count| {
        let stream = id(count);
        let pieces: Vec<_> = block.chunks(16 << 10).collect();
        let (last, pieces) = pieces.split_last().unwrap();
        let (first, pieces) = pieces.split_first().unwrap();
        let mut bytes = frame(HEADERS, END_STREAM, stream, first);
        bytes.extend(pieces.iter().flat_map(|piece| frame(CONTINUATION, 0, stream, piece)));
        bytes.extend(frame(CONTINUATION, END_HEADERS, stream, last));
        bytes
    })
}
