//! Brings a device's trust store to a rollover's bundle.

use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::device::Driver;
use rootcast_core::job::task::{Ack, ErrorClass, Failure, Outcome, Probe};
use rootcast_drivers::{Assignment, Converged, Ended, Progress, TrustGoal};
use rootcast_ledger::DeviceRecord;
use rootcast_pki::bundle::{Bundle, content_hash};
use rootcast_pki::certificate::Certificate;
use tokio::time::Instant;
use tracing::info;

use crate::App;
use crate::attempt::{AfterVisit, Attempt, Visit, endpoint};

impl App {
    pub(crate) async fn trust(
        &self,
        attempt: &Attempt,
        bundle: &Bundle,
        earlier: Option<&Ended>,
        deadline: Instant,
    ) -> Visit {
        match self.converge(attempt, bundle, earlier, deadline).await {
            Ok(Progress::Done(converged)) => self.prove(attempt, bundle, &converged, earlier.is_some()),
            Ok(Progress::Running { monitor, after }) => Visit::Running { monitor, after },
            Err(failure) => {
                let read_back = failure.class == ErrorClass::NotStored;
                let stage = if read_back { Stage::EndTrustStoreProcessing } else { Stage::UpdateTrustStore };
                Visit::Failed(failure.at(stage))
            }
        }
    }

    async fn converge(
        &self,
        attempt: &Attempt,
        bundle: &Bundle,
        earlier: Option<&Ended>,
        deadline: Instant,
    ) -> Result<Progress, Failure> {
        let missing = || Failure::new(ErrorClass::Credential, "The device's credential was not read.");
        let (Some(device), Some(credential)) = (&attempt.device, &attempt.credential) else { return Err(missing()) };
        let endpoint = endpoint(device);
        let goal = TrustGoal {
            install: bundle.needed((self.clock)()).map(|anchor| anchor.der().to_vec()).collect(),
            remove: bundle.withdrawn.clone(),
        };
        let assignment = Assignment {
            endpoint: &endpoint,
            profile: device.profile,
            slot: device.slot.as_ref(),
            credential,
            goal: &goal,
            earlier,
            deadline,
        };
        let converged = match device.driver {
            Driver::Redfish => self.redfish.converge(&assignment),
        };
        self.within(deadline, converged).await
    }

    /// The ack consists only of what was read back; an anchor that has expired counts as held. `earlier`: an earlier visit of
    /// this attempt wrote something.
    fn prove(&self, attempt: &Attempt, bundle: &Bundle, converged: &Converged, earlier: bool) -> Visit {
        let held = &converged.held.anchors;
        let needed: Vec<_> = bundle.needed((self.clock)()).map(Certificate::fingerprint).collect();
        let wanted = bundle.anchors.iter().map(Certificate::fingerprint);
        let sha256 = content_hash(wanted.filter(|anchor| held.contains(anchor) || !needed.contains(anchor)));
        let withdrawn = bundle.withdrawn.iter().any(|gone| held.contains(gone));
        if sha256 != bundle.sha256() || withdrawn {
            let message = "The trust store that was read back differs from the bundle.";
            let failure = Failure::new(ErrorClass::NotStored, message).at(Stage::EndTrustStoreProcessing);
            return Visit::Failed(Failure { wrote: converged.changed, ..failure });
        }
        info!(job.id = attempt.delivery.body.job.0, device.id = %attempt.delivery.body.device, bundle.version = bundle.version, "the device proved what it holds");
        let Some(device) = &attempt.device else { return Visit::Ended(AfterVisit::Again { seconds: crate::SOON }) };
        let written = converged.changed || earlier || attempt.wrote_before();
        let probe = if has_proven(device, bundle) && written { Probe::Restored } else { Probe::ReadBack };
        Visit::Ended(AfterVisit::Settle(Outcome::Acked(Ack {
            of: device.version(),
            at: (self.clock)(),
            bundle_version: bundle.version,
            sha256,
            probe,
        })))
    }
}

/// Whether the device, as it is now, proved before that it holds this bundle.
pub(crate) fn has_proven(device: &DeviceRecord, bundle: &Bundle) -> bool {
    let proves = |ack: &Ack| ack.of == device.version() && ack.bundle_version == bundle.version;
    device.held.as_ref().and_then(|held| held.ack.as_ref()).is_some_and(proves)
}
