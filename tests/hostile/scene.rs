//! A daemon in its usual state, one abuse, and what each side saw.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dekhand::proto::v2::EncryptResponse;
use tempfile::TempDir;

use crate::footprint::ALLOWANCE_KIB;
use crate::footprint::Footprint;
use crate::footprint::MOST_KIB;
use crate::good::Good;
use crate::good::Seen;
use crate::wire::Hostile;
use support::daemon::Caller;
use support::daemon::Daemon;
use support::daemon::dekhand;
use support::daemon::wait_for;

/// Connections that stay open while the well-behaved look on.
pub(crate) type Held = Vec<Hostile>;

/// Status takes less, whatever others do: the promise of this suite.
const STATUS: Duration = Duration::from_secs(1);

/// So long lasts what has no end of its own.
const LASTS: Duration = Duration::from_secs(1);

/// Where an abuse happens, and how long it lasts if it has no end of its own.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) socket: PathBuf,
    /// What the daemon sealed, with its `key_id`: also callers that mean harm may have that.
    pub(crate) sealed: EncryptResponse,
    pub(crate) lasts: Duration,
    /// Whether nothing else happens: many at once cost each other their connections.
    pub(crate) alone: bool,
    /// Rounds of calls of the well-behaved caller that runs now; 0 while none does.
    pub(crate) rounds: Arc<AtomicUsize>,
}

impl Scene {
    pub(crate) fn new(socket: PathBuf) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let sealed = runtime
            .unwrap()
            .block_on(async { Caller::connect(&socket).await.encrypt(b"sealed once").await });
        Self {
            socket,
            sealed: sealed.unwrap(),
            lasts: LASTS,
            alone: true,
            rounds: Arc::default(),
        }
    }

    /// Waits until the well-behaved caller has called again. It is a thread of this process, as the abuses are, so that
    /// the daemon knows it among them by its last call alone.
    pub(crate) fn let_the_good_call(&self) {
        let before = self.rounds.load(Ordering::Relaxed);
        wait_for("the well-behaved caller calls again", || {
            let now = self.rounds.load(Ordering::Relaxed);
            now == 0 || now != before
        });
    }

    /// What the daemon owes also to whoever means harm, while nothing else happens.
    pub(crate) fn owed(&self, holds: bool, what: &str) {
        assert!(holds || !self.alone, "{what}");
    }
}

/// What somebody sends who means harm. It returns the connections that are to stay for a while.
pub(crate) type Abuse = fn(&Scene) -> Held;

/// Abuses would disturb each other's measurements.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `dekhand serve --dev` in a directory of its own.
pub(crate) struct Dev {
    directory: TempDir,
    pub(crate) daemon: Daemon,
}

impl Dev {
    pub(crate) fn start() -> Self {
        Self::start_as(Daemon::spawn)
    }

    /// With so few descriptors.
    pub(crate) fn start_with_descriptors(count: u32) -> Self {
        Self::start_as(|arguments| {
            let script = format!("ulimit -n {count} && exec \"$0\" \"$@\"");
            let shell = ["-c", &script, env!("CARGO_BIN_EXE_dekhand")];
            Daemon::spawn_program(Path::new("sh"), &[&shell, arguments].concat())
        })
    }

    fn start_as(spawn: impl FnOnce(&[&str]) -> Daemon) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("dekhand").display().to_string();
        let daemon = spawn(&[
            "serve",
            "--dev",
            "--dir",
            &home,
            "--http",
            "off",
            "--log-format",
            "json",
        ]);
        wait_for("status is content", || {
            dekhand(&["status", "--dev", "--dir", &home]).status.success()
        });
        Self { directory, daemon }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("dekhand/kms.sock")
    }
}

/// What one abuse came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) seen: Seen,
    pub(crate) before: Footprint,
    pub(crate) most: u64,
    pub(crate) after: Footprint,
    /// Why it is no good.
    pub(crate) complaints: Vec<String>,
}

/// Lets an abuse happen while the well-behaved call, and waits until the daemon has what it had. `first` is what it had
/// before any abuse.
pub(crate) fn happen(daemon: &Daemon, scene: &Scene, first: &Footprint, abuse: impl FnOnce(&Scene) -> Held) -> Outcome {
    let before = Footprint::of(daemon);
    let good = Good::start(scene);
    let watch = Watch::start(daemon.child.id());
    let held = abuse(scene);
    // Who stays connected may hurt for longer than it takes to begin.
    std::thread::sleep(scene.lasts / 4);
    drop(held);
    let seen = good.end();
    let most = watch.end();
    let (after, is_back) = match Footprint::back(daemon, first) {
        Ok(after) => (after, true),
        Err(after) => (after, false),
    };
    let mut complaints = seen.words.clone();
    if seen.worst_status >= STATUS {
        complaints.push(format!("Status took {:?}", seen.worst_status));
    }
    if most > MOST_KIB {
        complaints.push(format!("took {most} KiB, more than {MOST_KIB}"));
    }
    if !is_back {
        complaints.push(format!(
            "not given back (allowed: {ALLOWANCE_KIB} KiB): {first:?} at first, {after:?} at last"
        ));
    }
    Outcome {
        seen,
        before,
        most,
        after,
        complaints,
    }
}

/// The most anonymous memory that a process had, looked at often.
#[derive(Debug)]
struct Watch {
    stop: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<u64>,
}

impl Watch {
    fn start(pid: u32) -> Self {
        let (stop, stopped) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut most = 0;
            while stopped.recv_timeout(Duration::from_millis(10)).is_err() {
                most = most.max(crate::footprint::memory(pid));
            }
            most
        });
        Self { stop, thread }
    }

    fn end(self) -> u64 {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap()
    }
}
