//! One device's part of a job, and how it can fail.

use std::fmt;

use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::deployment::lifecycle::{Entry, MOST_ENTRIES, Stage, StageResult, Work, lines};
use crate::device::probe::Found;
use crate::device::{DeviceId, DeviceVersion};
use crate::preflight::Checked;

/// Proof of what a device's trust store holds. Never taken from the status code of a write: real devices answer 204 to
/// garbage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    /// The version of the device that was read.
    pub of: DeviceVersion,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
    pub bundle_version: u64,
    /// [`rootcast_pki::bundle::content_hash`] over the bundle's anchors as they were *read back*.
    pub sha256: Fingerprint,
    pub probe: Probe,
}

/// How the proof was obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Probe {
    /// The trust store was listed again after the write, and the DER of each member compared.
    ReadBack,
    /// The same, and the device had lost what it had proven for this bundle before: it was given it again.
    Restored,
}

/// State of a device's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TaskState {
    /// Sent (again), and not settled yet.
    Waiting,
    /// The device proved what it holds.
    Acked,
    Failed,
    /// The device was deleted before its turn.
    Skipped,
    /// The operator excluded the device from the gate.
    Waived,
    /// Its turn came outside its maintenance window: nothing was begun, and it is sent again when the window opens.
    Postponed,
}

/// Why a device's task failed. The class alone decides whether the queue retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErrorClass {
    /// No TCP connection: refused, unreachable, name not found.
    Connect,
    /// TLS failed for a reason other than the pin.
    TlsHandshake,
    /// The time limit for the device passed.
    Timeout,
    /// 429 or 503.
    Throttled,
    /// Another 5xx.
    ServerError,
    /// The device accepted the write, but the read-back shows something else.
    NotStored,
    /// The device lists the new certificate of its web server, but its controller still shows the earlier one.
    NotShown,
    /// 401 or 403. Not retried: the device might lock the account.
    Unauthorized,
    /// The device shows another certificate than the approved one. Raises an alarm; no credential was sent.
    PinMismatch,
    /// The device's identity was changed, and nobody has approved it, or not for this deployment. Nothing was sent.
    Unapproved,
    StoreFull,
    /// The address is not in the allow-list of the installation.
    AddressRefused,
    /// The device lacks the profile's trust slot, or does not speak the protocol.
    Unsupported,
    /// The referenced credential cannot be read.
    Credential,
    /// By the device's clock, the certificate is not valid yet.
    NotYetValid,
    /// By the device's clock, the certificate has expired already.
    ClockAhead,
    /// The device already got a later bundle than any that its job knows: the tables were restored.
    NewerBundle,
    /// Any other refusal by the device (4xx).
    Rejected,
    /// The certificate to be installed has expired, or its private key cannot be decrypted.
    Certificate,
    /// The device's names, or other values of its record, cannot be in a certificate.
    Subject,
    /// The issuance policy does not permit what the device's certificate is to say.
    NotPermitted,
    /// No root signs certificates, or KMS refuses to sign with its key.
    Authority,
    /// Each time, the worker died or the message was lost.
    Lost,
    /// An operator reset the task before it was done.
    Reset,
}

impl ErrorClass {
    /// Whether the queue retries by itself.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Connect
            | Self::TlsHandshake
            | Self::Timeout
            | Self::Throttled
            | Self::ServerError
            | Self::NotStored
            | Self::NotShown => true,
            Self::Unauthorized
            | Self::PinMismatch
            | Self::Unapproved
            | Self::StoreFull
            | Self::AddressRefused
            | Self::Unsupported
            | Self::Credential
            | Self::NotYetValid
            | Self::ClockAhead
            | Self::NewerBundle
            | Self::Rejected
            | Self::Certificate
            | Self::Subject
            | Self::NotPermitted
            | Self::Authority
            | Self::Lost
            | Self::Reset => false,
        }
    }

    /// What the operator should do.
    pub const fn recovery(self) -> &'static str {
        match self {
            Self::Connect => {
                "Check that the device is switched on and that its address and port can be reached from the worker's network, then resume the job."
            }
            Self::TlsHandshake => "Check that the device offers TLS 1.2 or later on this port, then resume the job.",
            Self::Timeout => {
                "Check that the device answers; for a slow device, raise DeviceTimeoutSeconds. Then resume the job."
            }
            Self::Throttled => "The device is overloaded. Wait until other clients have finished, then resume the job.",
            Self::ServerError => {
                "See the device's own log, restart its management controller if necessary, then resume the job."
            }
            Self::NotStored => {
                "The device accepted the certificate but does not hold it. Check its firmware, and its trust slot or its web server, then resume the job."
            }
            Self::NotShown => {
                "The device has the new certificate but still shows the earlier one. Restart its management controller, then resume the job; the certificate is not sent again."
            }
            Self::Unauthorized => {
                "Correct the user name and password in the device's credential parameter and check that the account is not locked, then resume the job."
            }
            Self::PinMismatch => {
                "The device shows another certificate than the approved one. Find out why first. If it was replaced on purpose, approve the new fingerprint, then resume the job."
            }
            Self::Unapproved => {
                "Compare the device's new address, pins, profile, slot, credential and subject with the approved ones and approve them (`rootcast device approve`), then resume the job. A certificate with its private key is deployed again: it only goes to the device as it was approved then."
            }
            Self::StoreFull => {
                "Remove certificates that are no longer needed from the device's trust store: the message names some. Superseded roots leave all devices when their rollover goes on (`rootcast job continue`). Then resume the job."
            }
            Self::AddressRefused => {
                "Add the device's network to the DeviceCidrs parameter, or correct the device's address, then resume the job."
            }
            Self::Unsupported => {
                "Choose the profile, or name the trust slot, that fits the device, then resume the job."
            }
            Self::Credential => {
                "Store {\"username\":…,\"password\":…} as a SecureString under the device's credential parameter; a parameter that several devices share also says \"addresses\":[…]. Then resume the job."
            }
            Self::NotYetValid | Self::ClockAhead => {
                "Correct the device's clock or its NTP server, then resume the job."
            }
            Self::NewerBundle => {
                "The tables are older than the device: they were restored. Run `rootcast restore`, then abort the job and start a new rollover."
            }
            Self::Rejected => "Read the device's message, correct the cause on the device, then resume the job.",
            Self::Certificate => "Import the certificate again, with its private key, and deploy that one.",
            Self::Subject => {
                "Give the device a subject with names that a certificate can have (PATCH /devices/{id}), then resume the job."
            }
            Self::NotPermitted => {
                "Correct the device's subject (PATCH /devices/{id}), or have it permitted (PUT /issuancePolicy), then resume the job."
            }
            Self::Authority => {
                "Check that a root signs (GET /signingCertificate) and that its KMS key is enabled, then resume the job."
            }
            Self::Lost => {
                "The worker died at this device each time. See the worker's log and the task dead-letter queue, then resume the job."
            }
            Self::Reset => "Deploy the certificate to the device again if it is still needed.",
        }
    }
}

impl ErrorClass {
    /// [`Self::recovery`] where no job waits to be resumed.
    pub fn remedy(self) -> String {
        without_a_job(self.recovery())
    }
}

fn without_a_job(recovery: &str) -> String {
    recovery.replace(", then resume the job", "").replace(" Then resume the job.", "")
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::TlsHandshake => "tlsHandshake",
            Self::Timeout => "timeout",
            Self::Throttled => "throttled",
            Self::ServerError => "serverError",
            Self::NotStored => "notStored",
            Self::NotShown => "notShown",
            Self::Unauthorized => "unauthorized",
            Self::PinMismatch => "pinMismatch",
            Self::Unapproved => "unapproved",
            Self::StoreFull => "storeFull",
            Self::AddressRefused => "addressRefused",
            Self::Unsupported => "unsupported",
            Self::Credential => "credential",
            Self::NotYetValid => "notYetValid",
            Self::ClockAhead => "clockAhead",
            Self::NewerBundle => "newerBundle",
            Self::Rejected => "rejected",
            Self::Certificate => "certificate",
            Self::Subject => "subject",
            Self::NotPermitted => "notPermitted",
            Self::Authority => "authority",
            Self::Lost => "lost",
            Self::Reset => "reset",
        })
    }
}

/// What went wrong at a device, for its operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub class: ErrorClass,
    /// The device's own words if it sent any; at most [`Failure::MESSAGE_LIMIT`] characters.
    pub message: String,
    /// The stage that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// The visit had written to the device before. In no record: see [`Tries`](crate::job::visit::Tries).
    #[serde(skip)]
    pub wrote: bool,
    /// No other try before this many seconds have passed: the device said so, or works until then. Of no use later.
    #[serde(skip)]
    pub wait: Option<u32>,
    /// Set if what the operator should do is another than for the rest of the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<Advice>,
}

/// What the operator should do about a failure that its class does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Advice {
    /// The device lets the user in only to change the password.
    ChangePassword,
}

impl Failure {
    /// In characters. Keeps a task's record under 1 KiB, the size that one DynamoDB write unit pays for.
    pub const MESSAGE_LIMIT: usize = 500;

    /// Replaces control characters with spaces and truncates long text: the text comes from the device.
    pub fn new(class: ErrorClass, message: impl AsRef<str>) -> Self {
        let message = Self::clean(message.as_ref(), Self::MESSAGE_LIMIT);
        Self { class, message, stage: None, wrote: false, wait: None, advice: None }
    }

    /// What the operator should do.
    pub const fn recovery(&self) -> &'static str {
        match self.advice {
            Some(Advice::ChangePassword) => {
                "The user name and password are right, but the device demands a new password. Change it on the device, store the new one in the device's credential, then resume the job."
            }
            None => self.class.recovery(),
        }
    }

    /// [`Self::recovery`] where no job waits to be resumed.
    pub fn remedy(&self) -> String {
        without_a_job(self.recovery())
    }

    /// A device's text, without control characters and of at most so many characters.
    pub fn clean(text: &str, most: usize) -> String {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
    }

    /// Sets the stage, unless the failure already names one.
    pub fn at(mut self, stage: Stage) -> Self {
        self.stage.get_or_insert(stage);
        self
    }

    /// Sets the time before which another try is of no use.
    pub fn not_before(self, seconds: Option<u32>) -> Self {
        Self { wait: seconds, ..self }
    }
}

/// Of a device that serves its leaf alone.
pub const ALONE: &str = "The device serves only its own certificate, since its profile takes one: clients need the issuing authority's from /.well-known/est/cacerts. With the parameter LeavesFromRoot, roots sign devices' certificates themselves.";

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Acked(Ack),
    /// The device showed this leaf certificate on a new connection.
    Deployed {
        leaf: Fingerprint,
        /// It does not serve the issuing authority's certificate, since its profile takes one certificate.
        alone: bool,
    },
    /// The device was read, and nothing was written to it.
    Checked(Checked),
    /// The same, for a person.
    Probed(Box<Found>),
    Failed(Failure),
    Skipped,
    Postponed,
}

impl Outcome {
    pub const fn state(&self) -> TaskState {
        match self {
            Self::Acked(_) | Self::Deployed { .. } | Self::Checked(_) | Self::Probed(_) => TaskState::Acked,
            Self::Failed(_) => TaskState::Failed,
            Self::Skipped => TaskState::Skipped,
            Self::Postponed => TaskState::Postponed,
        }
    }

    /// The task's history with the result of this attempt appended.
    pub fn recorded(&self, work: Work, attempt: u32, mut history: Vec<Entry>, at: OffsetDateTime) -> Vec<Entry> {
        let (stage, result, words) = match self {
            Self::Acked(_) | Self::Deployed { .. } | Self::Checked(_) | Self::Probed(_) => {
                let words = if matches!(self, Self::Deployed { alone: true, .. }) { ALONE } else { "" };
                (work.stages().last().copied().unwrap_or(work.first()), StageResult::Done, words.to_owned())
            }
            Self::Failed(failure) => {
                let stage = failure.stage.unwrap_or(work.first());
                (stage, StageResult::Failed(failure.class), failure.message.clone())
            }
            Self::Skipped | Self::Postponed => return history,
        };
        history.push(Entry { stage, attempt, result, words, at });
        history.drain(..history.len().saturating_sub(MOST_ENTRIES));
        history
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) const fn none(wave: &u32) -> bool {
    *wave == 0
}

/// The record of a device's task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskRecord {
    pub device: DeviceId,
    pub state: TaskState,
    /// From 1. Messages of older attempts are ignored.
    pub attempt: u32,
    /// The wave in which the device was sent to; 0 outside of any, and in records of an earlier release.
    #[serde(skip_serializing_if = "none", default)]
    pub wave: u32,
    /// The device's version when this was recorded. `None` if it was not read, because the device was gone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of: Option<DeviceVersion>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ack: Option<Ack>,
    /// SHA-256 of the leaf certificate that the device was proven to show.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shown: Option<Fingerprint>,
    /// What a preflight found.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub checked: Option<Checked>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
    /// The operator's reason for the waiver.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waiver: Option<String>,
    /// The result of each attempt, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default, with = "lines")]
    pub history: Vec<Entry>,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
}

impl TaskRecord {
    /// A record without a proof, a failure or a history.
    pub fn new(device: DeviceId, state: TaskState, attempt: u32, at: OffsetDateTime) -> Self {
        Self {
            device,
            state,
            attempt,
            wave: 0,
            of: None,
            ack: None,
            shown: None,
            checked: None,
            failure: None,
            waiver: None,
            history: Vec::new(),
            at,
        }
    }

    /// The stage being done, or failed; `None`: there is nothing more to do.
    pub fn stage(&self, work: Work) -> Option<Stage> {
        let open = matches!(self.state, TaskState::Waiting | TaskState::Failed);
        open.then(|| self.failure.as_ref().and_then(|failure| failure.stage).unwrap_or(work.first()))
    }
}
