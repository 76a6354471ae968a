//! Logins of which no outcome is known: a token that hangs, or a process that is killed, leaves no word about the PIN.
//!
//! Such a login may have cost a try, so each is written down before it begins. A PIN that has worked is not counted: a
//! token that is away for a day must not end in a refusal.

use crate::backend::pkcs11::pin::Pin;
use crate::backend::pkcs11::worker::pin_record::PinRecord;
use crate::backend::pkcs11::worker::pin_record::PinRecordError;
use crate::backend::pkcs11::worker::pin_record::content;
use crate::backend::pkcs11::worker::pin_record::content::Begun;
use crate::backend::pkcs11::worker::pin_record::first_bits;

/// So many logins without an outcome a PIN has: one less than lock the strictest tokens.
const MOST_LOGINS: u8 = 2;
/// PINs of one token; when there are more, the oldest goes.
const MOST_BEGUN: usize = 8;

impl PinRecord {
    /// Notes that a PIN of which nothing is known is about to be tried. On disk before this returns. What becomes of it
    /// takes the note away again ([`note_worked`](Self::note_worked), [`note_rejected`](Self::note_rejected)).
    ///
    /// # Errors
    /// It can't be written. The PIN must not be tried then, since every restart would try it.
    pub(in crate::backend::pkcs11) fn note_begun(&self, token: &str, pin: &Pin) -> Result<(), PinRecordError> {
        self.change(token, |line| {
            let hash = self.hash(&line.salt, pin);
            let known = line.begun.iter().position(|begun| begun.is_of(pin, &hash));
            let before = known.map_or(0, |place| line.begun.remove(place).logins);
            line.begun.push(Begun {
                bits: first_bits(&hash),
                stamp: pin.stamp.clone(),
                logins: before.saturating_add(1),
            });
            content::keep_last(&mut line.begun, MOST_BEGUN);
        })
    }

    /// Notes that the token has not looked at the PIN in the login that was begun last: it does not count.
    ///
    /// # Errors
    /// It can't be written: the login goes on to count.
    pub(in crate::backend::pkcs11) fn note_not_judged(&self, token: &str, pin: &Pin) -> Result<(), PinRecordError> {
        let _lock = self.lock()?;
        let mut content = self.read()?;
        let is_known = |begun: &Begun| begun.stamp == pin.stamp;
        if !content.line(token).is_some_and(|line| line.begun.iter().any(is_known)) {
            return Ok(());
        }
        content.change(token, |line| {
            for begun in line.begun.iter_mut().filter(|begun| is_known(begun)) {
                begun.logins = begun.logins.saturating_sub(1);
            }
            line.begun.retain(|begun| begun.logins > 0);
        })?;
        self.replace(content)
    }
}

impl Begun {
    /// Whether the token has had all the logins that it may have.
    pub(super) fn is_enough(&self) -> bool {
        self.logins >= MOST_LOGINS
    }

    /// Whether it is about this PIN. A file that somebody has touched begins anew; a source that every start makes anew
    /// does not, or a restart loop would spend two tries each time. One other PIN in 256 is taken for the same.
    pub(super) fn is_of(&self, pin: &Pin, hash: &[u8; 32]) -> bool {
        self.stamp == pin.stamp || pin.made_anew && self.bits == first_bits(hash)
    }
}
