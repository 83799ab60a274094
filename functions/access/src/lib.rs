#![doc = include_str!("../README.md")]

mod body;
mod config;
mod exchange;
mod identity;
mod login;
mod principals;
mod requests;
mod rights;
mod session;
mod sessions;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, HeaderValue};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_request, map_response};
use axum::response::Response;
use rootcast_core::access::token::Token;
use rootcast_dialects::lenovo::{self, LenovoError};
use rootcast_dialects::venafi::{self, Code, OAuthError};
use rootcast_gate::{Guarded, Kind, Refusal, SecondPerson, fold_case, presented, routes};
use rootcast_ledger::{GrantRecord, Ledger, Pair};
use serde::Serialize;
use time::{Duration, OffsetDateTime};

/// Lifetime of an access token: long enough for any piece of work. A refresh token gives another one.
const ACCESS: Duration = Duration::HOUR;
/// Lifetime of a grant. After that, its holder must log in again.
const GRANT: Duration = Duration::days(30);

/// The function's clients and configuration.
pub struct App {
    pub ledger: Ledger,
    /// A session ends after this time without a request, and after twelve hours in any case.
    pub idle: Duration,
    pub second: SecondPerson,
    pub clock: fn() -> OffsetDateTime,
}

pub fn router(app: Arc<App>) -> Router {
    let of_tokens = Guarded::<_, OAuthError>::default()
        .on(routes::VERIFY, token::verify)
        .on(routes::LOG_OUT, token::revoke)
        .into_router()
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(app.clone(), identify));
    let tokens = Guarded::<_, OAuthError>::default()
        .on(routes::LOG_IN, login::login)
        .on(routes::EXCHANGE, exchange::exchange)
        .into_router()
        .fallback(async || not_here(Kind::NotFound, "There is nothing at this path."))
        .method_not_allowed_fallback(no_such_method)
        .merge(of_tokens)
        .layer(from_fn(venafi::report))
        .with_state(app.clone());
    let ended = Guarded::<_, LenovoError>::default()
        .on(routes::END_SESSION, session::end)
        .into_router()
        .layer(from_fn_with_state(app.clone(), session::identify));
    let listed = Guarded::<_, LenovoError>::default()
        .on(routes::SESSIONS, sessions::list)
        .on(routes::END_ONES_SESSION, sessions::end)
        .into_router()
        .layer(from_fn_with_state(app.clone(), principals::identify));
    let sessions = Guarded::<_, LenovoError>::default()
        .on(routes::BEGIN_SESSION, session::begin)
        .on(routes::OF_IAM, identity::of_iam)
        .on(routes::OF_OIDC, identity::of_oidc)
        .into_router()
        .merge(ended)
        .merge(listed)
        .method_not_allowed_fallback(session::no_such_method)
        .layer(from_fn(lenovo::report))
        .with_state(app.clone());
    let principals = Guarded::<_, LenovoError>::default()
        .on(routes::PRINCIPALS, principals::list)
        .on(routes::ADD_PRINCIPAL, principals::add)
        .on(routes::PRINCIPAL, principals::show)
        .on(routes::REMOVE_PRINCIPAL, principals::remove)
        .on(routes::CHANGE_PASSWORD, principals::change_password)
        .on(routes::RIGHTS, rights::show)
        .on(routes::REQUESTS, requests::list)
        .on(routes::REQUEST, requests::show)
        .on(routes::CONFIRM, requests::confirm)
        .on(routes::REJECT, requests::reject)
        .into_router()
        .method_not_allowed_fallback(session::no_such_method)
        .layer(from_fn_with_state(app.clone(), principals::identify))
        .layer(from_fn(lenovo::report))
        .with_state(app);
    // These layers wrap the router: inside it, the route would be chosen already.
    Router::new()
        .fallback_service(tokens.merge(sessions).merge(principals))
        .layer(map_response(not_stored))
        .layer(map_request(fold_case))
}

/// Authenticates the calls that concern the token they are made with.
async fn identify(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Result<Response, OAuthError> {
    let presented = presented(&app.ledger, request.headers(), (app.clock)()).await?;
    let presented = presented.ok_or_else(OAuthError::unauthenticated)?;
    request.extensions_mut().insert(presented.principal.clone());
    request.extensions_mut().insert(presented);
    Ok(next.run(request).await)
}

async fn no_such_method() -> OAuthError {
    not_here(Kind::MethodNotAllowed, "Use a method that the header Allow names.")
}

fn not_here(kind: Kind, text: &str) -> OAuthError {
    OAuthError::new(Code::InvalidRequest, kind, text)
}

/// RFC 6749 §5.1.
async fn not_stored(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to a login or an exchange (RFC 6749 §5.1); times in Unix seconds, as in Venafi's API.
#[derive(Serialize)]
struct TokenResponse {
    access_token: String,
    expires: i64,
    /// Seconds.
    expires_in: i64,
    identity: String,
    refresh_token: String,
    refresh_until: i64,
    scope: String,
    token_type: &'static str,
}

/// Two new tokens of a grant, and the record of them.
struct Made {
    access: Token,
    refresh: Token,
    pair: Pair,
}

impl Made {
    fn now(now: OffsetDateTime, grant_expires: OffsetDateTime) -> Result<Self, OAuthError> {
        let (access, refresh) = (Token::from_random(&random()?), Token::from_random(&random()?));
        let expires = (now + ACCESS).min(grant_expires);
        let pair = Pair { access: access.sha256(), refresh: refresh.sha256(), created: now, expires };
        Ok(Self { access, refresh, pair })
    }

    fn given(self, grant: &GrantRecord) -> TokenResponse {
        TokenResponse {
            access_token: self.access.expose().to_owned(),
            expires: self.pair.expires.unix_timestamp(),
            expires_in: (self.pair.expires - self.pair.created).whole_seconds(),
            identity: identity(&grant.principal),
            refresh_token: self.refresh.expose().to_owned(),
            refresh_until: grant.expires.unix_timestamp(),
            scope: grant.scopes.to_string(),
            token_type: "Bearer",
        }
    }
}

/// Venafi's form: the identity provider, and the id there.
fn identity(name: impl std::fmt::Display) -> String {
    format!("local:{name}")
}

/// Random bytes from the operating system.
fn random<const N: usize>() -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Refusal::internal)?;
    Ok(bytes)
}
