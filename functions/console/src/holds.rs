//! How many devices hold which root: by what the last rollover counted. The fleet is never read for it.

use maud::{Markup, html};
use rootcast_core::job::{Pass, Phase};
use rootcast_dialects::native::{Job, Rollover, Root, Work};
use rootcast_gate::routes;

use crate::api::{Api, Told, Trouble, part};
use crate::frame::SPACE;
use crate::jobs::Jobs;
use crate::parts::{named_bar, or_why, plain, read, word};

/// One rollover is among the newest jobs, unless there are many deployments.
const NEWEST: &str = "limit=50";

pub(crate) struct Known {
    roots: Result<Vec<Root>, Told>,
    rollover: Option<Job>,
}

/// Devices of a pass by its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counted {
    done: u64,
    failed: u64,
    open: u64,
}

pub(crate) async fn known(api: &Api<'_>) -> Result<Known, Trouble> {
    let (roots, jobs) = futures::join!(api.get(routes::ROOT_DETAILS, &[], ""), api.get(routes::JOB_LIST, &[], NEWEST));
    let roots = read(part(roots)?.map(|roots| roots.told::<Vec<Root>>()))?;
    let jobs = read(part(jobs)?.map(|jobs| jobs.told::<Jobs>()))?;
    let is_rollover = |work: &Work| matches!(work, Work::Rollover(work) if work.purpose.is_rollover());
    let newest = jobs.ok().and_then(|jobs| jobs.jobs.into_iter().find(|job| is_rollover(&job.work)));
    let rollover = match newest {
        Some(job) => part(api.get(routes::JOB, &[&job.id.to_string()], "").await)?.ok(),
        None => None,
    };
    let rollover = rollover.and_then(|job| job.told::<Job>().ok());
    Ok(Known { roots, rollover })
}

pub(crate) fn shown(known: Known) -> Markup {
    let Known { roots, rollover } = known;
    html! {
        section.card aria-labelledby="roots-held" {
            h2 id="roots-held" { "Who holds which root" }
            (or_why(roots, |roots| match rollover.as_ref().and_then(|job| Some((job, of_rollover(job)?))) {
                Some((job, work)) => bars(job, work, &roots),
                None => html! { p.soft { "No rollover has counted it yet." } },
            }))
        }
    }
}

fn of_rollover(job: &Job) -> Option<&Rollover> {
    match &job.summary.work {
        Work::Rollover(work) => Some(work),
        Work::Deployment(_) => None,
    }
}

fn bars(job: &Job, work: &Rollover, roots: &[Root]) -> Markup {
    let (new, old) = held(job, work);
    let state = |generation: u32| roots.iter().find(|root| root.generation == generation).map(|root| word(&root.state));
    let one = |generation: u32, counted: Counted| {
        html! {
            h3 { "Root " (generation) @if let Some(state) = state(generation) { (SPACE) "(" (plain(&state)) ")" } }
            (named_bar(&[("b1", counted.done, "hold it"), ("b2", counted.failed, "failed"), ("b0", counted.open, "do not, or it is not known")]))
        }
    };
    html! {
        (one(work.generation, new))
        @if let Some((generation, old)) = work.old_generation.zip(old) { (one(generation, old)) }
        p.small.soft { "As " a href={ "/console/jobs/" (job.summary.id) } { "job " (job.summary.id) } " counted it. Devices that were enrolled since got the roots with their approval." }
    }
}

/// The devices that hold the new root, and the old one if the rollover knows it.
fn held(job: &Job, work: &Rollover) -> (Counted, Option<Counted>) {
    let distributed = of_pass(job, Pass::Distribute);
    let gone = |pass| {
        let left = of_pass(job, pass);
        // Whoever has dropped it holds it no more.
        Counted { done: left.open, failed: left.failed, open: left.done }
    };
    match job.summary.pass {
        Pass::Withdraw => (gone(Pass::Withdraw), Some(all(distributed))),
        Pass::Distrust => (distributed, Some(gone(Pass::Distrust))),
        _ if work.phase < Phase::Distribute => (Counted { open: distributed.total(), ..Counted::default() }, None),
        _ => (distributed, Some(all(distributed))),
    }
}

/// By the proofs of the last survey once there is one, which are newer than the waves.
fn of_pass(job: &Job, pass: Pass) -> Counted {
    if pass == job.summary.pass {
        let counts = &job.devices;
        let total = counts.total.unwrap_or(counts.dispatched);
        let failed = counts.failed + counts.waived;
        return Counted {
            done: counts.acked,
            failed,
            open: total.saturating_sub(counts.acked + failed + counts.skipped),
        };
    }
    if let Some(proofs) = job.proofs.as_ref().filter(|_| pass == Pass::Distribute) {
        let failed = proofs.failed + proofs.waived;
        return Counted { done: proofs.fresh, failed, open: proofs.old + proofs.missing };
    }
    let waves = job.waves.iter().flatten().filter(|wave| wave.pass == pass);
    waves.fold(Counted::default(), |sum, wave| Counted {
        done: sum.done + wave.acked,
        failed: sum.failed + wave.failed,
        open: sum.open + wave.size.saturating_sub(wave.acked + wave.failed),
    })
}

/// The old root is on every device until a pass takes it away.
fn all(counted: Counted) -> Counted {
    Counted { done: counted.total(), ..Counted::default() }
}

impl Counted {
    const fn total(&self) -> u64 {
        self.done + self.failed + self.open
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(pass: &str, phase: &str, devices: &Value, waves: &Value) -> Job {
        serde_json::from_value(json!({
            "id": 3, "jobPath": "/signingCertificate/jobs/3", "state": "running", "reason": "Why.", "leg": pass,
            "created": "2026-01-02T03:00:00Z", "updated": "2026-01-02T03:04:00Z", "kind": "rollover", "phase": phase,
            "generation": 2, "oldGeneration": 1, "bundleVersion": 4, "activation": "proven",
            "rollout": serde_json::to_value(rootcast_core::rollover::rollout::Rollout::default()).unwrap(),
            "devices": devices, "waves": waves,
        }))
        .unwrap()
    }

    fn counted(done: u64, failed: u64, open: u64) -> Counted {
        Counted { done, failed, open }
    }

    #[test]
    fn the_roots_that_devices_hold_follow_from_the_rollovers_counts() {
        let counts = json!({ "total": 10, "dispatched": 10, "acked": 6, "failed": 1 });
        let wave = |pass: &str| json!({ "leg": pass, "number": 1, "size": 10, "acked": 9, "failed": 1, "opened": "2026-01-02T03:00:00Z" });
        for (pass, phase, waves, new, old) in [
            ("distribute", "publish", json!([]), counted(0, 0, 10), None),
            ("distribute", "distribute", json!([]), counted(6, 1, 3), Some(counted(10, 0, 0))),
            ("distrust", "distrust", json!([wave("distribute")]), counted(9, 1, 0), Some(counted(3, 1, 6))),
            ("withdraw", "withdraw", json!([wave("distribute")]), counted(3, 1, 6), Some(counted(10, 0, 0))),
        ] {
            let job = job(pass, phase, &counts, &waves);
            assert_eq!(held(&job, of_rollover(&job).unwrap()), (new, old), "{pass} {phase}");
        }
    }

    #[test]
    fn a_survey_is_newer_than_the_waves() {
        let mut job =
            job("distrust", "distrust", &json!({ "total": 10, "dispatched": 0, "acked": 0, "failed": 0 }), &json!([]));
        job.proofs = Some(
            serde_json::from_value(json!({ "fresh": 8, "old": 1, "missing": 0, "failed": 0, "waived": 1 })).unwrap(),
        );
        assert_eq!(held(&job, of_rollover(&job).unwrap()).0, counted(8, 1, 1));
    }
}
