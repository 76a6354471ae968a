//! The options of `serve` that override the configuration file.

use clap::Args;

use crate::config::HttpChoice;
use crate::config::Overrides;
use crate::listener::options::NotASocketAddress;
use crate::listener::options::SocketAddress;
use crate::telemetry::log::LogFormat;
use crate::telemetry::log::LogLevel;

/// The socket that a command's option names. A path may be relative to the working directory.
pub(super) fn socket(text: &str) -> Result<SocketAddress, String> {
    if text.is_empty() || text.starts_with(['/', '@']) {
        return text.parse().map_err(|error: NotASocketAddress| error.to_string());
    }
    let path = std::path::absolute(text).map_err(|error| error.to_string())?;
    let path = path.to_str().ok_or("the working directory's path is not UTF-8")?;
    path.parse().map_err(|error: NotASocketAddress| error.to_string())
}

/// Options that override the configuration file.
#[derive(Clone, Debug, Default, Args)]
pub struct OverrideArgs {
    /// Listen on this socket instead: a path or @name
    #[arg(long, value_name = "SOCKET", value_parser = socket)]
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
