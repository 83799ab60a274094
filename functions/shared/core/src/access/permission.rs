//! What a caller may do: rights on everything below a distinguished name, and operations that stand alone.
//!
//! Everything that is kept here has such a name: a certificate its own, a device
//! [`application_dn`](crate::inventory::dn::application_dn), roots with bundles [`ROOTS`], jobs [`JOBS`], callers
//! [`PRINCIPALS`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Above everything.
pub const EVERYTHING: &str = r"\VED\Policy";
/// Root generations, bundles, and the policy of the next root.
pub const ROOTS: &str = r"\VED\Policy\Roots";
/// Jobs of either kind.
pub const JOBS: &str = r"\VED\Policy\Jobs";
/// Who may call.
pub const PRINCIPALS: &str = r"\VED\Policy\Principals";

/// An enum of words, each with its text.
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

        /// Text that is none.
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
    /// What may be done with what has a name. What may not be read looks as if it were not there.
    Right or NotARight, "there is no such right":
    Read = "read",
    Write = "write",
    Create = "create",
    Delete = "delete",
    /// All the others.
    Manage = "manage",
}

words! {
    /// What no right implies, whatever it reaches.
    Operation or NotAnOperation, "there is no such permission":
    /// Make a root, and choose with what the next one is made.
    Regenerate = "regenerate",
    /// Let a root sign before every device has proven that it holds it: waive devices, activate at once.
    Activate = "activate",
    /// Take a new root back.
    Abort = "abort",
    /// Take the private key of a stored certificate out.
    ExportKey = "export-key",
    /// Say who may call.
    AdministerAccess = "administer-access",
}

words! {
    /// A name for a set of rights and operations; what it stood for when it was given is what is kept.
    Role or NotARole, "there is no such role":
    /// Read everything.
    Reader = "reader",
    /// Read, write, create and delete everything.
    Operator = "operator",
    /// Everything, and every operation.
    Administrator = "administrator",
}

/// A distinguished name, for itself and all that lies below it: `\VED\Policy`, `\VED\Policy\Servers`. Letter case means
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DnPrefix(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    r"a prefix is \VED\Policy, or begins with it and goes on in parts between backslashes, each of 1 to 64 letters A to \
      Z, digits, underscores, full stops, hyphens, and spaces within"
)]
pub struct NotADnPrefix;

impl DnPrefix {
    /// In characters; a folder's.
    const LONGEST_PART: usize = 64;
    /// Parts: the tree's two, a folder's eight and a name.
    const DEEPEST: usize = 11;

    /// Part by part, so that `\VED\Policy\Web` does not cover `\VED\Policy\Website`.
    pub fn covers(&self, dn: &str) -> bool {
        let mut parts = dn.split('\\');
        self.0.split('\\').all(|part| parts.next().is_some_and(|other| other.eq_ignore_ascii_case(part)))
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
        let is_below = Self(EVERYTHING.to_owned()).covers(text);
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

/// All that a caller may do; nothing where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    #[serde(default)]
    rights: BTreeMap<DnPrefix, BTreeSet<Right>>,
    #[serde(default)]
    operations: BTreeSet<Operation>,
}

impl Grants {
    /// What somebody is given who is let in: an operator's rights where neither a role nor a grant is said.
    pub fn given(role: Option<Role>, grants: Vec<Grant>, operations: Vec<Operation>) -> Self {
        let role = role.or_else(|| grants.is_empty().then_some(Role::Operator));
        let mut given = role.map(Self::from).unwrap_or_default();
        grants.into_iter().for_each(|grant| given.add(grant));
        operations.into_iter().for_each(|operation| given.permit(operation));
        given
    }

    /// Whether `right` is given on what has this name.
    pub fn allow(&self, right: Right, dn: &str) -> bool {
        let has = |rights: &BTreeSet<Right>| rights.contains(&right) || rights.contains(&Right::Manage);
        self.rights.iter().any(|(prefix, rights)| has(rights) && prefix.covers(dn))
    }

    pub fn may(&self, operation: Operation) -> bool {
        self.operations.contains(&operation)
    }

    /// What was there stays.
    pub fn add(&mut self, Grant { prefix, rights }: Grant) {
        self.rights.entry(prefix).or_default().extend(rights);
    }

    /// What was there stays.
    pub fn permit(&mut self, operation: Operation) {
        self.operations.insert(operation);
    }

    /// What is given, prefix by prefix.
    pub fn grants(&self) -> impl Iterator<Item = Grant> {
        self.rights.iter().map(|(prefix, rights)| Grant { prefix: prefix.clone(), rights: rights.clone() })
    }

    pub fn operations(&self) -> impl Iterator<Item = Operation> {
        self.operations.iter().copied()
    }

    /// The same with those rights and operations alone that pass; [`Right::Manage`] is taken for the others.
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
            rights: [(DnPrefix(EVERYTHING.to_owned()), rights.iter().copied().collect())].into(),
            operations: operations.iter().copied().collect(),
        }
    }
}

#[cfg(test)]
#[path = "permission_tests.rs"]
mod tests;
