//! This process's connection to the token: the initialised module, a login, and a session for each call in flight.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use cryptoki::session::Session;
use cryptoki::slot::Slot;

use crate::token::assignment::Assignment;
use crate::token::assignment::Role;
use crate::token::error::TokenError;
use crate::token::login::LoginProof;
use crate::token::module::Module;
use crate::token::module::TokenInfo;
use crate::token::objects::Finder;
use crate::token::problem::CallError;
use crate::token::uri::TokenName;

/// An initialised module, and the token once it is open. The order of the fields is the order of their drops: a session
/// that outlived its module's `C_Finalize` would later close a new session with the same handle.
#[derive(Debug)]
pub(crate) struct Connection {
    open: Option<OpenToken>,
    module: Module,
}

/// A token that this process is logged in to.
#[derive(Debug)]
pub(crate) struct OpenToken {
    slot: Slot,
    read_write: bool,
    login: LoginProof,
    /// Stays open: a process loses its login with its last session, without an error.
    _holder: Mutex<Session>,
    /// One for each thread. A failed operation can leave a session unusable; that session is then closed.
    thread_sessions: Vec<Mutex<Option<Session>>>,
    finder: Finder,
}

/// How to log in on an open session.
pub(crate) type LogIn<'a> =
    &'a dyn Fn(&Session, &dyn Fn() -> Result<TokenInfo, TokenError>) -> Result<LoginProof, CallError>;

impl Connection {
    /// Loads and initialises the module.
    pub(crate) fn load(assignment: &Assignment) -> Result<Self, TokenError> {
        let module = Module::load(&assignment.options.module)?;
        Ok(Self { open: None, module })
    }

    pub(crate) fn module(&self) -> &Module {
        &self.module
    }

    /// The token, once it is open.
    pub(crate) fn token(&self) -> Option<&OpenToken> {
        self.open.as_ref()
    }

    /// Finds the token and logs in.
    pub(crate) fn open(&mut self, assignment: &Assignment, enter: LogIn<'_>) -> Result<(), CallError> {
        let (slot, _) = find_token(&self.module, &assignment.options.token)?;
        // Read-only sessions suffice for a role that changes nothing, but some tokens have none.
        let (holder, read_write) = match assignment.role {
            Role::Admin => (self.module.open(slot, true)?, true),
            Role::Daemon | Role::Look => match self.module.open(slot, false) {
                Ok(session) => (session, false),
                Err(refused) => match self.module.open(slot, true) {
                    Ok(session) => (session, true),
                    Err(_) => return Err(refused.into()),
                },
            },
        };
        let login = enter(&holder, &|| self.module.token_info(slot))?;
        let thread_sessions = (0..assignment.options.concurrent_calls()).map(|_| Mutex::default());
        self.open = Some(OpenToken {
            slot,
            read_write,
            login,
            _holder: Mutex::new(holder),
            thread_sessions: thread_sessions.collect(),
            finder: Finder::new(assignment.root_key.clone(), assignment.options.versions.clone()),
        });
        Ok(())
    }

    /// Logs in again, and closes every session for that: the session that held the login may be lost, and a token
    /// without a session can still report the process as logged in, and check nothing.
    pub(crate) fn log_in_again(&mut self, assignment: &Assignment, log_in: LogIn<'_>) -> Result<(), CallError> {
        self.open = None;
        self.open(assignment, log_in)
    }

    /// Closes every session and finalises the module. No call may be in flight: the caller holds the only reference.
    pub(crate) fn close(self) -> Result<(), TokenError> {
        let Self { open, module } = self;
        drop(open);
        module.finalize()
    }
}

impl OpenToken {
    pub(crate) fn login(&self) -> LoginProof {
        self.login
    }

    pub(crate) fn finder(&self) -> &Finder {
        &self.finder
    }

    /// The place of one thread's session.
    pub(crate) fn thread_session(&self, index: usize) -> Option<MutexGuard<'_, Option<Session>>> {
        let session = self.thread_sessions.get(index)?;
        Some(session.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another session.
    pub(crate) fn session(&self, module: &Module) -> Result<Session, TokenError> {
        module.open(self.slot, self.read_write)
    }
}

/// The one token of this name. Slots whose token cannot be read are skipped, because they may hold other tokens.
pub(crate) fn find_token(module: &Module, name: &TokenName) -> Result<(Slot, TokenInfo), TokenError> {
    let mut tokens = Vec::new();
    let mut silent = None;
    for slot in module.slots()? {
        match module.token_info(slot) {
            Ok(info) => tokens.push((slot, info)),
            Err(error) => silent = Some(error),
        }
    }
    let named_by = |name: &TokenName, info: &TokenInfo| {
        let TokenInfo {
            label,
            serial,
            manufacturer,
            model,
            ..
        } = info;
        name.matches(label, serial, manufacturer, model)
    };
    let serial = name.as_serial();
    let by_label = tokens.iter().any(|(_, info)| named_by(name, info));
    let wanted = serial.as_ref().filter(|_| !by_label).unwrap_or(name);
    let (mut named, others): (Vec<_>, Vec<_>) = tokens.into_iter().partition(|(_, info)| named_by(wanted, info));
    let found = named.pop();
    match (found, named.len()) {
        (Some(found), 0) => Ok(found),
        (Some(_), others) => Err(TokenError::Refused(format!(
            "{} tokens match {name}: name one of them by label and serial, as `dekhand token list` shows them",
            others + 1
        ))),
        (None, _) => Err(silent.unwrap_or_else(|| TokenError::NoToken {
            name: name.to_string(),
            seen: shown(&others),
        })),
    }
}

/// The initialised tokens, for an error message.
fn shown(tokens: &[(Slot, TokenInfo)]) -> String {
    let initialized = tokens.iter().filter(|(_, info)| info.initialized);
    let names: Vec<String> = initialized.map(|(_, info)| info.name()).collect();
    if names.is_empty() {
        "none is initialised".to_owned()
    } else {
        names.join(", ")
    }
}
