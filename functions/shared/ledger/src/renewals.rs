//! Devices' own certificates that are renewed by themselves: which are due, and the jobs that renew them.
//!
//! `renewAt` of a certificate says when it is due, in an index that has nothing else. The transaction with which a renewal
//! begins moves it, on the condition that it is as it was read: so a renewal begins once, and is found again if it
//! fails. The next certificate has its own: soon, since its installation may fail; and once the device is proven to show it,
//! when it is due.

use aws_sdk_dynamodb::types::{TransactWriteItem, Update};
use futures::future::try_join_all;
use rootcast_core::audit::{Action, Actor, Head};
use rootcast_core::deployment::Deployment;
use rootcast_core::deployment::renewal::{Hour, MOST_RENEWED};
use rootcast_core::inventory::id::CertificateId;
use time::OffsetDateTime;

use crate::commit::{Condition, TRANSACTION, put};
use crate::deployments::{of_certificate, of_job};
use crate::item::{Item, from_item, id_key, job_key, number};
use crate::{CertificateRecord, Ledger, LedgerError, NewUse};

/// Index of certificates by `renewAt`, per shard.
const BY_RENEWAL: &str = "by-renewal";
const RENEW_AT: &str = "renewAt";

/// The job's three records, the hour's, and the job's audit; for each device its use, itself, its certificate, and that
/// one's audit.
const _: () = assert!(3 + 1 + 2 + (2 + 1 + 2) * MOST_RENEWED <= TRANSACTION);

/// One certificate of a renewal, each as it was read.
#[derive(Debug, Clone)]
pub struct Renewal {
    pub certificate: CertificateRecord,
    pub at: NewUse,
}

fn hour_key() -> Item {
    job_key("schedule", "renewals")
}

impl Ledger {
    /// The first certificates of the shard that are due, at most `limit`, the longest due first. One call: half a read
    /// unit if there is none. The index is eventually consistent.
    pub async fn due_for_renewal(
        &self,
        shard: u8,
        now: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<CertificateId>, LedgerError> {
        let query = self.client.query().table_name(self.certificates()?).index_name(BY_RENEWAL);
        let query = query.key_condition_expression(format!("#shard = :shard AND {RENEW_AT} <= :now"));
        let query = query
            .expression_attribute_names("#shard", "shard") // a reserved word
            .expression_attribute_values(":shard", number(shard))
            .expression_attribute_values(":now", number(now.unix_timestamp()));
        let query = query.limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let answer = query.send().await.map_err(LedgerError::aws("Query by-renewal"))?;
        let id = |item: &Item| item.get("id")?.as_s().ok()?.parse().ok();
        Ok(answer.items.unwrap_or_default().iter().filter_map(id).collect())
    }

    /// What has begun in the last hour with renewals. One call.
    pub async fn hour_of_renewals(&self) -> Result<Hour, LedgerError> {
        let get = self.client.get_item().table_name(self.jobs()?).set_key(Some(hour_key())).consistent_read(true);
        let answer = get.send().await.map_err(LedgerError::aws("GetItem renewals"))?;
        Ok(answer.item.map(|item| from_item("hour of renewals", item)).transpose()?.unwrap_or_default())
    }

    /// Stores a renewal job in one transaction with its uses, the hour in which it begins, and when each certificate is
    /// tried again. One call, and one for each audit chain.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if anything was changed since it was read; then nothing is written.
    pub async fn renew(
        &self,
        job: &Deployment,
        renewals: &[Renewal],
        hour: &Hour,
        by: &Actor,
    ) -> Result<(), LedgerError> {
        let mut writes = self.new_deployment(job)?;
        let next = Hour { revision: hour.revision + 1, ..*hour };
        let as_read = Condition::as_read(hour.revision, "pk");
        writes.push(put(self.jobs()?, "hour of renewals", &next, hour_key(), Some(as_read))?);
        let uses: Vec<NewUse> = renewals.iter().map(|renewal| renewal.at.clone()).collect();
        let mut links = self.link_to(&of_job(job, &uses, by), Head::NONE)?;
        let acts = renewals.iter().zip(uses.chunks(1)).map(|(renewal, at)| {
            let id = renewal.certificate.id;
            of_certificate(job, id, Action::Renew, at, by)
        });
        let chains = acts.map(|acts| async move { self.link(&acts).await });
        for chain in try_join_all(chains).await? {
            links = links.and(chain);
        }
        for Renewal { certificate, at } in renewals {
            writes.extend(self.begin_use(job, at)?);
            writes.push(self.move_renewal(certificate, Some(certificate.life().again(job.created)))?);
        }
        writes.extend(links.writes());
        self.transact(writes).await?;
        links.tell();
        Ok(())
    }

    /// Moves the time at which the certificate, as it was read, is tried again; `None`: it never is. Does nothing if it was
    /// changed since.
    pub async fn put_off_renewal(
        &self,
        certificate: &CertificateRecord,
        to: Option<OffsetDateTime>,
    ) -> Result<(), LedgerError> {
        match self.transact(vec![self.move_renewal(certificate, to)?]).await {
            Err(LedgerError::Conflict) => Ok(()),
            moved => moved,
        }
    }

    /// On the condition that the certificate is as it was read.
    fn move_renewal(
        &self,
        certificate: &CertificateRecord,
        to: Option<OffsetDateTime>,
    ) -> Result<TransactWriteItem, LedgerError> {
        let update = Update::builder().table_name(self.certificates()?).set_key(Some(id_key(certificate.id)));
        let update = match to {
            Some(to) => update
                .update_expression(format!("SET {RENEW_AT} = :to ADD revision :one"))
                .expression_attribute_values(":to", number(to.unix_timestamp())),
            None => update.update_expression(format!("REMOVE {RENEW_AT} ADD revision :one")),
        };
        let update = update
            .condition_expression("revision = :read")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":read", number(certificate.revision))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "certificate", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}
