//! What follows the activation of a new root, until the old ones are gone.

use std::collections::HashSet;

use rootcast_core::audit::Actor;
use rootcast_core::device::SHARDS;
use rootcast_core::inventory::dn::is_of_devices;
use rootcast_core::inventory::id::policy_dn;
use rootcast_core::job::task::TaskState;
use rootcast_core::job::{InUse, Job, JobOutcome, Pass};
use rootcast_ledger::{Authority, CertificateOrPending, Change, Conducting, SerialRecord, SignedPlace, TaskKey};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::crl::CrlId;
use rootcast_pki::root::Serial;
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::time::Instant;

use crate::{App, ConductError, StepResult};

/// Certificates per page of the index of what was signed.
const PAGE: u32 = 1000;
/// For what a renewal replaced to be revoked: the issuer's schedule comes by every quarter of an hour.
const PATIENCE: time::Duration = time::Duration::minutes(20);
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
        job.go_on_alone();
        job.updated = now;
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
        why: String,
        deadline: Instant,
    ) -> Result<StepResult, ConductError> {
        let looked = self.look_for_use(&job, deadline).await?;
        let now = (self.clock)();
        if looked.place.is_some() {
            job.in_use = Some(looked);
            self.save(job, now).await?;
            return Ok(StepResult::HandOn);
        }
        if looked.found == 0 {
            job.reason = why;
            self.authority.distrust_roots(&mut job, held, &Actor::function("conduct"), now).await?;
            return Ok(StepResult::Continue);
        }
        let since = *job.in_use.get_or_insert_default().since.get_or_insert(now);
        let (found, names) = (looked.found, looked.names.join(", "));
        job.in_use = Some(InUse { since: Some(since), found: 0, names: Vec::new(), place: None });
        if now < since + PATIENCE {
            job.reason = format!("{found} certificates below older roots are valid and not revoked yet: {names}.");
            self.save(job, now).await?;
            return Ok(StepResult::Rest);
        }
        let why = format!(
            "Paused: {found} certificates below older roots are valid and not revoked: {names}. Renew, revoke or delete them, or waive their devices, then resume; or let the older roots stay."
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
        loop {
            let page = self.ledger.signed(place, PAGE).await?;
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
        for name in self.imported(job).await? {
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
        rows.retain(|(_, signed)| signed.leaf.is_some() && signed.not_after > now);
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

    /// Names of imported certificates that an older root leads to, and no newer one signed.
    async fn imported(&self, job: &Job) -> Result<Vec<String>, ConductError> {
        let mut roots = self.ledger.roots(&self.ledger.authority().await?).await?;
        roots.retain(|root| root.generation < job.generation && root.state.is_live());
        let issuing = self.ledger.issuings(&roots).await?;
        let old = roots.into_iter().filter_map(|root| root.certificate);
        let old: Vec<Certificate> = old.chain(issuing.into_iter().filter_map(|issuing| issuing.certificate)).collect();
        let signs = |issued: &Certificate| {
            let signs = |signer: &Certificate| {
                signer.subject_dn() == issued.issuer_dn() && issued.verify_signed_by(signer).is_ok()
            };
            old.iter().any(signs)
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
                        && std::iter::once(&held.leaf).chain(&held.chain).any(signs)
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
