//! The deletion of a retired root's key is cancelled.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use rootcast_authority::AuthorityError;
use rootcast_dialects::lenovo::{Envelope, LenovoError, Message};
use rootcast_gate::{Principal, RequestId};
use serde_json::{Value, json};

use crate::{App, refused};

const LISTED: &str = "GET /signingCertificate/details shows each generation, and what becomes of its key.";

/// `POST /roots/{generation}/keep`: its keys, and those of the authorities below it, stay, disabled. The conductor tells KMS.
pub(crate) async fn keep(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Path(generation): Path<String>,
) -> Result<Envelope<Value>, LenovoError> {
    let number: u32 = generation
        .parse()
        .map_err(|_| LenovoError::not_found(format!("There is no root generation {generation}."), LISTED))?;
    app.authority.keep_root(number, &caller.acting(&id), (app.clock)()).await.map_err(refused_keep)?;
    app.queue.wake_for_issuing(&app.control_queue, format!("root generation {number} is to be kept")).await;
    let message = Message::done(
        format!("The key of root generation {number} is kept."),
        "Its deletion is cancelled within minutes. It stays disabled, and nothing wakes it.",
    );
    Ok(Envelope::success(json!({ "generation": number })).saying(message))
}

fn refused_keep(error: AuthorityError) -> LenovoError {
    match error {
        AuthorityError::NoGeneration(generation) => {
            LenovoError::not_found(format!("There is no root generation {generation}."), LISTED)
        }
        AuthorityError::NotRetired(generation) => LenovoError::conflict(
            format!("Root generation {generation} is not retired: no deletion of its key is scheduled."),
            LISTED,
        ),
        AuthorityError::KeyDeleted(generation) => LenovoError::conflict(
            format!("The key of root generation {generation} is deleted already, and nobody can restore it."),
            LISTED,
        ),
        error => refused(error),
    }
}
