//! The authenticated caller, and what it may do.

use std::collections::BTreeSet;

use http::request::Parts;
use rootcast_core::access::permission::{EVERYTHING, Grants, Operation, Right};
use rootcast_core::access::principal::PrincipalName;
use rootcast_core::access::scope::{Privilege, Resource, Scopes};
use rootcast_core::access::second::Party;
use rootcast_core::audit::Actor;
use rootcast_ledger::{Ledger, PrincipalRecord};
use thiserror::Error;
use time::OffsetDateTime;

use crate::denials::{Denial, Missed, record_denial};
use crate::request_id::RequestId;
use crate::routes::Denied;

/// The authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// For the log: a principal's name, or the IAM identity that `rootcast login` made a token for.
    pub name: String,
    /// An IAM identity without a principal has the grants that its token was given. Any other caller has the present
    /// grants of its record, narrowed to the token's scopes.
    pub grants: Grants,
    /// The scopes that the token was narrowed to when it was requested.
    pub scopes: Option<Scopes>,
    /// `None`: the token has no principal, and nobody knows whose it is.
    pub party: Option<Party>,
    /// The operations that the caller may carry out in this request if he holds them: those that need no second person,
    /// and those that one has confirmed. The guard of a route says which; until then there are none.
    pub alone: BTreeSet<Operation>,
    /// What the caller lacked so far, for the audit.
    pub missed: Missed,
}

impl Principal {
    /// The caller as named in the audit chains.
    pub fn acting(&self, RequestId(id): &RequestId) -> Actor {
        Actor { principal: self.name.clone(), request_id: Some(id.clone()) }
    }
}

/// The permission or right that the caller lacks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Forbidden {
    #[error("This needs the permission {0}: `rootcast login` and `rootcast access` give it with --permission {0}.")]
    Operation(Operation),
    /// The caller holds the permission.
    #[error("This needs the confirmation of a second person with the permission {0}.")]
    SecondPerson(Operation),
    /// The caller may read the object.
    #[error("This needs the right {right} on {dn}: `rootcast login` and `rootcast access` give it with --grant.")]
    Right { right: Right, dn: String },
}

/// The caller's token was narrowed to less than is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OutOfScope {
    #[error(
        "The token's scope does not include {}{}, which this needs: log in with it.",
        .0.as_str(),
        .1.map_or_else(String::new, |privilege| format!(":{}", privilege.as_str()))
    )]
    Lacks(Resource, Option<Privilege>),
    /// Scopes are Venafi's and apply to its API alone.
    #[error("The token was narrowed to a scope, with which it is good for the API under /vedsdk alone.")]
    OtherApi,
}

impl Principal {
    pub(crate) fn of(name: &PrincipalName, record: PrincipalRecord) -> Self {
        Self { party: Some(record.party(name)), ..Self::unknown(name.to_string(), record.grants) }
    }

    /// A caller who is no principal.
    pub fn unknown(name: impl Into<String>, grants: Grants) -> Self {
        Self { name: name.into(), grants, scopes: None, party: None, alone: BTreeSet::new(), missed: Missed::default() }
    }

    /// Whether the caller may carry out the operation now.
    pub fn may(&self, operation: Operation) -> Result<(), Forbidden> {
        match (self.grants.may(operation), self.alone.contains(&operation)) {
            (false, _) => {
                self.missed.operation(format!("permission {operation}"));
                Err(Forbidden::Operation(operation))
            }
            (true, false) => Err(Forbidden::SecondPerson(operation)),
            (true, true) => Ok(()),
        }
    }

    /// Requires the right on the object with this distinguished name.
    ///
    /// # Errors
    /// [`Denied::Unseen`] if the caller does not [see](Self::sees) the object, unless it is to be created.
    pub fn require(&self, right: Right, dn: &str) -> Result<(), Denied> {
        let denied = match self.grants.allow(right, dn) {
            _ if right != Right::Create && !self.sees(dn) => Denied::Unseen,
            true => return Ok(()),
            false => Denied::Forbidden(Forbidden::Right { right, dn: dn.to_owned() }),
        };
        self.missed.required(format!("right {right} on {dn}"));
        Err(denied)
    }

    /// Notes what the caller lacks for a request that is refused because of it.
    pub fn lacks(&self, what: impl Into<String>) {
        self.missed.required(what.into());
    }

    /// An object that the caller may not read is treated as absent.
    pub fn sees(&self, dn: &str) -> bool {
        let sees = self.grants.allow(Right::Read, dn);
        if !sees {
            self.missed.unseen(dn);
        }
        sees
    }

    /// Whether the caller may read everything, so that a list needs no filter.
    pub fn sees_everything(&self) -> bool {
        self.grants.allow(Right::Read, EVERYTHING)
    }

    /// A token that was never narrowed has every scope.
    pub fn require_scope(&self, resource: Resource, privilege: impl Into<Option<Privilege>>) -> Result<(), OutOfScope> {
        let privilege = privilege.into();
        let lacks = self.scopes.as_ref().is_some_and(|scopes| !scopes.allow(resource, privilege));
        if lacks { Err(OutOfScope::Lacks(resource, privilege)) } else { Ok(()) }
    }

    /// As [`Self::require_no_scope`]. The denial is recorded, since no route sees this caller.
    pub(crate) async fn admit_unscoped(
        &self,
        ledger: &Ledger,
        request: &Parts,
        now: OffsetDateTime,
    ) -> Result<(), OutOfScope> {
        let Err(why) = self.require_no_scope() else { return Ok(()) };
        let denial = Denial {
            caller: self.name.clone(),
            request_id: request.extensions.get::<RequestId>().map(|RequestId(id)| id.clone()),
            route: request.method.to_string(),
            path: request.uri.path().to_owned(),
            missing: why.to_string(),
        };
        record_denial(ledger, denial, now).await;
        Err(why)
    }

    /// Required by every API except Venafi's, which defines the scopes.
    pub(crate) fn require_no_scope(&self) -> Result<(), OutOfScope> {
        if self.scopes.is_some() { Err(OutOfScope::OtherApi) } else { Ok(()) }
    }
}
