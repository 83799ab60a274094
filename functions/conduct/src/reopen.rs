//! What failed is tried again, all of it or some, after an operator asked for it.

use rootcast_core::device::{DeviceId, SHARDS};
use rootcast_core::job::task::{TaskRecord, TaskState};
use rootcast_core::job::{Job, Tally};
use rootcast_ledger::Conducting;
use tokio::time::Instant;

use crate::pass::SETTLED_AT_ONCE;
use crate::{App, ConductError, StepResult};

impl App {
    /// The messages of a job that was paused follow with the resend that it makes next. A job that runs has devices
    /// whose messages are on their way: there, only those that are opened here are sent.
    pub(crate) async fn reopen(
        &self,
        held: &Conducting,
        mut job: Job,
        deadline: Instant,
    ) -> Result<StepResult, ConductError> {
        let sends = !job.begins_to_resend();
        let selection = job.reopen.selection();
        let at = selection.map_or_else(self.clock, |selection| selection.asked);
        for shard in selection.map_or(0, |selection| selection.shards_done)..SHARDS {
            if Instant::now() >= deadline {
                return Ok(StepResult::HandOn);
            }
            let tasks = self.ledger.troubled_tasks(job.id, job.leg(), shard).await?;
            let failed: Vec<TaskRecord> = tasks.iter().filter(|task| job.reopen.opens(job.id, task)).cloned().collect();
            for some in failed.chunks(SETTLED_AT_ONCE) {
                if Instant::now() >= deadline {
                    return Ok(StepResult::HandOn);
                }
                self.ledger.reopen(held, job.leg(), some, at).await?;
            }
            let opened: Vec<(DeviceId, u32)> = tasks.iter().filter_map(|task| opened(&job, task)).collect();
            if !opened.is_empty() {
                if sends {
                    self.send(&job, opened).await?;
                }
                job.reopen.note_shard(shard);
                self.commit(&mut job, Vec::new()).await?;
            }
        }
        let tally: Tally = self.ledger.counters(job.id, job.leg()).await?.into_iter().sum();
        job.note_reopened(tally.failed, (self.clock)());
        self.commit(&mut job, Vec::new()).await?;
        Ok(StepResult::Continue)
    }
}

/// The attempt that a task waits for now: one that was opened here, or before a crash.
fn opened(job: &Job, task: &TaskRecord) -> Option<(DeviceId, u32)> {
    let attempt = match task.state {
        TaskState::Failed if job.reopen.opens(job.id, task) => task.attempt + 1,
        TaskState::Waiting if job.reopen.has_opened(job.id, task) => task.attempt,
        _ => return None,
    };
    Some((task.device.clone(), attempt))
}
