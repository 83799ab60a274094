//! `GET /v3/scm/certificates/{id}`

use axum::extract::State;
use axum::{Extension, Json};
use rootcast_core::access::permission::Right;
use rootcast_core::inventory::id::CertificateId;
use rootcast_dialects::huawei::certificate::CertificateView;
use rootcast_dialects::huawei::{HuaweiError, Named, no_such_certificate};
use rootcast_gate::Principal;
use rootcast_ledger::{CertificateRecord, Ledger};

use crate::app::App;

/// One call to AWS.
pub(crate) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Named(id): Named,
) -> Result<Json<CertificateView>, HuaweiError> {
    let parts = app.parts().await?;
    let record = load(&parts.ledger, &caller, Right::Read, id).await?;
    Ok(Json(CertificateView::of(record, (parts.clock)())))
}

pub(crate) async fn load(
    ledger: &Ledger,
    caller: &Principal,
    right: Right,
    id: CertificateId,
) -> Result<CertificateRecord, HuaweiError> {
    let record = ledger.certificate(id).await?.ok_or_else(no_such_certificate)?;
    caller.require(right, &record.dn()).map_err(|denied| denied.or(no_such_certificate))?;
    Ok(record)
}
