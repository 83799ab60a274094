//! Commands to a job. Each says what it will do; a grave one has the job's name typed in.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use rootcast_core::job::{JobState, Phase};
use rootcast_dialects::native::{Summary, Work};
use rootcast_gate::routes::{self, Route};
use serde_json::{Value, json};

use crate::App;
use crate::api::{Api, Trouble};
use crate::caller::Caller;
use crate::form::Sent;
use crate::frame::nothing_here;
use crate::parts::{Act, act, field, plain, segment};
use crate::rights::Rights;

pub(crate) fn acts(caller: &Caller, rights: &Rights, job: &Summary) -> Markup {
    let name = format!("job {}", job.id);
    let path = |command: &str| format!("/console/jobs/{}/{command}", job.id);
    let one = |route: Route, shown: &str, command: &str, says: &str, typed: Option<&str>, fields: Markup| {
        let may = rights.may(route);
        html! { @if may { (act(caller, &Act { name: shown, action: &path(command), says, typed, fields })) } }
    };
    let Work::Rollover(work) = &job.work else {
        return html! { @if job.state == JobState::Paused {
            div.acts { (one(routes::RESUME, "Resume", "resume", "Failed devices are retried.", None, html! {})) }
        } };
    };
    let signs = work.phase >= Phase::Activate && work.phase <= Phase::Distrust || job.state == JobState::Ended;
    let stops = work.until.filter(|until| *until != Phase::LAST);
    let acts = html! {
        @if job.state == JobState::Running {
            (one(routes::PAUSE, "Pause", "pause", "No new device work starts; what is under way ends. Nothing is lost.", None, html! {}))
        }
        @if job.state == JobState::Paused {
            (one(routes::RESUME, "Resume", "resume", "What failed is tried again, and the job goes on.", None, html! {}))
        }
        @if stops.is_some() {
            (one(routes::CONTINUE_JOB, "Continue", "continue", "The job goes on beyond the phase at which it was to stop, up to the one that you choose.", None, until(stops)))
        }
        @if job.state != JobState::Ended && work.phase < Phase::Activate {
            (one(routes::ABORT_JOB, "Abort", "abort", work.purpose.turns_back(), Some(&name), html! {}))
        }
        @if work.purpose.is_rollover() && signs && work.old_generation.is_some() {
            (one(routes::ROLL_BACK, "Roll back", "rollback", "The old root signs again. The new root stays trusted, and what was issued under it stays valid.", Some(&name), html! {}))
        }
    };
    html! {
        @if !acts.0.is_empty() {
            section.card aria-labelledby="steer" { h2 id="steer" { "Steer" } div.acts { (acts) } }
        }
    }
}

fn until(after: Option<Phase>) -> Markup {
    field(
        "until",
        "Up to and with",
        &html! {
            select id="until" name="until" {
                @for stop in Phase::STOPS.into_iter().filter(|stop| Some(*stop) > after) {
                    option value=(stop.name()) selected[stop == Phase::LAST] { (plain(stop.name())) }
                }
            }
        },
    )
}

pub(crate) async fn steer(
    State(app): State<Arc<App>>,
    Path((id, command)): Path<(String, String)>,
    sent: Sent,
) -> Result<Response, Trouble> {
    let Some((route, query, body)) = call(&id, &command, &sent)? else { return Ok(nothing_here().await) };
    (Api { app: &app, caller: &sent.caller }).call(route, &[&id], &query, body.as_ref()).await?;
    Ok(Redirect::to(&format!("/console/jobs/{}?done={command}", segment(&id))).into_response())
}

/// What the form asks of the API.
fn call(id: &str, command: &str, sent: &Sent) -> Result<Option<(Route, String, Option<Value>)>, Trouble> {
    let name = format!("job {id}");
    let plain = |route| Some((route, String::new(), None));
    Ok(match command {
        "pause" => plain(routes::PAUSE),
        "resume" => plain(routes::RESUME),
        "continue" => Some((routes::CONTINUE_JOB, sent.query(&["until"]), None)),
        "abort" => {
            sent.names(&name)?;
            plain(routes::ABORT_JOB)
        }
        "rollback" => {
            sent.names(&name)?;
            plain(routes::ROLL_BACK)
        }
        "retry" => Some((routes::RETRY_JOB, String::new(), Some(json!({ "classes": sent.all("class") })))),
        "waive" => {
            sent.names("waive")?;
            let body = json!({ "devices": sent.all("device"), "reason": sent.text("reason") });
            Some((routes::WAIVE, String::new(), Some(body)))
        }
        _ => None,
    })
}
