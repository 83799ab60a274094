//! The roots: what each does and what comes next, the next rollover, and a key that somebody else may have.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use rootcast_core::access::permission::Operation;
use rootcast_core::job::Phase;
use rootcast_dialects::native::Root;
use rootcast_gate::routes;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::App;
use crate::api::{Answer, Api, Told, Trouble, part};
use crate::caller::Caller;
use crate::form::Sent;
use crate::frame::{SPACE, Section, csrf, nothing_here, page};
use crate::parts::{encoded, facts, field, or_why, plain, read, segment, tag, text_field, when, word};
use crate::rights::Rights;

pub(crate) async fn show(State(app): State<Arc<App>>, caller: Caller) -> Result<Markup, Trouble> {
    let api = Api { app: &app, caller: &caller };
    let (roots, rights) = futures::join!(api.get(routes::ROOT_DETAILS, &[], ""), api.rights());
    let roots = read(part(roots)?.map(|roots| roots.told::<Vec<Root>>()))?;
    let now = (app.clock)();
    let content = html! {
        (or_why(roots, |roots| html! {
            @if roots.is_empty() { p { "There is no root yet. The first rollover makes one, and brings it to the devices." } }
            @for root in &roots { (generation(root, &roots, &rights, now)) }
        }))
        (rollover(&caller, &rights))
    };
    Ok(page(&caller, Section::Roots, "Roots", &content))
}

fn generation(root: &Root, all: &[Root], rights: &Rights, now: OffsetDateTime) -> Markup {
    let state = word(&root.state);
    let kind = match state.as_str() {
        "signing" => "good",
        "published" | "reserved" => "on",
        _ => "",
    };
    let id = format!("root-{}", root.generation);
    html! {
        section.card aria-labelledby=(id) {
            h2 id=(id) {
                "Generation " (root.generation) (SPACE) (tag(kind, &plain(&state))) (SPACE)
                @if root.compromised.is_some() { (tag("bad", "compromised")) }
            }
            p { strong { (root.comes_next) } }
            (time_line(root, all, now))
            (facts(&[
                ("Subject", html! { (root.subject_dn) }),
                ("Valid", html! { (when(&root.not_before)) " to " (when(&root.not_after)) }),
                ("Algorithm", html! { (root.signature_algorithm) }),
                ("Serial number", html! { span.mono { (root.serial_number) } }),
                ("Links", html! { (links(root)) }),
                ("Below it", html! {
                    @if root.issuing_authorities.is_empty() { "no issuing authority" }
                    @for issuing in &root.issuing_authorities {
                        div { "Authority " (issuing.id) ", " (plain(&word(&issuing.state))) ", until " (when(&issuing.not_after)) }
                    }
                }),
            ]))
            @if let Some(compromise) = &root.compromised {
                div.note.bad { p {
                    "Said by " (compromise.by) ", " (when(&compromise.at)) ". " (compromise.certificates_revoked) " certificates below it are revoked"
                    @if compromise.is_done { "." } @else { " so far." }
                } }
            }
            p {
                a href={ "/console/audit?" (encoded(&[("kind", "root"), ("name", &root.generation.to_string())])) } { "Its audit" }
                @if root.compromised.is_none() && rights.may(routes::REGENERATE) && rights.may_also(Operation::Activate) {
                    " · " a href={ "/console/roots/" (root.generation) "/compromise" } { "Somebody else may have its key" }
                }
            }
        }
    }
}

fn links(root: &Root) -> &'static str {
    match (&root.new_with_old, &root.old_with_new) {
        (Some(_), Some(_)) => "from the root before, and back to it",
        (Some(_), None) => "from the root before",
        (None, Some(_)) => "to the root before",
        (None, None) => "none",
    }
}

/// Its validity among that of all, and today. The dates are beside it as text.
fn time_line(root: &Root, all: &[Root], now: OffsetDateTime) -> Markup {
    let at = |time: &str| OffsetDateTime::parse(time, &Rfc3339).map(OffsetDateTime::unix_timestamp).ok();
    let from = all.iter().filter_map(|root| at(&root.not_before)).min();
    let until = all.iter().filter_map(|root| at(&root.not_after)).max();
    let (Some(from), Some(until), Some(begins), Some(ends)) = (from, until, at(&root.not_before), at(&root.not_after))
    else {
        return html! {};
    };
    #[expect(clippy::cast_precision_loss, reason = "a place on a screen")]
    let place = |time: i64| (time - from) as f64 * 100.0 / (until - from).max(1) as f64;
    let (x, width) = (format!("{:.2}", place(begins)), format!("{:.2}", place(ends) - place(begins)));
    html! {
        svg.time viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
            rect.b0 y="4" width="100" height="2" {}
            rect.b3 x=(x) y="2" width=(width) height="6" {}
            rect.b2 x=(format!("{:.2}", place(now.unix_timestamp()))) width="0.4" height="10" {}
        }
    }
}

/// The next rollover, and the look before it.
fn rollover(caller: &Caller, rights: &Rights) -> Markup {
    let (looks, starts) = (rights.may(routes::PREFLIGHT), rights.may(routes::REGENERATE));
    html! {
        @if looks || starts { section.card aria-labelledby="next" {
            h2 id="next" { "The next rollover" }
            p { "A new key and root are made, every device gets the root beside the old one, and the new one signs when each device has proven that it holds it. It can be aborted until then, and rolled back until the old root leaves." }
            form method="post" action="/console/roots/preflight" {
                (csrf(caller))
                div.row {
                    (text_field("reason", "Why", ""))
                    (field("until", "Up to and with", &html! {
                        select id="until" name="until" {
                            option value="" { "as configured" }
                            @for stop in Phase::STOPS { option value=(stop.name()) { (plain(stop.name())) } }
                        }
                    }))
                    (text_field("rollout", "Stored rollout", ""))
                }
                div.acts {
                    @if looks { button.quiet { "Look first (preflight)" } }
                    @if starts { details {
                        summary { "Start…" }
                        p { "Begins at once with the first wave. A preflight reads every device before, and writes nothing." }
                        (text_field("typed", "Type “rotate” to confirm", ""))
                        button formaction="/console/roots/rotate" { "Start the rollover" }
                    } }
                }
            }
        } }
    }
}

pub(crate) async fn change(
    State(app): State<Arc<App>>,
    Path(change): Path<String>,
    sent: Sent,
) -> Result<Response, Trouble> {
    let api = Api { app: &app, caller: &sent.caller };
    let query = sent.query(&["reason", "until", "rollout"]);
    let begun = match change.as_str() {
        "preflight" => api.call(routes::PREFLIGHT, &[], &query, None).await,
        "rotate" => {
            sent.names("rotate")?;
            api.call(routes::REGENERATE, &[], &query, None).await
        }
        "compromise" => {
            let generation = sent.text("generation");
            sent.names(&format!("root {generation} is compromised"))?;
            if sent.text("sure") != "yes" {
                let why = "Nothing was done: the second question is not answered.";
                return Err(Told::invalid(why, "Go back, and tick the box if it is so.").into());
            }
            let query = encoded(&[("reason", "keyCompromise"), ("generation", generation)]);
            api.call(routes::REGENERATE, &[], &query, None).await
        }
        _ => return Ok(nothing_here().await),
    };
    Ok(to_job(&begun?))
}

/// To the job that began; to the roots if there was no device for one.
fn to_job(begun: &Answer) -> Response {
    let told: Value = begun.told().unwrap_or_default();
    let job = told["jobPath"].as_str().and_then(|path| path.rsplit('/').next()).filter(|job| !job.is_empty());
    let to =
        job.map_or_else(|| "/console/roots".to_owned(), |job| format!("/console/jobs/{}?done=begun", segment(job)));
    Redirect::to(&to).into_response()
}

/// The first question. The second is in the form.
pub(crate) async fn ask(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(generation): Path<String>,
) -> Result<Markup, Trouble> {
    let roots: Vec<Root> = (Api { app: &app, caller: &caller }).get(routes::ROOT_DETAILS, &[], "").await?.told()?;
    let root = roots.iter().find(|root| root.generation.to_string() == generation);
    let content = html! {
        @if let Some(root) = root {
            @let typed = format!("root {} is compromised", root.generation);
            div.note.bad {
                p { strong { "This cannot be taken back." } " It is for a key that somebody else has, or may have. For anything else, start a rollover." }
            }
            section.card aria-labelledby="what" {
                h2 id="what" { "What happens, in this order" }
                ol {
                    li { "The key of generation " (root.generation) " is disabled, and kept as evidence." }
                    li { "A new root is made and signs at once. Nothing is waited for, and no link leads from the old root to it." }
                    li { "Each device gets the new root and loses the old one in one visit." }
                    li { "Every certificate under the old root is revoked and made anew." }
                    li { "Imported certificates under it break until their owners replace them: the job lists them." }
                }
                p { "A rollover that runs is taken over. Clients that trust only the old root fail until they have the new one." }
            }
            section.card aria-labelledby="sure" {
                h2 id="sure" { "Two questions" }
                form method="post" action="/console/roots/compromise" {
                    (csrf(&caller))
                    input type="hidden" name="generation" value=(root.generation);
                    label.check {
                        input type="checkbox" name="sure" value="yes" required;
                        "Is it so, and have you told those who rely on this root?"
                    }
                    (field("typed", &format!("Which one? Type “{typed}”"), &html! {
                        input id="typed" name="typed" required autocomplete="off" autocapitalize="off" spellcheck="false";
                    }))
                    button.grave { "Replace it now" }
                }
            }
        } @else { p { "There is no such generation. " a href="/console/roots" { "To the roots" } } }
    };
    Ok(page(&caller, Section::Roots, "Somebody else may have this key", &content))
}
