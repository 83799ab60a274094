//! Jobs in the format of XClarity: `/signingCertificate/jobs` and `/tasks`.
//!
//! Sources: <https://pubs.lenovo.com/lxca_scripting/rest_api_servercertificate_jobs_id_get> (the page of a sibling
//! resource; its only value of a result is `SUCCESS`, the other ones are ours),
//! <https://pubs.lenovo.com/lxca_scripting/rest_api_tasks_uid_get> and `pylxca` 4.2.0, which reads `/tasks/{id}` as an
//! array.

use rootcast_core::device::DeviceId;
use rootcast_core::job::standing::Standing;
use rootcast_core::job::task::{TaskRecord, TaskState};
use rootcast_core::job::{Job, JobId, JobOutcome, JobPurpose, JobState};
use serde::{Deserialize, Serialize};

use super::LenovoError;

/// Most jobs in one `/tasks` call.
const MOST_JOBS: usize = 20;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    /// Ours: the vendor's list does not link an entry to its job.
    job_path: String,
    progress: f64,
    result: Vec<DeviceResult>,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct Status {
    description: [Description; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    message_bundle: &'static str,
    /// The reason of the job's state.
    message_display: String,
}

impl JobView {
    /// `progress`: in percent.
    pub fn of(job: &Job, progress: f64, result: Vec<DeviceResult>, cursor: Option<String>) -> Self {
        let description = Description { message_bundle: MESSAGE_BUNDLE, message_display: job.reason.clone() };
        Self { job_path: job.id.path(), progress, result, status: Status { description: [description] }, cursor }
    }
}

/// The vendor's page: "This value is always" this one.
const MESSAGE_BUNDLE: &str = "com.lenovo.lxca.security.base.bundle.tasks.messages";

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceResult {
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

impl DeviceResult {
    /// `task`: `None` until its first attempt is settled. `is_held`: a worker is at the device now.
    pub fn of(device: &DeviceId, task: Option<&TaskRecord>, standing: Standing, is_held: bool) -> Self {
        let failure = task.and_then(|task| task.failure.as_ref());
        let (message_id, progress, result, short, long) = match standing {
            Standing::Settled(TaskState::Acked) if let Some(checked) = task.and_then(|task| task.checked.as_ref()) => (
                "FQXHMSE2000I",
                100,
                Word::Success,
                "The device was read. Nothing was written to it.",
                match checked.findings.is_empty() {
                    true => "It is ready for a rollover.".to_owned(),
                    false => checked.findings.iter().map(|found| found.message.as_str()).collect::<Vec<_>>().join(" "),
                },
            ),
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
                    format!("{} [{}] {}", failure.message, failure.class, failure.recovery())
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
                    task.and_then(|task| task.waiver.as_deref()).unwrap_or_default(),
                    failure.map_or("", |failure| failure.message.as_str())
                ),
            ),
            Standing::Settled(TaskState::Waiting | TaskState::Postponed) | Standing::Waiting if is_held => (
                "FQXHMSE2001I",
                50,
                Word::Running,
                "A worker is at the device.",
                "Its result follows when its trust store was read back.".to_owned(),
            ),
            Standing::Settled(TaskState::Waiting | TaskState::Postponed) | Standing::Waiting => (
                "FQXHMSE2002I",
                0,
                Word::Waiting,
                "The device waits for its turn.",
                failure.map_or_else(
                    || "Its wave was not sent yet, or its task waits in the queue.".to_owned(),
                    |failure| format!("It is being retried. Last time: {}", failure.message),
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
        Self {
            message_bundle: MESSAGE_BUNDLE,
            message_id,
            message_attributes: device.clone(),
            progress,
            result,
            result_short_description: short,
            result_long_description: long,
        }
    }

    pub fn into_task(self, job: JobId) -> Task {
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

#[derive(Debug, Deserialize)]
pub struct Compact {
    #[serde(default)]
    pub compact: bool,
}

/// An entry of `/tasks`: a job, or one of its devices.
#[derive(Debug, Serialize)]
pub struct Task {
    #[serde(rename = "jobUID")]
    job_uid: String,
    title: String,
    percentage: f64,
    complete: bool,
    status: &'static str,
    description: String,
    /// Omitted in a compact answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    children: Option<Vec<Task>>,
}

impl Task {
    /// `percentage`: the job's progress.
    pub fn of(job: &Job, percentage: f64, children: Option<Vec<Self>>) -> Self {
        Self {
            job_uid: job.id.to_string(),
            title: match job.purpose {
                JobPurpose::Rollover => format!("CA root certificate, generation {}", job.generation),
                JobPurpose::Anchors => format!("Trusted certificates, bundle {}", job.bundle_version),
                JobPurpose::Preflight => "Preflight of a rollover".to_owned(),
            },
            percentage,
            complete: job.state == JobState::Ended,
            status: status(job),
            description: job.reason.clone(),
            children,
        }
    }
}

/// A job's status in `/tasks`.
fn status(job: &Job) -> &'static str {
    match (job.state, job.outcome) {
        (JobState::Running, _) if job.abort_requested => "Cancelling",
        (JobState::Running, _) => "Running",
        (JobState::Paused, _) => "Paused",
        (JobState::Ended, Some(JobOutcome::Aborted | JobOutcome::TakenOver)) => "Cancelled",
        (JobState::Ended, Some(JobOutcome::ActivatedWithFailures)) => "CompleteWithErrors",
        (JobState::Ended, _) => "Complete",
    }
}

/// The body of `PUT /tasks`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    action: Verb,
    list: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    /// `abort` in our own API.
    Cancel,
}

impl Action {
    /// The jobs to be cancelled.
    pub fn cancelled(&self) -> Result<Vec<JobId>, LenovoError> {
        let Verb::Cancel = self.action;
        job_ids(self.list.iter().map(String::as_str))
    }
}

/// Parses the ids of one `/tasks` call: 1 to `MOST_JOBS`.
pub fn job_ids<'a>(ids: impl Iterator<Item = &'a str>) -> Result<Vec<JobId>, LenovoError> {
    let parsed: Result<Vec<JobId>, _> = ids.take(MOST_JOBS + 1).map(|id| id.trim().parse()).collect();
    match parsed {
        Ok(ids) if (1..=MOST_JOBS).contains(&ids.len()) => Ok(ids),
        _ => Err(LenovoError::invalid(
            format!("The list names 1 to {MOST_JOBS} jobs by their decimal ids."),
            "GET /jobs lists the jobs.",
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_core::job::task::{ErrorClass, Failure};
    use rootcast_core::job::{Activation, NewJob, Phase};
    use rootcast_core::rollover::rollout::Rollout;
    use rootcast_gate::parse_json;
    use serde_json::{Value, json};
    use time::OffsetDateTime;

    use super::*;

    fn running() -> Job {
        let new = NewJob {
            id: JobId(7),
            generation: 2,
            old_generation: Some(1),
            activation: Activation::Proven,
            rollout: Rollout::default(),
            until: Phase::Activate,
            requested_for: None,
        };
        Job::new(new, OffsetDateTime::UNIX_EPOCH)
    }

    fn shown(state: Option<TaskState>, standing: Standing, is_held: bool) -> Value {
        let task = state.map(|state| TaskRecord {
            device: "bmc-1".parse().unwrap(),
            state,
            attempt: 1,
            wave: 0,
            of: None,
            ack: None,
            shown: None,
            checked: None,
            failure: (state != TaskState::Acked).then(|| Failure::new(ErrorClass::StoreFull, "Ten of ten.")),
            waiver: (state == TaskState::Waived).then(|| "It is scrapped.".to_owned()),
            history: Vec::new(),
            at: OffsetDateTime::UNIX_EPOCH,
        });
        let result = DeviceResult::of(&"bmc-1".parse().unwrap(), task.as_ref(), standing, is_held);
        serde_json::to_value(result).unwrap()
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
    fn each_standing_has_its_result() {
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

    #[test]
    fn a_job_has_the_vendors_attributes() {
        let shown = JobView::of(&running(), 0.0, Vec::new(), None);
        assert_eq!(
            serde_json::to_value(shown).unwrap(),
            json!({
                "jobPath": "/signingCertificate/jobs/7", "progress": 0.0, "result": [],
                "status": { "description": [{
                    "messageBundle": "com.lenovo.lxca.security.base.bundle.tasks.messages",
                    "messageDisplay": "The new root is being created.",
                }] },
            })
        );
    }

    #[test]
    fn a_compact_task_omits_its_children() {
        let task = |children| serde_json::to_value(Task::of(&running(), 0.0, children)).unwrap();
        assert_eq!((&task(None)["jobUID"], &task(None)["complete"]), (&json!("7"), &json!(false)));
        assert!(task(None).get("children").is_none());
        assert_eq!(task(Some(Vec::new()))["children"], json!([]));
    }

    #[test]
    fn cancel_is_the_only_action() {
        let cancelled = |body: &[u8]| parse_json::<Action>(body).map(|action| action.cancelled().unwrap());
        assert_eq!(cancelled(br#"{"action":"cancel","list":["383"," 7"]}"#).unwrap(), [JobId(383), JobId(7)]);
        assert!(cancelled(br#"{"action":"delete","list":["383"]}"#).unwrap_err().text().contains("delete"));
        assert!(cancelled(br#"{"action":"cancel","list":["383"],"x":1}"#).is_err());
        assert!(job_ids(std::iter::empty()).is_err() && job_ids(["x"].into_iter()).is_err());
        assert!(job_ids(std::iter::repeat("1")).is_err());
    }
}
