//! What an operator asks of a job: pause, resume, abort. A deployment is only resumed.

use axum::Extension;
use axum::extract::State;
use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::job::{Command, Job, JobId};
use rootcast_dialects::lenovo::{Envelope, LenovoError, Message};
use rootcast_gate::{Principal, RequestId};
use rootcast_ledger::{Change, JobRecord, LedgerError};
use tracing::info;

use crate::app::{App, Parts};
use crate::deployments;
use crate::extract::Id;
use crate::jobs::{JobView, RolloverView, load_any};

/// The conductor writes the same record all the time; whoever loses a race decides again on what is there now.
const ATTEMPTS: u32 = 10;

type Answer = Result<Envelope<JobView>, LenovoError>;

pub(crate) async fn pause(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Id(id): Id<JobId>,
) -> Answer {
    answer(&app, &caller.acting(&request), id, Command::Pause).await
}

pub(crate) async fn resume(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Id(id): Id<JobId>,
) -> Answer {
    answer(&app, &caller.acting(&request), id, Command::Resume).await
}

pub(crate) async fn abort(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Id(id): Id<JobId>,
) -> Answer {
    answer(&app, &caller.acting(&request), id, Command::Abort).await
}

async fn answer(app: &App, by: &Actor, id: JobId, command: Command) -> Answer {
    let parts = app.parts().await?;
    if command == Command::Resume && matches!(load_any(&parts.ledger, id).await?, JobRecord::Deployment(_)) {
        return deployments::resume(parts, by, id).await;
    }
    let job = steer(parts, by, id, command).await?;
    let (text, explanation) = match command {
        Command::Pause => ("is paused", "No new device work starts; what is under way ends."),
        Command::Resume => ("is resumed", "What failed is tried again, and the job goes on."),
        Command::Abort => ("is being aborted", "The new root is taken off the devices that hold it."),
    };
    let shown = JobView::Rollover(Box::new(RolloverView::load(&parts.ledger, &job).await?));
    Ok(Envelope::success(shown).saying(Message::done(format!("Job {id} {text}."), explanation)))
}

/// The rollover as it is afterwards.
pub(crate) async fn steer(parts: &Parts, by: &Actor, id: JobId, command: Command) -> Result<Job, LenovoError> {
    for _ in 0..ATTEMPTS {
        let JobRecord::Rollover(job) = load_any(&parts.ledger, id).await? else {
            return Err(deployments::not_steered(id));
        };
        let now = (parts.clock)();
        let job = job.command(command, now).map_err(|why| {
            LenovoError::conflict(
                format!("Job {id} cannot do that: {why}."),
                format!("GET /jobs/{id} shows where it is and why."),
            )
        })?;
        let act = Act::new(Subject::Job(id), action(command), by, now);
        match parts.ledger.commit(Change { job: Some(&job), acts: vec![act], ..Change::default() }).await {
            Err(LedgerError::Conflict) => {}
            written => {
                written?;
                info!(caller = by.principal, job.id = %id, command = ?command, "job steered");
                wake(parts, id, &format!("{command:?}")).await;
                return Ok(job);
            }
        }
    }
    Err(LenovoError::conflict(format!("Job {id} is changing all the time."), "Send the request again in a moment."))
}

const fn action(command: Command) -> Action {
    match command {
        Command::Pause => Action::Pause,
        Command::Resume => Action::Resume,
        Command::Abort => Action::Abort,
    }
}

/// Tells the conductor to look. Nothing is lost where that fails: a schedule wakes it within a minute.
pub(crate) async fn wake(parts: &Parts, job: JobId, why: &str) {
    parts.queue.wake_conductor(&parts.control_queue, job, why.to_lowercase()).await;
}
