//! Deletion of a certificate's record, and of the items that keep it unique.

use aws_sdk_dynamodb::types::{Delete, TransactWriteItem, Update};
use rootcast_core::audit::Act;
use rootcast_core::inventory::id::CertificateId;
use serde::Deserialize;
use thiserror::Error;

use super::CertificateRecord;
use super::store::{leaf_key, name_key};
use crate::commit::{cancelled, failed};
use crate::item::{Item, from_item, id_key, number};
use crate::retries::pause;
use crate::{EndedRecord, Ledger, LedgerError};

const OPERATION: &str = "TransactWriteItems deletion";
/// Tries to delete despite concurrent changes to other copies of the leaf.
const LOOKS: u32 = 6;
const REFUSED: &str = "ConditionalCheckFailed";

/// Why a certificate was not deleted.
#[derive(Debug, Error)]
pub enum RemoveRefused {
    #[error("the certificate was deleted already")]
    Gone,
    #[error("{0} devices use the certificate")]
    InUse(u64),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

#[derive(Debug, Deserialize)]
struct LeafItem {
    copies: u64,
    #[serde(default)]
    certificate: Option<CertificateId>,
}

impl Ledger {
    /// Deletes record and name and adds the audit entry in one transaction, so no deletion is unrecorded. The
    /// transaction also decrements the leaf's count; the last copy deletes the leaf's item. Three calls without
    /// conflicts. The audit chain stays. `ended`: what has to be revoked with it.
    pub async fn remove_certificate(
        &self,
        record: &CertificateRecord,
        ended: Option<&EndedRecord>,
        act: &Act,
    ) -> Result<(), RemoveRefused> {
        for look in 1..=LOOKS {
            let links = self.link(std::slice::from_ref(act)).await?;
            let mut writes =
                vec![self.delete_unused(record)?, self.delete(name_key(&record.folder, &record.name), None)?];
            writes.extend(self.uncount_leaf(record).await?);
            writes.extend(links.writes());
            writes.push(self.count_listed(record.id, &record.folder, -1, act.at)?);
            writes.extend(ended.map(|ended| self.put_ended(ended)).transpose()?);
            let sent = self.client.transact_write_items().set_transact_items(Some(writes)).send().await;
            let Err(error) = sent else {
                links.tell();
                return Ok(());
            };
            let codes = cancelled(&error).unwrap_or_default();
            if !codes.iter().any(|code| code == REFUSED) {
                return Err(failed(OPERATION, error).into());
            }
            // Otherwise, another copy of the leaf was added or deleted, or the audit chain grew.
            if codes.first().is_some_and(|code| code == REFUSED) {
                match self.certificate_alone(record.id).await? {
                    None => return Err(RemoveRefused::Gone),
                    Some(found) if found.uses > 0 => return Err(RemoveRefused::InUse(found.uses)),
                    Some(_) => {}
                }
            }
            pause(look).await;
        }
        Err(LedgerError::Conflict.into())
    }

    fn delete_unused(&self, record: &CertificateRecord) -> Result<TransactWriteItem, LedgerError> {
        self.delete(id_key(record.id), Some(("uses = :count", 0)))
    }

    /// `None`: it is not counted. What our authorities sign for devices is not, since its serial number is on record; only an
    /// earlier release counted it.
    pub(crate) async fn uncount_leaf(
        &self,
        record: &CertificateRecord,
    ) -> Result<Option<TransactWriteItem>, LedgerError> {
        if record.issuing.is_some() {
            return Ok(None);
        }
        let key = leaf_key(record.leaf.fingerprint());
        let item = self.certificate_item(key.clone()).await?;
        let leaf = item.map(|item| from_item::<LeafItem>("leaf", item)).transpose()?;
        if leaf.is_none() && record.device.is_some() {
            return Ok(None);
        }
        let Some(leaf) = leaf.filter(|leaf| leaf.copies > 1) else {
            return self.delete(key, Some(("attribute_not_exists(id) OR copies <= :count", 1))).map(Some);
        };
        let is_first = leaf.certificate == Some(record.id);
        let update = Update::builder()
            .table_name(self.certificates()?)
            .set_key(Some(key))
            .update_expression(if is_first { "REMOVE certificate ADD copies :less" } else { "ADD copies :less" })
            .condition_expression("copies > :one")
            .expression_attribute_values(":less", number(-1))
            .expression_attribute_values(":one", number(1))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "leaf", source: Box::new(source) })?;
        Ok(Some(TransactWriteItem::builder().update(update).build()))
    }

    /// `condition` may refer to `:count`.
    fn delete(&self, key: Item, condition: Option<(&str, u64)>) -> Result<TransactWriteItem, LedgerError> {
        let mut delete = Delete::builder().table_name(self.certificates()?).set_key(Some(key));
        if let Some((expression, count)) = condition {
            delete = delete.condition_expression(expression).expression_attribute_values(":count", number(count));
        }
        let delete =
            delete.build().map_err(|source| LedgerError::Unwritable { what: "deletion", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }
}
