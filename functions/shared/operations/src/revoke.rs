//! Revokes what our authorities signed, by serial number: the record of the certificate may be renewed or deleted since.
//!
//! Each revocation is one transaction with its audit entry, and marks its list as behind. The callers have the list
//! published; without that, the issuer's schedule finds it.

use std::collections::BTreeSet;

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::superseding::Verdict;
use rootcast_ledger::{CertificateRecord, EndedRecord, FormerRecord, Ledger, LedgerError, RevokedRecord, SerialRecord};
use rootcast_pki::crl::{CrlId, Reason};
use rootcast_pki::root::Serial;
use thiserror::Error;
use time::{Date, OffsetDateTime};
use tracing::{info, warn};

use crate::NotDone;
use crate::attempts::attempts;

/// Who revokes, and why.
#[derive(Debug, Clone, Copy)]
pub struct Revocation<'a> {
    pub reason: Reason,
    pub comments: Option<&'a str>,
    pub by: &'a Actor,
    pub now: OffsetDateTime,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The list that names it from now on.
    pub list: CrlId,
    pub record: RevokedRecord,
    /// It was not revoked before, or for a weaker reason.
    pub is_new: bool,
}

/// Why a serial number is not revoked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotRevoked {
    #[error(
        "The serial number {0} is reserved, and no certificate was signed with it yet: there is nothing to revoke."
    )]
    Unsigned(Serial),
    #[error(
        "The certificate with the serial number {0} expired on {1}: nobody accepts it, so it is not revoked any more."
    )]
    Expired(Serial, Date),
}

impl From<NotRevoked> for NotDone<NotRevoked> {
    fn from(why: NotRevoked) -> Self {
        Self::Refused(why)
    }
}

/// Revokes a serial number. `known`: the certificate as it was just read, which saves a call. Three calls, or four; six
/// if it was revoked before for a weaker reason, which is replaced. The date of the revocation stays.
pub async fn revoke(
    ledger: &Ledger,
    serial: Serial,
    signed: &SerialRecord,
    known: Option<CertificateRecord>,
    how: Revocation<'_>,
) -> Result<Revoked, NotDone<NotRevoked>> {
    revoke_as(Action::Revoke, ledger, serial, signed, known, how).await
}

async fn revoke_as(
    action: Action,
    ledger: &Ledger,
    serial: Serial,
    signed: &SerialRecord,
    mut known: Option<CertificateRecord>,
    how: Revocation<'_>,
) -> Result<Revoked, NotDone<NotRevoked>> {
    attempts(|| once(action, ledger, serial, signed, known.take(), how)).await
}

async fn once(
    action: Action,
    ledger: &Ledger,
    serial: Serial,
    signed: &SerialRecord,
    known: Option<CertificateRecord>,
    Revocation { reason, comments, by, now }: Revocation<'_>,
) -> Result<Revoked, NotDone<NotRevoked>> {
    let list = CrlId::of(signed.signer, &serial);
    let Some(leaf) = signed.leaf else { return Err(NotRevoked::Unsigned(serial).into()) };
    let before = |record| Revoked { list, record, is_new: false };
    if signed.not_after <= now {
        let revoked = ledger.revoked(list, serial).await?;
        return Ok(revoked.map(before).ok_or_else(|| NotRevoked::Expired(serial, signed.not_after.date()))?);
    }
    let held = match known {
        Some(known) => Some(known),
        None => ledger.certificate_alone(signed.certificate).await?,
    };
    let holder = held.filter(|held| held.id == signed.certificate && held.leaf.fingerprint() == leaf);
    let record = RevokedRecord {
        serial,
        certificate: signed.certificate,
        at: now,
        reason,
        by: by.principal.clone(),
        comments: comments.map(str::to_owned),
        not_after: signed.not_after,
    };
    let act = Act::new(Subject::Certificate(signed.certificate), action, by, now);
    let act = act.with("dn", signed.dn()).with("serial", serial).with("reason", format_args!("{reason:?}"));
    let done = |record| {
        info!(
            caller = by.principal, certificate.id = %signed.certificate, certificate.serial = %serial, ?reason,
            "certificate revoked"
        );
        Ok(Revoked { list, record, is_new: true })
    };
    if ledger.revoke(holder.as_ref(), list, &record, None, &act).await? {
        return done(record);
    }
    let earlier = ledger.revoked(list, serial).await?.ok_or(LedgerError::Conflict)?;
    if !reason.outranks(earlier.reason) {
        return Ok(before(earlier));
    }
    let record = RevokedRecord { at: earlier.at, ..record };
    let act = act.with("before", format_args!("{:?}", earlier.reason));
    if ledger.revoke(holder.as_ref(), list, &record, Some(&earlier), &act).await? {
        return done(record);
    }
    Err(LedgerError::Conflict.into())
}

/// Revokes what renewals of one certificate replaced, whatever its devices were proven to show: a renewal that is not
/// proven yet, or failed, leaves its predecessor in use. Returns the revocations that are new, and the first failure,
/// which does not hold up the others.
pub async fn revoke_formers(
    ledger: &Ledger,
    certificate: CertificateId,
    how: Revocation<'_>,
) -> (Vec<Revoked>, Result<(), NotDone<NotRevoked>>) {
    let (mut revoked, mut outcome) = (Vec::new(), Ok(()));
    match ledger.formers(certificate).await {
        Ok(formers) => {
            for former in formers {
                match ledger_revoke(Action::Revoke, ledger, former.serial, how).await {
                    Ok(new) => revoked.extend(new),
                    Err(why) => outcome = outcome.and(Err(why)),
                }
            }
        }
        Err(error) => outcome = Err(error.into()),
    }
    (revoked, outcome)
}

/// Revokes everything that was signed for a certificate before it ended, with the reason *cessationOfOperation*. Returns
/// the lists to publish. One that fails does not hold up the others. May be repeated.
pub async fn end(
    ledger: &Ledger,
    ended: &EndedRecord,
    by: &Actor,
    now: OffsetDateTime,
) -> Result<BTreeSet<CrlId>, NotDone<NotRevoked>> {
    let how = Revocation { reason: Reason::CessationOfOperation, comments: None, by, now };
    let (mut lists, mut outcome) = (BTreeSet::new(), Ok(()));
    if let Some(serial) = ended.serial {
        match ledger_revoke(Action::Revoke, ledger, serial, how).await {
            Ok(revoked) => lists.extend(revoked.map(|revoked| revoked.list)),
            Err(why) => outcome = Err(why),
        }
    }
    for former in ledger.formers(ended.certificate).await?.iter().filter(|former| former.signed <= ended.at) {
        match ledger_revoke(Action::Revoke, ledger, former.serial, how).await {
            Ok(revoked) => {
                lists.extend(revoked.map(|revoked| revoked.list));
                ledger.forget_former(former).await?;
            }
            Err(why) => outcome = outcome.and(Err(why)),
        }
    }
    outcome?;
    ledger.forget_ended(ended).await?;
    Ok(lists)
}

/// Revokes what renewals of one certificate replaced, as *superseded*, once every device that the certificate is bound
/// to was proven to show a later one. The schedule publishes the lists. May be repeated.
pub async fn supersede(
    ledger: &Ledger,
    formers: &[FormerRecord],
    by: &Actor,
    now: OffsetDateTime,
) -> Result<(), NotDone<NotRevoked>> {
    let Some(certificate) = formers.first().map(|former| former.certificate) else { return Ok(()) };
    let uses = ledger.uses_of_certificate(certificate).await?;
    let shown: Vec<_> = uses.into_iter().map(|binding| binding.shown).collect();
    // Read after the uses: a certificate that a use shows is this one, or an earlier one.
    let current = ledger.certificate_alone(certificate).await?.map(|record| record.leaf.fingerprint());
    let how = Revocation { reason: Reason::Superseded, comments: None, by, now };
    let mut outcome = Ok(());
    for former in formers {
        let done = match former.replaced().judge(current, &shown, now) {
            Verdict::Wait => continue,
            Verdict::Revoke => ledger_revoke(Action::Supersede, ledger, former.serial, how).await.map(|_| ()),
            Verdict::Forget => Ok(()),
        };
        match done {
            Ok(()) => ledger.forget_former(former).await?,
            failed => outcome = outcome.and(failed),
        }
    }
    outcome
}

/// `None`: it was revoked before, or need not be.
async fn ledger_revoke(
    action: Action,
    ledger: &Ledger,
    serial: Serial,
    how: Revocation<'_>,
) -> Result<Option<Revoked>, NotDone<NotRevoked>> {
    let Some(signed) = ledger.serial(serial).await? else {
        warn!(certificate.serial = %serial, "a serial number to be revoked is not on record");
        return Ok(None);
    };
    match revoke_as(action, ledger, serial, &signed, None, how).await {
        Ok(revoked) => Ok(revoked.is_new.then_some(revoked)),
        Err(NotDone::Refused(_)) => Ok(None),
        Err(why) => Err(why),
    }
}
