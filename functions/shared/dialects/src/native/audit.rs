//! Audit chains.

use rootcast_core::audit::{Head, Subject};
use serde::{Deserialize, Serialize};

/// `GET /jobs/{id}/audit` and the other chains, page by page: entries in the order of their sequence numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditChain {
    pub subject: Subject,
    /// Each entry as the text whose SHA-256 the next entry contains.
    pub entries: Vec<String>,
    /// The chain's head when the page was read.
    pub head: Head,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// `GET /audit/heads`, page by page: the signed statements of the chains' heads, in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHeads {
    /// Each as a JWS in the compact serialisation, with the key that signed it.
    pub statements: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
