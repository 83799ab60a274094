//! What the queues carry.

use rootcast_pki::crl::CrlShard;
use serde::{Deserialize, Serialize};

use crate::device::DeviceId;
use crate::job::task::{Failure, TaskRecord, TaskState};
use crate::job::{JobId, Leg};

/// To the conductor: look at this job again. Carries no state, so losing or doubling one changes nothing but the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    pub job: JobId,
    /// For whoever reads the queue.
    pub why: String,
}

/// To the issuer: make this revocation list anew where that is due. Carries no state either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    pub crl: CrlShard,
}

/// To a worker: bring this device to what its job's leg wants; to the issuer: sign what the device asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub job: JobId,
    pub leg: Leg,
    pub device: DeviceId,
    pub attempt: u32,
    /// What came of it, where neither the task's record nor the device's could be written: whoever takes the message up
    /// records it and does not go to the device again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<Failure>,
}

impl Task {
    pub const fn new(job: JobId, leg: Leg, device: DeviceId, attempt: u32) -> Self {
        Self { job, leg, device, attempt, unrecorded: None }
    }

    /// Whether there is still something to do about it. `takes_work`: whether its job takes it now.
    ///
    /// # Errors
    /// Why it is left alone. Nothing is lost then: whoever opens an attempt, or resumes a job, sends what is open.
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
