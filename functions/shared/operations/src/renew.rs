//! Renews devices' own certificates by themselves, some in one job.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use rootcast_core::deployment::Deployment;
use rootcast_core::deployment::lifecycle::Work;
use rootcast_core::deployment::renewal::{MOST_RENEWED, PercentLeft, rule};
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::rollover::windows::{Schedule, Window};
use rootcast_ledger::{CertificateOrPending, CertificateRecord, DeviceRecord, LedgerError, Renewal, UseRecord};
use time::OffsetDateTime;
use tracing::{info, warn};

use crate::attempts::attempts_until;
use crate::judge::judge;
use crate::{NotDone, Operations};

/// What became of the certificates.
#[derive(Debug, Default)]
pub struct Renewing {
    /// `None`: nothing is renewed.
    pub job: Option<Deployment>,
    /// Those that are left to the next hour: as many as there may be have begun in this one.
    pub left: usize,
    /// Those whose devices show a certificate that ends soon.
    pub late: usize,
}

/// What is to be done about a certificate.
enum Verdict {
    Renew(Box<Renewal>),
    /// It is due then: its device is proven to show it, or may not be worked at before.
    Rest(OffsetDateTime),
    /// Its device cannot have it now.
    PutOff(String),
    /// It will never be due again, unless another is issued.
    Forget(&'static str),
}

impl Operations<'_> {
    /// Begins one job that renews those of the certificates that are due: not those that are revoked, or that their device
    /// does not show, or of a device that is not approved or that a job works on. One whose last renewal was signed and
    /// never installed is renewed once more. `an_hour`: most renewals that begin in an hour. `windows`: outside of its window
    /// a device's is left until that opens, unless what it shows ends soon.
    ///
    /// Six calls if all of 18 are due (certificates, devices, uses, hour, job's id, one transaction), one for each audit
    /// chain, and a message. One call for each certificate that is not renewed now.
    pub async fn renew(
        &self,
        certificates: &[CertificateId],
        percent: PercentLeft,
        an_hour: u32,
        windows: &[Window],
    ) -> Result<Renewing, NotDone<Infallible>> {
        let attempt = || self.renew_once(certificates, percent, an_hour, windows);
        let done = attempts_until(self.deadline, |_| false, attempt).await?;
        if let Some(job) = &done.job {
            self.wake(job.id, "created").await;
        }
        Ok(done)
    }

    async fn renew_once(
        &self,
        certificates: &[CertificateId],
        percent: PercentLeft,
        an_hour: u32,
        windows: &[Window],
    ) -> Result<Renewing, NotDone<Infallible>> {
        let (ledger, now) = (self.ledger, (self.clock)());
        let schedule = Schedule::new(windows, now);
        let held = ledger.certificates_or_pending(certificates.iter().copied().take(MOST_RENEWED)).await?;
        let due: Vec<CertificateRecord> = held.into_iter().filter_map(|held| due(held, now)).collect();
        if due.is_empty() {
            return Ok(Renewing::default());
        }
        let mut devices = ledger.devices_by_id(due.iter().filter_map(|record| record.device.as_ref())).await?;
        let uses = ledger.uses_to_take_over(devices.values()).await?;
        let (mut renewals, mut moved, mut late) = (Vec::new(), Vec::new(), 0);
        for certificate in due {
            let id = certificate.id;
            let binding =
                |each: &&UseRecord| each.certificate == id && certificate.device.as_ref() == Some(&each.device);
            let binding = uses.iter().find(binding);
            let is_late = binding.is_some_and(|binding| percent.is_late(certificate.shown_life(binding), now));
            let due = binding
                .filter(|binding| certificate.is_shown(binding))
                .map(|binding| percent.due(&binding.device, certificate.life()));
            let device = certificate.device.as_ref().and_then(|device| devices.get(device));
            let opens = device.and_then(|device| schedule.next(&device.labels)).filter(|_| !is_late);
            let verdict = match verdict(certificate.clone(), binding, &mut devices, &uses) {
                Verdict::Renew(_) if let Some(due) = due.filter(|due| *due > now).or(opens) => Verdict::Rest(due),
                other => other,
            };
            if is_late && !matches!(verdict, Verdict::Forget(_)) {
                warn!(certificate.id = %id, "what its device shows ends soon: its earlier renewals failed, or did not begin");
                late += 1;
            }
            match verdict {
                Verdict::Renew(renewal) => renewals.push(*renewal),
                Verdict::Rest(due) => moved.push((certificate, Some(due))),
                Verdict::PutOff(why) => {
                    info!(certificate.id = %id, "it is due and not renewed yet: {why}");
                    let again = certificate.life().again(now);
                    moved.push((certificate, Some(again)));
                }
                Verdict::Forget(why) => {
                    info!(certificate.id = %id, "it is not renewed by itself: {why}");
                    moved.push((certificate, None));
                }
            }
        }
        let wanted = renewals.len();
        let job = self.begin_renewals(&mut renewals, an_hour, now).await?;
        // Afterwards: another attempt counts the late ones among these again.
        for (certificate, to) in moved {
            ledger.put_off_renewal(&certificate, to).await?;
        }
        Ok(Renewing { job, left: wanted - renewals.len(), late })
    }

    /// Leaves those of the renewals for which this hour has room.
    async fn begin_renewals(
        &self,
        renewals: &mut Vec<Renewal>,
        an_hour: u32,
        now: OffsetDateTime,
    ) -> Result<Option<Deployment>, LedgerError> {
        if renewals.is_empty() {
            return Ok(None);
        }
        let (ledger, by) = (self.ledger, rule());
        let hour = ledger.hour_of_renewals().await?;
        renewals.truncate(hour.room(an_hour, now));
        if renewals.is_empty() {
            return Ok(None);
        }
        let own: BTreeMap<DeviceId, CertificateId> =
            renewals.iter().map(|renewal| (renewal.at.device.id.clone(), renewal.certificate.id)).collect();
        let job = Deployment::renewing(ledger.next_job_id().await?, own, by.principal.clone(), now);
        if let Some(job) = &job {
            ledger.renew(job, renewals, &hour.with(renewals.len(), now), &by).await?;
        }
        Ok(job)
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
    binding: Option<&UseRecord>,
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
    if binding.is_none() {
        return Verdict::Forget("its device has another one");
    }
    if device.certificate != Some(id) {
        return Verdict::PutOff("its device was not proven to show it".to_owned());
    }
    match judge(Some(device), id, Work::Issue, uses) {
        Ok(at) => Verdict::Renew(Box::new(Renewal { certificate, at })),
        Err(why) => Verdict::PutOff(why.to_string()),
    }
}
