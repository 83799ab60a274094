//! Certificates: what ends first, and an import by form.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use rootcast_gate::routes;
use serde::Deserialize;

use crate::App;
use crate::api::{Api, Told, Trouble, part};
use crate::caller::Caller;
use crate::form::Sent;
use crate::frame::{Section, csrf, page, problem};
use crate::parts::{done, encoded, field, or_why, parameter, read, tag, text_field};

/// What an import is made of. A page never gets a key or a password back.
const FIELDS: [&str; 7] =
    ["name", "folder", "certificate", "certificate_chain", "private_key", "pkcs12", "pkcs12_password"];
const SHOWN_AGAIN: [&str; 4] = ["name", "folder", "certificate", "certificate_chain"];

#[derive(Deserialize)]
struct Listed {
    certificates: Vec<Certificate>,
    total_count: u64,
    #[serde(default)]
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Certificate {
    id: String,
    name: String,
    domain: Option<String>,
    status: String,
    expire_time: String,
    dn: String,
    uses: u64,
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Markup, Trouble> {
    shown(&app, &caller, query.as_deref(), None).await
}

/// `refused`: an import, with what was sent.
async fn shown(
    app: &App,
    caller: &Caller,
    query: Option<&str>,
    refused: Option<(&Told, &Sent)>,
) -> Result<Markup, Trouble> {
    let text = parameter(query, "text");
    let cursor = parameter(query, "cursor");
    let asked = encoded(&[
        ("limit", "50"),
        ("sort_key", "certExpiredTime"),
        ("sort_dir", "ASC"),
        ("content", &text),
        ("cursor", &cursor),
    ]);
    let api = Api { app, caller };
    let (listed, rights) = futures::join!(api.get(routes::SCM_LIST, &[], &asked), api.rights());
    let listed = read(part(listed)?.map(|listed| listed.json::<Listed>()))?;
    let content = html! {
        (done(query))
        @if refused.is_some() { (form(caller, refused)) }
        form.row method="get" role="search" action="/console/certificates" {
            (text_field("text", "Name or domain", &text))
            button { "Filter" }
        }
        section.card aria-labelledby="all" {
            h2 id="all" { "What ends first" }
            (or_why(listed, |listed| table(&listed, &text)))
        }
        @if refused.is_none() && rights.may_import() { (form(caller, None)) }
    };
    Ok(page(caller, Section::Certificates, "Certificates", &content))
}

fn table(listed: &Listed, text: &str) -> Markup {
    html! {
        @if listed.certificates.is_empty() { p { "There is no certificate" @if !text.is_empty() { " that matches" } "." } } @else {
            div.scroll tabindex="0" role="group" aria-label="Table" { table {
                thead { tr { th { "Name" } th { "Domain" } th { "Ends" } th { "Status" } th { "Devices" } } }
                tbody { @for each in &listed.certificates {
                    tr {
                        td {
                            (each.name) div.small.soft.mono { (each.dn) }
                            div.small { a href={ "/console/audit?" (encoded(&[("kind", "certificate"), ("name", &each.id)])) } { "audit" } }
                        }
                        td { (each.domain.as_deref().unwrap_or_default()) }
                        td { (each.expire_time) }
                        td { (status(&each.status)) }
                        td { (each.uses) }
                    }
                } }
            } }
            p.small.soft { (listed.certificates.len()) " of " (listed.total_count) "." }
        }
        @if let Some(cursor) = &listed.cursor {
            p { a href={ "/console/certificates?" (encoded(&[("text", text), ("cursor", cursor)])) } { "Those that end later" } }
        }
    }
}

fn status(status: &str) -> Markup {
    match status {
        "EXPIRED" => tag("bad", "expired"),
        "REVOKED" => tag("bad", "revoked"),
        "UPLOAD" => tag("good", "valid"),
        other => tag("", other),
    }
}

/// The problems of one field. Each begins with the field's name.
fn problems_of<'a>(refused: Option<(&'a Told, &Sent)>, name: &str) -> Vec<&'a str> {
    let all = refused.into_iter().flat_map(|(told, _)| &told.problems).map(String::as_str);
    all.filter(|problem| problem.strip_prefix(name).is_some_and(|rest| rest.starts_with([',', ':', ' ']))).collect()
}

fn form(caller: &Caller, refused: Option<(&Told, &Sent)>) -> Markup {
    let before = |name: &str| refused.filter(|_| SHOWN_AGAIN.contains(&name)).map_or("", |(_, sent)| sent.raw(name));
    let area = |name: &str, shown: &str| {
        let problems = problems_of(refused, name);
        let (id, is_wrong) = (format!("wrong-{name}"), !problems.is_empty());
        let described = is_wrong.then_some(id.as_str());
        let input = html! {
            textarea id=(name) name=(name) spellcheck="false" autocomplete="off"
                aria-invalid=[is_wrong.then_some("true")] aria-describedby=[described] { (before(name)) }
            @if is_wrong { ul.wrong id=(id) { @for problem in &problems { li { (problem) } } } }
            span.needs-script hidden { label { "or from a file, or dropped on the field: " input type="file" data-into=(name); } }
        };
        field(name, shown, &input)
    };
    html! {
        section.card aria-labelledby="import" {
            h2 id="import" { "Import one" }
            @if let Some((told, _)) = refused { (problem(&unplaced(told, refused))) }
            form method="post" action="/console/certificates" autocomplete="off" {
                (csrf(caller))
                div.row { (text_field("name", "Name", before("name"))) (text_field("folder", "Folder (optional)", before("folder"))) }
                (area("certificate", "Certificate (PEM)"))
                (area("certificate_chain", "Chain (PEM, optional)"))
                (area("private_key", "Private key (PEM, without a password)"))
                details open[!problems_of(refused, "pkcs12").is_empty()] {
                    summary { "PKCS #12 instead" }
                    (area("pkcs12", "The file in base64"))
                    (field("pkcs12_password", "Its password", &html! {
                        input id="pkcs12_password" name="pkcs12_password" type="password" autocomplete="off";
                    }))
                }
                label.check { input type="checkbox" name="once" value="yes"; "Refuse it if it is stored already" }
                button { "Import" }
            }
        }
    }
}

/// What is said above the form: all that is beside no field of it.
fn unplaced(told: &Told, refused: Option<(&Told, &Sent)>) -> Told {
    let placed: Vec<&str> = ["certificate", "certificate_chain", "private_key", "pkcs12"]
        .iter()
        .flat_map(|name| problems_of(refused, name))
        .collect();
    if placed.is_empty() {
        return told.clone();
    }
    let others = told.problems.iter().filter(|problem| !placed.contains(&problem.as_str()));
    let text = format!("Nothing was imported. Problems: {}.", told.problems.len());
    Told { text, problems: others.cloned().collect(), ..told.clone() }
}

/// All problems are shown at once, beside the fields that were sent.
pub(crate) async fn import(State(app): State<Arc<App>>, sent: Sent) -> Result<Response, Trouble> {
    let mut body = sent.members(&FIELDS);
    body["duplicate_check"] = (sent.text("once") == "yes").into();
    let imported = (Api { app: &app, caller: &sent.caller }).call(routes::SCM_IMPORT, &[], "", Some(&body)).await;
    match part(imported)? {
        Ok(_) => Ok(Redirect::to("/console/certificates?done=import").into_response()),
        Err(told) => Ok((told.status, shown(&app, &sent.caller, None, Some((&told, &sent))).await?).into_response()),
    }
}
