//! Who a principal is elsewhere.

use std::collections::BTreeMap;

use rootcast_core::access::identity::Identity;
use rootcast_core::access::principal::PrincipalName;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{Ledger, LedgerError};

const PREFIX: &str = "identity#";

/// Whose an identity is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityRecord {
    pub principal: PrincipalName,
    /// The principal's, when this was said.
    pub epoch: u64,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
}

/// Of a token that somebody got for an identity: it is good while that is still his.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchanged {
    pub identity: Identity,
    pub epoch: u64,
}

impl Ledger {
    pub async fn identity(&self, identity: &Identity) -> Result<Option<IdentityRecord>, LedgerError> {
        self.access_record("identity", "GetItem identity", identity_id(identity)).await
    }

    /// # Errors
    /// [`LedgerError::Conflict`] where it is somebody's already.
    pub async fn put_identity(&self, identity: &Identity, record: &IdentityRecord) -> Result<(), LedgerError> {
        self.put_access_record("identity", "PutItem identity", identity_id(identity), record).await
    }

    /// Whose it is, if he is still there.
    pub async fn owner(&self, identity: &Identity) -> Result<Option<PrincipalName>, LedgerError> {
        let Some(bound) = self.identity(identity).await? else { return Ok(None) };
        let holder = self.principal(&bound.principal).await?;
        Ok(holder.is_some_and(|holder| holder.epoch == bound.epoch).then_some(bound.principal))
    }

    /// Binds an identity to a principal, unless it is bound to him already; whose it was before may have gone.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] where it is somebody else's.
    pub async fn tie_identity(&self, identity: &Identity, record: &IdentityRecord) -> Result<(), LedgerError> {
        match self.owner(identity).await? {
            Some(owner) if owner == record.principal => return Ok(()),
            Some(_) => return Err(LedgerError::Conflict),
            None => self.remove_identity(identity).await?,
        };
        self.put_identity(identity, record).await
    }

    /// Answers whether it was anybody's. Tokens that were given for it hold nothing from now on.
    pub async fn remove_identity(&self, identity: &Identity) -> Result<bool, LedgerError> {
        self.remove_access_record("DeleteItem identity", identity_id(identity)).await
    }

    /// All of them: for an operator, and not for a request.
    pub async fn identities(&self) -> Result<BTreeMap<Identity, IdentityRecord>, LedgerError> {
        self.access_records("identity", PREFIX).await
    }
}

fn identity_id(identity: &Identity) -> String {
    format!("{PREFIX}{identity}")
}
