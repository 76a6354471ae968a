//! The operators' HTTP server: health and metrics, on its own thread, so that it also reports a stuck gRPC runtime.

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

/// The server's thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Http {
    bound: watch::Receiver<Option<SocketAddr>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Http {
    /// Starts the thread. A port in use is no error: the server logs it and retries.
    ///
    /// # Errors
    /// The operating system refused a thread or a poller.
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

    /// The address on which it listens, or `None` while its port is in use. For port 0 this has the actual port.
    pub fn address(&self) -> Option<SocketAddr> {
        *self.bound.borrow()
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        // Dropping the sender is the signal. The thread is not joined: it reads the state of the socket's file, and a
        // hanging file system must not prevent the daemon's end.
        drop(self.stop.take());
    }
}

#[cfg(test)]
mod tests;
