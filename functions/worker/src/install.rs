//! Installs a deployment's certificate on a device.

use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::device::Driver;
use rootcast_core::job::task::{ErrorClass, Failure, Outcome};
use rootcast_drivers::{Ended, Identity, Installation, Installed, Progress};
use rootcast_ledger::{LedgerError, Proven, UseRecord};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::App;
use crate::attempt::{AfterVisit, Attempt, Visit, endpoint};
use crate::goals::{Goal, stage};

/// Why an installation was not completed.
enum Unfinished {
    Failed(Failure),
    /// The new pin could not be recorded, so nothing was sent.
    Unrecorded(LedgerError),
}

impl From<Failure> for Unfinished {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl App {
    pub(crate) async fn install(
        &self,
        attempt: &mut Attempt,
        binding: &UseRecord,
        identity: &Identity,
        earlier: Option<&Ended>,
        deadline: Instant,
    ) -> Visit {
        match self.give(attempt, identity, stage(binding), earlier, deadline).await {
            Ok(Progress::Done(Installed { shown, changed })) => {
                info!(job.id = attempt.delivery.body.job.0, device.id = %attempt.delivery.body.device, certificate.sha256 = %shown, changed, "the device shows the certificate");
                let alone = attempt.device.as_ref().is_some_and(|device| identity.is_served_alone(device.profile));
                Visit::Ended(AfterVisit::Settle(Outcome::Deployed { leaf: shown, alone }))
            }
            Ok(Progress::Running { monitor, after }) => Visit::Running { monitor, after },
            Err(Unfinished::Failed(failure)) => Visit::Failed(failure),
            Err(Unfinished::Unrecorded(error)) => {
                warn!(device.id = %attempt.delivery.body.device, error = &error as &dyn std::error::Error, "the new certificate's key could not be recorded as a pin, so nothing was sent");
                Visit::Ended(AfterVisit::Soon)
            }
        }
    }

    /// Verifies the device's identity, records the new key as a pin, and then installs the certificate.
    async fn give(
        &self,
        attempt: &mut Attempt,
        identity: &Identity,
        stage: Stage,
        earlier: Option<&Ended>,
        deadline: Instant,
    ) -> Result<Progress<Installed>, Unfinished> {
        let Attempt { device, credential, owner, .. } = attempt;
        let missing = || Failure::new(ErrorClass::Credential, "The device's credential was not read.");
        let (Some(device), Some(credential)) = (device, credential) else { return Err(missing().into()) };
        let (endpoint, slot) = (endpoint(device), device.slot.clone());
        let installation = Installation {
            endpoint: &endpoint,
            profile: device.profile,
            slot: slot.as_ref(),
            credential,
            identity,
            stage,
            earlier,
            deadline,
        };
        let reached = match device.driver {
            Driver::Redfish => self.within(deadline, self.redfish.reach(installation)).await?,
        };
        if !device.pins.iter().any(|pin| identity.is_let_in_by(pin)) {
            let pins: Vec<_> = device.pins.iter().copied().chain([identity.pin()]).collect();
            *device = self.ledger.pin(device, owner, &pins).await.map_err(Unfinished::Unrecorded)?;
        }
        Ok(self.within(deadline, reached.install(&device.pins)).await?)
    }
}

impl Attempt {
    /// What a device that shows its new certificate keeps: of its pins, only those that match the certificate.
    pub(crate) fn proven(&self) -> Option<Proven> {
        let (Goal::Install { identity: Ok(identity), .. }, Some(AfterVisit::Settle(Outcome::Deployed { .. }))) =
            (&self.goal, &self.next)
        else {
            return None;
        };
        let device = self.device.clone()?;
        let pins = device.pins.iter().copied().filter(|pin| identity.is_let_in_by(pin)).collect();
        Some(Proven { device, owner: self.owner.clone(), pins })
    }
}
