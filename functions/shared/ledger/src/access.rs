//! Callers: principals with their passwords, access keys and external identities; tokens with their grants, sessions,
//! used signatures, failed login attempts, and the key of cursors. DynamoDB deletes a record some time after it
//! `expires`, so each reader must compare `expires` itself.

mod asks;
mod attempts;
mod cursors;
mod grants;
mod identities;
mod keys;
mod principals;
mod sessions;

use std::collections::BTreeMap;
use std::error::Error;
use std::str::FromStr;

use aws_sdk_dynamodb::types::{Delete, TransactWriteItem};
use rootcast_core::access::identity::Identity;
use rootcast_core::access::permission::Grants;
use rootcast_core::access::token::LONGEST;
use rootcast_core::audit::{Act, Action, Actor, Name, Subject};
use rootcast_pki::fingerprint::Fingerprint;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use self::asks::{AsksPage, OpenAsks};
pub use self::attempts::{Attempted, Effect, Locked, NotCounted, Reservation};
pub use self::cursors::CursorKey;
pub use self::grants::{GrantId, GrantRecord, Granted, Pair, Refresh};
pub use self::identities::{Exchanged, IdentityRecord};
pub use self::keys::{AccessKeyId, AccessKeyRecord, NotAnAccessKeyId};
pub use self::principals::{PrincipalRecord, PrincipalsPage};
pub use self::sessions::{LONGEST_SESSION, SessionRecord, SessionsPage};
use crate::commit::{Condition, put};
use crate::item::{Item, from_item, id_key, text, to_item};
use crate::{Ledger, LedgerError};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Name of the caller in audit records: a principal; or an IAM identity, for a token that `rootcast login` made for
    /// somebody who is no principal. Earlier versions wrote any text.
    pub principal: String,
    /// Empty for a principal's token: the rights are read from the principal.
    #[serde(default)]
    pub grants: Grants,
    /// The grant, for a token from a login with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Granted>,
    /// What was exchanged for the token, if its principal did not log in with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchanged: Option<Exchanged>,
    #[serde(with = "time::serde::timestamp")]
    pub expires: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
}

const TOKEN: &str = "token#";

impl TokenRecord {
    /// Expiry. A token lives for [`LONGEST`], whatever an earlier version stored.
    pub fn until(&self) -> OffsetDateTime {
        self.expires.min(self.created.saturating_add(LONGEST))
    }

    /// Whether a token of an IAM identity is invalid because the identity belongs to a principal, or was given to one
    /// after the token was made: then the token stays invalid when that principal is removed.
    pub fn is_ended_by(&self, bound: &IdentityRecord, holder: Option<&PrincipalRecord>) -> bool {
        bound.created >= self.created || holder.is_some_and(|holder| holder.epoch == bound.epoch)
    }
}

impl Ledger {
    /// `token`: SHA-256 of the token's text.
    pub async fn token(&self, token: &Fingerprint) -> Result<Option<TokenRecord>, LedgerError> {
        self.access_record("token", "GetItem token", token_id(token)).await
    }

    /// Stores a token without a grant.
    pub async fn put_token(&self, token: &Fingerprint, record: &TokenRecord) -> Result<(), LedgerError> {
        self.put_access_record("token", "PutItem token", token_id(token), record).await
    }

    /// As [`Self::put_token`], with an entry in the audit chain of whose token it is.
    pub async fn log_in(&self, token: &Fingerprint, record: &TokenRecord, by: &Actor) -> Result<(), LedgerError> {
        let subject = Subject::Principal(Name::of(&record.principal));
        let act = Act::new(subject, Action::Login, by, record.created).with("until", record.until().unix_timestamp());
        let key = id_key(token_id(token));
        let put = put(self.access()?, "token", record, key, Some(Condition::absent("id")))?;
        self.write_audited(put, &act).await
    }

    /// Removes a token without a grant, if it still exists.
    pub async fn remove_token(&self, token: &Fingerprint) -> Result<(), LedgerError> {
        let delete = self.client.delete_item().table_name(self.access()?).set_key(Some(id_key(token_id(token))));
        let delete = delete.condition_expression("attribute_not_exists(granted)");
        delete.send().await.map_err(LedgerError::aws("DeleteItem token"))?;
        Ok(())
    }

    /// All tokens, by their SHA-256. For operators, not for request paths.
    pub async fn tokens(&self) -> Result<BTreeMap<Fingerprint, TokenRecord>, LedgerError> {
        self.access_records("token", TOKEN).await
    }

    /// Whether a principal has the name, or the IAM identity, of this token without a principal. It was not made for that
    /// principal, and is invalid.
    pub async fn has_namesake(&self, token: &TokenRecord) -> Result<bool, LedgerError> {
        if let Ok(identity) = token.principal.parse::<Identity>() {
            let Some(bound) = self.identity(&identity).await? else { return Ok(false) };
            let holder = self.principal(&bound.principal).await?;
            return Ok(token.is_ended_by(&bound, holder.as_ref()));
        }
        let Ok(name) = token.principal.parse() else { return Ok(false) };
        Ok(self.principal(&name).await?.is_some())
    }

    async fn access_record<T: DeserializeOwned>(
        &self,
        what: &'static str,
        operation: &'static str,
        id: String,
    ) -> Result<Option<T>, LedgerError> {
        let get = self.client.get_item().table_name(self.access()?).set_key(Some(id_key(id))).consistent_read(true);
        let answer = get.send().await.map_err(LedgerError::aws(operation))?;
        answer.item.map(|item| from_item(what, item)).transpose()
    }

    /// All records whose id begins with `prefix`, by the rest of the id. Scans the whole table, which is small since
    /// most records are short-lived. For operators, not for request paths.
    async fn access_records<K, T>(&self, what: &'static str, prefix: &str) -> Result<BTreeMap<K, T>, LedgerError>
    where
        K: FromStr<Err: Error + Send + Sync + 'static> + Ord,
        T: DeserializeOwned,
    {
        let scan = self.client.scan().table_name(self.access()?).consistent_read(true);
        let scan = scan.filter_expression("begins_with(id, :prefix)");
        let mut items = scan.expression_attribute_values(":prefix", text(prefix)).into_paginator().items().send();
        let mut found = BTreeMap::new();
        while let Some(item) = items.next().await {
            let (key, record) = from_prefixed(what, prefix, item.map_err(LedgerError::aws("Scan access"))?)?;
            found.insert(key, record);
        }
        Ok(found)
    }

    /// The records of one call whose id begins with `prefix`, by the rest of the id, and where the next page begins.
    async fn access_page<K, T>(
        &self,
        what: &'static str,
        operation: &'static str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<(Vec<(K, T)>, Option<String>), LedgerError>
    where
        K: FromStr<Err: Error + Send + Sync + 'static>,
        T: DeserializeOwned,
    {
        let scan = self.client.scan().table_name(self.access()?).consistent_read(true);
        let scan =
            scan.filter_expression("begins_with(id, :prefix)").expression_attribute_values(":prefix", text(prefix));
        let scan = scan.set_exclusive_start_key(after.map(id_key));
        let answer = scan.send().await.map_err(LedgerError::aws(operation))?;
        let next = answer.last_evaluated_key.as_ref().and_then(|key| key.get("id")?.as_s().ok()).cloned();
        let items = answer.items.unwrap_or_default().into_iter();
        Ok((items.map(|item| from_prefixed(what, prefix, item)).collect::<Result<_, _>>()?, next))
    }

    /// Returns whether the record existed.
    async fn remove_access_record(&self, operation: &'static str, id: String) -> Result<bool, LedgerError> {
        let delete = self.client.delete_item().table_name(self.access()?).set_key(Some(id_key(id)));
        match delete.condition_expression("attribute_exists(id)").send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|why| why.is_conditional_check_failed_exception()) => {
                Ok(false)
            }
            Err(error) => Err(LedgerError::aws(operation)(error)),
        }
    }

    /// As [`Self::remove_access_record`], with an entry in the audit chain.
    async fn remove_audited(&self, what: &'static str, id: String, act: &Act) -> Result<bool, LedgerError> {
        let delete = Delete::builder()
            .table_name(self.access()?)
            .set_key(Some(id_key(id)))
            .condition_expression("attribute_exists(id)")
            .build()
            .map_err(|source| LedgerError::Unwritable { what, source: Box::new(source) })?;
        match self.write_audited(TransactWriteItem::builder().delete(delete).build(), act).await {
            Ok(()) => Ok(true),
            Err(LedgerError::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Never replaces a record: an existing one is a [`LedgerError::Conflict`].
    async fn put_access_record<T: Serialize>(
        &self,
        what: &'static str,
        operation: &'static str,
        id: String,
        record: &T,
    ) -> Result<(), LedgerError> {
        let mut item = to_item(what, record)?;
        item.extend(id_key(id));
        let put = self.client.put_item().table_name(self.access()?).set_item(Some(item));
        let put = put.condition_expression("attribute_not_exists(id)");
        put.send().await.map(|_| ()).map_err(|error| match error.as_service_error() {
            Some(service) if service.is_conditional_check_failed_exception() => LedgerError::Conflict,
            _ => LedgerError::aws(operation)(error),
        })
    }
}

/// A record, and the rest of its id after `prefix`.
fn from_prefixed<K, T>(what: &'static str, prefix: &str, item: Item) -> Result<(K, T), LedgerError>
where
    K: FromStr<Err: Error + Send + Sync + 'static>,
    T: DeserializeOwned,
{
    let corrupt = |source: Box<dyn Error + Send + Sync>| LedgerError::Corrupt { what, source };
    let id = item.get("id").and_then(|id| id.as_s().ok()).and_then(|id| id.strip_prefix(prefix));
    let key = id.ok_or_else(|| corrupt("it has no id".into()))?.parse().map_err(|error| corrupt(Box::new(error)))?;
    Ok((key, from_item(what, item)?))
}

fn token_id(token: &Fingerprint) -> String {
    format!("{TOKEN}{token}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use super::*;
    use crate::item::number;

    #[test]
    fn a_token_lives_for_a_day_at_most() {
        let lives = |seconds: i64| {
            let created = OffsetDateTime::UNIX_EPOCH;
            let expires = created + time::Duration::seconds(seconds);
            let token = TokenRecord {
                principal: "ops".to_owned(),
                grants: Grants::default(),
                granted: None,
                exchanged: None,
                expires,
                created,
            };
            (token.until() - created).whole_seconds()
        };
        assert_eq!((lives(3600), lives(86_400), lives(365 * 86_400)), (3600, 86_400, 86_400));
    }

    #[test]
    fn a_token_stored_before_grants_existed_has_none() {
        let item = [("principal", text("ops")), ("expires", number(100)), ("created", number(0))];
        let item = item.map(|(name, value)| (name.to_owned(), value)).into();
        let record = from_item::<TokenRecord>("token", item).unwrap();
        assert!(record.grants == Grants::default() && record.granted.is_none() && record.exchanged.is_none());
    }
}
