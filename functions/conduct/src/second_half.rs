//! What follows the activation of a new root, until the old ones are gone.

use std::collections::HashSet;

use rootcast_authority::AuthorityError;
use rootcast_core::audit::Actor;
use rootcast_core::device::SHARDS;
use rootcast_core::inventory::dn::is_of_devices;
use rootcast_core::inventory::id::policy_dn;
use rootcast_core::job::task::{Ack, TaskState};
use rootcast_core::job::{InUse, Job, JobOutcome, Pass, Tally};
use rootcast_ledger::{
    Authority, CertificateOrPending, CertificateRecord, Change, Conducting, DeviceRecord, RootRecord, SerialRecord,
    SignedPlace, TaskKey,
};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::crl::CrlId;
use rootcast_pki::root::Serial;
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::time::Instant;

use crate::reissue::is_signed_by;
use crate::{App, ConductError, StepResult, without_key};

/// Certificates per page of the index of what was signed.
const PAGE: u32 = 1000;
/// For what a renewal replaced to be revoked: the issuer's schedule comes by every quarter of an hour.
const PATIENCE: time::Duration = time::Duration::minutes(20);
/// Clocks of two functions differ a little, and an index shows what was written a little later.
const LAG: time::Duration = time::Duration::seconds(30);
/// Joining devices that are looked at.
const SOME: u32 = 100;
/// Later than any certificate ends.
const FAR: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);

impl App {
    /// A job that had ended runs again, if nothing has come in between.
    pub(crate) async fn go_on_alone(
        &self,
        held: &Conducting,
        mut job: Job,
        now: OffsetDateTime,
    ) -> Result<StepResult, ConductError> {
        let authority = self.ledger.authority().await?;
        if authority.signing != Some(job.generation) {
            let why = format!("Root generation {} no longer signs, so there is nothing to continue.", job.generation);
            job.end(JobOutcome::Activated, &why);
            self.save(job, now).await?;
            return Ok(StepResult::Rest);
        }
        let other = match authority.running {
            Some(other) if other != job.id => Some(format!("job {other} is running")),
            _ if authority.is_claimed(now) => Some("another root is being made".to_owned()),
            _ => None,
        };
        if let Some(other) = other {
            if job.rollback_requested {
                // What it would switch back to is settled by the other one.
                job.rollback_requested = false;
                job.end(JobOutcome::Activated, &format!("Not rolled back: {other}."));
                self.save(job, now).await?;
                return Ok(StepResult::Rest);
            }
            let why = format!("Paused: {other}. Resume this one when that has ended.");
            return self.pause(job, &why, now).await;
        }
        let authority = Authority { running: Some(job.id), ..authority };
        job.go_on_alone(authority.bundle, now);
        job.updated = now;
        let change =
            Change { authority: Some(&authority), job: Some(&job), conducting: Some(held), ..Change::default() };
        self.ledger.commit(change).await?;
        Ok(StepResult::Continue)
    }

    /// Replaces what old roots signed for devices. Meanwhile devices that join are brought to the bundle by themselves: this
    /// pass visits no trust store.
    pub(crate) async fn begin_reissue(
        &self,
        held: &Conducting,
        mut job: Job,
        why: String,
        now: OffsetDateTime,
    ) -> Result<StepResult, ConductError> {
        let authority = Authority { joins_during: Some(job.id), ..self.ledger.authority().await? };
        job.reissue(now);
        (job.reason, job.updated) = (why, now);
        let change =
            Change { authority: Some(&authority), job: Some(&job), conducting: Some(held), ..Change::default() };
        self.ledger.commit(change).await?;
        Ok(StepResult::Continue)
    }

    /// Publishes a bundle without the old roots, unless something below them is still valid. What a renewal replaced is
    /// revoked within minutes after its proof, so the job waits before it pauses.
    pub(crate) async fn distrust(
        &self,
        held: &Conducting,
        mut job: Job,
        tally: &Tally,
        why: String,
        deadline: Instant,
    ) -> Result<StepResult, ConductError> {
        // Whoever read before the activation who signs may sign below an old root until then.
        let settled = job.activated.map(|at| at + self.issuer_timeout + LAG).filter(|at| (self.clock)() < *at);
        if settled.is_some() {
            let why = "The old roots leave the devices when nobody can be signing below them any more.".to_owned();
            return self.wait(job, tally, settled, why, (self.clock)()).await;
        }
        let looked = self.look_for_use(&job, deadline).await?;
        let now = (self.clock)();
        if looked.place.is_some() {
            job.in_use = Some(looked);
            self.save(job, now).await?;
            return Ok(StepResult::HandOn);
        }
        if looked.found == 0 {
            job.reason = why;
            return match self.authority.distrust_roots(&mut job, held, &Actor::function("conduct"), now).await {
                Err(AuthorityError::KeyUnusable { signer, .. }) if signer.is_root() => {
                    self.pause(job, &without_key(signer.generation()), now).await
                }
                done => done.map(|()| StepResult::Continue).map_err(Into::into),
            };
        }
        let since = *job.in_use.get_or_insert_default().since.get_or_insert(now);
        let (found, names) = (looked.found, looked.names.join(", "));
        job.in_use = Some(InUse { since: Some(since), found: 0, names: Vec::new(), place: None });
        if now < since + PATIENCE {
            job.reason = format!("The older roots are still needed, by {found}: {names}.");
            self.save(job, now).await?;
            return Ok(StepResult::Rest);
        }
        let why = format!(
            "Paused: the older roots are still needed, by {found}: {names}. Renew, revoke or delete certificates that are named, mend or delete devices that are, then resume; or let the older roots stay."
        );
        self.pause(job, &why, now).await
    }

    /// Goes on with the look that an earlier invocation began, until the time is nearly over.
    async fn look_for_use(&self, job: &Job, deadline: Instant) -> Result<InUse, ConductError> {
        let mut looked = job.in_use.clone().unwrap_or_default();
        let Some(mut place) = looked.place.take().and_then(|place| serde_json::from_str(&place).ok()).or_else(|| {
            (looked.found, looked.names) = (0, Vec::new());
            job.generation.checked_sub(1).and_then(SignedPlace::newest)
        }) else {
            return Ok(looked);
        };
        let mut old = self.ledger.roots(&self.ledger.authority().await?).await?;
        old.retain(|root| root.state.is_live());
        let new: Vec<RootRecord> = old.extract_if(.., |root| root.generation >= job.generation).collect();
        loop {
            let mut page = self.ledger.signed(place, PAGE).await?;
            // Below a root that is gone already, nothing is kept by this one.
            page.rows.retain(|(_, signed)| old.iter().any(|root| root.generation == signed.signer.generation()));
            for (serial, signed) in self.valid(job, page.rows).await? {
                looked.add(format!("{} ({serial})", signed.device));
            }
            match page.next {
                Some(next) if Instant::now() < deadline => place = next,
                Some(next) => {
                    looked.place = serde_json::to_string(&next).ok();
                    return Ok(looked);
                }
                None => break,
            }
        }
        for name in self.imported(old, new).await?.into_iter().chain(self.not_joined(job).await?) {
            looked.add(name);
        }
        Ok(looked)
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
        let key = |signed: &SerialRecord| TaskKey { job: job.id, pass: Pass::Install, device: signed.device.clone() };
        let keys: Vec<TaskKey> = rows.iter().map(|(_, signed)| key(signed)).collect();
        let (_, tasks) = self.ledger.jobs_and_tasks([], &keys).await?;
        rows.retain(|(_, signed)| tasks.get(&key(signed)).is_none_or(|task| task.state != TaskState::Waived));
        Ok(rows)
    }

    /// Names of imported certificates that are below an older root, also where a link leads on to a newer one.
    async fn imported(&self, old: Vec<RootRecord>, new: Vec<RootRecord>) -> Result<Vec<String>, ConductError> {
        let (old, new) = (self.signers(old).await?, self.signers(new).await?);
        // The first of ours decides: what follows it in the chain are links, which are given only as long as that one is trusted.
        let is_below_old = |held: &CertificateRecord| {
            let mut chain = std::iter::once(&held.leaf).chain(&held.chain);
            chain.find_map(|issued| match is_signed_by(issued, &old) {
                false => is_signed_by(issued, &new).then_some(false),
                true => Some(true),
            })
        };
        let mut names = Vec::new();
        for shard in 0..SHARDS {
            let mut after = None;
            loop {
                let (page, next) = self.ledger.expiring(shard, (self.clock)(), FAR, after).await?;
                let ids = page.iter().filter(|found| !is_of_devices(&found.folder)).map(|found| found.id);
                for held in self.ledger.certificates_or_pending(ids).await? {
                    if let CertificateOrPending::Certificate(held) = held
                        && held.revoked.is_none()
                        && is_below_old(&held) == Some(true)
                    {
                        names.push(policy_dn(&held.folder, &held.name));
                    }
                }
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(names)
    }

    /// These roots, and the issuing authorities below them.
    async fn signers(&self, roots: Vec<RootRecord>) -> Result<Vec<Certificate>, ConductError> {
        let issuing = self.ledger.issuings(&roots).await?;
        let roots = roots.into_iter().filter_map(|root| root.certificate);
        Ok(roots.chain(issuing.into_iter().filter_map(|issuing| issuing.certificate)).collect())
    }

    /// Some of the devices that were approved since the new root signs, and have not proven that they hold it.
    async fn not_joined(&self, job: &Job) -> Result<Vec<String>, ConductError> {
        let joining = self.ledger.due_to_join(FAR, SOME).await?;
        let devices = self.ledger.devices_by_id(joining.iter().map(|joining| &joining.device)).await?;
        let lacks = joining.into_iter().filter(|joining| {
            let device =
                devices.get(&joining.device).filter(|device| device.approved_version() == Some(joining.version));
            let ack = |device: &DeviceRecord| device.held.as_ref()?.ack.clone();
            let holds = |ack: Ack| ack.of == joining.version && ack.bundle_version >= job.bundle_version;
            device.is_some_and(|device| !ack(device).is_some_and(holds))
        });
        Ok(lacks.map(|joining| format!("{} (it has not proven that it holds the new root)", joining.device)).collect())
    }

    /// Puts the old roots' keys out of use.
    pub(crate) async fn retire(
        &self,
        held: &Conducting,
        mut job: Job,
        why: String,
        now: OffsetDateTime,
    ) -> Result<StepResult, ConductError> {
        job.reason = why;
        self.authority.retire_roots(&mut job, held, now).await?;
        self.queue.wake_for_issuing(&self.control_queue, "old roots are retired").await;
        Ok(StepResult::Continue)
    }
}
