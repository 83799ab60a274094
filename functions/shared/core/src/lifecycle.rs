//! The stages through which a certificate goes on its way to a device, by Venafi's numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A stage of work. Written as its number, which is Venafi Trust Protection Platform's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum Stage {
    /// The device is given the certificate.
    InstallCertificate,
    /// What the device shows on a new connection is compared with what it was given.
    CheckConfiguration,
}

impl Stage {
    const ALL: [Self; 2] = [Self::InstallCertificate, Self::CheckConfiguration];

    pub const fn number(self) -> u16 {
        match self {
            Self::InstallCertificate => 800,
            Self::CheckConfiguration => 900,
        }
    }
}

impl TryFrom<u16> for Stage {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, String> {
        Self::ALL.into_iter().find(|stage| stage.number() == number).ok_or_else(|| format!("no stage is {number}"))
    }
}

impl From<Stage> for u16 {
    fn from(stage: Stage) -> Self {
        stage.number()
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}
