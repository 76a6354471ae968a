//! The address of the operators' HTTP server, as the configuration has it.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::MapAccess;

use crate::config::yaml::FromYaml;
use crate::config::yaml::Optional;
use crate::config::yaml::Section;
use crate::config::yaml::Wrong;
use crate::config::yaml::YamlNode;

/// The default port of the operators' HTTP server; liveness probes name it.
const PORT: u16 = 20358;

/// An address, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpChoice {
    /// No HTTP server.
    Off,
    /// At this address.
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

/// Reachable only from this machine: metrics reveal how a cluster is used.
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

impl FromYaml for HttpChoice {
    fn expected() -> String {
        "`off` or `{address: IP:PORT}`".to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Text("off") => Ok(Self::Off),
            YamlNode::Text(text) if text.parse::<Self>().is_ok() => {
                Err(Wrong::hint("write the address as `http: {address: IP:PORT}`"))
            }
            YamlNode::Flag(false) => Err(Wrong::hint("write `http: off`")),
            _ => Err(Wrong::default()),
        }
    }

    fn read_section<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let Section(HttpSection { address }) = Section::read_section(map)?;
        Ok(address
            .0
            .map_or_else(Self::default, |Address(address)| Self::At(address)))
    }
}

/// The section `http`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpSection {
    address: Optional<Address>,
}

/// The address of the operators' HTTP server.
#[derive(Debug)]
struct Address(SocketAddr);

impl FromYaml for Address {
    fn expected() -> String {
        "an IP address and a port, such as 127.0.0.1:20358 or \"[::1]:20358\"".to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Text(text) => match text.parse::<SocketAddr>() {
                Ok(address) if address.port() == 0 => {
                    Err(Wrong::hint("port 0 means any port, which no probe could find"))
                }
                Ok(address) => Ok(Self(address)),
                Err(_) => {
                    Err(Wrong(text.starts_with("localhost").then(|| {
                        "host names are not resolved; write 127.0.0.1 or [::1]".to_owned()
                    })))
                }
            },
            _ => Err(Wrong::default()),
        }
    }
}
