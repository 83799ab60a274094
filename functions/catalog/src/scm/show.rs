//! `GET /v3/scm/certificates/{id}`

use axum::Json;
use axum::extract::State;
use rootcast_core::certificate_id::CertificateId;
use rootcast_gate::ScmError;
use rootcast_ledger::{CertificateRecord, Ledger};
use time::OffsetDateTime;

use super::dto::Shown;
use super::{Named, no_such_certificate};
use crate::app::App;

/// One call.
pub(crate) async fn show(State(app): State<App>, Named(id): Named) -> Result<Json<Shown>, ScmError> {
    let record = load(&app.parts().await?.ledger, id).await?;
    Ok(Json(Shown::of(record, OffsetDateTime::now_utc())))
}

pub(crate) async fn load(ledger: &Ledger, id: CertificateId) -> Result<CertificateRecord, ScmError> {
    ledger.certificate(id).await?.ok_or_else(no_such_certificate)
}
