//! `GET /sessions` and `DELETE /sessions/{session}`: who is signed in, and ends somebody's session.
//!
//! A session is named by the SHA-256 of its id, with which nobody can take part in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use rootcast_core::access::identity::Identity;
use rootcast_core::access::principal::PrincipalName;
use rootcast_dialects::lenovo::{Envelope, LenovoError, Params};
use rootcast_gate::{Cursors, Principal, RequestId, session_holder};
use rootcast_ledger::{SessionRecord, SessionsPage};
use rootcast_pki::fingerprint::Fingerprint;
use serde::Serialize;
use time::OffsetDateTime;
use tracing::info;

use crate::App;
use crate::principals::{PageStart, done, place};

#[derive(Serialize)]
struct SessionView {
    session: Fingerprint,
    principal: PrincipalName,
    /// With which the principal signed in, if it was no password.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Identity>,
    #[serde(with = "time::serde::rfc3339")]
    created: OffsetDateTime,
    /// Without a further use.
    #[serde(with = "time::serde::rfc3339")]
    expires: OffsetDateTime,
}

#[derive(Serialize)]
pub(crate) struct Page {
    sessions: Vec<SessionView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// The valid ones. A page may be empty without being the last one.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Params(PageStart { cursor, .. }, _): Params<PageStart>,
) -> Result<Envelope<Page>, LenovoError> {
    let list = Cursors { ledger: &app.ledger, caller: &caller, list: "sessions" };
    let after = place(list, cursor.as_deref()).await?;
    let SessionsPage { sessions, next } = app.ledger.sessions_page(after.as_deref()).await?;
    let now = (app.clock)();
    let mut holders = BTreeMap::new();
    let mut shown = Vec::new();
    for (session, record) in sessions.into_iter().filter(|(_, record)| now < record.until()) {
        // Many sessions are of few principals.
        let identity = record.exchanged.as_ref().and_then(|exchanged| exchanged.identity.as_ref());
        let of = (record.principal.clone(), record.epoch, identity.map(ToString::to_string));
        let is_valid = match holders.get(&of) {
            Some(known) => *known,
            None => *holders.entry(of).or_insert(session_holder(&app.ledger, &record).await?.is_some()),
        };
        if is_valid {
            shown.push(view(session, record));
        }
    }
    let cursor = match next {
        Some(next) => Some(list.seal(&next).await?),
        None => None,
    };
    Ok(Envelope::success(Page { sessions: shown, cursor }))
}

fn view(session: Fingerprint, record: SessionRecord) -> SessionView {
    let whole = |time: OffsetDateTime| time.replace_nanosecond(0).unwrap_or(time);
    SessionView {
        session,
        created: whole(record.created),
        expires: whole(record.until()),
        principal: record.principal,
        identity: record.exchanged.and_then(|exchanged| exchanged.identity),
    }
}

pub(crate) async fn end(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Path(session): Path<String>,
) -> Result<Envelope<()>, LenovoError> {
    let session: Fingerprint = session.parse().map_err(|_| none())?;
    let record = app.ledger.session(&session).await?.ok_or_else(none)?;
    let of = &record.principal;
    if !app.ledger.end_session(&session, of, &caller.acting(&id), (app.clock)()).await? {
        return Err(none());
    }
    info!(caller = caller.name, principal = %of, "somebody's session ended");
    Ok(done(format!("A session of {of} is ended."), "It is signed out. Its other sessions and its tokens are valid."))
}

fn none() -> LenovoError {
    LenovoError::not_found("There is no such session.", "GET /sessions lists who is signed in.")
}
