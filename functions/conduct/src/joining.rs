//! Devices that were approved after the last rollover are brought to the bundle of today, each by itself.

use std::collections::BTreeMap;

use rootcast_core::job::message::Task;
use rootcast_core::job::{JobId, Leg};
use rootcast_core::rollover::survey::joining::{Join, join};
use rootcast_ledger::{Authority, Joining};
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::info;

use crate::{App, ConductError};

/// Of no job.
const NO_JOB: JobId = JobId(0);
/// Devices a page: of each that is sent two writes, and DynamoDB takes 100 in a transaction.
const PAGE: u32 = 50;
/// Devices a look. Their entries are one partition of their table, which takes 1000 write units a second, and one that
/// is sent costs four: 20 s, of the minute until the next look. That many messages are some minutes' work for the
/// workers, done before the first of them is due again.
const AT_MOST: usize = 5000;

impl App {
    /// One look at those that are due, page by page. The entries of a page are moved or removed, so the next page begins
    /// behind them. A rollover that runs looks at every device itself, so they wait for its end.
    pub(crate) async fn bring_in_joining(&self, deadline: Instant) -> Result<(), ConductError> {
        let (now, mut seen) = ((self.clock)(), 0);
        while seen < AT_MOST && Instant::now() < deadline {
            let due = self.ledger.due_to_join(now, PAGE).await?;
            if due.is_empty() {
                break;
            }
            let authority = self.ledger.authority().await?;
            if authority.running.is_some() {
                break;
            }
            seen += due.len();
            self.bring_in(due, &authority, now).await?;
        }
        Ok(())
    }

    async fn bring_in(
        &self,
        due: Vec<Joining>,
        authority: &Authority,
        now: OffsetDateTime,
    ) -> Result<(), ConductError> {
        let devices = self.ledger.devices_by_id(due.iter().map(|joining| &joining.device)).await?;
        let (mut done, mut again) = (Vec::new(), Vec::new());
        // Whether a message is sent: one entry a device will do, and a transaction takes no more.
        let mut sent = BTreeMap::new();
        for joining in due {
            let device = devices.get(&joining.device);
            let version = device.and_then(|device| device.approved_version());
            let is_as_approved = version == Some(joining.version);
            let held = device.and_then(|device| device.held.as_ref());
            let ack = held.and_then(|held| held.ack.as_ref());
            let failure = held.and_then(|held| Some((held.failure.as_ref()?, held.at)));
            let version = is_as_approved.then_some(joining.version);
            let (wait, is_sent) = match join(version, ack, failure, authority.bundle, joining.tries, now) {
                Join::Send { again } if !sent.contains_key(&joining.device) => (again, true),
                Join::Wait { again } if !sent.contains_key(&joining.device) => (again, false),
                Join::Send { .. } | Join::Wait { .. } | Join::Done => {
                    done.push(joining);
                    continue;
                }
            };
            sent.insert(joining.device.clone(), is_sent);
            again.push((joining, now + wait));
        }
        self.ledger.finish_joining(&done).await?;
        // Recorded first: whoever dies in between has them sent when they are due again.
        let mut postponed = self.ledger.postpone_joining(again).await?;
        postponed.retain(|next| sent.get(&next.device) == Some(&true));
        if !postponed.is_empty() {
            info!(
                devices.joining = postponed.len(),
                bundle.version = authority.bundle,
                "devices are brought to the current bundle"
            );
            let task = |next: Joining| Task::new(NO_JOB, Leg::Join, next.device, next.tries);
            let tasks: Vec<Task> = postponed.into_iter().map(task).collect();
            self.queue.send_tasks(&self.task_queue, &tasks).await?;
        }
        Ok(())
    }
}
