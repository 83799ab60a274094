//! Access keys with their sealed secrets, and used signatures.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use aws_sdk_dynamodb::types::{TransactWriteItem, Update};
use rootcast_core::access::principal::PrincipalName;
use rootcast_core::audit::{Act, Action, Actor};
use rootcast_core::inventory::sealed::{SealContext, Sealed};
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;

use super::principals::chain;
use crate::commit::{Condition, put};
use crate::item::{id_key, number, text};
use crate::{Ledger, LedgerError};

const PREFIX: &str = "access-key#";

/// The key of a client that signs its requests. It has its principal's rights, and is invalid without its principal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccessKeyRecord {
    pub principal: PrincipalName,
    /// The principal's epoch when the key was created.
    pub epoch: u64,
    /// The shared secret for signatures, sealed under [`AccessKeyId::seal_context`].
    pub secret: Sealed,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::timestamp::option")]
    pub expires: Option<OffsetDateTime>,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
}

/// The public id of an access key: 20 of `A` to `Z` and `0` to `9`, as in Huawei Cloud.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessKeyId(String);

impl AccessKeyId {
    pub const LENGTH: usize = 20;
    pub const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

    pub fn seal_context(&self) -> SealContext {
        SealContext::AccessKey { id: self.0.clone() }
    }
}

/// The text is not an access key id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("an access key's id is 20 capital letters and digits")]
pub struct NotAnAccessKeyId;

impl FromStr for AccessKeyId {
    type Err = NotAnAccessKeyId;

    fn from_str(text: &str) -> Result<Self, NotAnAccessKeyId> {
        let valid = text.len() == Self::LENGTH && text.bytes().all(|byte| Self::ALPHABET.contains(&byte));
        valid.then(|| Self(text.to_owned())).ok_or(NotAnAccessKeyId)
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ledger {
    pub async fn access_key(&self, id: &AccessKeyId) -> Result<Option<AccessKeyRecord>, LedgerError> {
        self.access_record("access key", "GetItem access key", access_key_id(id)).await
    }

    /// `by`: for the principal's audit chain, as in what follows.
    pub async fn put_access_key(
        &self,
        id: &AccessKeyId,
        record: &AccessKeyRecord,
        by: &Actor,
    ) -> Result<(), LedgerError> {
        let act = Act::new(chain(&record.principal), Action::AddCredential, by, record.created);
        let key = id_key(access_key_id(id));
        let put = put(self.access()?, "access key", record, key, Some(Condition::absent("id")))?;
        self.write_audited(put, &act.with("accessKey", id)).await
    }

    /// All access keys. For operators, not for request paths.
    pub async fn access_keys(&self) -> Result<BTreeMap<AccessKeyId, AccessKeyRecord>, LedgerError> {
        self.access_records("access key", PREFIX).await
    }

    /// Limits the validity of the principal's key to `until`.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the key does not exist.
    pub async fn end_access_key(
        &self,
        id: &AccessKeyId,
        principal: &PrincipalName,
        until: OffsetDateTime,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), LedgerError> {
        let act = Act::new(chain(principal), Action::RemoveCredential, by, now).with("accessKey", id);
        let update = Update::builder()
            .table_name(self.access()?)
            .set_key(Some(id_key(access_key_id(id))))
            .update_expression("SET expires = :until")
            .condition_expression("attribute_exists(id)")
            .expression_attribute_values(":until", number(until.unix_timestamp()))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "access key", source: Box::new(source) })?;
        let update = TransactWriteItem::builder().update(update).build();
        self.write_audited(update, &act.with("until", until.unix_timestamp())).await
    }

    /// Returns whether the key existed.
    pub async fn remove_access_key(
        &self,
        id: &AccessKeyId,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<bool, LedgerError> {
        let Some(record) = self.access_key(id).await? else { return Ok(false) };
        let act = Act::new(chain(&record.principal), Action::RemoveCredential, by, now).with("accessKey", id);
        self.remove_audited("access key", access_key_id(id), &act).await
    }

    /// Whether `request` is the first one with this signature. The signature is remembered at least until `until`.
    ///
    /// `request` identifies the incoming request, so that the SDK's retry after a lost response does not count as a
    /// second request.
    pub async fn claim_signature(
        &self,
        signature: &Fingerprint,
        request: &str,
        until: OffsetDateTime,
    ) -> Result<bool, LedgerError> {
        let put = self
            .client
            .put_item()
            .table_name(self.access()?)
            .set_item(Some(id_key(format!("signature#{signature}"))))
            .item("request", text(request))
            .item("expires", number(until.unix_timestamp()))
            .condition_expression("attribute_not_exists(id) OR #request = :request")
            .expression_attribute_names("#request", "request")
            .expression_attribute_values(":request", text(request));
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|why| why.is_conditional_check_failed_exception()) => {
                Ok(false)
            }
            Err(error) => Err(LedgerError::aws("PutItem signature")(error)),
        }
    }
}

fn access_key_id(id: &AccessKeyId) -> String {
    format!("{PREFIX}{id}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use super::*;
    use crate::item::{from_item, to_item};

    #[test]
    fn an_access_key_round_trips_and_hides_its_secret() {
        let record = AccessKeyRecord {
            principal: "ops".parse().unwrap(),
            epoch: 7,
            secret: Sealed { data_key: vec![1], nonce: vec![2], ciphertext: vec![3] },
            expires: None,
            created: OffsetDateTime::UNIX_EPOCH,
        };
        let item = to_item("access key", &record).unwrap();
        assert!(!item.contains_key("expires"), "DynamoDB would remove it");
        let back: AccessKeyRecord = from_item("access key", item).unwrap();
        assert_eq!((back.secret, back.epoch, back.expires), (record.secret, 7, None));
    }

    #[test]
    fn an_access_keys_id_is_twenty_capitals_and_digits() {
        assert_eq!("AKIDEXAMPLE012345678".parse::<AccessKeyId>().unwrap().to_string(), "AKIDEXAMPLE012345678");
        for text in
            ["", "AKIDEXAMPLE01234567", "AKIDEXAMPLE0123456789", "akIDEXAMPLE012345678", "AKIDEXAMPLE\n12345678"]
        {
            assert_eq!(text.parse::<AccessKeyId>(), Err(NotAnAccessKeyId), "{text}");
        }
    }
}
