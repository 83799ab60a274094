//! Who had a private key, and who destroyed one.

use rootcast_core::certificate_id::CertificateId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::item::{Item, job_key, to_item};
use crate::{Ledger, LedgerError};

/// What was done with a certificate. Kept in the jobs table, under the certificate's id, and never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    pub principal: String,
    pub action: AuditAction,
    /// The API's, which its access log has too.
    pub request_id: String,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuditAction {
    /// The private key was about to be given out.
    Export,
    Delete,
}

impl AuditRecord {
    /// In the order of time; `random` keeps those of one second apart.
    pub(crate) fn key(&self, certificate: CertificateId, random: [u8; 8]) -> Item {
        let sort = format!("audit#{:012}#{:016x}", self.at.unix_timestamp(), u64::from_be_bytes(random));
        job_key(certificate, sort)
    }
}

impl Ledger {
    /// One call.
    pub async fn audit(
        &self,
        certificate: CertificateId,
        record: &AuditRecord,
        random: [u8; 8],
    ) -> Result<(), LedgerError> {
        let mut item = to_item("audit", record)?;
        item.extend(record.key(certificate, random));
        self.client
            .put_item()
            .table_name(self.jobs()?)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await
            .map_err(LedgerError::aws("PutItem audit"))?;
        Ok(())
    }
}
