//! How far a job is: its phases as a line, its waves as blocks that fill, and how long it may still take.

use std::cmp::Ordering;

use maud::{Markup, html};
use rootcast_core::job::{JobOutcome, JobState, Phase};
use rootcast_dialects::native::{Job, Report, Rollover, Wave};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::frame::SPACE;
use crate::parts::{bar, figure, named_bar, plain, segment, word};

const LINE: [(Phase, &str); 8] = [
    (Phase::Create, "a new key and root"),
    (Phase::Publish, "the bundle has both"),
    (Phase::Distribute, "each device gets it"),
    (Phase::HoldDown, "a sample is read again"),
    (Phase::Activate, "the new root signs"),
    (Phase::Reissue, "certificates anew"),
    (Phase::Distrust, "the old root leaves"),
    (Phase::Retire, "its key ends"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Done,
    Now,
    Later,
}

/// Where a phase is, seen from where the job is. A job that ended well has done all up to its last; of another that ended it
/// is not known any more.
fn place(phase: Phase, work: &Rollover, state: JobState) -> Place {
    if state == JobState::Ended {
        let went_well = matches!(
            work.outcome,
            Some(JobOutcome::Activated | JobOutcome::ActivatedWithFailures | JobOutcome::Completed)
        );
        let is_done = went_well && phase <= work.until.unwrap_or(Phase::LAST);
        return if is_done { Place::Done } else { Place::Later };
    }
    match phase.cmp(&work.phase) {
        Ordering::Less if work.phase <= Phase::LAST => Place::Done,
        Ordering::Equal => Place::Now,
        _ => Place::Later,
    }
}

pub(crate) fn phases(work: &Rollover, state: JobState) -> Markup {
    html! {
        ol.phases {
            @for (phase, says) in LINE {
                @let at = place(phase, work, state);
                li.done[at == Place::Done] .now[at == Place::Now] aria-current=[(at == Place::Now).then_some("step")] {
                    (plain(phase.name()))
                    small {
                        @match at { Place::Done => "done: ", Place::Now => "now: ", Place::Later => "" }
                        (says)
                    }
                }
            }
            @if work.phase == Phase::Withdraw { li.now aria-current="step" { "withdraw" small { "the new root leaves again" } } }
        }
    }
}

pub(crate) fn devices(job: &Job, now: OffsetDateTime) -> Markup {
    let counts = &job.devices;
    let total = counts.total.unwrap_or(counts.dispatched);
    let left = total.saturating_sub(counts.acked + counts.failed + counts.waived + counts.skipped);
    html! {
        @if total > 0 {
            h3 { "Devices of this pass: " (plain(&word(&job.summary.pass))) }
            (named_bar(&[
                ("b1", counts.acked, "confirmed"), ("b2", counts.failed, "failed"),
                ("b3", counts.waived + counts.skipped, "waived or gone"), ("b0", left, "open"),
            ]))
        }
        @if let Some(pace) = pace(job, now).filter(|_| job.summary.state == JobState::Running) {
            div.figures {
                (figure(&format!("{}/{total}", counts.settled()), "devices with a result"))
                (figure(&format!("{:.1}", pace.a_minute), "devices a minute"))
                @if let Some(seconds) = pace.left { (figure(&about(seconds), "left in this pass at this pace")) }
            }
        }
        @if let Some(proofs) = &job.proofs {
            p.small.soft {
                "Last survey: " (proofs.fresh) " fresh proofs, " (proofs.old) " too old, " (proofs.missing) " missing, "
                (proofs.failed) " failed, " (proofs.waived) " waived."
            }
        }
    }
}

/// What the job has used at AWS so far, beside what its preflight expected.
pub(crate) fn cost(job: &Job) -> Markup {
    let Some(used) = &job.used else { return html! {} };
    let expected = job.preflight.as_ref().and_then(|preflight| preflight.estimated_dollars.as_deref());
    let calls: Vec<String> = used.calls.iter().map(|(service, count)| format!("{count} calls of {service}")).collect();
    html! {
        div.figures {
            (figure(&format!("${}", used.dollars), "cost so far"))
            @if let Some(expected) = expected { (figure(&format!("${expected}"), "expected by the preflight")) }
        }
        p.small.soft {
            (used.invocations) " invocations, " (used.signatures) " signatures"
            @for call in &calls { ", " (call) }
            ". By the prices of " (used.prices) "."
        }
    }
}

#[derive(Debug, PartialEq)]
struct Pace {
    a_minute: f64,
    /// In seconds. `None`: nothing is left, or too little is known.
    left: Option<u64>,
}

/// Of the current pass, since its first wave opened.
fn pace(job: &Job, now: OffsetDateTime) -> Option<Pace> {
    let waves = job.waves.as_ref()?.iter().filter(|wave| wave.pass == job.summary.pass);
    let opened = waves.map(|wave| wave.opened.as_str()).min()?;
    let seconds = (now - OffsetDateTime::parse(opened, &Rfc3339).ok()?).whole_seconds();
    let (settled, total) = (job.devices.settled(), job.devices.total);
    if settled == 0 || seconds <= 0 {
        return None;
    }
    let a_second = f64::from(u32::try_from(settled).ok()?) / f64::from(u32::try_from(seconds).ok()?);
    let open = total?.saturating_sub(settled);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate for a person")]
    let left = (open > 0).then(|| (f64::from(u32::try_from(open).unwrap_or(u32::MAX)) / a_second).ceil() as u64);
    Some(Pace { a_minute: a_second * 60.0, left })
}

fn about(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

pub(crate) fn waves(waves: &[Wave]) -> Markup {
    html! {
        @if !waves.is_empty() {
            h3 { "Waves" }
            ul.waves {
                @for wave in waves {
                    @let open = wave.size.saturating_sub(wave.acked + wave.failed);
                    li {
                        strong { (plain(&word(&wave.pass))) " " (wave.number) }
                        (bar(&[("b1", wave.acked, ""), ("b2", wave.failed, ""), ("b0", open, "")]))
                        (wave.acked) " of " (wave.size) " confirmed"
                        @if wave.failed > 0 { ", " (wave.failed) " failed" }
                        @if wave.closed.is_none() { (SPACE) span.soft { "(open)" } }
                    }
                }
            }
        }
    }
}

/// What a preflight found.
pub(crate) fn report(report: &Report) -> Markup {
    html! {
        section.card aria-labelledby="report" {
            h2 id="report" { "What the preflight found" }
            (named_bar(&[("b1", report.ready, "ready"), ("b2", report.not_ready, "not ready")]))
            @for found in &report.findings {
                h3 { (plain(&found.finding)) ": " (found.devices) }
                p { (found.recovery) }
                p.small { @for name in found.names.iter().take(50) {
                    a href={ "/console/devices/" (segment(name)) } { (name) } (SPACE)
                } }
            }
            @if report.stranded.count > 0 {
                h3 { "Imported certificates that only their owners can replace: " (report.stranded.count) }
                ul { @for name in report.stranded.names.iter().take(50) { li.mono { (name) } } }
            }
            @if let Some(estimate) = &report.estimate {
                p { strong { "A rollover takes about " (about(estimate.seconds)) " and costs about $" (estimate.dollars) ". " } (estimate.assumes) }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    fn job(state: &str, phase: &str, acked: u64) -> Job {
        serde_json::from_value(json!({
            "id": 3, "jobPath": "/signingCertificate/jobs/3", "state": state, "reason": "Why.", "leg": "distribute",
            "created": "2026-01-02T03:00:00Z", "updated": "2026-01-02T03:04:00Z", "kind": "rollover", "phase": phase,
            "generation": 2, "bundleVersion": 4, "activation": "proven",
            "rollout": serde_json::to_value(rootcast_core::rollover::rollout::Rollout::default()).unwrap(),
            "devices": { "total": 100, "dispatched": 50, "acked": acked, "failed": 3 },
            "waves": [{ "leg": "distribute", "number": 1, "size": 40, "acked": acked, "failed": 3, "opened": "2026-01-02T03:00:00Z" }],
        }))
        .unwrap()
    }

    fn shown(job: &Job) -> String {
        let rootcast_dialects::native::Work::Rollover(work) = &job.summary.work else { unreachable!() };
        phases(work, job.summary.state).into_string()
    }

    #[test]
    fn exactly_the_present_phase_is_current() {
        let line = shown(&job("running", "distribute", 7));
        assert_eq!(line.matches("aria-current").count(), 1, "{line}");
        assert_eq!((line.matches("done: ").count(), line.matches("now: ").count()), (2, 1), "{line}");
        assert!(shown(&job("running", "withdraw", 7)).contains("withdraw"));
        assert!(!shown(&job("ended", "ended", 7)).contains("done: "), "an abort has done nothing that lasts");
    }

    #[test]
    fn the_time_left_follows_from_the_pace() {
        let now = datetime!(2026-01-02 03:10 UTC);
        let pace = pace(&job("running", "distribute", 47), now).unwrap();
        assert_eq!((pace.a_minute, pace.left), (5.0, Some(600)));
        assert_eq!(super::pace(&job("running", "distribute", 0), datetime!(2026-01-02 03:00 UTC)), None);
        assert_eq!((about(90), about(600), about(10_000)), ("90 s".into(), "10 min".into(), "3 h".into()));
    }

    #[test]
    fn the_cost_so_far_stands_beside_the_expected_one() {
        let mut job = job("running", "distribute", 7);
        assert_eq!(cost(&job).into_string(), "", "nothing was counted");
        job.used = serde_json::from_value(json!({
            "dollars": "0.0042", "calls": { "dynamodb": 12 }, "writeUnits": 1, "readUnits": 1, "queueRequests": 3, "signatures": 2,
            "invocations": 5, "gigabyteSeconds": 1, "prices": "us-east-1, 2026-01",
        }))
        .unwrap();
        let shown = cost(&job).into_string();
        assert!(
            shown.contains("$0.0042") && shown.contains("12 calls of dynamodb") && !shown.contains("expected"),
            "{shown}"
        );
    }

    #[test]
    fn a_wave_says_in_words_what_its_block_shows() {
        let text = waves(job("running", "distribute", 7).waves.as_ref().unwrap()).into_string();
        assert!(text.contains("7 of 40 confirmed, 3 failed"), "{text}");
    }
}
