//! Jobs, begun: a certificate goes to devices, or a device's own is made.

use rootcast_core::audit::Actor;
use rootcast_core::deployment::MOST_DEPLOYED;
use rootcast_core::device::DeviceId;
use rootcast_core::job::JobId;
use rootcast_deploy::{Refusal, Request};
use rootcast_dialects::venafi::VenafiError;
use rootcast_ledger::CertificateOrPending;
use tokio::time::Instant;
use tracing::info;

use crate::App;
use crate::applications::refused;
use crate::named::{Call, Named};

/// What was begun, and where.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    pub(crate) jobs: Vec<JobId>,
    pub(crate) devices: Vec<DeviceId>,
}

impl App {
    /// Has the certificate brought to the devices: a job for each [`MOST_DEPLOYED`] of them.
    ///
    /// # Errors
    /// Where a device is refused, or the time is over. What was begun goes on, and the text names the rest.
    pub(crate) async fn deploy(
        &self,
        call: Call,
        named: &Named,
        devices: &[DeviceId],
        by: &Actor,
        deadline: Instant,
    ) -> Result<Begun, VenafiError> {
        let (mut begun, mut failed): (Begun, Vec<(DeviceId, String)>) = Default::default();
        for chunk in devices.chunks(MOST_DEPLOYED) {
            if Instant::now() >= deadline {
                let late = |device: &DeviceId| (device.clone(), LATE.to_owned());
                failed.extend(chunk.iter().map(late));
                continue;
            }
            let request = Request { by, now: (self.clock)() };
            let answer = rootcast_deploy::deploy(&self.ledger, named.id, chunk, request).await;
            let rootcast_deploy::Begun { job, refused } = answer.map_err(|why| call.not_begun(named, why))?;
            failed.extend(refused.into_iter().map(|(device, why): (DeviceId, Refusal)| (device, why.to_string())));
            if let Some(job) = job {
                info!(caller = by.principal, job.id = %job.id, certificate.id = %named.id, call = call.name, "deployment begun");
                self.wake(job.id, "created").await;
                begun.jobs.push(job.id);
                begun.devices.extend(job.devices);
            }
        }
        if failed.is_empty() { Ok(begun) } else { Err(refused(&failed)) }
    }

    /// Has the work begin at its first stage: that of an own certificate at its device, of another one at `devices`.
    pub(crate) async fn begin(
        &self,
        call: Call,
        named: &Named,
        held: &CertificateOrPending,
        devices: &[DeviceId],
        by: &Actor,
        deadline: Instant,
    ) -> Result<Begun, VenafiError> {
        let Some(device) = held.device() else { return self.deploy(call, named, devices, by, deadline).await };
        let request = Request { by, now: (self.clock)() };
        let job = rootcast_deploy::issue(&self.ledger, device, request).await;
        let job = job.map_err(|why| call.not_begun(named, why))?;
        info!(caller = by.principal, job.id = %job.id, certificate.id = %named.id, call = call.name, "issuance begun");
        self.wake(job.id, "created").await;
        Ok(Begun { jobs: vec![job.id], devices: vec![device.clone()] })
    }

    pub(crate) async fn wake(&self, job: JobId, why: &str) {
        self.queue.wake_conductor(&self.control_queue, job, why).await;
    }
}

const LATE: &str = "The time of the request was over before its turn: send it again for this one.";
