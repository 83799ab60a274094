//! The cutover: links first, then one conditional write.

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::job::Job;
use rootcast_core::rollover::generation::activate;
use rootcast_ledger::{Authority, Change, Conducting, IssuingRecord, LedgerError, LinkRecord, RootRecord};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::root::{LinkKind, LinkSpec, prepare_link};
use time::OffsetDateTime;
use tracing::{info, warn};

use crate::keys::key_and_certificate;
use crate::make::random_serial;
use crate::{AuthorityError, CertificateAuthority};

/// What an activation writes, besides authority and roots.
pub(crate) struct Switched {
    /// The generation without a link from it, if any.
    pub(crate) left_out: Option<u32>,
    /// The root's audit entry.
    pub(crate) act: Act,
    pub(crate) issuing: Vec<IssuingRecord>,
}

impl CertificateAuthority {
    /// Activates the job's root; the previous root signs no more certificates. Both links are made before the switch,
    /// so that every server of a chain finds them. The switch requires that the fleet has not changed since the job's
    /// survey; a job with immediate activation has no survey. `held`: the conductor's lease.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the fleet, the job or the authority has changed: nothing is switched then.
    pub async fn activate_root(
        &self,
        job: &mut Job,
        held: Option<&Conducting>,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let mut authority = self.ledger.authority().await?;
        if authority.signing == Some(job.generation) {
            // Another conductor activated it after this job was read. The active root is not the one to link from.
            return Err(LedgerError::Conflict.into());
        }
        let mut root = self.ledger.root(job.generation).await?.ok_or(AuthorityError::Missing("root"))?;
        let mut old = match authority.signing {
            Some(generation) => Some(self.ledger.root(generation).await?.ok_or(AuthorityError::Missing("old root"))?),
            None => None,
        };
        let switched = Box::pin(self.switch(&mut authority, &mut root, old.as_mut(), by, now));
        let Switched { left_out, act, issuing } = self.awake("a root is activated", by, now, switched).await?;
        job.activate(now);
        job.updated = now;
        if let Some(old) = left_out {
            job.note_unusable([old], &without_link(old));
        }
        let of_job = act.clone().about(Subject::Job(job.id));
        let acts = vec![of_job.with("generation", job.generation).with("reason", &job.reason), act.with("job", job.id)];
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                roots: std::iter::once(&root).chain(&old).collect(),
                issuing: issuing.iter().collect(),
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

    /// Does everything of an activation except the write: makes both links and the issuing authority, marks the new key,
    /// and updates the records in memory.
    pub(crate) async fn switch(
        &self,
        authority: &mut Authority,
        root: &mut RootRecord,
        old: Option<&mut RootRecord>,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Switched, AuthorityError> {
        let left_out = self.sign_links(root, old.as_deref(), now).await?;
        self.mark_as_signing(root, now).await?;
        let mut issuing = self.switch_issuing(authority, false, root, by, now).await?;
        let given_up = match &old {
            Some(old) => self.give_up_left_over(authority, old, by, now).await?,
            None => None,
        };
        activate(&mut authority.signing, root.generation, root.life(), old.map(RootRecord::life), now);
        let act = Act::new(Subject::Root(root.generation), Action::Activate, by, now);
        let act = left_out.into_iter().fold(act, |act, old| act.with("noLinkFrom", old));
        let act = authority.issuing.iter().fold(act, |act, id| act.with("issuing", id));
        let act = given_up.iter().fold(act, |act, each| act.with("givenUp", each.id()));
        issuing.extend(given_up);
        Ok(Switched { left_out, act, issuing })
    }

    /// RFC 9810 §4.4, steps 3 and 4 of the root CA key update. Without an old root, only checks that the new key can
    /// sign. Returns the old generation if its key cannot sign: then NewWithOld is left out. So it is, without a word,
    /// if the old root has expired: the link would have expired, too.
    ///
    /// # Errors
    /// [`AuthorityError::KeyUnusable`] if the new key cannot sign.
    async fn sign_links(
        &self,
        root: &mut RootRecord,
        old: Option<&RootRecord>,
        now: OffsetDateTime,
    ) -> Result<Option<u32>, AuthorityError> {
        self.check(root, now).await?;
        let Some(old) = old else { return Ok(None) };
        let is_over = key_and_certificate(old)?.1.not_after() <= now;
        let mut left_out = match self.check(old, now).await {
            Err(AuthorityError::KeyUnusable { source, .. }) => Some(source),
            checked => checked.map(|()| None)?,
        };
        self.reserve_links(root, old, left_out.is_none() && !is_over).await?;
        if left_out.is_none() {
            match self.sign_link(root.new_with_old.as_ref(), root, old, now).await {
                // The key was disabled after the check.
                Err(AuthorityError::KeyUnusable { source, .. }) => left_out = Some(source),
                signed => complete(&mut root.new_with_old, signed?),
            }
        }
        let signed = self.sign_link(root.old_with_new.as_ref(), root, old, now).await?;
        complete(&mut root.old_with_new, signed);
        let Some(error) = left_out else { return Ok(None) };
        warn!(
            root.generation = root.generation,
            error = &error as &dyn std::error::Error,
            "{}",
            without_link(old.generation)
        );
        Ok(Some(old.generation))
    }

    /// Done before the switch: a key with a name cannot be deleted by any function, whatever the tables say. KMS may
    /// take five minutes to see the name.
    pub(crate) async fn mark_as_signing(&self, root: &RootRecord, now: OffsetDateTime) -> Result<(), AuthorityError> {
        let (key, _) = key_and_certificate(root)?;
        self.patiently(root, now, || self.vault.mark_as_signing(key, root.spec.serial)).await
    }

    pub(crate) async fn check(&self, root: &RootRecord, now: OffsetDateTime) -> Result<(), AuthorityError> {
        let (key, certificate) = key_and_certificate(root)?;
        self.patiently(root, now, || self.vault.check(key, certificate)).await
    }

    /// A link that is already reserved does not change.
    async fn reserve_links(&self, root: &mut RootRecord, old: &RootRecord, both: bool) -> Result<(), AuthorityError> {
        let (_, new_certificate) = key_and_certificate(root)?;
        let (_, old_certificate) = key_and_certificate(old)?;
        let reserve = |kind| -> Result<LinkRecord, AuthorityError> {
            let signer: &RootRecord = if kind == LinkKind::NewWithOld { old } else { root };
            let crl = self.authorities_url(signer.generation).or_else(|| signer.spec.crl.clone());
            let spec = LinkSpec { kind, serial: random_serial()?, crl };
            let (subject, issuer) = ends(kind, new_certificate, old_certificate);
            let tbs = prepare_link(&spec, subject, issuer)?.tbs_sha256();
            Ok(LinkRecord { spec, tbs, certificate: None })
        };
        let new_with_old = (both && root.new_with_old.is_none()).then(|| reserve(LinkKind::NewWithOld)).transpose()?;
        let old_with_new = root.old_with_new.is_none().then(|| reserve(LinkKind::OldWithNew)).transpose()?;
        if new_with_old.is_none() && old_with_new.is_none() {
            return Ok(());
        }
        root.new_with_old = new_with_old.or_else(|| root.new_with_old.take());
        root.old_with_new = old_with_new.or_else(|| root.old_with_new.take());
        self.save_root(root).await
    }

    /// `None` if there is nothing left to sign.
    async fn sign_link(
        &self,
        link: Option<&LinkRecord>,
        new: &RootRecord,
        old: &RootRecord,
        now: OffsetDateTime,
    ) -> Result<Option<Certificate>, AuthorityError> {
        let Some(link) = link.filter(|link| link.certificate.is_none()) else { return Ok(None) };
        let signer = if link.spec.kind == LinkKind::NewWithOld { old } else { new };
        let (key, issuer) = key_and_certificate(signer)?;
        let (subject, _) = ends(link.spec.kind, key_and_certificate(new)?.1, key_and_certificate(old)?.1);
        if prepare_link(&link.spec, subject, issuer)?.tbs_sha256() != link.tbs {
            return Err(AuthorityError::NotAsReserved);
        }
        // Without the settings, the conductor makes the list: it is woken after the activation.
        if let Some(url) = link.spec.crl.as_ref().filter(|_| self.issuing.is_some()) {
            self.publish_authorities(signer, Some(url), now).await?;
        }
        let sign = || async move { self.vault.sign_prepared(key, prepare_link(&link.spec, subject, issuer)?).await };
        self.patiently(signer, now, sign).await.map(Some)
    }
}

fn complete(link: &mut Option<LinkRecord>, signed: Option<Certificate>) {
    if let (Some(link), Some(certificate)) = (link, signed) {
        link.certificate = Some(certificate);
    }
}

/// Subject and issuer of a link.
fn ends<'a>(kind: LinkKind, new: &'a Certificate, old: &'a Certificate) -> (&'a Certificate, &'a Certificate) {
    match kind {
        LinkKind::NewWithOld => (new, old),
        LinkKind::OldWithNew => (old, new),
    }
}

fn without_link(old: u32) -> String {
    format!(
        "The key of root generation {old} is disabled, pending deletion or gone, so no link leads from that root to the new one."
    )
}
