//! How a token is named: by label or serial, since slot numbers change.

use serde::Deserialize;
use serde::Serialize;

/// Which token, by what the token says of itself. What is not given matches every token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenName {
    /// `CK_TOKEN_INFO.label`, without the padding.
    pub label: Option<String>,
    /// `CK_TOKEN_INFO.serialNumber`, without the padding.
    pub serial: Option<String>,
    /// `CK_TOKEN_INFO.manufacturerID`, without the padding.
    pub manufacturer: Option<String>,
    /// `CK_TOKEN_INFO.model`, without the padding.
    pub model: Option<String>,
}
