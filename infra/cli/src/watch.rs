//! Follows a job until it ends or needs its operator.

mod bar;
mod lines;
mod pace;
#[cfg(test)]
pub(crate) mod recorded;

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use anyhow::Result;
use rootcast_core::deployment::DeploymentOutcome;
use rootcast_core::job::{JobId, JobOutcome, JobPurpose, JobState, Phase};
use rootcast_dialects::native::{Deployment, Job, Rollover, Work};
use serde_json::Value;
use time::OffsetDateTime;

use self::{bar::Bar, lines::Line, pace::Pace};
use crate::{
    api::{Api, ApiError},
    exit::End,
    job::{failures, not_ready, read, some_failed, waiting},
    output::{self, Format, note, out, plain},
    preflight,
};

/// Poll interval while the job progresses: looks live to a person, and calls the function at most four times a
/// second.
const SHORTEST_LOOK: Duration = Duration::from_millis(250);
/// Poll interval while nothing changes.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// Without an answer for so long, the watch says so.
const SILENCE: Duration = Duration::from_secs(5);
/// Without a result for so long, the watch says what the job waits for.
const STALLED: Duration = Duration::from_secs(10);
/// How long the API may be unreachable: a rollover takes hours, and a network may fail in between.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whether it is good that the job is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    Success,
    Abort,
}

/// Shows each change of the job until it has ended or paused.
pub(crate) async fn follow(api: &Api, id: JobId, format: Format) -> Result<End> {
    follow_to(api, id, Aim::Success, format).await
}

/// As [`follow`]. Ctrl-C ends the watch, and not the job.
pub(crate) async fn follow_to(api: &Api, id: JobId, aim: Aim, format: Format) -> Result<End> {
    tokio::select! {
        end = to_the_end(api, id, aim, format) => end,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            note!("\nJob {id} goes on. Follow it: rootcast job watch {id}");
            Ok(End::Interrupted)
        }
    }
}

async fn to_the_end(api: &Api, id: JobId, aim: Aim, format: Format) -> Result<End> {
    let begun = Instant::now();
    let mut view = View::new(format);
    let mut pace = Pace::default();
    let mut look = SHORTEST_LOOK;
    let mut last = Value::Null;
    let mut reached = begun;
    let mut stuck = Stuck::default();
    loop {
        let answer: Value = match ask(api, id, &mut view, reached).await {
            Ok(answer) => answer,
            Err(error) if last != Value::Null && error.is_passing() && reached.elapsed() < PATIENCE => {
                view.silent(reached.elapsed());
                tokio::time::sleep(LONGEST_LOOK).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        reached = Instant::now();
        let job = read(id, answer.clone())?;
        pace.observe(begun.elapsed(), job.devices.settled());
        if answer == last {
            look = (look * 3 / 2).min(LONGEST_LOOK);
        } else {
            look = SHORTEST_LOOK;
        }
        let waits = stuck.look(api, &job, &pace, format).await?;
        view.show(&job, (answer != last).then_some(&answer), &pace, waits)?;
        if job.summary.state != JobState::Running {
            drop(view);
            return conclude(api, &job, aim, format).await;
        }
        last = answer;
        tokio::time::sleep(look).await;
    }
}

/// Says within seconds that no answer comes: the request itself waits longer, and is repeated.
async fn ask(api: &Api, id: JobId, view: &mut View, reached: Instant) -> Result<Value, ApiError> {
    let path = format!("/jobs/{id}");
    let mut answer = std::pin::pin!(api.get(&path, &[]));
    match tokio::time::timeout(SILENCE, &mut answer).await {
        Ok(answer) => answer,
        Err(_) => {
            view.silent(reached.elapsed());
            answer.await
        }
    }
}

/// What the job waits for, while no device gets a result.
#[derive(Default)]
struct Stuck {
    looked: Option<Instant>,
    text: Option<String>,
}

impl Stuck {
    async fn look(&mut self, api: &Api, job: &Job, pace: &Pace, format: Format) -> Result<Option<&str>> {
        if format == Format::Json || pace.stalled() < STALLED || job.devices.waiting == 0 {
            self.text = None;
        } else if self.looked.is_none_or(|looked| looked.elapsed() >= STALLED) {
            self.looked = Some(Instant::now());
            // Only a hint: what follows is read again with the job.
            self.text = match waiting(api, job).await {
                Ok(tasks) => lines::waits_for(&tasks),
                Err(_) => None,
            };
        }
        Ok(self.text.as_deref())
    }
}

/// How a job is shown: a progress bar at a terminal, lines in a file, JSON to a program, nothing with `--quiet`.
enum View {
    Bar(Bar),
    Lines { last: Option<Line>, is_silent: bool },
    Json,
    Nothing,
}

impl View {
    fn new(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Text if output::is_quiet() => Self::Nothing,
            Format::Text if std::io::stdout().is_terminal() => Self::Bar(Bar::new()),
            Format::Text => Self::Lines { last: None, is_silent: false },
        }
    }

    /// `changed`: the answer, if it is another one than before.
    fn show(&mut self, job: &Job, changed: Option<&Value>, pace: &Pace, waits: Option<&str>) -> Result<()> {
        match self {
            Self::Bar(bar) => bar.show(job, pace, waits),
            Self::Lines { last, is_silent } => {
                let now = OffsetDateTime::now_utc();
                let line = Line::of(job, waits, now);
                *is_silent = false;
                if last.as_ref() != Some(&line) {
                    out!("{}", line.text(last.as_ref(), now, job, pace));
                    *last = Some(line);
                }
            }
            Self::Json => changed.map_or(Ok(()), output::json)?,
            Self::Nothing => {}
        }
        Ok(())
    }

    /// The API has not answered for so long.
    fn silent(&mut self, since: Duration) {
        let text =
            format!("No answer from the API for {} s; trying again. The job goes on without it.", since.as_secs());
        match self {
            Self::Bar(bar) => bar.silent(&text),
            Self::Lines { is_silent: true, .. } | Self::Nothing => {}
            Self::Lines { is_silent, .. } => {
                *is_silent = true;
                note!("{text}");
            }
            Self::Json => note!("{text}"),
        }
    }
}

/// The final report on a job that has ended or paused.
async fn conclude(api: &Api, job: &Job, aim: Aim, format: Format) -> Result<End> {
    let end = if aim == Aim::Abort && is_aborted(job) { End::Done } else { end(job) };
    if format == Format::Json {
        return Ok(end);
    }
    out!("Job {}: {}", job.summary.id, plain(&job.summary.reason));
    if let Some(report) = &job.report {
        out!(
            "\n{}\n{}",
            preflight::describe(report),
            preflight::devices(&not_ready(api, job).await?, report.not_ready)
        );
    } else if end != End::Done && job.devices.failed > 0 {
        out!("\n{}", failures(&some_failed(api, job).await?, job.devices.failed));
    }
    if end == End::Paused || end == End::Failed && matches!(job.summary.work, Work::Deployment(_)) {
        out!("\n{}", next_commands(job));
    }
    Ok(end)
}

fn is_aborted(job: &Job) -> bool {
    matches!(&job.summary.work, Work::Rollover(Rollover { outcome: Some(JobOutcome::Aborted), .. }))
}

fn end(job: &Job) -> End {
    match &job.summary.work {
        _ if job.summary.state == JobState::Paused => End::Paused,
        _ if job.report.as_ref().is_some_and(|report| report.not_ready > 0) => End::Failed,
        Work::Rollover(Rollover { outcome: Some(JobOutcome::Aborted | JobOutcome::ActivatedWithFailures), .. })
        | Work::Deployment(Deployment { outcome: Some(DeploymentOutcome::DeployedWithFailures), .. }) => End::Failed,
        _ => End::Done,
    }
}

fn next_commands(job: &Job) -> String {
    let id = job.summary.id;
    let failed = job.devices.failed > 0;
    let when = if failed { "when the devices are mended" } else { "to go on" };
    let stopped = match &job.summary.work {
        Work::Rollover(rollover) => rollover.until.is_some_and(|until| until <= rollover.phase),
        Work::Deployment(_) => false,
    };
    let verb = if stopped { "continue" } else { "resume" };
    let mut next = vec![(when, format!("rootcast job {verb} {id} --watch"))];
    if let Work::Rollover(rollover) = &job.summary.work {
        if failed {
            next.push((
                "to go on without them",
                format!("rootcast job waive {id} --all-failed --reason TEXT, then resume"),
            ));
        }
        let (what, verb) = match (rollover.purpose, rollover.phase) {
            (JobPurpose::Anchors, _) => ("to go back", "abort"),
            (JobPurpose::Preflight, _) => ("to read no further device", "abort"),
            (JobPurpose::Rollover, phase) if phase < Phase::Activate => ("to give the new root up", "abort"),
            (JobPurpose::Rollover, _) => ("to let the old root sign", "rollback"),
        };
        if rollover.phase < Phase::Distrust && rollover.outcome.is_none() {
            next.push((what, format!("rootcast job {verb} {id} --watch")));
        }
    }
    next.iter().map(|(when, command)| format!("{when:28}{command}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use axum::{
        Json, Router,
        http::{HeaderMap, StatusCode},
        routing::get,
    };
    use rootcast_core::access::token::Token;
    use serde_json::{Value, json};

    use super::{follow, next_commands, recorded};
    use crate::{
        api::{Api, ApiError},
        exit::End,
        output::Format,
        profile::Access,
    };

    /// An API with one job, which takes the next of `states` at each request.
    async fn api(token: &str, states: &'static [&'static str]) -> Api {
        let looks = Arc::new(AtomicUsize::new(0));
        let job = async move |headers: HeaderMap| {
            if headers["authorization"] != "Bearer secret==" {
                let message = json!({"id": "FQXHMSE0401J", "text": "The token is not known.", "recovery": {"text": "Log in.", "URL": ""}});
                return (StatusCode::UNAUTHORIZED, Json(json!({"result": "failed", "messages": [message]})));
            }
            let look = looks.fetch_add(1, Ordering::Relaxed).min(states.len() - 1);
            let response: Value = serde_json::from_str(states[look]).unwrap();
            (StatusCode::OK, Json(json!({"response": response, "result": "success", "messages": []})))
        };
        let tasks = async || {
            let task = json!({"device": "bmc-0003", "leg": "distribute", "state": "failed", "attempt": 1, "class": "connect",
                              "message": "connection refused", "recovery": "Switch it on."});
            Json(json!({"response": {"tasks": [task]}, "result": "success", "messages": []}))
        };
        let app = Router::new().route("/jobs/7", get(job)).route("/jobs/7/tasks", get(tasks));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Api::connect(&Access { url, token: Token::from_text(token.to_owned()), ca: None }).unwrap()
    }

    #[tokio::test]
    async fn a_job_is_followed_to_its_end() {
        let api = api("secret==", &[recorded::RUNNING, recorded::RUNNING, recorded::ACTIVATED]).await;
        assert_eq!(follow(&api, "7".parse().unwrap(), Format::Text).await.unwrap(), End::Done);
    }

    #[tokio::test]
    async fn a_pause_needs_the_operator() {
        let api = api("secret==", &[recorded::RUNNING, recorded::PAUSED]).await;
        assert_eq!(follow(&api, "7".parse().unwrap(), Format::Text).await.unwrap(), End::Paused);
    }

    #[tokio::test]
    async fn an_abort_that_was_wanted_is_done() {
        let aborted = recorded::ACTIVATED.replace(r#""activated""#, r#""aborted""#);
        let job = recorded::job(&aborted);
        assert_eq!(super::end(&job), End::Failed);
        let api = api("secret==", &[recorded::RUNNING]).await;
        assert_eq!(super::conclude(&api, &job, super::Aim::Abort, Format::Text).await.unwrap(), End::Done);
    }

    #[tokio::test]
    async fn an_unknown_token_is_reported_at_once() {
        let api = api("another==", &[recorded::RUNNING]).await;
        let error = follow(&api, "7".parse().unwrap(), Format::Json).await.unwrap_err();
        assert!(error.downcast_ref::<ApiError>().unwrap().is_no_access());
        assert_eq!(error.to_string(), "The token is not known. (401, FQXHMSE0401J)\n  Log in.");
    }

    #[tokio::test]
    async fn a_deployment_is_followed_like_a_rollover() {
        let api = api("secret==", &[recorded::DEPLOYING, recorded::DEPLOYED_BUT_ONE]).await;
        assert_eq!(follow(&api, "7".parse().unwrap(), Format::Text).await.unwrap(), End::Failed);
        let next = next_commands(&recorded::job(recorded::DEPLOYED_BUT_ONE));
        assert_eq!(next, "when the devices are mended rootcast job resume 7 --watch");
    }

    #[test]
    fn next_steps_are_given_as_commands() {
        let next = next_commands(&recorded::job(recorded::PAUSED));
        assert!(
            next.contains("rootcast job resume 7 --watch") && next.contains("rootcast job waive 7 --all-failed"),
            "{next}"
        );
        assert!(next.contains("rootcast job abort 7"), "{next}");
    }
}
