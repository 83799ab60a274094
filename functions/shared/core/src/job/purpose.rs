//! What a job with waves over the fleet is for.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Activation, Job, JobId, NewJob, Phase};
use crate::rollover::rollout::Rollout;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobPurpose {
    /// The move to a new root.
    #[default]
    Rollover,
    /// The devices get trust anchors of others, or lose them. No root is made, and none is activated.
    Anchors,
}

impl JobPurpose {
    pub const fn is_rollover(&self) -> bool {
        matches!(self, Self::Rollover)
    }

    /// What an abort does, in a sentence.
    pub const fn turns_back(self) -> &'static str {
        match self {
            Self::Rollover => "the new root is being removed from the devices.",
            Self::Anchors => "the devices get the trusted certificates of before.",
        }
    }
}

impl Job {
    /// A job whose bundle is published already, and of which the devices know nothing. `signing`: the root that signs.
    pub fn of_anchors(
        id: JobId,
        signing: u32,
        bundle_version: u64,
        rollout: Rollout,
        requested_for: Option<String>,
        now: OffsetDateTime,
    ) -> Self {
        let activation = Activation::Proven;
        let new = NewJob {
            id,
            generation: signing,
            old_generation: None,
            activation,
            rollout,
            until: Phase::Activate,
            requested_for,
        };
        let mut job = Self { purpose: JobPurpose::Anchors, ..Self::new(new, now) };
        job.publish(bundle_version);
        "The bundle is published.".clone_into(&mut job.reason);
        job
    }
}
