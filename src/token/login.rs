//! Logs in, and never spends an attempt that could lock the token.

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

/// Several nodes may start at once. Each waits a random time, for up to 15 s, before it tries an unproven PIN.
const LONGEST_PATIENCE: Duration = Duration::from_secs(15);

/// To look up or record a PIN takes less than this even on a slow machine.
const LONGEST_MEMORY: Duration = Duration::from_secs(30);

/// The time that a human has to type a PIN at the token's own device.
const AT_THE_DEVICE: Duration = Duration::from_secs(60);

/// The pause before another attempt to record a rejected PIN.
const BETWEEN_WRITES: Duration = Duration::from_secs(5);

/// The remedy if a human types the PIN.
const ASKED_AGAIN: &str = "the daemon asks for it again only after `dekhand token info` has logged in with it";

/// The kind of login that this process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginProof {
    /// `C_Login` succeeded, or the token needs no login: an object that is not found does not exist.
    Confirmed,
    /// The process was logged in already (`CKR_USER_ALREADY_LOGGED_IN`): the PIN was not checked.
    Assumed,
}

/// A login to one token.
pub(crate) struct Attempt<'a> {
    pub(crate) assignment: &'a Assignment,
    pub(crate) records: Option<&'a PinRecord>,
    /// Reads the token's flags again.
    pub(crate) flags: &'a dyn Fn() -> Result<TokenInfo, TokenError>,
    /// Waits, and tells the daemon the reason and that the call has not begun.
    pub(crate) wait: &'a dyn Fn(Duration, &str),
    /// Tells the daemon that the call does not wait for the token, for at most this long.
    pub(crate) busy: &'a dyn Fn(Duration),
    /// A line for the daemon's log.
    pub(crate) warn: &'a dyn Fn(String),
}

impl Attempt<'_> {
    /// Logs in a session, and thereby the whole process.
    pub(crate) fn log_in(&self, session: &Session) -> Result<LoginProof, CallError> {
        let Assignment { role, options, .. } = self.assignment;
        let user = match options.login {
            Login::None => return Ok(LoginProof::Confirmed),
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
            // The session sees the token's public objects only.
            (None, Role::Look) => Ok(LoginProof::Assumed),
            (None, Role::Daemon | Role::Admin) => Err(CallError::outage(
                "no PIN is configured, but the token requires a login",
            )),
        }
    }

    /// Lets the token ask for its PIN at its own device. The typed PIN is unknown here, so every rejected PIN from the
    /// device counts as the same PIN. A daemon that prompted again and again would lock a token whose device answers
    /// for an absent human. A human starts a command; after its login the daemon may prompt again.
    fn log_in_at_the_device(&self, session: &Session) -> Result<LoginProof, CallError> {
        let by_itself = self.assignment.role == Role::Daemon;
        let token = (self.flags)()?;
        let pin = Pin::typed_elsewhere();
        if by_itself && self.status(&token, &pin)? == PinStatus::Rejected {
            let reason = "the token has rejected the PIN from its own device before";
            return Err(CallError::pin_rejected(format!("{reason}; {ASKED_AGAIN}")));
        }
        // A daemon's next PIN from the device is unproven each time; the human who starts a command knows the PIN.
        let trusted = if by_itself { PinStatus::New } else { PinStatus::Worked };
        check_flags(&token, trusted)?;
        (self.warn)(format!(
            "type the PIN at the device of the token {} within {} s",
            token.name(),
            AT_THE_DEVICE.as_secs()
        ));
        // If the process were killed meanwhile, the device would prompt again.
        (self.busy)(AT_THE_DEVICE);
        let outcome = session.login(UserType::User, None).map_err(TokenError::from);
        (self.busy)(Duration::ZERO);
        if by_itself || outcome.is_ok() {
            self.write_down(&token, &pin, &outcome);
        }
        match outcome {
            Err(error) if error.remedy() == Remedy::Pin => {
                let reason = format!("the token rejected the PIN from its own device ({error})");
                Err(CallError::pin_rejected(format!("{reason}; {ASKED_AGAIN}")))
            }
            other => judge(other),
        }
    }

    fn log_in_with(&self, session: &Session, user: UserType, source: &PinSource) -> Result<LoginProof, CallError> {
        let read = || source.read().map_err(|error| CallError::outage(chain(&error)));
        let mut pin = read()?;
        let token = (self.flags)()?;
        let mut status = self.status(&token, &pin)?;
        let mut turn = None;
        if status.is_untried() {
            if self.assignment.role == Role::Daemon {
                let why = "before it tries a PIN that has not worked on this token yet";
                (self.wait)(patience(), why);
            }
            turn = self.turn(&token, source)?;
            // Another node or process may have spent an attempt meanwhile, and somebody may have corrected the PIN.
            pin = read()?;
            status = self.status(&token, &pin)?;
        }
        check_flags(&(self.flags)()?, status)?;
        // Counted before the token gets the PIN: if this process is killed during the login, the next one finds the
        // attempt.
        if status.is_untried() {
            status = self.begin(&token, &pin, source)?;
        }
        match status {
            PinStatus::Rejected => return Err(self.rejected_before(source)),
            PinStatus::Unanswered => return Err(self.never_answered(source)),
            PinStatus::New | PinStatus::Corrected | PinStatus::Worked => {}
        }
        let secret = RawAuthPin::new(Box::new(pin.bytes.expose().to_vec()));
        let outcome = session.login_with_raw(user, &secret).map_err(TokenError::from);
        self.write_down(&token, &pin, &outcome);
        drop(turn);
        match outcome {
            Err(error) if error.remedy() == Remedy::Pin => {
                let next = if self.records.is_some() {
                    "it is not tried again until its source changes"
                } else {
                    "without a configuration nothing remembers this, and the next command tries the PIN again: correct \
                     it first, since tokens lock after a few attempts"
                };
                let reason = format!("the token rejected the PIN from {source} ({error}); {next}");
                Err(CallError::pin_rejected(reason))
            }
            other => judge(other),
        }
    }

    /// The status of the PIN. A damaged record is set aside, because it must not block a right PIN for ever; the
    /// unknown PIN is then tried once, with care.
    fn status(&self, token: &TokenInfo, pin: &Pin) -> Result<PinStatus, CallError> {
        let Some(records) = self.records else {
            return Ok(PinStatus::New);
        };
        match self.remember(|| records.status(&token.name(), pin)) {
            Ok(status) => Ok(status),
            Err(error) if error.is_the_content() => {
                let aside = records.set_aside().map_err(|error| CallError::outage(chain(&error)))?;
                (self.warn)(format!("{}; the file was moved to {}", chain(&error), aside.display()));
                Ok(PinStatus::New)
            }
            Err(error) => Err(CallError::outage(chain(&error))),
        }
    }

    /// Waits for other processes that log in with an unproven PIN: eight commands with one wrong PIN spend one attempt,
    /// and with the right one they all log in.
    fn turn(&self, token: &TokenInfo, source: &PinSource) -> Result<Option<Turn>, CallError> {
        let Some(records) = self.records else {
            return Ok(None);
        };
        // A longer login is ended by the parent of its process.
        let longest = self.assignment.options.open_timeout.saturating_add(LONGEST_MEMORY);
        (self.busy)(longest);
        let turn = records.turn(&token.name(), longest);
        (self.busy)(Duration::ZERO);
        match turn {
            Ok(Some(turn)) => Ok(Some(turn)),
            Ok(None) => Err(CallError::outage(format!(
                "the PIN from {source} is not tried: another process is trying a PIN that has never worked on the \
                 token {}, and its login has not ended for {} s; wait until that process ends, then try again",
                token.name(),
                longest.as_secs()
            ))),
            Err(error) => Err(not_remembered(source, &error)),
        }
    }

    /// Decides whether an unproven PIN may be tried, and counts the attempt if so.
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
            "the token has rejected the PIN from {source} before; it is not tried again until its source changes (if \
             the token has been given this PIN since, remove {record})"
        ))
    }

    fn never_answered(&self, source: &PinSource) -> CallError {
        let record = self.records.map_or(Path::new("pins.json"), PinRecord::path).display();
        let way_on = match source {
            PinSource::File(file) => format!("`touch {}`", file.display()),
            PinSource::Credential(_) | PinSource::Descriptor(_) => format!("remove {record}"),
        };
        CallError::pin_rejected(format!(
            "two logins with the PIN from {source} ended without a verdict (a hang, an interruption, or an error \
             that is not about the PIN); the token may have counted both as wrong PINs, so dekhand does not try a \
             third: repair the token, make sure that the PIN is right, and then {way_on}"
        ))
    }

    fn write_down(&self, token: &TokenInfo, pin: &Pin, outcome: &Result<(), TokenError>) {
        if let Some(records) = self.records {
            self.remember(|| self.write_down_in(records, token, pin, outcome));
        }
    }

    /// Reads or writes the record of PINs, which takes long because it hashes. The daemon must not take that for a
    /// hanging token: it would kill the worker each time, and each time an attempt of the PIN would be lost.
    fn remember<T>(&self, work: impl FnOnce() -> T) -> T {
        (self.busy)(LONGEST_MEMORY);
        let done = work();
        (self.busy)(Duration::ZERO);
        done
    }

    fn write_down_in(&self, records: &PinRecord, token: &TokenInfo, pin: &Pin, outcome: &Result<(), TokenError>) {
        match outcome {
            // Also for a PIN that has worked before: it may have another source, or the source may have been rewritten.
            Ok(()) => {
                if let Err(error) = records.note_worked(&token.name(), pin) {
                    self.warn_of_memory(&error);
                }
            }
            // The PIN may be right: it works again when the token is unlocked and its source was touched.
            Err(error) if matches!(error.value(), Some(ReturnValue::PIN_LOCKED | ReturnValue::PIN_EXPIRED)) => {
                if let Err(error) = records.note_locked(&token.name(), pin) {
                    self.warn_of_memory(&error);
                }
            }
            Err(error) if error.remedy() == Remedy::Pin => {
                while let Err(error) = records.note_rejected(&token.name(), pin) {
                    self.warn_of_memory(&error);
                    if self.assignment.role != Role::Daemon {
                        return;
                    }
                    // Without the record the next process would try the PIN again, so this one stays until the disk
                    // works again.
                    (self.wait)(
                        BETWEEN_WRITES,
                        "before it tries again to record that the PIN was rejected",
                    );
                    (self.busy)(LONGEST_MEMORY);
                }
            }
            // The attempt still counts as one without a verdict, unless the token cannot have checked the PIN.
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
        (self.warn)(format!("the outcome of the login could not be recorded: {reason}"));
    }
}

fn not_remembered(source: &PinSource, error: &PinRecordError) -> CallError {
    CallError::outage(format!(
        "the PIN from {source} is not tried, because a rejection could not be recorded: {}",
        chain(error)
    ))
}

/// A random part of [`LONGEST_PATIENCE`]; all of it if there is no randomness.
fn patience() -> Duration {
    let draw = random_bytes::<2>().map_or(u16::MAX, u16::from_le_bytes);
    LONGEST_PATIENCE.mul_f64(f64::from(draw) / f64::from(u16::MAX))
}

/// Tokens lock after a few wrong PINs. While the token reports a wrong PIN, dekhand tries a PIN that has worked before,
/// or one that replaces a PIN rejected here, which explains the report; it does not try an unknown PIN. If the next
/// wrong PIN locks the token, dekhand tries none.
fn check_flags(token: &TokenInfo, status: PinStatus) -> Result<(), CallError> {
    let state = if token.pin_locked {
        "is locked: no PIN is tried until an administrator has unlocked it"
    } else if token.pin_final_try {
        "would be locked by one more wrong PIN: no PIN is tried until an administrator has reset its counter"
    } else if token.pin_count_low && status == PinStatus::New {
        "reports a wrong PIN since the last login, so an unproven PIN is not tried now: log in once with another \
         program (such as pkcs11-tool --login) to verify the PIN and to clear that report"
    } else {
        return Ok(());
    };
    let name = token.name();
    Err(CallError::pin_rejected(format!("the token {name} {state}")))
}

/// Whether the error proves that the module has counted no PIN. A device that was removed or fails may have counted it,
/// and vendors have return values of their own for a wrong PIN: such errors prove nothing.
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

fn judge(outcome: Result<(), TokenError>) -> Result<LoginProof, CallError> {
    match outcome {
        Ok(()) => Ok(LoginProof::Confirmed),
        Err(error) if error.value() == Some(ReturnValue::USER_ALREADY_LOGGED_IN) => Ok(LoginProof::Assumed),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
