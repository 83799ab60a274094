//! What came from the queue, and whether there is still something to do about it. Pure.

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use rootcast_core::certificate_id::CertificateId;
use rootcast_core::lifecycle::Work;
use rootcast_core::message::Task;
use rootcast_core::task::{TaskRecord, TaskState};
use rootcast_ledger::{JobRecord, TaskKey};

/// One message.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) message_id: String,
    pub(crate) receipt_handle: String,
    /// How often the queue has handed it out, this time included.
    pub(crate) receives: u32,
    pub(crate) task: Task,
}

impl Delivery {
    pub(crate) fn key(&self) -> TaskKey {
        TaskKey { job: self.task.job, leg: self.task.leg, device: self.task.device.clone() }
    }
}

/// The messages that can be read, and the ids of the others.
pub(crate) fn read(event: SqsEvent) -> (Vec<Delivery>, Vec<String>) {
    let (mut deliveries, mut unreadable) = (Vec::new(), Vec::new());
    for message in event.records {
        let id = message.message_id.clone().unwrap_or_default();
        match delivery(message) {
            Some(delivery) => deliveries.push(delivery),
            None => unreadable.push(id),
        }
    }
    (deliveries, unreadable)
}

fn delivery(message: SqsMessage) -> Option<Delivery> {
    let receives = message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok());
    Some(Delivery {
        message_id: message.message_id?,
        receipt_handle: message.receipt_handle?,
        receives: receives.unwrap_or(1),
        task: serde_json::from_str(&message.body?).ok()?,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Bring the device's trust store to this bundle.
    Trust { bundle: u64 },
    /// Give the device this certificate. `own`: the device makes its key, and we sign.
    Install { certificate: CertificateId, own: bool },
    /// Nothing is lost: a paused job sends its open tasks again when it is resumed.
    Drop(&'static str),
}

pub(crate) fn judge(task: &Task, job: Option<&JobRecord>, record: Option<&TaskRecord>) -> Verdict {
    let (wanted, takes_work) = match job {
        None => return Verdict::Drop("its job does not exist"),
        Some(JobRecord::Rollover(job)) => {
            (Verdict::Trust { bundle: job.bundle_version }, job.takes_device_work(task.leg))
        }
        Some(JobRecord::Deployment(job)) => {
            let takes_work = job.takes_device_work(task.leg) && job.devices.contains(&task.device);
            (Verdict::Install { certificate: job.certificate, own: job.work == Work::Issue }, takes_work)
        }
    };
    match record {
        _ if !takes_work => Verdict::Drop("its job takes no device work now"),
        None if task.attempt > 1 => Verdict::Drop("its attempt was never opened"),
        Some(record) if record.state != TaskState::Waiting => Verdict::Drop("it is settled already"),
        Some(record) if record.attempt != task.attempt => Verdict::Drop("it is of another attempt"),
        _ => wanted,
    }
}
