//! `POST Certificates/Revoke`: revokes a certificate that one of our authorities signed, before it expires.
//!
//! One transaction records the revocation and marks its list as behind. Then the issuer is asked to publish the list.
//! If that message is lost, the issuer's schedule finds the list: it looks for lists that are behind.

use std::error::Error;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use rootcast_core::access::permission::Right;
use rootcast_core::job::message::Publish;
use rootcast_dialects::venafi::{Body, Flag, VenafiError};
use rootcast_gate::{Principal, RequestId};
use rootcast_ledger::{CertificateOrPending, CertificateRecord, CrlHead, LedgerError, SerialRecord};
use rootcast_operations::{NotDone, NotRevoked, Revocation, revoke, revoke_formers};
use rootcast_pki::crl::{CrlId, Reason};
use rootcast_pki::root::Serial;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use crate::named::Call;
use crate::wait::{patience, pauses};
use crate::{App, Deadline};

const CALL: Call = Call::writing("Revoke");
/// In characters; the lowest limit of Venafi's certificate authorities.
const LONGEST_COMMENTS: usize = 250;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RevokeRequest {
    #[serde(rename = "CertificateDN")]
    certificate_dn: Option<String>,
    thumbprint: Option<String>,
    reason: Option<u8>,
    comments: Option<String>,
    disable: Option<Flag>,
    /// In seconds: how long to wait until the list is published.
    work_to_do_timeout: Option<i64>,
}

/// `Requested` is false if nothing was revoked now.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Revoked {
    requested: bool,
    success: bool,
}

pub(crate) async fn revoke_certificate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Extension(Deadline(deadline)): Extension<Deadline>,
    Body(wanted): Body<RevokeRequest>,
) -> Result<Json<Revoked>, VenafiError> {
    let timeout = patience(wanted.work_to_do_timeout)?;
    let reason = Reason::from_number(wanted.reason.unwrap_or_default())
        .ok_or_else(|| VenafiError::invalid("Reason is a number from 0 to 5."))?;
    let comments = wanted.comments.filter(|comments| !comments.is_empty());
    if comments.as_ref().is_some_and(|comments| comments.chars().count() > LONGEST_COMMENTS) {
        return Err(VenafiError::invalid(format!("Comments has {LONGEST_COMMENTS} characters at most.")));
    }
    if wanted.disable.unwrap_or_default().0 {
        return Err(VenafiError::invalid(
            "Disable: true is not supported: send Disable: false, or leave it out. A revoked certificate is not renewed here before somebody asks for it with Certificates/Renew.",
        ));
    }
    let by_name = wanted.thumbprint.as_ref().is_none_or(String::is_empty);
    let Target { serial, signed, held } = app.to_be_revoked(&caller, wanted.certificate_dn, wanted.thumbprint).await?;
    let by = caller.acting(&id);
    let how = Revocation { reason, comments: comments.as_deref(), by: &by, now: (app.clock)() };
    // A name means all that is in use under it: also what renewals replaced. Before the certificate: where that has
    // expired, these may not have.
    let (formers, outcome) = match by_name {
        true => revoke_formers(&app.ledger, signed.certificate, how).await,
        false => (Vec::new(), Ok(())),
    };
    for former in &formers {
        app.publish(former.list).await;
    }
    let revoked = revoke(&app.ledger, serial, &signed, held, how).await.map_err(refused)?;
    let requested = revoked.is_new || !formers.is_empty();
    if revoked.is_new {
        app.publish(revoked.list).await;
    }
    outcome.map_err(refused)?;
    let until = deadline.min(Instant::now() + timeout);
    for each in formers.iter().chain([&revoked]).filter(|each| each.is_new) {
        app.published(each.list, until).await;
    }
    Ok(Json(Revoked { requested, success: true }))
}

fn refused(why: NotDone<NotRevoked>) -> VenafiError {
    match why {
        NotDone::Ledger(error) => error.into(),
        NotDone::Busy => LedgerError::Conflict.into(),
        refused @ (NotDone::Refused(_) | NotDone::Late) => VenafiError::invalid(refused.to_string()),
    }
}

/// The serial number to revoke.
struct Target {
    serial: Serial,
    signed: SerialRecord,
    /// The certificate that holds it, if that was read.
    held: Option<CertificateRecord>,
}

impl App {
    /// Finds the certificate by name, by thumbprint, or by both, which must agree. A thumbprint also finds one that was
    /// renewed or deleted since.
    async fn to_be_revoked(
        &self,
        caller: &Principal,
        dn: Option<String>,
        thumbprint: Option<String>,
    ) -> Result<Target, VenafiError> {
        let thumbprint = thumbprint.filter(|print| !print.is_empty()).map(|print| print.to_ascii_uppercase());
        let (dn, print) = match (dn, thumbprint) {
            (None, None) => return Err(VenafiError::invalid("Send CertificateDN, or Thumbprint.")),
            (None, Some(print)) => return self.printed(caller, &print).await,
            (dn @ Some(_), print) => (dn, print),
        };
        let (named, held) = self.held(CALL, caller, dn).await?;
        let place = held.dn();
        let held = match held {
            CertificateOrPending::Certificate(record) => Some(*record),
            CertificateOrPending::Pending(_) => None,
        };
        match (held, print) {
            (Some(record), print) if print.as_ref().is_none_or(|print| *print == record.leaf.thumbprint()) => {
                self.signed_by_us(&named.dn, record).await
            }
            (_, Some(print)) => {
                let former = self.former(&print).await?.filter(|former| former.signed.dn() == place);
                former.ok_or_else(|| {
                    let text = format!("Certificate [{}] never had a certificate with this thumbprint.", named.dn);
                    VenafiError::invalid(text)
                })
            }
            (_, None) => {
                let text = format!("Certificate [{}]: no certificate has been issued for it yet.", named.dn);
                Err(VenafiError::invalid(text))
            }
        }
    }

    /// What one of our authorities signed is preferred to imported copies of it.
    async fn printed(&self, caller: &Principal, thumbprint: &str) -> Result<Target, VenafiError> {
        let no_access = || CALL.no_access(thumbprint.chars().take(60).collect::<String>());
        let found = self.ledger.by_thumbprint(thumbprint).await?;
        if let Some(serial) = found.serial
            && let Some(signed) = self.ledger.serial(serial).await?
        {
            let is_its = CALL.is_of(caller, &signed.dn());
            return is_its.then_some(Target { serial, signed, held: None }).ok_or_else(|| no_access().into());
        }
        let held = self.ledger.certificates_or_pending(found.certificates).await?;
        // Not `is_of`, which records a denial: one copy that the caller may write is enough.
        let (may, rest): (Vec<_>, Vec<_>) = held
            .into_iter()
            .partition(|held| [Right::Read, CALL.needs].iter().all(|right| caller.grants.allow(*right, &held.dn())));
        match may.into_iter().max_by_key(|held| held.device().is_some()) {
            Some(CertificateOrPending::Certificate(record)) => self.signed_by_us(&record.dn(), *record).await,
            Some(CertificateOrPending::Pending(_)) => Err(no_access().into()),
            None => {
                for held in rest {
                    CALL.is_of(caller, &held.dn());
                }
                Err(no_access().into())
            }
        }
    }

    /// What one of our authorities signed, by its thumbprint.
    async fn former(&self, thumbprint: &str) -> Result<Option<Target>, VenafiError> {
        let Some(serial) = self.ledger.by_thumbprint(thumbprint).await?.serial else { return Ok(None) };
        Ok(self.ledger.serial(serial).await?.map(|signed| Target { serial, signed, held: None }))
    }

    async fn signed_by_us(&self, dn: &str, record: CertificateRecord) -> Result<Target, VenafiError> {
        let stranger = || {
            VenafiError::invalid(format!(
                "Certificate [{dn}] was not signed by one of our authorities: its issuer revokes it."
            ))
        };
        let serial = Serial::try_from(record.leaf.serial().to_owned()).map_err(|_| stranger())?;
        let known = self.ledger.serial(serial).await?;
        let known =
            known.filter(|known| known.certificate == record.id && known.leaf == Some(record.leaf.fingerprint()));
        known.map(|signed| Target { serial, signed, held: Some(record) }).ok_or_else(stranger)
    }

    async fn publish(&self, list: CrlId) {
        if let Err(error) = self.queue.send_later(&self.issue_queue, &Publish { crl: list }, 0).await {
            warn!(crl = %list, error = &error as &dyn Error, "the issuer could not be asked for the list; its schedule will");
        }
    }

    /// Waits until the list that names the certificate is published, or until the deadline.
    async fn published(&self, list: CrlId, until: Instant) {
        let looking = async {
            for pause in pauses() {
                sleep(pause).await;
                match self.ledger.crl_head(list).await {
                    Ok(published) if is_published(published.as_ref()) => return,
                    Ok(_) => {}
                    Err(error) => warn!(error = &error as &dyn Error, "the list could not be read"),
                }
            }
        };
        // A timeout is no error: the list is requested and will be published.
        let _ = timeout_at(until, looking).await;
    }
}

/// Whether the published list contains all revocations of its shard.
pub(crate) fn is_published(list: Option<&CrlHead>) -> bool {
    list.is_some_and(|list| !list.behind)
}
