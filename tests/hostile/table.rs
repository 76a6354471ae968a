//! Every abuse in turn, and all at once, as a table: `cargo test --test hostile -- --nocapture`.

use std::time::Duration;

use crate::blocks;
use crate::floods;
use crate::footprint::Footprint;
use crate::messages;
use crate::scene::Abuse;
use crate::scene::Dev;
use crate::scene::Held;
use crate::scene::Outcome;
use crate::scene::Scene;
use crate::scene::alone;
use crate::scene::happen;
use crate::strangers;
use crate::unfinished;

/// What is sent, and who sends it.
const ABUSES: &[(&str, Abuse)] = &[
    ("500 connections that never speak", strangers::silent),
    ("5,000 connections that come and go", strangers::come_and_go),
    ("100 connections that called once", strangers::called_once),
    ("HTTP/1.1, TLS, random bytes: 900 times", strangers::other_protocols),
    ("slow preface", strangers::slow_preface),
    ("slow HEADERS, 60 connections that called", unfinished::slow_headers),
    ("slow DATA, 8 x 1,000 calls", unfinished::slow_data),
    ("200 KiB never ended, 8 x 40 calls", unfinished::large_and_unfinished),
    ("256 KiB announced, 8 x 1,000 calls", unfinished::announced),
    ("CONTINUATION flood", floods::continuations),
    ("PING flood", floods::pings),
    ("PING flood, answers unread", floods::pings_unread),
    ("SETTINGS flood", floods::settings),
    ("SETTINGS flood, answers unread", floods::settings_unread),
    ("SETTINGS flood, 512 open calls each", floods::settings_with_open_calls),
    ("WINDOW_UPDATE flood", floods::window_updates),
    (
        "WINDOW_UPDATE flood, 512 open calls each",
        floods::window_updates_of_calls,
    ),
    ("PRIORITY and unknown frames", floods::ignored_frames),
    ("empty DATA flood", floods::empty_data),
    ("rapid reset, 4 x 10,000", floods::rapid_reset),
    ("calls that the daemon must reset", floods::made_you_reset),
    ("flood of whole calls", floods::calls),
    ("flood of calls without message", floods::empty_calls),
    ("Decrypts with forged wrapped keys", floods::forged_wrapped_keys),
    ("HPACK: 16,000 references to 4 kB", blocks::references),
    (
        "HPACK: references, 15 KiB a call, all open",
        blocks::references_within_the_limit,
    ),
    ("HPACK: endless and huge integers", blocks::integers),
    ("HPACK: updates of the table's size", blocks::table_sizes),
    ("header blocks of 60 KiB", blocks::large),
    ("10,000 cancelled calls", unfinished::cancelled),
    ("no window for 8 x 1,000 answers", unfinished::zero_window),
    ("windows of one byte", unfinished::window_of_one),
    ("answers never read, 8 x 20,000 calls", unfinished::unread),
    ("5 MiB, whatever the windows say", messages::five_mib),
    ("5 MiB within the windows", messages::five_mib_within_windows),
    ("compressed flag", messages::compressed),
    ("two and 1,000 messages in a call", messages::two_messages),
    ("malformed protobuf", messages::malformed),
    ("KMS v1: long ciphers and versions, 5 MiB", messages::v1beta1),
    ("wrong method, path, content type, headers", messages::wrong_requests),
    ("wrong content length, frames of no call", messages::out_of_order),
];

#[test]
fn no_abuse_hurts_who_behaves_and_all_that_it_took_is_given_back() {
    let _alone = alone();
    let dev = Dev::start();
    let scene = Scene::new(dev.socket());
    let mut table = Table::begin();
    // What every daemon has after its first callers.
    let idle = Footprint::of(&dev.daemon);
    happen(&dev.daemon, &scene, &idle, |scene| {
        std::thread::sleep(scene.lasts);
        vec![]
    });
    let first = Footprint::of(&dev.daemon);
    let only = std::env::var("ABUSE").unwrap_or_default();
    for (name, abuse) in ABUSES.iter().filter(|(name, _)| name.contains(&only)) {
        table.line(name, happen(&dev.daemon, &scene, &first, abuse));
    }
    if only.is_empty() || only == "all" {
        let together = Scene { alone: false, ..scene };
        table.line("all of these at once", happen(&dev.daemon, &together, &first, all));
    }
    table.end();
}

#[test]
fn what_is_done_again_and_again_leaves_no_more_than_before() {
    let _alone = alone();
    let dev = Dev::start();
    let scene = Scene {
        lasts: Duration::from_millis(200),
        ..Scene::new(dev.socket())
    };
    let abuses: [(&str, Abuse); 6] = [
        ("100 connections that called once", strangers::called_once),
        ("rapid reset, 4 x 10,000", floods::rapid_reset),
        ("flood of whole calls", floods::calls),
        ("HPACK: 16,000 references to 4 kB", blocks::references),
        ("10,000 cancelled calls", unfinished::cancelled),
        ("malformed protobuf", messages::malformed),
    ];
    for (name, abuse) in abuses {
        let mut footprints = Vec::new();
        for _ in 0..6 {
            drop(abuse(&scene));
            footprints.push(Footprint::of(&dev.daemon));
        }
        let memory: Vec<_> = footprints.iter().map(|footprint| footprint.memory).collect();
        println!("{name}: {memory:?} KiB");
        assert!(
            memory[5] <= memory[2] + (2 << 10),
            "{name} leaves more each time: {memory:?} KiB"
        );
    }
}

fn all(scene: &Scene) -> Held {
    std::thread::scope(|threads| {
        let all: Vec<_> = ABUSES.iter().map(|(_, abuse)| threads.spawn(|| abuse(scene))).collect();
        all.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Lines as they come, and a verdict at the end.
#[derive(Debug)]
pub(crate) struct Table(Vec<String>);

impl Table {
    pub(crate) fn begin() -> Self {
        println!(
            "| {:<42} | calls | wrong | failed | Status ms | newcomers | refused | memory KiB: before | most   | after  | descriptors | threads | CPU s |",
            "what was sent"
        );
        Self(vec![])
    }

    pub(crate) fn line(&mut self, name: &str, outcome: Outcome) {
        let Outcome {
            seen,
            before,
            most,
            after,
            complaints,
        } = outcome;
        println!(
            "| {name:<42} | {:>5} | {:>5} | {:>6} | {:>9} | {:>9} | {:>7} | {:>18} | {most:>6} | {:>6} | {:>4} -> {:<3} | {} -> {}  | {:>5.2} |",
            seen.calls,
            seen.wrong,
            seen.failed,
            seen.worst_status.as_millis(),
            seen.newcomers,
            seen.newcomers_refused,
            before.memory,
            after.memory,
            before.descriptors,
            after.descriptors,
            before.threads,
            after.threads,
            after.processor - before.processor,
        );
        for complaint in complaints {
            println!("    {complaint}");
            self.0.push(format!("{name}: {complaint}"));
        }
    }

    pub(crate) fn end(self) {
        assert!(self.0.is_empty(), "{:#?}", self.0);
    }
}
