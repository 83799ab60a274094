//! An operator's commands to a job: pause, resume, continue, abort, roll back. A deployment can only be resumed.

use axum::Extension;
use axum::extract::State;
use rootcast_core::audit::Actor;
use rootcast_core::job::{Command, JobId, JobPurpose, JobRecord, NotAStop, Phase};
use rootcast_dialects::lenovo::{Envelope, LenovoError, Message, Params};
use rootcast_dialects::native;
use rootcast_gate::{Principal, RequestId};
use serde::Deserialize;
use tracing::info;

use crate::app::{App, Parts};
use crate::extract::Id;
use crate::jobs::view;
use crate::refused::{Asked, refused};

type Answer = Result<Envelope<native::Job>, LenovoError>;

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

pub(crate) async fn roll_back(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Id(id): Id<JobId>,
) -> Answer {
    answer(&app, &caller.acting(&request), id, Command::RollBack).await
}

/// The query of `POST /jobs/{id}/continue`.
#[derive(Debug, Deserialize)]
pub(crate) struct Further {
    /// The last phase.
    until: Option<String>,
}

pub(crate) async fn go_on(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Id(id): Id<JobId>,
    Params(Further { until }, _): Params<Further>,
) -> Answer {
    let until = until.map_or(Ok(Phase::LAST), |until| until.parse());
    let until = until.map_err(|error: NotAStop| {
        LenovoError::invalid(
            format!("until is not valid: {error}."),
            "Leave it out, or name the last phase of the job.",
        )
    })?;
    answer(&app, &caller.acting(&request), id, Command::Continue { until }).await
}

async fn answer(app: &App, by: &Actor, id: JobId, command: Command) -> Answer {
    let parts = app.parts().await?;
    let job = steer(parts, by, id, command).await?;
    let (text, explanation) = match (command, &job) {
        (Command::Pause, _) => ("is paused", "No new device work starts; what is under way ends."),
        (Command::Resume, JobRecord::Rollover(_)) => ("is resumed", "What failed is tried again, and the job goes on."),
        (Command::Resume, JobRecord::Deployment(_)) => ("is resumed", "Failed devices are retried."),
        (Command::Continue { .. }, _) => ("continues", "It goes on from the phase that it had reached."),
        (Command::RollBack, _) => (
            "is being rolled back",
            "The old root signs again. The new root stays trusted, and what was issued under it stays valid.",
        ),
        (Command::Abort, JobRecord::Rollover(job)) if job.purpose == JobPurpose::Anchors => {
            ("is being aborted", "The devices get the trusted certificates of before.")
        }
        (Command::Abort, JobRecord::Rollover(job)) if job.purpose == JobPurpose::Preflight => {
            ("is being aborted", "No further device is read. Nothing was written.")
        }
        (Command::Abort, _) => ("is being aborted", "The new root is taken off the devices that hold it."),
    };
    let shown = view(parts, &job).await?;
    Ok(Envelope::success(shown).saying(Message::done(format!("Job {id} {text}."), explanation)))
}

/// Returns the job after the command.
pub(crate) async fn steer(parts: &Parts, by: &Actor, id: JobId, command: Command) -> Result<JobRecord, LenovoError> {
    let steered = parts.operations().steer(id, command, by).await;
    let job = steered.map_err(|why| refused(id, Asked::Steer(command), why))?;
    match &job {
        JobRecord::Rollover(_) => info!(caller = by.principal, job.id = %id, command = ?command, "job steered"),
        JobRecord::Deployment(_) => info!(caller = by.principal, job.id = %id, "deployment resumed"),
    }
    Ok(job)
}
