//! The result of each device in a job.

use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::device::DeviceId;
use rootcast_core::job::Pass;
use rootcast_core::job::task::{ErrorClass, TaskState};
use rootcast_core::preflight::Finding;
use serde::{Deserialize, Serialize};

/// `GET /jobs/{id}/tasks`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub device: DeviceId,
    #[serde(rename = "leg")]
    pub pass: Pass,
    pub state: TaskState,
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ErrorClass>,
    /// The current or failed step, by Venafi's stage numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// The device's own message, if it sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<String>,
    /// What a preflight found at a device that it could read; empty: the device is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Vec<TaskFinding>>,
    /// Why an operator waived the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiver: Option<String>,
    /// The failed visits of a waiting task so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries: Option<Visits>,
    /// How each attempt ended, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Past>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// A finding of a preflight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFinding {
    pub finding: Finding,
    pub message: String,
    pub recovery: String,
}

/// Failed visits to the device in the current attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visits {
    pub count: u32,
    /// The error class of the last visit.
    pub class: ErrorClass,
    pub message: String,
    pub at: String,
    /// Time of the next visit; absent after the last visit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One result of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    pub stage: Stage,
    pub attempt: u32,
    /// `done`, `queued`, `reset`, or the class of its failure.
    pub result: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
    pub at: String,
}
