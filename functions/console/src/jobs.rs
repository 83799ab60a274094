//! Rollovers and deployments: all of them, and one with where it is and why.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use maud::{Markup, html};
use rootcast_core::job::{JobState, Phase};
use rootcast_dialects::native::{Job, Rollover, Root, Summary, Task, Work};
use rootcast_gate::routes;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::App;
use crate::api::{Api, Told, Trouble, part};
use crate::caller::Caller;
use crate::frame::{SPACE, Section, live, page};
use crate::parts::{done, encoded, facts, or_why, parameter, plain, read, segment, tag, when, word};
use crate::{failures, progress, steer};

#[derive(Deserialize)]
pub(crate) struct Jobs {
    pub(crate) jobs: Vec<Summary>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Tasks {
    pub(crate) tasks: Vec<Task>,
    pub(crate) cursor: Option<String>,
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Markup, Trouble> {
    let api = Api { app: &app, caller: &caller };
    let cursor = parameter(query.as_deref(), "cursor");
    let asked = encoded(&[("limit", "25"), ("cursor", &cursor)]);
    let (jobs, roots, requests) = futures::join!(
        api.get(routes::JOB_LIST, &[], &asked),
        api.get(routes::ROOT_DETAILS, &[], ""),
        api.get(routes::REQUESTS, &[], ""),
    );
    let jobs = read(part(jobs)?.map(|jobs| jobs.told::<Jobs>()))?;
    let roots = read(part(roots)?.map(|roots| roots.told::<Vec<Root>>()))?;
    let waiting = part(requests)?.ok().and_then(|requests| requests.told::<Value>().ok());
    let waiting = waiting.and_then(|told| told["requests"].as_array().map(Vec::len)).unwrap_or_default();
    let content = html! {
        @if waiting > 0 {
            div.note.wait { p { (waiting) " requests wait for a second person: " a href="/console/access" { "look at them" } "." } }
        }
        section.card aria-labelledby="signs" {
            h2 id="signs" { "The root that signs" }
            (or_why(roots, |roots| signing(&roots)))
        }
        section.card aria-labelledby="jobs" {
            h2 id="jobs" { "Jobs" }
            (or_why(jobs, |jobs| table(&jobs)))
        }
    };
    let at = now(&app);
    Ok(page(&caller, Section::Rollovers, "Rollovers", &live("/console", &at, cursor.is_empty(), &content)))
}

fn signing(roots: &[Root]) -> Markup {
    let signs = roots.iter().find(|root| word(&root.state) == "signing");
    html! {
        @match signs {
            Some(root) => p { strong { "Generation " (root.generation) } ", " (root.subject_dn) ", until " (when(&root.not_after)) "." }
            None => p { "No root signs yet. " a href="/console/roots" { "Start the first rollover" } ": it makes one." }
        }
        p { a href="/console/roots" { "All roots, and the next rollover" } }
    }
}

fn table(jobs: &Jobs) -> Markup {
    html! {
        @if jobs.jobs.is_empty() { p.soft { "There is no job yet." } } @else {
            div.scroll tabindex="0" role="group" aria-label="Table" { table {
                thead { tr { th { "Job" } th { "What" } th { "State" } th { "Since" } th { "Why" } } }
                tbody {
                    @for job in &jobs.jobs {
                        tr {
                            td { a href={ "/console/jobs/" (job.id) } { "Job " (job.id) } }
                            td { (what(job)) }
                            td { (state(job)) }
                            td { (when(&job.created)) }
                            td { (job.reason) }
                        }
                    }
                }
            } }
        }
        @if let Some(cursor) = &jobs.cursor {
            p { a href={ "/console?" (encoded(&[("cursor", cursor)])) } { "Earlier jobs" } }
        }
    }
}

fn what(job: &Summary) -> Markup {
    html! {
        @match &job.work {
            Work::Rollover(work) if work.purpose.is_rollover() => { "Rollover to root " (work.generation) }
            Work::Rollover(work) => (plain(&word(&work.purpose))),
            Work::Deployment(_) => "Certificate to devices",
        }
    }
}

fn state(job: &Summary) -> Markup {
    let outcome = match &job.work {
        Work::Rollover(work) => work.outcome.map(|outcome| word(&outcome)),
        Work::Deployment(work) => work.outcome.map(|outcome| word(&outcome)),
    };
    let kind = match (job.state, outcome.as_deref()) {
        (JobState::Running, _) => "on",
        (JobState::Paused, _) => "wait",
        (JobState::Ended, Some("activated" | "completed" | "distributed" | "checked" | "installed" | "done")) => "good",
        (JobState::Ended, _) => "",
    };
    tag(kind, &plain(&outcome.unwrap_or_else(|| word(&job.state))))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Markup, Trouble> {
    let api = Api { app: &app, caller: &caller };
    let named = &[id.as_str()];
    let (job, failed, waiting, rights) = futures::join!(
        api.get(routes::JOB, named, ""),
        api.get(routes::JOB_TASKS, named, "state=failed&limit=100"),
        api.get(routes::JOB_TASKS, named, "state=waiting&limit=20"),
        api.rights(),
    );
    let job: Job = job?.told()?;
    let failed = read(part(failed)?.map(|tasks| tasks.told::<Tasks>()))?;
    let waiting = read(part(waiting)?.map(|tasks| tasks.told::<Tasks>()))?;
    let summary = &job.summary;
    let moment = (app.clock)();
    let runs = summary.state != JobState::Ended;
    let shown = html! {
        (place(&job, moment))
        @if let Some(report) = &job.report { (progress::report(report)) }
        @if runs { (gate(&job, waiting)) }
        (failures::grouped(&caller, &rights, summary, failed))
        (steer::acts(&caller, &rights, summary))
    };
    let content = html! {
        (done(query.as_deref()))
        (live(&format!("/console/jobs/{}", segment(&id)), &stamp(moment), runs, &shown))
        section.card aria-labelledby="about" {
            h2 id="about" { "About this job" }
            (about(summary))
            p { a href={ "/console/audit?" (encoded(&[("kind", "job"), ("name", &id)])) } { "Who did what: its audit" } }
        }
    };
    Ok(page(&caller, Section::Rollovers, &title(summary), &content))
}

fn title(job: &Summary) -> String {
    match &job.work {
        Work::Rollover(work) if work.purpose.is_rollover() => {
            format!("Job {}: rollover to root {}", job.id, work.generation)
        }
        Work::Rollover(work) => format!("Job {}: {}", job.id, plain(&word(&work.purpose))),
        Work::Deployment(_) => format!("Job {}: a certificate to devices", job.id),
    }
}

/// Where the job is, and why.
fn place(job: &Job, now: OffsetDateTime) -> Markup {
    html! {
        section.card aria-labelledby="place" {
            h2 id="place" { "Where it is" (SPACE) (state(&job.summary)) }
            @if let Work::Rollover(work) = &job.summary.work { @if work.purpose.is_rollover() {
                (progress::phases(work, job.summary.state))
            } }
            p { strong { (job.summary.reason) } }
            @if let Work::Rollover(Rollover { hold: Some(hold), .. }) = &job.summary.work {
                p { "It holds down until " (when(&hold.until)) "." }
            }
            (progress::devices(job, now))
            (progress::cost(job))
            @if let Some(waves) = &job.waves { (progress::waves(waves)) }
        }
    }
}

/// What the gate still waits for, by name.
fn gate(job: &Job, waiting: Result<Tasks, Told>) -> Markup {
    let none = waiting.as_ref().is_ok_and(|tasks| tasks.tasks.is_empty()) && job.in_use.is_none();
    // Waived devices hold nothing up.
    let failed = job.devices.failed;
    html! {
        @if !none || failed > 0 {
            section.card aria-labelledby="gate" {
                h2 id="gate" { "What it waits for" }
                @if failed > 0 { p { a href="#failed" { (failed) " failed devices" } ": mend and retry them, or waive them." } }
                (or_why(waiting, |Tasks { tasks, cursor }| html! {
                    ul {
                        @for task in &tasks {
                            li {
                                a href={ "/console/devices/" (segment(&task.device.to_string())) } { (task.device) }
                                @if let Some(tries) = &task.tries {
                                    ": tried " (tries.count) " times, " (plain(&word(&tries.class))) ": " (tries.message)
                                    @if let Some(next) = &tries.next { " Next try " (when(next)) "." }
                                }
                            }
                        }
                        @if cursor.is_some() { li.soft { "and more" } }
                    }
                }))
                @if let Some(in_use) = &job.in_use {
                    h3 { "Still in need of the old roots: " (in_use.found) }
                    ul { @for name in in_use.names.iter().take(20) { li.mono { (name) } } }
                }
            }
        }
    }
}

fn about(job: &Summary) -> Markup {
    let mut rows = vec![("Begun", when(&job.created)), ("Last change", when(&job.updated))];
    match &job.work {
        Work::Rollover(work) => {
            rows.push(("Bundle", html! { "version " (work.bundle_version) }));
            rows.push(("Activation", html! { (plain(&word(&work.activation))) }));
            if let Some(old) = work.old_generation {
                rows.push(("Replaces", html! { "root " (old) }));
            }
            if let Some(reason) = &work.requested_for {
                rows.push(("Asked for", html! { (reason) }));
            }
            if let Some(until) = work.until.filter(|until| *until != Phase::LAST) {
                rows.push(("Stops after", html! { (plain(until.name())) }));
            }
            let rollout = serde_json::to_value(&work.rollout).unwrap_or_default();
            let settings = rollout.as_object().into_iter().flatten().filter(|(_, value)| value.is_number());
            rows.push(("Rollout", html! { @for (name, value) in settings { div { (plain(name)) ": " (value) } } }));
        }
        Work::Deployment(work) => {
            rows.push(("Certificate", html! { (work.certificate) }));
            rows.push(("Asked by", html! { (work.requested_by) }));
        }
    }
    facts(&rows)
}

pub(crate) fn stamp(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

fn now(app: &App) -> String {
    stamp((app.clock)())
}
