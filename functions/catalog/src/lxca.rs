//! Jobs as XClarity clients know them: `/signingCertificate/jobs` and `/tasks`.
//!
//! Sources: <https://pubs.lenovo.com/lxca_scripting/rest_api_servercertificate_jobs_id_get> (the sibling page, which
//! says of a result only `SUCCESS`; the other words are ours), <https://pubs.lenovo.com/lxca_scripting/rest_api_tasks_uid_get>
//! and `pylxca` 4.2.0, which reads `/tasks/{id}` as an array.

mod result;

use axum::extract::State;
use axum::{Extension, Json};
use futures::stream::{self, StreamExt, TryStreamExt};
use rootcast_core::job::{Command, Job, JobId, JobState, Tally};
use rootcast_dialects::lenovo::{Body, Envelope, LenovoError, Message};
use rootcast_gate::{Principal, RequestId};
use rootcast_ledger::{JobRecord, Ledger};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use self::result::{DeviceResult, MESSAGE_BUNDLE, result};
use crate::app::{App, Parts};
use crate::extract::{Id, Params};
use crate::fleet::{Row, Standing, page, standing};
use crate::jobs::{load, progress, tally};
use crate::page::Paging;
use crate::steer::steer;
use crate::tasks::sees;

#[derive(Debug, Serialize)]
pub(crate) struct About {
    name: &'static str,
    version: &'static str,
}

/// `GET /aicc`: what there is. `pylxca` asks for it right after its login, and takes any object.
pub(crate) async fn about() -> Envelope<About> {
    Envelope::success(About { name: "Rootcast", version: env!("CARGO_PKG_VERSION") })
}

/// In the list of all; `GET /jobs` has the others.
const LISTED: u32 = 100;
/// Jobs in one `/tasks` call.
const MOST_JOBS: usize = 20;
/// Reads of device records under way at once.
const CONCURRENCY: usize = 32;
/// Jobs of either kind among which `GET /tasks` looks.
const NEWEST: u32 = 20;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobView {
    /// Ours: the vendor's list has no way from an entry to its job.
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
    /// Why the job is where it is.
    message_display: String,
}

impl JobView {
    fn of(job: &Job, tally: &Tally, result: Vec<DeviceResult>, cursor: Option<String>) -> Self {
        let description = Description { message_bundle: MESSAGE_BUNDLE, message_display: job.reason.clone() };
        Self {
            job_path: job.id.path(),
            progress: progress(job, tally),
            result,
            status: Status { description: [description] },
            cursor,
        }
    }
}

/// `GET /signingCertificate/jobs`: rollovers, newest first, without their devices.
pub(crate) async fn jobs(State(app): State<App>) -> Result<Envelope<Vec<JobView>>, LenovoError> {
    let ledger = &app.parts().await?.ledger;
    let mut shown = Vec::new();
    for job in ledger.jobs_before(None, LISTED).await?.jobs {
        let JobRecord::Rollover(job) = job else { continue };
        // There is at most one job that has not ended.
        let tally = if job.state == JobState::Ended { Tally::default() } else { tally(ledger, &job).await? };
        shown.push(JobView::of(&job, &tally, Vec::new(), None));
    }
    Ok(Envelope::success(shown))
}

/// `GET /signingCertificate/jobs/{id}`: with the results of its devices, a page of them.
pub(crate) async fn job(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(id): Id<JobId>,
    Params(paging): Params<Paging>,
) -> Result<Envelope<JobView>, LenovoError> {
    let parts = app.parts().await?;
    let ledger = &parts.ledger;
    let job = load(ledger, id).await?;
    let tally = tally(ledger, &job).await?;
    let (results, cursor) = results(parts, &caller, &job, &paging).await?;
    Ok(Envelope::success(JobView::of(&job, &tally, results, cursor)))
}

async fn results(
    Parts { ledger, clock, .. }: &Parts,
    caller: &Principal,
    job: &Job,
    paging: &Paging,
) -> Result<(Vec<DeviceResult>, Option<String>), LenovoError> {
    let keep = |row: &Row| sees(caller, row) && standing(job, row) != Standing::NotInJob;
    let (rows, cursor) = page(ledger, job, paging, !caller.sees_everything(), keep).await?;
    let now = clock();
    let results = stream::iter(rows)
        .map(|row| async move {
            let standing = standing(job, &row);
            let is_held = standing == Standing::Waiting && is_held(ledger, &row, now).await?;
            Ok::<_, LenovoError>(result(&row, standing, is_held))
        })
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    Ok((results, cursor))
}

/// Whether a worker is at the device. There is one job at a time, so it is this one's.
async fn is_held(ledger: &Ledger, row: &Row, now: OffsetDateTime) -> Result<bool, LenovoError> {
    let device = ledger.device(&row.device).await?;
    Ok(device.and_then(|device| device.lease).is_some_and(|lease| now < lease.until))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Compact {
    #[serde(default)]
    compact: bool,
}

/// An entry of `/tasks`: a job, or one of its devices.
#[derive(Debug, Serialize)]
pub(crate) struct Task {
    #[serde(rename = "jobUID")]
    job_uid: String,
    title: String,
    percentage: f64,
    complete: bool,
    status: &'static str,
    description: String,
    /// Left out of a compact answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    children: Option<Vec<Task>>,
}

/// `GET /tasks/{id}[,{id}…]`: an array without the envelope. Children are the first 100 devices (or `limit`).
pub(crate) async fn tasks(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(ids): Id<String>,
    Params(Compact { compact }): Params<Compact>,
    Params(paging): Params<Paging>,
) -> Result<Json<Vec<Task>>, LenovoError> {
    let parts = app.parts().await?;
    let mut tasks = Vec::new();
    for id in parse_ids(ids.split(','))? {
        tasks.push(Task::load(parts, &caller, &load(&parts.ledger, id).await?, compact, &paging).await?);
    }
    Ok(Json(tasks))
}

/// `GET /tasks`: the rollovers among the newest jobs.
pub(crate) async fn newest(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Params(Compact { compact }): Params<Compact>,
    Params(paging): Params<Paging>,
) -> Result<Json<Vec<Task>>, LenovoError> {
    let parts = app.parts().await?;
    let mut tasks = Vec::new();
    for job in parts.ledger.jobs_before(None, NEWEST).await?.jobs {
        if let JobRecord::Rollover(job) = job {
            tasks.push(Task::load(parts, &caller, &job, compact, &paging).await?);
        }
    }
    Ok(Json(tasks))
}

impl Task {
    async fn load(
        parts: &Parts,
        caller: &Principal,
        job: &Job,
        compact: bool,
        paging: &Paging,
    ) -> Result<Self, LenovoError> {
        let tally = tally(&parts.ledger, job).await?;
        let children = if compact {
            None
        } else {
            let (results, _) = results(parts, caller, job, paging).await?;
            Some(results.into_iter().map(|child| child.into_task(job.id)).collect())
        };
        Ok(Self::of(job, &tally, children))
    }

    fn of(job: &Job, tally: &Tally, children: Option<Vec<Self>>) -> Self {
        Self {
            job_uid: job.id.to_string(),
            title: format!("CA root certificate, generation {}", job.generation),
            percentage: progress(job, tally),
            complete: job.state == JobState::Ended,
            status: result::status(job),
            description: job.reason.clone(),
            children,
        }
    }
}

/// The body of `PUT /tasks`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Action {
    action: Verb,
    list: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    /// What is native `abort`.
    Cancel,
}

/// `PUT /tasks {"action":"cancel","list":["383"]}`
pub(crate) async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Body(Action { action: Verb::Cancel, list }): Body<Action>,
) -> Result<Envelope<()>, LenovoError> {
    let parts = app.parts().await?;
    let ids = parse_ids(list.iter().map(String::as_str))?;
    let by = caller.acting(&request);
    for id in &ids {
        steer(parts, &by, *id, Command::Abort).await?;
    }
    let message = Message::done(
        format!("Aborting {}.", ids.iter().map(|id| format!("job {id}")).collect::<Vec<_>>().join(", ")),
        "The new root is taken off the devices that hold it.",
    );
    Ok(Envelope { response: None, ..Envelope::success(()) }.saying(message))
}

fn parse_ids<'a>(ids: impl Iterator<Item = &'a str>) -> Result<Vec<JobId>, LenovoError> {
    let parsed: Result<Vec<JobId>, _> = ids.take(MOST_JOBS + 1).map(|id| id.trim().parse()).collect();
    match parsed {
        Ok(ids) if (1..=MOST_JOBS).contains(&ids.len()) => Ok(ids),
        _ => Err(LenovoError::invalid(
            format!("The list names 1 to {MOST_JOBS} jobs by their decimal ids."),
            "GET /jobs lists those that there are.",
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_gate::parse_json;
    use serde_json::json;

    use super::*;
    use crate::jobs::tests::running;

    #[test]
    fn a_job_has_the_vendors_attributes() {
        let shown = JobView::of(&running(), &Tally::default(), Vec::new(), None);
        assert_eq!(
            serde_json::to_value(shown).unwrap(),
            json!({
                "jobPath": "/signingCertificate/jobs/7", "progress": 0.0, "result": [],
                "status": { "description": [{
                    "messageBundle": "com.lenovo.lxca.security.base.bundle.tasks.messages",
                    "messageDisplay": "The new root is being made.",
                }] },
            })
        );
    }

    #[test]
    fn a_task_is_compact_or_has_children() {
        let task = |children| serde_json::to_value(Task::of(&running(), &Tally::default(), children)).unwrap();
        assert_eq!((&task(None)["jobUID"], &task(None)["complete"]), (&json!("7"), &json!(false)));
        assert!(task(None).get("children").is_none());
        assert_eq!(task(Some(Vec::new()))["children"], json!([]));
    }

    #[test]
    fn only_cancel_is_known() {
        assert!(parse_json::<Action>(br#"{"action":"cancel","list":["383"]}"#).is_ok());
        assert!(parse_json::<Action>(br#"{"action":"delete","list":["383"]}"#).unwrap_err().text().contains("delete"));
        assert!(parse_json::<Action>(br#"{"action":"cancel","list":["383"],"x":1}"#).is_err());
        assert_eq!(parse_ids(["383", " 7"].into_iter()).unwrap(), [JobId(383), JobId(7)]);
        assert!(parse_ids(std::iter::empty()).is_err() && parse_ids(["x"].into_iter()).is_err());
        assert!(parse_ids(std::iter::repeat("1")).is_err());
    }
}
