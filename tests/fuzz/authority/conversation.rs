//! What a client sends on one connection, as the bytes of an input choose it: frames, and in them header blocks that use
//! every representation of HPACK, split, padded and with priority wherever that can be.

use std::ops::Range;

use crate::authority::expected::Expected;
use crate::authority::expected::Judge;
use crate::authority::huffman::coded;
use crate::authority::table::Table;

/// Choices, one byte each; zeros when the input is over.
pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub(crate) fn over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub(crate) fn below(&mut self, end: u8) -> u8 {
        self.byte() % end
    }

    fn one_in(&mut self, many: u8) -> bool {
        self.below(many) == many - 1
    }

    fn bytes(&mut self, most: u8) -> Vec<u8> {
        let length = usize::from(self.below(most + 1)).min(self.0.len());
        let (now, later) = self.0.split_at(length);
        self.0 = later;
        now.to_vec()
    }

    /// One of a list, or bytes of the input.
    fn text(&mut self, known: &[&str]) -> Vec<u8> {
        match known.get(usize::from(self.below(known.len() as u8 + 2))) {
            Some(known) => known.as_bytes().to_vec(),
            None => self.bytes(40),
        }
    }
}

/// One header block: where its fragments are, and what must come of each of its headers.
pub(crate) struct Block {
    pub(crate) fragments: Vec<Range<usize>>,
    pub(crate) headers: Vec<Expected>,
}

/// All that a client sends behind its preface.
#[derive(Default)]
pub(crate) struct Conversation {
    pub(crate) bytes: Vec<u8>,
    pub(crate) blocks: Vec<Block>,
}

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

const AUTHORITIES: [&str; 16] = [
    "/run/k.sock",
    "%2Frun%2Fk.sock",
    "/var/run/kmsplugin/socket.sock",
    "@k",
    "%40x",
    "/run/a b=c:d/k.sock",
    "localhost",
    "k.sock",
    "",
    "/run/@[x]?y|z\"",
    "/run/#k",
    "/run/caf\u{e9}/k.sock",
    "/",
    "%2Fplugin@localhost",
    "/etc/kubernetes/{kms}/k.sock",
    "/a/%/b/%",
];
const NAMES: [&str; 10] = [
    ":authority",
    ":authoritx",
    ":autHority",
    ":path",
    "user-agent",
    "grpc-timeout",
    "content-type",
    "x",
    "",
    ":authority2",
];
const VALUES: [&str; 6] = [
    "/v2.KeyManagementService/Encrypt",
    "2999827u",
    "",
    ":authority",
    "/a/b",
    "trailers",
];

impl Conversation {
    pub(crate) fn new(choices: &mut Choices<'_>) -> Self {
        let (mut conversation, mut client) = (Self::default(), Client::default());
        let mut stream = 1;
        while !choices.over() && conversation.bytes.len() < 32 << 10 {
            match choices.below(8) {
                0 => conversation.frame(0, choices.byte(), stream, &choices.bytes(60)),
                1 => {
                    let kind = [4, 6, 8, 2, 3, 0x16, 0xfb, 7][usize::from(choices.below(8))];
                    conversation.frame(kind, choices.byte(), 0, &choices.bytes(20));
                }
                _ => {
                    conversation.block(stream, choices, &mut client);
                    stream += 2;
                }
            }
        }
        conversation
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = (payload.len() as u32).to_be_bytes();
        self.bytes.extend([length[1], length[2], length[3], kind, flags]);
        self.bytes.extend(stream.to_be_bytes());
        self.bytes.extend(payload);
    }

    fn block(&mut self, stream: u32, choices: &mut Choices<'_>, client: &mut Client) {
        let mut block = vec![];
        if choices.one_in(6) {
            let most = [0, 40, 100, 200, 1000, 4096][usize::from(choices.below(6))];
            integer(&mut block, 0x20, 5, most, false);
            client.table.resize(most as usize);
        }
        let headers = (0..=choices.below(10))
            .map(|_| client.header(&mut block, choices))
            .collect();
        let fragments = self.split(&block, stream, choices);
        self.blocks.push(Block { fragments, headers });
    }

    /// Puts a block into one HEADERS frame and as many CONTINUATIONs as the input likes.
    fn split(&mut self, mut block: &[u8], stream: u32, choices: &mut Choices<'_>) -> Vec<Range<usize>> {
        let (mut fragments, mut kind) = (vec![], HEADERS);
        let cuts = if choices.one_in(3) { choices.below(8) } else { 0 };
        for left in (0..=cuts).rev() {
            let size = match left {
                0 => block.len(),
                _ => usize::from(choices.below(24)).min(block.len()),
            };
            let (fragment, rest) = block.split_at(size);
            block = rest;
            let (mut flags, mut before, mut padding) = (choices.byte() & 0x51, vec![], 0);
            if left == 0 {
                flags |= END_HEADERS;
            }
            // Frames of another kind have other flags, which mean nothing.
            let shape = choices.below(8);
            if kind == HEADERS && shape & 1 != 0 {
                flags |= PADDED;
                padding = choices.byte();
                before.push(padding);
            }
            if kind == HEADERS && shape & 2 != 0 {
                flags |= PRIORITY;
                before.extend([0x80, 0, 0, 0, 15]);
            }
            if kind == CONTINUATION && shape == 7 {
                flags |= PADDED | PRIORITY;
            }
            let start = self.bytes.len() + 9 + before.len();
            let payload = [&before, fragment, &vec![0x81; usize::from(padding)]].concat();
            self.frame(kind, flags, stream, &payload);
            fragments.push(start..start + fragment.len());
            kind = CONTINUATION;
        }
        fragments
    }
}

/// The end that writes headers.
#[derive(Default)]
struct Client {
    table: Table,
    judge: Judge,
}

impl Client {
    /// Writes one header; what must come of it.
    fn header(&mut self, block: &mut Vec<u8>, choices: &mut Choices<'_>) -> Expected {
        let long = choices.one_in(16);
        match choices.below(8) {
            0 => {
                let index = 1 + u32::from(choices.below(61));
                integer(block, 0x80, 7, index, false);
                if index == 1 { self.judge.empty() } else { Expected::Same }
            }
            1 | 2 => {
                integer(block, 0x80, 7, self.entry(choices), long);
                Expected::Same
            }
            _ => self.literal(block, long, choices),
        }
    }

    /// The index of an entry of the dynamic table; seldom of none, which is the end of a connection.
    fn entry(&self, choices: &mut Choices<'_>) -> u32 {
        let choice = u32::from(choices.byte());
        match self.table.len() as u32 {
            _ if choice == 255 => 62 + self.table.len() as u32,
            0 => 2,
            there => 62 + choice % there,
        }
    }

    fn literal(&mut self, block: &mut Vec<u8>, long: bool, choices: &mut Choices<'_>) -> Expected {
        // The form that API servers use is the most interesting one.
        let (bits, prefix) = [(0x40, 6), (0x40, 6), (0, 4), (0x10, 4)][usize::from(choices.below(4))];
        let (authority, name) = match choices.below(8) {
            0..=3 => {
                integer(block, bits, prefix, 1, false);
                (true, 10)
            }
            4 => {
                let (index, name) = [(4, 5), (31, 12), (58, 10), (61, 16)][usize::from(choices.below(4))];
                integer(block, bits, prefix, index, long);
                (false, name)
            }
            5 if self.table.len() > 0 => {
                // Maybe the name of an entry that came from an authority.
                let entry = usize::from(choices.byte()) % self.table.len();
                integer(block, bits, prefix, 62 + entry as u32, long);
                (false, self.table.name(entry))
            }
            _ => {
                integer(block, bits, prefix, 0, false);
                let name = choices.text(&NAMES);
                string(block, &name, choices.one_in(2), long);
                (name == b":authority", name.len())
            }
        };
        let value = choices.text(if authority { &AUTHORITIES } else { &VALUES });
        if bits == 0x40 {
            self.table.insert(name, value.len());
        }
        let huffman = !choices.one_in(3);
        if authority && choices.one_in(64) {
            // Coded, maybe, but not by an encoder.
            integer(block, 0x80, 7, value.len() as u32, long);
            block.extend(&value);
            return self.judge.unsure();
        }
        string(block, &value, huffman, long);
        if authority {
            self.judge.authority(&value, huffman)
        } else {
            Expected::Same
        }
    }
}

fn string(block: &mut Vec<u8>, text: &[u8], huffman: bool, long: bool) {
    if huffman {
        let coded = coded(text);
        integer(block, 0x80, 7, coded.len() as u32, long);
        block.extend(coded);
    } else {
        integer(block, 0, 7, text.len() as u32, long);
        block.extend(text);
    }
}

/// An integer behind some bits; `long` where it may be longer than it must be.
fn integer(block: &mut Vec<u8>, bits: u8, prefix: u8, value: u32, long: bool) {
    let full = (1 << prefix) - 1;
    if value < full {
        block.push(bits | value as u8);
        return;
    }
    block.push(bits | full as u8);
    let mut left = value - full;
    while left >= 0x80 {
        block.push(left as u8 | 0x80);
        left >>= 7;
    }
    if long {
        block.extend([left as u8 | 0x80, 0]);
    } else {
        block.push(left as u8);
    }
}
