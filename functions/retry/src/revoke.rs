//! `POST Certificates/Revoke`: revokes a certificate that one of our roots signed, before it expires.
//!
//! One transaction records the revocation and marks its list as behind. Then the issuer is asked to publish the list.
//! If that message is lost, the issuer's schedule finds the list: it looks for lists that are behind.

use std::error::Error;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use rootcast_core::audit::{Act, Action, Subject};
use rootcast_core::job::message::Publish;
use rootcast_dialects::venafi::{Body, Flag, VenafiError};
use rootcast_gate::{Principal, RequestId};
use rootcast_ledger::{CertificateOrPending, CertificateRecord, CrlRecord, LedgerError, RevokedRecord};
use rootcast_pki::crl::{CrlShard, Reason};
use rootcast_pki::root::Serial;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use crate::named::{Call, Named};
use crate::wait::{patience, pauses};
use crate::{App, Deadline};

const CALL: Call = Call::writing("Revoke");
/// Attempts. A worker that counts the certificate's uses causes a conflict; then the certificate is read again.
const LOOKS: usize = 5;
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

/// `Requested` is false if the certificate was revoked before.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Revoked {
    requested: bool,
    success: bool,
}

pub(crate) async fn revoke(
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
            "Disable is false: no certificate is replaced here before somebody asks for it with Certificates/Renew.",
        ));
    }
    let mut found = app.to_be_revoked(&caller, wanted.certificate_dn, wanted.thumbprint).await?;
    for pause in pauses().take(LOOKS) {
        let (named, record) = found;
        let (list, serial) = app.signed_by_us(&named, &record).await?;
        let revoked = RevokedRecord {
            serial,
            certificate: record.id,
            at: (app.clock)(),
            reason,
            by: caller.name.clone(),
            comments: comments.clone(),
            not_after: record.not_after,
        };
        let act = Act::new(Subject::Certificate(record.id), Action::Revoke, &caller.acting(&id), revoked.at);
        let act = act.with("serial", serial).with("reason", format_args!("{reason:?}"));
        match app.ledger.revoke(&record, list, &revoked, &act).await {
            Err(LedgerError::Conflict) => {}
            Ok(false) => return Ok(Json(Revoked { requested: false, success: true })),
            Ok(true) => {
                info!(
                    caller = caller.name, certificate.id = %named.id, certificate.serial = %serial, ?reason,
                    "certificate revoked"
                );
                app.publish(list).await;
                app.published(list, deadline.min(Instant::now() + timeout)).await;
                return Ok(Json(Revoked { requested: true, success: true }));
            }
            Err(error) => return Err(error.into()),
        }
        sleep(pause).await;
        let thumbprint = Some(record.leaf.thumbprint());
        found = app.to_be_revoked(&caller, Some(named.dn), thumbprint).await?;
    }
    Err(LedgerError::Conflict.into())
}

impl App {
    /// Finds the certificate by name, by thumbprint, or by both, which must agree.
    async fn to_be_revoked(
        &self,
        caller: &Principal,
        dn: Option<String>,
        thumbprint: Option<String>,
    ) -> Result<(Named, CertificateRecord), VenafiError> {
        let thumbprint = thumbprint.filter(|print| !print.is_empty()).map(|print| print.to_ascii_uppercase());
        let (named, held) = match (dn, &thumbprint) {
            (Some(dn), _) => self.held(CALL, caller, Some(dn)).await?,
            (None, Some(print)) => self.held_as(caller, print).await?,
            (None, None) => return Err(VenafiError::invalid("Send CertificateDN, or Thumbprint.")),
        };
        let none =
            || VenafiError::invalid(format!("Certificate [{}] does not have a certificate to revoke.", named.dn));
        let CertificateOrPending::Certificate(record) = held else { return Err(none()) };
        match thumbprint {
            Some(print) if print != record.leaf.thumbprint() => Err(VenafiError::invalid(format!(
                "Certificate [{}] has another thumbprint by now: what it was before it was renewed is not kept.",
                named.dn
            ))),
            _ => Ok((named, *record)),
        }
    }

    /// Imports may have stored copies; the certificate that one of our roots signed is preferred.
    async fn held_as(
        &self,
        caller: &Principal,
        thumbprint: &str,
    ) -> Result<(Named, CertificateOrPending), VenafiError> {
        let ids = self.ledger.certificates_by_thumbprint(thumbprint).await?;
        let found = self.ledger.certificates_or_pending(ids).await?;
        let found = found.into_iter().filter(|held| CALL.is_of(caller, &held.dn()));
        let held = found.max_by_key(|held| held.device().is_some());
        let held = held.ok_or_else(|| CALL.no_access(thumbprint.chars().take(60).collect::<String>()))?;
        Ok((Named { dn: held.dn(), id: held.id() }, held))
    }

    /// The list that publishes its revocation, and its serial number on that list.
    async fn signed_by_us(&self, named: &Named, record: &CertificateRecord) -> Result<(CrlShard, Serial), VenafiError> {
        let stranger = || {
            VenafiError::invalid(format!(
                "Certificate [{}] was not signed by one of our roots: whoever signed it revokes it.",
                named.dn
            ))
        };
        let serial = Serial::try_from(record.leaf.serial().to_owned()).map_err(|_| stranger())?;
        let known = self.ledger.serial(serial).await?;
        let known =
            known.filter(|known| known.certificate == record.id && known.leaf == Some(record.leaf.fingerprint()));
        known.map(|known| (CrlShard::of(known.generation, &serial), serial)).ok_or_else(stranger)
    }

    async fn publish(&self, list: CrlShard) {
        if let Err(error) = self.queue.send_later(&self.issue_queue, &Publish { crl: list }, 0).await {
            warn!(crl = %list, error = &error as &dyn Error, "the issuer could not be asked for the list; its schedule will");
        }
    }

    /// Waits until the list that names the certificate is published, or until the deadline.
    async fn published(&self, list: CrlShard, until: Instant) {
        let looking = async {
            for pause in pauses() {
                sleep(pause).await;
                match self.ledger.crl(list).await {
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
pub(crate) fn is_published(list: Option<&CrlRecord>) -> bool {
    list.is_some_and(|list| !list.behind)
}
