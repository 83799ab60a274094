//! `POST Certificates/Renew`: a device makes a new key, and gets a new certificate for it.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use rootcast_dialects::venafi::{Body, Flag, VenafiError};
use rootcast_gate::{Principal, RequestId};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::named::Call;
use crate::wait::patience;
use crate::{App, Deadline};

const CALL: Call = Call::writing("Renew");

/// Attributes for retrieving the result are ignored: Certificates/Retrieve returns it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RenewRequest {
    #[serde(rename = "CertificateDN")]
    certificate_dn: Option<String>,
    #[serde(rename = "PKCS10")]
    pkcs10: Option<String>,
    include_private_key: Option<Flag>,
    /// Seconds.
    work_to_do_timeout: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Renewal {
    #[serde(rename = "CertificateDN")]
    certificate_dn: String,
    requested: bool,
    success: bool,
}

pub(crate) async fn renew(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Extension(Deadline(deadline)): Extension<Deadline>,
    Body(wanted): Body<RenewRequest>,
) -> Result<Json<Renewal>, VenafiError> {
    let timeout = patience(wanted.work_to_do_timeout)?;
    if wanted.pkcs10.is_some_and(|request| !request.is_empty()) {
        return Err(VenafiError::invalid("Send no PKCS10: the key is made by the device, and the request with it."));
    }
    if wanted.include_private_key.unwrap_or_default().0 {
        return Err(VenafiError::invalid("IncludePrivateKey is false: the private key never leaves its device."));
    }
    let (named, held) = app.held(CALL, &caller, wanted.certificate_dn).await?;
    if held.device().is_none() {
        return Err(VenafiError::invalid(
            "The certificate was imported with its key, and is renewed where it came from: import its successor with \
             POST /v3/scm/certificates/import, associate that, and push it.",
        ));
    }
    let begun = app.begin(CALL, &named, &held, &[], &caller.acting(&id), deadline).await?;
    app.outcome_of_jobs(named.id, &begun, deadline.min(Instant::now() + timeout)).await;
    Ok(Json(Renewal { certificate_dn: named.dn, requested: true, success: true }))
}
