//! Deploys a certificate to some devices with a new job.

use rootcast_core::audit::Actor;
use rootcast_core::deployment::Deployment;
use rootcast_core::deployment::lifecycle::Work;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::id::CertificateId;
use rootcast_ledger::{Ledger, NewUse};
use rootcast_pki::import::{LeafKey, Purposes};
use thiserror::Error;
use time::{Date, OffsetDateTime};

use crate::attempts::attempts_until;
use crate::judge::judge;
use crate::{DeviceRefusal, NotDone, Operations, Request};

/// The result of a request.
#[derive(Debug)]
pub struct Begun {
    /// `None`: no device can take the certificate.
    pub job: Option<Deployment>,
    pub refused: Vec<(DeviceId, DeviceRefusal)>,
}

/// What a request would begin.
#[derive(Debug)]
pub struct Planned {
    pub devices: Vec<DeviceId>,
    pub refused: Vec<(DeviceId, DeviceRefusal)>,
}

/// Why nothing was started.
#[derive(Debug, Error)]
pub enum NotBegun {
    #[error("There is no such certificate.")]
    NoCertificate,
    #[error("The certificate expired on {0}.")]
    Expired(Date),
    #[error(
        "The certificate is for TLS clients only, by its extKeyUsage (no serverAuth), its keyUsage or its chain's: a device's web server would show it, and clients would refuse the device. Have one issued for servers."
    )]
    NotForServers,
    #[error(
        "The certificate's key is {0}, which the TLS client here cannot verify: the device could not be reached any more. Have one issued for RSA, P-256, P-384, P-521 or Ed25519."
    )]
    KeyUnverifiable(LeafKey),
    #[error("It is the own certificate of the device {0}, whose private key never left it: renew it there.")]
    Own(DeviceId),
    #[error("{0} has the name that the device's own certificate would have: delete it, or give it another name.")]
    NameTaken(CertificateId),
    #[error(transparent)]
    Device(DeviceRefusal),
    #[error("there are no random numbers: {0}")]
    NoRandom(getrandom::Error),
}

impl From<NotBegun> for NotDone<NotBegun> {
    fn from(why: NotBegun) -> Self {
        Self::Refused(why)
    }
}

impl Operations<'_> {
    /// Creates a job that deploys a certificate to those of the devices that can take it. `devices`: 1 to
    /// [`MOST_DEPLOYED`](rootcast_core::deployment::MOST_DEPLOYED), each named once.
    ///
    /// Seven calls without a conflict: certificate, devices, uses, the job's id, the certificate's audit chain, one
    /// transaction, one message.
    pub async fn deploy(
        &self,
        certificate: CertificateId,
        devices: &[DeviceId],
        by: &Actor,
    ) -> Result<Begun, NotDone<NotBegun>> {
        let request = self.request(by);
        let attempt = || deploy(self.ledger, certificate, devices, request);
        let begun = attempts_until(self.deadline, |_| false, attempt).await?;
        if let Some(job) = &begun.job {
            self.wake(job.id, "created").await;
        }
        Ok(begun)
    }

    /// What [`Self::deploy`] would do now. Nothing is written.
    pub async fn would_deploy(
        &self,
        certificate: CertificateId,
        devices: &[DeviceId],
    ) -> Result<Planned, NotDone<NotBegun>> {
        let (taken, refused) = plan(self.ledger, certificate, devices, (self.clock)()).await?;
        Ok(Planned { devices: taken.into_iter().map(|new| new.device.id).collect(), refused })
    }
}

async fn deploy(
    ledger: &Ledger,
    certificate: CertificateId,
    devices: &[DeviceId],
    Request { by, now }: Request<'_>,
) -> Result<Begun, NotDone<NotBegun>> {
    let (taken, refused) = plan(ledger, certificate, devices, now).await?;
    if taken.is_empty() {
        return Ok(Begun { job: None, refused });
    }
    let names = taken.iter().map(|new| new.device.id.clone()).collect();
    let job = ledger.next_job_id().await?;
    let job = Deployment::new(job, certificate, Work::Install, names, by.principal.clone(), now);
    ledger.deploy(&job, &taken, None, by).await?;
    Ok(Begun { job: Some(job), refused })
}

/// Reads and decides: the uses to begin, and the devices that cannot take the certificate.
async fn plan(
    ledger: &Ledger,
    certificate: CertificateId,
    devices: &[DeviceId],
    now: OffsetDateTime,
) -> Result<(Vec<NewUse>, Vec<(DeviceId, DeviceRefusal)>), NotDone<NotBegun>> {
    may_go_to_devices(ledger, certificate, now).await?;
    let mut found = ledger.devices_by_id(devices).await?;
    let uses = ledger.uses_to_take_over(found.values()).await?;
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for device in devices {
        match judge(found.remove(device), certificate, Work::Install, &uses) {
            Ok(new) => taken.push(new),
            Err(why) => refused.push((device.clone(), why)),
        }
    }
    Ok((taken, refused))
}

/// Refuses a certificate that has expired, that no web server can use or our own TLS client would refuse, or that is a
/// device's own: its private key is not stored here.
pub(crate) async fn may_go_to_devices(
    ledger: &Ledger,
    id: CertificateId,
    now: OffsetDateTime,
) -> Result<(), NotDone<NotBegun>> {
    let certificate = ledger.certificate(id).await?.ok_or(NotBegun::NoCertificate)?;
    let unverifiable = LeafKey::of(&certificate.leaf).filter(|key| key.is_post_quantum());
    match certificate.device {
        Some(device) => Err(NotBegun::Own(device).into()),
        None if certificate.not_after <= now => Err(NotBegun::Expired(certificate.not_after.date()).into()),
        None if !Purposes::of(&certificate.leaf, &certificate.chain).server => Err(NotBegun::NotForServers.into()),
        None => unverifiable.map_or(Ok(()), |key| Err(NotBegun::KeyUnverifiable(key).into())),
    }
}
