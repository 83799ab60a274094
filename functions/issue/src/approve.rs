//! Determines the contents of a device's certificate. Pure.

use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_ledger::{DeviceRecord, Reserved};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::crl::CrlShard;
use rootcast_pki::root::{IssueError, LeafSpec, Serial, prepare_server_leaf};
use rootcast_pki::subject::DeviceSubject;
use time::{Duration, OffsetDateTime};

/// Some devices' clocks are slow: a certificate valid from now would not be valid yet for them.
const BACKDATED: Duration = Duration::hours(1);

/// Shortest validity that is worth an installation.
const SHORTEST: Duration = Duration::DAY;

/// Whether an earlier reservation may still be signed: by the currently signing root, and with enough validity left.
pub(crate) fn is_usable(reserved: &Reserved, signing: u32, now: OffsetDateTime) -> bool {
    reserved.generation == signing && reserved.spec.not_after >= now + SHORTEST
}

/// Only an approved identity gets a certificate.
pub(crate) fn is_approved(device: &DeviceRecord) -> Result<(), Failure> {
    let message = "The device's identity was changed and is not approved: nothing is signed for it.";
    let refused = || Failure::new(ErrorClass::Unapproved, message).at(Stage::ApproveRequest);
    device.approved_version().map(|_| ()).ok_or_else(refused)
}

/// The subject from the device's record, never from its CSR.
pub(crate) fn subject(device: &DeviceRecord) -> Result<DeviceSubject, Failure> {
    if let Some(subject) = &device.subject {
        return Ok(subject.clone());
    }
    DeviceSubject::of_host(device.address.host()).map_err(|why| {
        let message =
            format!("The device's record names no subject, and its address {} is none: {why}.", device.address);
        Failure::new(ErrorClass::Subject, message).at(Stage::ApproveRequest)
    })
}

/// `validity`: limited by the root's.
pub(crate) fn spec(
    subject: DeviceSubject,
    serial: Serial,
    (generation, issuer): (u32, &Certificate),
    crl_base: &str,
    validity: Duration,
    now: OffsetDateTime,
) -> Result<LeafSpec, Failure> {
    let now = now.replace_nanosecond(0).unwrap_or(now);
    let not_after = issuer.not_after().min(now + validity);
    if not_after < now + SHORTEST {
        let message = format!("Root generation {generation} ends at {}: too soon to sign with it.", issuer.not_after());
        return Err(Failure::new(ErrorClass::Authority, message).at(Stage::ApproveRequest));
    }
    Ok(LeafSpec {
        subject,
        serial,
        not_before: issuer.not_before().max(now - BACKDATED),
        not_after,
        crl: Some(CrlShard::of(generation, &serial).url(crl_base)),
    })
}

/// Whether a certificate can be made from the spec.
pub(crate) fn check(spec: &LeafSpec, spki_der: &[u8], issuer: &Certificate) -> Result<(), Failure> {
    prepare_server_leaf(spec, spki_der, issuer).map(|_| ()).map_err(|error| {
        let class = match error {
            IssueError::Name(_) | IssueError::Subject(_) => ErrorClass::Subject,
            _ => ErrorClass::Authority,
        };
        Failure::new(class, format!("The certificate cannot be made: {error}.")).at(Stage::ApproveRequest)
    })
}

#[cfg(test)]
#[path = "approve_tests.rs"]
mod tests;
