//! The conductor's lease on a job. Writes of tasks, and writes that pass a gate, are conditional on it.
//!
//! An invocation that cannot get the lease leaves a mark. The holder finds it on release and processes the job once
//! more. So no wake-up is lost, and no invocation waits for another.

use aws_sdk_dynamodb::types::{ConditionCheck, TransactWriteItem};
use rootcast_core::job::JobId;
use time::OffsetDateTime;

use crate::item::{Item, job_key, number, text};
use crate::{Ledger, LedgerError};

/// A lease on a job, held by one invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conducting {
    pub job: JobId,
    /// Unique to the invocation.
    pub owner: String,
}

fn key(job: JobId) -> Item {
    job_key(job.to_string(), "conductor")
}

impl Ledger {
    /// Takes the lease, at most until `until`. If another invocation holds it, leaves a mark for the holder and returns
    /// `None`.
    pub async fn conduct(
        &self,
        job: JobId,
        owner: &str,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Option<Conducting>, LedgerError> {
        self.meter.resume(job);
        loop {
            let taken = self
                .client
                .update_item()
                .table_name(self.jobs()?)
                .set_key(Some(key(job)))
                .update_expression("SET #owner = :owner, #until = :until, wakes = :none")
                .condition_expression("attribute_not_exists(#owner) OR #owner = :owner OR #until <= :now")
                .expression_attribute_names("#owner", "owner")
                .expression_attribute_names("#until", "until")
                .expression_attribute_values(":owner", text(owner))
                .expression_attribute_values(":until", number(until.unix_timestamp()))
                .expression_attribute_values(":now", number(now.unix_timestamp()))
                .expression_attribute_values(":none", number(0))
                .send()
                .await;
            match taken {
                Ok(_) => return Ok(Some(Conducting { job, owner: owner.to_owned() })),
                Err(error) if !is_refused(error.as_service_error()) => {
                    return Err(LedgerError::aws("UpdateItem conductor")(error));
                }
                Err(_) => {}
            }
            let told = self
                .client
                .update_item()
                .table_name(self.jobs()?)
                .set_key(Some(key(job)))
                .update_expression("ADD wakes :one")
                .condition_expression("attribute_exists(#owner) AND #until > :now")
                .expression_attribute_names("#owner", "owner")
                .expression_attribute_names("#until", "until")
                .expression_attribute_values(":one", number(1))
                .expression_attribute_values(":now", number(now.unix_timestamp()))
                .send()
                .await;
            match told {
                Ok(_) => return Ok(None),
                Err(error) if !is_refused(error.as_service_error()) => {
                    return Err(LedgerError::aws("UpdateItem conductor")(error));
                }
                // Released between both calls: try again.
                Err(_) => {}
            }
        }
    }

    /// Releases the lease. `false`: another invocation left a mark meanwhile; the lease is still held.
    pub async fn finish_conducting(&self, held: &Conducting) -> Result<bool, LedgerError> {
        let finished = self.release_job(held).await;
        self.meter.leave(held.job);
        finished
    }

    async fn release_job(&self, held: &Conducting) -> Result<bool, LedgerError> {
        let left = self
            .client
            .delete_item()
            .table_name(self.jobs()?)
            .set_key(Some(key(held.job)))
            .condition_expression("#owner = :owner AND wakes = :none")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", text(&held.owner))
            .expression_attribute_values(":none", number(0))
            .send()
            .await;
        match left {
            Ok(_) => return Ok(true),
            Err(error)
                if error.as_service_error().is_some_and(|error| error.is_conditional_check_failed_exception()) => {}
            Err(error) => return Err(LedgerError::aws("DeleteItem conductor")(error)),
        }
        let asked = self
            .client
            .update_item()
            .table_name(self.jobs()?)
            .set_key(Some(key(held.job)))
            .update_expression("SET wakes = :none")
            .condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", text(&held.owner))
            .expression_attribute_values(":none", number(0))
            .send()
            .await;
        match asked {
            Ok(_) => Ok(false),
            // The lease expired and was taken by another invocation, which processes the job.
            Err(error) if is_refused(error.as_service_error()) => Ok(true),
            Err(error) => Err(LedgerError::aws("UpdateItem conductor")(error)),
        }
    }

    /// Requires that the lease is still held.
    pub(crate) fn demand_conducting(&self, held: &Conducting) -> Result<TransactWriteItem, LedgerError> {
        let check = ConditionCheck::builder()
            .table_name(self.jobs()?)
            .set_key(Some(key(held.job)))
            .condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", text(&held.owner))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "conductor", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }
}

fn is_refused(error: Option<&aws_sdk_dynamodb::operation::update_item::UpdateItemError>) -> bool {
    error.is_some_and(|error| error.is_conditional_check_failed_exception())
}
