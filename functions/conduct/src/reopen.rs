//! What failed is tried again, after the operator resumed the job.

use std::time::Instant;

use rootcast_core::device::SHARDS;
use rootcast_core::job::Job;
use rootcast_core::task::TaskState;

use crate::{App, ConductError, Then};

/// Tasks a transaction; DynamoDB takes 100 writes, of which the counters are one a shard.
const REOPENED_AT_ONCE: usize = 50;

impl App {
    /// The messages follow with the resend that a resumed job makes next.
    pub(crate) async fn reopen(&self, mut job: Job, deadline: Instant) -> Result<Then, ConductError> {
        for shard in 0..SHARDS {
            let mut tasks = self.ledger.tasks(job.id, job.leg(), shard, None, None).await?;
            tasks.retain(|task| task.state == TaskState::Failed);
            for some in tasks.chunks(REOPENED_AT_ONCE) {
                if Instant::now() >= deadline {
                    return Ok(Then::HandOn);
                }
                self.ledger.reopen(job.id, job.leg(), some, (self.clock)()).await?;
            }
        }
        job.reopen = false;
        self.save(job, (self.clock)()).await?;
        Ok(Then::Continue)
    }
}
