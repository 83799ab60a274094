//! The next issuing authority, and the end of a compromised one.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use rootcast_authority::AuthorityError;
use rootcast_core::access::permission::Operation;
use rootcast_dialects::lenovo::{Envelope, LenovoError, Message};
use rootcast_gate::{Principal, RequestId};
use rootcast_pki::signer::IssuingId;
use serde_json::json;

use crate::{App, busy, refused};

/// `POST /issuingAuthorities`: the next one is made below the root that signs, and signs. No device is visited: its
/// certificate is renewed when it is due.
pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
) -> Result<Response, LenovoError> {
    if app.settings.roles.leaves_from_root() {
        return Err(LenovoError::conflict(
            "This deployment has no issuing authorities: its roots sign the certificates of devices (LeavesFromRoot).",
            "Deploy it with LeavesFromRoot=false first.",
        ));
    }
    let next = match app.authority.ask_for_issuing(&caller.acting(&id), (app.clock)()).await {
        Ok(next) => next,
        Err(error) => return refused_issuing(error),
    };
    app.queue.wake_for_issuing(&app.control_queue, format!("{next} was asked for")).await;
    let message = Message::done(
        format!("Issuing authority {next} was asked for."),
        "It is made within a minute, and signs from then on: GET /issuingAuthorities.",
    );
    Ok(accepted(next, message))
}

/// `POST /issuingAuthorities/{issuing}/compromise`.
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Path(issuing): Path<String>,
) -> Result<Response, LenovoError> {
    let issuing: IssuingId = issuing
        .parse()
        .map_err(|why| LenovoError::not_found(format!("There is no such issuing authority: {why}."), LISTED))?;
    caller.may(Operation::Activate)?;
    let record = match app.authority.revoke_issuing(issuing, &caller.acting(&id), (app.clock)()).await {
        Ok(record) => record,
        Err(error) => return refused_issuing(error),
    };
    app.queue.wake_for_issuing(&app.control_queue, format!("{issuing} is compromised")).await;
    let message = Message::done(
        format!("Issuing authority {} is revoked.", record.id()),
        "Its root's list names it within a minute, and a new one signs. What it signed is revoked and renewed: GET \
         /issuingAuthorities shows how far.",
    );
    Ok(accepted(issuing, message))
}

const LISTED: &str = "GET /issuingAuthorities lists them.";

/// As for a root, whose job is also only begun; 202 would say that a second person has to confirm it.
fn accepted(id: IssuingId, message: Message) -> Response {
    Envelope::success(json!({ "id": id.to_string() })).saying(message).into_response()
}

fn refused_issuing(error: AuthorityError) -> Result<Response, LenovoError> {
    Err(match error {
        AuthorityError::Busy(job) => return Ok(busy(job)),
        AuthorityError::NoRoot => LenovoError::conflict(
            "No root signs yet.",
            "Ask for one with PUT /signingCertificate: it gets an issuing authority by itself.",
        ),
        AuthorityError::NoIssuing(id) => LenovoError::not_found(format!("There is no issuing authority {id}."), LISTED),
        AuthorityError::SignedNothing(id) => LenovoError::conflict(
            format!("Issuing authority {id} is still being made, and has signed nothing."),
            "Wait a minute until it signs, then send the request again.",
        ),
        error => refused(error),
    })
}
