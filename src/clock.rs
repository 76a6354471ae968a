//! The two clocks of the daemon, the calendar and the time since boot. Tests can set both.

use std::fmt;
use std::hash::Hash as _;
use std::hash::Hasher as _;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use rustix::time::ClockId;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

/// A moment of the calendar in UTC, to the second. Versions of root keys are dated with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From seconds since 1970-01-01T00:00:00Z.
    pub const fn from_unix(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn unix(self) -> u64 {
        self.0
    }

    /// This moment plus `duration`, rounded up to whole seconds.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let whole = duration
            .as_secs()
            .saturating_add(u64::from(duration.subsec_nanos() > 0));
        Self(self.0.saturating_add(whole))
    }

    /// The time since `earlier`; zero if `earlier` is later than this moment.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNIX_EPOCH.checked_add(Duration::from_secs(self.0.min(LAST_SECOND_OF_9999))) {
            Some(moment) => humantime::format_rfc3339_seconds(moment).fmt(f),
            None => write!(f, "second {} after 1970", self.0),
        }
    }
}

/// RFC 3339 has four digits for the year.
const LAST_SECOND_OF_9999: u64 = 253_402_300_799;

/// The text is not a UTC time of RFC 3339, such as `2026-03-01T12:00:00Z`.
#[derive(Debug, thiserror::Error)]
#[error("not a UTC time such as 2026-03-01T12:00:00Z")]
pub struct NotATimestamp;

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        let moment = humantime::parse_rfc3339(text).map_err(|_| NotATimestamp)?;
        let since_1970 = moment.duration_since(UNIX_EPOCH).map_err(|_| NotATimestamp)?;
        Ok(Self(since_1970.as_secs()))
    }
}

/// RFC 3339 in files, seconds since 1970 between processes.
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0.min(LAST_SECOND_OF_9999))
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            let seconds = u64::deserialize(deserializer)?;
            let has_text = seconds <= LAST_SECOND_OF_9999;
            has_text
                .then_some(Self(seconds))
                .ok_or_else(|| serde::de::Error::custom(NotATimestamp))
        }
    }
}

/// The clock. Cheap to clone; setting one clone sets all of them.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Turned(Arc<Turned>),
}

/// A test's clock. It runs with tokio's clock, which a test pauses and advances; the calendar can be set separately.
#[derive(Debug)]
struct Turned {
    start: tokio::time::Instant,
    calendar_at_start: Mutex<u64>,
    /// Its draws depend on this seed and on the time.
    seed: u64,
}

impl Clock {
    /// The machine's own clocks.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A test's clock that starts at `calendar` and runs with tokio's clock.
    pub fn turned(calendar: Timestamp) -> Self {
        Self::turned_with(calendar, 0)
    }

    /// As [`Clock::turned`], with its own seed: two nodes that fail at the same moment then wait for different times.
    pub fn turned_with(calendar: Timestamp, seed: u64) -> Self {
        Self(Source::Turned(Arc::new(Turned {
            start: tokio::time::Instant::now(),
            calendar_at_start: Mutex::new(calendar.unix()),
            seed,
        })))
    }

    /// Sets the calendar of a test's clock, as an administrator or NTP would. The time since boot does not change.
    pub fn set_calendar(&self, calendar: Timestamp) {
        if let Source::Turned(turned) = &self.0 {
            let elapsed = turned.start.elapsed().as_secs();
            *turned.calendar_at_start.lock().unwrap_or_else(PoisonError::into_inner) =
                calendar.unix().saturating_sub(elapsed);
        }
    }

    /// The calendar. It may jump or be wrong; a machine without a clock battery starts in 1970.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => {
                let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(since_1970.as_secs())
            }
            Source::Turned(turned) => {
                let at_start = *turned.calendar_at_start.lock().unwrap_or_else(PoisonError::into_inner);
                Timestamp(at_start.saturating_add(turned.start.elapsed().as_secs()))
            }
        }
    }

    /// A substitute for the randomness of jitter in tests: a test's clock draws the same in every run, so a run can be
    /// repeated. `None` for the system's clock: the caller then uses real randomness.
    pub fn draw(&self) -> Option<u8> {
        let Source::Turned(turned) = &self.0 else {
            return None;
        };
        let at_start = *turned.calendar_at_start.lock().unwrap_or_else(PoisonError::into_inner);
        let moment = (turned.seed, at_start, turned.start.elapsed().as_millis());
        // This hasher has no random seed.
        let mut hasher = std::hash::DefaultHasher::new();
        moment.hash(&mut hasher);
        hasher.finish().to_le_bytes().first().copied()
    }

    /// The time since boot, including suspend (`CLOCK_BOOTTIME`). It never jumps, so ages are measured with it.
    pub fn boottime(&self) -> Duration {
        match &self.0 {
            Source::System => {
                let spec = rustix::time::clock_gettime(ClockId::Boottime);
                Duration::new(
                    u64::try_from(spec.tv_sec).unwrap_or_default(),
                    u32::try_from(spec.tv_nsec).unwrap_or_default(),
                )
            }
            Source::Turned(turned) => turned.start.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_back_what_it_prints() {
        let moment = Timestamp::from_unix(1_772_366_400);
        assert_eq!(moment.to_string(), "2026-03-01T12:00:00Z");
        assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
        assert!("tomorrow".parse::<Timestamp>().is_err());
        assert!("1960-01-01T00:00:00Z".parse::<Timestamp>().is_err());
    }

    #[test]
    fn a_moment_beyond_the_calendar_prints_without_a_panic() {
        assert_eq!(Timestamp::from_unix(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turned_clock_runs_with_tokio_and_its_calendar_jumps_alone() {
        let clock = Clock::turned(Timestamp::from_unix(1000));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!((clock.now().unix(), clock.boottime()), (1005, Duration::from_secs(5)));
        clock.set_calendar(Timestamp::from_unix(10));
        assert_eq!((clock.now().unix(), clock.boottime()), (10, Duration::from_secs(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn turned_clocks_of_several_seeds_draw_apart_from_each_other_and_each_the_same_again() {
        let draws = |seed| Clock::turned_with(Timestamp::from_unix(1000), seed).draw();
        let all: std::collections::BTreeSet<_> = (0..16).map(draws).collect();
        assert!(all.len() > 8, "{all:?}");
        assert_eq!(draws(3), draws(3));
    }
}
