//! Jobs: rollovers and deployments.

use std::collections::{BTreeMap, BTreeSet};

use rootcast_core::deployment::DeploymentOutcome;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::{Activation, JobId, JobOutcome, JobPurpose, JobState, Pass, Phase};
use rootcast_core::rollover::rollout::Rollout;
use rootcast_core::usage::{Prices, Usage, dollars};
use rootcast_ledger::Leave;
use serde::{Deserialize, Serialize};

use super::preflight::{Preflight, Report, priced_by};

/// `GET /jobs/{id}`: a job with the devices of its current pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    #[serde(flatten)]
    pub summary: Summary,
    pub devices: Counts,
    /// What it has used at AWS so far; nothing of a job from before this was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Used>,
    /// The result of a rollover's last survey, once it has read every shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proofs: Option<Proofs>,
    /// What a preflight found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
    /// The preflight within a day before a rollover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Preflight>,
    /// Devices that left the fleet during a rollover: the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Left>,
    /// What still needs the older roots, before they leave the devices.
    #[serde(rename = "inUse", default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<InUse>,
    /// The waves of all passes; `None` for a deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waves: Option<Vec<Wave>>,
}

/// Counted by the functions themselves, with every attempt. Without what a function did after its last write of the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Used {
    /// Decimal.
    pub dollars: String,
    /// By service.
    pub calls: BTreeMap<String, u64>,
    pub write_units: u64,
    pub read_units: u64,
    /// With those by which Lambda takes messages from a queue and deletes them.
    pub queue_requests: u64,
    pub signatures: u64,
    pub invocations: u64,
    /// Of functions.
    pub gigabyte_seconds: u64,
    /// Region, date and source.
    pub prices: String,
}

impl Used {
    /// `None`: nothing was counted.
    pub fn of(used: &Usage, prices: &Prices) -> Option<Self> {
        let calls = [
            ("dynamodb", used.database_calls),
            ("sqs", used.queue_requests),
            ("kms", used.key_requests),
            ("ssm", used.parameter_calls),
            ("eventbridge", used.event_requests),
        ];
        let calls = calls.into_iter().filter(|(_, count)| *count > 0);
        (!used.is_nothing()).then(|| Self {
            dollars: dollars(prices.of(used)),
            calls: calls.map(|(service, count)| (service.to_owned(), count)).collect(),
            write_units: used.write_units,
            read_units: used.half_read_units.div_ceil(2),
            queue_requests: used.queue_requests,
            signatures: used.signatures,
            invocations: used.invocations,
            gigabyte_seconds: used.megabyte_millis.div_ceil(1024 * 1000),
            prices: priced_by(prices),
        })
    }
}

/// `GET /jobs`: a job without its devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub id: JobId,
    pub job_path: String,
    pub state: JobState,
    /// Why the job is in this state, in a sentence.
    #[serde(default)]
    pub reason: String,
    #[serde(rename = "leg")]
    pub pass: Pass,
    pub created: String,
    pub updated: String,
    #[serde(flatten)]
    pub work: Work,
}

/// What a job distributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
#[expect(clippy::large_enum_variant, reason = "an answer has few jobs, and each is written at once")]
pub enum Work {
    Rollover(Rollover),
    Deployment(Deployment),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollover {
    #[serde(default, skip_serializing_if = "JobPurpose::is_rollover")]
    pub purpose: JobPurpose,
    pub phase: Phase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<JobOutcome>,
    /// Why the operator asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_for: Option<String>,
    /// The new root; of a job without one, the root that signed when it began.
    pub generation: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_generation: Option<u32>,
    pub bundle_version: u64,
    /// Older generations whose KMS key could not sign: the bundle lacks their signature, or there is no link from them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unusable_keys: BTreeSet<u32>,
    /// Roots that the new one replaces because somebody else may have their keys.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub compromised: BTreeSet<u32>,
    /// Of a compromise: imported certificates that nobody believes until their owners replace them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaks: Option<InUse>,
    pub activation: Activation,
    pub rollout: Rollout,
    /// The job goes no further than this phase, until somebody tells it to continue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Phase>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

/// The time between the last proof and the new root's first signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub until: String,
    /// When the reading of a sample of the devices began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<DeploymentOutcome>,
    /// Of every device that has none in `certificates`.
    pub certificate: CertificateId,
    /// The own certificate of each device, if several are renewed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<DeviceId, CertificateId>,
    pub requested_by: String,
}

/// Devices by the current state of their proof. The gate opens when `old`, `missing` and `failed` are 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proofs {
    pub fresh: u64,
    /// The proof is too old.
    pub old: u64,
    /// No result yet, or one from before the device was enrolled again or edited.
    pub missing: u64,
    pub failed: u64,
    pub waived: u64,
    /// Read anew during the hold-down, they had lost what they had proven to hold.
    #[serde(default, skip_serializing_if = "is_none")]
    pub forgot: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// A device that left the fleet while the job ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    pub device: DeviceId,
    pub how: Leave,
    pub by: String,
    pub at: String,
}

/// What the last look found that keeps the older roots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InUse {
    pub found: u64,
    /// The first hundred: certificates of devices, imported certificates, devices that lack the new root.
    pub names: Vec<String>,
}

/// Devices of the job's current pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// `null` until the whole fleet is paged: its size is not known before.
    #[serde(default)]
    pub total: Option<u64>,
    pub dispatched: u64,
    pub acked: u64,
    pub failed: u64,
    #[serde(default)]
    pub skipped: u64,
    #[serde(default)]
    pub waived: u64,
    /// Put back until their maintenance windows open.
    #[serde(default, skip_serializing_if = "is_none")]
    pub postponed: u64,
    /// Dispatched, but without a result yet.
    #[serde(default)]
    pub waiting: u64,
}

impl Counts {
    /// Devices with a result.
    pub const fn settled(&self) -> u64 {
        self.acked + self.failed + self.skipped + self.waived
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    #[serde(rename = "leg")]
    pub pass: Pass,
    pub number: u32,
    pub size: u64,
    pub acked: u64,
    pub failed: u64,
    /// Devices without a result when the next wave was allowed to begin. Their results count to that one.
    #[serde(default, skip_serializing_if = "is_none")]
    pub open: u64,
    pub opened: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
}

/// `POST /jobs/{id}/waive`: the job, and the result of each device, in the order given and without duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiverResults {
    #[serde(flatten)]
    pub job: Job,
    /// Of each device.
    pub results: Vec<WaiverResult>,
    /// Of each certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateWaiver>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateWaiver {
    /// Its name.
    pub certificate: String,
    pub result: WaiverOutcome,
    /// Why it was not waived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiverResult {
    pub device: DeviceId,
    pub result: WaiverOutcome,
    /// Why the device was not waived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WaiverOutcome {
    Waived,
    /// The device was waived before.
    Unchanged,
    /// Not waived yet: the same request may be sent again.
    Busy,
    Refused,
}
