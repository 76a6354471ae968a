//! When the service manager may start what depends on this daemon.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

use crate::backend::pkcs11::first_login::FirstLogin;
use crate::envelope::Envelope;

/// The time for a good Status before any other reason counts. A token that is away must not delay the start of a node.
const AT_ONCE: Duration = Duration::from_millis(500);
/// The longest wait, for the first login on a node.
const LONGEST: Duration = Duration::from_secs(20);
/// The time for the login itself, once the wait before it is over.
const FOR_THE_LOGIN: Duration = Duration::from_secs(3);
/// The interval of looks.
const LOOK: Duration = Duration::from_millis(20);

/// Tells the service manager that this daemon is ready: when Status is good, or fails for another reason than the wait
/// before a PIN that has never worked on this node. That wait ends by itself, and then Status is good.
pub(super) async fn tell(envelope: &Envelope, first_logins: &[FirstLogin]) {
    let begin = Instant::now();
    let mut until = begin + AT_ONCE;
    while envelope.status().is_err() && Instant::now() < until.min(begin + LONGEST) {
        if let Some(waits) = first_logins.iter().filter_map(FirstLogin::waits).max() {
            until = until.max(Instant::now() + waits + FOR_THE_LOGIN);
        }
        tokio::time::sleep(LOOK).await;
    }
    // Without a service manager this fails, and the error is ignored.
    sd_notify::notify(&[NotifyState::Ready]).ok();
}
