//! Jobs in the form that XClarity clients expect: `/signingCertificate/jobs` and `/tasks`.

use axum::extract::State;
use axum::{Extension, Json};
use futures::stream::{self, StreamExt, TryStreamExt};
use rootcast_core::job::standing::Standing;
use rootcast_core::job::{Command, Job, JobId, JobRecord, JobState, Tally};
use rootcast_dialects::lenovo::jobs::{Action, Compact, DeviceResult, JobView, Task, job_ids};
use rootcast_dialects::lenovo::{About, Body, Envelope, LenovoError, Loose, Message, ResultKind};
use rootcast_gate::{Cursors, Principal, RequestId};
use rootcast_ledger::Ledger;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::app::{App, Parts};
use crate::extract::Id;
use crate::fleet::{Among, Row, page};
use crate::jobs::{load, progress, tally};
use crate::page::Paging;
use crate::steer::steer;
use crate::tasks::sees;

/// `GET /aicc`
pub(crate) async fn about() -> Envelope<About> {
    Envelope::success(About::THIS)
}

/// What an XClarity Administrator has besides, and its clients ask for: there is none of it here, which is no error.
/// The lists of devices have the names of the vendor's pages; accounts and credentials are in `response`.
pub(crate) async fn none() -> Json<Value> {
    const LISTS: [&str; 7] =
        ["nodeList", "chassisList", "switchList", "fanList", "fanMuxList", "powerSupplyList", "cmmList"];
    let mut nothing = json!({ "response": [], "result": "success", "messages": [] });
    for list in LISTS {
        nothing[list] = json!([]);
    }
    Json(nothing)
}

/// The list shows the rollovers among this many of the newest jobs; `GET /jobs` pages through all jobs.
const LISTED: u32 = 100;
/// Concurrent reads of device records.
const CONCURRENCY: usize = 32;
/// `GET /tasks` searches this many of the newest jobs of either kind.
const NEWEST: u32 = 20;

/// `GET /signingCertificate/jobs`: rollovers, newest first, without their devices.
pub(crate) async fn jobs(State(app): State<App>) -> Result<Envelope<Vec<JobView>>, LenovoError> {
    let ledger = &app.parts().await?.ledger;
    let mut shown = Vec::new();
    for job in ledger.jobs_before(None, LISTED).await?.jobs {
        let JobRecord::Rollover(job) = job else { continue };
        // At most one rollover has not ended.
        let tally = if job.state == JobState::Ended { Tally::default() } else { tally(ledger, &job).await? };
        shown.push(JobView::of(&job, progress(&job, &tally), Vec::new(), None));
    }
    Ok(Envelope::success(shown))
}

/// `GET /signingCertificate/jobs/{id}`: a rollover with one page of its devices' results.
pub(crate) async fn job(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(id): Id<JobId>,
    Loose(paging, _): Loose<Paging>,
) -> Result<Envelope<JobView>, LenovoError> {
    let parts = app.parts().await?;
    let ledger = &parts.ledger;
    let job = load(ledger, id).await?;
    let tally = tally(ledger, &job).await?;
    let (results, cursor) = results(parts, &caller, &job, &paging).await?;
    Ok(Envelope::success(JobView::of(&job, progress(&job, &tally), results, cursor)))
}

async fn results(
    Parts { ledger, clock, .. }: &Parts,
    caller: &Principal,
    job: &Job,
    paging: &Paging,
) -> Result<(Vec<DeviceResult>, Option<String>), LenovoError> {
    let keep = |row: &Row| sees(caller, row) && row.standing(job) != Standing::NotInJob;
    let list = Cursors { ledger, caller, list: &format!("results of job {}", job.id) };
    let (rows, cursor) = page(list, job, paging, Among::Every, keep).await?;
    let now = clock();
    let results = stream::iter(rows)
        .map(|row| async move {
            let standing = row.standing(job);
            let is_held = standing == Standing::Waiting && is_held(ledger, &row, now).await?;
            Ok::<_, LenovoError>(DeviceResult::of(&row.device, row.task.as_ref(), standing, is_held))
        })
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    Ok((results, cursor))
}

/// Whether a worker holds the device. The lease names no job, so a worker of a deployment counts too.
async fn is_held(ledger: &Ledger, row: &Row, now: OffsetDateTime) -> Result<bool, LenovoError> {
    let device = ledger.device(&row.device).await?;
    Ok(device.and_then(|device| device.lease).is_some_and(|lease| now < lease.until))
}

/// `GET /tasks/{id}[,{id}…]`: an array without the envelope. Children are the first 100 devices (or `limit`).
pub(crate) async fn tasks(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(ids): Id<String>,
    Loose(Compact { compact }, paging): Loose<Compact, Paging>,
) -> Result<Json<Vec<Task>>, LenovoError> {
    let parts = app.parts().await?;
    let mut tasks = Vec::new();
    for id in job_ids(ids.split(','))? {
        tasks.push(task(parts, &caller, &load(&parts.ledger, id).await?, compact, &paging).await?);
    }
    Ok(Json(tasks))
}

/// `GET /tasks`: the rollovers among the newest jobs.
pub(crate) async fn newest(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Loose(Compact { compact }, paging): Loose<Compact, Paging>,
) -> Result<Json<Vec<Task>>, LenovoError> {
    let parts = app.parts().await?;
    let mut tasks = Vec::new();
    for job in parts.ledger.jobs_before(None, NEWEST).await?.jobs {
        if let JobRecord::Rollover(job) = job {
            tasks.push(task(parts, &caller, &job, compact, &paging).await?);
        }
    }
    Ok(Json(tasks))
}

async fn task(
    parts: &Parts,
    caller: &Principal,
    job: &Job,
    compact: bool,
    paging: &Paging,
) -> Result<Task, LenovoError> {
    let tally = tally(&parts.ledger, job).await?;
    let children = if compact {
        None
    } else {
        let (results, _) = results(parts, caller, job, paging).await?;
        Some(results.into_iter().map(|child| child.into_task(job.id)).collect())
    };
    Ok(Task::of(job, progress(job, &tally), children))
}

/// `PUT /tasks {"action":"cancel","list":["383"]}`
pub(crate) async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Body(action): Body<Action>,
) -> Result<Envelope<()>, LenovoError> {
    let parts = app.parts().await?;
    let ids = action.cancelled()?;
    let by = caller.acting(&request);
    // A refusal says that nothing was done, so one job's does not keep the others from being aborted.
    let (mut aborted, mut refused) = (Vec::new(), Vec::new());
    for id in &ids {
        match steer(parts, &by, *id, Command::Abort).await {
            Ok(_) => aborted.push(format!("job {id}")),
            Err(why) => refused.push(why),
        }
    }
    // What may be done after all outweighs what is not.
    if aborted.is_empty()
        && let Some(why) = refused.iter().cloned().rev().max_by_key(LenovoError::status)
    {
        return Err(why);
    }
    let message = Message::done(
        format!("Aborting {}.", aborted.join(", ")),
        "What the job brought is taken off the devices that hold it.",
    );
    let answer = Envelope { response: None, ..Envelope::success(()) }.saying(message);
    if refused.is_empty() {
        return Ok(answer);
    }
    let text = refused.iter().map(LenovoError::text).collect::<Vec<_>>().join(" ");
    Ok(answer.judged(ResultKind::Warning).saying(Message::partly(text, "GET /jobs shows where each job is and why.")))
}
