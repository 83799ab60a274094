//! Who may do what, and the requests that wait for a second person.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use rootcast_gate::routes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::App;
use crate::api::{Api, Trouble, part};
use crate::caller::Caller;
use crate::form::Sent;
use crate::frame::{SPACE, Section, csrf, nothing_here, page};
use crate::parts::{done, encoded, or_why, parameter, read, segment, tag, when};
use crate::rights::Rights;
use crate::sessions::{self, Sessions};

#[derive(Deserialize)]
struct Requests {
    requests: Vec<Request>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Request {
    id: String,
    by: String,
    permissions: Vec<String>,
    method: String,
    path: String,
    query: String,
    body: Body,
    created: String,
    expires: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    sha256: String,
    bytes: u64,
    members: Option<Value>,
    #[serde(default)]
    left_out: Vec<String>,
}

#[derive(Deserialize)]
struct Principals {
    principals: Vec<Principal>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Principal {
    name: String,
    grants: Vec<Value>,
    permissions: Vec<String>,
    password: bool,
    created: String,
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Markup, Trouble> {
    let api = Api { app: &app, caller: &caller };
    let cursor = encoded(&[("cursor", &parameter(query.as_deref(), "cursor"))]);
    let later = encoded(&[("cursor", &parameter(query.as_deref(), "sessions"))]);
    let (requests, principals, sessions, rights) = futures::join!(
        api.get(routes::REQUESTS, &[], ""),
        api.get(routes::PRINCIPALS, &[], &cursor),
        api.get(routes::SESSIONS, &[], &later),
        api.rights(),
    );
    let requests = read(part(requests)?.map(|requests| requests.told::<Requests>()))?;
    let principals = read(part(principals)?.map(|principals| principals.told::<Principals>()))?;
    let sessions = read(part(sessions)?.map(|sessions| sessions.told::<Sessions>()))?;
    let content = html! {
        (done(query.as_deref()))
        section.card aria-labelledby="waiting" {
            h2 id="waiting" { "Requests for a second person" }
            (or_why(requests, |Requests { requests, cursor }| html! {
                @if requests.is_empty() { p { "None waits." } }
                @for request in &requests { (waiting(&caller, &rights, request)) }
                @if cursor.is_some() { p.soft { "There are more: " code { "rootcast request list" } } }
            }))
        }
        section.card aria-labelledby="principals" {
            h2 id="principals" { "Principals" }
            (or_why(principals, |principals| table(&principals)))
        }
        @if rights.may(routes::SESSIONS) { (sessions::shown(&caller, sessions)) }
    };
    Ok(page(&caller, Section::Access, "Access", &content))
}

fn waiting(caller: &Caller, rights: &Rights, request: &Request) -> Markup {
    let path = |verdict: &str| format!("/console/requests/{}/{verdict}", segment(&request.id));
    let reason = format!("reason-{}", request.id);
    html! {
        article.note.wait aria-label={ "Request " (request.id) } {
            p { strong { (request.by) } " asks for " strong { (request.permissions.join(" and ")) } ", " (when(&request.created)) ", until " (when(&request.expires)) "." }
            p.mono { (request.method) " " (request.path) @if !request.query.is_empty() { "?" (request.query) } }
            @if let Some(members) = &request.body.members { pre { (format!("{members:#}")) } }
            @if request.body.bytes > 0 {
                p.small { "Its body has " (request.body.bytes) " bytes, SHA-256 " span.mono { (request.body.sha256) }
                    @if !request.body.left_out.is_empty() { ". Not shown: " (request.body.left_out.join(", ")) } }
            }
            div.acts {
                // Nobody confirms his own; the API knows further ones that are his.
                @let own = rights.is(&request.by);
                @if !own { form method="post" action=(path("confirm")) { (csrf(caller)) button { "Confirm" } } }
                details {
                    summary { @if own { "Withdraw…" } @else { "Reject…" } }
                    form method="post" action=(path("reject")) {
                        (csrf(caller))
                        label for=(reason) { "Why" } input id=(reason) name="reason" required;
                        (SPACE) button.grave { @if own { "Withdraw" } @else { "Reject" } }
                    }
                }
            }
        }
    }
}

fn table(principals: &Principals) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label="Table" { table {
            thead { tr { th { "Name" } th { "Rights" } th { "May" } th { "Signs in" } th { "Since" } } }
            tbody { @for each in &principals.principals {
                tr {
                    td { (each.name) div.small { a href={ "/console/audit?" (encoded(&[("kind", "principal"), ("name", &each.name)])) } { "audit" } } }
                    td.small.mono { @for grant in &each.grants { div { (grant.as_str().map_or_else(|| grant.to_string(), str::to_owned)) } } }
                    td.small { (each.permissions.join(", ")) }
                    td { @if each.password { (tag("on", "password")) } @else { (tag("", "other identity")) } }
                    td { (when(&each.created)) }
                }
            } }
        } }
        @if let Some(cursor) = &principals.cursor {
            p { a href={ "/console/access?" (encoded(&[("cursor", cursor)])) } { "More principals" } }
        }
        p.small.soft { "Principals are made and removed with " code { "rootcast access" } "." }
    }
}

pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    Path((id, verdict)): Path<(String, String)>,
    sent: Sent,
) -> Result<Response, Trouble> {
    let api = Api { app: &app, caller: &sent.caller };
    match verdict.as_str() {
        "confirm" => api.call(routes::CONFIRM, &[&id], "", None).await?,
        "reject" => {
            let body = json!({ "reason": sent.text("reason") });
            api.call(routes::REJECT, &[&id], "", Some(&body)).await?
        }
        _ => return Ok(nothing_here().await),
    };
    Ok(Redirect::to(&format!("/console/access?done={verdict}")).into_response())
}
