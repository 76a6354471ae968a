//! The checks behind the probes: whether the process is alive, and whether it can serve calls.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::Clock;

/// The gRPC runtime counts as stuck when its last heartbeat is this old.
pub const HEARTBEAT_LIMIT: Duration = Duration::from_secs(60);

/// The result of one check, with a text for the operator: its state, or the reason why it fails.
pub type CheckResult = Result<String, String>;

type Check = Arc<dyn Fn() -> CheckResult + Send + Sync>;

/// The checks behind `/livez` and `/readyz`. Cheap to clone; clones share their state.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    clock: Clock,
    heartbeat_millis: AtomicU64,
    readiness: Mutex<Vec<(&'static str, Check)>>,
}

impl Health {
    /// Without checks, and with a heartbeat now.
    pub fn new(clock: Clock) -> Self {
        let health = Self(Arc::new(Inner {
            clock,
            heartbeat_millis: AtomicU64::new(0),
            readiness: Mutex::default(),
        }));
        health.beat();
        health
    }

    /// Records a heartbeat: the gRPC runtime is running.
    pub fn beat(&self) {
        self.0.heartbeat_millis.store(self.now_millis(), Ordering::Relaxed);
    }

    /// Adds a check that must hold for the daemon to be ready. It runs on the operators' HTTP thread.
    pub fn require(&self, name: &'static str, check: impl Fn() -> CheckResult + Send + Sync + 'static) {
        self.0
            .readiness
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name, Arc::new(check)));
    }

    /// Whether the process is alive: its gRPC runtime is running.
    pub fn live(&self) -> Vec<(&'static str, CheckResult)> {
        // There may be a heartbeat between the two readings.
        let age = self
            .now_millis()
            .saturating_sub(self.0.heartbeat_millis.load(Ordering::Relaxed));
        let age = Duration::from_millis(age);
        let verdict = if age < HEARTBEAT_LIMIT {
            Ok("running".to_owned())
        } else {
            Err(format!("the gRPC runtime has not run for {} s", age.as_secs()))
        };
        vec![("runtime", verdict)]
    }

    /// Whether the daemon can serve calls: it is alive, and every required check holds.
    pub fn ready(&self) -> Vec<(&'static str, CheckResult)> {
        let checks = self.0.readiness.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut verdicts = self.live();
        verdicts.extend(checks.into_iter().map(|(name, check)| (name, check())));
        verdicts
    }

    fn now_millis(&self) -> u64 {
        u64::try_from(self.0.clock.boottime().as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[tokio::test(start_paused = true)]
    async fn a_runtime_that_stands_for_60_s_is_not_live() {
        let health = Health::new(Clock::turned(Timestamp::from_unix(0)));
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert!(health.live().iter().all(|(_, verdict)| verdict.is_ok()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(health.live().iter().any(|(_, verdict)| verdict.is_err()));
        health.beat();
        assert!(health.live().iter().all(|(_, verdict)| verdict.is_ok()));
    }

    #[test]
    fn ready_means_that_every_check_holds() {
        let health = Health::new(Clock::system());
        health.require("root-key", || Err("token is away".into()));
        assert_eq!(
            health.ready().last(),
            Some(&("root-key", Err("token is away".to_owned())))
        );
    }
}
