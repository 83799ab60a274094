//! A rollover's pass over devices' own certificates: what an older root signed is replaced, by the stages of every renewal.

use std::collections::{BTreeSet, HashMap};

use futures::stream::{self, StreamExt};
use rootcast_core::device::DeviceId;
use rootcast_core::job::message::Task;
use rootcast_core::job::task::Outcome;
use rootcast_core::job::{Job, Pass};
use rootcast_core::rollover::reissue::Own;
use rootcast_ledger::{CertificateRecord, IssuingRecord, LedgerError, Settlement, UseRecord};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::crl::Reason;
use tracing::info;

use crate::{App, ConductError};

/// Uses that are written at the same time.
const AT_ONCE: usize = 8;

impl App {
    /// Of those of these devices that have a certificate of their own.
    pub(crate) async fn owned(&self, job: &Job, devices: &[&DeviceId]) -> Result<HashMap<DeviceId, Own>, ConductError> {
        let records = self.ledger.own_certificates(devices.iter().copied()).await?;
        if records.is_empty() {
            return Ok(HashMap::new());
        }
        let bindings: Vec<_> = records.iter().map(|(device, record)| (record.id, device)).collect();
        let uses = self.ledger.uses(&bindings).await?;
        let signers = self.new_signers(job).await?;
        let owned = uses.into_iter().filter_map(|binding| {
            let record = records.get(&binding.device)?;
            Some((binding.device.clone(), own(record, &binding, &signers)))
        });
        Ok(owned.collect())
    }

    /// The job's root and later ones, and the issuing authorities below them.
    async fn new_signers(&self, job: &Job) -> Result<Vec<Certificate>, LedgerError> {
        let mut roots = self.ledger.roots(&self.ledger.authority().await?).await?;
        roots.retain(|root| root.generation >= job.generation && root.state.is_live());
        let issuing = self.ledger.issuings(&roots).await?;
        let roots = roots.into_iter().filter_map(|root| root.certificate);
        Ok(roots.chain(issuing.iter().filter_map(IssuingRecord::in_use).cloned()).collect())
    }

    /// Devices of the page whose certificate is to be replaced.
    pub(crate) async fn to_be_replaced(
        &self,
        job: &Job,
        devices: Vec<DeviceId>,
    ) -> Result<Vec<DeviceId>, ConductError> {
        let (owned, now) = (self.owned(job, &devices.iter().collect::<Vec<_>>()).await?, (self.clock)());
        let needs = |device: &DeviceId| owned.get(device).is_some_and(|own| own.is_to_be_replaced(now));
        Ok(devices.into_iter().filter(needs).collect())
    }

    /// Records the attempts that begin, and sends their messages. A device that another job works on, or that somebody
    /// changes meanwhile, is passed over: a resend comes back to it.
    pub(crate) async fn send_reissues(&self, job: &Job, devices: Vec<(DeviceId, u32)>) -> Result<(), ConductError> {
        let named: Vec<&DeviceId> = devices.iter().map(|(device, _)| device).collect();
        let own = self.ledger.own_certificates(named.iter().copied()).await?;
        let records = self.ledger.devices_by_id(named).await?;
        let uses = self.ledger.uses_to_take_over(records.values()).await?;
        let busy: BTreeSet<&DeviceId> = uses
            .iter()
            .filter(|each| each.is_under_way() && each.job != Some(job.id))
            .map(|each| &each.device)
            .collect();
        let now = (self.clock)();
        let begin = devices.into_iter().filter_map(|(device, attempt)| {
            let certificate = own.get(&device)?.id;
            let binding = uses.iter().find(|each| each.device == device && each.certificate == certificate)?;
            let record = records.get(&device).filter(|record| record.profile.has_web_server())?;
            let of = record.approved_version().filter(|_| !busy.contains(&device))?;
            Some((binding, binding.reissue(job.id, attempt, of, now)?, device, attempt))
        });
        let written = begin.map(async |(before, begun, device, attempt)| {
            if begun != *before {
                match self.ledger.save_use(&begun).await {
                    Ok(()) => {}
                    Err(LedgerError::Conflict) => {
                        info!(job.id = job.id.0, device.id = %device, "the device's certificate was changed meanwhile");
                        return Ok(None);
                    }
                    Err(error) => return Err(error),
                }
            }
            let certificate = Some(begun.certificate);
            let wave = job.wave_number();
            Ok(Some(Task { certificate, wave, ..Task::new(job.id, Pass::Install, device, attempt) }))
        });
        let written: Vec<Result<Option<Task>, LedgerError>> =
            stream::iter(written.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).collect().await;
        let tasks = written.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
        Ok(self.queue.send_tasks(&self.task_queue, &tasks).await?)
    }

    /// Records tasks as lost together with the uses that they work on. Returns those without such a use.
    pub(crate) async fn lose_reissues(
        &self,
        job: &Job,
        lost: Vec<Settlement>,
    ) -> Result<Vec<Settlement>, ConductError> {
        let own = self.ledger.own_certificates(lost.iter().map(|lost| &lost.key.device)).await?;
        let uses = self.ledger.uses(&own.iter().map(|(device, own)| (own.id, device)).collect::<Vec<_>>()).await?;
        let mut rest = Vec::new();
        for settlement in lost {
            let binding = uses.iter().find(|binding| binding.device == settlement.key.device);
            let works = |binding: &&UseRecord| {
                let same = binding.lifecycle.attempt == settlement.attempt;
                binding.job == Some(job.id) && same && binding.is_under_way()
            };
            // A device that left the fleet has no use any more, or keeps it for whoever approves the device again.
            match binding.filter(works).filter(|_| matches!(settlement.outcome, Outcome::Failed(_))) {
                Some(binding) => _ = self.ledger.settle_use(&settlement, binding, None).await?,
                None => rest.push(settlement),
            }
        }
        Ok(rest)
    }
}

fn own(record: &CertificateRecord, binding: &UseRecord, signers: &[Certificate]) -> Own {
    // The device goes on showing one that was revoked only because of its authority.
    let revoked = record.revoked.as_ref().filter(|revoked| revoked.reason != Reason::CaCompromise);
    let valid_until = revoked.map_or(record.not_after, |revoked| revoked.at.min(record.not_after));
    Own {
        leaf: record.leaf.fingerprint(),
        is_new: is_signed_by(&record.leaf, signers),
        valid_until,
        shown: binding.shown,
    }
}

pub(crate) fn is_signed_by(issued: &Certificate, signers: &[Certificate]) -> bool {
    let signs =
        |signer: &Certificate| signer.subject_dn() == issued.issuer_dn() && issued.verify_signed_by(signer).is_ok();
    signers.iter().any(signs)
}
