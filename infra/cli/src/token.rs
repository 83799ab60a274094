//! Bearer tokens.

use std::fmt;

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use rootcast_core::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};

/// 320 bits: a third more than any search could go through, and a length whose base64 ends in `==`, without which one of
/// the clients that have to work unchanged sends no bearer header.
const RANDOM_BYTES: usize = 40;

/// Shows itself nowhere but where it is meant to go.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Token(String);

impl Token {
    pub(crate) fn random() -> Result<Self> {
        let mut bytes = [0; RANDOM_BYTES];
        getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
        Ok(Self(STANDARD.encode(bytes)))
    }

    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// All that is stored of it on the other side.
    pub(crate) fn sha256(&self) -> Fingerprint {
        Fingerprint::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::Token;

    #[test]
    fn tokens_differ_end_in_padding_and_hide() {
        let (one, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert!(one.expose().ends_with("==") && one.expose().len() == 56);
        assert_ne!(one.expose(), other.expose());
        assert_eq!(format!("{one:?}"), "Token");
    }
}
