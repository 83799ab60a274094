//! Jobs: `GET /jobs` and `GET /jobs/{id}`.

use std::collections::BTreeSet;

use axum::Extension;
use axum::extract::State;
use rootcast_core::device::DeviceId;
use rootcast_core::job::{Activation, Job, JobId, JobOutcome, JobRecord, JobState, Pass, Phase, Tally};
use rootcast_core::rollover::rollout::Rollout;
use rootcast_core::rollover::survey::Findings;
use rootcast_core::rollover::transition::WaveRecord;
use rootcast_dialects::lenovo::{Envelope, LenovoError};
use rootcast_gate::{Cursors, Principal};
use rootcast_ledger::{Departure, Leave, Ledger};
use serde::Serialize;

use crate::app::App;
use crate::deployments;
use crate::extract::{Id, Params};
use crate::page::{Paging, cursor};
use crate::stamp::stamp;

/// The most departed devices in one answer.
const MOST_LEFT: u32 = 100;

#[derive(Debug, Serialize)]
pub(crate) struct Jobs {
    jobs: Vec<Listed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// Newest first.
pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Params(paging): Params<Paging>,
) -> Result<Envelope<Jobs>, LenovoError> {
    let ledger = &app.parts().await?.ledger;
    let list = Cursors { ledger, caller: &caller, list: "jobs" };
    let limit = paging.limit(100)?;
    let before: Option<JobId> = paging.place(list).await?;
    let page = ledger.jobs_before(before, limit).await?;
    let cursor = cursor(list, page.next.as_ref()).await?;
    Ok(Envelope::success(Jobs { jobs: page.jobs.iter().map(Listed::from).collect(), cursor }))
}

pub(crate) async fn show(State(app): State<App>, Id(id): Id<JobId>) -> Result<Envelope<JobView>, LenovoError> {
    let ledger = &app.parts().await?.ledger;
    let job = load_any(ledger, id).await?;
    Ok(Envelope::success(JobView::load(ledger, &job).await?))
}

pub(crate) async fn load_any(ledger: &Ledger, id: JobId) -> Result<JobRecord, LenovoError> {
    ledger.job_of_any_kind(id).await?.ok_or_else(|| no_such_job(id))
}

pub(crate) fn no_such_job(id: JobId) -> LenovoError {
    LenovoError::not_found(format!("There is no job {id}."), "GET /jobs lists those that there are.")
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

/// A job of either kind, without its devices.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Listed {
    Rollover(Box<Summary>),
    Deployment(deployments::Summary),
}

impl From<&JobRecord> for Listed {
    fn from(job: &JobRecord) -> Self {
        match job {
            JobRecord::Rollover(job) => Self::Rollover(Box::new((&**job).into())),
            JobRecord::Deployment(job) => Self::Deployment(job.into()),
        }
    }
}

/// A job of either kind, with its devices.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum JobView {
    Rollover(Box<RolloverView>),
    Deployment(Box<deployments::DeploymentView>),
}

impl JobView {
    pub(crate) async fn load(ledger: &Ledger, job: &JobRecord) -> Result<Self, LenovoError> {
        match job {
            JobRecord::Rollover(job) => Ok(Self::Rollover(Box::new(RolloverView::load(ledger, job).await?))),
            JobRecord::Deployment(job) => {
                Ok(Self::Deployment(Box::new(deployments::DeploymentView::load(ledger, job).await?)))
            }
        }
    }
}

/// A rollover without its devices, as listed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    kind: &'static str,
    id: JobId,
    job_path: String,
    phase: Phase,
    state: JobState,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<JobOutcome>,
    /// Why the job is in this state, in a sentence.
    reason: String,
    /// Why the operator asked for a new root.
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_for: Option<String>,
    generation: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_generation: Option<u32>,
    bundle_version: u64,
    /// Older generations whose KMS key could not sign: the bundle lacks their signature, or there is no link from them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    unusable_keys: BTreeSet<u32>,
    activation: Activation,
    #[serde(rename = "leg")]
    pass: Pass,
    rollout: Rollout,
    created: String,
    updated: String,
}

impl From<&Job> for Summary {
    fn from(job: &Job) -> Self {
        Self {
            kind: "rollover",
            id: job.id,
            job_path: job.id.path(),
            phase: job.phase,
            state: job.state,
            outcome: job.outcome,
            reason: job.reason.clone(),
            requested_for: job.requested_for.clone(),
            generation: job.generation,
            old_generation: job.old_generation,
            bundle_version: job.bundle_version,
            unusable_keys: job.unusable_keys.clone(),
            activation: job.activation,
            pass: job.pass(),
            rollout: job.rollout,
            created: stamp(job.created),
            updated: stamp(job.updated),
        }
    }
}

/// A rollover with the devices of its current pass and the waves of all passes.
#[derive(Debug, Serialize)]
pub(crate) struct RolloverView {
    #[serde(flatten)]
    summary: Summary,
    devices: Counts,
    /// The result of the last survey, once it has read every shard.
    #[serde(skip_serializing_if = "Option::is_none")]
    proofs: Option<Proofs>,
    /// Devices that left the fleet during the job: the first hundred.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left: Vec<Left>,
    waves: Vec<Wave>,
}

/// Devices by the current state of their proof. The gate opens when `old`, `missing` and `failed` are 0.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Proofs {
    fresh: u64,
    /// The proof is too old.
    old: u64,
    /// No result yet, or one from before the device was enrolled again or edited.
    missing: u64,
    failed: u64,
    waived: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Left {
    device: DeviceId,
    how: Leave,
    by: String,
    at: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// `null` until the whole fleet is paged: its size is not known before.
    total: Option<u64>,
    dispatched: u64,
    acked: u64,
    failed: u64,
    skipped: u64,
    waived: u64,
    /// Dispatched, but without a result yet.
    waiting: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Wave {
    #[serde(rename = "leg")]
    pass: Pass,
    number: u32,
    size: u64,
    acked: u64,
    failed: u64,
    opened: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<String>,
}

impl Counts {
    pub(crate) fn of(tally: &Tally, is_counted: bool) -> Self {
        Self {
            total: is_counted.then_some(tally.dispatched),
            dispatched: tally.dispatched,
            acked: tally.acked,
            failed: tally.failed,
            skipped: tally.skipped,
            waived: tally.waived,
            waiting: tally.waiting(),
        }
    }
}

impl RolloverView {
    pub(crate) async fn load(ledger: &Ledger, job: &Job) -> Result<Self, LenovoError> {
        let (tally, waves, (left, _)) =
            futures::try_join!(tally(ledger, job), async { Ok(ledger.waves(job.id).await?) }, async {
                Ok(ledger.departures(job.id, MOST_LEFT).await?)
            })?;
        Ok(Self::of(job, &tally, waves, left))
    }

    fn of(job: &Job, tally: &Tally, mut waves: Vec<WaveRecord>, left: Vec<Departure>) -> Self {
        waves.extend(job.wave_record(tally));
        let counts = Counts::of(tally, is_counted(job));
        let wave = |wave: WaveRecord| Wave {
            pass: wave.pass,
            number: wave.number,
            size: wave.size,
            acked: wave.acked,
            failed: wave.failed,
            opened: stamp(wave.opened),
            closed: wave.closed.map(stamp),
        };
        let named = |Departure { device, how, by, at, .. }| Left { device, how, by, at: stamp(at) };
        Self {
            summary: job.into(),
            devices: counts,
            proofs: job.survey.is_complete().then(|| job.survey.total().into()),
            left: left.into_iter().map(named).collect(),
            waves: waves.into_iter().map(wave).collect(),
        }
    }
}

impl From<Findings> for Proofs {
    fn from(found: Findings) -> Self {
        Self {
            fresh: found.proven,
            old: found.old,
            missing: found.unknown + found.open + found.void,
            failed: found.failed,
            waived: found.waived,
            oldest: found.oldest.map(stamp),
        }
    }
}

/// The counters of the job's current pass.
pub(crate) async fn tally(ledger: &Ledger, job: &Job) -> Result<Tally, LenovoError> {
    Ok(ledger.counters(job.id, job.pass()).await?.into_iter().sum())
}

/// Whether every device of the pass was dispatched. A survey may add devices that joined later.
fn is_counted(job: &Job) -> bool {
    let begun = job.wave.is_some() || job.state == JobState::Ended;
    begun && (job.is_paged() || job.state == JobState::Ended)
}

/// From 0 (created) to 100 (ended). In between: the settled share of the pass's devices, times 99. While the fleet is
/// being paged, its size is unknown, so the result is also multiplied by the share of shards that are paged; all shards
/// have about the same number of devices. Progress falls when failed devices are retried, and when an abort begins a
/// new pass.
pub(crate) fn progress(job: &Job, tally: &Tally) -> f64 {
    if job.state == JobState::Ended {
        return 100.0;
    }
    if tally.dispatched == 0 {
        return 0.0;
    }
    let paged =
        if is_counted(job) { 1.0 } else { f64::from(job.cursor.step) / f64::from(rootcast_core::device::SHARDS) };
    // Counts of devices are far below 2^52, so the conversion is exact.
    let settled = tally.settled() as f64 / tally.dispatched as f64;
    (990.0 * paged * settled.min(1.0)).round() / 10.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
pub(crate) mod tests {
    use proptest::prelude::*;
    use rootcast_core::job::NewJob;
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
            requested_for: None,
        };
        let mut job = Job::new(new, NOW);
        job.publish(3);
        job.distribute(NOW);
        job
    }

    fn tally(dispatched: u64, acked: u64, failed: u64) -> Tally {
        Tally { dispatched, acked, failed, ..Tally::default() }
    }

    #[test]
    fn serializes_a_job() {
        let mut job = running();
        job.open_wave(1, 5, &Tally::default(), NOW);
        job.take_page(rootcast_core::job::Cursor { step: 4, after: None }, 5);
        let first = job.close_wave(&tally(5, 5, 0), NOW).unwrap();
        job.open_wave(2, 50, &tally(5, 5, 0), NOW);
        job.take_page(rootcast_core::job::Cursor { step: 8, after: None }, 5);
        let shown = serde_json::to_value(RolloverView::of(&job, &tally(10, 6, 1), vec![first], Vec::new())).unwrap();
        assert_eq!(
            shown,
            json!({
                "kind": "rollover", "id": 7, "jobPath": "/signingCertificate/jobs/7", "phase": "distribute", "state": "running",
                "reason": "The new root is being created.", "generation": 2, "oldGeneration": 1, "bundleVersion": 3,
                "activation": "proven", "leg": "distribute",
                "rollout": { "canary": 5, "growth": 10, "largestWave": 10000, "wavePause": 0, "errorBudget": 5, "errorBudgetMinimum": 20, "proofAge": 86400 },
                "devices": { "total": null, "dispatched": 10, "acked": 6, "failed": 1, "skipped": 0, "waived": 0, "waiting": 3 },
                "waves": [
                    { "leg": "distribute", "number": 1, "size": 5, "acked": 5, "failed": 0,
                      "opened": "2026-01-02T03:04:05Z", "closed": "2026-01-02T03:04:05Z" },
                    { "leg": "distribute", "number": 2, "size": 5, "acked": 1, "failed": 1, "opened": "2026-01-02T03:04:05Z" },
                ],
                "created": "2026-01-02T03:04:05Z", "updated": "2026-01-02T03:04:05Z",
            })
        );
        job.take_page(rootcast_core::job::Cursor { step: 16, after: None }, 0);
        assert_eq!(RolloverView::of(&job, &tally(10, 6, 1), Vec::new(), Vec::new()).devices.total, Some(10));
        job.begin_survey(Vec::new(), &tally(10, 10, 0), NOW);
        assert_eq!(RolloverView::of(&job, &tally(10, 10, 0), Vec::new(), Vec::new()).devices.total, Some(10));
    }

    #[test]
    fn progress_goes_from_0_to_100() {
        let mut job = running();
        assert_eq!(progress(&job, &Tally::default()), 0.0);
        job.open_wave(1, 5, &Tally::default(), NOW);
        job.take_page(rootcast_core::job::Cursor { step: 8, after: None }, 10);
        assert_eq!(progress(&job, &tally(10, 5, 0)), 24.8);
        job.take_page(rootcast_core::job::Cursor { step: 16, after: None }, 10);
        assert_eq!(progress(&job, &tally(20, 20, 0)), 99.0);
        job.end(JobOutcome::Activated, "done");
        assert_eq!(progress(&job, &tally(20, 20, 0)), 100.0);
    }

    proptest! {
        #[test]
        fn progress_is_a_percentage(step in 0u8..=16, dispatched in 0u64..1_000_000, acked in 0u64..1_000_000) {
            let mut job = running();
            job.open_wave(1, 5, &Tally::default(), NOW);
            job.cursor.step = step;
            let progress = progress(&job, &tally(dispatched, acked, 0));
            prop_assert!((0.0..100.0).contains(&progress));
        }
    }
}
