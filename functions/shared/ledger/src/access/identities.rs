//! External identities of principals.

use std::collections::BTreeMap;

use rootcast_core::access::identity::Identity;
use rootcast_core::access::principal::PrincipalName;
use rootcast_core::audit::{Act, Action, Actor};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::principals::chain;
use crate::commit::{Condition, put};
use crate::item::id_key;
use crate::{Ledger, LedgerError};

const PREFIX: &str = "identity#";

/// The principal that an identity belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityRecord {
    pub principal: PrincipalName,
    /// The principal's epoch when the identity was bound.
    pub epoch: u64,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
}

/// What was exchanged for a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchanged {
    /// The token is valid only while this identity is bound. `None`: `rootcast login` made the token for its principal,
    /// with AWS credentials that may write any record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// The principal's epoch.
    pub epoch: u64,
}

impl Ledger {
    pub async fn identity(&self, identity: &Identity) -> Result<Option<IdentityRecord>, LedgerError> {
        self.access_record("identity", "GetItem identity", identity_id(identity)).await
    }

    /// # Errors
    /// [`LedgerError::Conflict`] if the identity already has a record.
    pub async fn put_identity(
        &self,
        identity: &Identity,
        record: &IdentityRecord,
        by: &Actor,
    ) -> Result<(), LedgerError> {
        let act = Act::new(chain(&record.principal), Action::AddCredential, by, record.created);
        let act = act.with("identity", identity);
        let key = id_key(identity_id(identity));
        let put = put(self.access()?, "identity", record, key, Some(Condition::absent("id")))?;
        self.write_audited(put, &act).await
    }

    /// The principal that the identity belongs to, if that principal still exists.
    pub async fn owner(&self, identity: &Identity) -> Result<Option<PrincipalName>, LedgerError> {
        let Some(bound) = self.identity(identity).await? else { return Ok(None) };
        let holder = self.principal(&bound.principal).await?;
        Ok(holder.is_some_and(|holder| holder.epoch == bound.epoch).then_some(bound.principal))
    }

    /// Binds an identity to a principal, unless it is already bound to it. A binding to a deleted principal is
    /// replaced.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the identity belongs to another principal.
    pub async fn tie_identity(
        &self,
        identity: &Identity,
        record: &IdentityRecord,
        by: &Actor,
    ) -> Result<(), LedgerError> {
        match self.owner(identity).await? {
            Some(owner) if owner == record.principal => return Ok(()),
            Some(_) => return Err(LedgerError::Conflict),
            None => self.remove_identity(identity, by, record.created).await?,
        };
        self.put_identity(identity, record, by).await
    }

    /// Returns whether the identity was bound. Its tokens become invalid.
    pub async fn remove_identity(
        &self,
        identity: &Identity,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<bool, LedgerError> {
        let Some(bound) = self.identity(identity).await? else { return Ok(false) };
        let act = Act::new(chain(&bound.principal), Action::RemoveCredential, by, now).with("identity", identity);
        self.remove_audited("identity", identity_id(identity), &act).await
    }

    /// All identities. For operators, not for request paths.
    pub async fn identities(&self) -> Result<BTreeMap<Identity, IdentityRecord>, LedgerError> {
        self.access_records("identity", PREFIX).await
    }
}

fn identity_id(identity: &Identity) -> String {
    format!("{PREFIX}{identity}")
}
