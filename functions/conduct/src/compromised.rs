//! What the job that replaces a compromised root does otherwise than another rollover: its first pass installs the new root and
//! removes the old ones, so that its last one visits only devices that were not proven then.

use std::collections::{BTreeSet, HashMap};

use rootcast_core::device::{DeviceId, DeviceVersion, SHARDS};
use rootcast_core::job::task::TaskState;
use rootcast_core::job::{Job, Pass};
use rootcast_core::rollover::survey::{Finding, find};
use rootcast_core::rollover::windows::Turn;
use rootcast_ledger::{Authority, Change, Conducting, LedgerError, TaskKey};
use time::OffsetDateTime;

use crate::sweep::PAGE;
use crate::{App, ConductError, StepResult};

/// Devices that are named in the reason of a pause.
const NAMED: usize = 10;

impl App {
    /// Devices of the page that take part in the present pass.
    pub(crate) async fn concerned(&self, job: &Job, devices: Vec<DeviceId>) -> Result<Vec<DeviceId>, ConductError> {
        match job.pass() {
            Pass::Install => self.to_be_replaced(job, devices).await,
            Pass::Distrust if job.is_compromise() => {
                let any = devices.iter().map(|device| (device, None)).collect::<Vec<_>>();
                let left = self.not_proven(job, &any).await?;
                Ok(devices.into_iter().filter(|device| left.contains(device)).collect())
            }
            _ => Ok(devices),
        }
    }

    /// Those of these devices that the first pass left without a proof, and without a waiver by name. Without a version, of
    /// the one that it visited: the survey sees whether that has changed.
    pub(crate) async fn not_proven(
        &self,
        job: &Job,
        devices: &[(&DeviceId, Option<DeviceVersion>)],
    ) -> Result<BTreeSet<DeviceId>, LedgerError> {
        let key = |device: &DeviceId| TaskKey { job: job.id, pass: Pass::Distribute, device: device.clone() };
        let keys: Vec<TaskKey> = devices.iter().map(|(device, _)| key(device)).collect();
        let (_, tasks): (_, HashMap<TaskKey, _>) = self.ledger.jobs_and_tasks([], &keys).await?;
        let demand = job.demand_of_sweep((self.clock)());
        let is_open = |(device, version): &&(&DeviceId, Option<DeviceVersion>)| {
            let task = tasks.get(&key(device));
            let found = task.and_then(|task| Some(find(Some(version.or(task.of)?), Some(task), demand, Turn::Open)));
            !matches!(found, Some(Finding::Proven { .. } | Finding::Waived))
        };
        Ok(devices.iter().filter(is_open).map(|(device, _)| (*device).clone()).collect())
    }

    /// Begins the last pass. It looks at every device, also at those that joined meanwhile.
    pub(crate) async fn visit_the_rest(
        &self,
        held: &Conducting,
        mut job: Job,
        why: String,
        now: OffsetDateTime,
    ) -> Result<StepResult, ConductError> {
        let authority = Authority { joins_during: None, ..self.ledger.authority().await? };
        let fleet = job.survey.revisions();
        job.distrust(job.bundle_version, now);
        (job.reason, job.updated) = (why, now);
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                job: Some(&job),
                fleet,
                conducting: Some(held),
                ..Change::default()
            })
            .await?;
        Ok(StepResult::Continue)
    }

    /// A reason to pause with the names of those that may still trust a compromised root.
    pub(crate) async fn with_names(&self, job: &Job, why: String) -> Result<String, ConductError> {
        if !job.is_compromise() || !matches!(job.pass(), Pass::Distribute | Pass::Distrust) {
            return Ok(why);
        }
        let listed = self.ledger.counters(job.id, job.pass(), job.counted_together).await?.lists_failures;
        let mut names = Vec::new();
        let mut place = Some((0, None));
        while let Some((shard, after)) = place.filter(|(shard, _)| *shard < SHARDS && names.len() <= NAMED) {
            let page = self.ledger.troubled((job.id, job.pass()), listed, shard, after.as_ref(), PAGE).await?;
            let failed = page.tasks.into_iter().filter(|task| task.state == TaskState::Failed);
            names.extend(failed.map(|task| task.device.to_string()));
            place = Some(page.last.map_or((shard + 1, None), |last| (shard, Some(last))));
        }
        if names.len() > NAMED {
            names.truncate(NAMED);
            names.push("and others".to_owned());
        }
        if names.is_empty() {
            return Ok(why);
        }
        Ok(format!("{why} Since {}, these may trust it still: {}.", job.compromise(), names.join(", ")))
    }
}
