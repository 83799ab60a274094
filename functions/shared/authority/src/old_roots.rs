//! The end of old roots: they leave the bundle, and then their keys are put out of use.

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::job::Job;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Change, Conducting};
use time::OffsetDateTime;
use tracing::info;

use crate::{AuthorityError, CertificateAuthority};

impl CertificateAuthority {
    /// Publishes a bundle without the roots that signed before this job's, and has the job remove them from the devices.
    pub async fn distrust_roots(
        &self,
        job: &mut Job,
        held: &Conducting,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let mut authority = self.ledger.authority().await?;
        let mut roots = self.ledger.roots(&authority).await?;
        let mut gone = Vec::new();
        for root in &mut roots {
            if root.generation < job.generation && root.state == GenerationState::Superseded {
                root.state = GenerationState::Distrusted;
                gone.push(root.clone());
            }
        }
        let signed = Box::pin(self.sign_bundle(&authority, &roots, None, now));
        let bundle = self.awake("old roots leave the bundle", by, now, signed).await?;
        (authority.bundle, authority.bundle_expires) = (bundle.bundle.version, bundle.bundle.exp);
        job.distrust(authority.bundle, now);
        job.updated = now;
        let act = |root: u32| Act::new(Subject::Root(root), Action::Withdraw, by, now).with("job", job.id);
        let acts = gone.iter().map(|root| act(root.generation)).collect();
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                roots: gone.iter().collect(),
                bundle: Some(&bundle),
                job: Some(job),
                acts,
                conducting: Some(held),
                ..Change::default()
            })
            .await?;
        job.revision += 1;
        info!(job.id = job.id.0, roots = gone.len(), "the old roots have left the bundle");
        Ok(())
    }

    /// Puts the keys of distrusted roots out of use. Every step may be repeated after a crash.
    pub async fn retire_roots(
        &self,
        job: &mut Job,
        held: &Conducting,
        _by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        job.retire();
        job.updated = now;
        self.ledger.commit(Change { job: Some(job), conducting: Some(held), ..Change::default() }).await?;
        job.revision += 1;
        Ok(())
    }
}
