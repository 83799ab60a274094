//! Who did what: any chain, searched, and verified where it is shown.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use maud::{Markup, html};
use rootcast_core::audit::{Entry, verify};
use rootcast_dialects::native::AuditChain;
use rootcast_gate::routes::{self, Route};

use crate::App;
use crate::api::{Api, Trouble, part};
use crate::caller::Caller;
use crate::frame::{Section, page};
use crate::parts::{encoded, field, or_why, parameter, plain, read, text_field, when, word};

/// Entries of a page.
const ENTRIES: &str = "100";

/// Each kind of chain, and whether its name is in the path.
const KINDS: [(&str, &str, Route, bool); 8] = [
    ("job", "Job (number)", routes::JOB_AUDIT, true),
    ("device", "Device (id)", routes::DEVICE_AUDIT, true),
    ("root", "Root (generation)", routes::ROOT_AUDIT, true),
    ("certificate", "Certificate (id)", routes::CERTIFICATE_AUDIT, true),
    ("principal", "Principal (name)", routes::PRINCIPAL_AUDIT, false),
    ("policy", "Policy (issuance, certificate, anchors, rollouts)", routes::POLICY_AUDIT, false),
    ("request", "Request (id)", routes::REQUEST_AUDIT, false),
    ("denials", "Denials of a caller (name)", routes::DENIAL_AUDIT, false),
];

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Markup, Trouble> {
    let [kind, name, text, cursor] = ["kind", "name", "text", "cursor"].map(|each| parameter(query.as_deref(), each));
    let api = Api { app: &app, caller: &caller };
    let chain = match KINDS.into_iter().find(|(each, ..)| *each == kind) {
        Some((_, _, route, in_path)) if !name.is_empty() => {
            let told = if in_path { "" } else { name.as_str() };
            let asked = encoded(&[("limit", ENTRIES), ("cursor", &cursor), ("name", told)]);
            let arguments: &[&str] = if in_path { &[&name] } else { &[] };
            let chain = api.get(route, arguments, &asked).await;
            Some(read(part(chain)?.map(|chain| chain.told::<AuditChain>()))?)
        }
        _ => {
            // So that nothing is shown without a session.
            api.get(routes::ABOUT, &[], "").await?;
            None
        }
    };
    let content = html! {
        form.row method="get" role="search" {
            (field("kind", "Of a", &html! {
                select id="kind" name="kind" {
                    @for (value, shown, ..) in KINDS { option value=(value) selected[value == kind] { (shown) } }
                }
            }))
            (text_field("name", "Which", &name))
            (text_field("text", "With the text", &text))
            button { "Show" }
        }
        @if let Some(chain) = chain {
            (or_why(chain, |chain| entries(&chain, &kind, &name, &text, !cursor.is_empty())))
        }
    };
    Ok(page(&caller, Section::Audit, "Audit", &content))
}

fn entries(chain: &AuditChain, kind: &str, name: &str, text: &str, is_later: bool) -> Markup {
    let wanted = text.to_lowercase();
    let lines = chain.entries.iter().filter(|line| line.to_lowercase().contains(&wanted));
    let shown: Vec<Entry> = lines.filter_map(|line| Entry::parse(line).ok()).collect();
    html! {
        section.card aria-labelledby="entries" {
            h2 id="entries" { (chain.subject) }
            (verdict(chain, is_later))
            @if shown.is_empty() { p { "No entry of this page has the text." } }
            div.scroll tabindex="0" role="group" aria-label="Table" { table {
                thead { tr { th { "No." } th { "When" } th { "Who" } th { "What" } th { "Details" } } }
                tbody { @for entry in &shown {
                    tr {
                        td { (entry.sequence) }
                        td { (when(&crate::jobs::stamp(entry.at))) }
                        td { (entry.principal) }
                        td { (plain(&word(&entry.action))) ", " (plain(&word(&entry.outcome))) }
                        td.small { @for (name, value) in &entry.details { div { span.soft { (name) ": " } (value) } } }
                    }
                } }
            } }
            @if let Some(cursor) = &chain.cursor {
                @let next = encoded(&[("kind", kind), ("name", name), ("text", text), ("cursor", cursor)]);
                p { a href={ "/console/audit?" (next) } { "Later entries" } }
            }
        }
    }
}

/// Whether the entries follow from each other, from the first one to the chain's head. The signed heads are for the command
/// line, which needs not trust this page.
fn verdict(chain: &AuditChain, is_later: bool) -> Markup {
    if is_later {
        return html! { p.soft { "A later page: only the first can be verified by itself." } };
    }
    match verify(chain.entries.iter().map(String::as_str)) {
        Err(broken) => html! { div.note.bad role="alert" { p { strong { "The chain is broken: " } (broken) } } },
        Ok((entries, head)) if chain.cursor.is_some() => {
            html! { p { "The first " (entries.len()) " of " (chain.head.sequence) " entries follow from each other; the last of them is " (head.sequence) "." } }
        }
        Ok((entries, head)) if head == chain.head || head.sequence > chain.head.sequence => {
            html! { div.note.good { p { "All " (entries.len()) " entries follow from each other, up to the head. " code { "rootcast audit" } " compares it with the signed statements." } } }
        }
        Ok((_, head)) => {
            html! { div.note.bad role="alert" { p { "The chain ends at entry " (head.sequence) ", and its head is entry " (chain.head.sequence) ": entries are missing." } } }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_core::audit::{Act, Action, Actor, Head, Subject};
    use time::macros::datetime;

    use super::*;

    fn chain(changed: impl Fn(String) -> String) -> AuditChain {
        let (mut head, mut entries) = (Head::NONE, Vec::new());
        for at in [datetime!(2026-01-02 03:04:05 UTC), datetime!(2026-01-02 03:05:05 UTC)] {
            let act = Act::new(Subject::Root(1), Action::Import, &Actor::function("<b>console"), at);
            let entry = act.after(&head);
            let line = entry.line().unwrap();
            head = entry.head(&line);
            entries.push(changed(line));
        }
        AuditChain { subject: Subject::Root(1), entries, head, cursor: None }
    }

    fn shown(chain: &AuditChain, text: &str) -> String {
        entries(chain, "root", "1", text, false).into_string()
    }

    #[test]
    fn a_chain_is_verified_where_it_is_shown() {
        assert!(shown(&chain(|line| line), "").contains("All 2 entries follow"));
        assert!(shown(&chain(|line| line.replace("03:04:05", "03:04:06")), "").contains("The chain is broken"));
        let mut short = chain(|line| line);
        short.entries.pop();
        assert!(shown(&short, "").contains("entries are missing"));
    }

    #[test]
    fn entries_are_searched_and_escaped() {
        let all = shown(&chain(|line| line), "03:05:05");
        assert!(all.contains("&lt;b&gt;console") && !all.contains("<b>console"), "{all}");
        assert_eq!(all.matches("<tr>").count(), 2, "the head's row, and the one entry: {all}");
        assert!(shown(&chain(|line| line), "nobody").contains("No entry"));
    }
}
