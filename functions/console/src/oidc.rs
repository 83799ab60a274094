//! Sign-in at an OpenID provider: the authorization code flow (OpenID Connect Core 1.0 §3.1) with PKCE (RFC 7636), as a public client.
//!
//! What was begun is in a cookie of the browser that began it, and nowhere else. The provider's token is verified by API Gateway
//! (signature, issuer, audience, times) before `POST /sessions/oidc`, which begins the session: console has no key to believe a token
//! by, and could not let anybody in. It checks what API Gateway cannot know: that the answer belongs to this sign-in, and the token to
//! this client.

mod flow;
mod provider;

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::header::{HOST, REFRESH, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;

use self::flow::Begun;
use self::provider::Provider;
use crate::App;
use crate::api::{Told, Trouble};
use crate::frame::{bare, nothing_here, problem};

/// The provider whose tokens the API takes, and the client that the page is there.
#[derive(Debug, Clone)]
pub struct Oidc {
    pub issuer: String,
    pub client: String,
}

impl Oidc {
    /// The provider's host, for whoever signs in.
    pub(crate) fn shown(&self) -> &str {
        self.issuer.split('/').nth(2).unwrap_or(&self.issuer)
    }
}

pub(crate) async fn begin(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Trouble> {
    let Some(oidc) = &app.oidc else { return Ok(nothing_here().await) };
    let here = host(&headers)?;
    let provider = Provider::found(oidc, &app.lambda.http).await?;
    let begun = Begun::from_random(flow::random()?);
    let to = provider.authorization(&begun.asked(&oidc.client, &back_to(here)));
    Ok(with_cookie(Redirect::to(&to).into_response(), &begun.cookie()))
}

/// The browser comes back from the provider. Whatever it brings, this sign-in is over.
pub(crate) async fn back(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Trouble> {
    let Some(oidc) = &app.oidc else { return Ok(nothing_here().await) };
    let response = match signed_in(&app, oidc, &headers, query.as_deref().unwrap_or_default()).await {
        Ok(cookies) => entered(&cookies),
        Err(told) => {
            let content = html! {
                (problem(&told))
                p { a href="/console/sign-in" { "To the sign-in" } }
            };
            (told.status, bare("Not signed in", &content)).into_response()
        }
    };
    Ok(with_cookie(response, flow::OVER))
}

/// The session's cookies.
async fn signed_in(app: &App, oidc: &Oidc, headers: &HeaderMap, query: &str) -> Result<Vec<String>, Told> {
    let here = host(headers)?;
    let begun = Begun::of(headers).ok_or_else(flow::not_begun_here)?;
    let code = begun.code(query, &oidc.issuer)?;
    let provider = Provider::found(oidc, &app.lambda.http).await?;
    let token = provider.token(&begun.redeemed(&oidc.client, &back_to(here), &code), &app.lambda.http).await?;
    begun.takes(&token, &oidc.client)?;
    provider::session(here, &token, &app.lambda.http).await
}

/// Cookies that are only for requests of our own pages do not go with a redirect that began elsewhere: this page leads on.
fn entered(cookies: &[String]) -> Response {
    let content = html! { p { "You are signed in. " a href="/console" { "To the overview" } } };
    let mut response = bare("Signed in", &content).into_response();
    response.headers_mut().insert(REFRESH, HeaderValue::from_static("0; url=/console"));
    cookies.iter().fold(response, |response, cookie| with_cookie(response, cookie))
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

fn back_to(here: &str) -> String {
    format!("https://{here}/console/oidc/callback")
}

/// The API's name. API Gateway leads nothing here that was sent to another.
fn host(headers: &HeaderMap) -> Result<&str, Told> {
    let is_name = |host: &&str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:".contains(&byte));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).filter(is_name);
    host.ok_or_else(|| Told::invalid("The request has no valid header Host.", "Open the page by its address."))
}

/// The provider's answers are not for whoever signs in: the log has what is wrong.
fn broken(what: &str, status: StatusCode) -> Told {
    Told {
        status,
        ..Told::invalid(
            what,
            "Sign in with a password, or again in a minute. The log of the function console has the reason.",
        )
    }
}
