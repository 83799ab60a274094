//! Jobs: `GET /jobs` and `GET /jobs/{id}`.

use axum::Extension;
use axum::extract::State;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::application_dn;
use rootcast_core::job::{InUse, Job, JobId, JobRecord, JobState, Pass, Tally};
use rootcast_core::rollover::survey::Findings;
use rootcast_core::rollover::transition::WaveRecord;
use rootcast_dialects::lenovo::{Envelope, LenovoError, Params};
use rootcast_dialects::native::{
    self, Counts, Hold, Left, Preflight, Proofs, Report, Rollover, Summary, Used, Wave, Work,
};
use rootcast_gate::{Cursors, Principal};
use rootcast_ledger::{Departure, Ledger};
use serde::Serialize;

use crate::app::{App, Parts};
use crate::deployments;
use crate::extract::Id;
use crate::page::{Paging, cursor};
use crate::stamp::stamp;

/// The most departed devices in one answer.
const MOST_LEFT: u32 = 100;

#[derive(Debug, Serialize)]
pub(crate) struct Jobs {
    jobs: Vec<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// Newest first.
pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Params(paging, _): Params<Paging>,
) -> Result<Envelope<Jobs>, LenovoError> {
    let ledger = &app.parts().await?.ledger;
    let list = Cursors { ledger, caller: &caller, list: "jobs" };
    let limit = paging.limit(100)?;
    let before: Option<JobId> = paging.place(list).await?;
    let page = ledger.jobs_before(before, limit).await?;
    let cursor = cursor(list, page.next.as_ref()).await?;
    Ok(Envelope::success(Jobs { jobs: page.jobs.iter().map(summary).collect(), cursor }))
}

pub(crate) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(id): Id<JobId>,
) -> Result<Envelope<native::Job>, LenovoError> {
    let parts = app.parts().await?;
    let shown = match load_any(&parts.ledger, id).await? {
        JobRecord::Rollover(job) => rollover_for(parts, &job, |dn| caller.sees(dn)).await?,
        JobRecord::Deployment(job) => deployments::view(parts, &job).await?,
    };
    Ok(Envelope::success(shown))
}

pub(crate) async fn load_any(ledger: &Ledger, id: JobId) -> Result<JobRecord, LenovoError> {
    ledger.job_of_any_kind(id).await?.ok_or_else(|| no_such_job(id))
}

pub(crate) fn no_such_job(id: JobId) -> LenovoError {
    LenovoError::not_found(format!("There is no job {id}."), "GET /jobs lists the jobs.")
}

/// Loads a rollover. A deployment is refused.
pub(crate) async fn load(ledger: &Ledger, id: JobId) -> Result<Job, LenovoError> {
    match load_any(ledger, id).await? {
        JobRecord::Rollover(job) => Ok(*job),
        JobRecord::Deployment(_) => Err(LenovoError::not_found(
            format!("Job {id} is no rollover: it brings a certificate to devices."),
            format!("GET /jobs/{id} shows it."),
        )),
    }
}

/// A job without its devices.
fn summary(job: &JobRecord) -> Summary {
    match job {
        JobRecord::Rollover(job) => rollover_summary(job),
        JobRecord::Deployment(job) => deployments::summary(job),
    }
}

fn rollover_summary(job: &Job) -> Summary {
    Summary {
        id: job.id,
        job_path: job.id.path(),
        state: job.state,
        reason: job.reason.clone(),
        pass: job.pass(),
        created: stamp(job.created),
        updated: stamp(job.updated),
        work: Work::Rollover(Rollover {
            purpose: job.purpose,
            phase: job.phase,
            outcome: job.outcome,
            requested_for: job.requested_for.clone(),
            generation: job.generation,
            old_generation: job.old_generation,
            bundle_version: job.bundle_version,
            unusable_keys: job.unusable_keys.clone(),
            compromised: job.compromised.clone(),
            breaks: job.breaks.as_ref().map(seen),
            activation: job.activation,
            rollout: job.rollout.clone(),
            until: job.purpose.is_rollover().then_some(job.until),
            hold: job.hold.map(|hold| Hold { until: stamp(hold.until), sampled: hold.sampled.map(stamp) }),
        }),
    }
}

/// Loads the devices of the job's current pass.
pub(crate) async fn view(parts: &Parts, job: &JobRecord) -> Result<native::Job, LenovoError> {
    match job {
        JobRecord::Rollover(job) => rollover_view(parts, job).await,
        JobRecord::Deployment(job) => deployments::view(parts, job).await,
    }
}

fn seen(looked: &InUse) -> native::InUse {
    native::InUse { found: looked.found, names: looked.names.clone() }
}

/// A rollover with the devices of its current pass and the waves of all passes.
pub(crate) async fn rollover_view(parts: &Parts, job: &Job) -> Result<native::Job, LenovoError> {
    rollover_for(parts, job, |_| false).await
}

/// `sees`: whether the reader sees what has this distinguished name. Preflights name devices and certificates, and the right
/// to read jobs includes neither.
async fn rollover_for(parts: &Parts, job: &Job, sees: impl Fn(&str) -> bool) -> Result<native::Job, LenovoError> {
    let Parts { ledger, prices, .. } = parts;
    let passes: &[Pass] = if job.preflight.is_some() { &[Pass::Preflight] } else { &Pass::OF_ROLLOVER };
    let (tally, waves, (left, _), by_devices, before) = futures::try_join!(
        tally(ledger, job),
        async { Ok(ledger.waves(job.id).await?) },
        async { Ok(ledger.departures(job.id, MOST_LEFT).await?) },
        async { Ok(ledger.used_by_devices(job.id, passes, job.counted_together).await?) },
        preflight_before(ledger, job),
    )?;
    let used = Used::of(&(job.used + by_devices), prices);
    let mut shown = native::Job { used, report: Report::of(job, prices), ..viewed(job, &tally, waves, left) };
    let estimated = before.and_then(|before| Report::of(&before, prices)?.estimate);
    if let (Some(preflight), Some(estimated)) = (&mut shown.preflight, estimated) {
        preflight.estimated_dollars = Some(estimated.dollars);
        preflight.estimated_seconds = Some(estimated.seconds);
    }
    Ok(only_seen(shown, sees))
}

/// The preflight that this rollover followed.
async fn preflight_before(ledger: &Ledger, job: &Job) -> Result<Option<Job>, LenovoError> {
    match &job.since {
        Some(since) => Ok(ledger.job(since.preflight).await?),
        None => Ok(None),
    }
}

fn only_seen(mut job: native::Job, sees: impl Fn(&str) -> bool) -> native::Job {
    let is_seen = |name: &str| name.parse().is_ok_and(|device: DeviceId| sees(&application_dn(&device)));
    if let Some(report) = &mut job.report {
        report.findings.iter_mut().for_each(|findings| findings.names.retain(|name| is_seen(name)));
        report.stranded.names.retain(|dn| sees(dn));
    }
    if let Some(changed) = job.preflight.as_mut().and_then(|preflight| preflight.changed_since.as_mut()) {
        for named in [&mut changed.enrolled, &mut changed.left, &mut changed.edited, &mut changed.still_open] {
            named.names.retain(|name| is_seen(name));
        }
    }
    job
}

fn viewed(job: &Job, tally: &Tally, mut waves: Vec<WaveRecord>, left: Vec<Departure>) -> native::Job {
    waves.extend(job.wave_record(tally));
    let wave = |wave: WaveRecord| Wave {
        pass: wave.pass,
        number: wave.number,
        size: wave.size,
        acked: wave.acked,
        failed: wave.failed,
        open: wave.closed.map_or(0, |_| wave.open),
        opened: stamp(wave.opened),
        closed: wave.closed.map(stamp),
    };
    let named = |Departure { device, how, by, at, .. }| Left { device, how, by, at: stamp(at) };
    let in_use = job.in_use.as_ref().filter(|looked| looked.found > 0 && looked.place.is_none());
    native::Job {
        summary: rollover_summary(job),
        devices: counts(tally, is_counted(job)),
        used: None,
        proofs: job.survey.is_complete().then(|| proofs(job.survey.total())),
        report: None,
        preflight: job.since.as_ref().map(|since| Preflight::of(since, stamp(since.at))),
        left: left.into_iter().map(named).collect(),
        in_use: in_use.map(seen),
        waves: Some(waves.into_iter().map(wave).collect()),
    }
}

fn proofs(found: Findings) -> Proofs {
    Proofs {
        fresh: found.proven,
        old: found.old,
        missing: found.unknown + found.open + found.void + found.postponed,
        failed: found.failed,
        waived: found.waived,
        forgot: found.forgot,
        oldest: found.oldest_read().map(stamp),
    }
}

pub(crate) fn counts(tally: &Tally, is_counted: bool) -> Counts {
    Counts {
        total: is_counted.then_some(tally.dispatched),
        dispatched: tally.dispatched,
        acked: tally.acked,
        failed: tally.failed,
        skipped: tally.skipped,
        waived: tally.waived,
        postponed: tally.postponed,
        waiting: tally.waiting(),
    }
}

/// The counters of the job's current pass.
pub(crate) async fn tally(ledger: &Ledger, job: &Job) -> Result<Tally, LenovoError> {
    Ok(job.tally(ledger.counters(job.id, job.pass(), job.counted_together).await?.tally))
}

/// Whether every device of the pass was dispatched. A survey may add devices that joined later.
fn is_counted(job: &Job) -> bool {
    let begun = job.wave.is_some() || job.state == JobState::Ended;
    begun && (job.is_through() || job.state == JobState::Ended)
}

/// From 0 (created) to 100 (ended). In between: the settled share of the pass's devices, times 99. While the fleet is
/// being paged, the result is also multiplied by the share of the fleet that was sent to; a job of an earlier release knows
/// only the share of shards. Progress falls when failed devices are retried, and when an abort begins a new pass.
pub(crate) fn progress(job: &Job, tally: &Tally) -> f64 {
    if job.state == JobState::Ended {
        return 100.0;
    }
    if tally.dispatched == 0 {
        return 0.0;
    }
    // Counts of devices are far below 2^52, so the conversion is exact.
    let paged = match job.fleet {
        _ if is_counted(job) => 1.0,
        0 => job.cursor.share(),
        fleet => (tally.dispatched as f64 / fleet as f64).min(1.0),
    };
    let settled = tally.with_result() as f64 / tally.dispatched as f64;
    (990.0 * paged * settled.min(1.0)).round() / 10.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
pub(crate) mod tests {
    use proptest::prelude::*;
    use rootcast_core::device::DeviceId;
    use rootcast_core::job::{Activation, Front, JobOutcome, NewJob, Phase};
    use rootcast_core::rollover::rollout::Rollout;
    use serde_json::json;
    use time::OffsetDateTime;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

    pub(crate) fn running() -> Job {
        let new = NewJob {
            id: JobId(7),
            generation: 2,
            old_generation: Some(1),
            activation: Activation::Proven,
            rollout: Rollout::default(),
            until: Phase::Activate,
            requested_for: None,
        };
        let mut job = Job::new(new, NOW);
        job.publish(3);
        job.distribute(NOW);
        job
    }

    /// So many shards.
    fn front(step: u8) -> Front {
        serde_json::from_value(json!({ "step": step })).unwrap()
    }

    fn devices(count: u8) -> Vec<DeviceId> {
        (0..count).map(|number| format!("bmc-{number}").parse().unwrap()).collect()
    }

    fn tally(dispatched: u64, acked: u64, failed: u64) -> Tally {
        Tally { dispatched, acked, failed, ..Tally::default() }
    }

    #[test]
    fn serializes_a_job() {
        let mut job = running();
        job.open_wave(1, 5, &Tally::default(), NOW);
        job.take_page(front(4), &devices(5), 0);
        let first = job.close_wave(&tally(5, 5, 0), NOW).unwrap();
        job.open_wave(2, 50, &tally(5, 5, 0), NOW);
        job.take_page(front(8), &devices(5), 0);
        let view = viewed(&job, &tally(10, 6, 1), vec![first], Vec::new());
        let shown = serde_json::to_value(&view).unwrap();
        assert_eq!(serde_json::from_value::<native::Job>(shown.clone()).unwrap(), view);
        assert_eq!(
            shown,
            json!({
                "kind": "rollover", "id": 7, "jobPath": "/signingCertificate/jobs/7", "phase": "distribute", "state": "running",
                "reason": "The new root is being created.", "generation": 2, "oldGeneration": 1, "bundleVersion": 3,
                "activation": "proven", "leg": "distribute", "until": "activate",
                "rollout": { "canary": 5, "growth": 10, "largestWave": 10000, "wavePause": 0, "errorBudget": 5, "errorBudgetMinimum": 20, "proofAge": 86400, "holdDown": 0, "sample": 5 },
                "devices": { "total": null, "dispatched": 10, "acked": 6, "failed": 1, "skipped": 0, "waived": 0, "waiting": 3 },
                "waves": [
                    { "leg": "distribute", "number": 1, "size": 5, "acked": 5, "failed": 0,
                      "opened": "2026-01-02T03:04:05Z", "closed": "2026-01-02T03:04:05Z" },
                    { "leg": "distribute", "number": 2, "size": 5, "acked": 1, "failed": 1, "opened": "2026-01-02T03:04:05Z" },
                ],
                "created": "2026-01-02T03:04:05Z", "updated": "2026-01-02T03:04:05Z",
            })
        );
        job.take_page(Front::END, [], 0);
        assert_eq!(viewed(&job, &tally(10, 6, 1), Vec::new(), Vec::new()).devices.total, Some(10));
        job.begin_survey(Vec::new(), &tally(10, 10, 0), NOW);
        assert_eq!(viewed(&job, &tally(10, 10, 0), Vec::new(), Vec::new()).devices.total, Some(10));
    }

    #[test]
    fn progress_goes_from_0_to_100() {
        let mut job = running();
        assert_eq!(progress(&job, &Tally::default()), 0.0);
        job.open_wave(1, 5, &Tally::default(), NOW);
        job.take_page(front(8), &devices(10), 0);
        assert_eq!(progress(&job, &tally(10, 5, 0)), 24.8);
        job.fleet = 40;
        assert_eq!(progress(&job, &tally(10, 5, 0)), 12.4, "ten of forty");
        job.take_page(Front::END, &devices(10), 0);
        assert_eq!(progress(&job, &tally(20, 20, 0)), 99.0);
        job.end(JobOutcome::Activated, "done");
        assert_eq!(progress(&job, &tally(20, 20, 0)), 100.0);
    }

    proptest! {
        #[test]
        fn progress_is_a_percentage(step in 0u8..=16, dispatched in 0u64..1_000_000, acked in 0u64..1_000_000) {
            let mut job = running();
            job.open_wave(1, 5, &Tally::default(), NOW);
            job.cursor = front(step);
            let progress = progress(&job, &tally(dispatched, acked, 0));
            prop_assert!((0.0..100.0).contains(&progress));
        }
    }
}
