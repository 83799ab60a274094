//! The id of a stored certificate.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::device::SHARDS;

/// `scs` and 13 decimal digits, like the certificate ids of Huawei Cloud's SCM. Random, so that ids can be made
/// anywhere and reveal nothing; a conditional write makes them unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificateId(u64);

const PREFIX: &str = "scs";
const DIGITS: usize = 13;
const IDS: u128 = 10_u128.pow(DIGITS as u32);

impl CertificateId {
    pub const fn from_random(random: [u8; 16]) -> Self {
        Self((u128::from_be_bytes(random) % IDS) as u64)
    }

    pub const fn number(self) -> u64 {
        self.0
    }

    /// `None` if the number has more digits than an id.
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        (u128::from(number) < IDS).then_some(Self(number))
    }

    /// The certificate's shard in the lists. Certificates are spread evenly over as many partitions as devices.
    pub const fn shard(self) -> u8 {
        (self.0 % SHARDS as u64) as u8
    }
}

/// Venafi's distinguished name of a certificate.
pub fn policy_dn(folder: &str, name: &str) -> String {
    format!(r"\VED\Policy\{folder}\{name}")
}

/// Text that is not an id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a certificate id is scs and 13 digits")]
pub struct NotACertificateId;

impl FromStr for CertificateId {
    type Err = NotACertificateId;

    fn from_str(text: &str) -> Result<Self, NotACertificateId> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == DIGITS).ok_or(NotACertificateId)?;
        if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(NotACertificateId);
        }
        digits.parse().map(Self).map_err(|_| NotACertificateId)
    }
}

rootcast_pki::as_text!(CertificateId);

impl fmt::Display for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:0DIGITS$}", self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_scs_and_thirteen_digits() {
        for text in ["scs1600313391074", "scs0000000000000", "scs9999999999999"] {
            assert_eq!(text.parse::<CertificateId>().unwrap().to_string(), text);
        }
        for text in
            ["", "scs", "scs160031339107", "scs16003133910740", "SCS1600313391074", "scs+600313391074", "root#1"]
        {
            assert_eq!(text.parse::<CertificateId>(), Err(NotACertificateId), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_random_bytes_make_an_id(random: [u8; 16]) {
            let id = CertificateId::from_random(random);
            prop_assert_eq!(id.to_string().parse::<CertificateId>().unwrap(), id);
            prop_assert!(id.shard() < SHARDS);
        }
    }
}
