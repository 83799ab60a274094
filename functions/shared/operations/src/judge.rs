//! Whether a device can take a certificate.

use rootcast_core::deployment::lifecycle::Work;
use rootcast_core::device::Profile;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::JobId;
use rootcast_ledger::{DeviceRecord, MOST_BINDINGS_OF_DEVICE, NewUse, UseRecord};
use thiserror::Error;

/// Why a device does not get a certificate, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DeviceRefusal {
    #[error("There is no such device: GET /devices lists the devices.")]
    NoDevice,
    #[error(
        "The device is not approved: somebody with the permission approve-device approves it first (`rootcast device approve`)."
    )]
    NotApproved,
    #[error(
        "A device of profile {0} takes no private key, only certificates for keys of its own; devices of the profiles dmtf and openbmc take one."
    )]
    NoPrivateKey(Profile),
    #[error("A device of profile {0} has no web server whose certificate could be replaced.")]
    NoWebServer(Profile),
    #[error(
        "The device has {MOST_BINDINGS_OF_DEVICE} certificates already, the most that one can have: dissociate one from it first."
    )]
    Full,
    #[error("Job {job} is bringing {certificate} to the device: send this again when it has ended.")]
    UnderWay { job: JobId, certificate: CertificateId },
}

/// `uses`: those of the device, possibly with those of others.
pub(crate) fn judge(
    device: Option<DeviceRecord>,
    certificate: CertificateId,
    work: Work,
    uses: &[UseRecord],
) -> Result<NewUse, DeviceRefusal> {
    let device = device.ok_or(DeviceRefusal::NoDevice)?;
    if device.approved_version().is_none() {
        return Err(DeviceRefusal::NotApproved);
    }
    if !device.profile.has_web_server() && work == Work::Issue {
        return Err(DeviceRefusal::NoWebServer(device.profile));
    }
    if !device.profile.takes_private_key() && work == Work::Install {
        return Err(DeviceRefusal::NoPrivateKey(device.profile));
    }
    at_rest(&device, uses)?;
    let earlier = uses.iter().find(|other| other.device == device.id && other.certificate == certificate).cloned();
    if earlier.is_none() && device.bindings.len() >= MOST_BINDINGS_OF_DEVICE {
        return Err(DeviceRefusal::Full);
    }
    Ok(NewUse { device, earlier, request: None })
}

/// Refuses a device that a job is working on. `uses`: those of the device, possibly with those of others.
pub(crate) fn at_rest(device: &DeviceRecord, uses: &[UseRecord]) -> Result<(), DeviceRefusal> {
    let under_way = uses.iter().find(|other| other.device == device.id && other.is_under_way());
    match under_way.and_then(|other| Some((other, other.job?))) {
        Some((other, job)) => Err(DeviceRefusal::UnderWay { job, certificate: other.certificate }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_core::deployment::lifecycle::{Lifecycle, Stage};
    use rootcast_core::device::{Driver, Pin};
    use time::OffsetDateTime;

    use super::*;

    const CERTIFICATE: &str = "scs1600313391074";

    fn device(profile: Profile) -> DeviceRecord {
        let pin: Pin = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let (address, credential) = ("https://10.0.0.7".parse().unwrap(), "/rootcast/devices/bmc-1".to_owned());
        let mut device = DeviceRecord::new(
            "bmc-1".parse().unwrap(),
            rootcast_core::device::Incarnation::from_random([1; 16]),
            address,
            Driver::Redfish,
            profile,
            credential,
        );
        device.pins = vec![pin];
        device
    }

    fn binding(certificate: &str, stage: Option<Stage>, in_error: bool) -> UseRecord {
        let lifecycle = Lifecycle { stage, in_error, ..Lifecycle::idle(Work::Install, "It failed.") };
        let (certificate, device) = (certificate.parse().unwrap(), "bmc-1".parse().unwrap());
        let bound = UseRecord::new(certificate, device, lifecycle, OffsetDateTime::UNIX_EPOCH);
        UseRecord { job: Some(JobId(12)), ..bound }
    }

    fn judged(
        device: Option<DeviceRecord>,
        work: Work,
        uses: &[UseRecord],
    ) -> Result<Option<UseRecord>, DeviceRefusal> {
        Ok(judge(device, CERTIFICATE.parse().unwrap(), work, uses)?.earlier)
    }

    #[test]
    fn an_unsuitable_device_is_refused_with_the_reason() {
        for work in [Work::Install, Work::Issue] {
            assert_eq!(judged(None, work, &[]), Err(DeviceRefusal::NoDevice));
            let stranger = DeviceRecord { pins: Vec::new(), ..device(Profile::Dmtf) };
            assert_eq!(judged(Some(stranger), work, &[]), Err(DeviceRefusal::NotApproved));
            let under_way = binding("scs0000000000001", Some(Stage::InstallCertificate), false);
            let refused = judged(Some(device(Profile::Dmtf)), work, &[under_way]).unwrap_err();
            assert!(refused.to_string().contains("Job 12 is bringing scs0000000000001"), "{refused}");
        }
        for profile in [Profile::LenovoXcc, Profile::Vmedia] {
            assert_eq!(judged(Some(device(profile)), Work::Install, &[]), Err(DeviceRefusal::NoPrivateKey(profile)));
        }
        let refused = judged(Some(device(Profile::Vmedia)), Work::Issue, &[]);
        assert_eq!(refused, Err(DeviceRefusal::NoWebServer(Profile::Vmedia)));
        assert_eq!(judged(Some(device(Profile::LenovoXcc)), Work::Issue, &[]), Ok(None));
    }

    #[test]
    fn a_device_with_the_most_certificates_takes_no_other_one() {
        let bindings = (0..MOST_BINDINGS_OF_DEVICE).map(|number| format!("scs{:013}", number + 10).parse().unwrap());
        let full = DeviceRecord { bindings: bindings.collect(), ..device(Profile::Openbmc) };
        for work in [Work::Install, Work::Issue] {
            assert_eq!(judged(Some(full.clone()), work, &[]), Err(DeviceRefusal::Full));
        }
        // A certificate that the device already has may be installed again.
        let again = binding(CERTIFICATE, None, false);
        assert!(judged(Some(full.clone()), Work::Install, &[again]).is_ok());
        let almost = DeviceRecord { bindings: full.bindings[1..].to_vec(), ..full };
        assert!(judged(Some(almost), Work::Install, &[]).is_ok());
    }

    #[test]
    fn an_earlier_use_of_the_same_certificate_is_replaced() {
        let other = binding("scs0000000000001", None, false);
        let judged = |uses: &[UseRecord]| judged(Some(device(Profile::Openbmc)), Work::Install, uses);
        assert_eq!(judged(std::slice::from_ref(&other)), Ok(None));
        let failed = binding(CERTIFICATE, Some(Stage::CheckConfiguration), true);
        assert_eq!(judged(&[other, failed.clone()]), Ok(Some(failed)));
    }
}
