//! One device's result in the vendor's form.

use rootcast_core::device::DeviceId;
use rootcast_core::job::task::TaskState;
use rootcast_core::job::{Job, JobId, JobOutcome, JobState};
use serde::Serialize;

use super::Task;
use crate::fleet::{Row, Standing};

/// "This value is always" this one, says the vendor's page.
pub(super) const MESSAGE_BUNDLE: &str = "com.lenovo.lxca.security.base.bundle.tasks.messages";

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceResult {
    message_bundle: &'static str,
    #[serde(rename = "messageID")]
    message_id: &'static str,
    /// The device.
    message_attributes: DeviceId,
    /// 0, 50 while a worker is at the device, 100.
    progress: u8,
    result: Word,
    result_short_description: &'static str,
    result_long_description: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Word {
    Success,
    Running,
    Waiting,
    Failed,
    Skipped,
    Cancelled,
}

/// `is_held`: a worker is at the device now.
pub(super) fn result(row: &Row, standing: Standing, is_held: bool) -> DeviceResult {
    let failure = row.task.as_ref().and_then(|task| task.failure.as_ref());
    let (message_id, progress, result, short, long) = match standing {
        Standing::Settled(TaskState::Acked) => (
            "FQXHMSE2000I",
            100,
            Word::Success,
            "The device proved what it holds.",
            "Its trust store was read back after the last change and holds what the job wants.".to_owned(),
        ),
        Standing::Settled(TaskState::Failed) => (
            "FQXHMSE2003K",
            100,
            Word::Failed,
            "The device failed.",
            failure.map_or_else(String::new, |failure| {
                format!("{} [{}] {}", failure.message, failure.class, failure.class.recovery())
            }),
        ),
        Standing::Settled(TaskState::Skipped) => (
            "FQXHMSE2004I",
            100,
            Word::Skipped,
            "The device was skipped.",
            "It was deleted before its turn.".to_owned(),
        ),
        Standing::Settled(TaskState::Waived) => (
            "FQXHMSE2005G",
            100,
            Word::Skipped,
            "The device was waived.",
            format!(
                "An operator took it out of the job: {} Before, it had failed: {}",
                row.task.as_ref().and_then(|task| task.waiver.as_deref()).unwrap_or_default(),
                failure.map_or("", |failure| failure.message.as_str())
            ),
        ),
        Standing::Settled(TaskState::Waiting) | Standing::Waiting if is_held => (
            "FQXHMSE2001I",
            50,
            Word::Running,
            "A worker is at the device.",
            "Its result follows when its trust store was read back.".to_owned(),
        ),
        Standing::Settled(TaskState::Waiting) | Standing::Waiting => (
            "FQXHMSE2002I",
            0,
            Word::Waiting,
            "The device waits for its turn.",
            failure.map_or_else(
                || "Its wave was not sent yet, or its task waits in the queue.".to_owned(),
                |failure| format!("Retried. Last time: {}", failure.message),
            ),
        ),
        Standing::Never | Standing::NotInJob => (
            "FQXHMSE2006I",
            100,
            Word::Cancelled,
            "The job ended before it came to the device.",
            "Nothing was changed on the device.".to_owned(),
        ),
    };
    DeviceResult {
        message_bundle: MESSAGE_BUNDLE,
        message_id,
        message_attributes: row.device.clone(),
        progress,
        result,
        result_short_description: short,
        result_long_description: long,
    }
}

impl DeviceResult {
    pub(super) fn into_task(self, job: JobId) -> Task {
        Task {
            job_uid: format!("{job}.{}", self.message_attributes),
            title: self.message_attributes.to_string(),
            percentage: self.progress.into(),
            complete: self.progress == 100,
            status: match self.result {
                Word::Success => "Complete",
                Word::Running => "Running",
                Word::Waiting => "Pending",
                Word::Failed => "Failed",
                Word::Skipped => "Skipped",
                Word::Cancelled => "Cancelled",
            },
            description: format!("{} {}", self.result_short_description, self.result_long_description),
            children: None,
        }
    }
}

/// A job's status in `/tasks`.
pub(super) fn status(job: &Job) -> &'static str {
    match (job.state, job.outcome) {
        (JobState::Running, _) if job.abort_requested => "Cancelling",
        (JobState::Running, _) => "Running",
        (JobState::Paused, _) => "Paused",
        (JobState::Ended, Some(JobOutcome::Aborted)) => "Cancelled",
        (JobState::Ended, Some(JobOutcome::ActivatedWithFailures)) => "CompleteWithErrors",
        (JobState::Ended, _) => "Complete",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_core::job::task::{ErrorClass, Failure, TaskRecord};
    use serde_json::{Value, json};
    use time::OffsetDateTime;

    use super::*;

    fn shown(state: Option<TaskState>, standing: Standing, is_held: bool) -> Value {
        let task = state.map(|state| TaskRecord {
            device: "bmc-1".parse().unwrap(),
            state,
            attempt: 1,
            of: None,
            ack: None,
            shown: None,
            failure: (state != TaskState::Acked).then(|| Failure::new(ErrorClass::StoreFull, "Ten of ten.")),
            waiver: (state == TaskState::Waived).then(|| "It is scrapped.".to_owned()),
            history: Vec::new(),
            at: OffsetDateTime::UNIX_EPOCH,
        });
        let row = Row { device: "bmc-1".parse().unwrap(), task };
        serde_json::to_value(result(&row, standing, is_held)).unwrap()
    }

    #[test]
    fn results_have_the_vendors_attributes() {
        assert_eq!(
            shown(Some(TaskState::Acked), Standing::Settled(TaskState::Acked), false),
            json!({
                "messageBundle": "com.lenovo.lxca.security.base.bundle.tasks.messages", "messageID": "FQXHMSE2000I",
                "messageAttributes": "bmc-1", "progress": 100, "result": "SUCCESS",
                "resultShortDescription": "The device proved what it holds.",
                "resultLongDescription": "Its trust store was read back after the last change and holds what the job wants.",
            })
        );
    }

    #[test]
    fn each_standing_has_its_word() {
        let settled = |state| shown(Some(state), Standing::Settled(state), false);
        assert_eq!(settled(TaskState::Failed)["result"], "FAILED");
        let long = settled(TaskState::Failed)["resultLongDescription"].as_str().unwrap().to_owned();
        assert!(
            long.contains("Ten of ten.")
                && long.contains(ErrorClass::StoreFull.recovery())
                && long.contains("storeFull")
        );
        assert_eq!(settled(TaskState::Skipped)["result"], "SKIPPED");
        assert_eq!(settled(TaskState::Waived)["result"], "SKIPPED");
        assert!(settled(TaskState::Waived)["resultLongDescription"].as_str().unwrap().contains("scrapped"));
        assert_eq!(shown(None, Standing::Waiting, false)["result"], "WAITING");
        assert_eq!(shown(None, Standing::Waiting, true)["result"], "RUNNING");
        assert_eq!(shown(None, Standing::Never, false)["result"], "CANCELLED");
    }
}
