//! Renews devices' own certificates by themselves, some in one job.

use std::collections::{BTreeMap, HashMap};

use rootcast_core::deployment::Deployment;
use rootcast_core::deployment::lifecycle::Work;
use rootcast_core::deployment::renewal::{MOST_RENEWED, rule};
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::id::CertificateId;
use rootcast_ledger::{CertificateOrPending, CertificateRecord, DeviceRecord, Renewal, UseRecord};
use time::OffsetDateTime;
use tracing::info;

use crate::attempts::attempts_until;
use crate::judge::judge;
use crate::{DeviceRefusal, NotDone, Operations};

/// Why renewals do not begin: too many have begun in this hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many renewals as there may be have begun in this hour")]
pub struct HourIsFull;

/// What became of the certificates.
#[derive(Debug, Default)]
pub struct Renewing {
    /// `None`: nothing was due.
    pub job: Option<Deployment>,
    /// The ends of those that are in the job.
    pub certificates: Vec<CertificateRecord>,
}

/// What is to be done about a certificate.
enum Verdict {
    Renew(Box<Renewal>),
    /// Somebody else did what there is to do, or a job works on the device: the next look decides.
    Leave,
    /// Its device cannot have it now.
    PutOff(String),
    /// It will never be due again, unless another is issued.
    Forget(&'static str),
}

impl Operations<'_> {
    /// Begins one job that renews those of the certificates that are due: not those that are revoked, or that their device
    /// does not show, or of a device that is not approved or that a job works on. `an_hour`: most renewals that begin in
    /// an hour.
    ///
    /// Six calls if all of 18 are due (certificates, devices, uses, hour, job's id, one transaction), one for each audit
    /// chain, and a message. One call for each certificate that cannot be renewed now.
    pub async fn renew(&self, certificates: &[CertificateId], an_hour: u32) -> Result<Renewing, NotDone<HourIsFull>> {
        let begun = attempts_until(self.deadline, |_| false, || self.renew_once(certificates, an_hour)).await?;
        if let Some(job) = &begun.job {
            self.wake(job.id, "created").await;
        }
        Ok(begun)
    }

    async fn renew_once(&self, certificates: &[CertificateId], an_hour: u32) -> Result<Renewing, NotDone<HourIsFull>> {
        let (ledger, now, by) = (self.ledger, (self.clock)(), rule());
        let held = ledger.certificates_or_pending(certificates.iter().copied().take(MOST_RENEWED)).await?;
        let due: Vec<CertificateRecord> = held.into_iter().filter_map(|held| due(held, now)).collect();
        if due.is_empty() {
            return Ok(Renewing::default());
        }
        let mut devices = ledger.devices_by_id(due.iter().filter_map(|record| record.device.as_ref())).await?;
        let uses = ledger.uses_of_devices(devices.values()).await?;
        let mut renewals = Vec::new();
        for certificate in due {
            let id = certificate.id;
            match verdict(certificate.clone(), &mut devices, &uses) {
                Verdict::Renew(renewal) => renewals.push(*renewal),
                Verdict::Leave => {}
                Verdict::PutOff(why) => {
                    info!(certificate.id = %id, "it is due and not renewed yet: {why}");
                    ledger.put_off_renewal(&certificate, Some(certificate.life().again(now))).await?;
                }
                Verdict::Forget(why) => {
                    info!(certificate.id = %id, "it is not renewed by itself: {why}");
                    ledger.put_off_renewal(&certificate, None).await?;
                }
            }
        }
        if renewals.is_empty() {
            return Ok(Renewing::default());
        }
        let hour = ledger.hour_of_renewals().await?;
        renewals.truncate(hour.room(an_hour, now));
        let own: BTreeMap<DeviceId, CertificateId> =
            renewals.iter().map(|renewal| (renewal.at.device.id.clone(), renewal.certificate.id)).collect();
        if own.is_empty() {
            return Err(NotDone::Refused(HourIsFull));
        }
        let job = ledger.next_job_id().await?;
        let job = Deployment::renewing(job, own, by.principal.clone(), now).ok_or(NotDone::Refused(HourIsFull))?;
        ledger.renew(&job, &renewals, &hour.with(renewals.len(), now), &by).await?;
        Ok(Renewing { job: Some(job), certificates: renewals.into_iter().map(|renewal| renewal.certificate).collect() })
    }
}

fn due(held: CertificateOrPending, now: OffsetDateTime) -> Option<CertificateRecord> {
    match held {
        CertificateOrPending::Certificate(record) if record.renew_at.is_some_and(|at| at <= now) => Some(*record),
        CertificateOrPending::Certificate(_) | CertificateOrPending::Pending(_) => None,
    }
}

/// Each device is taken once: it has one certificate of its own.
fn verdict(
    certificate: CertificateRecord,
    devices: &mut HashMap<DeviceId, DeviceRecord>,
    uses: &[UseRecord],
) -> Verdict {
    let id = certificate.id;
    let Some(device) = certificate.device.as_ref().and_then(|device| devices.remove(device)) else {
        return Verdict::Forget("it belongs to no device any more");
    };
    if certificate.revoked.is_some() {
        return Verdict::Forget("it is revoked");
    }
    if !uses.iter().any(|each| each.certificate == id && each.device == device.id) {
        return Verdict::Forget("its device has another one");
    }
    if device.certificate != Some(id) {
        return Verdict::PutOff("its device was not proven to show it".to_owned());
    }
    match judge(Some(device), id, Work::Issue, uses) {
        Ok(at) => Verdict::Renew(Box::new(Renewal { certificate, at })),
        Err(DeviceRefusal::UnderWay { .. }) => Verdict::Leave,
        Err(why) => Verdict::PutOff(why.to_string()),
    }
}
