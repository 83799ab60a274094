//! `GET Certificates/{guid}`: a certificate, its current work, and its history. A revoked certificate is in the stage
//! of revocation until its list is published.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use rootcast_core::deployment::lifecycle::{Lifecycle, Stage, Work, worst};
use rootcast_core::inventory::dn::application_dn;
use rootcast_core::inventory::guid::CertificateGuid;
use rootcast_dialects::venafi::{CertificateView, VenafiError};
use rootcast_gate::Principal;

use crate::App;
use crate::named::Call;
use crate::revoke::is_published;

const CALL: Call = Call::reading("{guid}");

/// Two calls: record, uses. A third for a revoked certificate.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    guid: Result<Path<String>, PathRejection>,
) -> Result<Json<CertificateView>, VenafiError> {
    let guid = guid.map(|Path(guid)| guid).unwrap_or_default();
    let unknown = || CALL.no_access(guid.chars().take(60).collect::<String>());
    let CertificateGuid(id) = guid.parse().map_err(|_| unknown())?;
    let held = app.ledger.certificate_or_pending(id).await?.filter(|held| CALL.is_of(&caller, &held.dn()));
    let held = held.ok_or_else(unknown)?;
    let mut uses = app.ledger.uses_of_certificate(id).await?;
    let life =
        worst(uses.iter().map(|each| &each.lifecycle)).map(|life| Lifecycle { history: Vec::new(), ..life.clone() });
    let unpublished = match held.revoked().filter(|_| life.as_ref().is_none_or(|life| life.stage.is_none())) {
        Some(revocation) => !is_published(app.ledger.crl(revocation.list).await?.as_ref()),
        None => false,
    };
    let life = if unpublished { Some(in_revocation()) } else { life };
    uses.retain(|each| caller.sees(&application_dn(&each.device)));
    Ok(Json(CertificateView::of(&held, &uses, life.as_ref())))
}

fn in_revocation() -> Lifecycle {
    let status = "The revocation list that names it is being made.";
    Lifecycle { stage: Some(Stage::Revocation), ..Lifecycle::idle(Work::Issue, status) }
}
