//! The keys of roots that left the devices are put out of use: the last lists, then disabled, then scheduled for deletion.
//!
//! What is to be done is on the root's record, and each step may be repeated. A key that a person disabled, scheduled or
//! deleted before is as it should be. Whatever an authority below such a root signed and a person waived may be valid for
//! longer: its key is needed for its lists, and if the root's list could not outlive it, the root's is too.

use std::slice;

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::rollover::generation::GenerationState;
use rootcast_core::rollover::retirement::last_list;
use rootcast_ledger::{
    Authority, Change, IssuingRecord, IssuingRevocation, IssuingState, Kept, LeafPass, LedgerError, Retirement,
    RootRecord, SignedPlace, StillValid,
};
use rootcast_pki::crl::{CrlId, Reason};
use rootcast_vault::VaultError;
use time::{Duration, OffsetDateTime};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::lists::without_old_key;
use crate::{AuthorityError, CertificateAuthority};

/// Days until KMS deletes a key: KMS's longest time.
pub(crate) const DELETION_DAYS: u8 = 30;
/// Certificates per page of the search: two calls for their revocations.
const PAGE: u32 = 200;
/// After a root signs no more, a search waits until whoever still signed with its authorities is dead, and the index lists
/// what they signed.
pub(crate) const SETTLED: Duration = Duration::minutes(20);
/// A valid certificate that holds up the last list is looked at again after this time: it may be revoked.
const AGAIN: Duration = Duration::days(7);
/// Between two looks of a process at retired keys.
const PAUSE: Duration = Duration::minutes(10);

/// Until KMS knows a key's new name.
const NAMED: Duration = Duration::minutes(5);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// There is more to do now.
    Step,
    /// The key is pending deletion.
    Pending,
    /// Something is to be done later.
    Wait,
    /// KMS may allow it in a few minutes, or not before somebody changes the key's policy.
    Denied,
    /// Nothing is left to do.
    Over,
}

impl CertificateAuthority {
    /// Goes on with it until there is nothing to do now. Without `woken`, each process looks every ten minutes. Returns how many
    /// roots' keys are pending deletion, if it looked at all.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if somebody else changed a record meanwhile: repeated in a minute.
    pub async fn retire_keys(
        &self,
        authority: &Authority,
        woken: bool,
        deadline: Instant,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Option<u64>, AuthorityError> {
        let is_quiet = !woken && self.retire_put_off.is_on(now);
        if authority.retiring.is_empty() || is_quiet || authority.is_claimed(now) {
            return Ok(None);
        }
        let (mut pending, mut over, mut is_denied, mut failed) = (0, Vec::new(), false, Ok(()));
        for generation in &authority.retiring {
            loop {
                if Instant::now() >= deadline {
                    return Ok(None);
                }
                match self.retire_step(*generation, by, now).await {
                    Ok(Next::Step) => continue,
                    Ok(Next::Pending) => pending += 1,
                    Ok(Next::Denied) => is_denied = true,
                    Ok(Next::Over) => over.push(*generation),
                    Ok(Next::Wait) => {}
                    // One root holds up no other.
                    Err(error) => failed = failed.and(Err(error)),
                }
                break;
            }
        }
        if !over.is_empty() {
            let mut authority = authority.clone();
            authority.retiring.retain(|generation| !over.contains(generation));
            self.ledger.commit(Change { authority: Some(&authority), ..Change::default() }).await?;
        }
        failed?;
        self.retire_put_off.set(now + if is_denied { NAMED } else { PAUSE });
        Ok(Some(pending))
    }

    /// One step with the root as it is on record.
    async fn retire_step(&self, generation: u32, by: &Actor, now: OffsetDateTime) -> Result<Next, AuthorityError> {
        let Some(mut root) = self.ledger.root(generation).await? else { return Ok(Next::Over) };
        let Some(retirement) = root.retirement.clone() else { return Ok(Next::Over) };
        if retirement.done {
            let is_gone = retirement.deletion.is_none_or(|at| at <= now);
            return Ok(if retirement.kept.is_some() || is_gone { Next::Over } else { Next::Pending });
        }
        if retirement.again.is_some_and(|again| now < again) {
            return Ok(if retirement.retired.is_some() { Next::Pending } else { Next::Wait });
        }
        if retirement.retired.is_some() {
            return self.put_out_of_use(root, retirement, now).await;
        }
        if !retirement.searched {
            root.retirement = Some(self.search(generation, retirement, now).await?);
            self.save_root(&mut root).await?;
            return Ok(Next::Step);
        }
        let below = self.ledger.issuings(slice::from_ref(&root)).await?;
        let (ended, ends) = end_authorities(&below, &retirement, by, now);
        if !ended.is_empty() {
            let ids = ended.iter().map(|each| each.id().to_string()).collect::<Vec<_>>().join(", ");
            let act = Act::new(Subject::Root(generation), Action::Revoke, by, now).with("issuing", ids);
            let acts = vec![act.with("reason", "nothing that they signed is valid")];
            self.ledger.commit(Change { issuing: ended.iter().collect(), acts, ..Change::default() }).await?;
            return Ok(Next::Step);
        }
        let keeps = !ends.is_empty();
        match last_list(ends, now) {
            Ok(until) => self.retire(root, retirement, (until, keeps), by, now).await,
            // Its key cannot sign a list, and nobody who trusts a root trusts it.
            Err(_) if root.compromise.is_some() => self.retire(root, retirement, (now, keeps), by, now).await,
            Err(from) => {
                info!(
                    root.generation = generation,
                    "something that the root certified is valid for long: its key waits"
                );
                // Until then, its list is renewed like that of any other root.
                let again = Some(from.min(now + AGAIN));
                root.retirement = Some(Retirement { again, searched: false, place: None, ..retirement });
                self.save_root(&mut root).await?;
                Ok(Next::Wait)
            }
        }
    }

    /// A page of what the root, and the authorities below it, signed.
    async fn search(
        &self,
        generation: u32,
        mut retirement: Retirement,
        now: OffsetDateTime,
    ) -> Result<Retirement, AuthorityError> {
        let place = match retirement.place {
            Some(place) => Some(place),
            None => {
                // What an earlier search found may be revoked.
                retirement.valid.clear();
                SignedPlace::newest(generation)
            }
        };
        let Some(place) = place else { return Ok(Retirement { searched: true, ..retirement }) };
        let mut page = self.ledger.signed(place, PAGE).await?;
        page.rows.retain(|(_, signed)| signed.leaf.is_some() && signed.not_after > now);
        let keys = page.rows.iter().map(|(serial, signed)| (CrlId::of(signed.signer, serial), *serial));
        let revoked = self.ledger.revoked_among(keys).await?;
        for (serial, signed) in page.rows {
            if revoked.iter().any(|each| each.serial == serial) {
                continue;
            }
            let number = signed.signer.issuing().map_or(0, |id| id.number);
            let found =
                retirement.valid.entry(number).or_insert(StillValid { certificates: 0, until: signed.not_after });
            found.certificates += 1;
            found.until = found.until.max(signed.not_after);
        }
        let next = page.next.filter(|next| next.generation() == generation);
        Ok(Retirement { searched: next.is_none(), place: next, ..retirement })
    }

    /// The last lists; then the root is retired on record. From then on, nobody wakes its key: the record of those that
    /// sleep no longer names it.
    async fn retire(
        &self,
        mut root: RootRecord,
        retirement: Retirement,
        (until, keeps): (OffsetDateTime, bool),
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Next, AuthorityError> {
        let is_compromised = root.compromise.is_some();
        let published = if is_compromised {
            // Its key signs nothing any more.
            Ok(())
        } else {
            let published = Box::pin(self.publish_last_lists(&root, until, now));
            self.awake("its last list is published", by, now, published).await
        };
        if keeps && matches!(published, Err(AuthorityError::KeyUnusable { .. })) {
            warn!(
                root.generation = root.generation,
                "something below the root is valid, and its key cannot sign the last list: enable the key, or revoke what is valid"
            );
            root.retirement = Some(Retirement { again: Some(now + AGAIN), searched: false, place: None, ..retirement });
            self.save_root(&mut root).await?;
            return Ok(Next::Wait);
        }
        without_old_key(&root, published)?;
        let mut sleep = self.ledger.sleep().await?;
        let slept = sleep.asleep.remove(&root.generation) | sleep.awake.remove(&root.generation).is_some();
        let deletion = now + Duration::days(self.deletion_days.into());
        let deletion = Some(deletion).filter(|_| retirement.kept.is_none());
        root.state = GenerationState::Retired;
        root.retirement = Some(Retirement { retired: Some(now), deletion, again: None, ..retirement });
        let act = Act::new(Subject::Root(root.generation), Action::Retire, by, now);
        let acts = vec![deletion.into_iter().fold(act, |act, at| act.with("deletion", at.date()))];
        let sleep = slept.then_some(&sleep);
        self.ledger.commit(Change { roots: vec![&root], sleep, acts, ..Change::default() }).await?;
        info!(root.generation = root.generation, "the root is retired");
        Ok(Next::Step)
    }

    /// What KMS is told, all of it again after an interruption: the key can sign no more from the first call on.
    async fn put_out_of_use(
        &self,
        mut root: RootRecord,
        retirement: Retirement,
        now: OffsetDateTime,
    ) -> Result<Next, AuthorityError> {
        let below = self.ledger.issuings(slice::from_ref(&root)).await?;
        let told = match retirement.kept {
            Some(_) => self.cancel(&root, &below).await,
            None => self.schedule(&root, &below, &retirement, now).await,
        };
        match told {
            Err(error) if error.is_denied() => {
                // A name is known in minutes; a key that an earlier version made needs its new policy.
                let error = &error as &dyn std::error::Error;
                warn!(
                    root.generation = root.generation,
                    error,
                    "a retired key is tried again; one that an earlier version made needs `rootcast root protect-keys`"
                );
                return Ok(Next::Denied);
            }
            told => told?,
        }
        let later = below.iter().filter_map(|each| retirement.needs(each.id().number, now)).min();
        let later = later.filter(|_| retirement.kept.is_none());
        let deletion = match (&retirement.kept, retirement.again) {
            (Some(_), _) => None,
            // The root's own key was scheduled before; this time, it was about an authority's.
            (None, Some(_)) => retirement.deletion,
            (None, None) => Some(now + Duration::days(self.deletion_days.into())),
        };
        root.retirement = Some(Retirement { done: later.is_none(), again: later, deletion, ..retirement });
        self.save_root(&mut root).await?;
        info!(root.generation = root.generation, "KMS knows that the root's keys are out of use");
        Ok(Next::Step)
    }

    /// The authorities' keys need not be disabled first: one that is pending deletion cannot sign either.
    async fn schedule(
        &self,
        root: &RootRecord,
        below: &[IssuingRecord],
        retirement: &Retirement,
        now: OffsetDateTime,
    ) -> Result<(), VaultError> {
        self.disable_root(root).await?;
        let unneeded = below.iter().filter(|each| retirement.needs(each.id().number, now).is_none());
        let unneeded = unneeded.filter_map(|each| Some((each.key.as_deref()?, each.spec.serial)));
        let of_root = root.key.as_deref().map(|key| (key, root.spec.serial));
        let mut outcome = Ok(());
        for (key, serial) in of_root.into_iter().chain(unneeded) {
            self.vault.mark_as_retired(key, serial).await?;
            // One that refuses keeps no other alive.
            match self.vault.schedule_deletion(key, self.deletion_days).await {
                Err(error) if error.is_denied() => outcome = Err(error),
                scheduled => scheduled?,
            }
        }
        outcome
    }

    async fn cancel(&self, root: &RootRecord, below: &[IssuingRecord]) -> Result<(), VaultError> {
        let mut outcome = Ok(());
        for key in root.key.iter().chain(below.iter().filter_map(|each| each.key.as_ref())) {
            match self.vault.cancel_deletion(key).await {
                Err(error) if error.is_denied() => outcome = Err(error),
                cancelled => cancelled?,
            }
        }
        self.disable_root(root).await?;
        outcome
    }

    async fn disable_root(&self, root: &RootRecord) -> Result<(), VaultError> {
        let Some(key) = &root.key else { return Ok(()) };
        match self.vault.disable(key).await {
            Err(error) if !error.is_unusable() => Err(error),
            _ => Ok(()),
        }
    }

    /// Has the deletion of a retired root's keys cancelled: they stay disabled. Twice is as good as once.
    ///
    /// # Errors
    /// [`AuthorityError::NoGeneration`], [`AuthorityError::NotRetired`] or [`AuthorityError::KeyDeleted`].
    pub async fn keep_root(&self, generation: u32, by: &Actor, now: OffsetDateTime) -> Result<(), AuthorityError> {
        let mut authority = self.ledger.authority().await?;
        let root = self.ledger.root(generation).await?.filter(|root| root.certificate.is_some());
        let mut root = root.ok_or(AuthorityError::NoGeneration(generation))?;
        let Some(retirement) = root.retirement.as_mut().filter(|retirement| retirement.retired.is_some()) else {
            return Err(AuthorityError::NotRetired(generation));
        };
        if retirement.kept.is_some() {
            return Ok(());
        }
        if retirement.done && retirement.deletion.is_some_and(|at| at <= now) {
            return Err(AuthorityError::KeyDeleted(generation));
        }
        if authority.is_claimed(now) {
            // Whoever makes a root relies on the authority's record.
            return Err(LedgerError::Conflict.into());
        }
        retirement.kept = Some(Kept { at: now, by: by.principal.clone() });
        (retirement.done, retirement.again) = (false, None);
        authority.retiring.insert(generation);
        let acts = vec![Act::new(Subject::Root(generation), Action::Keep, by, now)];
        let change = Change { authority: Some(&authority), roots: vec![&root], acts, ..Change::default() };
        Ok(self.ledger.commit(change).await?)
    }
}

/// Authorities of which nothing is valid are revoked, so that the root's last list need not outlive them. Returns those, and
/// the ends of what the root certified and does not revoke.
fn end_authorities(
    below: &[IssuingRecord],
    retirement: &Retirement,
    by: &Actor,
    now: OffsetDateTime,
) -> (Vec<IssuingRecord>, Vec<OffsetDateTime>) {
    let (mut ended, mut ends) = (Vec::new(), Vec::from_iter(retirement.needs(0, now)));
    for issuing in below.iter().filter(|each| each.state != IssuingState::Revoked) {
        let Some(end) = issuing.certificate.as_ref().map(|it| it.not_after()).filter(|end| *end > now) else {
            continue;
        };
        if retirement.needs(issuing.id().number, now).is_some() {
            ends.push(end);
            continue;
        }
        let (reason, by) = (Reason::Superseded, by.principal.clone());
        ended.push(IssuingRecord {
            state: IssuingState::Revoked,
            revoked: Some(IssuingRevocation { at: now, reason, by }),
            pass: Some(LeafPass { is_done: true, ..LeafPass::default() }),
            ..issuing.clone()
        });
    }
    (ended, ends)
}
