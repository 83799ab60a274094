//! `rootcast job`: shows and controls rollovers and deployments.

mod show;
mod waive;

use anyhow::Result;
use clap::{Args, Subcommand};
use reqwest::Method;
use rootcast_core::device::DeviceId;
use rootcast_core::device::labels::Selector;
use rootcast_core::job::task::TaskState;
use rootcast_core::job::{JobId, JobState, Phase};
use rootcast_dialects::native::{Job, Task, Work};
use serde_json::Value;

pub(crate) use self::show::{failures, in_vain};
use crate::{
    api::{Api, ApiError},
    ask,
    exit::{End, Usage},
    output::{self, Format, note, out, plain},
    watch,
};

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// List every rollover and every deployment, the newest first
    List,
    /// Show a job: its state and why, what it used at AWS, its waves, its failed devices
    Show(Which),
    /// Follow a job until it ends or pauses
    Watch(Which),
    /// Pause a rollover: no new device is started
    Pause(Which),
    /// Resume a paused rollover or an ended deployment, and retry what failed
    Resume(Steered),
    /// Let a rollover go on after the phase at which it was to stop; by default until the old roots are gone
    Continue(Continue),
    /// Remove what the job brought from the devices; not possible after a root is active; asks before
    Abort(Abort),
    /// Let the old root sign again; possible until it has left the devices, also after the job has ended
    Rollback(Steered),
    /// Waive devices, or imported certificates: the rollover does not wait for them; asks before
    Waive(Waive),
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The job (default: the newest that has not ended, or else the newest)
    pub(crate) id: Option<JobId>,
}

#[derive(Debug, Args)]
pub(crate) struct Steered {
    #[command(flatten)]
    which: Which,
    /// Follow the job afterwards
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Abort {
    /// The job; without it nothing is aborted
    id: Option<JobId>,
    /// Follow the job until its end
    #[arg(long)]
    watch: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Continue {
    #[command(flatten)]
    steered: Steered,
    /// The last phase: publish, distribute, holdDown, activate, reissue, distrust or retire
    #[arg(long, value_name = "PHASE", default_value_t = Phase::LAST)]
    until: Phase,
}

#[derive(Debug, Args)]
pub(crate) struct Waive {
    #[command(flatten)]
    which: Which,
    /// Which devices; may be repeated
    #[arg(long = "device", value_name = "ID", num_args = 1.., required_unless_present_any = ["all_failed", "certificates"])]
    devices: Vec<DeviceId>,
    /// Every device that failed
    #[arg(long, conflicts_with = "devices")]
    all_failed: bool,
    /// With --all-failed: only devices with these labels, such as site=fra
    #[arg(long = "where", id = "selector", value_name = "LABELS", requires = "all_failed")]
    selector: Option<Selector>,
    /// Imported certificates that are not to keep an old root, by name (\VED\Policy\FOLDER\NAME); may be repeated
    #[arg(long = "certificate", value_name = "NAME", num_args = 1.., conflicts_with_all = ["devices", "all_failed"])]
    certificates: Vec<String>,
    /// Why they are waived; kept in the audit record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(api: &Api, command: JobCommand, format: Format) -> Result<End> {
    match command {
        JobCommand::List => show::list(api, format).await,
        JobCommand::Show(which) => show::run(api, find(api, &which).await?, format).await,
        JobCommand::Watch(which) => watch::follow(api, find(api, &which).await?, format).await,
        JobCommand::Pause(which) => steer(api, find(api, &which).await?, "pause", format).await,
        JobCommand::Resume(steered) => steer_and_watch(api, &steered, "resume", format).await,
        JobCommand::Continue(Continue { steered, until }) => {
            go_further(api, find(api, &steered.which).await?, until, steered.watch, format).await
        }
        JobCommand::Abort(given) => abort(api, &given, format).await,
        JobCommand::Rollback(steered) => steer_and_watch(api, &steered, "rollback", format).await,
        JobCommand::Waive(waive) => waive::run(api, waive, format).await,
    }
}

/// Lets the newest job go on until the old roots are gone, and follows it.
pub(crate) async fn go_on(api: &Api, format: Format) -> Result<End> {
    go_further(api, find(api, &Which { id: None }).await?, Phase::LAST, true, format).await
}

async fn go_further(api: &Api, id: JobId, until: Phase, watch: bool, format: Format) -> Result<End> {
    let (path, query) = (format!("/jobs/{id}/continue"), [("until", until.to_string())]);
    let job: Option<Value> = api.send(Method::POST, &path, &query, None::<&()>).await?;
    if watch { watch::follow(api, id, format).await } else { tell(id, job, format) }
}

/// The named job, else the newest that has not ended, else the newest.
pub(crate) async fn find(api: &Api, which: &Which) -> Result<JobId> {
    if let Some(id) = which.id {
        return Ok(id);
    }
    let jobs = newest(api).await?;
    let open = jobs.iter().find(|job| job["state"] != "ended");
    let id = open.or_else(|| jobs.first()).and_then(|job| serde_json::from_value(job["id"].clone()).ok());
    id.ok_or_else(|| Usage("there is no job yet: rootcast rotate".to_owned()).into())
}

/// The newest hundred, as [`Summary`](rootcast_dialects::native::Summary).
pub(crate) async fn newest(api: &Api) -> Result<Vec<Value>> {
    let mut page: Value = api.get("/jobs", &[("limit", "100")]).await?;
    match page["jobs"].take() {
        Value::Array(jobs) => Ok(jobs),
        _ => Ok(Vec::new()),
    }
}

/// Never of a job that is only guessed.
async fn abort(api: &Api, given: &Abort, format: Format) -> Result<End> {
    let Some(id) = given.id else {
        let jobs = newest(api).await?;
        let open = jobs.iter().filter(|job| job["state"] != "ended").map(|job| job["id"].to_string());
        let open = open.collect::<Vec<_>>().join(", ");
        let which = if open.is_empty() { "every job has ended".to_owned() } else { format!("not ended: {open}") };
        return Err(Usage(format!("say which job: rootcast job abort ID ({which})")).into());
    };
    if !given.yes {
        let job: Job = read(id, api.get(&format!("/jobs/{id}"), &[]).await?)?;
        let what =
            format!("Abort job {id}? {} What it brought leaves the devices that have it.", plain(&job.summary.reason));
        if !ask::is_meant(false, &what, &id.to_string()).await? {
            note!("Nothing is aborted.");
            return Ok(End::Failed);
        }
    }
    if !given.watch {
        return steer(api, id, "abort", format).await;
    }
    let _: Option<Value> = api.send(Method::POST, &format!("/jobs/{id}/abort"), &[], None::<&()>).await?;
    watch::follow_to(api, id, watch::Aim::Abort, format).await
}

async fn steer_and_watch(api: &Api, steered: &Steered, verb: &str, format: Format) -> Result<End> {
    let id = find(api, &steered.which).await?;
    if !steered.watch {
        return steer(api, id, verb, format).await;
    }
    let _: Option<Value> = api.send(Method::POST, &format!("/jobs/{id}/{verb}"), &[], None::<&()>).await?;
    watch::follow(api, id, format).await
}

async fn steer(api: &Api, id: JobId, verb: &str, format: Format) -> Result<End> {
    let job: Option<Value> = api.send(Method::POST, &format!("/jobs/{id}/{verb}"), &[], None::<&()>).await?;
    tell(id, job, format)
}

fn tell(id: JobId, job: Option<Value>, format: Format) -> Result<End> {
    let Some(job) = job else { return Ok(End::Done) };
    if format == Format::Json {
        output::json(&job)?;
        return Ok(End::Done);
    }
    let job = read(id, job)?.summary;
    out!("Job {id}: {}", plain(&job.reason));
    if job.state == JobState::Paused {
        out!("Resume with: rootcast job resume {id} --watch");
    }
    Ok(End::Done)
}

/// Failed devices of the job's current pass: at least as many as are shown, if there are that many.
pub(crate) async fn some_failed(api: &Api, job: &Job) -> Result<Vec<Task>> {
    some(api, job, (TaskState::Failed, "failed"), show::SHOWN_FAILURES).await
}

/// Devices that are not ready, by a preflight: at least as many as are shown, if there are that many.
pub(crate) async fn not_ready(api: &Api, job: &Job) -> Result<Vec<Task>> {
    let path = format!("/jobs/{}/tasks", job.summary.id);
    let limit = show::SHOWN_FAILURES.to_string();
    let mut pages = api.paged(&path, &[("ready", "false")], "tasks", &limit);
    let mut found = Vec::new();
    while found.len() < show::SHOWN_FAILURES
        && let Some(tasks) = pages.next::<Task>().await?
    {
        found.extend(tasks);
    }
    found.truncate(show::SHOWN_FAILURES);
    Ok(found)
}

/// Some devices of the current pass without a result.
pub(crate) async fn waiting(api: &Api, job: &Job) -> Result<Vec<Task>> {
    some(api, job, (TaskState::Waiting, "waiting"), show::SHOWN_FAILURES).await
}

/// At least `count` tasks in this state, if there are that many.
async fn some(api: &Api, job: &Job, (state, name): (TaskState, &str), count: usize) -> Result<Vec<Task>> {
    let (path, filter, limit) = (format!("/jobs/{}/tasks", job.summary.id), [("state", name)], count.to_string());
    let mut pages = api.paged(&path, &filter, "tasks", &limit);
    let mut found = Vec::new();
    while found.len() < count
        && let Some(tasks) = pages.next::<Task>().await?
    {
        found.extend(tasks.into_iter().filter(|task| task.state == state && task.pass == job.summary.pass));
    }
    Ok(found)
}

pub(crate) fn read(id: JobId, job: Value) -> Result<Job, ApiError> {
    serde_json::from_value(job).map_err(|error| ApiError::unintelligible(&format!("/jobs/{id}"), error))
}

/// The current phase, in one word.
pub(crate) const fn phase(job: &Job) -> &'static str {
    match &job.summary.work {
        Work::Rollover(rollover) => rollover.phase.name(),
        Work::Deployment(_) => "install",
    }
}
