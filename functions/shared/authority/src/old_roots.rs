//! The end of old roots: they leave the bundle, and then their keys are put out of use.

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::job::Job;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Change, Conducting, IssuingRecord, LedgerError, RootRecord, live};
use time::OffsetDateTime;
use tracing::info;

use crate::compromise::retirement;
use crate::keys::key_and_certificate;
use crate::publish::{unsigned, without_signatures};
use crate::{AuthorityError, CertificateAuthority};

impl CertificateAuthority {
    /// Publishes a bundle without the roots that signed before this job's, and has the job remove them from the devices. The
    /// write requires that the fleet has not changed since the survey that found nobody who needs them.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the fleet, the job or the authority has changed, or the job's root does not sign:
    /// nothing is removed then.
    pub async fn distrust_roots(
        &self,
        job: &mut Job,
        held: &Conducting,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let mut authority = self.ledger.authority().await?;
        if authority.signing != Some(job.generation) {
            // Then an old root may be the one that signs.
            return Err(LedgerError::Conflict.into());
        }
        let mut roots = self.ledger.roots(&authority).await?;
        let is_gone = |root: &RootRecord| root.generation < job.generation && root.state == GenerationState::Superseded;
        let mut gone = Vec::new();
        for root in roots.iter_mut().filter(|root| is_gone(root)) {
            root.state = GenerationState::Distrusted;
            gone.push(root.clone());
        }
        let issuing = self.shorten_chains(&roots).await?;
        let signed = Box::pin(self.sign_bundle(&authority, &roots, Some(job.generation), now));
        let bundle = self.awake("old roots leave the bundle", by, now, signed).await?;
        authority.publish(&bundle);
        authority.joins_during = None;
        let fleet = job.survey.revisions();
        job.distrust(authority.bundle, now);
        job.updated = now;
        let act =
            |root: &RootRecord| Act::new(Subject::Root(root.generation), Action::Distrust, by, now).with("job", job.id);
        let mut acts: Vec<Act> = gone.iter().map(act).collect();
        if !bundle.unsigned_by.is_empty() {
            acts = acts.into_iter().map(|act| unsigned(act, &bundle)).collect();
            job.note_unusable(bundle.unsigned_by.iter().copied(), &without_signatures(&bundle));
        }
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                roots: gone.iter().collect(),
                issuing: issuing.iter().collect(),
                bundle: Some(&bundle),
                job: Some(job),
                acts,
                fleet,
                conducting: Some(held),
                ..Change::default()
            })
            .await?;
        job.revision += 1;
        info!(job.id = job.id.0, roots = gone.len(), "the old roots have left the bundle");
        Ok(())
    }

    /// What live issuing authorities sign from now on is given without links to roots that are gone. Returns those whose
    /// path changes.
    async fn shorten_chains(&self, roots: &[RootRecord]) -> Result<Vec<IssuingRecord>, AuthorityError> {
        let above: Vec<RootRecord> = roots.iter().filter(|root| root.state.is_live()).cloned().collect();
        let hierarchy = live(&above);
        let mut changed = Vec::new();
        for issuing in self.ledger.issuings(&above).await? {
            let Some(root) = above.iter().find(|root| root.generation == issuing.id().generation) else { continue };
            let path = hierarchy.above(key_and_certificate(root)?.1);
            if issuing.in_use().is_some() && issuing.path != path {
                changed.push(IssuingRecord { path, ..issuing });
            }
        }
        Ok(changed)
    }

    /// Has the keys of roots that left the devices put out of use, for which the conductor then needs no job: something
    /// that was waived may be valid for years. The write requires that the fleet has not changed since the survey that found
    /// no device that trusts them.
    pub async fn retire_roots(
        &self,
        job: &mut Job,
        held: &Conducting,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let mut authority = self.ledger.authority().await?;
        let mut roots = self.ledger.roots(&authority).await?;
        roots.retain(|root| root.state == GenerationState::Distrusted && root.retirement.is_none());
        for root in &mut roots {
            root.retirement = Some(retirement(root, job.activated, now));
            authority.retiring.insert(root.generation);
        }
        let fleet = job.survey.revisions();
        job.retire();
        job.updated = now;
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                roots: roots.iter().collect(),
                job: Some(job),
                fleet,
                conducting: Some(held),
                ..Change::default()
            })
            .await?;
        job.revision += 1;
        Ok(())
    }
}
