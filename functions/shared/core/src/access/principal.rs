//! The name of an API user who logs in with a password.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// 1 to 64 ASCII letters, digits, and `.`, `_`, `-`, `@`. Case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrincipalName(String);

/// The text is not a valid name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a principal's name is 1 to 64 letters and digits, and . _ - @ among them")]
pub struct NotAPrincipalName;

impl PrincipalName {
    const LONGEST: usize = 64;

    /// The name of a principal that is to be added, with a letter or digit in it. Clients resolve `.` and `..` in a
    /// path, so no request could name such a principal again.
    pub fn to_add(text: &str) -> Result<Self, NotAPrincipalName> {
        let plain = text.bytes().any(|byte| byte.is_ascii_alphanumeric());
        if plain { text.parse() } else { Err(NotAPrincipalName) }
    }
}

impl FromStr for PrincipalName {
    type Err = NotAPrincipalName;

    fn from_str(text: &str) -> Result<Self, NotAPrincipalName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
        let valid = (1..=Self::LONGEST).contains(&text.len()) && text.bytes().all(allowed);
        valid.then(|| Self(text.to_owned())).ok_or(NotAPrincipalName)
    }
}

rootcast_pki::as_text!(PrincipalName);

impl fmt::Display for PrincipalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for text in ["a", "cert-manager@prod", "j.doe_2", &"x".repeat(64)] {
            assert_eq!(text.parse().map(|name: PrincipalName| name.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "a b", "local:admin", "a#b", "é", "a\n", &"x".repeat(65)] {
            assert_eq!(text.parse::<PrincipalName>(), Err(NotAPrincipalName), "{text}");
        }
    }

    #[test]
    fn a_new_name_has_a_letter_or_digit() {
        assert!(PrincipalName::to_add("_7").is_ok());
        for text in [".", "..", "@", "", "a b"] {
            assert_eq!(PrincipalName::to_add(text), Err(NotAPrincipalName), "{text}");
        }
        assert!("..".parse::<PrincipalName>().is_ok(), "a stored name is read");
    }
}
