//! Issues a device's own certificate and installs it there, with a new job.

use rootcast_core::audit::Actor;
use rootcast_core::deployment::Deployment;
use rootcast_core::deployment::lifecycle::Work;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::CertificateDn;
use rootcast_core::inventory::id::CertificateId;
use rootcast_ledger::{CertificateOrPending, Ledger, NewUse, PendingCertificate};
use time::OffsetDateTime;

use crate::attempts::{attempts, attempts_until};
use crate::judge::judge;
use crate::{NotBegun, NotDone, Operations, Request};

impl Operations<'_> {
    /// Creates a job that issues and installs a device's own certificate, be it the first one or a successor.
    pub async fn issue(&self, device: &DeviceId, by: &Actor) -> Result<Deployment, NotDone<NotBegun>> {
        self.begin(device, None, by).await
    }

    /// As [`Self::issue`], for a request that was brought from the device, in PEM and verified: of a device that cannot be
    /// reached. Its certificate is signed, and waits to be installed.
    pub async fn sign(&self, device: &DeviceId, pem: &str, by: &Actor) -> Result<Deployment, NotDone<NotBegun>> {
        self.begin(device, Some(pem), by).await
    }

    async fn begin(&self, device: &DeviceId, pem: Option<&str>, by: &Actor) -> Result<Deployment, NotDone<NotBegun>> {
        let request = self.request(by);
        let job = attempts_until(self.deadline, |_| false, || record(self.ledger, device, pem, request)).await?;
        self.wake(job.id, "created").await;
        Ok(job)
    }

    /// Whether [`Self::issue`] would begin a job now. Nothing is written.
    pub async fn would_issue(&self, device: &DeviceId) -> Result<(), NotDone<NotBegun>> {
        let nobody = Actor::function("dry-run");
        plan(self.ledger, device, self.request(&nobody)).await.map(|_| ())
    }
}

/// Writes the records only. The conductor is not woken: it starts when its schedule finds the job.
pub async fn issue(ledger: &Ledger, device: &DeviceId, request: Request<'_>) -> Result<Deployment, NotDone<NotBegun>> {
    attempts(|| record(ledger, device, None, request)).await
}

async fn record(
    ledger: &Ledger,
    id: &DeviceId,
    pem: Option<&str>,
    request: Request<'_>,
) -> Result<Deployment, NotDone<NotBegun>> {
    let (certificate, place, new) = plan(ledger, id, request).await?;
    let new = NewUse { request: pem.map(str::to_owned), ..new };
    let Request { by, now } = request;
    let job = ledger.next_job_id().await?;
    let job = Deployment::new(job, certificate, Work::Issue, [id.clone()].into(), by.principal.clone(), now);
    ledger.deploy(&job, &[new], place.as_ref(), by).await?;
    Ok(job)
}

/// Reads and decides: the certificate, its place if it has none yet, and its use by the device.
async fn plan(
    ledger: &Ledger,
    id: &DeviceId,
    Request { by, now }: Request<'_>,
) -> Result<(CertificateId, Option<PendingCertificate>, NewUse), NotDone<NotBegun>> {
    let dn = CertificateDn::of_device(id);
    let (certificate, place) = match ledger.certificate_by_dn(&dn).await? {
        None => {
            let certificate = random_id()?;
            (certificate, Some(new_place(certificate, &dn, id, &by.principal, now)))
        }
        Some(certificate) => {
            let held = ledger.certificate_or_pending(certificate).await?;
            if held.as_ref().and_then(CertificateOrPending::device) != Some(id) {
                return Err(NotBegun::NameTaken(certificate).into());
            }
            (certificate, None)
        }
    };
    let device = ledger.device(id).await?;
    let uses = ledger.uses_to_take_over(device.as_ref()).await?;
    let new = judge(device, certificate, Work::Issue, &uses).map_err(NotBegun::Device)?;
    Ok((certificate, place, new))
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
