//! Brings a device's trust store to a rollover's bundle.

use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::device::Driver;
use rootcast_core::job::task::{Ack, ErrorClass, Failure, Outcome, Probe};
use rootcast_drivers::{Assignment, Converged, Ended, Progress, TrustGoal};
use rootcast_ledger::{BundleRecord, DeviceRecord};
use rootcast_pki::bundle::{Bundle, content_hash};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use tokio::time::Instant;
use tracing::info;

use crate::App;
use crate::attempt::{AfterVisit, Attempt, Visit, endpoint};

impl App {
    pub(crate) async fn trust(
        &self,
        attempt: &Attempt,
        record: &BundleRecord,
        earlier: Option<&Ended>,
        deadline: Instant,
    ) -> Visit {
        match self.converge(attempt, record, earlier, deadline).await {
            Ok(Progress::Done(converged)) => self.prove(attempt, record, &converged, earlier.is_some()),
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
        record: &BundleRecord,
        earlier: Option<&Ended>,
        deadline: Instant,
    ) -> Result<Progress, Failure> {
        let missing = || Failure::new(ErrorClass::Credential, "The device's credential was not read.");
        let (Some(device), Some(credential)) = (&attempt.device, &attempt.credential) else { return Err(missing()) };
        let endpoint = endpoint(device);
        let der = |anchor: &Certificate| anchor.der().to_vec();
        let goal = TrustGoal {
            install: record.required((self.clock)()).map(der).collect(),
            optional: record.optional((self.clock)()).map(der).collect(),
            remove: record.bundle.withdrawn.clone(),
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

    /// The ack consists only of what was read back; an anchor that has expired is not needed. `earlier`: an earlier visit of this attempt wrote something.
    fn prove(&self, attempt: &Attempt, record: &BundleRecord, converged: &Converged, earlier: bool) -> Visit {
        let (bundle, held) = (&record.bundle, &converged.held.anchors);
        let is_held = |anchor: &Fingerprint| held.contains(anchor);
        let sha256 = content_hash(bundle.anchors.iter().map(Certificate::fingerprint).filter(is_held));
        let is_missing = !record.required((self.clock)()).map(Certificate::fingerprint).all(|anchor| is_held(&anchor));
        if is_missing || bundle.withdrawn.iter().any(is_held) {
            let message = "The trust store that was read back differs from the bundle.";
            let failure = Failure::new(ErrorClass::NotStored, message).at(Stage::EndTrustStoreProcessing);
            return Visit::Failed(Failure { wrote: converged.changed, ..failure });
        }
        info!(job.id = attempt.delivery.body.job.0, device.id = %attempt.delivery.body.device, bundle.version = bundle.version, "the device proved what it holds");
        let Some(device) = &attempt.device else {
            return Visit::Ended(AfterVisit::Again { seconds: crate::shift::SOON });
        };
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
