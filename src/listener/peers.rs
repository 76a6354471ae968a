//! The uids that may call. They can change while the daemon runs.

use tokio::sync::watch;

/// The uids that may call: the configured ones and the daemon's own. Cheap to clone; clones share one list.
#[derive(Clone, Debug)]
pub struct Peers(watch::Sender<Vec<u32>>);

impl Peers {
    pub(super) fn new(configured: &[u32]) -> Self {
        Self(watch::Sender::new(with_own(configured)))
    }

    /// Replaces the configured uids. Connections of uids that are no longer allowed finish their requests in flight and
    /// are closed.
    pub fn set(&self, configured: &[u32]) {
        self.0.send_replace(with_own(configured));
    }

    /// Without the daemon's own uid, which is the only uid of a test.
    #[cfg(test)]
    pub(super) fn only(uids: &[u32]) -> Self {
        Self(watch::Sender::new(uids.to_vec()))
    }

    #[cfg(test)]
    pub(super) fn ban_all(&self) {
        self.0.send_replace(vec![]);
    }

    pub(super) fn admits(&self, uid: u32) -> bool {
        self.0.borrow().contains(&uid)
    }

    /// Completes when `uid` may no longer call.
    ///
    /// # Cancel safety
    /// It holds nothing.
    pub(super) async fn banned(&self, uid: u32) {
        let mut changes = self.0.subscribe();
        // Cannot fail: `self` has the sender.
        changes.wait_for(|uids| !uids.contains(&uid)).await.ok();
    }
}

fn with_own(configured: &[u32]) -> Vec<u32> {
    let mut uids = configured.to_vec();
    uids.push(rustix::process::geteuid().as_raw());
    uids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_daemon_itself_may_always_call_and_others_while_they_are_listed() {
        let own = rustix::process::geteuid().as_raw();
        let other = own + 4711;
        let peers = Peers::new(&[other]);
        assert!(peers.admits(own) && peers.admits(other) && !peers.admits(other + 1));
        peers.set(&[]);
        assert!(peers.admits(own) && !peers.admits(other));
        peers.banned(other).await;
    }
}
