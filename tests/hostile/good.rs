//! The well-behaved callers: one that stays connected and checks every answer, and newcomers in processes of their own.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use crate::scene::Scene;
use support::daemon::Caller;
use support::daemon::HANG;
use support::daemon::dekhand;
use support::pulse::Stopwatch;

/// Between two rounds of calls.
const PACE: Duration = Duration::from_millis(2);
/// Between two newcomers.
const NEWCOMERS: Duration = Duration::from_millis(250);

/// How often a newcomer connects while the kernel's queue is full: a second apart, as Go's clients begin. They never give
/// up, and on a busy machine an abuse goes on for longer: only a hang uses up all tries.
const TRIES: usize = 60;

/// What the well-behaved saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) calls: usize,
    /// Answers that are not what was asked for.
    pub(crate) wrong: usize,
    pub(crate) failed: usize,
    pub(crate) worst_status: Duration,
    pub(crate) newcomers: usize,
    pub(crate) newcomers_refused: usize,
    /// What the first failures said.
    pub(crate) words: Vec<String>,
}

impl Seen {
    fn note(&mut self, words: String) {
        if self.words.len() < 3 {
            self.words.push(words);
        }
    }
}

/// Both, until dropped.
#[derive(Debug)]
pub(crate) struct Good {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Good {
    /// Starts to call; the first call has been answered when this returns.
    pub(crate) fn start(scene: &Scene) -> Self {
        let (socket, rounds) = (&scene.socket, scene.rounds.clone());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let caller = std::thread::spawn({
            let (socket, seen, stop) = (socket.to_owned(), seen.clone(), stop.clone());
            let rounds = rounds.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(call_on(&socket, &seen, &stop, &rounds));
            }
        });
        let newcomers = std::thread::spawn({
            let (socket, seen, stop) = (socket.to_owned(), seen.clone(), stop.clone());
            move || come_anew(&socket, &seen, &stop)
        });
        let good = Self {
            seen,
            stop,
            rounds,
            threads: vec![caller, newcomers],
        };
        let begin = Instant::now();
        while good.seen.lock().unwrap().calls == 0 {
            assert!(begin.elapsed() < HANG, "the first call is not answered");
            std::thread::sleep(PACE);
        }
        good
    }

    /// Ends them and tells what they saw.
    pub(crate) fn end(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        self.rounds.store(0, Ordering::Relaxed);
        self.seen.lock().unwrap().clone()
    }
}

async fn call_on(socket: &Path, seen: &Mutex<Seen>, stop: &AtomicBool, rounds: &AtomicUsize) {
    let mut caller = Caller::connect(socket).await;
    let first = caller.encrypt(b"sealed before any harm was done").await.unwrap();
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let stopwatch = Stopwatch::start();
        let status = caller.status().await;
        let took = stopwatch.took();
        let mut round = Round::default();
        round.judge(
            "Status",
            status.map(|status| status.version == "v2" && status.healthz == "ok"),
        );
        let plaintext = [&number.to_be_bytes()[..], &[7; 24]].concat();
        match caller.encrypt(&plaintext).await {
            Ok(sealed) => {
                round.judge("Encrypt", Ok(sealed.ciphertext != first.ciphertext));
                let opened = caller.decrypt(&sealed).await;
                round.judge("Decrypt", opened.map(|opened| opened == plaintext));
            }
            Err(status) => round.judge("Encrypt", Err(status)),
        }
        let opened = caller.decrypt(&first).await;
        round.judge(
            "Decrypt",
            opened.map(|opened| opened == b"sealed before any harm was done"),
        );
        {
            let mut seen = seen.lock().unwrap();
            seen.calls += round.calls;
            seen.wrong += round.wrong;
            seen.failed += round.words.len() - round.wrong;
            seen.worst_status = seen.worst_status.max(took);
            round.words.into_iter().for_each(|words| seen.note(words));
        }
        rounds.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PACE).await;
    }
}

/// The calls of one round.
#[derive(Debug, Default)]
struct Round {
    calls: usize,
    wrong: usize,
    words: Vec<String>,
}

impl Round {
    fn judge(&mut self, method: &str, right: Result<bool, tonic::Status>) {
        self.calls += 1;
        match right {
            Ok(true) => {}
            Ok(false) => {
                self.wrong += 1;
                self.words.push(format!("{method} is wrong"));
            }
            Err(status) => self.words.push(format!("{method}: {status}")),
        }
    }
}

/// `dekhand status` again and again, as kube-apiservers that start.
fn come_anew(socket: &Path, seen: &Mutex<Seen>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let answer = newcomer(socket, TRIES);
        let mut seen = seen.lock().unwrap();
        seen.newcomers += 1;
        if let Err(words) = answer {
            seen.newcomers_refused += 1;
            seen.note(format!("a newcomer: {words}"));
        }
        drop(seen);
        std::thread::sleep(NEWCOMERS);
    }
}

/// One newcomer. Where the kernel has no place in the queue of those who connect it tries again, as Go's clients do.
fn newcomer(socket: &Path, tries: usize) -> Result<(), String> {
    let output = dekhand(&["status", "--socket", socket.to_str().unwrap(), "--timeout", "3s"]);
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    if tries > 1 && words.contains("temporarily unavailable") {
        std::thread::sleep(Duration::from_secs(1));
        return newcomer(socket, tries - 1);
    }
    Err(words)
}
