//! Retries failed work.
//!
//! The job's record says what is to be retried. Its conductor reopens exactly the tasks that had failed, each at the
//! stage at which it failed and with its next attempt, so that a message of an older attempt changes nothing.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use futures::stream::{self, StreamExt, TryStreamExt};
use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::deployment::{Deployment, NotResumed};
use rootcast_core::device::{DeviceId, SHARDS};
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::task::{ErrorClass, TaskRecord, TaskState};
use rootcast_core::job::{Job, JobId, JobRecord, Pass, Refused, Selection, Stretch};
use rootcast_ledger::{DeviceRecord, Ledger, LedgerError, TaskKey};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::attempts::{attempts, attempts_until};
use crate::{JobRefusal, NotDone, Operations};

/// Failed devices read at once of a shard.
const PAGE: usize = 1000;

/// A failed device is chosen if every filter that is set matches it. Without filters, every failed device is.
#[derive(Debug, Default)]
pub struct Filters {
    pub classes: Option<Vec<ErrorClass>>,
    /// Waves of the present pass.
    pub waves: Option<Vec<u32>>,
    pub devices: Option<Vec<DeviceId>>,
}

/// The job after the retry, and the number of failed devices that were chosen. Devices that fail later are neither
/// included nor reopened.
#[derive(Debug)]
pub struct Retried {
    pub job: JobRecord,
    pub devices: u64,
    /// Devices that may have waited for their next try, and are tried now.
    pub hastened: u64,
}

/// When failed devices were queued again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeued {
    Now,
    /// By an earlier retry: nothing was written.
    Before,
}

impl Operations<'_> {
    /// Retries the chosen failed devices of a job: all of them, or those of some classes, waves or ids. Those of a running
    /// job that are chosen and wait for their next try are tried now.
    pub async fn retry(&self, id: JobId, filters: &Filters, by: &Actor) -> Result<Retried, NotDone<JobRefusal>> {
        let (ledger, now) = (self.ledger, (self.clock)());
        let counted: Mutex<Option<(Pass, u64)>> = Mutex::default();
        let last = || counted.lock().unwrap_or_else(PoisonError::into_inner);
        let retried = attempts(|| async {
            let known = *last();
            let Retried { job: next, devices, hastened } = self.plan_retry(id, filters, known, now).await?;
            *last() = Some((next.pass(), devices));
            let act = act(id, by, now).with("devices", devices);
            let act = if hastened > 0 { act.with("hastened", hastened) } else { act };
            ledger.save_job(&next, act).await?;
            Ok(Retried { job: next, devices, hastened })
        })
        .await?;
        self.wake(id, "retry").await;
        Ok(retried)
    }

    /// What [`Self::retry`] would do now. Nothing is written.
    pub async fn would_retry(&self, id: JobId, filters: &Filters) -> Result<Retried, NotDone<JobRefusal>> {
        self.plan_retry(id, filters, None, (self.clock)()).await
    }

    /// Reads and decides. `known`: the number of chosen devices of a pass, if an earlier attempt has counted them.
    async fn plan_retry(
        &self,
        id: JobId,
        filters: &Filters,
        known: Option<(Pass, u64)>,
        now: OffsetDateTime,
    ) -> Result<Retried, NotDone<JobRefusal>> {
        let ledger = self.ledger;
        let job = self.job(id).await?;
        let selection = filters.select(ledger, &job, now).await?;
        let retried = job.clone().retry(selection.clone(), now)?;
        // An abort between two attempts starts a pass with other tasks.
        let devices = match known.filter(|(pass, _)| *pass == job.pass()) {
            Some((_, devices)) => devices,
            None => count(ledger, &job, &selection).await?,
        };
        // Without a failed one, what is chosen of a class or a wave is not known before every device is read.
        let is_known = devices > 0 || selection.is_everything() || !selection.devices.is_empty();
        let hastened = if is_known { waiting(ledger, &job, &selection).await? } else { 0 };
        let retried = if devices > 0 { retried } else { job };
        let next = match retried.clone().hasten(&selection, now).filter(|_| hastened > 0) {
            Some(next) => next,
            None if devices == 0 => return Err(JobRefusal::NothingChosen.into()),
            None => retried,
        };
        Ok(Retried { job: next, devices, hastened })
    }

    /// Retries devices at which a deployment's work has failed. Concurrent requests retry them once: the write is
    /// conditional on the revision that was read, and after a conflict the next attempt finds the work queued. Earlier
    /// retries that are still being processed are waited for.
    pub async fn retry_failed(
        &self,
        id: JobId,
        certificate: CertificateId,
        devices: &BTreeSet<DeviceId>,
        by: &Actor,
        deadline: Instant,
    ) -> Result<Requeued, NotDone<JobRefusal>> {
        let many = |why: &JobRefusal| *why == Refused::Deployment(NotResumed::ManyRetries).into();
        // Work that fails after the request is not reopened, however many attempts the request takes.
        let now = (self.clock)();
        let found = attempts_until(Some(deadline), many, || async {
            let JobRecord::Deployment(job) = self.job(id).await? else { return Err(JobRefusal::NoJob.into()) };
            let before = job.is_running().then(|| job.reopen.clone());
            let selection = Selection { devices: devices.clone(), ..Selection::everything(now) };
            let next = job.retry(selection, now).map_err(Refused::from)?;
            if before.is_some_and(|before| before == next.reopen) {
                return Ok(Requeued::Before);
            }
            let act = act(id, by, now).with("certificate", certificate).with("devices", devices.len());
            self.ledger.save_job(&JobRecord::Deployment(next), act).await?;
            Ok(Requeued::Now)
        })
        .await?;
        if found == Requeued::Now {
            self.wake(id, "retry").await;
        }
        Ok(found)
    }
}

fn act(id: JobId, by: &Actor, now: OffsetDateTime) -> Act {
    Act::new(Subject::Job(id), Action::Retry, by, now)
}

impl Filters {
    /// Waves are selected by their stretch of the fleet: a task does not record its wave.
    async fn select(
        &self,
        ledger: &Ledger,
        job: &JobRecord,
        now: OffsetDateTime,
    ) -> Result<Selection, NotDone<JobRefusal>> {
        let stretches = match (&self.waves, job) {
            (None, _) => None,
            (Some(numbers), JobRecord::Rollover(job)) => Some(stretches(ledger, job, numbers).await?),
            (Some(_), JobRecord::Deployment(_)) => return Err(JobRefusal::NoWaves.into()),
        };
        Ok(Selection {
            classes: self.classes.clone().unwrap_or_default(),
            stretches,
            devices: self.devices.iter().flatten().cloned().collect(),
            ..Selection::everything(now)
        })
    }
}

/// A wave that does not exist, or not yet, has no devices.
async fn stretches(ledger: &Ledger, job: &Job, numbers: &[u32]) -> Result<Vec<Stretch>, LedgerError> {
    let waves = ledger.waves(job.id).await?;
    Ok(numbers.iter().filter_map(|number| job.stretch_of_wave(*number, &waves)).collect())
}

async fn count(ledger: &Ledger, job: &JobRecord, selection: &Selection) -> Result<u64, LedgerError> {
    let chosen = |tasks: &mut dyn Iterator<Item = TaskRecord>| {
        tasks.filter(|task| task.state == TaskState::Failed && selection.chooses(job.id(), task)).count() as u64
    };
    let job = match job {
        JobRecord::Rollover(job) => job,
        JobRecord::Deployment(job) => return Ok(chosen(&mut of_deployment(ledger, job).await?.into_iter())),
    };
    if selection.is_everything() {
        return Ok(ledger.counters(job.id, job.pass(), job.counted_together).await?.tally.failed);
    }
    if !selection.devices.is_empty() {
        let key = |device: &DeviceId| TaskKey { job: job.id, pass: job.pass(), device: device.clone() };
        let keys: Vec<TaskKey> = selection.devices.iter().map(key).collect();
        let (_, tasks) = ledger.jobs_and_tasks([], &keys).await?;
        return Ok(chosen(&mut tasks.into_values()));
    }
    let listed = ledger.counters(job.id, job.pass(), job.counted_together).await?.lists_failures;
    let in_shard = |shard| async move {
        let (mut count, mut after) = (0, None);
        loop {
            let page = ledger.troubled((job.id, job.pass()), listed, shard, after.as_ref(), PAGE).await?;
            count += chosen(&mut page.tasks.into_iter());
            after = page.last;
            if after.is_none() {
                return Ok::<u64, LedgerError>(count);
            }
        }
    };
    let counts = stream::iter(0..SHARDS).map(in_shard).buffer_unordered(usize::from(SHARDS));
    counts.try_fold(0, |sum, count| async move { Ok(sum + count) }).await
}

/// The chosen devices without a result; if they are named, those that wait for their next try.
async fn waiting(ledger: &Ledger, job: &JobRecord, selection: &Selection) -> Result<u64, LedgerError> {
    if !selection.devices.is_empty() {
        let devices = ledger.devices_by_id(&selection.devices).await?;
        let is_waiting = |device: &&DeviceRecord| {
            let mut tries =
                device.tries.iter().filter(|tries| (tries.task.job, tries.task.pass) == (job.id(), job.pass()));
            tries.any(|tries| tries.next.is_some())
        };
        return Ok(devices.values().filter(is_waiting).count() as u64);
    }
    let counted = ledger.counters(job.id(), job.pass(), job.is_counted_together()).await?.tally;
    Ok(match job {
        JobRecord::Rollover(job) => job.tally(counted).waiting(),
        JobRecord::Deployment(job) => job.tally(counted).waiting(),
    })
}

/// The tasks of the devices that no later job has taken over, and that were not reset.
async fn of_deployment(ledger: &Ledger, job: &Deployment) -> Result<Vec<TaskRecord>, LedgerError> {
    let bindings: Vec<_> = job.bindings().collect();
    let uses = ledger.uses(&bindings).await?;
    let uses = uses.into_iter().filter(|binding| binding.job == Some(job.id) && binding.lifecycle.in_error);
    let key = |device| TaskKey { job: job.id, pass: Pass::Install, device };
    let keys: Vec<TaskKey> = uses.map(|binding| key(binding.device)).collect();
    let (_, tasks) = ledger.jobs_and_tasks([], &keys).await?;
    Ok(tasks.into_values().collect())
}
