//! Reads a device for a preflight.

use rootcast_core::device::Driver;
use rootcast_core::job::task::{ErrorClass, Failure, Outcome};
use rootcast_core::preflight::{Checked, Expected, OnRecord, Reading, judge};
use rootcast_drivers::Inspection;
use rootcast_ledger::{BundleRecord, DeviceRecord};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use tokio::time::Instant;
use tracing::info;

use crate::App;
use crate::attempt::{AfterVisit, Attempt, Visit, endpoint};
use crate::trust::has_proven;

impl App {
    pub(crate) async fn check(
        &self,
        attempt: &Attempt,
        bundle: Option<&BundleRecord>,
        expected: Expected,
        deadline: Instant,
    ) -> Visit {
        let missing = || Failure::new(ErrorClass::Credential, "The device's credential was not read.");
        let (Some(device), Some(credential)) = (&attempt.device, &attempt.credential) else {
            return Visit::Failed(missing());
        };
        let begun = Instant::now();
        let (endpoint, slot) = (endpoint(device), device.slot.as_ref());
        let known: Vec<_> =
            bundle.iter().flat_map(|record| &record.bundle.anchors).map(|anchor| anchor.der().to_vec()).collect();
        let wanted =
            Inspection { endpoint: &endpoint, profile: device.profile, slot, credential, known: &known, deadline };
        let read = match device.driver {
            Driver::Redfish => self.redfish.check(&wanted),
        };
        let read = match self.within(deadline, read).await {
            Ok(read) => read,
            Err(failure) => return Visit::Failed(failure),
        };
        let checked = Checked {
            millis: u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX),
            ..self.judged(&read, device, bundle, expected)
        };
        info!(
            job.id = attempt.delivery.body.job.0,
            device.id = %device.id,
            findings = checked.findings.len(),
            "the device was read"
        );
        Visit::Ended(AfterVisit::Settle(Outcome::Checked(checked)))
    }

    /// Looks at a device for a person.
    pub(crate) async fn probe(&self, attempt: &mut Attempt, deadline: Instant) -> AfterVisit {
        let missing = || Failure::new(ErrorClass::Credential, "The device's credential was not read.");
        let (Some(device), Some(credential)) = (&attempt.device, &attempt.credential) else {
            return self.after(attempt, missing());
        };
        let (endpoint, slot) = (endpoint(device), device.slot.as_ref());
        let wanted =
            Inspection { endpoint: &endpoint, profile: device.profile, slot, credential, known: &[], deadline };
        let found = match device.driver {
            Driver::Redfish => self.redfish.probe(&wanted),
        };
        match self.within(deadline, found).await {
            Ok(found) => {
                info!(device.id = %device.id, slots = found.slots.len(), "the device was probed");
                AfterVisit::Settle(Outcome::Probed(Box::new(found)))
            }
            Err(failure) => self.after(attempt, failure),
        }
    }

    fn judged(
        &self,
        read: &Reading,
        device: &DeviceRecord,
        record: Option<&BundleRecord>,
        expected: Expected,
    ) -> Checked {
        let anchors: Vec<Fingerprint> = record
            .into_iter()
            .flat_map(|record| record.required((self.clock)()))
            .map(Certificate::fingerprint)
            .collect();
        let bundle = record.map(|record| &record.bundle);
        let on_record = OnRecord {
            bundle: &anchors,
            withdrawn: bundle.map_or(&[], |bundle| &bundle.withdrawn),
            proven: bundle.is_some_and(|bundle| has_proven(device, bundle)),
        };
        Checked {
            findings: judge(read, on_record, expected, (self.clock)()),
            millis: 0,
            requests: read.requests,
            members: u32::try_from(read.members).unwrap_or(u32::MAX),
        }
    }
}
