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
    api::Api,
    exit::End,
    job::{failures, not_ready, read, some_failed},
    output::{self, Format, out, plain},
    preflight,
};

/// Poll interval while the job progresses: looks live to a person, and calls the function at most four times a
/// second.
const SHORTEST_LOOK: Duration = Duration::from_millis(250);
/// Poll interval while nothing changes.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// How long the API may be unreachable: a rollover takes hours, and a network may fail in between.
const PATIENCE: Duration = Duration::from_secs(120);

/// Shows each change of the job until it has ended or paused.
pub(crate) async fn follow(api: &Api, id: JobId, format: Format) -> Result<End> {
    let begun = Instant::now();
    let mut view = View::new(format);
    let mut pace = Pace::default();
    let mut look = SHORTEST_LOOK;
    let mut last = Value::Null;
    let mut reached = begun;
    loop {
        let answer: Value = match api.get(&format!("/jobs/{id}"), &[]).await {
            Ok(answer) => answer,
            Err(error) if last != Value::Null && error.is_passing() && reached.elapsed() < PATIENCE => {
                tokio::time::sleep(LONGEST_LOOK).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        reached = Instant::now();
        if answer == last {
            look = (look * 3 / 2).min(LONGEST_LOOK);
        } else {
            look = SHORTEST_LOOK;
            let job = read(id, answer.clone())?;
            pace.observe(begun.elapsed(), job.devices.settled());
            view.show(&job, &answer, &pace)?;
            if job.summary.state != JobState::Running {
                drop(view);
                return conclude(api, &job, format).await;
            }
            last = answer;
        }
        tokio::time::sleep(look).await;
    }
}

/// How a job is shown: a progress bar at a terminal, lines in a file, JSON to a program.
enum View {
    Bar(Bar),
    Lines(Option<Line>),
    Json,
}

impl View {
    fn new(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Text if std::io::stdout().is_terminal() => Self::Bar(Bar::new()),
            Format::Text => Self::Lines(None),
        }
    }

    fn show(&mut self, job: &Job, answer: &Value, pace: &Pace) -> Result<()> {
        match self {
            Self::Bar(bar) => bar.show(job, pace),
            Self::Lines(last) => {
                let line = Line::of(job);
                if last.as_ref() != Some(&line) {
                    out!("{}", line.text(last.as_ref(), OffsetDateTime::now_utc(), job, pace));
                    *last = Some(line);
                }
            }
            Self::Json => output::json(answer)?,
        }
        Ok(())
    }
}

/// The final report on a job that has ended or paused.
async fn conclude(api: &Api, job: &Job, format: Format) -> Result<End> {
    let end = end(job);
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
