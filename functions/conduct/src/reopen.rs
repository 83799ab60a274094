//! Retries failed devices, all or some, at an operator's request.

use rootcast_core::device::DeviceId;
use rootcast_core::job::Job;
use rootcast_core::job::task::{TaskRecord, TaskState};
use rootcast_ledger::{Conducting, TaskPage};
use tokio::time::Instant;

use crate::sweep::{PAGE, SETTLED_AT_ONCE};
use crate::{App, ConductError, StepResult};

impl App {
    /// Reopens the selected tasks. If a full resend is about to start (after a pause), it also sends their messages.
    /// Otherwise other devices' messages are still on their way, and only the tasks reopened here are sent.
    pub(crate) async fn reopen(
        &self,
        held: &Conducting,
        mut job: Job,
        deadline: Instant,
    ) -> Result<StepResult, ConductError> {
        let sends = !job.begins_to_resend();
        let at = job.reopen.selection().map_or_else(self.clock, |selection| selection.asked);
        let listed = self.ledger.counters(job.id, job.pass(), job.counted_together).await?.lists_failures;
        while let Some((shard, after)) = job.reopen.place() {
            if Instant::now() >= deadline {
                self.commit(&mut job).await?;
                return Ok(StepResult::HandOn);
            }
            let of = (job.id, job.pass());
            let TaskPage { tasks, last } = self.ledger.troubled(of, listed, shard, after.as_ref(), PAGE).await?;
            let failed: Vec<TaskRecord> = tasks.iter().filter(|task| job.reopen.opens(job.id, task)).cloned().collect();
            for some in failed.chunks(SETTLED_AT_ONCE) {
                if Instant::now() >= deadline {
                    self.commit(&mut job).await?;
                    return Ok(StepResult::HandOn);
                }
                self.ledger.reopen(held, job.pass(), some, None, at).await?;
            }
            let opened: Vec<(DeviceId, u32)> = tasks.iter().filter_map(|task| opened(&job, task)).collect();
            let acted = !opened.is_empty();
            if acted && sends {
                self.send(&job, opened).await?;
            }
            job.reopen.note_page(shard, last);
            if acted {
                self.commit(&mut job).await?;
            }
        }
        let counted = self.ledger.counters(job.id, job.pass(), job.counted_together).await?;
        job.note_reopened(counted.tally.failed, (self.clock)());
        self.commit(&mut job).await?;
        Ok(StepResult::Continue)
    }
}

/// The current attempt of a task that was reopened, now or before a crash.
fn opened(job: &Job, task: &TaskRecord) -> Option<(DeviceId, u32)> {
    let attempt = match task.state {
        TaskState::Failed if job.reopen.opens(job.id, task) => task.attempt + 1,
        TaskState::Waiting if job.reopen.has_opened(job.id, task) => task.attempt,
        _ => return None,
    };
    Some((task.device.clone(), attempt))
}
