//! Logs in, without ever spending a try that could lock the token.

use std::path::Path;
use std::time::Duration;

use cryptoki::session::Session;
use cryptoki::session::UserType;
use cryptoki::types::RawAuthPin;

use crate::secret::random_bytes;
use crate::telemetry::log::chain;
use crate::token::assignment::Assignment;
use crate::token::assignment::Role;
use crate::token::error::TokenError;
use crate::token::module::TokenInfo;
use crate::token::options::Login;
use crate::token::pin::Pin;
use crate::token::pin::PinSource;
use crate::token::pin_history::PinRecord;
use crate::token::pin_history::PinRecordError;
use crate::token::pin_history::PinStatus;
use crate::token::pin_history::unanswered::Turn;
use crate::token::problem::CallError;
use crate::token::return_value::Remedy;
use crate::token::return_value::ReturnValue;

/// Several nodes start at once; so long they wait at most, each its own time, before a PIN that nobody has tried.
const LONGEST_PATIENCE: Duration = Duration::from_secs(15);

/// To look up a PIN, or to write down what became of it, takes no longer than this on the slowest of machines.
const LONGEST_MEMORY: Duration = Duration::from_secs(30);

/// A human who types a PIN at the token's own device has so long.
const AT_THE_DEVICE: Duration = Duration::from_secs(60);

/// A rejected PIN that can't be written down is tried to be after so long.
const BETWEEN_WRITES: Duration = Duration::from_secs(5);

/// What helps where a human types the PIN.
const ASKED_AGAIN: &str = "the daemon does not ask for it again before `dekhand token info` has logged in with it";

/// How this process came to be logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// `C_Login` said yes, or the token needs no login: what is not found is not there.
    Confirmed,
    /// Somebody else had logged in for this process (`CKR_USER_ALREADY_LOGGED_IN`): nothing was checked.
    Assumed,
}

/// A login to one token. What it must ask of the outside world are `records` and how to wait.
pub(crate) struct Attempt<'a> {
    pub(crate) assignment: &'a Assignment,
    pub(crate) records: Option<&'a PinRecord>,
    /// Reads the token's flags again.
    pub(crate) flags: &'a dyn Fn() -> Result<TokenInfo, TokenError>,
    /// Lets time pass, and tells the daemon why, and that the call has not begun.
    pub(crate) wait: &'a dyn Fn(Duration, &str),
    /// Tells the daemon that for so long at most it is not the token that it waits for.
    pub(crate) busy: &'a dyn Fn(Duration),
    /// A line for the daemon's log.
    pub(crate) warn: &'a dyn Fn(String),
}

impl Attempt<'_> {
    /// Logs a session, and so the whole process, in.
    pub(crate) fn log_in(&self, session: &Session) -> Result<Proof, CallError> {
        let Assignment { role, options, .. } = self.assignment;
        let user = match options.login {
            Login::None => return Ok(Proof::Confirmed),
            Login::ProtectedPath => return self.log_in_at_the_device(session),
            Login::User => UserType::User,
            Login::Vendor(number) => UserType::VendorExtension(number),
        };
        let source = match role {
            Role::Admin => options.admin_pin.as_ref().or(options.pin.as_ref()),
            Role::Daemon | Role::Look => options.pin.as_ref(),
        };
        match (source, role) {
            (Some(source), _) => self.log_in_with(session, user, source),
            // It sees what the token shows to everybody.
            (None, Role::Look) => Ok(Proof::Assumed),
            (None, Role::Daemon | Role::Admin) => {
                Err(CallError::outage("no PIN is configured: the token wants a login"))
            }
        }
    }

    /// Lets the token ask for its PIN. Nobody here knows what was typed, so what is written down is that a PIN from there
    /// was rejected: a daemon that asked again and again would lock the token by itself where a device answers for an
    /// absent human. A command is started by somebody who is there; when it logs in, the daemon may ask again.
    fn log_in_at_the_device(&self, session: &Session) -> Result<Proof, CallError> {
        let by_itself = self.assignment.role == Role::Daemon;
        let token = (self.flags)()?;
        let pin = Pin::typed_elsewhere();
        if by_itself && self.standing(&token, &pin)? == PinStatus::Rejected {
            let reason = "the token has rejected the PIN from its own device before";
            return Err(CallError::pin_rejected(format!("{reason}; {ASKED_AGAIN}")));
        }
        // What will be typed for a daemon is new each time; who starts a command knows what he will type.
        let trusted = if by_itself { PinStatus::New } else { PinStatus::Worked };
        check_flags(&token, trusted)?;
        (self.warn)(format!(
            "type the PIN at the device of the token {}: it waits for it, {} s at most",
            token.name(),
            AT_THE_DEVICE.as_secs()
        ));
        // Who killed this process meanwhile would have the device ask again.
        (self.busy)(AT_THE_DEVICE);
        let outcome = session.login(UserType::User, None).map_err(TokenError::from);
        (self.busy)(Duration::ZERO);
        if by_itself || outcome.is_ok() {
            self.write_down(&token, &pin, &outcome);
        }
        match outcome {
            Err(error) if error.cure() == Remedy::Pin => {
                let reason = format!("the token rejected the PIN from its own device ({error})");
                Err(CallError::pin_rejected(format!("{reason}; {ASKED_AGAIN}")))
            }
            other => judge(other),
        }
    }

    fn log_in_with(&self, session: &Session, user: UserType, source: &PinSource) -> Result<Proof, CallError> {
        let read = || source.read().map_err(|error| CallError::outage(chain(&error)));
        let mut pin = read()?;
        let token = (self.flags)()?;
        let mut standing = self.standing(&token, &pin)?;
        let mut turn = None;
        if standing.is_untried() {
            if self.assignment.role == Role::Daemon {
                let why = "before it tries a PIN that has not worked on this token yet";
                (self.wait)(patience(), why);
            }
            turn = self.turn(&token, source)?;
            // Another node or process may have spent a try meanwhile, and somebody may have corrected the PIN.
            pin = read()?;
            standing = self.standing(&token, &pin)?;
        }
        check_flags(&(self.flags)()?, standing)?;
        // Before the token sees it: whatever ends this process then, the next one knows of this try.
        if standing.is_untried() {
            standing = self.begin(&token, &pin, source)?;
        }
        match standing {
            PinStatus::Rejected => return Err(self.rejected_before(source)),
            PinStatus::Unanswered => return Err(self.never_answered(source)),
            PinStatus::New | PinStatus::Corrected | PinStatus::Worked => {}
        }
        let secret = RawAuthPin::new(Box::new(pin.bytes.expose().to_vec()));
        let outcome = session.login_with_raw(user, &secret).map_err(TokenError::from);
        self.write_down(&token, &pin, &outcome);
        drop(turn);
        match outcome {
            Err(error) if error.cure() == Remedy::Pin => {
                let reason = format!(
                    "the token rejected the PIN from {source} ({error}); it is not tried again before that source changes"
                );
                Err(CallError::pin_rejected(reason))
            }
            other => judge(other),
        }
    }

    /// What is known of the PIN. A damaged memory is set aside: it must not keep out a PIN that works for ever, and a
    /// PIN of which nothing is known is tried once, with care.
    fn standing(&self, token: &TokenInfo, pin: &Pin) -> Result<PinStatus, CallError> {
        let Some(records) = self.records else {
            return Ok(PinStatus::New);
        };
        match self.remember(|| records.standing(&token.name(), pin)) {
            Ok(standing) => Ok(standing),
            Err(error) if error.is_the_content() => {
                let aside = records.set_aside().map_err(|error| CallError::outage(chain(&error)))?;
                (self.warn)(format!("{}; it is now {}", chain(&error), aside.display()));
                Ok(PinStatus::New)
            }
            Err(error) => Err(CallError::outage(chain(&error))),
        }
    }

    /// Waits for the logins of other processes with a PIN that has not worked on this token: eight commands with one wrong
    /// PIN spend one try of it, and with the right one they all log in.
    fn turn(&self, token: &TokenInfo, source: &PinSource) -> Result<Option<Turn>, CallError> {
        let Some(records) = self.records else {
            return Ok(None);
        };
        // A login that takes longer is ended by whoever started its process.
        let longest = self.assignment.options.call_timeout.saturating_add(LONGEST_MEMORY);
        (self.busy)(longest);
        let turn = records.turn(&token.name(), longest);
        (self.busy)(Duration::ZERO);
        match turn {
            Ok(Some(turn)) => Ok(Some(turn)),
            Ok(None) => Err(CallError::outage(format!(
                "the PIN from {source} is not tried: another process is trying a PIN that has never worked on the token \
                 {}, and has had no answer for {} s; wait until it ends, then try again",
                token.name(),
                longest.as_secs()
            ))),
            Err(error) => Err(not_remembered(source, &error)),
        }
    }

    /// Asks whether a PIN that has not worked may be tried, and counts the login if so.
    fn begin(&self, token: &TokenInfo, pin: &Pin, source: &PinSource) -> Result<PinStatus, CallError> {
        let Some(records) = self.records else {
            return Ok(PinStatus::New);
        };
        let begun = self.remember(|| records.begin(&token.name(), pin));
        begun.map_err(|error| not_remembered(source, &error))
    }

    fn rejected_before(&self, source: &PinSource) -> CallError {
        let record = self.records.map_or(Path::new("pins.json"), PinRecord::path).display();
        CallError::pin_rejected(format!(
            "the token has rejected the PIN from {source} before; it is not tried again until another stands there (if \
             the token was changed to have this PIN, remove {record})"
        ))
    }

    fn never_answered(&self, source: &PinSource) -> CallError {
        let record = self.records.map_or(Path::new("pins.json"), PinRecord::path).display();
        let way_on = match source {
            PinSource::File(file) => format!("`touch {}`", file.display()),
            PinSource::Credential(_) | PinSource::Descriptor(_) => format!("remove {record}"),
        };
        CallError::pin_rejected(format!(
            "the PIN from {source} was tried twice, and the token has not said whether it is right: the login hung, or \
             failed for another reason, or was cut short; as the token may count that as wrong PINs, it is not tried \
             again: mend the token, make sure that the PIN is right, and then {way_on}"
        ))
    }

    fn write_down(&self, token: &TokenInfo, pin: &Pin, outcome: &Result<(), TokenError>) {
        if let Some(records) = self.records {
            self.remember(|| self.write_down_in(records, token, pin, outcome));
        }
    }

    /// Works on the memory of PINs, which hashes for a while. Who killed this process for that, as one whose token hangs,
    /// would do so each time, and each time a try of the PIN would be lost.
    fn remember<T>(&self, work: impl FnOnce() -> T) -> T {
        (self.busy)(LONGEST_MEMORY);
        let done = work();
        (self.busy)(Duration::ZERO);
        done
    }

    fn write_down_in(&self, records: &PinRecord, token: &TokenInfo, pin: &Pin, outcome: &Result<(), TokenError>) {
        match outcome {
            // Also of one that has worked before: its source may be another, or have been written anew.
            Ok(()) => {
                if let Err(error) = records.note_worked(&token.name(), pin) {
                    self.warn_of_memory(&error);
                }
            }
            // It may be right: when the token is unlocked, the same PIN works, once somebody has touched its source.
            Err(error) if matches!(error.value(), Some(ReturnValue::PIN_LOCKED | ReturnValue::PIN_EXPIRED)) => {
                if let Err(error) = records.note_locked(&token.name(), pin) {
                    self.warn_of_memory(&error);
                }
            }
            Err(error) if error.cure() == Remedy::Pin => {
                while let Err(error) = records.note_rejected(&token.name(), pin) {
                    self.warn_of_memory(&error);
                    if self.assignment.role != Role::Daemon {
                        return;
                    }
                    // The next process would not know of it, so there is none before the disk is well again.
                    (self.wait)(BETWEEN_WRITES, "before it writes down again that the PIN was rejected");
                    (self.busy)(LONGEST_MEMORY);
                }
            }
            // It goes on to count as one without an answer, unless the token can't have looked at the PIN.
            Err(error) if says_nothing_of_the_pin(error) => {
                if let Err(error) = records.note_not_judged(&token.name(), pin) {
                    self.warn_of_memory(&error);
                }
            }
            Err(_) => {}
        }
    }

    fn warn_of_memory(&self, error: &PinRecordError) {
        let reason = chain(error);
        (self.warn)(format!("what became of the PIN could not be written down: {reason}"));
    }
}

fn not_remembered(source: &PinSource, error: &PinRecordError) -> CallError {
    CallError::outage(format!(
        "the PIN from {source} is not tried, since it could not be remembered if it is rejected: {}",
        chain(error)
    ))
}

/// A random part of [`LONGEST_PATIENCE`]; the whole of it where there is no randomness.
fn patience() -> Duration {
    let draw = random_bytes::<2>().map_or(u16::MAX, u16::from_le_bytes);
    LONGEST_PATIENCE.mul_f64(f64::from(draw) / f64::from(u16::MAX))
}

/// Tokens lock after a few wrong PINs. One that has worked may be tried while the count is low, and one that somebody has
/// corrected here, since the wrong one before it is why the count is low; one of which nothing is known may not, and
/// nothing is tried when the next wrong one locks.
fn check_flags(token: &TokenInfo, standing: PinStatus) -> Result<(), CallError> {
    let state = if token.pin_locked {
        "is locked: no PIN is tried before an administrator has reset that"
    } else if token.pin_final_try {
        "would be locked by one more wrong PIN: no PIN is tried before an administrator has reset that"
    } else if token.pin_count_low && standing == PinStatus::New {
        "has seen a wrong PIN since the last login, and this one has never worked, so it is not tried: a login by \
         another program (such as pkcs11-tool --login) shows that it is right, and resets that"
    } else {
        return Ok(());
    };
    let name = token.name();
    Err(CallError::pin_rejected(format!("the token {name} {state}")))
}

/// Whether the module has answered before any PIN could be counted. A device that was removed, or has trouble, may have
/// counted it, and vendors have values of their own for a wrong one: those do not say so.
fn says_nothing_of_the_pin(error: &TokenError) -> bool {
    matches!(
        error.value(),
        Some(
            ReturnValue::USER_ALREADY_LOGGED_IN
                | ReturnValue::TOKEN_NOT_PRESENT
                | ReturnValue::TOKEN_NOT_RECOGNIZED
                | ReturnValue::SESSION_HANDLE_INVALID
                | ReturnValue::FUNCTION_NOT_SUPPORTED
                | ReturnValue::USER_TYPE_INVALID
                | ReturnValue::USER_PIN_NOT_INITIALIZED
        )
    )
}

fn judge(outcome: Result<(), TokenError>) -> Result<Proof, CallError> {
    match outcome {
        Ok(()) => Ok(Proof::Confirmed),
        Err(error) if error.value() == Some(ReturnValue::USER_ALREADY_LOGGED_IN) => Ok(Proof::Assumed),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
