//! `DELETE /v3/scm/certificates/{id}`

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use rootcast_core::access::permission::Right;
use rootcast_core::audit::{Act, Action, Subject};
use rootcast_core::inventory::id::CertificateId;
use rootcast_dialects::huawei::{HuaweiError, Named, no_such_certificate};
use rootcast_gate::{Kind, Principal, RequestId};
use rootcast_ledger::RemoveRefused;
use tracing::info;

use super::show::load;
use crate::app::App;

/// Four calls: the record, its leaf's count, the head of its audit chain, and the transaction that appends to the
/// chain. The sealed key is deleted with the record. The table's backups keep it for 35 more days; opening it there
/// needs the right to use the KMS key. A device's own certificate that is valid is revoked as well, with what its
/// renewals replaced.
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Named(id): Named,
) -> Result<StatusCode, HuaweiError> {
    let parts = app.parts().await?;
    let ledger = &parts.ledger;
    let record = load(ledger, &caller, Right::Delete, id).await?;
    let by = caller.acting(&request);
    let act = Act::new(Subject::Certificate(id), Action::Delete, &by, (parts.clock)());
    let act = act.with("dn", record.dn()).with("leaf", record.leaf.fingerprint());
    let ended = ledger.ending(&record, &caller.name, act.at).await?;
    if ended.is_some() && caller.require(Right::Write, &record.dn()).is_err() {
        return Err(standing(id));
    }
    ledger.remove_certificate(&record, ended.as_ref(), &act).await.map_err(|why| refused(why, id))?;
    if let Some(ended) = &ended {
        parts.end(ended, &by).await;
    }
    info!(caller = caller.name, certificate.id = %id, certificate.dn = record.dn(), "certificate deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// Who may delete a certificate may not revoke it by that.
fn standing(id: CertificateId) -> HuaweiError {
    let text = format!(
        "One of our authorities signed {id}, and it is valid: deleting it also revokes it; that needs the right to write it. Ask \
         somebody with this right to delete it, or to revoke it first."
    );
    HuaweiError::new(Kind::Forbidden, text)
}

fn refused(why: RemoveRefused, id: CertificateId) -> HuaweiError {
    match why {
        RemoveRefused::Gone => no_such_certificate(),
        RemoveRefused::InUse(uses) => HuaweiError::conflict(format!(
            "{id} is in use by {uses} devices, which POST /v3/scm/deployed-resources names: bring another certificate \
             to them, or take them out of the fleet, and delete it then."
        )),
        RemoveRefused::Ledger(error) => error.into(),
    }
}
