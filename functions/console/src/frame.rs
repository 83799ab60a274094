//! What every page has around it.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::api::Told;
use crate::assets::{HTMX, ICON, SCRIPT, STYLE};
use crate::caller::Caller;

/// htmx without what our policy for content forbids: inline styles, and code in attributes.
const HTMX_SETTINGS: &str = r#"{"includeIndicatorStyles":false,"allowEval":false,"selfRequestsOnly":true,"historyCacheSize":0,"timeout":15000}"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Rollovers,
    Fleet,
    Roots,
    Certificates,
    Audit,
    Access,
}

const SECTIONS: [(Section, &str, &str); 6] = [
    (Section::Rollovers, "Rollovers", "/console"),
    (Section::Fleet, "Fleet", "/console/devices"),
    (Section::Roots, "Roots", "/console/roots"),
    (Section::Certificates, "Certificates", "/console/certificates"),
    (Section::Audit, "Audit", "/console/audit"),
    (Section::Access, "Access", "/console/access"),
];

/// A page of somebody who is signed in.
pub(crate) fn page(caller: &Caller, section: Section, title: &str, content: &Markup) -> Markup {
    let navigation = html! {
        nav aria-label="Main" {
            ul {
                @for (each, name, path) in SECTIONS {
                    li { a href=(path) aria-current=[(each == section).then_some("page")] { (name) } }
                }
            }
        }
        form method="post" action="/console/sign-out" {
            (csrf(caller))
            button.quiet { "Sign out" }
        }
    };
    document(title, &navigation, content)
}

/// A page of anybody.
pub(crate) fn bare(title: &str, content: &Markup) -> Markup {
    document(title, &html! {}, content)
}

fn document(title: &str, navigation: &Markup, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="htmx-config" content=(HTMX_SETTINGS);
                title { (title) " · Rootcast" }
                link rel="icon" href=(ICON.path);
                link rel="stylesheet" href=(STYLE.path) integrity=(STYLE.integrity);
                script src=(HTMX.path) integrity=(HTMX.integrity) defer {}
                script src=(SCRIPT.path) integrity=(SCRIPT.integrity) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    div.bar-top {
                        a.brand href="/console" { img src=(ICON.path) width="26" height="26" alt=""; "Rootcast" }
                        (navigation)
                    }
                }
                main id="main" tabindex="-1" {
                    h1 { (title) }
                    p id="stale" role="status" {}
                    (content)
                }
                footer { "Times are in UTC. What this page shows and does, " code { "rootcast" } " on the command line does too." }
            }
        }
    }
}

/// The field that proves that a form is of this session.
pub(crate) fn csrf(caller: &Caller) -> Markup {
    html! { input type="hidden" name="csrf" value=(caller.csrf); }
}

/// A part of a page that refreshes itself, unless what it shows is over. `path`: of the whole page, of which the browser takes
/// this part. Such requests do not keep a session alive.
pub(crate) fn live(path: &str, at: &str, runs: bool, content: &Markup) -> Markup {
    let headers = runs.then_some(r#"{"X-Not-User-Input":"checkSession"}"#);
    html! {
        div id="live" data-at=(at) hx-get=[runs.then_some(path)] hx-trigger=[runs.then_some("every 5s")]
            hx-select=[runs.then_some("#live")] hx-swap=[runs.then_some("outerHTML")] hx-headers=[headers] { (content) }
    }
}

/// What was refused, or waits for a second person.
pub(crate) fn refused(told: &Told) -> Response {
    let request = told.request.as_deref();
    let content = html! {
        (problem(told))
        @if let Some(request) = request {
            p { "Request " code { (request) } " is under " a href="/console/access" { "Access" } "." }
        }
        p { a href="/console" { "To the overview" } " · or go back with the browser, which keeps what you filled in." }
    };
    let title = if request.is_some() { "A second person is asked" } else { "Not done" };
    (told.status, bare(title, &content)).into_response()
}

/// A refusal, with all its problems.
pub(crate) fn problem(told: &Told) -> Markup {
    let kind = if told.status == StatusCode::ACCEPTED { "note wait" } else { "note bad" };
    html! {
        div class=(kind) role="alert" {
            p { strong { (told.text) } }
            @if !told.problems.is_empty() { ul { @for each in &told.problems { li { (each) } } } }
            @if !told.advice.is_empty() { p { (told.advice) } }
        }
    }
}

/// Without a session nobody learns what there is.
pub(crate) async fn nothing_here() -> Response {
    let content = html! { p { "There is nothing at this address. " a href="/console" { "To the overview" } } };
    (StatusCode::NOT_FOUND, bare("Not found", &content)).into_response()
}

/// A space that separates words, where the template would leave none.
pub(crate) const SPACE: PreEscaped<&str> = PreEscaped(" ");
