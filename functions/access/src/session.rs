//! `POST /sessions` and `DELETE /sessions`: begins and ends a session with cookies.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rootcast_core::access::principal::PrincipalName;
use rootcast_dialects::lenovo::{Envelope, LenovoError, Message};
use rootcast_gate::{
    CSRF_COOKIE, Claim, InSession, Kind, Proven, Refusal, SESSION_COOKIE, in_session, media_type, parse_json, prove,
    read, secret, source,
};
use rootcast_ledger::{Exchanged, LONGEST_SESSION, SessionRecord};
use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use tracing::info;
use zeroize::Zeroizing;

use crate::body::LIMIT;
use crate::{App, random};

/// The vendor's other attributes are ignored.
#[derive(Deserialize)]
struct SessionRequest {
    #[serde(rename = "UserId")]
    user_id: String,
    password: String,
}

/// The vendor's attributes; its clients read only `id` and `csrf`.
#[derive(Serialize)]
struct Begun<'a> {
    #[serde(rename = "pwChangeRequired")]
    password_change_required: bool,
    session: Session<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Session<'a> {
    #[serde(rename = "Address")]
    address: &'a str,
    created: String,
    csrf: &'a str,
    id: &'a str,
    /// Minutes.
    inactivity_timeout: i64,
    is_own_session: bool,
    last_accessed: String,
    #[serde(rename = "UserId")]
    user_id: String,
}

pub(crate) async fn begin(State(app): State<Arc<App>>, request: Request) -> Result<Response, LenovoError> {
    let (parts, body) = request.into_parts();
    media_type(&parts.headers, &["application/json"])?;
    let SessionRequest { user_id, password } = asked(&read(body, LIMIT).await?)?;
    let now = (app.clock)();
    let source = source(&parts);
    let claim = Claim { source: source.clone(), name: user_id, password: Zeroizing::new(password) };
    let Proven { name, login_epoch, .. } = prove(&app.ledger, claim, now).await.map_err(not_proven)?;

    let owner = Owner { principal: name, epoch: login_epoch, exchanged: None };
    begun(&app, owner, &source, "The user ID and the password are valid.").await
}

/// Whose session begins, and by what.
pub(crate) struct Owner {
    pub(crate) principal: PrincipalName,
    pub(crate) epoch: u64,
    pub(crate) exchanged: Option<Exchanged>,
}

pub(crate) async fn begun(app: &App, owner: Owner, source: &str, why: &str) -> Result<Response, LenovoError> {
    let (id, csrf, now) = (secret(random()?), secret(random()?), (app.clock)());
    let record = SessionRecord {
        principal: owner.principal,
        epoch: owner.epoch,
        exchanged: owner.exchanged,
        csrf: csrf.sha256(),
        idle: app.idle.whole_seconds(),
        expires: now + app.idle.min(LONGEST_SESSION),
        created: now,
    };
    app.ledger.put_session(&id.sha256(), &record).await?;
    info!(caller = %record.principal, "session begun");
    let began = now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).map_err(LenovoError::internal)?;
    let session = Session {
        address: source,
        created: began.clone(),
        csrf: csrf.expose(),
        id: id.expose(),
        inactivity_timeout: app.idle.min(LONGEST_SESSION).whole_minutes(),
        is_own_session: true,
        last_accessed: began,
        user_id: record.principal.to_string(),
    };
    let text = Message::done("The session was created.", why);
    let told = Envelope::success(Begun { password_change_required: false, session }).saying(text).into_response();
    with_cookies(told, [(SESSION_COOKIE, id.expose(), "; HttpOnly"), (CSRF_COOKIE, csrf.expose(), "")])
}

/// One text whether the user or the password is wrong.
fn not_proven(why: impl Into<Refusal>) -> Refusal {
    let why = why.into();
    match why.kind() {
        Kind::Unauthenticated => Refusal::new(
            Kind::Unauthenticated,
            "The user name or the password is not valid.",
            "Correct UserId and password, and send the request again.",
        ),
        _ => why,
    }
}

/// Authenticates the call that ends its own session.
pub(crate) async fn identify(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, LenovoError> {
    let (mut parts, body) = request.into_parts();
    let found = in_session(&app.ledger, &parts, (app.clock)()).await?.ok_or_else(Refusal::unauthenticated)?;
    parts.extensions.insert(found.principal.clone());
    parts.extensions.insert(found);
    Ok(next.run(Request::from_parts(parts, body)).await)
}

pub(crate) async fn end(
    State(app): State<Arc<App>>,
    Extension(InSession { id, principal }): Extension<InSession>,
) -> Result<Response, LenovoError> {
    app.ledger.remove_session(&id).await?;
    info!(caller = principal.name, "session ended");
    let text = Message::done("The session was deleted.", "The client logged out.");
    let told = Envelope::success(serde_json::json!({})).saying(text).into_response();
    with_cookies(told, [(SESSION_COOKIE, "", "; HttpOnly; Max-Age=0"), (CSRF_COOKIE, "", "; Max-Age=0")])
}

pub(crate) async fn no_such_method() -> LenovoError {
    let text = "The resource does not have this method.";
    LenovoError::new(Kind::MethodNotAllowed, text, "Use a method that the header Allow names.")
}

/// # Errors
/// Errors quote nothing from the body: it may contain a password.
fn asked(body: &[u8]) -> Result<SessionRequest, LenovoError> {
    let asked =
        parse_json::<SessionRequest>(body).ok().filter(|asked| !asked.user_id.is_empty() && !asked.password.is_empty());
    asked.ok_or_else(|| {
        let text = "The body is not JSON with the attributes UserId and password.";
        LenovoError::invalid(text, "Correct the body and send the request again.")
    })
}

/// Cookies for this host only, over TLS, and for requests of its own pages. Scripts of these pages can read the CSRF
/// cookie.
fn with_cookies(mut response: Response, cookies: [(&str, &str, &str); 2]) -> Result<Response, LenovoError> {
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value, more) in cookies {
        let cookie = format!("{name}={value}; Path=/; Secure; SameSite=Strict{more}");
        headers.append(SET_COOKIE, HeaderValue::try_from(cookie).map_err(LenovoError::internal)?);
    }
    Ok(response)
}
