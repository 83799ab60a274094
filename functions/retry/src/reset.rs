//! `POST Certificates/Reset`: gives up a certificate's running and failed work, and begins it again on request.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use rootcast_dialects::venafi::{Body, Documented, Flag, VenafiError};
use rootcast_gate::{Principal, RequestId};
use rootcast_ledger::LedgerError;
use rootcast_operations::{NotDone, NotReset};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::info;

use crate::named::Call;
use crate::wait::patience;
use crate::{App, Deadline};

const CALL: Call = Call::writing("Reset");

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ResetRequest {
    #[serde(rename = "CertificateDN")]
    certificate_dn: Option<String>,
    restart: Option<Flag>,
    /// In seconds: with `Restart`, how long to wait for its outcome.
    work_to_do_timeout: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Reset {
    processing_reset_completed: bool,
    restart_completed: bool,
}

pub(crate) async fn reset(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Extension(Deadline(deadline)): Extension<Deadline>,
    Body(wanted): Body<ResetRequest>,
) -> Result<Json<Reset>, VenafiError> {
    let timeout = patience(wanted.work_to_do_timeout)?;
    let restart = wanted.restart.unwrap_or_default().0;
    let (named, held) = app.held(CALL, &caller, wanted.certificate_dn).await?;
    let by = caller.acting(&id);
    let devices = app.operations().reset(named.id, &by, deadline).await.map_err(refused)?;
    info!(
        caller = caller.name, certificate.id = %named.id, devices.reset = devices.len(), restart, "processing reset"
    );
    if restart {
        let begun = app.begin(CALL, &named, &held, &devices, &by, deadline).await;
        let begun = begun.map_err(|why| match why.status().is_client_error() {
            true => {
                VenafiError::invalid(format!("Reset is completed, but the work does not begin again.\n{}", why.text()))
            }
            false => why,
        })?;
        app.outcome_of_jobs(named.id, &begun, deadline.min(Instant::now() + timeout)).await;
    }
    Ok(Json(Reset { processing_reset_completed: true, restart_completed: restart }))
}

fn refused(why: NotDone<NotReset>) -> VenafiError {
    match why {
        NotDone::Refused(NotReset::WorkedOn(device)) => VenafiError::invalid(format!(
            "Reset is not completed. The device {device} is being worked on: send the request again."
        )),
        NotDone::Refused(NotReset::Nothing) => Documented::NothingToReset.into(),
        // The message of a busy or late operation names the device that it waits for.
        NotDone::Busy | NotDone::Late => VenafiError::from(LedgerError::Conflict),
        NotDone::Ledger(error) => error.into(),
    }
}
