//! `dekhand token probe`.

use std::time::Duration;

use serde::Serialize;

use crate::backend::pkcs11::inspect;
use crate::backend::pkcs11::spawner::WorkerSource;
use crate::cli::keys::tokens;
use crate::cli::output::Output;
use crate::cli::output::OutputFormat;
use crate::cli::token::error::TokenCommandError;
use crate::cli::token::which::TokenTarget;
use crate::clock::Clock;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::primary::by_calendar;
use crate::root_key::version::Version;
use crate::token::options::MechanismChoice;
use crate::token::report::MechanismReport;
use crate::token::report::TrialResult;

#[derive(Debug, Serialize)]
struct ShownProbe {
    module: String,
    /// The root key of the version that was tested; `None` if a throwaway key was tested.
    root_key: Option<RootKeyName>,
    version: Option<String>,
    id: Option<KeyId>,
    mechanisms: Vec<ShownMechanism>,
}

#[derive(Debug, PartialEq, Serialize)]
struct ShownMechanism {
    mechanism: String,
    /// Whether dekhand wraps with it.
    used: bool,
    /// `good`, `absent`, `wrong`, `untried`.
    verdict: &'static str,
    /// The source of IVs.
    iv: Option<String>,
    wrap_ms: Option<f64>,
    unwrap_ms: Option<f64>,
    /// Why it is not used.
    reason: Option<String>,
}

/// Tests each mechanism with the key that encrypts, or with a throwaway key if there is none yet.
pub(super) async fn probe(
    workers: &WorkerSource,
    place: &TokenTarget,
    out: &mut Output,
) -> Result<(), TokenCommandError> {
    let refused = |error| {
        if place.lacks_pin() {
            TokenCommandError::WithoutPin(error)
        } else {
            TokenCommandError::Token(error)
        }
    };
    let version = match place.root_key {
        Some(_) => {
            let listed = inspect::versions(workers).await;
            let (versions, noted) = listed.map_err(refused)?;
            tokens::warn_of_keys(&noted, out);
            chosen(versions)
        }
        None => None,
    };
    let id = version.as_ref().map(|version| version.id.clone());
    let reports = inspect::probe(workers, id.clone()).await.map_err(refused)?;
    let used = reports
        .iter()
        .find(|report| report.chosen)
        .map(|report| report.mechanism.clone());
    let not_used = used.map(|used| match place.options().mechanism {
        MechanismChoice::Auto => format!("{used} is preferred"),
        _ => format!("the configuration requires {used}"),
    });
    let probe = ShownProbe {
        module: place.module(),
        root_key: version.as_ref().and(place.root_key.clone()),
        version: version.map(|version| version.number.to_string()),
        id,
        mechanisms: reports
            .into_iter()
            .map(|report| ShownMechanism::new(report, not_used.as_deref()))
            .collect(),
    };
    match out.format() {
        OutputFormat::Json => out.json(&probe),
        OutputFormat::Text => out.data(&probe.text()),
    }
    if probe.mechanisms.iter().any(|mechanism| mechanism.used) {
        Ok(())
    } else {
        Err(TokenCommandError::NoMechanism)
    }
}

/// The version that encrypts, else the newest that decrypts.
fn chosen(versions: Vec<Version>) -> Option<Version> {
    let now = Clock::system().now();
    if let Some(primary) = by_calendar(&versions, now) {
        return Some(primary.clone());
    }
    let usable = versions.into_iter().filter(|version| version.state.decrypts());
    usable.max_by(|one, other| one.rank().cmp(&other.rank()))
}

impl ShownMechanism {
    /// `not_used`: why dekhand does not use it, although it works.
    fn new(report: MechanismReport, not_used: Option<&str>) -> Self {
        let MechanismReport {
            mechanism,
            chosen,
            verdict,
        } = report;
        let (name, iv, times, reason) = match verdict {
            TrialResult::Good { iv, wrap, unwrap } => {
                let reason = not_used.filter(|_| !chosen).map(str::to_owned);
                ("good", iv, Some((wrap, unwrap)), reason)
            }
            TrialResult::Absent(reason) => ("absent", None, None, Some(reason)),
            TrialResult::Wrong(reason) => ("wrong", None, None, Some(reason)),
            TrialResult::Untried(reason) => ("untried", None, None, Some(reason)),
        };
        Self {
            mechanism,
            used: chosen,
            verdict: name,
            iv,
            wrap_ms: times.map(|(wrap, _)| milliseconds(wrap)),
            unwrap_ms: times.map(|(_, unwrap)| milliseconds(unwrap)),
            reason,
        }
    }
}

/// Milliseconds, rounded to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

impl ShownProbe {
    fn text(&self) -> String {
        let Self {
            module,
            root_key,
            version,
            id,
            mechanisms,
        } = self;
        let key = match (root_key, version, id) {
            (Some(name), Some(version), Some(id)) => format!("{name} {version} {id}"),
            _ => "a throwaway key".to_owned(),
        };
        let mut text = format!("{key} in {module}\n");
        for mechanism in mechanisms {
            text.push_str(&mechanism.line());
        }
        text
    }
}

impl ShownMechanism {
    fn line(&self) -> String {
        let Self {
            mechanism,
            used,
            verdict,
            iv,
            wrap_ms,
            unwrap_ms,
            reason,
        } = self;
        let verdict = if *used { "used" } else { verdict };
        let mut parts = Vec::new();
        parts.extend(reason.clone());
        parts.extend(iv.as_ref().map(|iv| format!("IV: {iv}")));
        if let (Some(wrap), Some(unwrap)) = (wrap_ms, unwrap_ms) {
            parts.push(format!("wrap {wrap} ms, unwrap {unwrap} ms"));
        }
        format!("  {mechanism:<15}  {verdict:<7}  {}\n", parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(mechanism: &str, chosen: bool, verdict: TrialResult) -> ShownMechanism {
        let mechanism = mechanism.to_owned();
        let report = MechanismReport {
            mechanism,
            chosen,
            verdict,
        };
        ShownMechanism::new(report, Some("aes-gcm is preferred"))
    }

    #[test]
    fn each_mechanism_says_what_it_did_and_why_it_is_not_used() {
        let good = TrialResult::Good {
            iv: Some("random, made by dekhand".to_owned()),
            wrap: Duration::from_nanos(1_234_567),
            unwrap: Duration::from_micros(50),
        };
        assert_eq!(
            report("aes-gcm", true, good).line(),
            "  aes-gcm          used     IV: random, made by dekhand; wrap 1.235 ms, unwrap 0.05 ms\n"
        );
        let good = TrialResult::Good {
            iv: None,
            wrap: Duration::from_micros(20),
            unwrap: Duration::from_micros(30),
        };
        assert_eq!(
            report("aes-cbc", false, good).line(),
            "  aes-cbc          good     aes-gcm is preferred; wrap 0.02 ms, unwrap 0.03 ms\n"
        );
        let absent = TrialResult::Absent("CKR_MECHANISM_INVALID".to_owned());
        assert_eq!(
            report("aes-kwp", false, absent).line(),
            "  aes-kwp          absent   CKR_MECHANISM_INVALID\n"
        );
        let wrong = report(
            "aes-cbc",
            false,
            TrialResult::Wrong("opens what was changed".to_owned()),
        );
        let value = serde_json::to_value(&wrong).unwrap();
        assert_eq!((&value["verdict"], &value["used"]), (&"wrong".into(), &false.into()));
        assert_eq!(value["reason"], "opens what was changed");
    }
}
