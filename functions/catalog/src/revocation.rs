//! `POST /certificates/revocation`: revokes what one of our authorities signed, also after its record was renewed or deleted;
//! and the revocations that a deletion makes necessary.

use std::error::Error;

use axum::Extension;
use axum::extract::State;
use rootcast_core::access::permission::Right;
use rootcast_core::audit::Actor;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::message::Publish;
use rootcast_dialects::lenovo::{Body, Envelope, LenovoError, Message};
use rootcast_dialects::native::Revocation as Shown;
use rootcast_gate::{Principal, RequestId};
use rootcast_ledger::{CertificateRecord, EndedRecord, LedgerError, SerialRecord};
use rootcast_operations::{NotDone, NotRevoked, Revocation, Revoked, end, revoke, revoke_formers};
use rootcast_pki::crl::{CrlId, Reason};
use rootcast_pki::root::Serial;
use serde::Deserialize;
use tracing::{error, warn};

use crate::app::{App, Parts};
use crate::stamp::stamp;

/// In characters, as for Venafi's call.
const LONGEST_COMMENTS: usize = 250;

/// One of `serial`, `thumbprint` and `certificate`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Hexadecimal digits, with or without colons.
    serial: Option<String>,
    /// SHA-1, in the same way.
    thumbprint: Option<String>,
    /// What its record holds now.
    certificate: Option<CertificateId>,
    #[serde(default)]
    reason: Reason,
    comments: Option<String>,
}

/// The serial number to revoke, and the certificate that holds it, if that was read.
struct Target {
    serial: Serial,
    signed: SerialRecord,
    held: Option<CertificateRecord>,
    /// Named by its record, which means all that is in use under it: also what its renewals replaced.
    by_record: bool,
}

/// Five calls, and one message: the serial number, its certificate, the audit chain, the transaction, the list; by
/// thumbprint or by id one more.
pub(crate) async fn revoke_signed(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Body(wanted): Body<Wanted>,
) -> Result<Envelope<Shown>, LenovoError> {
    let parts = app.parts().await?;
    if wanted.comments.as_ref().is_some_and(|comments| comments.chars().count() > LONGEST_COMMENTS) {
        return Err(invalid(format!("comments has {LONGEST_COMMENTS} characters at most.")));
    }
    let Target { serial, signed, held, by_record } = parts.target(&caller, &wanted).await?;
    let by = caller.acting(&request);
    let comments = wanted.comments.as_deref().filter(|comments| !comments.is_empty());
    let how = Revocation { reason: wanted.reason, comments, by: &by, now: (parts.clock)() };
    // Before the certificate: where that has expired, these may not have.
    let (formers, outcome) = match by_record {
        true => revoke_formers(&parts.ledger, signed.certificate, how).await,
        false => (Vec::new(), Ok(())),
    };
    let lists: Vec<CrlId> = formers.iter().map(|former| former.list).collect();
    parts.publish(lists).await;
    let revoked = revoke(&parts.ledger, serial, &signed, held, how).await.map_err(refused)?;
    parts.publish([revoked.list]).await;
    outcome.map_err(refused)?;
    let text = match revoked.is_new {
        true => "is revoked",
        false => "was revoked already",
    };
    let formers: Vec<Serial> = formers.into_iter().map(|former| former.record.serial).collect();
    let also = match &*formers {
        [] => String::new(),
        formers => format!(" So is what its renewals replaced: {}.", join(formers)),
    };
    let what_next = match revoked.is_new || !formers.is_empty() {
        true => "The revocation lists are being published; verifiers see it when they fetch them.",
        false => "Nothing was changed.",
    };
    let message = Message::done(format!("The certificate with the serial number {serial} {text}.{also}"), what_next);
    Ok(Envelope::success(shown(revoked, formers, &signed)).saying(message))
}

fn join(serials: &[Serial]) -> String {
    serials.iter().map(Serial::to_string).collect::<Vec<_>>().join(", ")
}

fn shown(Revoked { list, record, is_new }: Revoked, formers: Vec<Serial>, signed: &SerialRecord) -> Shown {
    Shown {
        serial: record.serial,
        dn: signed.dn(),
        certificate: record.certificate,
        requested: is_new,
        reason: record.reason,
        revoked: stamp(record.at),
        list: list.to_string(),
        formers,
    }
}

fn invalid(text: String) -> LenovoError {
    LenovoError::invalid(text, "Correct the body and send the request again.")
}

fn refused(why: NotDone<NotRevoked>) -> LenovoError {
    match why {
        NotDone::Ledger(error) => error.into(),
        NotDone::Busy => LedgerError::Conflict.into(),
        NotDone::Refused(why) => {
            LenovoError::conflict(why.to_string(), "GET /certificates/signed lists what was signed, and its state.")
        }
        NotDone::Late => LenovoError::conflict(why.to_string(), "Send the request again."),
    }
}

/// Also for what the caller may not read.
fn unknown(what: &str) -> LenovoError {
    let what: String = what.chars().take(60).collect();
    LenovoError::not_found(
        format!("No certificate that one of our authorities signed has the {what}."),
        "GET /certificates/signed lists what was signed. Other certificates are revoked by their issuer.",
    )
}

impl Parts {
    async fn target(&self, caller: &Principal, wanted: &Wanted) -> Result<Target, LenovoError> {
        let digits = |text: &str| text.replace(':', "").to_ascii_lowercase();
        let by_serial = match (&wanted.serial, &wanted.thumbprint, wanted.certificate) {
            (Some(text), None, None) => {
                let serial = digits(text).try_into().map_err(|_| unknown(&format!("serial number {text}")))?;
                (format!("serial number {text}"), Some(serial))
            }
            (None, Some(text), None) => {
                let found = self.ledger.by_thumbprint(&digits(text).to_ascii_uppercase()).await?;
                if found.serial.is_none() {
                    // Signed before serial numbers had thumbprints.
                    let held = self.ledger.certificates_or_pending(found.certificates).await?;
                    if let Some(own) = held.iter().find(|held| held.device().is_some() && caller.sees(&held.dn())) {
                        return Ok(Target { by_record: false, ..self.target_of(caller, own.id()).await? });
                    }
                }
                (format!("thumbprint {text}"), found.serial)
            }
            (None, None, Some(id)) => return self.target_of(caller, id).await,
            _ => return Err(invalid("Send one of serial, thumbprint and certificate.".to_owned())),
        };
        let (what, serial) = by_serial;
        let serial = serial.ok_or_else(|| unknown(&what))?;
        let signed = self.ledger.serial(serial).await?.ok_or_else(|| unknown(&what))?;
        caller.require(Right::Write, &signed.dn()).map_err(|denied| denied.or(|| unknown(&what)))?;
        Ok(Target { serial, signed, held: None, by_record: false })
    }

    async fn target_of(&self, caller: &Principal, id: CertificateId) -> Result<Target, LenovoError> {
        let unseen = || unknown(&format!("id {id}"));
        let record = self.ledger.certificate(id).await?.ok_or_else(unseen)?;
        caller.require(Right::Write, &record.dn()).map_err(|denied| denied.or(unseen))?;
        let stranger = || {
            LenovoError::invalid(
                format!("Certificate {id} was not signed by one of our authorities."),
                "Its issuer revokes it.",
            )
        };
        let serial = Serial::try_from(record.leaf.serial().to_owned()).map_err(|_| stranger())?;
        let signed = self.ledger.serial(serial).await?;
        let is_its = |signed: &SerialRecord| signed.certificate == id && signed.leaf == Some(record.leaf.fingerprint());
        let signed = signed.filter(is_its).ok_or_else(stranger)?;
        Ok(Target { serial, signed, held: Some(record), by_record: true })
    }

    /// Revokes what ended with the caller's deletion. `false`: that is left to the issuer's schedule, as it is on record.
    pub(crate) async fn end(&self, ended: &EndedRecord, by: &Actor) -> bool {
        match end(&self.ledger, ended, by, (self.clock)()).await {
            Ok(lists) => self.publish(lists).await,
            Err(why) => {
                error!(certificate.id = %ended.certificate, error = &why as &dyn Error, "the deleted certificate could not be revoked yet; the issuer's schedule does");
                return false;
            }
        }
        true
    }

    async fn publish(&self, lists: impl IntoIterator<Item = CrlId>) {
        for list in lists {
            if let Err(error) = self.queue.send_later(&self.issue_queue, &Publish { crl: list }, 0).await {
                warn!(crl = %list, error = &error as &dyn Error, "the issuer could not be asked for the list; its schedule will");
            }
        }
    }
}
