//! `GET Certificates/{guid}`: a certificate, where its work stands, and how it came there.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use rootcast_core::certificate_guid::CertificateGuid;
use rootcast_core::lifecycle::worst;
use rootcast_gate::VenafiError;

use crate::App;
use crate::dto::Shown;
use crate::named::Call;

const CALL: Call = Call::reading("{guid}");

/// Two calls: record, uses.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    guid: Result<Path<String>, PathRejection>,
) -> Result<Json<Shown>, VenafiError> {
    let guid = guid.map(|Path(guid)| guid).unwrap_or_default();
    let unknown = || CALL.no_access(guid.chars().take(60).collect::<String>());
    let CertificateGuid(id) = guid.parse().map_err(|_| unknown())?;
    let held = app.ledger.certificate_or_place(id).await?.ok_or_else(unknown)?;
    let uses = app.ledger.uses_of_certificate(id).await?;
    Ok(Json(Shown::of(&held, &uses, worst(uses.iter().map(|each| &each.lifecycle)))))
}
