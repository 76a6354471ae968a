//! The notes of the last list of a token's versions, for commands and for `/readyz?verbose`.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde::Deserialize;
use serde::Serialize;

/// Notes about the token's objects for operators.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Versions that count although their objects are public, with the remedy for each.
    pub public: Vec<String>,
    /// Objects that were left out, with reasons.
    pub left_out: Vec<String>,
    /// Whether a private key is among those.
    pub leaves_out_private_key: bool,
}

/// The notes of the last list. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Notices(Arc<Mutex<Noted>>);

impl Notices {
    /// The notes of the last list; nothing before the first list.
    pub fn last(&self) -> Noted {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(in crate::backend::pkcs11) fn replace(&self, noted: Noted) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = noted;
    }
}

impl Noted {
    /// The first few notes, on a single line.
    pub fn line(&self) -> String {
        const MOST: usize = 5;
        let mut all: Vec<&str> = self.public.iter().chain(&self.left_out).map(String::as_str).collect();
        let more = all.len().saturating_sub(MOST);
        all.truncate(MOST);
        let mut line = all.join("; ");
        if more > 0 {
            line.push_str("; and more, listed in the log");
        }
        if line.is_empty() {
            "nothing is left out".clone_into(&mut line);
        }
        line
    }
}
