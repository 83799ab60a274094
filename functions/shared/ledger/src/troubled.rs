//! Which tasks have failed: a record beside each, which changes together with it. Whoever asks for failed devices reads as many
//! records as there are of them, and not the shard.

use aws_sdk_dynamodb::types::TransactWriteItem;
use rootcast_core::device::DeviceId;
use rootcast_core::job::task::TaskState;
use rootcast_core::job::{JobId, Pass};
use serde::{Deserialize, Serialize};

use crate::commit::put;
use crate::item::{Item, from_item, job_key, text};
use crate::{Ledger, LedgerError, Settlement, TaskKey, TaskPage};

/// The states of tasks that a retry is about.
const TROUBLED: [&str; 2] = ["failed", "waiting"];

/// A task that has failed once. It stays when the task is reopened: until a later attempt ends well, or the device is waived.
#[derive(Debug, Serialize, Deserialize)]
struct Trouble {
    device: DeviceId,
    /// Then it is read, for next to nothing, and passed over: no role needs to delete here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    over: bool,
}

fn prefix(pass: Pass) -> String {
    format!("trouble#{pass}#")
}

fn partition(job: JobId, shard: u8) -> String {
    format!("{job}#{shard:02}")
}

impl Ledger {
    /// Of the next `limit` tasks of a shard that failed once, those that are failed now or wait for another attempt, ordered by
    /// device. Two calls, and one more a hundred tasks. `listed`: whether [all of them have a record](crate::Counters::lists_failures);
    /// otherwise, `limit` tasks of any state are read.
    pub async fn troubled(
        &self,
        (job, pass): (JobId, Pass),
        listed: bool,
        shard: u8,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<TaskPage, LedgerError> {
        if !listed {
            return self.task_page(job, pass, shard, (after, None), &TROUBLED, limit).await;
        }
        let all = prefix(pass);
        // '~' sorts after, and '\u{1}' before, every character allowed in a device id.
        let from = after.map_or_else(|| all.clone(), |device| format!("{all}{device}\u{1}"));
        let query = self.client.query().table_name(self.jobs()?).consistent_read(true);
        let query = query.key_condition_expression("pk = :shard AND sk BETWEEN :from AND :until");
        let query = query.expression_attribute_values(":shard", text(partition(job, shard)));
        let query = query.expression_attribute_values(":from", text(from));
        let query = query.expression_attribute_values(":until", text(format!("{all}~")));
        let query = query.filter_expression("attribute_not_exists(#over)").expression_attribute_names("#over", "over");
        let query = query.limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let answer = query.send().await.map_err(LedgerError::aws("Query failed tasks"))?;
        let of_device = |key: Item| key.get("sk")?.as_s().ok()?.strip_prefix(&all)?.parse().ok();
        let keys = answer.items.unwrap_or_default().into_iter().map(|item| {
            let Trouble { device, .. } = from_item("failed task", item)?;
            Ok(TaskKey { job, pass, device })
        });
        let keys = keys.collect::<Result<Vec<_>, LedgerError>>()?;
        let (_, mut tasks) = self.jobs_and_tasks([], &keys).await?;
        let is_troubled = |state| matches!(state, TaskState::Failed | TaskState::Waiting);
        let tasks = keys.iter().filter_map(|key| tasks.remove(key)).filter(|task| is_troubled(task.state));
        Ok(TaskPage { tasks: tasks.collect(), last: answer.last_evaluated_key.and_then(of_device) })
    }

    /// For each of these results that is a failure, or that may end one.
    pub(crate) fn troubles(&self, settlements: &[Settlement]) -> Result<Vec<TransactWriteItem>, LedgerError> {
        let changes = settlements.iter().filter_map(|settlement| match settlement.outcome.state() {
            TaskState::Failed => Some(self.trouble(&settlement.key, false)),
            _ => (settlement.attempt > 1).then(|| self.trouble(&settlement.key, true)),
        });
        changes.collect()
    }

    pub(crate) fn trouble(&self, key: &TaskKey, over: bool) -> Result<TransactWriteItem, LedgerError> {
        let TaskKey { job, pass, device } = key;
        let at = job_key(partition(*job, device.shard()), format!("{}{device}", prefix(*pass)));
        put(self.jobs()?, "failed task", &Trouble { device: device.clone(), over }, at, None)
    }
}
