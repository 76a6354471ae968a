//! Access to the connection: concurrent for calls, exclusive for opening, logging in again and closing.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;

use cryptoki::context::Pkcs11;
use cryptoki::session::Session;

use crate::backend::pkcs11::ipc::message::Level;
use crate::backend::pkcs11::ipc::message::Paused;
use crate::backend::pkcs11::worker::channel::Outlet;
use crate::backend::pkcs11::worker::mutex::lock;
use crate::token::assignment::Assignment;
use crate::token::error::TokenError;
use crate::token::login;
use crate::token::module::Module;
use crate::token::module::TokenInfo;
use crate::token::objects::Admission;
use crate::token::objects::Finder;
use crate::token::pin_history::PinRecord;
use crate::token::problem::CallError;
use crate::token::session::Connection;
use crate::token::session::OpenToken;

/// The connection that all threads share, and the session of each.
pub(super) struct Sessions {
    assignment: Arc<Assignment>,
    outlet: Arc<Outlet>,
    records: Option<PinRecord>,
    /// Calls hold it for reading; a change waits for the last of them, because `C_Finalize` during a call crashes or
    /// hangs the process.
    connection: RwLock<Option<Connection>>,
    /// Counts connections: if several threads notice the failure of one, only the first replaces it.
    generation: Mutex<u64>,
    /// Keeps the vendor's code in memory when the module is finalised.
    library: OnceLock<Pkcs11>,
}

/// A connection with an open token.
#[derive(Clone, Copy)]
pub(super) struct Open<'a> {
    connection: &'a Connection,
    token: &'a OpenToken,
}

impl<'a> Open<'a> {
    pub(super) fn module(self) -> &'a Module {
        self.connection.module()
    }

    pub(super) fn token(self) -> &'a OpenToken {
        self.token
    }

    pub(super) fn finder(self) -> &'a Finder {
        self.token.finder()
    }

    /// Another session: one with a failed call may be unusable.
    pub(super) fn session(self) -> Result<Session, TokenError> {
        self.token.session(self.module())
    }
}

/// The use of a session by one call.
#[derive(Clone, Copy)]
pub(super) struct Access<'a> {
    /// The number of the call.
    pub(super) job: u64,
    pub(super) open: Open<'a>,
    pub(super) session: &'a Session,
}

impl<'a> Access<'a> {
    /// The same call on another session.
    pub(super) fn on(self, session: &'a Session) -> Self {
        Self { session, ..self }
    }
}

impl Sessions {
    pub(super) fn new(assignment: Arc<Assignment>, outlet: Arc<Outlet>, records: Option<PinRecord>) -> Self {
        Self {
            assignment,
            outlet,
            records,
            connection: RwLock::default(),
            generation: Mutex::default(),
            library: OnceLock::new(),
        }
    }

    /// The number of the present connection.
    pub(super) fn generation(&self) -> u64 {
        *lock(&self.generation)
    }

    /// Calls `look` with the token, if it is open. No login happens meanwhile.
    pub(super) fn with_token<T>(&self, look: impl FnOnce(Open<'_>) -> T) -> Option<T> {
        let connection = self.read();
        let connection = connection.as_ref()?;
        let token = connection.token()?;
        Some(look(Open { connection, token }))
    }

    /// Runs `work` on this thread's session, and opens what is not open yet. `admit` decides at a new login which
    /// public objects count.
    pub(super) fn with_session<T>(
        &self,
        session_index: usize,
        job: u64,
        admit: impl FnOnce() -> Result<Admission, CallError>,
        work: impl FnOnce(Access<'_>) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        self.open()?;
        let connection = self.read();
        let (Some(connection), Some(token)) = (connection.as_ref(), connection.as_ref().and_then(Connection::token))
        else {
            return Err(closed().into());
        };
        if !token.finder().has_admission() {
            token.finder().admit(admit()?);
        }
        let open = Open { connection, token };
        let mut place = token.thread_session(session_index).ok_or_else(closed)?;
        let session = match place.take() {
            Some(session) => session,
            None => open.session()?,
        };
        let session = place.insert(session);
        work(Access { job, open, session })
    }

    /// Runs `work` on the module, without a login.
    pub(super) fn with_module<T>(&self, work: impl FnOnce(&Module) -> Result<T, CallError>) -> Result<T, CallError> {
        self.load()?;
        let connection = self.read();
        match connection.as_ref() {
            Some(connection) => work(connection.module()),
            None => Err(closed().into()),
        }
    }

    /// Loads the module if it is not loaded.
    pub(super) fn load(&self) -> Result<(), CallError> {
        if self.read().is_some() {
            return Ok(());
        }
        let mut connection = self.connection.write().unwrap_or_else(PoisonError::into_inner);
        if connection.is_none() {
            let loaded = Connection::load(&self.assignment)?;
            self.library.get_or_init(|| loaded.module().library());
            *connection = Some(loaded);
        }
        Ok(())
    }

    /// Logs in if no thread has.
    pub(super) fn open(&self) -> Result<(), CallError> {
        self.load()?;
        if self.with_token(|_| ()).is_some() {
            return Ok(());
        }
        let mut connection = self.connection.write().unwrap_or_else(PoisonError::into_inner);
        match connection.as_mut() {
            Some(connection) if connection.token().is_none() => {
                connection.open(&self.assignment, &|session, flags| self.log_in(session, flags))
            }
            Some(_) => Ok(()),
            None => Err(closed().into()),
        }
    }

    fn log_in(
        &self,
        session: &Session,
        flags: &dyn Fn() -> Result<TokenInfo, TokenError>,
    ) -> Result<login::LoginProof, CallError> {
        login::Attempt {
            assignment: &self.assignment,
            records: self.records.as_ref(),
            flags,
            wait: &|pause, why| {
                let told = format!("waits {} s {why}", pause.as_secs());
                self.outlet.say(Level::Info, told);
                self.outlet.extend_deadline(Paused::FirstLogin, pause);
                std::thread::sleep(pause);
            },
            busy: &|time| self.outlet.extend_deadline(Paused::All, time),
            warn: &|told| self.outlet.say(Level::Warn, told),
        }
        .log_in(session)
    }

    /// Logs in again, unless another thread has done so since `generation`.
    pub(super) fn log_in_again(&self, generation: u64) -> Result<(), CallError> {
        let mut connection = self.connection.write().unwrap_or_else(PoisonError::into_inner);
        if !self.is_first_since(generation) {
            return Ok(());
        }
        match connection.as_mut() {
            Some(connection) => {
                connection.log_in_again(&self.assignment, &|session, flags| self.log_in(session, flags))
            }
            None => Ok(()),
        }
    }

    /// Finalises the module after the last call; the next call loads it again.
    pub(super) fn reconnect(&self, generation: u64) {
        let mut connection = self.connection.write().unwrap_or_else(PoisonError::into_inner);
        if !self.is_first_since(generation) {
            return;
        }
        if let Some(Err(error)) = connection.take().map(Connection::close) {
            self.outlet.say(Level::Debug, format!("C_Finalize: {error}"));
        }
    }

    /// Whether this thread is the first to replace the connection of this generation.
    fn is_first_since(&self, generation: u64) -> bool {
        let mut current = lock(&self.generation);
        let first = *current == generation;
        *current += u64::from(first);
        first
    }

    /// Closes everything, at the end.
    pub(super) fn disconnect(&self) {
        self.reconnect(self.generation());
    }

    /// Closes this thread's session: a failed operation can leave it unusable. Within the lock: during `C_Finalize`,
    /// `C_CloseSession` hangs or crashes the process, and afterwards it may close another thread's session.
    pub(super) fn leave(&self, session_index: usize) {
        self.with_token(|open| {
            if let Some(mut place) = open.token.thread_session(session_index) {
                drop(place.take());
            }
        });
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Connection>> {
        self.connection.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Another thread has closed the connection, because it was broken.
fn closed() -> TokenError {
    TokenError::Module("was closed during a call".to_owned())
}
