//! Has a device make the key and CSR for its own certificate, for a deployment.

use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::device::Driver;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_drivers::{Ended, Endpoint, GenerateCsr, Progress};
use rootcast_ledger::{Issuance, LedgerError, UseRecord};
use rootcast_pki::request::SigningRequest;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::App;
use crate::attempt::{AfterVisit, Attempt, Visit, endpoint};

const REQUESTED: &str = "The device made a key and a request; the issuer will sign it.";

impl App {
    /// `read`: the use before the device was leased. It is read again, since another worker may have been faster: with
    /// a second CSR, the device would forget the key of the first.
    pub(crate) async fn request(
        &self,
        attempt: &mut Attempt,
        read: &UseRecord,
        earlier: Option<&Ended>,
        deadline: Instant,
    ) -> Visit {
        let task = &attempt.delivery.body;
        if !read.is_under_way() || read.job != Some(task.job) || read.lifecycle.attempt != task.attempt {
            return Visit::Ended(AfterVisit::Done);
        }
        let unchanged = match self.ledger.uses_by(read.certificate, [&read.device]).await {
            Ok(now) => now.first() == Some(read),
            Err(error) => return again(attempt, &error, "the device's use of its certificate could not be read"),
        };
        if !unchanged {
            return Visit::Ended(AfterVisit::Soon);
        }
        let request = match self.generate(attempt, earlier, deadline).await {
            Ok(Progress::Done(request)) => request,
            Ok(Progress::Running { monitor, after }) => return Visit::Running { monitor, after },
            Err(failure) => return Visit::Failed(failure),
        };
        let now = (self.clock)();
        let Ok(lifecycle) = read.lifecycle.advance(task.attempt, Stage::PostCsr, REQUESTED, now) else {
            return Visit::Ended(AfterVisit::Done);
        };
        let address = attempt.device.as_ref().map(|device| device.address.clone());
        let issuance = Some(Issuance { request, address, reserved: None });
        match self.ledger.save_use(&UseRecord { issuance, ..read.with(lifecycle, now) }).await {
            Ok(()) => {
                info!(job.id = task.job.0, device.id = %read.device, "the device made a request");
                // The next stage has its own tries.
                let own = attempt.task();
                attempt.tries.take_if(|tries| tries.task == own);
                Visit::Ended(AfterVisit::PassOn)
            }
            Err(error) => again(attempt, &error, "the device's request could not be recorded, and is made again"),
        }
    }

    /// Gets a CSR that the issuer would accept.
    async fn generate(
        &self,
        attempt: &Attempt,
        earlier: Option<&Ended>,
        deadline: Instant,
    ) -> Result<Progress<String>, Failure> {
        let (Some(device), Some(credential)) = (&attempt.device, &attempt.credential) else {
            return Err(Failure::new(ErrorClass::Credential, "The device's credential was not read."));
        };
        let endpoint = endpoint(device);
        let Endpoint { address, .. } = &endpoint;
        let wanted = GenerateCsr {
            endpoint: &endpoint,
            profile: device.profile,
            slot: device.slot.as_ref(),
            credential,
            key: device.key_algorithm.unwrap_or_default(),
            earlier,
            deadline,
        };
        let progress = match device.driver {
            Driver::Redfish => self.within(deadline, self.redfish.request(&wanted)).await?,
        };
        if let Progress::Done(text) = &progress {
            SigningRequest::parse(text).map_err(|why| {
                let message = format!("{address}: the device's request for a certificate is not taken: {why}.");
                Failure::new(ErrorClass::Rejected, message)
            })?;
        }
        Ok(progress)
    }
}

fn again(attempt: &Attempt, error: &LedgerError, what: &'static str) -> Visit {
    let device = &attempt.delivery.body.device;
    warn!(device.id = %device, error = error as &dyn std::error::Error, "{what}");
    Visit::Ended(AfterVisit::Soon)
}
