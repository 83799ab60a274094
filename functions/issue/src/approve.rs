//! Determines the contents of a device's certificate. Pure.

use rootcast_core::access::issuance::{IssuancePolicy, Wanted};
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::device::address::DeviceAddress;
use rootcast_core::inventory::dn::CertificateDn;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_ledger::{DeviceRecord, Reserved};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::crl::CrlId;
use rootcast_pki::root::{IssueError, LeafSpec, Serial, prepare_server_leaf};
use rootcast_pki::signer::SignerId;
use rootcast_pki::subject::DeviceSubject;
use time::{Duration, OffsetDateTime};

use crate::signer::named;

/// Some devices' clocks are slow: a certificate valid from now would not be valid yet for them.
const BACKDATED: Duration = Duration::hours(1);

/// Shortest validity that is worth an installation.
const SHORTEST: Duration = Duration::DAY;

/// What decides what a device's certificate may say, as read just before it is signed.
pub(crate) struct Limits<'a> {
    pub(crate) device: &'a DeviceRecord,
    /// The device's address when it made its request.
    pub(crate) requested_at: &'a DeviceAddress,
    pub(crate) policy: &'a IssuancePolicy,
}

impl Limits<'_> {
    /// The longest life that the policy gives a certificate with this subject, if it limits it.
    fn permit(&self, subject: &DeviceSubject) -> Result<Option<Duration>, Failure> {
        let Self { device, requested_at, policy } = *self;
        let refused = |why: String| Failure::new(ErrorClass::NotPermitted, why).at(Stage::ApproveRequest);
        if device.approved_version().is_none() {
            let message = "The device's identity is not approved: nothing is signed for it.";
            return Err(Failure::new(ErrorClass::Unapproved, message).at(Stage::ApproveRequest));
        }
        let dn = CertificateDn::of_device(&device.id).to_string();
        let wanted = Wanted { dn: &dn, host: device.address.host(), subject };
        let longest = policy.check(wanted).map_err(|why| refused(format!("No certificate is issued: {why}.")))?;
        if device.address == *requested_at {
            return Ok(longest);
        }
        // The key belongs to whatever was at the other address.
        let message = format!(
            "The device made its request at {requested_at}, and its address is {} now: it has to make another one.",
            device.address
        );
        Err(Failure::new(ErrorClass::Rejected, message).at(Stage::CreateCsr))
    }

    /// Whether exactly this may be signed.
    pub(crate) fn check(&self, spec: &LeafSpec) -> Result<(), Failure> {
        match self.permit(&spec.subject)? {
            Some(longest) if spec.not_after - spec.not_before > longest => {
                let message = format!("The certificate would be valid for more than {} days.", longest.whole_days());
                Err(Failure::new(ErrorClass::NotPermitted, message).at(Stage::ApproveRequest))
            }
            _ => Ok(()),
        }
    }
}

/// Whether an earlier reservation may still be signed: by who signs now, and with enough validity left.
pub(crate) fn is_usable(reserved: &Reserved, signing: SignerId, now: OffsetDateTime) -> bool {
    reserved.signer == signing && reserved.spec.not_after >= now + SHORTEST
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

/// `validity`: limited by the signer's and by the policy's.
pub(crate) fn spec(
    limits: &Limits<'_>,
    serial: Serial,
    (signer, issuer): (SignerId, &Certificate),
    crl_base: &str,
    validity: Duration,
    now: OffsetDateTime,
) -> Result<LeafSpec, Failure> {
    let subject = subject(limits.device)?;
    let longest = limits.permit(&subject)?;
    let now = now.replace_nanosecond(0).unwrap_or(now);
    let not_before = issuer.not_before().max(now - BACKDATED);
    let permitted = longest.map_or(now + validity, |longest| (now + validity).min(not_before + longest));
    let not_after = issuer.not_after().min(permitted);
    if not_after < now + SHORTEST {
        let message = format!("{} ends at {}: too soon to sign with it.", named(signer), issuer.not_after());
        return Err(Failure::new(ErrorClass::Authority, message).at(Stage::ApproveRequest));
    }
    let spec = LeafSpec { subject, serial, not_before, not_after, crl: Some(CrlId::of(signer, &serial).url(crl_base)) };
    limits.check(&spec).map(|()| spec)
}

/// Whether a certificate can be made from the spec.
pub(crate) fn check(spec: &LeafSpec, spki_der: &[u8], issuer: &Certificate) -> Result<(), Failure> {
    prepare_server_leaf(spec, spki_der, issuer).map(|_| ()).map_err(|error| {
        let class = match error {
            IssueError::Name(_) | IssueError::Subject(_) => ErrorClass::Subject,
            IssueError::Constraints(_) => ErrorClass::NotPermitted,
            _ => ErrorClass::Authority,
        };
        Failure::new(class, format!("The certificate cannot be made: {error}.")).at(Stage::ApproveRequest)
    })
}

#[cfg(test)]
#[path = "approve_tests.rs"]
mod tests;
