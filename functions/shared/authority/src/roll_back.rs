//! The switch back to the root that signed before, in one conditional write.

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::job::{Job, JobOutcome};
use rootcast_core::rollover::generation::{GenerationState, roll_back};
use rootcast_core::rollover::rotation::RolledBack;
use rootcast_ledger::{Authority, Change, Conducting, IssuingRecord, IssuingState, LedgerError, RootRecord, live};
use time::OffsetDateTime;
use tracing::{info, warn};

use crate::issuing::next_due;
use crate::keys::key_and_certificate;
use crate::{AuthorityError, CertificateAuthority};

impl CertificateAuthority {
    /// The root before the job's signs again, and the job ends. The job's root stays trusted: what was issued under it stays
    /// valid. The bundle stays as it is, so no device is visited.
    ///
    /// # Errors
    /// [`AuthorityError::KeyUnusable`] if the old key cannot sign any more; [`LedgerError::Conflict`] if the job or the
    /// authority has changed: nothing is switched then.
    pub async fn roll_back(
        &self,
        job: &mut Job,
        held: &Conducting,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let mut authority = self.ledger.authority().await?;
        if authority.signing != Some(job.generation) || authority.is_claimed(now) {
            return Err(LedgerError::Conflict.into());
        }
        let mut roots = self.ledger.roots(&authority).await?;
        let mut take = |generation: Option<u32>| {
            let at = roots.iter().position(|root| Some(root.generation) == generation)?;
            Some(roots.swap_remove(at))
        };
        let mut new = take(Some(job.generation)).ok_or(AuthorityError::Missing("root"))?;
        let old = take(job.old_generation).filter(|old| old.state == GenerationState::Superseded);
        let mut old = old.ok_or(AuthorityError::Missing("old root"))?;
        let generation = old.generation;
        let switched = Box::pin(self.switch_back(&mut authority, &new, &mut old, &roots, by, now));
        let issuing = self.awake("an old root signs again", by, now, switched).await?;
        // Not before: an issuing authority is reserved in a write that has the root's record too.
        roll_back(&mut authority.signing, generation, old.life(), new.life(), now);
        (authority.running, authority.rolled_back) = (None, Some(RolledBack { to: generation, at: now }));
        let why = job.reason.clone();
        job.end(JobOutcome::RolledBack, &why);
        job.updated = now;
        let act = |subject| Act::new(subject, Action::RollBack, by, now).with("generation", generation);
        let act = |subject| authority.issuing.iter().fold(act(subject), |act, id| act.with("issuing", id));
        let of_root = |root: &RootRecord| act(Subject::Root(root.generation)).with("job", job.id);
        let acts = vec![act(Subject::Job(job.id)), of_root(&new), of_root(&old)];
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                roots: vec![&new, &old],
                issuing: issuing.iter().collect(),
                job: Some(job),
                acts,
                conducting: Some(held),
                ..Change::default()
            })
            .await?;
        job.revision += 1;
        info!(root.generation = generation, job.id = job.id.0, "the old root signs again");
        Ok(())
    }

    /// Does everything of the switch except the write. Its last issuing authority signs again if it can; otherwise, the next
    /// one is made. `others`: the roots besides these two.
    async fn switch_back(
        &self,
        authority: &mut Authority,
        new: &RootRecord,
        old: &mut RootRecord,
        others: &[RootRecord],
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Vec<IssuingRecord>, AuthorityError> {
        let (key, certificate) = key_and_certificate(old)?;
        self.patiently(&*old, now, || self.vault.check(key, certificate)).await?;
        let mut changed = match self.usable_issuing(old, now).await? {
            Some(last) => {
                let former = match authority.issuing {
                    Some(id) => self.ledger.issuing(id).await?,
                    None => None,
                };
                authority.issuing = Some(last.id());
                authority.issuing_due = next_due(&last, old, now);
                let former = former.filter(|former| former.state == IssuingState::Signing);
                let former = former.map(|former| IssuingRecord { state: IssuingState::Superseded, ..former });
                let mut roots: Vec<RootRecord> = others.iter().chain([new, old]).cloned().collect();
                roots.sort_by_key(|root| root.generation);
                let path = live(&roots).above(certificate);
                former.into_iter().chain([IssuingRecord { state: IssuingState::Signing, path, ..last }]).collect()
            }
            None => self.switch_issuing(authority, false, old, by, now).await?,
        };
        changed.extend(self.give_up_left_over(authority, new, by, now).await?);
        Ok(changed)
    }

    /// The newest issuing authority below the root that signed before, lasts, and can still sign.
    async fn usable_issuing(
        &self,
        root: &RootRecord,
        now: OffsetDateTime,
    ) -> Result<Option<IssuingRecord>, AuthorityError> {
        if self.issuing.as_ref().is_none_or(|settings| settings.leaves_from_root) {
            return Ok(None);
        }
        for issuing in self.ledger.issuings(std::slice::from_ref(root)).await?.into_iter().rev() {
            let Some((key, certificate)) = issuing.key_and_certificate() else { continue };
            if issuing.state != IssuingState::Superseded || certificate.not_after() <= now {
                continue;
            }
            match self.patiently(&issuing, now, || self.vault.check(key, certificate)).await {
                Err(AuthorityError::KeyUnusable { source, .. }) => {
                    let error = &source as &dyn std::error::Error;
                    warn!(issuing.id = %issuing.id(), error, "the issuing authority cannot sign any more");
                }
                checked => return checked.map(|()| Some(issuing)),
            }
        }
        Ok(None)
    }
}
