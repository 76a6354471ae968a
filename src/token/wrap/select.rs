//! The trial at the start: chooses the wrap method by the token's results, not by its list of mechanisms.

use cryptoki::session::Session;

use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::token::error::TokenError;
use crate::token::key_object::KeyKind;
use crate::token::key_object::KeyObject;
use crate::token::module::Module;
use crate::token::options::MechanismChoice;
use crate::token::report::MechanismReport;
use crate::token::report::TrialResult;
use crate::token::return_value::Remedy;
use crate::token::wrap::WrapMethod;
use crate::token::wrap::cipher::InSession;
use crate::token::wrap::cipher::TokenCipher;
use crate::token::wrap::gcm::IvMode;
use crate::token::wrap::self_test::Opener;
use crate::token::wrap::self_test::SelfTestFlaw;
use crate::token::wrap::self_test::check;

/// The result of a trial.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// The method that wraps data keys from now on.
    pub(crate) method: WrapMethod,
    /// The report of each mechanism.
    pub(crate) reports: Vec<MechanismReport>,
    /// A better mechanism, and its error: a failing token can be the reason, so another trial may choose it.
    pub(crate) troubled: Option<(MechanismChoice, TokenError)>,
}

/// Chooses how to wrap under a key: the demanded mechanism, or the first of all that works correctly.
///
/// # Errors
/// No mechanism works correctly, or the demanded one does not. If a failing token can be the reason, the error is the
/// token's, and another attempt may succeed.
pub(crate) fn choose(
    module: &Module,
    sessions: &mut dyn FnMut() -> Result<Session, TokenError>,
    key: &KeyObject,
    id: &KeyId,
    choice: MechanismChoice,
) -> Result<Chosen, TokenError> {
    let mut open = opener(module, sessions, *key);
    choose_with(&mut open, key.kind, id, choice)
}

/// The method of one mechanism; `None` if the token does not support it, or does it incorrectly.
///
/// # Errors
/// The token's error, if the token fails.
pub(crate) fn one(
    module: &Module,
    sessions: &mut dyn FnMut() -> Result<Session, TokenError>,
    key: &KeyObject,
    id: &KeyId,
    mechanism: Mechanism,
) -> Result<Option<WrapMethod>, TokenError> {
    let mut open = opener(module, sessions, *key);
    let mut methods = methods(mechanism.into());
    methods.retain(|method| method.mechanism() == mechanism);
    match Tried::methods(mechanism.into(), methods, &mut open, id)? {
        Tried {
            method: None,
            trouble: Some(error),
            ..
        } => Err(error),
        Tried { method, .. } => Ok(method),
    }
}

/// Whether a mechanism suits a kind of key.
pub(crate) fn is_of_kind(mechanism: Mechanism, kind: KeyKind) -> bool {
    of_kind(kind).contains(&mechanism.into())
}

/// Tries all mechanisms, even those after the chosen one.
///
/// # Errors
/// No session can be opened.
pub(crate) fn try_all(
    module: &Module,
    sessions: &mut dyn FnMut() -> Result<Session, TokenError>,
    key: &KeyObject,
    id: &KeyId,
    choice: MechanismChoice,
) -> Result<Vec<MechanismReport>, TokenError> {
    let mut open = opener(module, sessions, *key);
    try_all_with(&mut open, key.kind, id, choice)
}

fn opener<'a>(
    module: &'a Module,
    sessions: &'a mut dyn FnMut() -> Result<Session, TokenError>,
    key: KeyObject,
) -> impl FnMut() -> Result<Box<dyn TokenCipher + 'a>, TokenError> + 'a {
    move || {
        let session = sessions()?;
        Ok(Box::new(InSession::new(module.calls(), session, key)))
    }
}

fn choose_with(
    open: &mut Opener<'_>,
    kind: KeyKind,
    id: &KeyId,
    choice: MechanismChoice,
) -> Result<Chosen, TokenError> {
    // A demanded mechanism comes first; the others show the choice of `auto`, and whether the token works.
    let mut order = of_kind(kind).to_vec();
    order.sort_by_key(|mechanism| *mechanism != choice);
    let mut tried = Vec::new();
    for mechanism in order {
        tried.push(Tried::mechanism(mechanism, open, id)?);
        if tried.last().is_some_and(|last| last.method.is_some()) {
            again(&mut tried, open, id)?;
            break;
        }
    }
    let Some(method) = chosen(&tried, choice) else {
        return Err(nothing(tried, kind, choice));
    };
    let reports = reports(&tried, kind, Some(method), choice);
    // Those before the chosen one are better, or demanded.
    let better = tried.into_iter().take_while(|one| one.method != Some(method));
    Ok(Chosen {
        method,
        reports,
        troubled: better.into_iter().find_map(|one| Some((one.mechanism, one.trouble?))),
    })
}

fn try_all_with(
    open: &mut Opener<'_>,
    kind: KeyKind,
    id: &KeyId,
    choice: MechanismChoice,
) -> Result<Vec<MechanismReport>, TokenError> {
    let mut tried = Vec::new();
    for mechanism in of_kind(kind) {
        tried.push(Tried::mechanism(*mechanism, open, id)?);
    }
    if tried.iter().any(|tried| tried.method.is_some()) {
        again(&mut tried, open, id)?;
    }
    let method = chosen(&tried, choice);
    Ok(reports(&tried, kind, method, choice))
}

/// The mechanisms for a kind of key, the best first.
fn of_kind(kind: KeyKind) -> &'static [MechanismChoice] {
    match kind {
        KeyKind::Aes256 => &[
            MechanismChoice::AesGcm,
            MechanismChoice::AesKwp,
            MechanismChoice::AesCbc,
        ],
        KeyKind::Rsa { .. } => &[MechanismChoice::RsaOaepSha256, MechanismChoice::RsaOaepSha1],
    }
}

/// The methods of a mechanism.
fn methods(mechanism: MechanismChoice) -> Vec<WrapMethod> {
    match mechanism {
        MechanismChoice::Auto => Vec::new(),
        MechanismChoice::AesGcm => IvMode::ALL.map(WrapMethod::AesGcm).to_vec(),
        MechanismChoice::AesKwp => vec![WrapMethod::AesKwp],
        MechanismChoice::AesCbc => vec![WrapMethod::AesCbc],
        MechanismChoice::RsaOaepSha256 => vec![WrapMethod::RsaOaepSha256],
        MechanismChoice::RsaOaepSha1 => vec![WrapMethod::RsaOaepSha1],
    }
}

/// A mechanism that was tried.
#[derive(Debug)]
struct Tried {
    mechanism: MechanismChoice,
    /// Its method, if it works correctly.
    method: Option<WrapMethod>,
    verdict: TrialResult,
    /// If the mechanism does not work: its first failure that a failing token may have caused.
    trouble: Option<TokenError>,
}

impl Tried {
    /// Tries a mechanism; for AES-GCM every source of IVs until one works.
    fn mechanism(mechanism: MechanismChoice, open: &mut Opener<'_>, id: &KeyId) -> Result<Self, TokenError> {
        Self::methods(mechanism, methods(mechanism), open, id)
    }

    fn methods(
        mechanism: MechanismChoice,
        methods: Vec<WrapMethod>,
        open: &mut Opener<'_>,
        id: &KeyId,
    ) -> Result<Self, TokenError> {
        let (mut wrong, mut reasons, mut trouble) = (false, Reasons::default(), None);
        for method in methods {
            let iv = match method {
                WrapMethod::AesGcm(mode) => Some(mode),
                _ => None,
            };
            match check(method, open, id) {
                Ok(good) => {
                    return Ok(Self {
                        mechanism,
                        method: Some(method),
                        verdict: TrialResult::Good {
                            iv: iv.map(|mode| mode.to_string()),
                            wrap: good.wrap,
                            unwrap: good.unwrap,
                        },
                        trouble: None,
                    });
                }
                Err(SelfTestFlaw::Unopened(error)) => return Err(error),
                Err(SelfTestFlaw::Wrong(what)) => {
                    wrong = true;
                    reasons.add(iv, format!("the token {what}"));
                }
                Err(SelfTestFlaw::Refused(error)) => {
                    // Another source of IVs may help against any error: tokens refuse an IV with many return values.
                    reasons.add(iv, error.to_string());
                    if error.remedy() != Remedy::Nothing {
                        trouble.get_or_insert(error);
                    }
                }
            }
        }
        let verdict = if wrong { TrialResult::Wrong } else { TrialResult::Absent };
        Ok(Self {
            mechanism,
            method: None,
            verdict: verdict(reasons.0),
            trouble,
        })
    }

    fn reason(&self) -> &str {
        match &self.verdict {
            TrialResult::Good { .. } => "it works",
            TrialResult::Absent(reason) | TrialResult::Wrong(reason) | TrialResult::Untried(reason) => reason,
        }
    }
}

/// Why a mechanism does not work; for AES-GCM the reason for each source of IVs, without repetitions.
#[derive(Debug, Default)]
struct Reasons(String, Option<String>);

impl Reasons {
    fn add(&mut self, iv: Option<IvMode>, reason: String) {
        let Self(text, last) = self;
        if last.as_ref() == Some(&reason) {
            return;
        }
        if !text.is_empty() {
            text.push_str("; ");
        }
        match iv {
            Some(mode) => text.extend([reason.as_str(), " (IV: ", mode.to_string().as_str(), ")"]),
            None => text.push_str(&reason),
        }
        *last = Some(reason);
    }
}

/// Some mechanism works, so the token does too. A mechanism that failed for a passing reason is tried again, so that
/// one such failure does not decide.
fn again(tried: &mut [Tried], open: &mut Opener<'_>, id: &KeyId) -> Result<(), TokenError> {
    for one in tried.iter_mut().filter(|one| one.trouble.is_some()) {
        *one = Tried::mechanism(one.mechanism, open, id)?;
    }
    Ok(())
}

/// The demanded mechanism if it works; otherwise the best that works.
fn chosen(tried: &[Tried], choice: MechanismChoice) -> Option<WrapMethod> {
    tried
        .iter()
        .filter(|one| choice == MechanismChoice::Auto || one.mechanism == choice)
        .find_map(|one| one.method)
}

/// Why nothing is chosen: the failing token, if that can be the reason.
fn nothing(tried: Vec<Tried>, kind: KeyKind, choice: MechanismChoice) -> TokenError {
    let would = tried.iter().find(|one| one.method.is_some()).map(|one| one.mechanism);
    let all: Vec<_> = tried
        .iter()
        .map(|one| format!("{}: {}", one.mechanism, one.reason()))
        .collect();
    let mut wanted = tried
        .into_iter()
        .filter(|one| choice == MechanismChoice::Auto || one.mechanism == choice)
        .peekable();
    let reason = match wanted.peek() {
        Some(demanded) => demanded.reason().to_owned(),
        None => not_of(kind).to_owned(),
    };
    if would.is_none()
        && let Some(trouble) = wanted.find_map(|one| one.trouble)
    {
        return trouble;
    }
    TokenError::Refused(match (choice, would) {
        (MechanismChoice::Auto, _) => format!(
            "no wrap mechanism works correctly with this token and root key: {}",
            all.join("; ")
        ),
        (_, Some(would)) => format!(
            "`mechanism: {choice}` cannot be used with this token and root key: {reason}; \
             `mechanism: auto` would use {would}"
        ),
        (_, None) => format!(
            "`mechanism: {choice}` cannot be used with this token and root key: {reason}; \
             `mechanism: auto` would find none either"
        ),
    })
}

/// Every mechanism, with its verdict.
fn reports(
    tried: &[Tried],
    kind: KeyKind,
    method: Option<WrapMethod>,
    choice: MechanismChoice,
) -> Vec<MechanismReport> {
    let used = method.map(WrapMethod::choice);
    let report = |mechanism: MechanismChoice| MechanismReport {
        mechanism: mechanism.to_string(),
        chosen: used == Some(mechanism),
        verdict: match tried.iter().find(|one| one.mechanism == mechanism) {
            Some(one) => one.verdict.clone(),
            None if !of_kind(kind).contains(&mechanism) => TrialResult::Untried(not_of(kind).to_owned()),
            None if choice == MechanismChoice::Auto => TrialResult::Untried("a better one works".to_owned()),
            None => TrialResult::Untried(format!("the configuration demands {choice}")),
        },
    };
    let kinds = [KeyKind::Aes256, KeyKind::Rsa { bits: 0 }];
    kinds.into_iter().flat_map(of_kind).copied().map(report).collect()
}

fn not_of(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Aes256 => "the root key is an AES key",
        KeyKind::Rsa { .. } => "the root key is an RSA key",
    }
}

#[cfg(test)]
mod tests;
