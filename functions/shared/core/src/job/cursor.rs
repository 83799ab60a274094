//! A job's position in the fleet.

use serde::{Deserialize, Serialize};

use super::JobId;
use crate::device::{DeviceId, SHARDS};

/// A position in the order in which the fleet is paged: by shard, then by id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// Number of shards done.
    pub step: u8,
    /// The last device taken from the current shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<DeviceId>,
}

impl Cursor {
    /// Behind the whole fleet.
    pub const END: Self = Self { step: SHARDS, after: None };

    pub const fn is_at_end(&self) -> bool {
        self.step >= SHARDS
    }

    pub const fn next_shard(&self) -> Self {
        Self { step: self.step + 1, after: None }
    }

    /// Each job starts with another shard, so that the canaries are not always the same devices.
    pub fn shard(&self, job: JobId) -> u8 {
        let first = (job.0 % u64::from(SHARDS)) as u8;
        (first + self.step) % SHARDS
    }

    /// Whether a device lies before this position, that is, was taken.
    pub fn is_past(&self, job: JobId, device: &DeviceId) -> bool {
        let first = (job.0 % u64::from(SHARDS)) as u8;
        let step = (device.shard() + SHARDS - first) % SHARDS;
        step < self.step || (step == self.step && self.after.as_ref().is_some_and(|after| device <= after))
    }
}
