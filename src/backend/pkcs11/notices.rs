//! What the last list of a token's versions was told with, for commands and for `/readyz?verbose`.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// What an operator should know of the token's objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Versions that count although their objects are public, and what to do about each.
    pub public: Vec<String>,
    /// Objects that were left out, and why.
    pub left_out: Vec<String>,
}

/// The notes of the last list. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Notices(Arc<Mutex<Noted>>);

impl Notices {
    /// What was noted with the last list; nothing before the first.
    pub fn last(&self) -> Noted {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(in crate::backend::pkcs11) fn replace(&self, noted: Noted) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = noted;
    }
}

impl Noted {
    /// For a page of a single line: the first few.
    pub fn line(&self) -> String {
        const MOST: usize = 5;
        let mut all: Vec<&str> = self.public.iter().chain(&self.left_out).map(String::as_str).collect();
        let more = all.len().saturating_sub(MOST);
        all.truncate(MOST);
        let mut line = all.join("; ");
        if more > 0 {
            line.push_str("; and more, as the log says");
        }
        if line.is_empty() {
            "nothing is left out".clone_into(&mut line);
        }
        line
    }
}
