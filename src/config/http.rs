//! Where the operators' HTTP listens, as operators write it.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::str::FromStr;

/// The port of the operators' HTTP, as liveness probes name it.
const PORT: u16 = 20358;

/// An address, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpChoice {
    /// No operators' HTTP.
    Off,
    /// There.
    At(SocketAddr),
}

impl HttpChoice {
    /// The address, if there is one.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
        }
    }
}

/// Reachable from this machine alone: metrics tell how a cluster is used.
impl Default for HttpChoice {
    fn default() -> Self {
        Self::At((Ipv4Addr::LOCALHOST, PORT).into())
    }
}

/// A text is neither an address nor `off`.
#[derive(Debug, thiserror::Error)]
#[error("expected `off` or IP:PORT, such as 127.0.0.1:20358")]
pub struct NotAnHttpChoice;

impl FromStr for HttpChoice {
    type Err = NotAnHttpChoice;

    fn from_str(text: &str) -> Result<Self, NotAnHttpChoice> {
        match text {
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::At).map_err(|_| NotAnHttpChoice),
        }
    }
}
