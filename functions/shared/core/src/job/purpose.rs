//! What a job with waves over the fleet is for.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Activation, Job, JobId, NewJob, Phase};
use crate::preflight::Preflight;
use crate::rollover::rollout::Rollout;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobPurpose {
    /// The move to a new root.
    #[default]
    Rollover,
    /// The devices get trust anchors of others, or lose them. No root is made, and none is activated.
    Anchors,
    /// The devices are read before a rollover. Nothing is written to them.
    Preflight,
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
            Self::Preflight => "no further device is read. Nothing was written.",
        }
    }
}

/// The parameters of a new preflight.
pub struct NewPreflight {
    pub id: JobId,
    /// The root that signs, if there is one,
    pub signing: Option<u32>,
    /// and the current bundle; 0: there is none.
    pub bundle_version: u64,
    /// Of the rollover that is to follow.
    pub rollout: Rollout,
    pub until: Phase,
    pub preflight: Preflight,
    pub requested_for: Option<String>,
}

impl Job {
    /// A job that reads the devices.
    pub fn of_preflight(new: NewPreflight, now: OffsetDateTime) -> Self {
        let NewPreflight { id, signing, bundle_version, rollout, until, preflight, requested_for } = new;
        let (generation, old_generation) = (signing.unwrap_or_default(), signing);
        let activation = Activation::Proven;
        // It changes nothing at a device, and so keeps to no window.
        let rollout = Rollout { windows: Vec::new(), order: Vec::new(), ..rollout };
        let new = NewJob { id, generation, old_generation, activation, rollout, until, requested_for };
        let mut job =
            Self { purpose: JobPurpose::Preflight, preflight: Some(Box::new(preflight)), ..Self::new(new, now) };
        job.publish(bundle_version);
        job.distribute(now);
        "The devices are read; nothing is written to them.".clone_into(&mut job.reason);
        job
    }

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
