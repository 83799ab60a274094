//! What a caller may do: rights on everything below a distinguished name (DN), and operations that apply everywhere.
//!
//! Every resource has a DN: a certificate its own, a device [`application_dn`](crate::inventory::dn::application_dn),
//! roots and bundles [`ROOTS`], jobs [`JOBS`], callers [`PRINCIPALS`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::device::DeviceId;
use crate::inventory::dn::{self, device_of_application};

/// The DN above all others.
pub const EVERYTHING: &str = r"\VED\Policy";
/// Root generations, bundles, and the policy of the next root.
pub const ROOTS: &str = r"\VED\Policy\Roots";
/// Jobs of either kind.
pub const JOBS: &str = r"\VED\Policy\Jobs";
/// All devices.
pub const DEVICES: &str = r"\VED\Policy\Devices";
/// API users.
pub const PRINCIPALS: &str = r"\VED\Policy\Principals";

/// Declares an enum and the word that stands for each variant.
macro_rules! words {
    (
        $(#[$about:meta])* $name:ident or $error:ident, $refusal:literal:
        $($(#[$of:meta])* $word:ident = $text:literal),+ $(,)?
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$of])* $word),+ }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$word),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => $text),+ }
            }
        }

        /// The text is not one of the words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
        #[error("{}; there is: {}", $refusal, [$($text),+].join(", "))]
        pub struct $error;

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or($error)
            }
        }

        rootcast_pki::as_text!($name);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// A right on a resource. A resource that a caller may not read looks as if it did not exist.
    Right or NotARight, "there is no such right":
    Read = "read",
    Write = "write",
    Create = "create",
    Delete = "delete",
    /// All other rights.
    Manage = "manage",
}

words! {
    /// An operation that no right implies, on any DN.
    Operation or NotAnOperation, "there is no such permission":
    /// Create a root, and set the policies: of the next root, and of the names that certificates may carry.
    Regenerate = "regenerate",
    /// Approve a device's identity: where its credential is sent, which certificate it shows, and which name it gets.
    ApproveDevice = "approve-device",
    /// Let a root sign before every device has proven that it holds it: waive devices, take them out of the fleet while
    /// a rollover waits for them, or activate at once.
    Activate = "activate",
    /// Abort a rollover.
    Abort = "abort",
    /// Export the private key of a stored certificate.
    ExportKey = "export-key",
    /// Manage API users and their credentials.
    AdministerAccess = "administer-access",
}

words! {
    /// A named set of rights and operations. Roles are stored as explicit rights, so a later change of a role does not
    /// change the principals that already have it.
    Role or NotARole, "there is no such role":
    /// Read everything.
    Reader = "reader",
    /// Read, write, create and delete everything.
    Operator = "operator",
    /// Everything, and every operation.
    Administrator = "administrator",
}

/// A DN that stands for itself and everything below it: `\VED\Policy`, `\VED\Policy\Servers`. Not case-sensitive,
/// except for the id of a device: the ids of an earlier fleet may differ only in letter case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DnPrefix(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    r"a prefix is \VED\Policy, or begins with it and goes on in parts between backslashes, each of 1 to 64 letters A to \
      Z, digits, underscores, full stops, hyphens, and spaces within"
)]
pub struct NotADnPrefix;

impl DnPrefix {
    /// In characters, as for a folder.
    const LONGEST_PART: usize = 64;
    /// Parts: two for the tree, eight for a folder, one for a name.
    const DEEPEST: usize = 11;
    /// The place of a device's id among the parts, of which the first is empty.
    const DEVICE: usize = 4;

    pub(crate) fn everything() -> Self {
        Self(EVERYTHING.to_owned())
    }

    pub fn is_same(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }

    /// Number of parts: of two prefixes that cover a DN, the deeper one is more specific.
    pub fn depth(&self) -> usize {
        self.0.split('\\').count()
    }

    /// Compares part by part, so `\VED\Policy\Web` does not cover `\VED\Policy\Website`.
    pub fn covers(&self, dn: &str) -> bool {
        let (mut parts, mut above) = (dn.split('\\'), "");
        self.0.split('\\').enumerate().all(|(at, part)| {
            let is_device = at == Self::DEVICE && above.eq_ignore_ascii_case(dn::DEVICES);
            above = part;
            parts.next().is_some_and(|other| other == part || (!is_device && other.eq_ignore_ascii_case(part)))
        })
    }
}

impl DnPrefix {
    /// The device that the prefix stands for, with what is below it.
    pub fn device(&self) -> Option<DeviceId> {
        device_of_application(&self.0)
    }

    /// The parts below the tree of everything.
    pub fn path(&self) -> &str {
        self.0.get(EVERYTHING.len()..).unwrap_or_default().trim_start_matches('\\')
    }
}

impl FromStr for DnPrefix {
    type Err = NotADnPrefix;

    fn from_str(text: &str) -> Result<Self, NotADnPrefix> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | ' ');
        let fits = |part: &str| {
            (1..=Self::LONGEST_PART).contains(&part.len()) && part.chars().all(plain) && part.trim_matches(' ') == part
        };
        let path = text.strip_prefix('\\').ok_or(NotADnPrefix)?;
        let prefix = Self(text.to_owned());
        let is_below = Self::everything().covers(text);
        (is_below && path.split('\\').all(fits) && path.split('\\').count() <= Self::DEEPEST)
            .then_some(prefix)
            .ok_or(NotADnPrefix)
    }
}

rootcast_pki::as_text!(DnPrefix);

impl fmt::Display for DnPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Rights below a prefix, written `\VED\Policy\Servers=read,write`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub prefix: DnPrefix,
    pub rights: BTreeSet<Right>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotAGrant {
    #[error(r"a grant is a prefix, an equals sign, and rights between commas: \VED\Policy\Servers=read,write")]
    Form,
    #[error(transparent)]
    Prefix(#[from] NotADnPrefix),
    #[error(transparent)]
    Right(#[from] NotARight),
}

impl FromStr for Grant {
    type Err = NotAGrant;

    fn from_str(text: &str) -> Result<Self, NotAGrant> {
        let (prefix, rights) = text.split_once('=').ok_or(NotAGrant::Form)?;
        let rights = rights.split(',').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { prefix: prefix.parse()?, rights })
    }
}

rootcast_pki::as_text!(Grant);

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rights: Vec<&str> = self.rights.iter().map(|right| right.as_str()).collect();
        write!(f, "{}={}", self.prefix, rights.join(","))
    }
}

/// Which devices a caller reads: all of them, or those that a grant names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DevicesSeen {
    All,
    Named(BTreeSet<DeviceId>),
}

/// Which certificates a caller reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificatesSeen {
    All,
    Some {
        /// Those of every device.
        of_devices: bool,
        /// Those below these prefixes, of which none covers another one, and none all devices.
        below: Vec<DnPrefix>,
    },
}

/// All rights and operations of a caller. Everything else is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    #[serde(default)]
    rights: BTreeMap<DnPrefix, BTreeSet<Right>>,
    #[serde(default)]
    operations: BTreeSet<Operation>,
}

impl Grants {
    /// The grants of a new principal: an operator's rights if neither a role nor a grant is given.
    pub fn given(role: Option<Role>, grants: Vec<Grant>, operations: Vec<Operation>) -> Self {
        let role = role.or_else(|| grants.is_empty().then_some(Role::Operator));
        let mut given = role.map(Self::from).unwrap_or_default();
        grants.into_iter().for_each(|grant| given.add(grant));
        operations.into_iter().for_each(|operation| given.permit(operation));
        given
    }

    /// Whether `right` is granted on this DN.
    pub fn allow(&self, right: Right, dn: &str) -> bool {
        let has = |rights: &BTreeSet<Right>| rights.contains(&right) || rights.contains(&Right::Manage);
        self.rights.iter().any(|(prefix, rights)| has(rights) && prefix.covers(dn))
    }

    /// The devices that can be read, without a look at any of them: a list reads no others.
    pub fn devices_seen(&self) -> DevicesSeen {
        if self.allow(Right::Read, DEVICES) {
            return DevicesSeen::All;
        }
        DevicesSeen::Named(self.read_below().filter_map(DnPrefix::device).collect())
    }

    /// The certificates that can be read, without a look at any of them.
    pub fn certificates_seen(&self) -> CertificatesSeen {
        if self.allow(Right::Read, EVERYTHING) {
            return CertificatesSeen::All;
        }
        let of_devices = self.allow(Right::Read, DEVICES);
        let is_extra = |prefix: &&DnPrefix| !of_devices || !dn::is_of_devices(prefix.path());
        let mut below: Vec<DnPrefix> = Vec::new();
        // The shallower ones first.
        let mut prefixes: Vec<&DnPrefix> = self.read_below().filter(is_extra).collect();
        prefixes.sort_by_key(|prefix| prefix.depth());
        for prefix in prefixes {
            if !below.iter().any(|above| above.covers(&prefix.0)) {
                below.push(prefix.clone());
            }
        }
        CertificatesSeen::Some { of_devices, below }
    }

    fn read_below(&self) -> impl Iterator<Item = &DnPrefix> {
        let reads = |rights: &BTreeSet<Right>| rights.contains(&Right::Read) || rights.contains(&Right::Manage);
        self.rights.iter().filter(move |(_, rights)| reads(rights)).map(|(prefix, _)| prefix)
    }

    pub fn may(&self, operation: Operation) -> bool {
        self.operations.contains(&operation)
    }

    /// Adds to the existing grants.
    pub fn add(&mut self, Grant { prefix, rights }: Grant) {
        self.rights.entry(prefix).or_default().extend(rights);
    }

    /// Adds to the existing operations.
    pub fn permit(&mut self, operation: Operation) {
        self.operations.insert(operation);
    }

    /// The grants, one for each prefix.
    pub fn grants(&self) -> impl Iterator<Item = Grant> {
        self.rights.iter().map(|(prefix, rights)| Grant { prefix: prefix.clone(), rights: rights.clone() })
    }

    pub fn operations(&self) -> impl Iterator<Item = Operation> {
        self.operations.iter().copied()
    }

    /// Keeps only the rights and operations that pass. [`Right::Manage`] is expanded into the other rights first.
    pub(crate) fn narrowed(&self, right: impl Fn(Right) -> bool, operation: impl Fn(Operation) -> bool) -> Self {
        let narrow = |rights: &BTreeSet<Right>| -> BTreeSet<Right> {
            let given = |each: &Right| rights.contains(each) || rights.contains(&Right::Manage);
            let parts = Right::ALL.iter().copied().filter(|each| *each != Right::Manage);
            parts.filter(|each| given(each) && right(*each)).collect()
        };
        Self {
            rights: self.rights.iter().map(|(prefix, rights)| (prefix.clone(), narrow(rights))).collect(),
            operations: self.operations().filter(|each| operation(*each)).collect(),
        }
    }
}

impl From<Role> for Grants {
    fn from(role: Role) -> Self {
        let rights: &[Right] = match role {
            Role::Reader => &[Right::Read],
            Role::Operator => &[Right::Read, Right::Write, Right::Create, Right::Delete],
            Role::Administrator => &[Right::Manage],
        };
        let operations: &[Operation] = if role == Role::Administrator { Operation::ALL } else { &[] };
        Self {
            rights: [(DnPrefix::everything(), rights.iter().copied().collect())].into(),
            operations: operations.iter().copied().collect(),
        }
    }
}

#[cfg(test)]
#[path = "permission_tests.rs"]
mod tests;
