//! Brings devices that were approved after the last rollover to the current bundle, each on its own.

use std::collections::BTreeMap;

use rootcast_core::job::message::Task;
use rootcast_core::job::{NO_JOB, Pass};
use rootcast_core::rollover::survey::joining::{Join, join};
use rootcast_ledger::{Authority, Joining};
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::info;

use crate::{App, ConductError};

/// Devices per page: each sent device needs two writes, and DynamoDB takes 100 per transaction.
const PAGE: u32 = 50;
/// Devices per wake-up. Their entries are in one partition, which takes 1000 write units a second, and a sent device
/// costs four: 20 s of the minute until the next wake-up. Workers need some minutes for that many messages, and are
/// done before the first device is due again.
const AT_MOST: usize = 5000;

impl App {
    /// Processes due devices, page by page. The entries of a page are moved or removed, so the next page starts after
    /// them. While a rollover visits every device's trust store anyway, they wait.
    pub(crate) async fn bring_in_joining(&self, deadline: Instant) -> Result<(), ConductError> {
        let (now, mut seen) = ((self.clock)(), 0);
        while seen < AT_MOST && Instant::now() < deadline {
            let due = self.ledger.due_to_join(now, PAGE).await?;
            if due.is_empty() {
                break;
            }
            let authority = self.ledger.authority().await?;
            if !authority.lets_join() {
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
        // Whether a message is sent to the device. Only one entry per device is kept: a transaction takes no more.
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
        // Recorded first: after a crash in between, the devices are sent when they are due again.
        let mut postponed = self.ledger.postpone_joining(again).await?;
        postponed.retain(|next| sent.get(&next.device) == Some(&true));
        if !postponed.is_empty() {
            info!(
                devices.joining = postponed.len(),
                bundle.version = authority.bundle,
                "devices are brought to the current bundle"
            );
            let task = |next: Joining| Task::new(NO_JOB, Pass::Join, next.device, next.tries);
            let tasks: Vec<Task> = postponed.into_iter().map(task).collect();
            self.queue.send_tasks(&self.task_queue, &tasks).await?;
        }
        Ok(())
    }
}
