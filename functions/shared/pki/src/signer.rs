//! Who signs certificates: the root of a generation, or an issuing authority below it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An issuing authority: the generation of its root, and its number below that root. Written as `2.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IssuingId {
    /// From 1.
    pub generation: u32,
    /// From 1.
    pub number: u32,
}

impl fmt::Display for IssuingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.number)
    }
}

/// A root, or an issuing authority. Written as `2` or `2.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SignerId {
    generation: u32,
    /// `None`: the root itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuing: Option<u32>,
}

impl SignerId {
    pub const fn root(generation: u32) -> Self {
        Self { generation, issuing: None }
    }

    /// The root's generation.
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// `None`: the root itself.
    pub const fn issuing(self) -> Option<IssuingId> {
        match self.issuing {
            Some(number) => Some(IssuingId { generation: self.generation, number }),
            None => None,
        }
    }

    pub const fn is_root(self) -> bool {
        self.issuing.is_none()
    }
}

impl From<IssuingId> for SignerId {
    fn from(id: IssuingId) -> Self {
        Self { generation: id.generation, issuing: Some(id.number) }
    }
}

impl fmt::Display for SignerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.issuing() {
            Some(id) => id.fmt(f),
            None => self.generation.fmt(f),
        }
    }
}

/// The text names no signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a root is named by its generation, like 2, and an issuing authority by a number behind it, like 2.1; both count from 1"
)]
pub struct NotASigner;

impl FromStr for SignerId {
    type Err = NotASigner;

    /// Accepts only the canonical spelling.
    fn from_str(text: &str) -> Result<Self, NotASigner> {
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0).ok_or(NotASigner);
        let read = match text.split_once('.') {
            Some((generation, issuing)) => Self { generation: number(generation)?, issuing: Some(number(issuing)?) },
            None => Self::root(number(text)?),
        };
        if read.to_string() == text { Ok(read) } else { Err(NotASigner) }
    }
}

impl FromStr for IssuingId {
    type Err = NotASigner;

    fn from_str(text: &str) -> Result<Self, NotASigner> {
        text.parse::<SignerId>()?.issuing().ok_or(NotASigner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use super::*;

    #[test]
    fn a_signer_is_read_as_it_is_written() {
        for text in ["1", "2.1", "4294967295.4294967295"] {
            assert_eq!(text.parse::<SignerId>().unwrap().to_string(), text);
        }
        assert_eq!("2.3".parse::<IssuingId>(), Ok(IssuingId { generation: 2, number: 3 }));
        for text in ["", "0", "2.0", "0.1", "02", "2.01", "+2", "2.", ".1", "2.1.1", "G2", "4294967296"] {
            assert_eq!(text.parse::<SignerId>(), Err(NotASigner), "{text}");
        }
        assert_eq!("2".parse::<IssuingId>(), Err(NotASigner));
    }

    #[test]
    fn the_record_of_a_root_has_its_generation_only() {
        let root = serde_json::to_string(&SignerId::root(2)).unwrap();
        assert_eq!(root, r#"{"generation":2}"#);
        let below: SignerId = serde_json::from_str(r#"{"generation":2,"issuing":1}"#).unwrap();
        assert_eq!(below.issuing(), Some(IssuingId { generation: 2, number: 1 }));
    }
}
