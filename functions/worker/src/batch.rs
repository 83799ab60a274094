//! Reads the queue's messages and decides which still need work. Pure.

use aws_lambda_events::event::sqs::SqsEvent;
use rootcast_core::deployment::lifecycle::Work;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::Leg;
use rootcast_core::job::message::Task;
use rootcast_core::job::task::TaskRecord;
use rootcast_ledger::{Authority, JobRecord};
use rootcast_queue::Delivery;

/// The messages that can be read, and the ids of the others.
pub(crate) fn read(event: SqsEvent) -> (Vec<Delivery<Task>>, Vec<String>) {
    let (mut deliveries, mut unreadable) = (Vec::new(), Vec::new());
    for message in event.records {
        match Delivery::read(message) {
            Ok(delivery) => deliveries.push(delivery),
            Err(id) => unreadable.push(id),
        }
    }
    (deliveries, unreadable)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskWork {
    /// Bring the device's trust store to this bundle.
    Trust { bundle: u64 },
    /// Install this certificate on the device. `own`: the device makes its key, and we sign.
    Install { certificate: CertificateId, own: bool },
    /// Drop the message. Nothing is lost: a resumed job sends its open tasks again.
    Drop(&'static str),
}

/// `authority`: only needed for a joining device.
pub(crate) fn judge(
    task: &Task,
    job: Option<&JobRecord>,
    record: Option<&TaskRecord>,
    authority: &Authority,
) -> TaskWork {
    if task.leg == Leg::Join {
        return match authority {
            Authority { running: Some(_), .. } => TaskWork::Drop("a rollover is running, and looks at every device"),
            Authority { bundle: 0, .. } => TaskWork::Drop("there is no bundle"),
            Authority { bundle, .. } => TaskWork::Trust { bundle: *bundle },
        };
    }
    let (wanted, takes_work) = match job {
        None => return TaskWork::Drop("its job does not exist"),
        Some(JobRecord::Rollover(job)) => {
            (TaskWork::Trust { bundle: job.bundle_version }, job.takes_device_work(task.leg))
        }
        Some(JobRecord::Deployment(job)) => {
            (TaskWork::Install { certificate: job.certificate, own: job.work == Work::Issue }, job.takes(task))
        }
    };
    task.check(takes_work, record).map_or_else(TaskWork::Drop, |()| wanted)
}
