//! Where a certificate is kept: its name, its folder, and the enterprise project of the vendor's API.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::device::DeviceId;

/// A certificate's name within its folder, as in Huawei Cloud: 3 to 63 of `A-Z a-z 0-9 _ . -`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateName(Cow<'static, str>);

/// Venafi's path to a certificate, below `\VED\Policy`: parts separated by backslashes. A part has 1 to 64 of the
/// characters of a name; spaces are allowed inside. A device's id is a valid part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder(String);

/// Huawei Cloud's enterprise project: `all`, `0` (the default) or an id of 36 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnterpriseProject(String);

#[derive(Debug, Error, PartialEq, Eq)]
#[error("a name has 3 to 63 characters: letters A to Z, digits, underscores, full stops and hyphens")]
pub struct InvalidName;

#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "a folder is 1 to {DEEPEST} parts between backslashes, each of 1 to 64 letters A to Z, digits, underscores, full \
     stops, hyphens, and spaces within"
)]
pub struct InvalidFolder;

#[derive(Debug, Error, PartialEq, Eq)]
#[error("a project is all, 0 or an id of 36 characters such as 5ad1a2c0-9f30-4d18-8d4d-2a1f0d4e6b7c")]
pub struct InvalidProject;

/// Used if no folder is given.
const DEFAULT_FOLDER: &str = "Certificates";
const LONGEST: usize = 63;
const LONGEST_PART: usize = 64;
/// Most parts of a folder: with the longest parts, a path of 519 characters.
const DEEPEST: usize = 8;
/// Lengths of the groups of a UUID between its hyphens.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

impl FromStr for CertificateName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let fits = (3..=LONGEST).contains(&text.len()) && text.chars().all(is_plain);
        if fits { Ok(Self(text.to_owned().into())) } else { Err(InvalidName) }
    }
}

impl FromStr for Folder {
    type Err = InvalidFolder;

    fn from_str(text: &str) -> Result<Self, InvalidFolder> {
        let fits = |part: &str| {
            (1..=LONGEST_PART).contains(&part.len())
                && part.chars().all(|c| is_plain(c) || c == ' ')
                && part.trim_matches(' ') == part
        };
        let is_folder = text.split('\\').all(fits) && text.split('\\').count() <= DEEPEST;
        if is_folder { Ok(Self(text.to_owned())) } else { Err(InvalidFolder) }
    }
}

impl CertificateName {
    /// The name of a device's own certificate, in the device's folder.
    pub(crate) const OWN: Self = Self(Cow::Borrowed("certificate"));
}

impl Folder {
    /// A device's folder, below the folder of all devices. A device id is always a valid part.
    pub(crate) fn of_device(devices: &'static str, device: &DeviceId) -> Self {
        Self(format!("{devices}\\{device}"))
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self(DEFAULT_FOLDER.to_owned())
    }
}

impl FromStr for EnterpriseProject {
    type Err = InvalidProject;

    /// The vendor's pattern of an id: `^[0-9a-z]{8}-[0-9a-z]{4}-[0-9a-z]{4}-[0-9a-z]{4}-[0-9a-z]{12}$`.
    fn from_str(text: &str) -> Result<Self, InvalidProject> {
        let is_id = || {
            text.split('-').map(str::len).eq(GROUPS)
                && text.chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase() || c == '-')
        };
        if matches!(text, "all" | "0") || is_id() { Ok(Self(text.to_owned())) } else { Err(InvalidProject) }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for EnterpriseProject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_follow_the_vendors_rules() {
        let (shortest, longest) = ("a.b", "x".repeat(63));
        for text in ["test_cert", "web-1.example.com", shortest, &longest] {
            assert_eq!(text.parse::<CertificateName>().map(|name| name.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "ab", &"x".repeat(64), "a b", "a\\b", "a/b", "na\u{ef}ve", "a#b", "abc\n"] {
            assert_eq!(text.parse::<CertificateName>(), Err(InvalidName), "{text}");
        }
    }

    #[test]
    fn a_folder_is_parts_between_backslashes() {
        let deepest = ["x"; 8].join("\\");
        for text in ["Certificates", r"Servers\Berlin 2\Web", "0", &deepest] {
            assert_eq!(text.parse::<Folder>().map(|folder| folder.to_string()), Ok(text.to_owned()));
        }
        for text in ["", r"\", r"\VED\Policy", r"a\", r"a\\b", " a", "a ", r"a\ b", "a#b", "a/b", &["x"; 9].join("\\")]
        {
            assert_eq!(text.parse::<Folder>(), Err(InvalidFolder), "{text}");
        }
        assert_eq!(Folder::default().to_string().parse::<Folder>(), Ok(Folder::default()));
    }

    #[test]
    fn a_project_is_all_the_default_or_an_id() {
        for text in ["all", "0", "5ad1a2c0-9f30-4d18-8d4d-2a1f0d4e6b7c", "zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz"] {
            assert_eq!(text.parse::<EnterpriseProject>().map(|project| project.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "1", "ALL", "5AD1A2C0-9f30-4d18-8d4d-2a1f0d4e6b7c", &"a".repeat(36)] {
            assert_eq!(text.parse::<EnterpriseProject>(), Err(InvalidProject), "{text}");
        }
    }

    proptest! {
        /// The ledger joins folder and name with a backslash: neither may contain the separator ambiguously.
        #[test]
        fn a_joined_path_parses_in_one_way_only(folder: String, name in r"[ -~]{0,64}") {
            if let (Ok(folder), Ok(name)) = (folder.parse::<Folder>(), name.parse::<CertificateName>()) {
                let place = format!("{folder}\\{name}");
                prop_assert_eq!(place.rsplit_once('\\'), Some((&*folder.to_string(), &*name.to_string())));
            }
        }
    }
}
