//! Bearer tokens (RFC 6750) that Rootcast issues.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use time::Duration;

/// Longest lifetime of a token, whatever its record says: earlier versions stored tokens for up to a year. A refresh
/// token is no bearer token, and lives longer.
pub const LONGEST: Duration = Duration::DAY;

/// `Debug` hides its text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// 320 bits: too many to guess. The base64 of this length ends in `==`: without it, one of the clients that must
    /// work unchanged (PyPI `pyvenafi` 1.1.0) sends no bearer header.
    pub const RANDOM_BYTES: usize = 40;

    pub fn from_random(bytes: &[u8; Self::RANDOM_BYTES]) -> Self {
        Self(STANDARD.encode(bytes))
    }

    /// An existing token.
    pub fn from_text(text: String) -> Self {
        Self(text)
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The only form in which a token is stored.
    pub fn sha256(&self) -> Fingerprint {
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
    use super::*;

    #[test]
    fn tokens_differ_end_in_padding_and_hide_their_text() {
        let (one, other) = (Token::from_random(&[1; 40]), Token::from_random(&[2; 40]));
        assert!(one.expose().ends_with("==") && one.expose().len() == 56);
        assert!(one.expose() != other.expose() && one.sha256() != other.sha256());
        assert_eq!(format!("{one:?}"), "Token");
    }
}
