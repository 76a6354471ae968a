//! The operators' HTTP: health and metrics, on a thread of its own so that a stuck gRPC runtime can't hide itself.

mod pages;
mod serve;

use std::io;
use std::net::SocketAddr;
use std::thread;

use tokio::runtime;
use tokio::sync::oneshot;
use tokio::sync::watch;

use crate::health::Health;
use crate::http::pages::Pages;
use crate::telemetry::metrics::Metrics;

/// The running thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Http {
    bound: watch::Receiver<Option<SocketAddr>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Http {
    /// Starts the thread. A taken port is no error: it is tried again and again, and logged.
    ///
    /// # Errors
    /// The operating system has no thread or no poller to give.
    pub fn start(address: SocketAddr, health: Health, metrics: Metrics) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (bind, bound) = watch::channel(None);
        let (stop, stopped) = oneshot::channel::<()>();
        let pages = Pages::new(health, metrics);
        thread::Builder::new().name("http".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve::run(address, pages, bind) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self {
            bound,
            stop: Some(stop),
        })
    }

    /// Where it listens now, if its port is not taken: the port is the real one where 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        *self.bound.borrow()
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        // Dropping the sender is the signal. Nobody waits for the thread: it looks at the socket's file, and a file
        // system that hangs must not keep the daemon from ending.
        drop(self.stop.take());
    }
}

#[cfg(test)]
mod tests;
