//! The installation that a record or a KMS key belongs to. A stack that is recreated under the same name is a new
//! installation.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Random, created with the installation's first write. Its KMS keys carry it as a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstallationId([u8; 16]);

/// Text that is not an installation's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an installation's id has 32 hexadecimal digits in lower case")]
pub struct NotAnInstallationId;

impl InstallationId {
    pub const fn from_random(random: [u8; 16]) -> Self {
        Self(random)
    }
}

impl fmt::Display for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for InstallationId {
    type Err = NotAnInstallationId;

    fn from_str(text: &str) -> Result<Self, NotAnInstallationId> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAnInstallationId)?;
        // Each id has one spelling only.
        Some(Self(bytes)).filter(|id| id.to_string() == text).ok_or(NotAnInstallationId)
    }
}

rootcast_pki::as_text!(InstallationId);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = InstallationId::from_random([0xab; 16]);
        assert_eq!("ab".repeat(16).parse(), Ok(id));
        assert_eq!(serde_json::to_value(id).unwrap(), "ab".repeat(16));
        for text in ["", "ab", &"AB".repeat(16), &"ab".repeat(17), &"xy".repeat(16)] {
            assert_eq!(text.parse::<InstallationId>(), Err(NotAnInstallationId), "{text}");
        }
    }
}
