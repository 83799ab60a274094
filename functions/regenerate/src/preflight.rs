//! Whether the fleet is ready for a rollover.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use rootcast_authority::{AuthorityError, PreflightRequest, RootRequest};
use rootcast_core::job::{Activation, JobId};
use rootcast_dialects::lenovo::{Envelope, LenovoError, Message, RootQuery};
use rootcast_gate::{Principal, Raw, RequestId};
use serde_json::json;

use crate::{App, behind, busy, compromised as compromised_root, refused, with_location};

/// `POST /rollovers/preflight`. Takes the parameters of `PUT /signingCertificate`: the estimate is for that rollover.
pub(crate) async fn begin(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Raw(query, _): Raw<RootQuery>,
) -> Result<Response, LenovoError> {
    let RootQuery { activation, rollout, hold_down, until, reason, compromised } = app.query(&query).await?;
    if activation == Activation::Immediate {
        return Err(LenovoError::invalid(
            "A preflight activates nothing: activation is for new roots.",
            "Leave it out.",
        ));
    }
    if compromised.is_some() {
        return Err(LenovoError::invalid(
            "A compromised root is not waited for: no preflight is made.",
            "Send PUT /signingCertificate?reason=keyCompromise.",
        ));
    }
    let request = RootRequest { activation, rollout, hold_down, until, requested_for: reason };
    let (by, now) = (caller.acting(&id), (app.clock)());
    let begun = PreflightRequest { settings: &app.settings, request: &request, workers: app.workers, by: &by, now };
    match app.authority.begin_preflight(begun).await {
        Ok(job) => {
            if let Some(job) = job {
                app.queue.wake_conductor(&app.control_queue, job, "created").await;
            }
            Ok(accepted(job))
        }
        Err(AuthorityError::Busy(job)) => Ok(busy(job)),
        Err(AuthorityError::Preflighting(job)) => {
            let refusal = LenovoError::conflict(
                format!("Preflight job {job} is still reading the devices."),
                format!("Follow it with GET /jobs/{job}, or abort it."),
            );
            let response = json!({ "jobPath": job.path() });
            Ok(with_location(refusal.with_response(response).into_response(), Some(job)))
        }
        Err(AuthorityError::Compromised(generation)) => Err(compromised_root(generation)),
        Err(AuthorityError::Behind(why)) => Err(behind(why)),
        Err(error) => Err(refused(error)),
    }
}

fn accepted(job: Option<JobId>) -> Response {
    let (text, explanation) = match job {
        Some(job) => (
            format!("Preflight job {job} reads the devices."),
            format!("Nothing is written to them. GET /jobs/{job} shows what it found."),
        ),
        None => ("There is no approved device to read.".to_owned(), "A new root would be active at once.".to_owned()),
    };
    let path = job.map(JobId::path).unwrap_or_default();
    let envelope = Envelope::success(json!({ "jobPath": path })).saying(Message::done(text, explanation));
    with_location(envelope.into_response(), job)
}
