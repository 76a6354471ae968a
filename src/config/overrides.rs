//! The options of `serve` that override the file.

use crate::config::http::HttpChoice;
use crate::listener::options::SocketAddress;
use crate::telemetry::log::LogFormat;
use crate::telemetry::log::LogLevel;

/// Options of `dekhand serve` that override the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--socket`
    pub socket: Option<SocketAddress>,
    /// `--http`
    pub http: Option<HttpChoice>,
    /// `--log-level`
    pub log_level: Option<LogLevel>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
}

impl Overrides {
    /// The option that overrides a setting, if it was given.
    pub(super) fn option_for(&self, setting: &str) -> Option<&'static str> {
        let Self {
            socket,
            http,
            log_level,
            log_format,
        } = self;
        match setting {
            "listen.socket" => socket.as_ref().map(|_| "--socket"),
            "http" | "http.address" => http.map(|_| "--http"),
            "log.level" => log_level.map(|_| "--log-level"),
            "log.format" => log_format.map(|_| "--log-format"),
            _ => None,
        }
    }
}
