//! A job's position in the fleet, where it is read as a whole: one shard after the other.

use serde::{Deserialize, Serialize};

use super::JobId;
use crate::device::{DeviceId, SHARDS};

/// The shard at a step of the job. Each job starts with another one, so that the canaries are not always the same devices.
pub(super) const fn shard(job: JobId, step: u8) -> u8 {
    (first(job) + step) % SHARDS
}

pub(super) const fn step(job: JobId, shard: u8) -> u8 {
    (shard + SHARDS - first(job)) % SHARDS
}

const fn first(job: JobId) -> u8 {
    (job.0 % SHARDS as u64) as u8
}

/// A position in the order of a sweep: by shard, then by id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// Number of shards done.
    pub step: u8,
    /// The last device taken from the current shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<DeviceId>,
}

impl Cursor {
    pub const fn is_at_end(&self) -> bool {
        self.step >= SHARDS
    }

    pub const fn next_shard(&self) -> Self {
        Self { step: self.step + 1, after: None }
    }

    pub const fn shard(&self, job: JobId) -> u8 {
        shard(job, self.step)
    }

    /// Whether a device lies before this position, that is, was taken.
    pub fn is_past(&self, job: JobId, device: &DeviceId) -> bool {
        let step = step(job, device.shard());
        step < self.step || (step == self.step && self.after.as_ref().is_some_and(|after| device <= after))
    }
}
