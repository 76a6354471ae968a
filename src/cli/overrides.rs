//! The options of `serve` that override the configuration file.

use clap::Args;

use crate::config::HttpChoice;
use crate::config::Overrides;
use crate::listener::options::SocketAddress;
use crate::telemetry::log::LogFormat;
use crate::telemetry::log::LogLevel;

/// Options that override the configuration file.
#[derive(Clone, Debug, Default, Args)]
pub struct OverrideArgs {
    /// Listen on this socket instead: an absolute path or @name
    #[arg(long, value_name = "SOCKET")]
    pub socket: Option<SocketAddress>,
    /// Serve health checks and metrics at this address instead: IP:PORT, or off
    #[arg(long, value_name = "ADDR|off")]
    pub http: Option<HttpChoice>,
    /// Log level: error, warn, info or debug
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// Log format: auto, json or text
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

impl From<&OverrideArgs> for Overrides {
    fn from(args: &OverrideArgs) -> Self {
        let OverrideArgs {
            socket,
            http,
            log_level,
            log_format,
        } = args.clone();
        Self {
            socket,
            http,
            log_level,
            log_format,
        }
    }
}
