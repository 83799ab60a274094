//! A device's own certificate, as a deployment wants it.

use rootcast_core::device::Driver;
use rootcast_core::lifecycle::Stage;
use rootcast_core::task::{ErrorClass, Failure, Outcome};
use rootcast_drivers::{Identity, Installation, Installed, Progress};
use rootcast_ledger::{LedgerError, Proven, UseRecord};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::attempt::{Attempt, Next, endpoint};
use crate::goals::{Goal, stage};
use crate::{App, SOON};

/// Why an installation came to no end.
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
        tie: &UseRecord,
        identity: &Identity,
        deadline: Instant,
    ) -> Next {
        match self.give(attempt, identity, stage(tie), deadline).await {
            Ok(Progress::Done(Installed { shown, changed })) => {
                info!(job.id = attempt.delivery.body.job.0, device.id = %attempt.delivery.body.device, certificate.sha256 = %shown, changed, "the device shows the certificate");
                Next::Settle(Outcome::Deployed(shown))
            }
            Ok(Progress::Running { monitor, after }) => self.ask_again(attempt, &monitor, after).await,
            Err(Unfinished::Failed(failure)) => {
                let failure = failure.at(stage(tie));
                let next = self.after(&attempt.delivery, failure.clone());
                if let Next::Again { .. } = next {
                    self.remember(tie, &failure).await;
                }
                next
            }
            Err(Unfinished::Unrecorded(error)) => {
                warn!(device.id = %attempt.delivery.body.device, error = &error as &dyn std::error::Error, "the new certificate's key could not be recorded as a pin, so nothing was sent");
                Next::Again { seconds: SOON }
            }
        }
    }

    /// The next attempt goes on where this one came to, and where the device cannot be reached any more, fails there.
    async fn remember(&self, tie: &UseRecord, failure: &Failure) {
        let (attempt, now) = (tie.lifecycle.attempt, (self.clock)());
        let Some(Ok(lifecycle)) =
            failure.stage.map(|stage| tie.lifecycle.advance(attempt, stage, &failure.message, now))
        else {
            return;
        };
        if let Err(error) = self.ledger.save_use(&tie.with(lifecycle, now)).await {
            warn!(device.id = %tie.device, error = &error as &dyn std::error::Error, "how far the device came is not recorded");
        }
    }

    /// The device is recognised, then the new key is recorded as its pin, then it is given the certificate.
    async fn give(
        &self,
        attempt: &mut Attempt,
        identity: &Identity,
        stage: Stage,
        deadline: Instant,
    ) -> Result<Progress<Installed>, Unfinished> {
        let monitor = attempt.monitor();
        let Attempt { device, credential, owner, .. } = attempt;
        let missing = || Failure::new(ErrorClass::Credential, "The device's credential was not read.");
        let (Some(device), Some(credential)) = (device, credential) else { return Err(missing().into()) };
        let endpoint = endpoint(device)?;
        let installation = Installation {
            endpoint: &endpoint,
            profile: device.profile,
            credential,
            identity,
            stage,
            monitor: monitor.as_ref(),
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
    /// What goes with the outcome of a device that shows its new certificate: of its pins, only those that let that in.
    pub(crate) fn proven(&self) -> Option<Proven> {
        let (Goal::Install { identity: Ok(identity), .. }, Some(Next::Settle(Outcome::Deployed(_)))) =
            (&self.goal, &self.next)
        else {
            return None;
        };
        let device = self.device.clone()?;
        let pins = device.pins.iter().copied().filter(|pin| identity.is_let_in_by(pin)).collect();
        Some(Proven { device, owner: self.owner.clone(), pins })
    }
}
