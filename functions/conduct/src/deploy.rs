//! Conducts a deployment: sends its tasks, sends them again, gives them up, and ends the job.

use rootcast_core::deployment::lifecycle::Entry;
use rootcast_core::deployment::{Action, Deployment, DeploymentOutcome, Step, plan};
use rootcast_core::device::DeviceId;
use rootcast_core::job::Pass;
use rootcast_core::job::message::Task;
use rootcast_core::job::task::{ErrorClass, Failure, Outcome, TaskState};
use rootcast_core::metric::Metric;
use rootcast_ledger::{LedgerError, Settlement, TaskKey};
use tokio::time::Instant;
use tracing::{debug, info};

use crate::sweep::LOST;
use crate::{App, ConductError, StepResult};

impl App {
    /// One step. The caller loads the job again if there may be more to do.
    pub(crate) async fn deploy(&self, mut job: Deployment, deadline: Instant) -> Result<StepResult, ConductError> {
        let counted = self.ledger.counters(job.id, Pass::Install, job.counted_together).await?.tally;
        let (tally, now) = (job.tally(counted), (self.clock)());
        let Step { action, why } = plan(&job, &tally, now, self.stall);
        match action {
            Action::Wait => debug!(job.id = job.id.0, "{why}"),
            _ => info!(job.id = job.id.0, action = ?action, "{why}"),
        }
        match action {
            Action::Wait if !job.is_running() || !job.note_progress(&tally, now) => return Ok(StepResult::Rest),
            Action::Wait => {}
            // Doubled messages are harmless, so the tasks are sent before the step is recorded.
            Action::Send => {
                self.send_open(&job).await?;
                job.note_sent(now);
            }
            Action::Reopen => {
                let at = job.reopen.selection().map_or(now, |selection| selection.asked);
                let opened = self.ledger.reopen_deployment(&job, at).await?;
                self.send_installs(&job, opened).await?;
                job.note_reopened(now);
            }
            // Recorded first: after a crash in between, the next conductor waits, rather than resending endlessly.
            Action::Resend => {
                job.begin_resend(now);
                self.save_deployment(&mut job, why).await?;
                self.send_open(&job).await?;
                return Ok(StepResult::Continue);
            }
            Action::GiveUp => return self.give_up_deployment(job, why, deadline).await,
            Action::End(outcome) => {
                job.end(outcome, &why);
                self.save_deployment(&mut job, why).await?;
                if outcome == DeploymentOutcome::DeployedWithFailures {
                    // A renewal is tried again by itself, and nobody waits for it.
                    match job.is_by_rule() {
                        true => self.gauge(Metric::RenewalsFailed, tally.failed),
                        false => self.count(Metric::JobsFailed),
                    }
                }
                return Ok(StepResult::Rest);
            }
        }
        self.save_deployment(&mut job, why).await?;
        Ok(StepResult::Continue)
    }

    async fn save_deployment(&self, job: &mut Deployment, why: String) -> Result<(), ConductError> {
        job.reason = why;
        job.updated = (self.clock)();
        self.ledger.save_deployment(job, None).await?;
        job.revision += 1;
        Ok(())
    }

    async fn send_open(&self, job: &Deployment) -> Result<(), ConductError> {
        let open = self.open_installs(job).await?.into_iter().map(|(device, attempt, _)| (device, attempt));
        self.send_installs(job, open).await
    }

    async fn send_installs(
        &self,
        job: &Deployment,
        devices: impl IntoIterator<Item = (DeviceId, u32)>,
    ) -> Result<(), ConductError> {
        let task = |(device, attempt)| Task::new(job.id, Pass::Install, device, attempt);
        let tasks: Vec<Task> = devices.into_iter().map(task).collect();
        Ok(self.queue.send_tasks(&self.task_queue, &tasks).await?)
    }

    /// Devices without a result, each with its current attempt and its task's history.
    async fn open_installs(&self, job: &Deployment) -> Result<Vec<(DeviceId, u32, Vec<Entry>)>, LedgerError> {
        let key = |device: &DeviceId| TaskKey { job: job.id, pass: Pass::Install, device: device.clone() };
        let keys: Vec<TaskKey> = job.devices.iter().map(key).collect();
        let (_, tasks) = self.ledger.jobs_and_tasks([], &keys).await?;
        let open = keys.into_iter().filter_map(|key| match tasks.get(&key) {
            None => Some((key.device, 1, Vec::new())),
            Some(task) if task.state == TaskState::Waiting => Some((key.device, task.attempt, task.history.clone())),
            Some(_) => None,
        });
        Ok(open.collect())
    }

    /// Records all devices without a result after the last resend as failed; deleted ones as skipped. Devices under way
    /// get their message again, and another full stall time.
    async fn give_up_deployment(
        &self,
        mut job: Deployment,
        why: String,
        deadline: Instant,
    ) -> Result<StepResult, ConductError> {
        let open = self.open_installs(&job).await?;
        let records = self.ledger.devices_by_id(open.iter().map(|(device, ..)| device)).await?;
        let (spared, lost): (Vec<_>, Vec<_>) = open
            .into_iter()
            .partition(|(device, attempt, _)| self.is_under_way(job.id, Pass::Install, *attempt, records.get(device)));
        let bindings: Vec<_> = lost.iter().map(|(device, ..)| (job.certificate_of(device), device)).collect();
        let uses = self.ledger.uses(&bindings).await?;
        for (device, attempt, history) in lost {
            if Instant::now() >= deadline {
                return Ok(StepResult::HandOn);
            }
            let binding = uses.iter().find(|binding| binding.device == device && binding.job == Some(job.id));
            let key = TaskKey { job: job.id, pass: Pass::Install, device };
            let stage = binding.and_then(|binding| binding.lifecycle.stage);
            let failure = Failure { stage, ..Failure::new(ErrorClass::Lost, LOST) };
            let outcome = Outcome::Failed(failure);
            let lost = Settlement { key, attempt, wave: 0, of: None, outcome, history, at: (self.clock)() };
            match binding {
                Some(binding) => _ = self.ledger.settle_use(&lost, binding, None).await?,
                None => _ = self.ledger.settle(vec![Settlement { outcome: Outcome::Skipped, ..lost }]).await?,
            }
        }
        if !spared.is_empty() {
            job.note_sent((self.clock)());
            self.save_deployment(&mut job, why).await?;
            self.send_installs(&job, spared.into_iter().map(|(device, attempt, _)| (device, attempt))).await?;
        }
        Ok(StepResult::Continue)
    }
}
