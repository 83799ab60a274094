//! `GET Certificates/{guid}`: a certificate, its current work, and its history; `POST Config/DnToGuid`. A revoked certificate is in the stage
//! of revocation until its list is published.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use rootcast_core::deployment::lifecycle::{Lifecycle, Stage, Work, worst};
use rootcast_core::inventory::dn::{CertificateDn, application_dn};
use rootcast_core::inventory::guid::CertificateGuid;
use rootcast_dialects::venafi::{Body, CertificateView, VenafiError};
use rootcast_gate::Principal;
use serde::{Deserialize, Serialize};

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
        Some(revocation) => !is_published(app.ledger.crl_head(revocation.list).await?.as_ref()),
        None => false,
    };
    let life = if unpublished { Some(in_revocation()) } else { life };
    uses.retain(|each| caller.sees(&application_dn(&each.device)));
    Ok(Json(CertificateView::of(&held, &uses, life.as_ref())))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NameRequest {
    #[serde(rename = "ObjectDN")]
    object_dn: Option<String>,
}

/// `Result` is 1 for a name that exists, and 400 for another one: both with HTTP's 200, as the vendor's clients expect.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NameAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    class_name: Option<&'static str>,
    #[serde(rename = "GUID", skip_serializing_if = "Option::is_none")]
    guid: Option<String>,
    result: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// `POST Config/DnToGuid`, which clients call before they act on a certificate by its id.
pub(crate) async fn guid(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Body(wanted): Body<NameRequest>,
) -> Result<Json<NameAnswer>, VenafiError> {
    let dn = wanted.object_dn.unwrap_or_default();
    let sees = dn.parse::<CertificateDn>().ok().filter(|place| CALL.is_of(&caller, &place.to_string()));
    let found = match sees {
        Some(place) => app.ledger.certificate_by_dn(&place).await?,
        None => None,
    };
    Ok(Json(match found {
        Some(id) => NameAnswer {
            class_name: Some("X509 Server Certificate"),
            guid: Some(CertificateGuid(id).to_string()),
            result: 1,
            error: None,
        },
        None => {
            let error = Some(format!("Object {dn} does not exist, or the right to read it is missing."));
            NameAnswer { class_name: None, guid: None, result: 400, error }
        }
    }))
}

fn in_revocation() -> Lifecycle {
    let status = "The revocation list that names it is being made.";
    Lifecycle { stage: Some(Stage::Revocation), ..Lifecycle::idle(Work::Issue, status) }
}
