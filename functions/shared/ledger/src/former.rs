//! Valid certificates of ours that no record shows any more, or will not show for long: so that none of them is left
//! behind without being revoked.
//!
//! Both kinds of records are in the jobs table, written in the transaction that makes them necessary, and deleted when
//! the revocations are recorded. So a crash in between leaves them for the schedule.
//!
//! - `former#{shard}`, `{certificate}#{serial}`: a certificate that a renewal replaced.
//! - `ended`, `{certificate}`: a certificate that was deleted, or whose device was.

use aws_sdk_dynamodb::types::TransactWriteItem;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::superseding::Replaced;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::root::Serial;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::commit::put;
use crate::item::{Item, from_item, job_key, number, text};
use crate::{CertificateRecord, Ledger, LedgerError};

/// A certificate that a renewal replaced, until it is revoked or has expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FormerRecord {
    pub serial: Serial,
    pub certificate: CertificateId,
    /// SHA-256 of the certificate that replaced it.
    pub successor: Fingerprint,
    #[serde(with = "time::serde::timestamp")]
    pub not_after: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub signed: OffsetDateTime,
}

/// A certificate whose record or device was deleted, until everything that was signed for it by then is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndedRecord {
    pub certificate: CertificateId,
    /// The last one that was signed, if it is to be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Serial>,
    /// The principal that deleted it.
    pub by: String,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
}

const ENDED: &str = "ended";

fn partition(shard: u8) -> String {
    format!("former#{shard:02}")
}

fn former_key(certificate: CertificateId, serial: Serial) -> Item {
    job_key(partition(certificate.shard()), format!("{certificate}#{serial}"))
}

impl FormerRecord {
    /// `None`: it need not be revoked.
    pub(crate) fn of(before: &CertificateRecord, successor: Fingerprint, now: OffsetDateTime) -> Option<Self> {
        let serial = before.serial_to_revoke(now)?;
        let CertificateRecord { id: certificate, not_after, updated: signed, .. } = *before;
        Some(Self { serial, certificate, successor, not_after, signed })
    }

    pub const fn replaced(&self) -> Replaced {
        Replaced { successor: self.successor, not_after: self.not_after }
    }
}

impl CertificateRecord {
    /// The serial number of a device's own certificate that is valid.
    fn serial_to_revoke(&self, now: OffsetDateTime) -> Option<Serial> {
        let is_standing = self.device.is_some() && self.revoked.is_none() && self.not_after > now;
        is_standing.then(|| Serial::try_from(self.leaf.serial().to_owned()).ok()).flatten()
    }
}

impl Ledger {
    pub(crate) fn put_former(&self, record: &FormerRecord) -> Result<TransactWriteItem, LedgerError> {
        put(self.jobs()?, "replaced certificate", record, former_key(record.certificate, record.serial), None)
    }

    pub(crate) fn put_ended(&self, record: &EndedRecord) -> Result<TransactWriteItem, LedgerError> {
        put(self.jobs()?, "ended certificate", record, job_key(ENDED, record.certificate.to_string()), None)
    }

    /// What has to be revoked if the certificate ends now; `None`: nothing. One call at most.
    pub async fn ending(
        &self,
        record: &CertificateRecord,
        by: &str,
        now: OffsetDateTime,
    ) -> Result<Option<EndedRecord>, LedgerError> {
        if record.device.is_none() {
            return Ok(None);
        }
        let serial = record.serial_to_revoke(now);
        let is_any = serial.is_some() || self.formers(record.id).await?.iter().any(|former| former.not_after > now);
        Ok(is_any.then(|| EndedRecord { certificate: record.id, serial, by: by.to_owned(), at: now }))
    }

    /// What renewals of the certificate replaced. One call per megabyte.
    pub async fn formers(&self, certificate: CertificateId) -> Result<Vec<FormerRecord>, LedgerError> {
        let mut pages = self
            .client
            .query()
            .table_name(self.jobs()?)
            .key_condition_expression("pk = :shard AND begins_with(sk, :certificate)")
            .expression_attribute_values(":shard", text(partition(certificate.shard())))
            .expression_attribute_values(":certificate", text(format!("{certificate}#")))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut found = Vec::new();
        while let Some(item) = pages.next().await {
            found.push(from_item("replaced certificate", item.map_err(LedgerError::aws("Query replaced"))?)?);
        }
        Ok(found)
    }

    /// Where a page begins that leaves out what is before this certificate.
    pub fn formers_from(shard: u8, certificate: CertificateId) -> Item {
        job_key(partition(shard), certificate.to_string())
    }

    /// One page of the shard's replaced certificates, those of one certificate together, and where the next begins.
    pub async fn formers_of_shard(
        &self,
        shard: u8,
        after: Option<Item>,
    ) -> Result<(Vec<FormerRecord>, Option<Item>), LedgerError> {
        let query = self.client.query().table_name(self.jobs()?).key_condition_expression("pk = :shard");
        let query = query.expression_attribute_values(":shard", text(partition(shard)));
        let answer = query.set_exclusive_start_key(after).send().await.map_err(LedgerError::aws("Query replaced"))?;
        let found = answer.items.unwrap_or_default().into_iter().map(|item| from_item("replaced certificate", item));
        Ok((found.collect::<Result<_, _>>()?, answer.last_evaluated_key))
    }

    /// Deletes the record of a certificate that was replaced and is revoked, or has expired.
    pub async fn forget_former(&self, record: &FormerRecord) -> Result<(), LedgerError> {
        let delete = self
            .client
            .delete_item()
            .table_name(self.jobs()?)
            .set_key(Some(former_key(record.certificate, record.serial)));
        delete.send().await.map(|_| ()).map_err(LedgerError::aws("DeleteItem replaced"))
    }

    /// Certificates that ended and are not revoked yet: none, unless a function was interrupted.
    pub async fn ended(&self) -> Result<Vec<EndedRecord>, LedgerError> {
        let query = self.client.query().table_name(self.jobs()?).key_condition_expression("pk = :ended");
        let query = query.expression_attribute_values(":ended", text(ENDED)).consistent_read(true);
        let answer = query.send().await.map_err(LedgerError::aws("Query ended"))?;
        answer.items.unwrap_or_default().into_iter().map(|item| from_item("ended certificate", item)).collect()
    }

    /// Deletes the record of an ended certificate, unless it ended once more since.
    pub async fn forget_ended(&self, record: &EndedRecord) -> Result<(), LedgerError> {
        let delete = self.client.delete_item().table_name(self.jobs()?);
        let delete = delete.set_key(Some(job_key(ENDED, record.certificate.to_string())));
        let delete = delete.condition_expression("#at = :at").expression_attribute_names("#at", "at");
        let deleted = delete.expression_attribute_values(":at", number(record.at.unix_timestamp())).send().await;
        match deleted {
            Err(error) if error.as_service_error().is_some_and(|why| why.is_conditional_check_failed_exception()) => {
                Ok(())
            }
            deleted => deleted.map(|_| ()).map_err(LedgerError::aws("DeleteItem ended")),
        }
    }
}
