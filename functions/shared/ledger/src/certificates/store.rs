//! Stores a new certificate: its record and the items that keep it unique, in one transaction.
//!
//! Up to four items accompany the record: one counts (see the module `listed`). `name#{folder}\{name}` reserves the name, in lower case since Venafi
//! compares names without case. `leaf#{SHA-256}` counts the copies of a leaf and names the first certificate with it.
//! `request#{SHA-256}` is the result of a client token, for a day.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    CancellationReason, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use rootcast_core::audit::Act;
use rootcast_core::inventory::id::CertificateId;
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;

use super::CertificateRecord;
use crate::commit::failed;
use crate::item::{Item, from_item, id_key, number, text, to_item};
use crate::listed::tree;
use crate::{Ledger, LedgerError};

/// How long a request may be repeated.
const REQUEST_KEPT: time::Duration = time::Duration::hours(24);
const OPERATION: &str = "TransactWriteItems certificate";

/// A request that its client may repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientRequest {
    /// SHA-256 of the caller and the client token, so that callers cannot see each other's tokens.
    pub token: Fingerprint,
    /// SHA-256 of the request body.
    pub body: Fingerprint,
}

/// Why a certificate is not stored. Nothing is written.
#[derive(Debug, Error)]
pub enum StoreRefused {
    #[error("another certificate has this id")]
    IdTaken,
    /// The certificate that has the name, if known.
    #[error("another certificate has this name")]
    NameTaken(Option<CertificateId>),
    /// The first certificate with this leaf; `None` if it was deleted since.
    #[error("the same certificate is stored already")]
    Duplicate(Option<CertificateId>),
    /// The token was used before with a different request.
    #[error("the client token belongs to another request")]
    TokenTaken,
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The certificate that an item belongs to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) certificate: CertificateId,
}

#[derive(Debug, Serialize, Deserialize)]
struct RequestItem {
    certificate: CertificateId,
    body: Fingerprint,
    /// DynamoDB deletes the item some time after this, so each reader must compare it.
    #[serde(with = "time::serde::timestamp")]
    expires: OffsetDateTime,
}

pub(crate) fn name_key(folder: &str, name: &str) -> Item {
    id_key(format!("name#{folder}\\{name}").to_lowercase())
}

pub(super) fn leaf_key(leaf: Fingerprint) -> Item {
    id_key(format!("leaf#{leaf}"))
}

fn request_key(token: Fingerprint) -> Item {
    id_key(format!("request#{token}"))
}

impl Ledger {
    /// The result of the same request, if it was sent before. One read.
    ///
    /// # Errors
    /// [`StoreRefused::TokenTaken`] if the token was used with a different request.
    pub async fn stored_before(
        &self,
        request: &ClientRequest,
        now: OffsetDateTime,
    ) -> Result<Option<CertificateId>, StoreRefused> {
        let item = self.certificate_item(request_key(request.token)).await?;
        let Some(item) = item else { return Ok(None) };
        let before: RequestItem = from_item("request", item)?;
        match (before.expires <= now, before.body == request.body) {
            (true, _) => Ok(None),
            (false, true) => Ok(Some(before.certificate)),
            (false, false) => Err(StoreRefused::TokenTaken),
        }
    }

    /// Stores the certificate. Returns its id, or that of the certificate that the same request stored concurrently.
    /// One call.
    ///
    /// `only_once`: refuses a leaf that is already stored. After [`StoreRefused::IdTaken`], the caller chooses another
    /// id and seals the key again, because the seal depends on the id. `act`: the first entry of the certificate's
    /// audit chain.
    pub async fn store_certificate(
        &self,
        record: &CertificateRecord,
        only_once: bool,
        request: Option<&ClientRequest>,
        act: &Act,
    ) -> Result<CertificateId, StoreRefused> {
        let links = self.first_link(act)?;
        let mut writes = vec![
            self.put_record(record)?,
            self.claim_name(record.id, &record.folder, &record.name)?,
            self.count_leaf(record, only_once)?,
        ];
        if let Some(request) = request {
            writes.push(self.keep_request(record, request)?);
        }
        writes.extend(links.writes());
        writes.push(self.count_listed(record.id, &record.folder, 1, record.created)?);
        let sent = self.client.transact_write_items().set_transact_items(Some(writes)).send().await;
        let Err(error) = sent else {
            links.tell();
            return Ok(record.id);
        };
        if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
            && let Some(before) = self.look_into(cancelled.cancellation_reasons(), request, record.created).await?
        {
            return Ok(before);
        }
        Err(failed(OPERATION, error).into())
    }

    /// Why a transaction was cancelled; `None` if no condition failed. The request is checked first: if it was done
    /// before, its own name and leaf conflict with its repetition.
    async fn look_into(
        &self,
        reasons: &[CancellationReason],
        request: Option<&ClientRequest>,
        now: OffsetDateTime,
    ) -> Result<Option<CertificateId>, StoreRefused> {
        let refused =
            |index: usize| reasons.get(index).filter(|reason| reason.code.as_deref() == Some("ConditionalCheckFailed"));
        if let (Some(_), Some(request)) = (refused(3), request) {
            return self.stored_before(request, now).await;
        }
        if refused(0).is_some() {
            return Err(StoreRefused::IdTaken);
        }
        if let Some(reason) = refused(1) {
            return Err(StoreRefused::NameTaken(holder(reason)));
        }
        if let Some(reason) = refused(2) {
            return Err(StoreRefused::Duplicate(holder(reason)));
        }
        // The remaining condition is the audit chain of a deleted certificate that had this id.
        if (3..reasons.len()).any(|index| refused(index).is_some()) { Err(StoreRefused::IdTaken) } else { Ok(None) }
    }

    fn put_record(&self, record: &CertificateRecord) -> Result<TransactWriteItem, LedgerError> {
        // The existing item is not returned, as it holds another certificate's sealed key.
        let mut item = to_item("certificate", record)?;
        item.extend(record.index_attributes());
        let put = Put::builder().set_item(Some(item));
        built(put.table_name(self.certificates()?).condition_expression("attribute_not_exists(id)"))
    }

    pub(crate) fn claim_name(
        &self,
        certificate: CertificateId,
        folder: &str,
        name: &str,
    ) -> Result<TransactWriteItem, LedgerError> {
        let mut item = to_item("name", &Holder { certificate })?;
        item.extend(name_key(folder, name));
        item.extend(tree(folder));
        let put = Put::builder().table_name(self.certificates()?).set_item(Some(item));
        built(
            put.condition_expression("attribute_not_exists(id)")
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld),
        )
    }

    pub(crate) fn count_leaf(
        &self,
        record: &CertificateRecord,
        only_once: bool,
    ) -> Result<TransactWriteItem, LedgerError> {
        let update = Update::builder()
            .table_name(self.certificates()?)
            .set_key(Some(leaf_key(record.leaf.fingerprint())))
            .update_expression("SET certificate = if_not_exists(certificate, :id) ADD copies :one")
            .expression_attribute_values(":id", text(record.id))
            .expression_attribute_values(":one", number(1))
            .set_condition_expression(only_once.then(|| "attribute_not_exists(id)".to_owned()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "leaf", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    fn keep_request(
        &self,
        record: &CertificateRecord,
        request: &ClientRequest,
    ) -> Result<TransactWriteItem, LedgerError> {
        let kept = RequestItem { certificate: record.id, body: request.body, expires: record.created + REQUEST_KEPT };
        let mut item = to_item("request", &kept)?;
        item.extend(request_key(request.token));
        let put = Put::builder().table_name(self.certificates()?).set_item(Some(item));
        built(
            put.condition_expression("attribute_not_exists(id) OR expires <= :now")
                .expression_attribute_values(":now", number(record.created.unix_timestamp())),
        )
    }
}

fn built(put: aws_sdk_dynamodb::types::builders::PutBuilder) -> Result<TransactWriteItem, LedgerError> {
    let put =
        put.build().map_err(|source| LedgerError::Unwritable { what: "certificate", source: Box::new(source) })?;
    Ok(TransactWriteItem::builder().put(put).build())
}

/// The certificate of the conflicting item.
fn holder(reason: &CancellationReason) -> Option<CertificateId> {
    let item = reason.item.clone()?;
    from_item::<Holder>("certificate's holder", item).ok().map(|holder| holder.certificate)
}
