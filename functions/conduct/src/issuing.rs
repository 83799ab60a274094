//! Issuing authorities: the one that signs is replaced in time, roots' lists of authorities are renewed, and what a
//! compromised one signed is revoked and renewed.

use std::collections::HashMap;

use futures::stream::{self, StreamExt};
use rootcast_authority::AuthorityError;
use rootcast_core::audit::Actor;
use rootcast_ledger::{
    Authority, CertificateOrPending, CertificateRecord, Change, IssuingRecord, LeafPass, LedgerError, RootRecord,
    SerialRecord, SignedPlace,
};
use rootcast_operations::{DeviceRefusal, NotBegun, NotDone, Operations, Revocation, revoke};
use rootcast_pki::crl::{CrlId, Reason};
use rootcast_pki::root::Serial;
use rootcast_pki::signer::SignerId;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::{App, ConductError, MARGIN};

/// Certificates per page, each of which may need a dozen calls: a page takes a second or two.
const PAGE: u32 = 50;
/// At the same time.
const AT_ONCE: usize = 8;
/// Longer than whoever signs with a certificate authority lives after it read that it may, and the index takes to list
/// what was signed: a round that begins after it finds everything.
const SETTLED: time::Duration = time::Duration::minutes(20);
/// Between two rounds for devices on which a job worked when their renewal was asked for.
const AGAIN: time::Duration = time::Duration::HOUR;
/// A job that works on a device for longer is not waited for.
const PATIENCE: time::Duration = time::Duration::DAY;

/// What came of certificates.
#[derive(Default)]
struct Counts {
    revoked: u64,
    renewed: u64,
    /// A job works on the device.
    busy: u64,
    /// The device is not approved.
    unapproved: u64,
}

/// Who may have signed for somebody else.
enum Compromised {
    Issuing(Box<IssuingRecord>),
    Root(Box<RootRecord>),
}

impl Compromised {
    fn since(&self) -> Option<OffsetDateTime> {
        match self {
            Self::Issuing(record) => record.revoked.as_ref().map(|revoked| revoked.at),
            Self::Root(root) => root.compromise.as_ref().map(|compromise| compromise.at),
        }
    }

    fn pass(&self) -> LeafPass {
        let pass = match self {
            Self::Issuing(record) => record.pass.clone(),
            Self::Root(root) => root.compromise.as_ref().map(|compromise| compromise.pass.clone()),
        };
        pass.unwrap_or_default()
    }

    fn with(mut self, pass: LeafPass) -> Self {
        match &mut self {
            Self::Issuing(record) => record.pass = Some(pass),
            Self::Root(root) => root.compromise.iter_mut().for_each(|compromise| compromise.pass = pass.clone()),
        }
        self
    }

    fn change(&self) -> Change<'_> {
        match self {
            Self::Issuing(record) => Change { issuing: vec![record], ..Change::default() },
            Self::Root(root) => Change { roots: vec![root], ..Change::default() },
        }
    }
}

impl App {
    /// Somebody asked for the next issuing authority, or revoked one, activated a root, or decided on the keys of an old one.
    pub(crate) async fn issuing_woken(&self, deadline: Instant) -> Result<(), ConductError> {
        let done = async {
            let authority = self.ledger.authority().await?;
            self.authority.disable_compromised(&authority, (self.clock)()).await?;
            let authority = self.look_after_issuing(authority).await?;
            let revoked = self.revoke_leaves(&authority, deadline).await;
            revoked.and(self.retire_keys(&authority, true, deadline).await)
        };
        let done = done.await;
        if let Err(error) = &done {
            let error = error as &dyn std::error::Error;
            warn!(error, "looking after the issuing authorities was interrupted; it is repeated");
        }
        done
    }

    /// What there is to do about issuing authorities. Nothing is read where there is nothing to do, apart from a look at
    /// the lists once an hour. Returns the authority's record as it is then.
    pub(crate) async fn look_after_issuing(&self, authority: Authority) -> Result<Authority, ConductError> {
        let (now, by) = ((self.clock)(), &Actor::function("conduct"));
        // First of all, since verifiers go by it.
        let mut published = Ok(());
        for id in authority.compromised.iter().filter(|_| !authority.is_claimed(now)) {
            published = published.and(self.authority.publish_revocation(*id, by, now).await);
        }
        let kept = passed(self.authority.keep_issuing(&authority, by, now).await);
        let authority = if matches!(kept, Ok(true)) { self.ledger.authority().await? } else { authority };
        // None of them holds up the others.
        let renewed = self.authority.renew_authorities(&authority, now).await.map(|()| false);
        passed(published.map(|()| false)).and(kept).and(passed(renewed))?;
        Ok(authority)
    }

    /// Revokes and renews what compromised issuing authorities signed, and revokes what was signed below compromised roots, page
    /// by page, until the time is over; then a message continues. After a crash, the schedule does.
    pub(crate) async fn revoke_leaves(&self, authority: &Authority, deadline: Instant) -> Result<(), ConductError> {
        // Whoever replaces a root relies on its record to stay as it is.
        let roots = authority.compromised_roots.difference(&authority.replacing);
        let roots = roots.map(|generation| SignerId::root(*generation));
        for signer in roots.chain(authority.compromised.iter().map(|id| SignerId::from(*id))) {
            loop {
                if Instant::now() + MARGIN >= deadline {
                    self.queue.wake_for_issuing(&self.control_queue, "to be continued").await;
                    return Ok(());
                }
                match self.revoke_page(signer).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    // Another conductor does the same.
                    Err(ConductError::Ledger(LedgerError::Conflict)) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// One page of the round. Returns whether there is more to do now.
    async fn revoke_page(&self, signer: SignerId) -> Result<bool, ConductError> {
        let now = (self.clock)();
        let compromised = self.compromised(signer).await?;
        let revoked_at = compromised.since().unwrap_or(now);
        let settled = revoked_at + SETTLED;
        let pass = compromised.pass();
        if pass.is_done {
            return self.end_pass(&compromised).await.map(|()| false);
        }
        let due = pass.again.unwrap_or(settled);
        let Some(began) = pass.began.or((now >= due).then_some(now)) else { return Ok(false) };
        let generation = signer.generation();
        let Some(place) = pass.place.or(SignedPlace::newest(generation)) else { return Ok(false) };
        let page = self.ledger.signed(place, PAGE).await?;
        let counts = self.revoke_rows(signer, page.rows, now).await?;
        // Of this round, or of the last one.
        let before = if pass.place.is_some() { (pass.busy, pass.unapproved) } else { (0, 0) };
        let (busy, unapproved) = (before.0 + counts.busy, before.1 + counts.unapproved);
        let (revoked, renewed) = (pass.revoked + counts.revoked, pass.renewed + counts.renewed);
        let pass = LeafPass { revoked, renewed, busy, unapproved, ..pass };
        let next = page.next.filter(|next| next.generation() == generation);
        let pass = match next {
            Some(next) => LeafPass { began: Some(began), place: Some(next), ..pass },
            // What was signed until now may still be missing in the index.
            None => {
                let is_done = began >= settled && (busy == 0 || now >= revoked_at + PATIENCE);
                let again = (began >= settled).then_some(now + AGAIN);
                LeafPass { began: None, place: None, again, is_done, ..pass }
            }
        };
        if pass.is_done {
            info!(
                %signer, certificates.revoked = pass.revoked, certificates.renewed = pass.renewed, devices.busy = pass.busy,
                devices.unapproved = pass.unapproved,
                "everything that a compromised authority signed is revoked, and its renewal asked for"
            );
        }
        let goes_on = pass.place.is_some() || pass.is_done;
        let compromised = compromised.with(pass);
        self.ledger.commit(compromised.change()).await?;
        Ok(goes_on)
    }

    async fn compromised(&self, signer: SignerId) -> Result<Compromised, ConductError> {
        Ok(match signer.issuing() {
            Some(id) => {
                let record = self.ledger.issuing(id).await?.ok_or(AuthorityError::NoIssuing(id))?;
                Compromised::Issuing(Box::new(record))
            }
            None => {
                let root = self.ledger.root(signer.generation()).await?;
                Compromised::Root(Box::new(root.ok_or(AuthorityError::NoGeneration(signer.generation()))?))
            }
        })
    }

    async fn end_pass(&self, compromised: &Compromised) -> Result<(), ConductError> {
        let mut authority = self.ledger.authority().await?;
        let is_listed = match compromised {
            Compromised::Issuing(record) => authority.compromised.remove(&record.id()),
            // Its key is looked after until another root has taken its place.
            Compromised::Root(root) => !root.state.is_live() && authority.compromised_roots.remove(&root.generation),
        };
        if authority.is_claimed((self.clock)()) || !is_listed {
            return Ok(());
        }
        Ok(self.ledger.commit(Change { authority: Some(&authority), ..Change::default() }).await?)
    }

    /// Revokes those that the authority signed; of a root, those that the authorities below it signed, too. Where the
    /// certificate's record still has one of them, its device gets another one, unless somebody revoked it for another reason
    /// before, or the rollover that replaces a root sees to that.
    async fn revoke_rows(
        &self,
        signer: SignerId,
        mut rows: Vec<(Serial, SerialRecord)>,
        now: OffsetDateTime,
    ) -> Result<Counts, ConductError> {
        let is_below = |by: SignerId| by == signer || (signer.is_root() && by.generation() == signer.generation());
        rows.retain(|(_, signed)| is_below(signed.signer) && signed.leaf.is_some() && signed.not_after > now);
        if rows.is_empty() {
            return Ok(Counts::default());
        }
        let keys = rows.iter().map(|(serial, signed)| (CrlId::of(signed.signer, serial), *serial));
        let ids = rows.iter().map(|(_, signed)| signed.certificate);
        let (known, held) =
            tokio::try_join!(self.ledger.revoked_among(keys), self.ledger.certificates_or_pending(ids))?;
        let known: HashMap<Serial, Reason> =
            known.into_iter().map(|revoked| (revoked.serial, revoked.reason)).collect();
        let held: HashMap<_, CertificateRecord> = held
            .into_iter()
            .filter_map(|held| match held {
                CertificateOrPending::Certificate(held) => Some((held.id, *held)),
                CertificateOrPending::Pending(_) => None,
            })
            .collect();
        let by = &Actor::function("conduct");
        let work = rows.iter().map(|(serial, signed)| {
            let holder = held.get(&signed.certificate);
            let holder = holder.filter(|held| Some(held.leaf.fingerprint()) == signed.leaf).cloned();
            async {
                let mut counts = Counts::default();
                let is_held = holder.is_some();
                let mut reason = known.get(serial).copied();
                if reason.is_none() {
                    let comments = Some(if signer.is_root() {
                        "its root is compromised"
                    } else {
                        "its issuing authority is compromised"
                    });
                    let how = Revocation { reason: Reason::CaCompromise, comments, by, now };
                    match revoke(&self.ledger, *serial, signed, holder, how).await {
                        Ok(revoked) => {
                            counts.revoked = u64::from(revoked.is_new);
                            reason = Some(revoked.record.reason);
                        }
                        Err(NotDone::Refused(why)) => info!("{why}"),
                        Err(NotDone::Ledger(error)) => return skipped(signed, error).map(|()| counts),
                        Err(NotDone::Busy | NotDone::Late) => return Err(LedgerError::Conflict),
                    }
                }
                if is_held && !signer.is_root() && reason == Some(Reason::CaCompromise) {
                    self.renew_leaf(signed, by, &mut counts).await?;
                }
                Ok(counts)
            }
        });
        let done: Vec<Result<Counts, LedgerError>> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
        let mut counts = Counts::default();
        for each in done {
            let Counts { revoked, renewed, busy, unapproved } = each?;
            counts.revoked += revoked;
            counts.renewed += renewed;
            counts.busy += busy;
            counts.unapproved += unapproved;
        }
        Ok(counts)
    }

    /// As an operator who asks for it. A device on which a job works is looked at again in the next round. One that is not
    /// approved is counted: its approval renews its certificate.
    async fn renew_leaf(&self, signed: &SerialRecord, by: &Actor, counts: &mut Counts) -> Result<(), LedgerError> {
        let operations = Operations {
            ledger: &self.ledger,
            queue: &self.queue,
            control_queue: &self.control_queue,
            clock: self.clock,
            deadline: None,
        };
        match operations.issue(&signed.device, by).await {
            Ok(_) => counts.renewed += 1,
            Err(NotDone::Refused(why)) => {
                let why: &NotBegun = &why;
                warn!(device.id = signed.device.as_str(), "its certificate is revoked and not renewed: {why}");
                counts.busy += u64::from(matches!(why, NotBegun::Device(DeviceRefusal::UnderWay { .. })));
                counts.unapproved += u64::from(matches!(why, NotBegun::Device(DeviceRefusal::NotApproved)));
            }
            Err(NotDone::Ledger(error)) => skipped(signed, error)?,
            Err(NotDone::Busy | NotDone::Late) => return Err(LedgerError::Conflict),
        }
        Ok(())
    }
}

/// One certificate whose records cannot be read holds up no other.
fn skipped(signed: &SerialRecord, why: LedgerError) -> Result<(), LedgerError> {
    if !matches!(why, LedgerError::Corrupt { .. } | LedgerError::Unwritable { .. }) {
        return Err(why);
    }
    error!(
        certificate.id = %signed.certificate,
        error = &why as &dyn std::error::Error,
        "a certificate of a compromised issuing authority could not be revoked and renewed; do so by hand"
    );
    Ok(())
}

/// Another conductor or an operator wrote first: repeated in a minute.
fn passed(done: Result<bool, AuthorityError>) -> Result<bool, AuthorityError> {
    match done {
        Err(AuthorityError::Ledger(LedgerError::Conflict)) => Ok(true),
        // A root's key was woken, and KMS does not know it yet.
        Err(error) if error.is_waking() => Ok(true),
        done => done,
    }
}
