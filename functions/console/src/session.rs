//! Signing in and out: the API's own sessions.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use rootcast_gate::routes;
use serde_json::json;

use crate::App;
use crate::api::{Api, Told, Trouble};
use crate::form::Sent;
use crate::frame::{bare, problem};
use crate::parts::field;

pub(crate) fn to_sign_in() -> Response {
    Redirect::to("/console/sign-in").into_response()
}

pub(crate) async fn ask(State(app): State<Arc<App>>) -> Markup {
    form(&app, None, "")
}

fn form(app: &App, refused: Option<&Told>, name: &str) -> Markup {
    let content = html! {
        div.card.narrow {
            @if let Some(told) = refused { (problem(told)) }
            form method="post" {
                (field("name", "User name", &html! {
                    input id="name" name="name" value=(name) required autocomplete="username" autocapitalize="off" spellcheck="false";
                }))
                (field("password", "Password", &html! {
                    input id="password" name="password" type="password" required autocomplete="current-password";
                }))
                button { "Sign in" }
            }
            @if let Some(oidc) = &app.oidc { p { "or " a href="/console/oidc" { "sign in at " (oidc.shown()) } } }
        }
    };
    bare("Sign in", &content)
}

pub(crate) async fn begin(State(app): State<Arc<App>>, sent: Sent) -> Result<Response, Trouble> {
    let name = sent.text("name");
    let body = json!({ "UserId": name, "password": sent.raw("password") });
    match (Api { app: &app, caller: &sent.caller }).call(routes::BEGIN_SESSION, &[], "", Some(&body)).await {
        Ok(begun) => Ok(with_cookies("/console", &begun.cookies)),
        Err(Trouble::SignedOut) => {
            let wrong = Told {
                status: StatusCode::UNAUTHORIZED,
                ..Told::invalid("The user name or the password is not valid.", "Correct them, and sign in again.")
            };
            Ok((StatusCode::UNAUTHORIZED, form(&app, Some(&wrong), name)).into_response())
        }
        Err(Trouble::Refused(told)) => Ok((told.status, form(&app, Some(&told), name)).into_response()),
    }
}

pub(crate) async fn end(State(app): State<Arc<App>>, sent: Sent) -> Result<Response, Trouble> {
    let ended = (Api { app: &app, caller: &sent.caller }).call(routes::END_SESSION, &[], "", None).await?;
    Ok(with_cookies("/console/sign-in", &ended.cookies))
}

/// The cookies are the session's, as the API set them: for this host, over TLS, and for requests of its own pages.
fn with_cookies(to: &str, cookies: &[String]) -> Response {
    let mut response = Redirect::to(to).into_response();
    for cookie in cookies.iter().filter_map(|cookie| HeaderValue::from_str(cookie).ok()) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}
