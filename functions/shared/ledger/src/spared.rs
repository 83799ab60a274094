//! Certificates made elsewhere that a rollover does not wait for, although an old root leads to them.

use rootcast_core::audit::Act;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::JobId;
use serde::{Deserialize, Serialize};

use crate::commit::{TRANSACTION, put};
use crate::item::{from_item, job_key, text};
use crate::{Ledger, LedgerError};

/// Most certificates to spare at once, besides the entries of the job's audit chain.
pub const MOST_SPARED: usize = 50;

const _: () = assert!(2 * MOST_SPARED <= TRANSACTION);

/// A certificate that the job does not wait for. Another one of the same name is not meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spared {
    pub certificate: CertificateId,
    /// Its name when it was spared.
    pub name: String,
    pub reason: String,
}

const PREFIX: &str = "spared#";

impl Ledger {
    /// Records 1 to [`MOST_SPARED`] certificates. `acts`: for the job's audit chain.
    pub async fn spare(&self, job: JobId, spared: &[Spared], acts: &[Act]) -> Result<(), LedgerError> {
        let key = |spared: &Spared| job_key(job.to_string(), format!("{PREFIX}{}", spared.certificate));
        let writes = spared.iter().map(|each| put(self.jobs()?, "spared", each, key(each), None));
        self.transact_audited(writes.collect::<Result<_, _>>()?, acts).await
    }

    pub async fn spared(&self, job: JobId) -> Result<Vec<Spared>, LedgerError> {
        let query = self.client.query().table_name(self.jobs()?);
        let query = query.key_condition_expression("pk = :job AND begins_with(sk, :spared)");
        let query = query.expression_attribute_values(":job", text(job.to_string()));
        let query = query.expression_attribute_values(":spared", text(PREFIX)).consistent_read(true);
        let mut items = query.into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(item) = items.next().await {
            found.push(from_item("spared", item.map_err(LedgerError::aws("Query spared"))?)?);
        }
        Ok(found)
    }
}
