//! `POST Certificates/Reset`: what is being done with a certificate, or failed, is given up, and begun again if wanted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use futures::{StreamExt, TryStreamExt, stream};
use rootcast_core::audit::{Act, Action, Outcome, Subject};
use rootcast_core::job::JobId;
use rootcast_dialects::venafi::{Body, Documented, Flag, VenafiError};
use rootcast_gate::{Principal, RequestId};
use rootcast_ledger::{LedgerError, UseRecord};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::info;

use crate::named::Call;
use crate::wait::patience;
use crate::{App, Deadline};

const CALL: Call = Call::writing("Reset");

/// Uses under way at once.
const CONCURRENCY: usize = 16;
/// Who works at a device writes its use: it is looked at so often ...
const LOOKS: u32 = 9;
/// ... with pauses between that double from this one: 5.1 s in all.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ResetRequest {
    #[serde(rename = "CertificateDN")]
    certificate_dn: Option<String>,
    restart: Option<Flag>,
    /// Seconds; with `Restart`, how long its outcome is waited for.
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
    let open = app.ledger.uses_of_certificate(named.id).await?;
    let open: Vec<UseRecord> = open.into_iter().filter(|each| each.lifecycle.stage.is_some()).collect();
    if open.is_empty() {
        return Err(Documented::NothingToReset.into());
    }
    let by = caller.acting(&id);
    // Of many transactions: recorded before the first of them, and what came of it after the last.
    let act = Act::new(Subject::Certificate(named.id), Action::Reset, &by, (app.clock)()).with("devices", open.len());
    app.ledger.audit(&act.clone().came_to(Outcome::Begun)).await?;
    let why = format!("{} gave it up.", caller.name);
    let open = open.into_iter().map(|each| app.give_up(each, &why, deadline));
    let given_up = stream::iter(open).buffer_unordered(CONCURRENCY).try_filter_map(async |each| Ok(each));
    let mut given_up: Vec<UseRecord> = match given_up.try_collect().await {
        Ok(given_up) => given_up,
        Err(why) => {
            app.ledger.audit(&act.came_to(Outcome::Failed)).await?;
            return Err(why);
        }
    };
    app.ledger.audit(&act.with("reset", given_up.len())).await?;
    if given_up.is_empty() {
        return Err(Documented::NothingToReset.into());
    }
    given_up.sort_by(|one, other| one.device.cmp(&other.device));
    info!(
        caller = caller.name, certificate.id = %named.id, devices.reset = given_up.len(), restart, "processing reset"
    );
    // Those whose tasks were settled with it may be over now.
    let settled: BTreeSet<JobId> =
        given_up.iter().filter(|each| each.is_under_way()).filter_map(|each| each.job).collect();
    stream::iter(&settled).for_each_concurrent(CONCURRENCY, |job| app.wake(*job, "reset")).await;
    if restart {
        let devices: Vec<_> = given_up.into_iter().map(|each| each.device).collect();
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

impl App {
    /// Answers the use as it was; `None` where its job came to its end meanwhile, or it went.
    async fn give_up(
        &self,
        mut open: UseRecord,
        why: &str,
        deadline: Instant,
    ) -> Result<Option<UseRecord>, VenafiError> {
        for look in 0..LOOKS {
            if look > 0 {
                tokio::time::sleep(PAUSE * 2u32.pow(look - 1)).await;
                let now = self.ledger.uses_by(open.certificate, [&open.device]).await?.pop();
                match now.filter(|now| now.job == open.job && now.lifecycle.stage.is_some()) {
                    Some(now) => open = now,
                    None => return Ok(None),
                }
            }
            if Instant::now() >= deadline {
                break;
            }
            match self.ledger.reset_use(&open, why, (self.clock)()).await {
                Err(LedgerError::Conflict) => {}
                reset => return Ok(reset.map(|()| Some(open))?),
            }
        }
        Err(VenafiError::invalid(format!(
            "Reset is not completed. The device {} is being worked on: send the request again.",
            open.device
        )))
    }
}
