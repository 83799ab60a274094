//! `POST /jobs/{id}/retry`: failed devices are tried again, all of them or those of some classes, waves, ids.

use std::collections::HashSet;
use std::hash::Hash;

use axum::Extension;
use axum::extract::{Request, State};
use futures::stream::{self, StreamExt, TryStreamExt};
use rootcast_core::audit::{Act, Action, Subject};
use rootcast_core::deployment::Deployment;
use rootcast_core::device::{DeviceId, SHARDS};
use rootcast_core::inventory::dn::application_dn;
use rootcast_core::job::task::{ErrorClass, TaskRecord, TaskState};
use rootcast_core::job::{Job, JobId, Leg, MOST_RETRIED, MOST_WAVES, Selection, Stretch};
use rootcast_dialects::lenovo::{Envelope, LenovoError, Message};
use rootcast_gate::{BODY_LIMIT, Principal, RequestId, media_type, parse_json, read};
use rootcast_ledger::{Change, JobRecord, Ledger, LedgerError, TaskKey};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tracing::info;

use crate::app::App;
use crate::extract::Id;
use crate::jobs::{JobView, load_any, tally};
use crate::steer::wake;

/// The conductor writes the same record all the time; whoever loses a race decides again on what is there now.
const ATTEMPTS: u32 = 10;

/// A device is chosen where each filter that is there has it; without any, every failed one is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    classes: Option<Vec<ErrorClass>>,
    /// Of the present leg.
    waves: Option<Vec<u32>>,
    devices: Option<Vec<DeviceId>>,
}

/// The job, and how many of its devices were chosen. Exact when it was counted, just before: a job that runs may have
/// one more that fails before the conductor opens them.
#[derive(Debug, Serialize)]
pub(crate) struct Retried {
    #[serde(flatten)]
    job: JobView,
    retried: u64,
}

pub(crate) async fn retry(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request_id): Extension<RequestId>,
    Id(id): Id<JobId>,
    request: Request,
) -> Result<Envelope<Retried>, LenovoError> {
    let mut filters = Filters::of(request).await?;
    if let Some(devices) = &mut filters.devices {
        devices.retain(|device| caller.sees(&application_dn(device)));
        // An empty list would choose everything.
        if devices.is_empty() {
            return Err(nothing_chosen(id));
        }
    }
    let parts = app.parts().await?;
    let (ledger, now) = (&parts.ledger, (parts.clock)());
    let mut counted = None;
    for _ in 0..ATTEMPTS {
        let job = load_any(ledger, id).await?;
        let selection = filters.select(ledger, &job, now).await?;
        let next = resumed(&job, selection.clone(), now)?;
        // An abort that came in between begins a leg with other tasks.
        let retried = match counted {
            Some((leg, retried)) if leg == leg_of(&job) => retried,
            _ => count(ledger, &job, &selection).await?,
        };
        if retried == 0 {
            return Err(nothing_chosen(id));
        }
        counted = Some((leg_of(&job), retried));
        let act = Act::new(Subject::Job(id), Action::Retry, &caller.acting(&request_id), now);
        match save(ledger, &next, &act.with("devices", retried)).await {
            Err(LedgerError::Conflict) => {}
            written => {
                written?;
                info!(caller = caller.name, job.id = %id, devices.retried = retried, ?filters, "failed devices are retried");
                wake(parts, id, "retry").await;
                let message = Message::done(
                    format!("{retried} failed devices of job {id} are tried again."),
                    "What else failed stays as it is.",
                );
                return Ok(
                    Envelope::success(Retried { job: JobView::load(ledger, &next).await?, retried }).saying(message)
                );
            }
        }
    }
    Err(LenovoError::conflict(format!("Job {id} is changing all the time."), "Send the request again in a moment."))
}

impl Filters {
    async fn of(request: Request) -> Result<Self, LenovoError> {
        let (head, body) = request.into_parts();
        let body = read(body, BODY_LIMIT).await?;
        if body.is_empty() {
            return Ok(Self::default());
        }
        media_type(&head.headers, &["application/json"])?;
        let mut filters: Self = parse_json(&body)?;
        // There are few classes.
        check("classes", &mut filters.classes, usize::MAX)?;
        check("waves", &mut filters.waves, MOST_WAVES)?;
        check("devices", &mut filters.devices, MOST_RETRIED)?;
        Ok(filters)
    }

    /// Waves by where they lie: a task does not know its wave.
    async fn select(&self, ledger: &Ledger, job: &JobRecord, now: OffsetDateTime) -> Result<Selection, LenovoError> {
        let stretches = match (&self.waves, job) {
            (None, _) => None,
            (Some(numbers), JobRecord::Rollover(job)) => Some(stretches(ledger, job, numbers).await?),
            (Some(_), JobRecord::Deployment(job)) => {
                return Err(LenovoError::invalid(
                    format!("Job {} brings a certificate to all its devices at once: it has no waves.", job.id),
                    "Leave waves out, and send the request again.",
                ));
            }
        };
        Ok(Selection {
            classes: self.classes.clone().unwrap_or_default(),
            stretches,
            devices: self.devices.iter().flatten().cloned().collect(),
            ..Selection::everything(now)
        })
    }
}

/// Each value once: naming it twice says no more.
fn check<T: Clone + Eq + Hash>(name: &str, values: &mut Option<Vec<T>>, most: usize) -> Result<(), LenovoError> {
    let Some(values) = values else { return Ok(()) };
    let why = match values.len() {
        // Else a list that came out empty by mistake would choose everything.
        0 => format!("{name} is empty; without it, this filter lets every failed device pass."),
        many if many > most => format!("{name} has {many} values; one request takes {most}."),
        _ => {
            let mut seen = HashSet::new();
            values.retain(|value| seen.insert(value.clone()));
            return Ok(());
        }
    };
    Err(LenovoError::invalid(why, "Correct the body and send the request again."))
}

/// A wave that there is not, or not yet, has no devices.
async fn stretches(ledger: &Ledger, job: &Job, numbers: &[u32]) -> Result<Vec<Stretch>, LenovoError> {
    let waves = ledger.waves(job.id).await?;
    Ok(numbers.iter().filter_map(|number| job.stretch_of_wave(*number, &waves)).collect())
}

/// The job as it is to be saved.
fn resumed(job: &JobRecord, selection: Selection, now: OffsetDateTime) -> Result<JobRecord, LenovoError> {
    let id = job.id();
    let resumed = match job.clone() {
        JobRecord::Rollover(job) => {
            let resumed = job.retry(selection, now).map_err(|why| why.to_string());
            resumed.map(|job| JobRecord::Rollover(Box::new(job)))
        }
        JobRecord::Deployment(job) => {
            job.retry(selection, now).map(JobRecord::Deployment).map_err(|why| why.to_string())
        }
    };
    resumed.map_err(|why| {
        LenovoError::conflict(
            format!("Job {id} cannot try anything again: {why}."),
            format!("GET /jobs/{id} shows where it is and why."),
        )
    })
}

async fn save(ledger: &Ledger, job: &JobRecord, act: &Act) -> Result<(), LedgerError> {
    match job {
        JobRecord::Rollover(job) => {
            ledger.commit(Change { job: Some(job), acts: vec![act.clone()], ..Change::default() }).await
        }
        JobRecord::Deployment(job) => ledger.save_deployment(job, Some(act)).await,
    }
}

fn leg_of(job: &JobRecord) -> Leg {
    match job {
        JobRecord::Rollover(job) => job.leg(),
        JobRecord::Deployment(_) => Leg::Install,
    }
}

async fn count(ledger: &Ledger, job: &JobRecord, selection: &Selection) -> Result<u64, LenovoError> {
    let chosen = |task: &TaskRecord| task.state == TaskState::Failed && selection.chooses(job.id(), task);
    let job = match job {
        JobRecord::Rollover(job) => job,
        JobRecord::Deployment(job) => {
            return Ok(of_deployment(ledger, job).await?.iter().filter(|task| chosen(task)).count() as u64);
        }
    };
    if selection.is_everything() {
        return Ok(tally(ledger, job).await?.failed);
    }
    if !selection.devices.is_empty() {
        let key = |device: &DeviceId| TaskKey { job: job.id, leg: job.leg(), device: device.clone() };
        let keys: Vec<TaskKey> = selection.devices.iter().map(key).collect();
        let (_, tasks) = ledger.jobs_and_tasks([], &keys).await?;
        return Ok(tasks.values().filter(|task| chosen(task)).count() as u64);
    }
    let in_shard = |shard| ledger.troubled_tasks(job.id, job.leg(), shard);
    let counts = stream::iter(0..SHARDS).map(in_shard).buffer_unordered(usize::from(SHARDS));
    let count =
        |sum, tasks: Vec<TaskRecord>| async move { Ok(sum + tasks.iter().filter(|task| chosen(task)).count() as u64) };
    Ok(counts.try_fold(0, count).await?)
}

/// The tasks of the devices that no later job has taken, and that nobody reset.
async fn of_deployment(ledger: &Ledger, job: &Deployment) -> Result<Vec<TaskRecord>, LenovoError> {
    let uses = ledger.uses_by(job.certificate, &job.devices).await?;
    let uses = uses.into_iter().filter(|binding| binding.job == Some(job.id) && binding.lifecycle.in_error);
    let key = |device| TaskKey { job: job.id, leg: Leg::Install, device };
    let keys: Vec<TaskKey> = uses.map(|binding| key(binding.device)).collect();
    let (_, tasks) = ledger.jobs_and_tasks([], &keys).await?;
    Ok(tasks.into_values().collect())
}

fn nothing_chosen(job: JobId) -> LenovoError {
    LenovoError::conflict(
        format!("No device of job {job} that failed is chosen by that."),
        format!(
            "GET /jobs/{job}/tasks?state=failed shows what failed and its class, GET /jobs/{job} its waves; correct the body."
        ),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use axum::body::Body;
    use serde_json::{Value, json};

    use super::*;

    async fn filters(body: impl Into<Body>) -> Result<Filters, LenovoError> {
        Filters::of(Request::builder().body(body.into()).unwrap()).await
    }

    #[tokio::test]
    async fn without_a_filter_everything_is_chosen() {
        for body in ["", "{}"] {
            let filters = filters(body).await.unwrap();
            assert!(filters.classes.is_none() && filters.waves.is_none() && filters.devices.is_none());
        }
    }

    #[tokio::test]
    async fn what_is_named_twice_is_chosen_once() {
        let all = json!({ "classes": ["lost", "connect", "lost"], "waves": [2, 1, 2], "devices": ["b", "a", "b"] });
        let filters = filters(all.to_string()).await.unwrap();
        assert_eq!(filters.classes.unwrap().len(), 2);
        assert_eq!(filters.waves.unwrap(), [2, 1]);
        assert_eq!(filters.devices.unwrap(), ["b", "a"].map(|id| id.parse::<DeviceId>().unwrap()));
    }

    #[tokio::test]
    async fn filters_are_checked_and_a_refusal_says_what_is_wrong() {
        let ids = |count: usize| (0..count).map(|number| format!("bmc-{number}")).collect::<Vec<_>>();
        let all = json!({ "classes": ["unauthorized", "connect"], "waves": [3, 1], "devices": ids(1000) });
        assert!(filters(all.to_string()).await.is_ok());
        let refused: [(Value, &str); 7] = [
            (json!({ "classes": ["asleep"] }), "unknown variant `asleep`, expected one of `connect`"),
            (json!({ "classes": [] }), "classes is empty"),
            (json!({ "waves": (0..101).collect::<Vec<_>>() }), "waves has 101 values; one request takes 100"),
            (json!({ "waves": [-1] }), "invalid value"),
            (json!({ "devices": ids(1001) }), "devices has 1001 values; one request takes 1000"),
            (json!({ "devices": ["a b"] }), "a device id has"),
            (json!({ "device": ["a"] }), "unknown field `device`"),
        ];
        for (body, why) in refused {
            let error = filters(body.to_string()).await.unwrap_err();
            assert_eq!(error.status(), 400);
            assert!(error.text().contains(why), "{}", error.text());
        }
    }
}
