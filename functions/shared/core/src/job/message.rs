//! The messages in the queues.

use rootcast_pki::crl::CrlId;
use serde::{Deserialize, Serialize};

use crate::deployment::lifecycle::Work;
use crate::device::DeviceId;
use crate::inventory::id::CertificateId;
use crate::job::task::{Failure, TaskRecord, TaskState, none};
use crate::job::{JobId, JobRecord, Pass};
use crate::usage::Usage;

/// To the conductor: look at this job again. Carries no state, so a lost or doubled message only changes the timing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    pub job: JobId,
    /// For people who read the queue.
    pub why: String,
}

/// To the conductor: look after the issuing authorities. Carries no state either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuing {
    /// Why, for people who read the queue.
    pub issuing: String,
}

/// To the conductor: renew those of these certificates that are due. Says nothing that the records do not say, so a lost or
/// doubled message only changes the timing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// 1 to [`MOST_RENEWED`](crate::deployment::renewal::MOST_RENEWED).
    pub renew: Vec<CertificateId>,
}

/// To the issuer: publish this revocation list again if that is due. Carries no state either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    pub crl: CrlId,
}

/// To the conductor, which may sign with roots' keys: publish those of this root's revocation lists that are due. Carries
/// no state either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RootLists {
    /// The root's generation.
    pub lists_of_root: u32,
}

/// To the issuer: a device was proven to show a renewal of this certificate, so what it replaced may be revoked.
/// Carries no state either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    pub renewed: CertificateId,
}

/// To a worker: bring this device to the state that the job's pass requires. To the issuer: sign the device's request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub job: JobId,
    #[serde(rename = "leg")]
    pub pass: Pass,
    pub device: DeviceId,
    pub attempt: u32,
    /// The wave in which it was sent; 0 outside of any, and in messages of an earlier release.
    #[serde(default, skip_serializing_if = "none")]
    pub wave: u32,
    /// In a rollover: the device's own certificate, which is to be replaced. A deployment names its certificate itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateId>,
    /// The result of a visit, if neither the task's record nor the device's could be written. The next worker records
    /// it without another visit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<Failure>,
    /// What was used for it and is on no record yet: the worker's is the next write of the job's.
    #[serde(default, skip_serializing_if = "Usage::is_nothing")]
    pub used: Usage,
}

impl Task {
    pub const fn new(job: JobId, pass: Pass, device: DeviceId, attempt: u32) -> Self {
        Self { job, pass, device, attempt, wave: 0, certificate: None, unrecorded: None, used: Usage::NONE }
    }

    /// The certificate that the task issues and installs.
    ///
    /// # Errors
    /// Why the message is dropped: see [`Self::check`].
    pub fn issues(&self, job: Option<&JobRecord>, record: Option<&TaskRecord>) -> Result<CertificateId, &'static str> {
        let (certificate, takes_work) = match job {
            None => return Err("its job does not exist"),
            Some(JobRecord::Deployment(job)) if job.work == Work::Issue => {
                (Some(job.certificate_of(&self.device)), job.takes(self))
            }
            Some(JobRecord::Rollover(job)) if self.pass == Pass::Install => {
                (self.certificate, job.takes_device_work(self.pass))
            }
            Some(_) => return Err("its job issues nothing"),
        };
        let certificate = certificate.ok_or("it names no certificate")?;
        self.check(takes_work, record).map(|()| certificate)
    }

    /// Whether the message still needs work. `takes_work`: whether its job accepts work now.
    ///
    /// # Errors
    /// Why the message is dropped. Nothing is lost: reopening a task or resuming a job sends the open tasks again.
    pub fn check(&self, takes_work: bool, record: Option<&TaskRecord>) -> Result<(), &'static str> {
        match record {
            _ if !takes_work => Err("its job takes no device work now"),
            None if self.attempt > 1 => Err("its attempt was never opened"),
            Some(record) if record.state != TaskState::Waiting => Err("it is settled already"),
            Some(record) if record.attempt != self.attempt => Err("it is of another attempt"),
            _ => Ok(()),
        }
    }

    pub fn shard(&self) -> u8 {
        self.device.shard()
    }
}
