//! The cutover: links first, then one conditional write.

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::certificate::Certificate;
use rootcast_core::generation::GenerationState;
use rootcast_core::job::Job;
use rootcast_core::root::{LinkKind, LinkSpec, prepare_link};
use rootcast_ledger::{Change, Conducting, LedgerError, LinkRecord, RootRecord};
use time::OffsetDateTime;
use tracing::info;

use crate::make::random_serial;
use crate::{AuthorityError, CertificateAuthority};

impl CertificateAuthority {
    /// The job's root signs from now on; the one before signs no certificate any more. Both links are made before the
    /// switch, so that whoever serves a chain finds them. The switch demands that the fleet is as the job's survey read
    /// it; a job that activates at once has none. `held`: the conductor's.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] where the fleet, the job or the authority was changed: nothing is switched then.
    pub async fn activate_root(
        &self,
        job: &mut Job,
        held: Option<&Conducting>,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let mut authority = self.ledger.authority().await?;
        if authority.signing == Some(job.generation) {
            // Another conductor was faster, after this job was read. Its root is not the one to link from.
            return Err(LedgerError::Conflict.into());
        }
        let mut root = self.ledger.root(job.generation).await?.ok_or(AuthorityError::Missing("root"))?;
        let mut old = match authority.signing {
            Some(generation) => Some(self.ledger.root(generation).await?.ok_or(AuthorityError::Missing("old root"))?),
            None => None,
        };
        self.sign_links(&mut root, old.as_ref()).await?;
        authority.signing = Some(root.generation);
        root.state = GenerationState::Signing;
        root.finish(now);
        if let Some(old) = &mut old {
            old.state = GenerationState::Superseded;
        }
        job.activate(now);
        job.updated = now;
        let act = Act::new(Subject::Job(job.id), Action::Activate, by, now);
        let acts = vec![
            act.clone().with("generation", job.generation).with("reason", &job.reason),
            act.with("job", job.id).about(Subject::Root(root.generation)),
        ];
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                roots: std::iter::once(&root).chain(&old).collect(),
                job: Some(job),
                acts,
                fleet: job.survey.revisions(),
                conducting: held,
                ..Change::default()
            })
            .await?;
        job.revision += 1;
        info!(root.generation = root.generation, job.id = job.id.0, "the new root signs");
        Ok(())
    }

    /// RFC 9810 §4.4, steps 3 and 4 of the root CA key update. Nothing where there is no old root.
    pub(crate) async fn sign_links(
        &self,
        root: &mut RootRecord,
        old: Option<&RootRecord>,
    ) -> Result<(), AuthorityError> {
        let Some(old) = old else { return Ok(()) };
        let (new_key, new_certificate) = signer(root)?;
        let (old_key, old_certificate) = signer(old)?;
        self.vault.confirm(&old_key, &old_certificate).await?;
        self.vault.confirm(&new_key, &new_certificate).await?;
        if root.new_with_old.is_none() || root.old_with_new.is_none() {
            let reserve = |kind| -> Result<LinkRecord, AuthorityError> {
                let spec = LinkSpec { kind, serial: random_serial()? };
                let (subject, issuer) = ends(kind, &new_certificate, &old_certificate);
                let tbs = prepare_link(&spec, subject, issuer)?.tbs_sha256();
                Ok(LinkRecord { spec, tbs, certificate: None })
            };
            root.new_with_old = Some(reserve(LinkKind::NewWithOld)?);
            root.old_with_new = Some(reserve(LinkKind::OldWithNew)?);
            self.save_root(root).await?;
        }
        for (link, key) in [(&mut root.new_with_old, &old_key), (&mut root.old_with_new, &new_key)] {
            let Some(link) = link.as_mut().filter(|link| link.certificate.is_none()) else { continue };
            let (subject, issuer) = ends(link.spec.kind, &new_certificate, &old_certificate);
            let prepared = prepare_link(&link.spec, subject, issuer)?;
            if prepared.tbs_sha256() != link.tbs {
                return Err(AuthorityError::NotAsReserved);
            }
            link.certificate = Some(self.vault.sign_prepared(key, prepared).await?);
        }
        Ok(())
    }
}

/// Subject and issuer of a link.
fn ends<'a>(kind: LinkKind, new: &'a Certificate, old: &'a Certificate) -> (&'a Certificate, &'a Certificate) {
    match kind {
        LinkKind::NewWithOld => (new, old),
        LinkKind::OldWithNew => (old, new),
    }
}

fn signer(root: &RootRecord) -> Result<(String, Certificate), AuthorityError> {
    let (key, certificate) = root.key_and_certificate().ok_or(AuthorityError::Missing("certificate"))?;
    Ok((key.to_owned(), certificate.clone()))
}
