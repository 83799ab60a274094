//! The API's JSON, limited to the fields that the command reads.

use rootcast_core::deployment::DeploymentOutcome;
use rootcast_core::device::{DeviceId, Incarnation, Pin};
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::task::{ErrorClass, TaskState};
use rootcast_core::job::{Activation, JobId, JobOutcome, JobState, Pass, Phase};
use rootcast_core::rollover::rollout::Rollout;
use serde::{Deserialize, Serialize};

/// `GET /jobs/{id}`. Times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) state: JobState,
    /// The reason for the current state.
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(rename = "leg")]
    pub(crate) pass: Pass,
    pub(crate) devices: Counts,
    #[serde(default)]
    pub(crate) waves: Vec<WaveView>,
    pub(crate) created: String,
    pub(crate) updated: String,
    #[serde(flatten)]
    pub(crate) work: Work,
}

/// What a job distributes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Work {
    Rollover(Rollover),
    Deployment(Deployment),
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rollover {
    pub(crate) phase: Phase,
    #[serde(default)]
    pub(crate) outcome: Option<JobOutcome>,
    pub(crate) generation: u32,
    #[serde(default)]
    pub(crate) old_generation: Option<u32>,
    pub(crate) bundle_version: u64,
    #[serde(default)]
    pub(crate) unusable_keys: Vec<u32>,
    pub(crate) activation: Activation,
    pub(crate) rollout: Rollout,
    #[serde(default)]
    pub(crate) proofs: Option<Proofs>,
    #[serde(default)]
    pub(crate) left: Vec<Left>,
}

/// Device counts of the last survey of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Proofs {
    pub(crate) fresh: u64,
    pub(crate) old: u64,
    pub(crate) missing: u64,
    pub(crate) failed: u64,
    pub(crate) waived: u64,
}

/// A device that left the fleet while the job ran.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Left {
    pub(crate) device: DeviceId,
    pub(crate) how: String,
    pub(crate) by: String,
    pub(crate) at: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deployment {
    pub(crate) certificate: CertificateId,
    #[serde(default)]
    pub(crate) outcome: Option<DeploymentOutcome>,
    pub(crate) requested_by: String,
}

impl Job {
    /// The current phase, in one word.
    pub(crate) const fn phase(&self) -> &'static str {
        match &self.work {
            Work::Rollover(rollover) => phase_name(rollover.phase),
            Work::Deployment(_) => "install",
        }
    }
}

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Create => "create",
        Phase::Publish => "publish",
        Phase::Distribute => "distribute",
        Phase::HoldDown => "hold-down",
        Phase::Activate => "activate",
        Phase::Reissue => "reissue",
        Phase::Distrust => "distrust",
        Phase::Retire => "retire",
        Phase::Withdraw => "withdraw",
        Phase::Ended => "ended",
    }
}

/// Device counts of the job's current pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Counts {
    /// Unknown until every page of the fleet was read.
    #[serde(default)]
    pub(crate) total: Option<u64>,
    pub(crate) dispatched: u64,
    pub(crate) acked: u64,
    pub(crate) failed: u64,
    #[serde(default)]
    pub(crate) skipped: u64,
    #[serde(default)]
    pub(crate) waived: u64,
}

impl Counts {
    pub(crate) const fn settled(&self) -> u64 {
        self.acked + self.failed + self.skipped + self.waived
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct WaveView {
    #[serde(rename = "leg")]
    pub(crate) pass: Pass,
    pub(crate) number: u32,
    pub(crate) size: u64,
    pub(crate) acked: u64,
    pub(crate) failed: u64,
    pub(crate) opened: String,
    #[serde(default)]
    pub(crate) closed: Option<String>,
}

/// `GET /jobs/{id}/tasks`
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Task {
    pub(crate) device: DeviceId,
    #[serde(rename = "leg")]
    pub(crate) pass: Pass,
    pub(crate) state: TaskState,
    #[serde(default)]
    pub(crate) class: Option<ErrorClass>,
    #[serde(default)]
    pub(crate) message: Option<String>,
    #[serde(default)]
    pub(crate) recovery: Option<String>,
    #[serde(default)]
    pub(crate) tries: Option<Tries>,
}

/// Failed attempts on a device whose task is still waiting.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Tries {
    pub(crate) count: u32,
    pub(crate) class: ErrorClass,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) next: Option<String>,
}

/// A changed identity that waits for its approval.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Unapproved {
    pub(crate) by: String,
    /// The last approved identity.
    #[serde(default)]
    pub(crate) formerly: Option<Identity>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Identity {
    pub(crate) address: String,
    pub(crate) profile: String,
    #[serde(default)]
    pub(crate) slot: Option<String>,
    pub(crate) credential: String,
    #[serde(default)]
    pub(crate) subject: Option<serde_json::Value>,
    #[serde(default)]
    pub(crate) pins: Vec<Pin>,
}

/// `GET /devices`
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) address: String,
    pub(crate) profile: String,
    /// `pending` or `approved`.
    pub(crate) state: String,
    pub(crate) incarnation: Incarnation,
    pub(crate) endpoint_revision: u64,
    #[serde(default)]
    pub(crate) slot: Option<String>,
    #[serde(default)]
    pub(crate) credential: String,
    #[serde(default)]
    pub(crate) subject: Option<serde_json::Value>,
    #[serde(default)]
    pub(crate) pins: Vec<Pin>,
    #[serde(default)]
    pub(crate) unapproved: Option<Unapproved>,
    #[serde(default)]
    pub(crate) held: Option<ObservedTrustStore>,
}

/// The device's trust store at its last reading.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ObservedTrustStore {
    pub(crate) bundle_version: u64,
    pub(crate) at: String,
}

/// `GET /devices/{id}/fingerprint`: the certificate that the device shows now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fingerprint {
    pub(crate) fingerprint: Pin,
    pub(crate) spki: Pin,
    pub(crate) subject: String,
    #[serde(default)]
    pub(crate) issuer: String,
    #[serde(default)]
    pub(crate) not_after: String,
}

/// A row of `GET /signingCertificate/details`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RootDetails {
    /// PEM
    pub(crate) certificate: String,
    pub(crate) subject_dn: String,
    pub(crate) issuer_dn: String,
    pub(crate) serial_number: String,
    pub(crate) signature_algorithm: String,
    pub(crate) not_before: String,
    pub(crate) not_after: String,
}
