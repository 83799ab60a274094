//! What a device's certificate is going to say. Pure.

use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::device::address::DeviceAddress;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_ledger::{DeviceRecord, Reserved};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::crl::CrlShard;
use rootcast_pki::root::{IssueError, LeafSpec, Serial, prepare_server_leaf};
use rootcast_pki::subject::DeviceSubject;
use time::{Duration, OffsetDateTime};

/// Devices' clocks run behind: a certificate that begins at once would not be valid yet for some.
const BACKDATED: Duration = Duration::hours(1);

/// A certificate that ends sooner is not worth its installation.
const SHORTEST: Duration = Duration::DAY;

/// Whether what was reserved before may still be signed, by the root that signs now.
pub(crate) fn is_usable(reserved: &Reserved, signing: u32, now: OffsetDateTime) -> bool {
    reserved.generation == signing && reserved.spec.not_after >= now + SHORTEST
}

/// What a device's record says of it; its request is not asked.
pub(crate) fn subject(device: &DeviceRecord) -> Result<DeviceSubject, Failure> {
    if let Some(subject) = &device.subject {
        return Ok(subject.clone());
    }
    let unfit = |why: String| {
        let message =
            format!("The device's record names no subject, and its address {} is none: {why}.", device.address);
        Failure::new(ErrorClass::Subject, message).at(Stage::ApproveRequest)
    };
    let address: DeviceAddress = device.address.parse().map_err(|error| unfit(format!("{error}")))?;
    DeviceSubject::of_host(address.host()).map_err(|error| unfit(error.to_string()))
}

/// `validity`: as long as the root lasts.
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

/// Whether a certificate can be made of it.
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
