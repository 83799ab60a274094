//! `GET /jobs/{id}/tasks`: the result of each device in a job's current pass, or in a deployment.

use axum::Extension;
use axum::extract::State;
use rootcast_core::deployment::lifecycle::Entry;
use rootcast_core::inventory::dn::application_dn;
use rootcast_core::job::standing::Standing;
use rootcast_core::job::task::{Failure, TaskRecord, TaskState};
use rootcast_core::job::visit::{TaskAttempt, Tries};
use rootcast_core::job::{Job, JobId, JobRecord, Pass};
use rootcast_core::preflight::{Checked, Found};
use rootcast_dialects::lenovo::{Envelope, LenovoError, Params};
use rootcast_dialects::native::{Past, Task, TaskFinding, Visits};
use rootcast_gate::{Cursors, Principal};
use rootcast_ledger::Ledger;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::deployments::rows;
use crate::extract::Id;
use crate::fleet::{Among, Row, page};
use crate::jobs::load_any;
use crate::page::Paging;
use crate::stamp::stamp;

#[derive(Debug, Deserialize)]
pub(crate) struct Filter {
    state: Option<TaskState>,
    /// Of a preflight: only devices that are ready, or only those that are not.
    ready: Option<bool>,
}

impl Filter {
    fn wants(&self, state: TaskState, task: Option<&TaskRecord>) -> bool {
        let is_ready = task.is_some_and(|task| task.checked.as_ref().is_some_and(|read| read.findings.is_empty()));
        self.state.is_none_or(|wanted| wanted == state) && self.ready.is_none_or(|wanted| wanted == is_ready)
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Tasks {
    tasks: Vec<Task>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

pub(crate) fn past(history: Vec<Entry>) -> Vec<Past> {
    let past = |Entry { stage, attempt, result, words, at }| Past {
        stage,
        attempt,
        result: result.to_string(),
        words,
        at: stamp(at),
    };
    history.into_iter().map(past).collect()
}

/// A page may have fewer rows than `limit`, or none, and still have a cursor: a filter skips the other rows.
pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(id): Id<JobId>,
    Params(paging, filter): Params<Paging, Filter>,
) -> Result<Envelope<Tasks>, LenovoError> {
    let ledger = &app.parts().await?.ledger;
    let job = match load_any(ledger, id).await? {
        JobRecord::Rollover(job) => job,
        JobRecord::Deployment(job) => {
            paging.is_first()?;
            let rows = rows(ledger, &job).await?.into_iter().filter(|row| sees(&caller, row));
            let tasks = rows.map(|row| shown(Pass::Install, installing(&row), row));
            let tasks = tasks.filter(|task| filter.state.is_none_or(|wanted| wanted == task.state)).collect();
            let tasks = with_tries(ledger, id, tasks).await?;
            return Ok(Envelope::success(Tasks { tasks, cursor: None }));
        }
    };
    let is_wanted = |row: &Row| state(&job, row).is_some_and(|state| filter.wants(state, row.task.as_ref()));
    let keep = |row: &Row| sees(&caller, row) && is_wanted(row);
    let among = match filter.state {
        Some(TaskState::Failed) => Among::Failed,
        state if state.is_some() || filter.ready.is_some() => Among::Many,
        _ => Among::Every,
    };
    let list = Cursors { ledger, caller: &caller, list: &format!("tasks of job {id}") };
    let (rows, cursor) = page(list, &job, &paging, among, keep).await?;
    let tasks = rows.into_iter().filter_map(|row| Some(shown(job.pass(), state(&job, &row)?, row))).collect();
    let tasks = with_tries(ledger, id, tasks).await?;
    Ok(Envelope::success(Tasks { tasks, cursor }))
}

/// Adds the failed visits from the devices' records. No call if no task waits.
async fn with_tries(ledger: &Ledger, job: JobId, mut tasks: Vec<Task>) -> Result<Vec<Task>, LenovoError> {
    let waiting = tasks.iter().filter(|task| task.state == TaskState::Waiting).map(|task| &task.device);
    let devices = ledger.devices_by_id(waiting).await?;
    for task in &mut tasks {
        let present = TaskAttempt { job, pass: task.pass, attempt: task.attempt };
        task.tries = devices.get(&task.device).and_then(|device| device.tries.of(present)).map(visits);
    }
    Ok(tasks)
}

/// Whether the caller may see the device; the right to read jobs does not include all devices.
pub(crate) fn sees(caller: &Principal, row: &Row) -> bool {
    caller.sees(&application_dn(&row.device))
}

/// A deployment sends all messages at once, so a device without a task is waiting.
fn installing(row: &Row) -> TaskState {
    row.task.as_ref().map_or(TaskState::Waiting, |task| task.state)
}

/// `None` if the device has no task: its message was not sent yet, or the device is not in the job.
fn state(job: &Job, row: &Row) -> Option<TaskState> {
    match row.standing(job) {
        Standing::Settled(state) => Some(state),
        Standing::Waiting => {
            row.task.as_ref().map(|task| task.state).or_else(|| row.is_sent(job).then_some(TaskState::Waiting))
        }
        Standing::Never | Standing::NotInJob => None,
    }
}

fn findings(checked: Checked) -> Vec<TaskFinding> {
    let shown = |Found { finding, message }| TaskFinding { finding, message, recovery: finding.remedy().to_owned() };
    checked.findings.into_iter().map(shown).collect()
}

pub(crate) fn visits(tries: &Tries) -> Visits {
    let Failure { class, message, .. } = tries.failure.clone();
    Visits { count: tries.count, class, message, at: stamp(tries.at), next: tries.next.map(stamp) }
}

fn shown(pass: Pass, state: TaskState, row: Row) -> Task {
    let stage = match &row.task {
        Some(task) => task.stage(pass.work()),
        None => (state == TaskState::Waiting).then(|| pass.work().first()),
    };
    let (attempt, checked, failure, waiver, history, at) = match row.task {
        Some(task) => (task.attempt, task.checked, task.failure, task.waiver, task.history, Some(stamp(task.at))),
        None => (1, None, None, None, Vec::new(), None),
    };
    let class = failure.as_ref().map(|failure| failure.class);
    let recovery = failure.as_ref().map(|failure| match pass {
        Pass::Preflight => failure.remedy(),
        _ => failure.recovery().to_owned(),
    });
    Task {
        device: row.device,
        pass,
        state,
        attempt,
        class,
        stage,
        message: failure.map(|failure| failure.message),
        recovery,
        findings: checked.map(findings),
        waiver,
        tries: None,
        history: past(history),
        at,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_core::device::DeviceId;
    use rootcast_core::job::Front;
    use rootcast_core::job::task::ErrorClass;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;
    use crate::jobs::tests::running;

    #[test]
    fn serializes_the_visits_of_a_waiting_task() {
        let task = TaskAttempt { job: JobId(7), pass: Pass::Distribute, attempt: 1 };
        let failure = Failure::new(ErrorClass::Connect, "Nobody answers.");
        let at = datetime!(2026-01-02 03:04:05 UTC);
        let tries = Tries { task, count: 2, failure, at, next: Some(at + time::Duration::MINUTE), wrote: false };
        assert_eq!(
            serde_json::to_value(visits(&tries)).unwrap(),
            json!({
                "count": 2, "class": "connect", "message": "Nobody answers.",
                "at": "2026-01-02T03:04:05Z", "next": "2026-01-02T03:05:05Z",
            })
        );
    }

    #[test]
    fn serializes_tasks() {
        let mut job = running();
        let device: DeviceId = "bmc-1".parse().unwrap();
        let bare = Row { device: device.clone(), task: None };
        assert_eq!(state(&job, &bare), None);
        job.cursor = Front::END;
        let json = |row: Row| serde_json::to_value(shown(job.pass(), state(&job, &row).unwrap(), row)).unwrap();
        let sent = json(bare);
        assert_eq!(
            sent,
            json!({ "device": "bmc-1", "leg": "distribute", "state": "waiting", "attempt": 1, "stage": 1500 })
        );
        let task = TaskRecord {
            device: "bmc-1".parse().unwrap(),
            state: TaskState::Failed,
            attempt: 2,
            wave: 0,
            of: None,
            ack: None,
            shown: None,
            checked: None,
            failure: Some(Failure::new(ErrorClass::StoreFull, "The trust store is full.")),
            waiver: None,
            history: Vec::new(),
            at: datetime!(2026-01-02 03:04:05 UTC),
        };
        let failed = json(Row { device, task: Some(task) });
        assert_eq!(
            failed,
            json!({
                "device": "bmc-1", "leg": "distribute", "state": "failed", "attempt": 2, "class": "storeFull", "stage": 1500,
                "message": "The trust store is full.", "recovery": ErrorClass::StoreFull.recovery(),
                "at": "2026-01-02T03:04:05Z",
            })
        );
    }
}
