//! Issuing authorities: made below the signing root in the order *reserve → key → record → sign → verify → store → list →
//! switch*. One that a crash left incomplete is finished, not made anew.

mod asked;

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Authority, Change, IssuingRecord, IssuingRevocation, IssuingState, LeafPass, RootRecord, live};
use rootcast_pki::crl::{CrlId, Reason};
use rootcast_pki::permitted::PermittedNames;
use rootcast_pki::root::{IssuingSpec, prepare_issuing};
use rootcast_pki::signer::IssuingId;
use rootcast_vault::{KeyRole, KeyRoles, Purpose};
use time::{Duration, OffsetDateTime};
use tracing::{info, warn};

use crate::keys::key_and_certificate;
use crate::make::{installed, random_serial};
use crate::{AuthorityError, CertificateAuthority};

/// After the next one could not be made although the present one signs.
const PAUSE: Duration = Duration::HOUR;

/// The deployment's settings for issuing authorities.
#[derive(Debug, Clone)]
pub struct IssuingSettings {
    /// At most the rest of the root's.
    pub validity: Duration,
    /// As for roots.
    pub backdate: Duration,
    /// Where revocation lists are served.
    pub crl_base: String,
    /// The policy of its key names them.
    pub roles: KeyRoles,
    /// What one may certify below a root that may certify everything.
    pub permitted: PermittedNames,
    /// Roots sign the certificates of devices themselves: none is made.
    pub leaves_from_root: bool,
}

impl CertificateAuthority {
    /// Makes issuing authorities from now on. Without these settings, whoever has them makes the one of a root that is
    /// activated here.
    #[must_use]
    pub fn with_issuing(self, settings: IssuingSettings) -> Self {
        Self { issuing: Some(settings), ..self }
    }

    /// The address of the root's list of authorities.
    pub(crate) fn authorities_url(&self, generation: u32) -> Option<String> {
        let settings = self.issuing.as_ref()?;
        Some(CrlId::authorities(generation).url(&settings.crl_base))
    }

    /// Makes the next issuing authority and switches to it, if the signing root has none, or the time for the next one has
    /// come. Nothing while a root is being made, whose maker relies on the authority's record.
    ///
    /// Returns whether the authority's record was changed.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`](rootcast_ledger::LedgerError::Conflict) if the authority has changed since it was read.
    pub async fn keep_issuing(
        &self,
        authority: &Authority,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<bool, AuthorityError> {
        let Some(generation) = authority.signing else { return Ok(false) };
        let signs = authority.issuing.is_some_and(|id| id.generation == generation);
        let is_due = !signs || authority.issuing_due.is_some_and(|due| now >= due);
        let is_off = self.issuing.as_ref().is_none_or(|settings| settings.leaves_from_root);
        // A compromised root certifies nothing any more.
        let is_off = is_off || !authority.replacing.is_empty();
        if !is_due || is_off || authority.is_claimed(now) || (signs && self.issuing_put_off.is_on(now)) {
            return Ok(false);
        }
        let made = self.replace_issuing(authority.clone(), generation, by, now).await;
        match made {
            Err(AuthorityError::RootEnds(generation)) if !signs => {
                warn!(root.generation = generation, "the signing root ends: no issuing authority can be made below it");
                return Ok(false);
            }
            Err(AuthorityError::Ledger(_)) | Ok(()) => {}
            Err(ref error) if error.is_passing() => {}
            Err(_) => self.issuing_put_off.set(now + PAUSE),
        }
        made.map(|()| true)
    }

    async fn replace_issuing(
        &self,
        mut authority: Authority,
        generation: u32,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let mut root = self.ledger.root(generation).await?.ok_or(AuthorityError::Missing("root"))?;
        let switched = Box::pin(self.switch_issuing(&mut authority, true, &mut root, by, now));
        let changed = self.awake("an issuing authority is made", by, now, switched).await?;
        let act = Act::new(Subject::Root(generation), Action::Activate, by, now);
        let acts = vec![authority.issuing.iter().fold(act, |act, id| act.with("issuing", id))];
        let issuing = changed.iter().collect();
        self.ledger.commit(Change { authority: Some(&authority), issuing, acts, ..Change::default() }).await?;
        if let Some(id) = authority.issuing {
            info!(issuing.id = %id, "the new issuing authority signs");
        }
        Ok(())
    }

    /// Does everything of a switch to the next issuing authority below `root` except the write: updates the records in
    /// memory, and returns those that belong into it. `is_free`: nobody else relies on the authority's record, which is
    /// written too when the next one is reserved, so that of two callers one stops there.
    pub(crate) async fn switch_issuing(
        &self,
        authority: &mut Authority,
        is_free: bool,
        root: &mut RootRecord,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Vec<IssuingRecord>, AuthorityError> {
        let next = match self.issuing.as_ref().filter(|settings| !settings.leaves_from_root) {
            Some(settings) => Some(self.make_issuing(settings, authority, is_free, root, by, now).await?),
            None => None,
        };
        let former = match authority.issuing {
            Some(id) => self.ledger.issuing(id).await?,
            None => None,
        };
        authority.issuing = next.as_ref().map(IssuingRecord::id);
        authority.issuing_due = next.as_ref().and_then(|next| next_due(next, root, now));
        let former = former.filter(|former| former.state == IssuingState::Signing);
        let former = former.map(|former| IssuingRecord { state: IssuingState::Superseded, ..former });
        let next = next.map(|next| IssuingRecord { state: IssuingState::Signing, ..next });
        Ok(former.into_iter().chain(next).collect())
    }

    /// Everything until it can sign: its certificate and the root's list are on record.
    async fn make_issuing(
        &self,
        settings: &IssuingSettings,
        authority: &mut Authority,
        is_free: bool,
        root: &mut RootRecord,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<IssuingRecord, AuthorityError> {
        *authority = installed(authority)?;
        let mut next = match self.left_over(root).await? {
            Some(left) => self.resume_issuing(settings, authority, root, left, now).await?,
            None => {
                let guard = is_free.then_some(&mut *authority);
                self.reserve_issuing(settings, guard, root, by, now).await?
            }
        };
        match self.certify(settings, authority, root, &mut next, now).await {
            Err(AuthorityError::KeyUnusable { signer, source }) if signer == next.id().into() => {
                warn!(
                    issuing.id = %next.id(),
                    error = &source as &dyn std::error::Error,
                    "the issuing authority gets another key"
                );
                // And another serial number. It has signed nothing, and nobody has seen its certificate.
                (next.key, next.tbs, next.certificate, next.spec.serial) = (None, None, None, random_serial()?);
                self.save_issuing(&mut next).await?;
                self.certify(settings, authority, root, &mut next, now).await?;
            }
            certified => certified?,
        }
        if root.new_with_old.is_some() {
            let mut roots = self.ledger.roots(authority).await?;
            // As it will be: on record it may be reserved, and without its links.
            for each in roots.iter_mut().filter(|each| each.generation == root.generation) {
                *each = RootRecord { state: GenerationState::Signing, ..root.clone() };
            }
            next.path = live(&roots).above(key_and_certificate(root)?.1);
        }
        Ok(next)
    }

    async fn left_over(&self, root: &RootRecord) -> Result<Option<IssuingRecord>, AuthorityError> {
        let id = IssuingId { generation: root.generation, number: root.last_issuing };
        let last = if id.number == 0 { None } else { self.ledger.issuing(id).await? };
        Ok(last.filter(|last| last.state == IssuingState::Reserved))
    }

    /// What a crash left below a root that signs no more is never finished: its key is swept. If the root may have certified
    /// it, its list names it.
    pub(crate) async fn give_up_left_over(
        &self,
        authority: &mut Authority,
        root: &RootRecord,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Option<IssuingRecord>, AuthorityError> {
        let Some(left) = self.left_over(root).await? else { return Ok(None) };
        authority.unswept.insert(root.generation);
        let revocation =
            |_| IssuingRevocation { at: now, reason: Reason::CessationOfOperation, by: by.principal.clone() };
        let pass = Some(LeafPass { is_done: true, ..LeafPass::default() });
        let revoked = left.tbs.map(revocation);
        Ok(Some(IssuingRecord { state: IssuingState::Revoked, key: None, revoked, pass, ..left }))
    }

    /// Takes over what a crash left. Without a key on record, whoever began it cannot record one any more: a key that it
    /// made is given up. Who resumed it before may have died too, and the note to look for such a key with him.
    async fn resume_issuing(
        &self,
        settings: &IssuingSettings,
        authority: &mut Authority,
        root: &RootRecord,
        mut left: IssuingRecord,
        now: OffsetDateTime,
    ) -> Result<IssuingRecord, AuthorityError> {
        info!(issuing.id = %left.id(), "an interrupted issuing authority is resumed");
        let is_worn = left.spec.not_after - now < (left.spec.not_after - left.spec.not_before) / 2;
        if is_worn {
            let spec = self.spec(settings, root, left.id(), now).await?;
            let key = left.key.filter(|_| spec.algorithm == left.spec.algorithm);
            left = IssuingRecord { spec, key, tbs: None, certificate: None, ..left };
        }
        authority.unswept.insert(root.generation);
        if is_worn || left.key.is_none() {
            self.save_issuing(&mut left).await?;
        }
        Ok(left)
    }

    async fn spec(
        &self,
        settings: &IssuingSettings,
        root: &RootRecord,
        id: IssuingId,
        now: OffsetDateTime,
    ) -> Result<IssuingSpec, AuthorityError> {
        let (_, certificate) = key_and_certificate(root)?;
        let from = now.replace_nanosecond(0).unwrap_or(now);
        let own = &root.spec.permitted;
        let spec = IssuingSpec {
            id,
            root_name: root.spec.root_name.clone(),
            subject: root.spec.subject.clone(),
            algorithm: self.ledger.policy().await?.algorithm,
            serial: random_serial()?,
            not_before: (from - settings.backdate).max(certificate.not_before()),
            not_after: (from + settings.validity).min(certificate.not_after()),
            permitted: if own.is_unlimited() { settings.permitted.clone() } else { own.clone() },
            crl: CrlId::authorities(root.generation).url(&settings.crl_base),
        };
        if spec.not_after <= now {
            return Err(AuthorityError::RootEnds(root.generation));
        }
        Ok(spec)
    }

    /// Records the intent before anything exists: its number, its spec, and who asked for it.
    async fn reserve_issuing(
        &self,
        settings: &IssuingSettings,
        guard: Option<&mut Authority>,
        root: &mut RootRecord,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<IssuingRecord, AuthorityError> {
        let id = IssuingId { generation: root.generation, number: root.last_issuing + 1 };
        let mut record = IssuingRecord {
            revision: 0,
            state: IssuingState::Reserved,
            spec: self.spec(settings, root, id, now).await?,
            key: None,
            key_made: None,
            tbs: None,
            certificate: None,
            path: Vec::new(),
            revoked: None,
            pass: None,
            created: now,
        };
        root.last_issuing = id.number;
        let acts = vec![Act::new(Subject::Root(root.generation), Action::Create, by, now).with("issuing", id)];
        let authority = guard.as_deref();
        let change = Change { authority, roots: vec![root], issuing: vec![&record], acts, ..Change::default() };
        self.ledger.commit(change).await?;
        if let Some(guard) = guard {
            guard.revision += 1;
        }
        root.revision += 1;
        record.revision = 1;
        Ok(record)
    }

    /// Every step may be done already.
    async fn certify(
        &self,
        settings: &IssuingSettings,
        authority: &Authority,
        root: &RootRecord,
        next: &mut IssuingRecord,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let key = match &next.key {
            Some(key) => key.clone(),
            None => {
                let installation = authority.installation.ok_or(AuthorityError::Missing("installation"))?;
                let (generation, serial) = (root.generation, next.spec.serial);
                let purpose = Purpose { installation, role: KeyRole::Issuing, generation, serial };
                let key = self.vault.create_key(&purpose, next.spec.algorithm, &settings.roles).await?;
                (next.key, next.key_made) = (Some(key.clone()), Some(now));
                self.save_issuing(next).await?;
                key
            }
        };
        match &next.certificate {
            Some(certificate) => self.patiently(&*next, now, || self.vault.check(&key, certificate)).await?,
            None => self.sign_issuing(root, &key, next, now).await?,
        }
        self.publish_authorities(root, None, now).await?;
        // A key with a name cannot be deleted by any function.
        self.patiently(&*next, now, || self.vault.mark_as_signing(&key, next.spec.serial)).await
    }

    async fn sign_issuing(
        &self,
        root: &RootRecord,
        key: &str,
        next: &mut IssuingRecord,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let algorithm = next.spec.algorithm;
        let public_key = self.patiently(&*next, now, || self.vault.public_key(key, algorithm)).await?;
        let (root_key, issuer) = key_and_certificate(root)?;
        let prepared = prepare_issuing(&next.spec, &public_key, issuer)?;
        match next.tbs {
            Some(tbs) if tbs != prepared.tbs_sha256() => return Err(AuthorityError::NotAsReserved),
            Some(_) => {}
            None => {
                next.tbs = Some(prepared.tbs_sha256());
                self.save_issuing(next).await?;
            }
        }
        self.patiently(root, now, || self.vault.confirm(root_key, issuer)).await?;
        let (spec, public_key) = (&next.spec, &public_key);
        let sign =
            || async move { self.vault.sign_prepared(root_key, prepare_issuing(spec, public_key, issuer)?).await };
        next.certificate = Some(self.patiently(root, now, sign).await?);
        self.save_issuing(next).await
    }

    async fn save_issuing(&self, issuing: &mut IssuingRecord) -> Result<(), AuthorityError> {
        self.ledger.commit(Change { issuing: vec![issuing], ..Change::default() }).await?;
        issuing.revision += 1;
        Ok(())
    }
}

/// At half of its life. Never, if a later one would end no later: both end with their root.
pub(crate) fn next_due(issuing: &IssuingRecord, root: &RootRecord, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let end = root.certificate.as_ref()?.not_after();
    (issuing.spec.not_after < end).then(|| now + (issuing.spec.not_after - now) / 2)
}
