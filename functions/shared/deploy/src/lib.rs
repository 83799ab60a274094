//! Deployments, begun: which devices can be given a certificate, and the records of the job that brings it there. And
//! associations: which devices are to have a certificate without a job that brings it.
//!
//! Nothing here speaks to a device, and nothing is sent: who begins a deployment wakes the conductor.

mod associate;
mod judge;

use std::time::Duration;

use rootcast_core::audit::Actor;
use rootcast_core::deployment::Deployment;
use rootcast_core::deployment::lifecycle::Work;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::CertificateDn;
use rootcast_core::inventory::id::CertificateId;
use rootcast_ledger::{CertificateOrPending, Ledger, LedgerError, NewUse, PendingCertificate};
use thiserror::Error;
use time::{Date, OffsetDateTime};

pub use self::associate::{associate, dissociate};
pub use self::judge::Refusal;
use self::judge::judge;

/// Devices and certificates change: whoever loses a race looks again, so often.
const ATTEMPTS: u32 = 8;
/// The first pause after that; it doubles. 1.3 s in all.
const PAUSE: Duration = Duration::from_millis(10);

/// What came of a request.
#[derive(Debug)]
pub struct Begun {
    /// `None` where no device can be given the certificate.
    pub job: Option<Deployment>,
    pub refused: Vec<(DeviceId, Refusal)>,
}

/// Why nothing was begun.
#[derive(Debug, Error)]
pub enum NotBegun {
    #[error("There is no such certificate.")]
    NoCertificate,
    #[error("The certificate expired on {0}.")]
    Expired(Date),
    #[error("It is the own certificate of the device {0}, whose private key never left it: renew it there.")]
    Own(DeviceId),
    #[error("{0} has the name that the device's own certificate would have: delete it, or give it another name.")]
    NameTaken(CertificateId),
    #[error(transparent)]
    Refused(Refusal),
    #[error("The devices are changing all the time: send the request again in a moment.")]
    Busy,
    #[error("there are no random numbers: {0}")]
    NoRandom(getrandom::Error),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// All that is to be written at once.
struct Prepared {
    job: Deployment,
    uses: Vec<NewUse>,
    place: Option<PendingCertificate>,
}

/// Who asks, and when.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub by: &'a Actor,
    pub now: OffsetDateTime,
}

/// Begins to bring a certificate to those of some devices that can be given it: 1 to
/// [`MOST_DEVICES`](rootcast_core::deployment::MOST_DEVICES), each named once.
///
/// Six calls where nobody interferes: certificate, devices, uses, the job's id, the certificate's audit chain, one
/// transaction.
pub async fn deploy(
    ledger: &Ledger,
    certificate: CertificateId,
    devices: &[DeviceId],
    request: Request<'_>,
) -> Result<Begun, NotBegun> {
    let mut pause = PAUSE;
    for _ in 0..ATTEMPTS {
        let (prepared, refused) = prepare(ledger, certificate, devices, request).await?;
        let Some(prepared) = prepared else { return Ok(Begun { job: None, refused }) };
        if write(ledger, &prepared, request.by).await? {
            return Ok(Begun { job: Some(prepared.job), refused });
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Err(NotBegun::Busy)
}

/// Begins to have a device's own certificate made and brought there, be it the first or one that follows another.
pub async fn issue(ledger: &Ledger, device: &DeviceId, request: Request<'_>) -> Result<Deployment, NotBegun> {
    let mut pause = PAUSE;
    for _ in 0..ATTEMPTS {
        let prepared = prepare_issue(ledger, device, request).await?;
        if write(ledger, &prepared, request.by).await? {
            return Ok(prepared.job);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Err(NotBegun::Busy)
}

async fn write(ledger: &Ledger, prepared: &Prepared, by: &Actor) -> Result<bool, LedgerError> {
    let Prepared { job, uses, place } = prepared;
    is_written(ledger.deploy(job, uses, place.as_ref(), by).await)
}

/// Whether all was as it was read.
fn is_written(written: Result<(), LedgerError>) -> Result<bool, LedgerError> {
    match written {
        Err(LedgerError::Conflict) => Ok(false),
        written => written.map(|()| true),
    }
}

async fn prepare(
    ledger: &Ledger,
    id: CertificateId,
    devices: &[DeviceId],
    Request { by, now }: Request<'_>,
) -> Result<(Option<Prepared>, Vec<(DeviceId, Refusal)>), NotBegun> {
    may_go_to_devices(ledger, id, now).await?;
    let mut found = ledger.devices_by_id(devices).await?;
    let uses = ledger.uses_of_devices(found.values()).await?;
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for device in devices {
        match judge(found.remove(device), id, Work::Install, &uses) {
            Ok(new) => taken.push(new),
            Err(why) => refused.push((device.clone(), why)),
        }
    }
    if taken.is_empty() {
        return Ok((None, refused));
    }
    let job = ledger.next_job_id().await?;
    let names = taken.iter().map(|new| new.device.id.clone()).collect();
    let job = Deployment::new(job, id, Work::Install, names, by.principal.clone(), now);
    Ok((Some(Prepared { job, uses: taken, place: None }), refused))
}

/// The certificate has a private key here, and lasts.
async fn may_go_to_devices(ledger: &Ledger, id: CertificateId, now: OffsetDateTime) -> Result<(), NotBegun> {
    let certificate = ledger.certificate(id).await?.ok_or(NotBegun::NoCertificate)?;
    match certificate.device {
        Some(device) => Err(NotBegun::Own(device)),
        None if certificate.not_after <= now => Err(NotBegun::Expired(certificate.not_after.date())),
        None => Ok(()),
    }
}

async fn prepare_issue(ledger: &Ledger, id: &DeviceId, Request { by, now }: Request<'_>) -> Result<Prepared, NotBegun> {
    let dn = CertificateDn::of_device(id);
    let (certificate, place) = match ledger.certificate_by_dn(&dn).await? {
        None => {
            let certificate = random_id()?;
            (certificate, Some(new_place(certificate, &dn, id, &by.principal, now)))
        }
        Some(certificate) => {
            let held = ledger.certificate_or_pending(certificate).await?;
            if held.as_ref().and_then(CertificateOrPending::device) != Some(id) {
                return Err(NotBegun::NameTaken(certificate));
            }
            (certificate, None)
        }
    };
    let device = ledger.device(id).await?;
    let uses = ledger.uses_of_devices(device.as_ref()).await?;
    let new = judge(device, certificate, Work::Issue, &uses).map_err(NotBegun::Refused)?;
    let job = ledger.next_job_id().await?;
    let devices = [id.clone()].into();
    let job = Deployment::new(job, certificate, Work::Issue, devices, by.principal.clone(), now);
    Ok(Prepared { job, uses: vec![new], place })
}

fn new_place(
    id: CertificateId,
    dn: &CertificateDn,
    device: &DeviceId,
    by: &str,
    now: OffsetDateTime,
) -> PendingCertificate {
    PendingCertificate {
        id,
        revision: 0,
        folder: dn.folder.to_string(),
        name: dn.name.to_string(),
        device: device.clone(),
        uses: 0,
        imported_by: by.to_owned(),
        created: now,
    }
}

fn random_id() -> Result<CertificateId, NotBegun> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(NotBegun::NoRandom)?;
    Ok(CertificateId::from_random(random))
}
