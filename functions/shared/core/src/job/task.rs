//! One device's part of a job, and what can go wrong with it.

use std::fmt;

use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::deployment::lifecycle::{Entry, MOST_ENTRIES, Stage, StageResult, Work};
use crate::device::DeviceVersion;

/// What a device's trust store was proven to hold. Never the status code of a write: real devices answer 204 to
/// garbage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    /// The device that was read, as it was then.
    pub of: DeviceVersion,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
    pub bundle_version: u64,
    /// [`rootcast_pki::bundle::content_hash`] over the bundle's anchors as they were *read back*.
    pub sha256: Fingerprint,
    pub probe: Probe,
}

/// How the read-back was proven beyond the read itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Probe {
    /// The trust store was listed again after the write, each member's DER compared.
    ReadBack,
}

/// Where a device's task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TaskState {
    /// Sent again after a failure, not settled yet.
    Waiting,
    /// The device proved what it holds.
    Acked,
    Failed,
    /// The device was deleted before its turn.
    Skipped,
    /// The operator takes the device out of the gate.
    Waived,
}

/// Why a device's task failed. The class alone decides whether the queue tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErrorClass {
    /// No TCP connection: refused, unreachable, name not found.
    Connect,
    /// TLS failed for a reason other than the pin.
    TlsHandshake,
    /// The device's time limit passed.
    Timeout,
    /// 429 or 503.
    Throttled,
    /// Another 5xx.
    ServerError,
    /// The write was accepted, but the read-back shows something else.
    NotStored,
    /// 401 or 403: stop at once, or the device locks the account.
    Unauthorized,
    /// The device shows another certificate than the one that was approved. Raises an alarm; no credential was sent.
    PinMismatch,
    StoreFull,
    /// The address is not in the deployment's allow-list.
    AddressRefused,
    /// The profile's trust slot does not exist there, or the device does not speak the protocol.
    Unsupported,
    /// The credential's reference cannot be read.
    Credential,
    /// The certificate's validity has not begun by the device's clock.
    NotYetValid,
    /// A later bundle was brought to the device than any that its job knows of: the tables were restored.
    NewerBundle,
    /// Another refusal of the device (4xx).
    Rejected,
    /// The certificate that is to be installed has expired, or its private key does not open.
    Certificate,
    /// The device's names, or what else its record says of it, cannot be in a certificate.
    Subject,
    /// No root signs certificates, or KMS does not sign with its key.
    Authority,
    /// Its worker died, or its message was lost, each time.
    Lost,
    /// An operator gave it up before it was done.
    Reset,
}

impl ErrorClass {
    /// Whether the queue tries again by itself.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Connect
            | Self::TlsHandshake
            | Self::Timeout
            | Self::Throttled
            | Self::ServerError
            | Self::NotStored => true,
            Self::Unauthorized
            | Self::PinMismatch
            | Self::StoreFull
            | Self::AddressRefused
            | Self::Unsupported
            | Self::Credential
            | Self::NotYetValid
            | Self::NewerBundle
            | Self::Rejected
            | Self::Certificate
            | Self::Subject
            | Self::Authority
            | Self::Lost
            | Self::Reset => false,
        }
    }

    /// What the operator does about it.
    pub const fn recovery(self) -> &'static str {
        match self {
            Self::Connect => {
                "Check that the device is switched on and that its address and port can be reached from the worker's network, then resume the job."
            }
            Self::TlsHandshake => "Check that the device offers TLS 1.2 or later on this port, then resume the job.",
            Self::Timeout => {
                "Check that the device answers; a slow device wants a larger DeviceTimeoutSeconds. Then resume the job."
            }
            Self::Throttled => {
                "The device is overloaded. Wait until other clients are done with it, then resume the job."
            }
            Self::ServerError => {
                "Look at the device's own log, restart its management controller if need be, then resume the job."
            }
            Self::NotStored => {
                "The device accepted the certificate but does not hold it. Check its firmware, and its trust slot or its web server, then resume the job."
            }
            Self::Unauthorized => {
                "Correct the user name and password in the device's credential parameter and check that the account is not locked, then resume the job."
            }
            Self::PinMismatch => {
                "The device shows another certificate than the approved one. Find out why before anything else; if it was replaced on purpose, approve the new fingerprint, then resume the job."
            }
            Self::StoreFull => {
                "Remove certificates that are no longer needed from the device's trust store, then resume the job."
            }
            Self::AddressRefused => {
                "Name the device's network in the DeviceCidrs parameter or correct the device's address, then resume the job."
            }
            Self::Unsupported => {
                "Choose the profile, or name the trust slot, that fits the device, then resume the job."
            }
            Self::Credential => {
                "Store {\"username\":…,\"password\":…} as a SecureString under the device's credential parameter, then resume the job."
            }
            Self::NotYetValid => {
                "Set the device's clock, or the NTP server that it takes its time from, then resume the job."
            }
            Self::NewerBundle => {
                "The tables are older than the device: they were restored. Run `rootcast restore`, then abort the job and ask for a new root."
            }
            Self::Rejected => "Read what the device says, correct it there, then resume the job.",
            Self::Certificate => "Import the certificate anew, with its private key, and deploy that one.",
            Self::Subject => {
                "Give the device a subject with names that a certificate can have (PATCH /devices/{id}), then resume the job."
            }
            Self::Authority => {
                "Check that a root signs (GET /signingCertificate) and that its KMS key is enabled, then resume the job."
            }
            Self::Lost => {
                "The worker died at this device each time. Look at the worker's log and the task dead-letter queue, then resume the job."
            }
            Self::Reset => "Deploy the certificate to the device again where it is still wanted.",
        }
    }
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
            Self::Unauthorized => "unauthorized",
            Self::PinMismatch => "pinMismatch",
            Self::StoreFull => "storeFull",
            Self::AddressRefused => "addressRefused",
            Self::Unsupported => "unsupported",
            Self::Credential => "credential",
            Self::NotYetValid => "notYetValid",
            Self::NewerBundle => "newerBundle",
            Self::Rejected => "rejected",
            Self::Certificate => "certificate",
            Self::Subject => "subject",
            Self::Authority => "authority",
            Self::Lost => "lost",
            Self::Reset => "reset",
        })
    }
}

/// What went wrong at a device, in words for its operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub class: ErrorClass,
    /// The device's own words where it had any; at most [`Failure::MESSAGE_LIMIT`] characters.
    pub message: String,
    /// Where the work stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
}

impl Failure {
    /// In characters. Keeps a task's record under the 1 KiB that one DynamoDB write unit pays for.
    pub const MESSAGE_LIMIT: usize = 500;

    /// Control characters become spaces, and what is too long is cut: the text comes from the device.
    pub fn new(class: ErrorClass, message: impl AsRef<str>) -> Self {
        let message =
            message.as_ref().chars().map(|c| if c.is_control() { ' ' } else { c }).take(Self::MESSAGE_LIMIT).collect();
        Self { class, message, stage: None }
    }

    /// The failure as it happened at a stage; one that names its stage already keeps it.
    pub fn at(mut self, stage: Stage) -> Self {
        self.stage.get_or_insert(stage);
        self
    }
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Acked(Ack),
    /// The device showed this leaf certificate on a new connection, and it was read back.
    Deployed(Fingerprint),
    Failed(Failure),
    Skipped,
}

impl Outcome {
    pub const fn state(&self) -> TaskState {
        match self {
            Self::Acked(_) | Self::Deployed(_) => TaskState::Acked,
            Self::Failed(_) => TaskState::Failed,
            Self::Skipped => TaskState::Skipped,
        }
    }

    /// What goes on record of an attempt, after what is there.
    pub fn recorded(&self, work: Work, attempt: u32, mut history: Vec<Entry>, at: OffsetDateTime) -> Vec<Entry> {
        let (stage, result, words) = match self {
            Self::Acked(_) | Self::Deployed(_) => {
                (work.stages().last().copied().unwrap_or(work.first()), StageResult::Done, String::new())
            }
            Self::Failed(failure) => {
                let stage = failure.stage.unwrap_or(work.first());
                (stage, StageResult::Failed(failure.class), failure.message.clone())
            }
            Self::Skipped => return history,
        };
        history.push(Entry { stage, attempt, result, words, at });
        history.drain(..history.len().saturating_sub(MOST_ENTRIES));
        history
    }
}

/// A device's task as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskRecord {
    pub device: String,
    pub state: TaskState,
    /// From 1; a message of an older attempt changes nothing.
    pub attempt: u32,
    /// The device as it was when this was recorded. `None` where nobody read it: it was gone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of: Option<DeviceVersion>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ack: Option<Ack>,
    /// SHA-256 of the leaf certificate that the device was proven to show.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shown: Option<Fingerprint>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
    /// Why an operator waived it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waiver: Option<String>,
    /// How each attempt ended, the latest last.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub history: Vec<Entry>,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
}

impl TaskRecord {
    /// With nothing more to say of it.
    pub fn new(device: impl Into<String>, state: TaskState, attempt: u32, at: OffsetDateTime) -> Self {
        Self {
            device: device.into(),
            state,
            attempt,
            of: None,
            ack: None,
            shown: None,
            failure: None,
            waiver: None,
            history: Vec::new(),
            at,
        }
    }

    /// What is being done, or failed; `None`: nothing is to be done any more.
    pub fn stage(&self, work: Work) -> Option<Stage> {
        let open = matches!(self.state, TaskState::Waiting | TaskState::Failed);
        open.then(|| self.failure.as_ref().and_then(|failure| failure.stage).unwrap_or(work.first()))
    }
}
