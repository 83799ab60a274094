//! What still needs the roots before the job's: certificates that somebody may show or check, and devices that lack the new root.

use std::collections::{BTreeSet, HashSet};

use rootcast_core::device::{DeviceId, SHARDS};
use rootcast_core::inventory::dn::is_of_devices;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::task::{Ack, TaskState};
use rootcast_core::job::{InUse, Job, Pass};
use rootcast_ledger::{
    CertificateOrPending, CertificateRecord, DeviceRecord, Expiring, RootRecord, SerialRecord, SignedPlace, TaskKey,
};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::crl::CrlId;
use rootcast_pki::root::Serial;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::time::Instant;

use crate::reissue::is_signed_by;
use crate::{App, ConductError};

/// Certificates per page of the index of what was signed.
const PAGE: u32 = 1000;
/// Clocks of two functions differ a little, and an index shows what was written a little later.
pub(crate) const LAG: time::Duration = time::Duration::seconds(30);
/// Later than any certificate ends.
const FAR: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);

/// Where a look goes on.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Place {
    Signed(SignedPlace),
    /// Certificates of this shard that end at this time or later. Those of that second may be seen twice.
    Imported {
        shard: u8,
        #[serde(with = "time::serde::timestamp")]
        from: OffsetDateTime,
    },
}

/// The signers of imported certificates, and what the job is not to wait for.
struct Leads {
    old: Vec<Certificate>,
    new: Vec<Certificate>,
    spared: BTreeSet<CertificateId>,
}

impl App {
    /// Goes on with the look that an earlier invocation began, until the time is nearly over.
    pub(crate) async fn look_for_use(&self, job: &Job, deadline: Instant) -> Result<InUse, ConductError> {
        let mut looked = job.in_use.clone().unwrap_or_default();
        let place = looked.place.take().and_then(|place| serde_json::from_str(&place).ok()).or_else(|| {
            (looked.found, looked.names) = (0, Vec::new());
            job.generation.checked_sub(1).and_then(SignedPlace::newest).map(Place::Signed)
        });
        let mut old = self.ledger.roots(&self.ledger.authority().await?).await?;
        old.retain(|root| root.state.is_live());
        let new: Vec<RootRecord> = old.extract_if(.., |root| root.generation >= job.generation).collect();
        let leads = self.leads(job, &old, &new).await?;
        let mut next = place;
        while let Some(place) = next {
            if Instant::now() >= deadline {
                looked.place = serde_json::to_string(&place).ok();
                return Ok(looked);
            }
            next = match place {
                Place::Signed(place) => {
                    let next = self.look_at_signed(job, &old, place, &mut looked).await?.map(Place::Signed);
                    next.or(Some(Place::Imported { shard: 0, from: (self.clock)() }))
                }
                Place::Imported { shard, .. } if shard >= SHARDS => None,
                Place::Imported { shard, from } => {
                    Some(self.look_at_imported(&leads, shard, from, deadline, &mut looked).await?)
                }
            };
        }
        self.not_joined(job).await?.into_iter().for_each(|name| looked.add(name));
        Ok(looked)
    }

    /// What the gates of another rollover would have protected when a compromised root, and the others with it, left at once:
    /// imported certificates, which only their owners can replace. Goes on like every look.
    pub(crate) async fn look_for_broken(&self, job: &Job, deadline: Instant) -> Result<InUse, ConductError> {
        let roots = self.ledger.roots(&self.ledger.authority().await?).await?;
        let (old, new): (Vec<_>, Vec<_>) = roots.into_iter().partition(|root| root.generation < job.generation);
        let leads = self.leads(job, &old, &new).await?;
        self.look_through_imported(&leads, job.breaks.clone().unwrap_or_default(), deadline).await
    }

    /// What a rollover would strand: imported certificates that a root of today leads to. Goes on like every look.
    pub(crate) async fn look_for_stranded(
        &self,
        job: &Job,
        looked: InUse,
        deadline: Instant,
    ) -> Result<InUse, ConductError> {
        let mut roots = self.ledger.roots(&self.ledger.authority().await?).await?;
        roots.retain(|root| root.state.is_live());
        let leads = self.leads(job, &roots, &[]).await?;
        self.look_through_imported(&leads, looked, deadline).await
    }

    async fn look_through_imported(
        &self,
        leads: &Leads,
        mut looked: InUse,
        deadline: Instant,
    ) -> Result<InUse, ConductError> {
        let place = looked.place.take().and_then(|place| serde_json::from_str(&place).ok());
        let Some(Place::Imported { mut shard, mut from }) = place.or_else(|| {
            looked = InUse::default();
            Some(Place::Imported { shard: 0, from: (self.clock)() })
        }) else {
            return Ok(looked);
        };
        while shard < SHARDS {
            if Instant::now() >= deadline {
                looked.place = serde_json::to_string(&Place::Imported { shard, from }).ok();
                break;
            }
            match self.look_at_imported(leads, shard, from, deadline, &mut looked).await? {
                Place::Imported { shard: next, from: on } => (shard, from) = (next, on),
                Place::Signed(_) => break,
            }
        }
        Ok(looked)
    }

    /// One page. Below a root that is gone already, nothing is kept by this one.
    async fn look_at_signed(
        &self,
        job: &Job,
        old: &[RootRecord],
        place: SignedPlace,
        looked: &mut InUse,
    ) -> Result<Option<SignedPlace>, ConductError> {
        let mut page = self.ledger.signed(place, PAGE).await?;
        page.rows.retain(|(_, signed)| old.iter().any(|root| root.generation == signed.signer.generation()));
        for (serial, signed) in self.valid(job, page.rows).await? {
            looked.add(format!("{} ({serial})", signed.device));
        }
        Ok(page.next)
    }

    /// Those that say something to somebody, and whose device was not waived.
    async fn valid(
        &self,
        job: &Job,
        mut rows: Vec<(Serial, SerialRecord)>,
    ) -> Result<Vec<(Serial, SerialRecord)>, ConductError> {
        let now = (self.clock)();
        // What was reserved and never signed is forgotten after a while.
        let reserved = now - self.issuer_timeout - LAG;
        rows.retain(|(_, signed)| signed.not_after > now && (signed.leaf.is_some() || signed.at > reserved));
        let keys = rows.iter().map(|(serial, signed)| (CrlId::of(signed.signer, serial), *serial));
        let revoked = self.ledger.revoked_among(keys).await?;
        let revoked: HashSet<Serial> = revoked.into_iter().map(|revoked| revoked.serial).collect();
        rows.retain(|(serial, _)| !revoked.contains(serial));
        let waived = self.waived(job, rows.iter().map(|(_, signed)| &signed.device)).await?;
        rows.retain(|(_, signed)| !waived.contains(&signed.device));
        Ok(rows)
    }

    /// Those of these devices that were waived while certificates were replaced.
    async fn waived(
        &self,
        job: &Job,
        devices: impl Iterator<Item = &DeviceId>,
    ) -> Result<HashSet<DeviceId>, ConductError> {
        let key = |device: &DeviceId| TaskKey { job: job.id, pass: Pass::Install, device: device.clone() };
        let keys: Vec<TaskKey> = devices.map(key).collect();
        let (_, tasks) = self.ledger.jobs_and_tasks([], &keys).await?;
        let waived = tasks.into_iter().filter(|(_, task)| task.state == TaskState::Waived);
        Ok(waived.map(|(key, _)| key.device).collect())
    }

    /// Imported certificates of one shard that are below an older root, also where a link leads on to a newer one. Returns the
    /// next place.
    async fn look_at_imported(
        &self,
        leads: &Leads,
        shard: u8,
        from: OffsetDateTime,
        deadline: Instant,
        looked: &mut InUse,
    ) -> Result<Place, ConductError> {
        let mut after = None;
        loop {
            let (page, next) = self.ledger.expiring(shard, from, FAR, after).await?;
            let ids = page.iter().filter(|found| !is_of_devices(&found.folder)).map(|found| found.id);
            let held = self.ledger.certificates_or_pending(ids).await?;
            let needs = |found: &&Expiring| {
                held.iter().any(|held| matches!(held, CertificateOrPending::Certificate(held) if held.id == found.id && leads.need(held)))
            };
            page.iter().filter(needs).for_each(|found| looked.add(found.dn()));
            match (next, page.last()) {
                (None, _) | (Some(_), None) => return Ok(Place::Imported { shard: shard + 1, from: (self.clock)() }),
                (Some(_), Some(last)) if Instant::now() >= deadline => {
                    return Ok(Place::Imported { shard, from: last.not_after });
                }
                (Some(next), _) => after = Some(next),
            }
        }
    }

    async fn leads(&self, job: &Job, old: &[RootRecord], new: &[RootRecord]) -> Result<Leads, ConductError> {
        let spared = self.ledger.spared(job.id).await?.into_iter().map(|spared| spared.certificate).collect();
        Ok(Leads { old: self.signers(old).await?, new: self.signers(new).await?, spared })
    }

    /// These roots, and the issuing authorities below them.
    async fn signers(&self, roots: &[RootRecord]) -> Result<Vec<Certificate>, ConductError> {
        let issuing = self.ledger.issuings(roots).await?;
        let roots = roots.iter().filter_map(|root| root.certificate.clone());
        Ok(roots.chain(issuing.into_iter().filter_map(|issuing| issuing.certificate)).collect())
    }

    /// The devices that were approved since the new root signs, and have not proven that they hold it.
    async fn not_joined(&self, job: &Job) -> Result<Vec<String>, ConductError> {
        let joining = self.ledger.all_joining().await?;
        let devices = self.ledger.devices_by_id(joining.iter().map(|joining| &joining.device)).await?;
        let waived = self.waived(job, devices.keys()).await?;
        let lacks = joining.into_iter().filter(|joining| {
            let device =
                devices.get(&joining.device).filter(|device| device.approved_version() == Some(joining.version));
            let ack = |device: &DeviceRecord| device.held.as_ref()?.ack.clone();
            let holds = |ack: Ack| ack.of == joining.version && ack.bundle_version >= job.bundle_version;
            device.is_some_and(|device| !waived.contains(&device.id) && !ack(device).is_some_and(holds))
        });
        Ok(lacks.map(|joining| format!("{} (it has not proven that it holds the new root)", joining.device)).collect())
    }
}

impl Leads {
    /// The first of our signers decides: what follows it in the chain are links, which are given only as long as that one is
    /// trusted.
    fn need(&self, held: &CertificateRecord) -> bool {
        let mut chain = std::iter::once(&held.leaf).chain(&held.chain);
        let is_below_old = chain.find_map(|issued| match is_signed_by(issued, &self.old) {
            false => is_signed_by(issued, &self.new).then_some(false),
            true => Some(true),
        });
        held.revoked.is_none() && !self.spared.contains(&held.id) && is_below_old == Some(true)
    }
}
