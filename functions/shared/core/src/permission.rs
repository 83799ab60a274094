//! What a caller may do beyond what every caller may.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Given to a token or an access key when that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Permission {
    /// Take the private key of a stored certificate out.
    ExportKey,
}

impl Permission {
    pub const ALL: [Self; 1] = [Self::ExportKey];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExportKey => "export-key",
        }
    }
}

/// Text that is no permission.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("there is no such permission; there is: {}", Permission::ALL.map(Permission::as_str).join(", "))]
pub struct NotAPermission;

impl FromStr for Permission {
    type Err = NotAPermission;

    fn from_str(text: &str) -> Result<Self, NotAPermission> {
        Self::ALL.into_iter().find(|permission| permission.as_str() == text).ok_or(NotAPermission)
    }
}

impl TryFrom<String> for Permission {
    type Error = NotAPermission;

    fn try_from(text: String) -> Result<Self, NotAPermission> {
        text.parse()
    }
}

impl From<Permission> for String {
    fn from(permission: Permission) -> Self {
        permission.as_str().to_owned()
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use super::*;

    #[test]
    fn a_permission_is_its_text_and_other_text_is_refused_with_the_names() {
        for permission in Permission::ALL {
            assert_eq!(permission.to_string().parse::<Permission>().unwrap(), permission);
            assert_eq!(serde_json::to_value(permission).unwrap(), permission.as_str());
        }
        assert!("Export-Key".parse::<Permission>().unwrap_err().to_string().contains("export-key"));
    }
}
