//! Decides which tasks still need work. Pure.

use rootcast_core::deployment::lifecycle::Work;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::message::Task;
use rootcast_core::job::task::TaskRecord;
use rootcast_core::job::{JobRecord, Pass};
use rootcast_core::preflight::Expected;
use rootcast_ledger::Authority;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskWork {
    /// Bring the device's trust store to this bundle.
    Trust { bundle: u64 },
    /// Install this certificate on the device. `own`: the device makes its key, and we sign.
    Install { certificate: CertificateId, own: bool },
    /// Read the device, and compare it with this bundle.
    Check { bundle: u64, expected: Expected },
    /// Look at the device for a person.
    Probe,
}

/// `authority`: only needed for a joining device.
pub(crate) fn judge(
    task: &Task,
    job: Option<&JobRecord>,
    record: Option<&TaskRecord>,
    authority: &Authority,
) -> Result<TaskWork, &'static str> {
    if task.pass == Pass::Probe {
        return Ok(TaskWork::Probe);
    }
    if task.pass == Pass::Join {
        return match authority {
            authority if !authority.lets_join() => Err("a rollover is running, and looks at every device"),
            Authority { bundle: 0, .. } => Err("there is no bundle"),
            Authority { bundle, .. } => Ok(TaskWork::Trust { bundle: *bundle }),
        };
    }
    let (work, takes_work) = match job {
        None => return Err("its job does not exist"),
        Some(JobRecord::Rollover(_)) if task.pass == Pass::Install => {
            let certificate = task.issues(job, record)?;
            return Ok(TaskWork::Install { certificate, own: true });
        }
        Some(JobRecord::Rollover(job)) => {
            let bundle = job.bundle_version;
            let work = match &job.preflight {
                Some(preflight) => TaskWork::Check { bundle, expected: preflight.expected },
                None => TaskWork::Trust { bundle },
            };
            (work, job.takes_device_work(task.pass))
        }
        Some(JobRecord::Deployment(job)) => {
            let (certificate, own) = (job.certificate_of(&task.device), job.work == Work::Issue);
            (TaskWork::Install { certificate, own }, job.takes(task))
        }
    };
    task.check(takes_work, record).map(|()| work)
}
