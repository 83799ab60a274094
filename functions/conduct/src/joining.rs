//! Devices that were approved after the last rollover are brought to the bundle of today, each by itself.

use rootcast_core::job::{JobId, Leg};
use rootcast_core::message::Task;
use rootcast_core::survey::joining::{Join, join};
use rootcast_ledger::LedgerError;
use tracing::{debug, info};

use crate::{App, ConductError};

/// Of no job.
const NO_JOB: JobId = JobId(0);
/// Devices in one look: one call for their records, two for each that is sent.
const AT_ONCE: u32 = 100;

impl App {
    /// One look at those that are due. A rollover that runs looks at every device itself, so they wait for its end.
    pub(crate) async fn bring_in_joining(&self) -> Result<(), ConductError> {
        let now = (self.clock)();
        let due = self.ledger.due_to_join(now, AT_ONCE).await?;
        if due.is_empty() {
            return Ok(());
        }
        let authority = self.ledger.authority().await?;
        if authority.running.is_some() {
            return Ok(());
        }
        let devices = self.ledger.devices_by_id(due.iter().map(|joining| &joining.device)).await?;
        let mut tasks = Vec::new();
        for joining in &due {
            let device = devices.get(&joining.device);
            let version = device.and_then(|device| device.approved_version());
            let is_as_approved = version == Some(joining.version);
            let held = device.and_then(|device| device.held.as_ref());
            let ack = held.and_then(|held| held.ack.as_ref());
            let failure = held.and_then(|held| Some((held.failure.as_ref()?, held.at)));
            let version = is_as_approved.then_some(joining.version);
            let wanted = join(version, ack, failure, authority.bundle, joining.tries, now);
            match wanted {
                Join::Done => self.ledger.finish_joining(joining).await?,
                // Recorded first: whoever dies in between has it sent when it is due again.
                Join::Send { again } | Join::Wait { again } => {
                    match self.ledger.postpone_joining(joining, now + again).await {
                        Ok(()) if matches!(wanted, Join::Wait { .. }) => {}
                        Ok(()) => {
                            let device = joining.device.clone();
                            tasks.push(Task::new(NO_JOB, Leg::Join, device, joining.tries + 1));
                        }
                        Err(LedgerError::Conflict) => {
                            debug!(device.id = %joining.device, "another conductor saw to the device")
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        if !tasks.is_empty() {
            info!(
                devices.joining = tasks.len(),
                bundle.version = authority.bundle,
                "devices are brought to the bundle of today"
            );
            self.queue.send_tasks(&self.task_queue, &tasks).await?;
        }
        Ok(())
    }
}
