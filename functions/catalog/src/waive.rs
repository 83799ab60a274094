//! `POST /jobs/{id}/waive`: failed devices are taken out of the gate, each with a reason.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use futures::stream::{self, StreamExt, TryStreamExt};
use rootcast_core::audit::{self, Act, Action, Subject};
use rootcast_core::device::{DeviceId, DeviceVersion, SHARDS};
use rootcast_core::inventory::dn::application_dn;
use rootcast_core::job::task::{TaskRecord, TaskState};
use rootcast_core::job::{JobId, JobState};
use rootcast_dialects::lenovo::{Body, Envelope, LenovoError, Message, ResultKind};
use rootcast_gate::{Principal, RequestId};
use rootcast_ledger::{JobRecord, LedgerError, TaskKey};
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::app::{App, Parts};
use crate::deployments::not_steered;
use crate::extract::Id;
use crate::jobs::{RolloverView, load, load_any};
use crate::steer::wake;

/// Devices in one call: each is one transaction of about 10 ms, and those of a shard go one after the other. With a
/// sixteenth of them in each shard that is 0.6 s; where all lie in one, 10 s.
const MOST_WAIVED: usize = 1000;
/// In characters. It is kept in each device's task.
const LONGEST_REASON: usize = 256;
/// One BatchGetItem.
const READ: usize = 100;
/// A request that is not done by then answers what it did: API Gateway gives up after 30 s, and of what is under way
/// at that moment a call takes 8 s at most.
const LIMIT: Duration = Duration::from_secs(18);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Waiver {
    devices: Vec<DeviceId>,
    reason: String,
}

impl Waiver {
    /// Each device once, where it was named first: naming it twice says no more.
    fn checked(mut self) -> Result<Self, LenovoError> {
        let refused = |why: String| Err(LenovoError::invalid(why, "Correct the body and send the request again."));
        let reason = self.reason.trim();
        if reason.is_empty() || reason.chars().count() > LONGEST_REASON || reason.chars().any(char::is_control) {
            return refused(format!(
                "reason says in 1 to {LONGEST_REASON} characters why these devices may go without the new root."
            ));
        }
        if self.devices.is_empty() || self.devices.len() > MOST_WAIVED {
            return refused(format!("devices has {} ids; one request takes 1 to {MOST_WAIVED}.", self.devices.len()));
        }
        let mut seen = BTreeSet::new();
        self.devices.retain(|device| seen.insert(device.clone()));
        Ok(self)
    }
}

/// The job, and what became of each device, in their order, each once.
#[derive(Debug, Serialize)]
pub(crate) struct Waived {
    #[serde(flatten)]
    job: RolloverView,
    results: Vec<Outcome>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Outcome {
    device: DeviceId,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

pub(crate) async fn waive(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Id(id): Id<JobId>,
    Body(waiver): Body<Waiver>,
) -> Result<Envelope<Waived>, LenovoError> {
    let waiver = waiver.checked()?;
    let deadline = Instant::now() + LIMIT;
    let parts = app.parts().await?;
    let JobRecord::Rollover(job) = load_any(&parts.ledger, id).await? else { return Err(not_steered(id)) };
    if job.state == JobState::Ended {
        return Err(LenovoError::conflict(
            format!("Job {id} has ended: nobody waits for its devices."),
            format!("GET /jobs/{id} shows how it ended."),
        ));
    }
    // Of many transactions: recorded before the first of them, and what came of it after the last.
    let act = Act::new(Subject::Job(id), Action::Waive, &caller.acting(&request), (parts.clock)());
    let act = act.with("devices", waiver.devices.len()).with("reason", waiver.reason.trim());
    parts.ledger.audit(&act.clone().came_to(audit::Outcome::Begun)).await?;
    let mut shards: BTreeMap<u8, Vec<TaskKey>> = BTreeMap::new();
    // Of the others nothing is found below, as of those that are not there.
    for device in waiver.devices.iter().filter(|device| caller.sees(&application_dn(device))) {
        let key = TaskKey { job: id, leg: job.leg(), device: device.clone() };
        shards.entry(device.shard()).or_default().push(key);
    }
    let done = stream::iter(shards.into_values())
        .map(|keys| waive_shard(parts, keys, waiver.reason.trim(), deadline))
        .buffer_unordered(usize::from(SHARDS));
    let done: Vec<HashMap<DeviceId, Outcome>> = match done.try_collect().await {
        Ok(done) => done,
        Err(why) => {
            parts.ledger.audit(&act.came_to(audit::Outcome::Failed)).await?;
            return Err(why);
        }
    };
    let done: HashMap<DeviceId, Outcome> = done.into_iter().flatten().collect();
    let results: Vec<Outcome> = waiver.devices.iter().map(|device| outcome_of(&done, device)).collect();
    let refused = results.iter().filter(|outcome| !outcome.is_waived()).count();
    parts.ledger.audit(&act.with("waived", results.len() - refused)).await?;
    info!(
        caller = caller.name, job.id = %id, devices.waived = results.len() - refused, devices.refused = refused,
        reason = waiver.reason, "devices waived"
    );
    wake(parts, id, "waive").await;
    let shown = RolloverView::load(&parts.ledger, &load(&parts.ledger, id).await?).await?;
    let total = results.len();
    let answer = Envelope::success(Waived { job: shown, results });
    if refused == 0 {
        let message = Message::done(
            format!("{total} devices are waived."),
            "The job does not wait for them. A paused job stays paused until it is resumed.",
        );
        return Ok(answer.saying(message));
    }
    let message = Message::partly(
        format!("{refused} of {total} devices were not waived."),
        "See the result of each device: only what has failed can be waived, and what is busy is to be sent again.",
    );
    Ok(answer.judged(if refused == total { ResultKind::Failed } else { ResultKind::Warning }).saying(message))
}

fn outcome_of(done: &HashMap<DeviceId, Outcome>, device: &DeviceId) -> Outcome {
    done.get(device).cloned().unwrap_or_else(|| Outcome::of(device, NO_RESULT))
}

impl Outcome {
    fn of(device: &DeviceId, (result, message): (&'static str, Option<&'static str>)) -> Self {
        Self { device: device.clone(), result, message }
    }

    /// Now, or before.
    fn is_waived(&self) -> bool {
        matches!(self.result, "waived" | "unchanged")
    }
}

async fn waive_shard(
    parts: &Parts,
    keys: Vec<TaskKey>,
    why: &str,
    deadline: Instant,
) -> Result<HashMap<DeviceId, Outcome>, LenovoError> {
    let mut done: HashMap<DeviceId, Outcome> =
        keys.iter().map(|key| (key.device.clone(), Outcome::of(&key.device, BUSY))).collect();
    for part in keys.chunks(READ) {
        if Instant::now() >= deadline {
            break;
        }
        let (_, tasks) = parts.ledger.jobs_and_tasks([], part).await?;
        let versions = parts.ledger.fleet_versions(part.iter().map(|key| &key.device)).await?;
        for key in part.iter().take_while(|_| Instant::now() < deadline) {
            let of = versions.get(&key.device).copied();
            let outcome = waive_one(parts, key, tasks.get(key), of, why).await?;
            done.insert(key.device.clone(), outcome);
        }
    }
    Ok(done)
}

async fn waive_one(
    parts: &Parts,
    key: &TaskKey,
    task: Option<&TaskRecord>,
    of: Option<DeviceVersion>,
    why: &str,
) -> Result<Outcome, LenovoError> {
    let outcome = |result| Outcome::of(&key.device, result);
    let task = match (refusal(task), task) {
        (None, Some(task)) => task,
        (told, _) => return Ok(outcome(told.unwrap_or(MOVED))),
    };
    match parts.ledger.waive(key, task, of, why, (parts.clock)()).await {
        Ok(()) => Ok(outcome(("waived", None))),
        Err(LedgerError::Conflict) => Ok(outcome(MOVED)),
        // Workers are at the shard's counters all the time. The others of the request are not given up for it.
        Err(error) if error.is_passing() => Ok(outcome(BUSY)),
        Err(error) => Err(error.into()),
    }
}

const BUSY: (&str, Option<&str>) =
    ("busy", Some("it was not waived yet, for its record was busy or the time was over: send it again"));

const NO_RESULT: (&str, Option<&str>) =
    ("refused", Some("it has no result in this job: wait for one, or correct the id"));
const MOVED: (&str, Option<&str>) = ("refused", Some("its task changed at this moment: look at it, and send it again"));

/// Why a task is not waived; `None` where it is.
fn refusal(task: Option<&TaskRecord>) -> Option<(&'static str, Option<&'static str>)> {
    match task.map(|task| task.state) {
        Some(TaskState::Failed) => None,
        Some(TaskState::Waived) => Some(("unchanged", None)),
        Some(TaskState::Acked) => Some(("refused", Some("it did not fail: the device proved what it holds"))),
        Some(TaskState::Skipped) => Some(("refused", Some("it did not fail: the device was deleted"))),
        Some(TaskState::Waiting) => Some(("refused", Some("it is being tried again: wait for its result"))),
        None => Some(NO_RESULT),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_gate::parse_json;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_waiver_has_a_reason_and_devices() {
        let check = |body: serde_json::Value| Waiver::checked(parse_json::<Waiver>(body.to_string().as_bytes())?);
        let waiver = check(json!({ "devices": ["b", "a", "b"], "reason": "scrapped" })).unwrap();
        assert_eq!(waiver.devices, ["b", "a"].map(|id| id.parse::<DeviceId>().unwrap()), "each once");
        for refused in [
            json!({ "devices": ["a"], "reason": "  " }),
            json!({ "devices": ["a"], "reason": "a\nb" }),
            json!({ "devices": ["a"], "reason": "x".repeat(257) }),
            json!({ "devices": ["a"] }),
            json!({ "devices": [], "reason": "x" }),
            json!({ "devices": vec!["a"; MOST_WAIVED + 1], "reason": "x" }),
            json!({ "devices": ["a b"], "reason": "x" }),
            json!({ "devices": ["a"], "reason": "x", "force": true }),
        ] {
            assert_eq!(check(refused).err().unwrap().status(), 400);
        }
    }

    #[test]
    fn only_what_failed_is_waived() {
        let task = |state| TaskRecord {
            device: "a".to_owned(),
            state,
            attempt: 1,
            of: None,
            ack: None,
            shown: None,
            failure: None,
            waiver: None,
            history: Vec::new(),
            at: time::OffsetDateTime::UNIX_EPOCH,
        };
        assert_eq!(refusal(Some(&task(TaskState::Failed))), None);
        assert_eq!(refusal(Some(&task(TaskState::Waived))).unwrap().0, "unchanged");
        for state in [TaskState::Acked, TaskState::Skipped, TaskState::Waiting] {
            assert_eq!(refusal(Some(&task(state))).unwrap().0, "refused");
        }
        assert_eq!(refusal(None).unwrap().0, "refused");
    }
}
