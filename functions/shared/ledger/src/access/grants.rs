//! Grants: what a login with a password gave, for as long as its tokens are exchanged for new ones.
//!
//! A grant names its current pair, access token and refresh token, each by its SHA-256. An exchange replaces the pair
//! in one transaction, on the condition that the grant still names the presented refresh token: of two concurrent
//! exchanges with the same token, one wins. A used refresh token is kept, so that its reuse is detected (RFC 9700
//! §4.14.2). A refresh token without its grant is invalid; the access token is deleted with the grant.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{Delete, TransactWriteItem, Update};
use rootcast_core::access::principal::PrincipalName;
use rootcast_core::access::scope::Scopes;
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{TokenRecord, token_id};
use crate::commit::{Condition, put};
use crate::item::{id_key, text};
use crate::{Ledger, LedgerError};

/// Tries to revoke a grant despite concurrent exchanges.
const LOOKS: u32 = 5;

const PREFIX: &str = "grant#";

/// 128 random bits. Not secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(String);

impl GrantId {
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(bytes)))
    }
}

impl std::str::FromStr for GrantId {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Display for GrantId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRecord {
    pub principal: PrincipalName,
    /// The principal's [login epoch](crate::PrincipalRecord::login_epoch) at the time of the grant.
    pub epoch: u64,
    /// The application that logged in. No other may exchange the tokens.
    pub client: String,
    pub scopes: Scopes,
    /// SHA-256 of the valid access token.
    pub access: Fingerprint,
    /// SHA-256 of the valid refresh token, which can be used once.
    pub refresh: Fingerprint,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
    /// No exchange extends this.
    #[serde(with = "time::serde::timestamp")]
    pub expires: OffsetDateTime,
}

/// A token's copy of its grant's data, so that a request only reads the token and its principal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    pub grant: GrantId,
    pub epoch: u64,
    pub scopes: Scopes,
}

/// A refresh token's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refresh {
    pub grant: GrantId,
    #[serde(with = "time::serde::timestamp")]
    pub expires: OffsetDateTime,
}

/// New tokens of a grant, by their SHA-256.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    pub access: Fingerprint,
    pub refresh: Fingerprint,
    pub created: OffsetDateTime,
    /// Expiry of the access token; not after the grant's.
    pub expires: OffsetDateTime,
}

impl GrantRecord {
    fn token(&self, id: &GrantId, pair: &Pair) -> TokenRecord {
        TokenRecord {
            principal: self.principal.to_string(),
            grants: Default::default(),
            granted: Some(Granted { grant: id.clone(), epoch: self.epoch, scopes: self.scopes.clone() }),
            exchanged: None,
            expires: pair.expires,
            created: pair.created,
        }
    }
}

impl Ledger {
    pub async fn grant(&self, id: &GrantId) -> Result<Option<GrantRecord>, LedgerError> {
        self.access_record("grant", "GetItem grant", grant_id(id)).await
    }

    /// All grants. For operators, not for request paths.
    pub async fn grants(&self) -> Result<BTreeMap<GrantId, GrantRecord>, LedgerError> {
        self.access_records("grant", PREFIX).await
    }

    pub async fn refresh(&self, refresh: &Fingerprint) -> Result<Option<Refresh>, LedgerError> {
        self.access_record("refresh token", "GetItem refresh token", refresh_id(refresh)).await
    }

    /// Stores a new grant with its first pair, in one transaction.
    pub async fn put_grant(&self, id: &GrantId, grant: &GrantRecord, pair: &Pair) -> Result<(), LedgerError> {
        let grant = GrantRecord { access: pair.access, refresh: pair.refresh, ..grant.clone() };
        let mut writes = self.pair(id, &grant, pair)?;
        writes.push(put(self.access()?, "grant", &grant, id_key(grant_id(id)), Some(Condition::absent("id")))?);
        self.transact(writes).await
    }

    /// Replaces the grant's pair in one transaction. The pair that `grant` names, as it was read, becomes invalid.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if another exchange was faster, or the grant no longer exists.
    pub async fn exchange(&self, id: &GrantId, grant: &GrantRecord, pair: &Pair) -> Result<(), LedgerError> {
        let update = Update::builder()
            .table_name(self.access()?)
            .set_key(Some(id_key(grant_id(id))))
            .update_expression("SET access = :access, refresh = :refresh")
            .condition_expression("refresh = :used")
            .expression_attribute_values(":access", text(pair.access.to_string()))
            .expression_attribute_values(":refresh", text(pair.refresh.to_string()))
            .expression_attribute_values(":used", text(grant.refresh.to_string()))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "grant", source: Box::new(source) })?;
        let mut writes = self.pair(id, grant, pair)?;
        writes.push(TransactWriteItem::builder().update(update).build());
        writes.push(self.without(token_id(&grant.access), None)?);
        self.transact(writes).await
    }

    /// Deletes a grant and its current pair in one transaction, if it still exists.
    pub async fn revoke_grant(&self, id: &GrantId) -> Result<(), LedgerError> {
        for _ in 0..LOOKS {
            let Some(grant) = self.grant(id).await? else { return Ok(()) };
            let writes = vec![
                self.without(grant_id(id), Some(&grant.refresh))?,
                self.without(token_id(&grant.access), None)?,
                self.without(refresh_id(&grant.refresh), None)?,
            ];
            match self.transact(writes).await {
                Err(LedgerError::Conflict) => {}
                ended => return ended,
            }
        }
        Err(LedgerError::Conflict)
    }

    fn pair(&self, id: &GrantId, grant: &GrantRecord, pair: &Pair) -> Result<Vec<TransactWriteItem>, LedgerError> {
        let (table, absent) = (self.access()?, || Some(Condition::absent("id")));
        let refresh = Refresh { grant: id.clone(), expires: grant.expires };
        Ok(vec![
            put(table, "token", &grant.token(id, pair), id_key(token_id(&pair.access)), absent())?,
            put(table, "refresh token", &refresh, id_key(refresh_id(&pair.refresh)), absent())?,
        ])
    }

    /// A deletion. With `refresh`, on the condition that the grant still names this refresh token.
    fn without(&self, id: String, refresh: Option<&Fingerprint>) -> Result<TransactWriteItem, LedgerError> {
        let mut delete = Delete::builder().table_name(self.access()?).set_key(Some(id_key(id)));
        if let Some(refresh) = refresh {
            delete = delete
                .condition_expression("refresh = :read")
                .expression_attribute_values(":read", text(refresh.to_string()));
        }
        let delete =
            delete.build().map_err(|source| LedgerError::Unwritable { what: "deletion", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }
}

fn grant_id(id: &GrantId) -> String {
    format!("{PREFIX}{id}")
}

fn refresh_id(refresh: &Fingerprint) -> String {
    format!("refresh#{refresh}")
}
