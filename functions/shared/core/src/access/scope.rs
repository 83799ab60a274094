//! The scope of a token in Venafi's API: `certificate:manage,delete;configuration`.
//!
//! Resources are separated by semicolons. After a colon follow the privileges beyond reading, separated by commas. Each
//! listed resource may be read. Letter case and white space around a word are ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::access::permission::{Grants, Operation, Right};

/// The resources of Venafi's API, as PyPI `pyvenafi` 1.1.0 names them (`enums/oauth.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    Admin,
    Agent,
    Certificate,
    CodeSign,
    CodeSignClient,
    Configuration,
    Restricted,
    Security,
    Ssh,
    Statistics,
}

/// What a caller may do with a resource beyond reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    Approve,
    Delete,
    Discover,
    Manage,
    RecycleBin,
    Revoke,
}

impl Resource {
    pub const ALL: [Self; 10] = [
        Self::Admin,
        Self::Agent,
        Self::Certificate,
        Self::CodeSign,
        Self::CodeSignClient,
        Self::Configuration,
        Self::Restricted,
        Self::Security,
        Self::Ssh,
        Self::Statistics,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Agent => "agent",
            Self::Certificate => "certificate",
            Self::CodeSign => "codesign",
            Self::CodeSignClient => "codesignclient",
            Self::Configuration => "configuration",
            Self::Restricted => "restricted",
            Self::Security => "security",
            Self::Ssh => "ssh",
            Self::Statistics => "statistics",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| resource.as_str().eq_ignore_ascii_case(name))
    }
}

impl Privilege {
    pub const ALL: [Self; 6] =
        [Self::Approve, Self::Delete, Self::Discover, Self::Manage, Self::RecycleBin, Self::Revoke];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Delete => "delete",
            Self::Discover => "discover",
            Self::Manage => "manage",
            Self::RecycleBin => "recyclebin",
            Self::Revoke => "revoke",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|privilege| privilege.as_str().eq_ignore_ascii_case(name))
    }
}

/// At least one resource, each with its privileges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes(BTreeMap<Resource, BTreeSet<Privilege>>);

impl Scopes {
    /// `None` stands for reading, which is allowed on every listed resource.
    pub fn allow(&self, resource: Resource, privilege: impl Into<Option<Privilege>>) -> bool {
        let privilege = privilege.into();
        let held = |held: &BTreeSet<Privilege>| privilege.is_none_or(|privilege| held.contains(&privilege));
        self.0.get(&resource).is_some_and(held)
    }

    /// A principal's grants, restricted to this scope.
    pub fn narrow(&self, grants: &Grants) -> Grants {
        grants.narrowed(|right| self.pass(rights(right)), |operation| self.pass(operations(operation)))
    }

    fn pass(&self, any: &[(Resource, Option<Privilege>)]) -> bool {
        any.iter().any(|(resource, privilege)| self.allow(*resource, *privilege))
    }
}

/// The scope entries that allow the right; one of them is enough. A call may require a particular one.
const fn rights(right: Right) -> &'static [(Resource, Option<Privilege>)] {
    use {Privilege as P, Resource as R};
    match right {
        Right::Read => &[(R::Certificate, None)],
        Right::Write => &[(R::Certificate, Some(P::Manage)), (R::Certificate, Some(P::Revoke))],
        Right::Create => &[(R::Certificate, Some(P::Manage)), (R::Certificate, Some(P::Discover))],
        Right::Delete => &[(R::Certificate, Some(P::Delete))],
        Right::Manage => &[],
    }
}

/// The scope entries that allow the operation. Roots and private keys belong to the other APIs; no scope allows them.
const fn operations(operation: Operation) -> &'static [(Resource, Option<Privilege>)] {
    match operation {
        Operation::AdministerAccess => &[(Resource::Security, Some(Privilege::Manage))],
        Operation::Regenerate
        | Operation::ApproveDevice
        | Operation::Activate
        | Operation::Abort
        | Operation::ExportKey => &[],
    }
}

/// Why a text is not a scope. Names the place, and quotes nothing of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotAScope {
    #[error("the scope is empty, or has an empty part")]
    Empty,
    #[error(
        "part {0} of the scope is of no resource; there is: {names}",
        names = Resource::ALL.map(Resource::as_str).join(", ")
    )]
    Resource(usize),
    #[error(
        "part {0} of the scope has a privilege that is none; there is: {names}, and read",
        names = Privilege::ALL.map(Privilege::as_str).join(", ")
    )]
    Privilege(usize),
}

impl FromStr for Scopes {
    type Err = NotAScope;

    /// A resource that is listed twice has the privileges of both.
    fn from_str(text: &str) -> Result<Self, NotAScope> {
        let mut scopes: BTreeMap<Resource, BTreeSet<Privilege>> = BTreeMap::new();
        for (number, part) in (1..).zip(text.split(';')) {
            let (resource, privileges) = part.split_once(':').map_or((part, None), |(name, list)| (name, Some(list)));
            if resource.trim().is_empty() {
                return Err(NotAScope::Empty);
            }
            let held = scopes.entry(Resource::of(resource.trim()).ok_or(NotAScope::Resource(number))?).or_default();
            for privilege in privileges.into_iter().flat_map(|list| list.split(',')).map(str::trim) {
                // Every listed resource may be read.
                if !privilege.eq_ignore_ascii_case("read") {
                    held.insert(Privilege::of(privilege).ok_or(NotAScope::Privilege(number))?);
                }
            }
        }
        Ok(Self(scopes))
    }
}

rootcast_pki::as_text!(Scopes);

/// The order is always the same, whatever the input's order.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (resource, privileges)) in self.0.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { ";" })?;
            f.write_str(resource.as_str())?;
            for (number, privilege) in privileges.iter().enumerate() {
                f.write_str(if number == 0 { ":" } else { "," })?;
                f.write_str(privilege.as_str())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::access::permission::{EVERYTHING, Role};

    fn read(text: &str) -> Result<String, NotAScope> {
        text.parse().map(|scopes: Scopes| scopes.to_string())
    }

    #[test]
    fn a_scope_is_written_in_a_fixed_order() {
        for (text, scope) in [
            ("certificate:manage,delete;configuration", "certificate:delete,manage;configuration"),
            ("Configuration ; Certificate: Manage , READ", "certificate:manage;configuration"),
            ("certificate:read", "certificate"),
            ("ssh:manage;ssh:approve;ssh", "ssh:approve,manage"),
        ] {
            assert_eq!(read(text), Ok(scope.to_owned()), "{text}");
        }
    }

    #[test]
    fn an_invalid_scope_is_refused_with_its_place() {
        for (text, why) in [
            ("", NotAScope::Empty),
            ("certificate;", NotAScope::Empty),
            (" ;certificate", NotAScope::Empty),
            (":manage", NotAScope::Empty),
            ("certificate;devices:manage", NotAScope::Resource(2)),
            ("certificate:", NotAScope::Privilege(1)),
            ("certificate:manage,", NotAScope::Privilege(1)),
            ("certificate:manage;ssh:manage:delete", NotAScope::Privilege(2)),
            ("certificate manage", NotAScope::Resource(1)),
        ] {
            assert_eq!(read(text), Err(why), "{text}");
        }
        assert!(
            NotAScope::Resource(2).to_string().contains("part 2")
                && NotAScope::Privilege(1).to_string().contains("manage")
        );
    }

    #[test]
    fn only_listed_resources_are_allowed() {
        let scopes: Scopes = "certificate:manage;configuration:delete".parse().unwrap();
        for resource in Resource::ALL {
            for privilege in Privilege::ALL {
                let named = matches!(
                    (resource, privilege),
                    (Resource::Certificate, Privilege::Manage) | (Resource::Configuration, Privilege::Delete)
                );
                assert_eq!(scopes.allow(resource, privilege), named, "{resource:?} {privilege:?}");
            }
        }
    }

    #[test]
    fn a_scope_keeps_only_the_rights_it_names() {
        let everything = Grants::from(Role::Administrator);
        for (scope, left) in [
            ("certificate", &[Right::Read][..]),
            ("certificate:manage", &[Right::Read, Right::Write, Right::Create]),
            ("certificate:discover", &[Right::Read, Right::Create]),
            ("certificate:revoke", &[Right::Read, Right::Write]),
            ("certificate:delete", &[Right::Read, Right::Delete]),
            ("configuration:manage;ssh:manage", &[]),
        ] {
            let narrowed = scope.parse::<Scopes>().unwrap().narrow(&everything);
            for right in Right::ALL {
                assert_eq!(narrowed.allow(*right, EVERYTHING), left.contains(right), "{scope} {right}");
            }
            assert!(!Operation::ALL.iter().any(|operation| narrowed.may(*operation)), "{scope}");
        }
        let narrowed = "security:manage".parse::<Scopes>().unwrap().narrow(&everything);
        assert!(narrowed.may(Operation::AdministerAccess) && !narrowed.allow(Right::Read, EVERYTHING));
    }

    proptest! {
        #[test]
        fn a_scope_never_adds_rights(
            resource in select(&Resource::ALL[..]), privilege in select(&Privilege::ALL[..]), given in select(Right::ALL),
            asked in select(Right::ALL), operation in select(Operation::ALL),
        ) {
            let scopes: Scopes = format!("certificate;{}:{}", resource.as_str(), privilege.as_str()).parse().unwrap();
            let mut grants = Grants::default();
            grants.add(format!(r"\VED\Policy\a={given}").parse().unwrap());
            let narrowed = scopes.narrow(&grants);
            for dn in [EVERYTHING, r"\VED\Policy\a", r"\VED\Policy\a\b", r"\VED\Policy\ab"] {
                prop_assert!(!narrowed.allow(asked, dn) || grants.allow(asked, dn));
            }
            prop_assert!(!narrowed.may(operation));
        }

        #[test]
        fn parsed_scopes_round_trip(text in "[a-z:,; ]{0,40}|(certificate|ssh)(:(manage|read)(,delete)?)?(;agent)?") {
            if let Ok(scopes) = text.parse::<Scopes>() {
                prop_assert_eq!(scopes.to_string().parse::<Scopes>(), Ok(scopes));
            }
        }
    }
}
