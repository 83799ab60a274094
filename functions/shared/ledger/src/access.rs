//! Bearer tokens, stored as their SHA-256.

use rootcast_core::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::item::{from_item, id_key, to_item};
use crate::{Ledger, LedgerError};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Who calls, for the records.
    pub principal: String,
    /// DynamoDB removes the record some time after; whoever reads it compares for himself.
    #[serde(with = "time::serde::timestamp")]
    pub expires: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
}

impl Ledger {
    /// `token`: SHA-256 of the token's text.
    pub async fn token(&self, token: &Fingerprint) -> Result<Option<TokenRecord>, LedgerError> {
        let answer = self
            .client
            .get_item()
            .table_name(self.access()?)
            .set_key(Some(id_key(token_id(token))))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::aws("GetItem token"))?;
        answer.item.map(|item| from_item("token", item)).transpose()
    }

    pub async fn put_token(&self, token: &Fingerprint, record: &TokenRecord) -> Result<(), LedgerError> {
        let mut item = to_item("token", record)?;
        item.extend(id_key(token_id(token)));
        self.client
            .put_item()
            .table_name(self.access()?)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(id)")
            .send()
            .await
            .map_err(LedgerError::aws("PutItem token"))?;
        Ok(())
    }
}

fn token_id(token: &Fingerprint) -> String {
    format!("token#{token}")
}
