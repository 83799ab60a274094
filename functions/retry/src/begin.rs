//! Begins jobs: a certificate is brought to devices, or a device's own certificate is issued.

use rootcast_core::audit::Actor;
use rootcast_core::device::DeviceId;
use rootcast_core::job::JobId;
use rootcast_dialects::venafi::VenafiError;
use rootcast_ledger::CertificateOrPending;
use rootcast_operations::Pushed;
use tokio::time::Instant;
use tracing::info;

use crate::App;
use crate::applications::refused;
use crate::named::{Call, Named};

/// The jobs that were begun, and their devices.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    pub(crate) jobs: Vec<JobId>,
    pub(crate) devices: Vec<DeviceId>,
}

impl App {
    /// Brings the certificate to the devices: see [`push`](rootcast_operations::Operations::push).
    ///
    /// # Errors
    /// If a device is refused, or the deadline passes. Jobs that were begun continue; the text names the other devices.
    pub(crate) async fn deploy(
        &self,
        call: Call,
        named: &Named,
        devices: &[DeviceId],
        by: &Actor,
        deadline: Instant,
    ) -> Result<Begun, VenafiError> {
        let Pushed { jobs, refused: failed, late, stopped } =
            self.operations().push(named.id, devices, by, deadline).await;
        let mut begun = Begun::default();
        for job in jobs {
            info!(caller = by.principal, job.id = %job.id, certificate.id = %named.id, call = call.name, "deployment begun");
            begun.jobs.push(job.id);
            begun.devices.extend(job.devices);
        }
        if let Some(why) = stopped {
            return Err(call.not_begun(named, why));
        }
        let failed = failed.into_iter().map(|(device, why)| (device, why.to_string()));
        let late = late.into_iter().map(|device| (device, LATE.to_owned()));
        let failed: Vec<(DeviceId, String)> = failed.chain(late).collect();
        if failed.is_empty() { Ok(begun) } else { Err(refused(&failed)) }
    }

    /// Begins the first stage: for a device's own certificate at that device, for any other certificate at `devices`.
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
        let job = self.operations().until(deadline).issue(device, by).await;
        let job = job.map_err(|why| call.not_begun(named, why))?;
        info!(caller = by.principal, job.id = %job.id, certificate.id = %named.id, call = call.name, "issuance begun");
        Ok(Begun { jobs: vec![job.id], devices: vec![device.clone()] })
    }
}

const LATE: &str = "The time of the request was over before its turn: send it again for this one.";
