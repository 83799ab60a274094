//! `POST Certificates/Retry`: the request and its answer.
//!
//! Calls to AWS if one deployment failed and the caller does not wait: token, name, uses, job, its audit chain, one
//! transaction, one message.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use rootcast_dialects::venafi::{Body, Documented, Failure, VenafiError};
use rootcast_gate::{Principal, RequestId};
use rootcast_ledger::LedgerError;
use serde::Deserialize;
use tokio::time::Instant;
use tracing::info;

use crate::named::Call;
use crate::wait::patience;
use crate::work::Added;
use crate::{App, Deadline, Done};

const CALL: Call = Call::writing("Retry");

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RetryRequest {
    #[serde(rename = "CertificateDN")]
    certificate_dn: Option<String>,
    /// Seconds.
    work_to_do_timeout: Option<i64>,
}

pub(crate) async fn retry(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Extension(Deadline(deadline)): Extension<Deadline>,
    Body(wanted): Body<RetryRequest>,
) -> Result<Json<Done>, VenafiError> {
    let timeout = patience(wanted.work_to_do_timeout)?;
    let dn = wanted.certificate_dn.unwrap_or_default();
    let place = CALL.place(&caller, &dn)?;
    let unread = |error: LedgerError| {
        let refusal = Documented::Certificate { dn: dn.clone(), failure: Failure::from(&error) };
        VenafiError::from(refusal).caused_by(error)
    };
    let found = app.ledger.certificate_by_dn(&place).await.map_err(unread)?;
    let certificate = found.ok_or_else(|| CALL.no_access(&dn))?;
    let uses = app.ledger.uses_of_certificate(certificate).await.map_err(unread)?;
    let (failed, others): (Vec<_>, Vec<_>) = uses.into_iter().partition(|each| each.lifecycle.in_error);
    if failed.is_empty() {
        let under_way = others.iter().filter(|each| each.is_under_way()).count();
        let why = format!("No application is in error; {under_way} of {} are under way.", others.len());
        return Err(Documented::NotRequired(why).into());
    }
    let Added { retried, refused } = app.add_work(certificate, failed, &caller.acting(&id), deadline).await;
    info!(
        caller = caller.name, certificate.id = %certificate, devices.retried = retried.len(),
        devices.refused = refused.len(), "retry"
    );
    if !refused.is_empty() {
        return Err(Documented::Applications(refused).into());
    }
    app.outcome_of(certificate, retried, deadline.min(Instant::now() + timeout)).await;
    Ok(Done::JSON)
}
