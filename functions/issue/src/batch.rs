//! Reads the queue's messages and decides which still need work. Pure.

use aws_lambda_events::event::sqs::SqsEvent;
use rootcast_core::deployment::lifecycle::{Stage, Work};
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::JobRecord;
use rootcast_core::job::message::{Publish, Renewed, Task};
use rootcast_core::job::task::TaskRecord;
use rootcast_ledger::UseRecord;
use rootcast_pki::crl::CrlId;
use rootcast_queue::Delivery;
use serde::Deserialize;

/// A batch, sorted by kind.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) tasks: Vec<Delivery<Task>>,
    pub(crate) lists: Vec<Delivery<CrlId>>,
    /// Certificates of which a renewal was proven.
    pub(crate) renewed: Vec<Delivery<CertificateId>>,
    /// Ids of messages that cannot be read.
    pub(crate) unreadable: Vec<String>,
}

pub(crate) fn read(event: SqsEvent) -> Batch {
    let (deliveries, unreadable) = Delivery::read_all(event);
    let mut batch = Batch { unreadable, ..Batch::default() };
    for Delivery { body, message_id, receipt_handle, receives } in deliveries {
        match body {
            Body::Task(body) => batch.tasks.push(Delivery { body, message_id, receipt_handle, receives }),
            Body::Publish(Publish { crl: body }) => {
                batch.lists.push(Delivery { body, message_id, receipt_handle, receives });
            }
            Body::Renewed(Renewed { renewed: body }) => {
                batch.renewed.push(Delivery { body, message_id, receipt_handle, receives });
            }
        }
    }
    batch
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Body {
    Publish(Publish),
    Renewed(Renewed),
    Task(Task),
}

/// The certificate of a task, or why the task is dropped. Nothing is lost: reopening a task sends it again.
pub(crate) fn judge(
    task: &Task,
    job: Option<&JobRecord>,
    record: Option<&TaskRecord>,
) -> Result<CertificateId, &'static str> {
    let job = match job {
        Some(JobRecord::Deployment(job)) if job.work == Work::Issue => job,
        Some(_) => return Err("its job issues nothing"),
        None => return Err("its job does not exist"),
    };
    task.check(job.takes(task), record).map(|()| job.certificate_of(&task.device))
}

/// The state of a task's device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IssuanceState {
    /// The device was deleted, or taken over by another job.
    Gone,
    /// There is nothing for the issuer to do.
    Passed(&'static str),
    /// The device waits for its certificate.
    Asked,
    /// The certificate is stored, but the worker may not know.
    Issued,
}

pub(crate) fn stand(task: &Task, binding: Option<&UseRecord>) -> IssuanceState {
    let Some(binding) = binding.filter(|binding| binding.job == Some(task.job)) else { return IssuanceState::Gone };
    if binding.lifecycle.attempt != task.attempt || binding.lifecycle.in_error {
        return IssuanceState::Passed("the device is at another attempt");
    }
    match binding.lifecycle.stage {
        Some(Stage::PostCsr | Stage::ApproveRequest | Stage::RetrieveCertificate) => IssuanceState::Asked,
        Some(stage) if stage > Stage::RetrieveCertificate => IssuanceState::Issued,
        Some(_) => IssuanceState::Passed("the device has made no request yet"),
        None => IssuanceState::Passed("the device has its certificate"),
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
