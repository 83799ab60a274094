//! Takes failed devices out of a rollover's gate, and imported certificates out of its way, each with a reason.

use std::collections::{BTreeMap, HashMap};

use futures::stream::{self, StreamExt};
use rootcast_core::audit::{Act, Action, Actor, Outcome, Subject};
use rootcast_core::device::{DeviceId, DeviceVersion, SHARDS};
use rootcast_core::inventory::dn::{CertificateDn, is_of_devices};
use rootcast_core::job::JobId;
use rootcast_core::job::task::{TaskRecord, TaskState};
use rootcast_ledger::{LedgerError, MOST_SPARED, Spared, TaskKey};
use tokio::time::Instant;

use crate::attempts::attempts;
use crate::{JobRefusal, NotDone, Operations};

/// Keys in one BatchGetItem.
const READ: usize = 100;

/// Which devices may go without the new root, and why.
#[derive(Debug, Clone, Copy)]
pub struct Waiver<'a> {
    /// Each device once.
    pub devices: &'a [DeviceId],
    /// Number of devices that were named, including those that the caller may not see: for the audit chain.
    pub named: usize,
    pub reason: &'a str,
}

/// The outcome for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waived {
    Now,
    Before,
    Not(NotWaived),
}

/// Why a device is not waived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotWaived {
    /// It has no result in this job.
    NoResult,
    /// The device proved the content of its trust store.
    Acked,
    /// The device was deleted.
    Skipped,
    /// It is being retried.
    Waiting,
    /// Its task changed between reading and writing.
    Moved,
    /// Not waived yet: a record was busy, or the deadline passed.
    Busy,
}

impl Waived {
    /// Now, or before.
    pub const fn is_waived(self) -> bool {
        !matches!(self, Self::Not(_))
    }
}

impl Operations<'_> {
    /// Returns the outcome for each device. The devices of a shard are waived one after the other, since they share its
    /// counters. No read and no write starts after the deadline.
    pub async fn waive(
        &self,
        id: JobId,
        waiver: Waiver<'_>,
        by: &Actor,
        deadline: Instant,
    ) -> Result<HashMap<DeviceId, Waived>, NotDone<JobRefusal>> {
        let job = self.job(id).await?;
        job.waives()?;
        // A waiver takes many transactions: it is recorded before the first one, and its outcome after the last.
        let act = Act::new(Subject::Job(id), Action::Waive, by, (self.clock)());
        let act = act.with("devices", waiver.named).with("reason", waiver.reason);
        let named = waiver.devices.iter().map(DeviceId::to_string);
        self.ledger.audit_all(&act.clone().came_to(Outcome::Begun).naming("names", named)).await?;
        let mut shards: BTreeMap<u8, Vec<TaskKey>> = BTreeMap::new();
        for device in waiver.devices {
            let key = TaskKey { job: id, pass: job.pass(), device: device.clone() };
            shards.entry(device.shard()).or_default().push(key);
        }
        let done = stream::iter(shards.into_values())
            .map(|keys| self.waive_shard(keys, waiver.reason, deadline))
            .buffer_unordered(usize::from(SHARDS));
        let (done, ended): (Vec<_>, Vec<_>) = done.unzip().await;
        let done: HashMap<DeviceId, Waived> = done.into_iter().flatten().collect();
        self.wake(id, "waive").await;
        let mut waived: Vec<String> =
            done.iter().filter(|(_, outcome)| outcome.is_waived()).map(|(device, _)| device.to_string()).collect();
        waived.sort_unstable();
        let ended: Result<(), LedgerError> = ended.into_iter().collect();
        // What was waived before an error is as final as the rest.
        let act = if ended.is_err() { act.with("unfinished", true) } else { act };
        self.ledger.audit_all(&act.with("waived", waived.len()).naming("names", waived)).await?;
        ended?;
        Ok(done)
    }

    /// Certificates made elsewhere that the rollover is not to wait for. Returns those of them that exist, each with
    /// whether it is one: a device's own is waived with its device.
    pub async fn waive_certificates(
        &self,
        id: JobId,
        names: &[CertificateDn],
        reason: &str,
        by: &Actor,
    ) -> Result<HashMap<String, bool>, NotDone<JobRefusal>> {
        self.job(id).await?.waives()?;
        let (mut found, mut spared) = (HashMap::new(), Vec::new());
        for dn in names {
            let Some(certificate) = self.ledger.certificate_by_dn(dn).await? else { continue };
            let name = dn.to_string();
            let is_own = is_of_devices(&dn.folder.to_string());
            found.insert(name.clone(), !is_own);
            if !is_own {
                spared.push(Spared { certificate, name, reason: reason.to_owned() });
            }
        }
        for some in spared.chunks(MOST_SPARED) {
            let act = Act::new(Subject::Job(id), Action::Waive, by, (self.clock)());
            let act = act.with("certificates", some.len()).with("reason", reason);
            let acts = act.naming("ids", some.iter().map(|each| each.certificate.to_string()));
            attempts(|| async { Ok::<_, NotDone<JobRefusal>>(self.ledger.spare(id, some, &acts).await?) }).await?;
        }
        self.wake(id, "waive").await;
        Ok(found)
    }

    /// The outcome for each device, also if an error ends it.
    async fn waive_shard(
        &self,
        keys: Vec<TaskKey>,
        why: &str,
        deadline: Instant,
    ) -> (HashMap<DeviceId, Waived>, Result<(), LedgerError>) {
        let mut done = keys.iter().map(|key| (key.device.clone(), Waived::Not(NotWaived::Busy))).collect();
        let ended = self.waive_in_order(&keys, why, deadline, &mut done).await;
        (done, ended)
    }

    async fn waive_in_order(
        &self,
        keys: &[TaskKey],
        why: &str,
        deadline: Instant,
        done: &mut HashMap<DeviceId, Waived>,
    ) -> Result<(), LedgerError> {
        for part in keys.chunks(READ) {
            if Instant::now() >= deadline {
                break;
            }
            let (_, tasks) = self.ledger.jobs_and_tasks([], part).await?;
            let versions = self.ledger.fleet_versions(part.iter().map(|key| &key.device)).await?;
            for key in part.iter().take_while(|_| Instant::now() < deadline) {
                let of = versions.get(&key.device).copied();
                done.insert(key.device.clone(), self.waive_one(key, tasks.get(key), of, why).await?);
            }
        }
        Ok(())
    }

    async fn waive_one(
        &self,
        key: &TaskKey,
        task: Option<&TaskRecord>,
        of: Option<DeviceVersion>,
        why: &str,
    ) -> Result<Waived, LedgerError> {
        let task = match judge(task) {
            Ok(task) => task,
            Err(told) => return Ok(told),
        };
        match self.ledger.waive(key, task, of, why, (self.clock)()).await {
            Ok(()) => Ok(Waived::Now),
            Err(LedgerError::Conflict) => Ok(Waived::Not(NotWaived::Moved)),
            // Workers write the shard's counters all the time. The other devices of the request are still waived.
            Err(error) if error.is_passing() => Ok(Waived::Not(NotWaived::Busy)),
            Err(error) => Err(error),
        }
    }
}

/// Only a failed device is waived.
fn judge(task: Option<&TaskRecord>) -> Result<&TaskRecord, Waived> {
    let task = task.ok_or(Waived::Not(NotWaived::NoResult))?;
    match task.state {
        TaskState::Failed => Ok(task),
        TaskState::Waived => Err(Waived::Before),
        TaskState::Acked => Err(Waived::Not(NotWaived::Acked)),
        TaskState::Skipped => Err(Waived::Not(NotWaived::Skipped)),
        TaskState::Waiting | TaskState::Postponed => Err(Waived::Not(NotWaived::Waiting)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use super::*;

    #[test]
    fn only_a_failed_device_is_waived() {
        let task = |state| TaskRecord::new("a".parse().unwrap(), state, 1, time::OffsetDateTime::UNIX_EPOCH);
        let judged = |state| judge(Some(&task(state))).map(|task| task.state);
        assert_eq!(judged(TaskState::Failed), Ok(TaskState::Failed));
        assert_eq!(judged(TaskState::Waived), Err(Waived::Before));
        for (state, why) in [
            (TaskState::Acked, NotWaived::Acked),
            (TaskState::Skipped, NotWaived::Skipped),
            (TaskState::Waiting, NotWaived::Waiting),
        ] {
            assert_eq!(judged(state), Err(Waived::Not(why)));
        }
        assert_eq!(judge(None).err(), Some(Waived::Not(NotWaived::NoResult)));
    }
}
