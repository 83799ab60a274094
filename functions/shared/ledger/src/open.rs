//! A batch of tasks that came from a queue: what is on record of each, and which of them still need work.

use std::collections::{BTreeSet, HashMap};

use rootcast_core::deployment::lifecycle::Entry;
use rootcast_core::job::message::Task;
use rootcast_core::job::task::TaskRecord;
use rootcast_core::job::{JobId, JobRecord};
use tracing::info;

use crate::{Ledger, LedgerError, TaskKey};

/// The jobs and task records of a batch.
pub struct BatchRecords {
    jobs: HashMap<JobId, JobRecord>,
    tasks: HashMap<TaskKey, TaskRecord>,
}

/// A task that needs work, with the message that carries it.
pub struct OpenTask<M, W> {
    pub message: M,
    pub work: W,
    /// In which it was sent first, if it is on record.
    pub wave: u32,
    /// How the task's earlier attempts ended.
    pub history: Vec<Entry>,
}

impl Ledger {
    /// One BatchGetItem for the whole batch.
    pub async fn batch_records<M: AsRef<Task>>(&self, messages: &[M]) -> Result<BatchRecords, LedgerError> {
        let jobs: BTreeSet<JobId> = messages.iter().map(|message| message.as_ref().job).collect();
        let keys: BTreeSet<TaskKey> = messages.iter().map(|message| TaskKey::from(message.as_ref())).collect();
        let (jobs, tasks) = self.jobs_and_tasks(jobs, &keys.into_iter().collect::<Vec<_>>()).await?;
        Ok(BatchRecords { jobs, tasks })
    }
}

impl BatchRecords {
    /// The batch's jobs.
    pub const fn jobs(&self) -> &HashMap<JobId, JobRecord> {
        &self.jobs
    }

    /// The tasks that need work, and the messages of the others: those that `judge` refuses with a reason, and tasks that
    /// the batch contains twice.
    pub fn open<M: AsRef<Task>, W>(
        &self,
        messages: Vec<M>,
        judge: impl Fn(&Task, Option<&JobRecord>, Option<&TaskRecord>) -> Result<W, &'static str>,
    ) -> (Vec<OpenTask<M, W>>, Vec<M>) {
        let (mut open, mut dropped, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        for message in messages {
            let task = message.as_ref();
            let key = TaskKey::from(task);
            let record = self.tasks.get(&key);
            let judged = judge(task, self.jobs.get(&task.job), record);
            match if seen.insert(key) { judged } else { Err("it is twice in this batch") } {
                Ok(work) => {
                    let history = record.map(|record| record.history.clone()).unwrap_or_default();
                    let wave = record.map(|record| record.wave).filter(|wave| *wave > 0).unwrap_or(task.wave);
                    open.push(OpenTask { message, work, wave, history });
                }
                Err(why) => {
                    info!(job.id = task.job.0, device.id = %task.device, "task dropped: {why}");
                    dropped.push(message);
                }
            }
        }
        (open, dropped)
    }
}
