//! Revokes what our roots signed, by serial number: the record of the certificate may be renewed or deleted since.
//!
//! Each revocation is one transaction with its audit entry, and marks its list as behind. The callers have the list
//! published; without that, the issuer's schedule finds it.

use std::collections::BTreeSet;

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::superseding::Verdict;
use rootcast_ledger::{CertificateRecord, EndedRecord, FormerRecord, Ledger, LedgerError, RevokedRecord, SerialRecord};
use rootcast_pki::crl::{CrlShard, Reason};
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
    pub list: CrlShard,
    pub record: RevokedRecord,
    /// It was not revoked before.
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

/// Revokes a serial number. `known`: the certificate as it was just read, which saves a call. Three calls, or four.
pub async fn revoke(
    ledger: &Ledger,
    serial: Serial,
    signed: &SerialRecord,
    mut known: Option<CertificateRecord>,
    how: Revocation<'_>,
) -> Result<Revoked, NotDone<NotRevoked>> {
    attempts(|| once(ledger, serial, signed, known.take(), how)).await
}

async fn once(
    ledger: &Ledger,
    serial: Serial,
    signed: &SerialRecord,
    known: Option<CertificateRecord>,
    Revocation { reason, comments, by, now }: Revocation<'_>,
) -> Result<Revoked, NotDone<NotRevoked>> {
    let list = CrlShard::of(signed.generation, &serial);
    let Some(leaf) = signed.leaf else { return Err(NotRevoked::Unsigned(serial).into()) };
    let before = |record| Revoked { list, record, is_new: false };
    if signed.not_after <= now {
        let revoked = ledger.revoked(list, serial).await?;
        return Ok(revoked.map(before).ok_or_else(|| NotRevoked::Expired(serial, signed.not_after.date()))?);
    }
    let held = match known {
        Some(known) => Some(known),
        None => ledger.certificate(signed.certificate).await?,
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
    let act = Act::new(Subject::Certificate(signed.certificate), Action::Revoke, by, now);
    let act = act.with("dn", signed.dn()).with("serial", serial).with("reason", format_args!("{reason:?}"));
    if ledger.revoke(holder.as_ref(), list, &record, &act).await? {
        info!(
            caller = by.principal, certificate.id = %signed.certificate, certificate.serial = %serial, ?reason,
            "certificate revoked"
        );
        return Ok(Revoked { list, record, is_new: true });
    }
    Ok(ledger.revoked(list, serial).await?.map(before).ok_or(LedgerError::Conflict)?)
}

/// Revokes everything that was signed for a certificate before it ended, with the reason *cessationOfOperation*. Returns
/// the lists to publish. May be repeated.
pub async fn end(
    ledger: &Ledger,
    ended: &EndedRecord,
    by: &Actor,
    now: OffsetDateTime,
) -> Result<BTreeSet<CrlShard>, NotDone<NotRevoked>> {
    let how = Revocation { reason: Reason::CessationOfOperation, comments: None, by, now };
    let mut lists = BTreeSet::new();
    if let Some(serial) = ended.serial {
        lists.extend(ledger_revoke(ledger, serial, how).await?);
    }
    for former in ledger.formers(ended.certificate).await? {
        if former.signed <= ended.at {
            lists.extend(ledger_revoke(ledger, former.serial, how).await?);
            ledger.forget_former(&former).await?;
        }
    }
    ledger.forget_ended(ended).await?;
    Ok(lists)
}

/// Revokes what renewals of one certificate replaced, as *superseded*, once every device that the certificate is bound
/// to was proven to show a later one. Returns the lists to publish. May be repeated.
pub async fn supersede(
    ledger: &Ledger,
    formers: &[FormerRecord],
    by: &Actor,
    now: OffsetDateTime,
) -> Result<BTreeSet<CrlShard>, NotDone<NotRevoked>> {
    let mut lists = BTreeSet::new();
    let Some(certificate) = formers.first().map(|former| former.certificate) else { return Ok(lists) };
    let uses = ledger.uses_of_certificate(certificate).await?;
    let shown: Vec<_> = uses.into_iter().map(|binding| binding.shown).collect();
    // Read after the uses: a certificate that a use shows is this one, or an earlier one.
    let current = ledger.certificate(certificate).await?.map(|record| record.leaf.fingerprint());
    let how = Revocation { reason: Reason::Superseded, comments: None, by, now };
    for former in formers {
        match former.replaced().judge(current, &shown, now) {
            Verdict::Wait => continue,
            Verdict::Revoke => lists.extend(ledger_revoke(ledger, former.serial, how).await?),
            Verdict::Forget => {}
        }
        ledger.forget_former(former).await?;
    }
    Ok(lists)
}

/// The list to publish; `None`: it was revoked before, or need not be.
async fn ledger_revoke(
    ledger: &Ledger,
    serial: Serial,
    how: Revocation<'_>,
) -> Result<Option<CrlShard>, NotDone<NotRevoked>> {
    let Some(signed) = ledger.serial(serial).await? else {
        warn!(certificate.serial = %serial, "a serial number to be revoked is not on record");
        return Ok(None);
    };
    match revoke(ledger, serial, &signed, None, how).await {
        Ok(revoked) => Ok(revoked.is_new.then_some(revoked.list)),
        Err(NotDone::Refused(_)) => Ok(None),
        Err(why) => Err(why),
    }
}
