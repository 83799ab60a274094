//! Deploys a certificate to its devices, however many there are.

use rootcast_core::audit::Actor;
use rootcast_core::deployment::{Deployment, MOST_DEPLOYED};
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::id::CertificateId;
use rootcast_ledger::UseRecord;
use tokio::time::Instant;

use crate::{DeviceRefusal, NotBegun, NotDone, Operations};

/// What was started and what was not. Started jobs continue, whatever happens to the rest.
#[derive(Debug, Default)]
pub struct Pushed {
    pub jobs: Vec<Deployment>,
    pub refused: Vec<(DeviceId, DeviceRefusal)>,
    /// Devices that were not reached before the deadline.
    pub late: Vec<DeviceId>,
    /// Why the rest was not started.
    pub stopped: Option<NotDone<NotBegun>>,
}

/// Why a certificate is not pushed to a device now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unready {
    NotAssociated,
    InError,
    UnderWay,
}

/// Why the certificate may not be pushed to the device now. `None`: it is associated with the device, no work is under
/// way, and none failed. `uses`: the certificate's.
pub fn unready(device: &DeviceId, uses: &[UseRecord]) -> Option<Unready> {
    match uses.iter().find(|each| each.device == *device) {
        None => Some(Unready::NotAssociated),
        Some(binding) if binding.lifecycle.in_error => Some(Unready::InError),
        Some(binding) if binding.is_under_way() => Some(Unready::UnderWay),
        Some(_) => None,
    }
}

impl Operations<'_> {
    /// Creates a job for each [`MOST_DEPLOYED`] of the devices; none after the deadline.
    pub async fn push(
        &self,
        certificate: CertificateId,
        devices: &[DeviceId],
        by: &Actor,
        deadline: Instant,
    ) -> Pushed {
        let mut pushed = Pushed::default();
        for chunk in devices.chunks(MOST_DEPLOYED) {
            if Instant::now() >= deadline {
                pushed.late.extend_from_slice(chunk);
                continue;
            }
            match self.until(deadline).deploy(certificate, chunk, by).await {
                Ok(begun) => {
                    pushed.refused.extend(begun.refused);
                    pushed.jobs.extend(begun.job);
                }
                Err(why) => {
                    pushed.stopped = Some(why);
                    break;
                }
            }
        }
        pushed
    }
}
