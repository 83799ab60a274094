//! Venafi's GUID of a certificate.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::inventory::id::CertificateId;

/// `{726f6f74-6361-8000-8000-01749a1c77e2}`: a certificate's id as a UUID of version 8 (RFC 9562 §5.8), so that each
/// can be computed from the other. Parsed in any letter case, with or without braces, as Venafi's clients send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CertificateGuid(pub CertificateId);

/// The common prefix, with version and variant. The id's number follows.
const PREFIX: &str = "726f6f74-6361-8000-8000-";
/// Hexadecimal digits after the prefix.
const DIGITS: usize = 12;

/// The text is not a certificate's GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no certificate has this GUID")]
pub struct NotACertificateGuid;

impl FromStr for CertificateGuid {
    type Err = NotACertificateGuid;

    fn from_str(text: &str) -> Result<Self, NotACertificateGuid> {
        let bare = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        let lower = bare.to_ascii_lowercase();
        let digits = lower.strip_prefix(PREFIX).filter(|digits| digits.len() == DIGITS).ok_or(NotACertificateGuid)?;
        // `from_str_radix` would accept a sign.
        let digits = Some(digits).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or(NotACertificateGuid)?;
        CertificateId::from_number(number).map(Self).ok_or(NotACertificateGuid)
    }
}

impl fmt::Display for CertificateGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{PREFIX}{:0DIGITS$x}}}", self.0.number())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guid(id: &str) -> String {
        CertificateGuid(id.parse().unwrap()).to_string()
    }

    #[test]
    fn a_guid_is_a_uuid_of_version_8_in_braces() {
        assert_eq!(guid("scs0000000000000"), "{726f6f74-6361-8000-8000-000000000000}");
        assert_eq!(guid("scs1600313391074"), "{726f6f74-6361-8000-8000-01749a1c77e2}");
        assert_eq!(guid("scs9999999999999"), "{726f6f74-6361-8000-8000-09184e729fff}");
    }

    #[test]
    fn guids_of_other_objects_are_refused() {
        for text in [
            "",
            "{}",
            "scs1600313391074",
            "{726f6f74-6361-8000-8000-01749a1c77e2",
            "726f6f74-6361-8000-8000-01749a1c77e",
            "726f6f74-6361-8000-8000-+1749a1c77e2",
            "{726f6f74-6361-4000-8000-01749a1c77e2}",
            // 10^13: one more than the last id.
            "{726f6f74-6361-8000-8000-09184e72a000}",
        ] {
            assert_eq!(text.parse::<CertificateGuid>(), Err(NotACertificateGuid), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_id_round_trips_through_its_guid(random: [u8; 16]) {
            let guid = CertificateGuid(CertificateId::from_random(random));
            let text = guid.to_string();
            prop_assert_eq!(text.parse(), Ok(guid));
            prop_assert_eq!(text.to_ascii_uppercase().trim_matches(['{', '}']).parse(), Ok(guid));
        }

        #[test]
        fn parsed_guids_round_trip(text in "\\{?726f6f74-6361-8000-8000-[0-9A-Fa-f]{12}\\}?|\\PC*") {
            if let Ok(guid) = text.parse::<CertificateGuid>() {
                let (written, read) = (guid.to_string(), text.to_ascii_lowercase());
                prop_assert_eq!(written.trim_matches(['{', '}']), read.trim_matches(['{', '}']));
            }
        }
    }
}
