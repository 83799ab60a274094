//! A device: what it is, what it holds, what happened at it, and its approval with the fingerprints side by side.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use rootcast_core::device::Pin;
use rootcast_core::inventory::dn::application_dn;
use rootcast_dialects::native::{Device, Fingerprint, LastFailure, OwnCertificate, Past, Standing};
use rootcast_gate::routes;
use serde_json::json;

use crate::App;
use crate::api::{Api, Told, Trouble, part};
use crate::caller::Caller;
use crate::fleet::standing;
use crate::form::Sent;
use crate::frame::{SPACE, Section, csrf, nothing_here, page};
use crate::parts::{Act, act, done, encoded, facts, parameter, plain, read, segment, when, word};
use crate::rights::Rights;

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Markup, Trouble> {
    let api = Api { app: &app, caller: &caller };
    let looks = !parameter(query.as_deref(), "look").is_empty();
    let named = &[id.as_str()];
    let (device, own, rights, seen) = futures::join!(
        api.get(routes::DEVICE, named, ""),
        api.get(routes::OWN_CERTIFICATE, named, ""),
        api.rights(),
        // A handshake with the device, which takes seconds: only if somebody asks to compare.
        async { if looks { Some(api.get(routes::FINGERPRINT, named, "").await) } else { None } },
    );
    let device: Device = device?.told()?;
    let own = read(part(own)?.map(|own| own.told::<OwnCertificate>()))?;
    let seen = match seen {
        Some(seen) => Some(read(part(seen)?.map(|seen| seen.told::<Fingerprint>()))?),
        None => None,
    };
    let content = html! {
        (done(query.as_deref()))
        (approval(&caller, &rights, &device, seen))
        div.grid {
            section.card aria-labelledby="is" { h2 id="is" { "What it is" (SPACE) (standing(&device)) } (identity(&device)) }
            section.card aria-labelledby="holds" { h2 id="holds" { "What it holds" } (held(&device)) }
        }
        section.card aria-labelledby="own" {
            h2 id="own" { "Its own certificate" }
            @match own {
                Ok(own) => (certificate(&own)),
                Err(why) => p.soft { (why.text) }
            }
        }
        (acts(&caller, &rights, &device))
        p { a href={ "/console/audit?" (encoded(&[("kind", "device"), ("name", &id)])) } { "Who did what: its audit" } }
    };
    Ok(page(&caller, Section::Fleet, &format!("Device {}", device.id), &content))
}

fn identity(device: &Device) -> Markup {
    let labels = device.labels.to_string();
    facts(&[
        ("Name", html! { (device.name.as_deref().unwrap_or("none")) }),
        ("Address", html! { span.mono { (device.address) } }),
        ("Profile", html! { (word(&device.profile)) }),
        ("Credential", html! { span.mono { (device.credential) } }),
        ("Labels", html! { (if labels.is_empty() { "none" } else { &labels }) }),
        ("Pins", pins(&device.pins)),
    ])
}

fn pins(pins: &[Pin]) -> Markup {
    html! {
        @if pins.is_empty() { span.soft { "none" } }
        @for pin in pins { div.mono { (pin) } }
    }
}

fn held(device: &Device) -> Markup {
    html! {
        @match &device.held {
            Some(held) => (facts(&[
                ("Bundle", html! { "version " (held.bundle_version) }),
                ("Read back", when(&held.at)),
                ("Proof", html! { (if held.current { "of the device as it is now" } else { "of an earlier state: it is asked again" }) }),
                ("SHA-256", html! { span.mono { (held.sha256) } }),
            ])),
            None => p { "It has proven nothing yet." }
        }
        @if let Some(failure) = &device.failure { h3 { "Last failure" } (failed(failure)) }
        @if let Some(probe) = &device.probe {
            h3 { "Last look, " (when(&probe.at)) }
            @if let Some(found) = &probe.found {
                p { (found.vendor.as_deref().unwrap_or_default()) (SPACE) (found.product.as_deref().unwrap_or_default()) }
                @if found.problems.is_empty() { p { "Nothing would keep a job from it." } }
                ul { @for problem in &found.problems { li { (problem) } } }
            }
            @if let Some(clock) = &probe.clock { p { "Its clock: " (when(clock)) } }
            @if let Some(failure) = &probe.failure { (failed(failure)) }
        }
    }
}

fn failed(failure: &LastFailure) -> Markup {
    html! {
        div.note.bad {
            p { strong { (plain(&word(&failure.class))) } ", " (when(&failure.at)) ": " (failure.message) }
            p { (failure.recovery) }
        }
    }
}

fn certificate(own: &OwnCertificate) -> Markup {
    html! {
        p { (own.status) @if let Some(job) = own.job { " " a href={ "/console/jobs/" (job) } { "Job " (job) } } }
        @if let Some(issued) = &own.issued {
            (facts(&[
                ("Subject", html! { (issued.subject_dn) }),
                ("Names", html! { (issued.names.join(", ")) }),
                ("Valid", html! { (when(&issued.not_before)) " to " (when(&issued.not_after)) }),
                ("Serial number", html! { span.mono { (issued.serial_number) } }),
            ]))
        }
        (history(&own.history))
    }
}

/// In the device's own words where it said some.
fn history(past: &[Past]) -> Markup {
    html! {
        @if !past.is_empty() {
            details {
                summary { "History: " (past.len()) " stages" }
                div.scroll tabindex="0" role="group" aria-label="Table" { table {
                    thead { tr { th { "When" } th { "Stage" } th { "Result" } th { "In its words" } } }
                    tbody { @for entry in past.iter().rev() {
                        tr {
                            td { (when(&entry.at)) }
                            td { (word(&entry.stage)) }
                            td { (plain(&entry.result)) }
                            td { (entry.words) }
                        }
                    } }
                } }
            }
        }
    }
}

/// The identity that waits, beside the one that was approved last and what the device shows now.
fn approval(caller: &Caller, rights: &Rights, device: &Device, seen: Option<Result<Fingerprint, Told>>) -> Markup {
    if device.state == Standing::Approved && seen.is_none() {
        return html! { p { a href="?look=1" { "Compare its pins with what it shows now" } } };
    }
    let formerly = device.unapproved.as_ref().and_then(|change| change.formerly.as_ref());
    let shown = match &seen {
        Some(Ok(shown)) => vec![shown.fingerprint, shown.spki],
        _ => Vec::new(),
    };
    let matches = shown.iter().any(|pin| device.pins.contains(pin));
    html! {
        section.card aria-labelledby="approval" {
            h2 id="approval" { @if device.state == Standing::Pending { "Waits for an approval" } @else { "Compared" } }
            @if let Some(change) = &device.unapproved { p { "Changed by " (change.by) ", " (when(&change.at)) "." } }
            div.scroll tabindex="0" role="group" aria-label="Table" { table {
                thead { tr { td {} th { "Approved before" } th { "On record" } th { "Shown now" } } }
                tbody {
                    tr {
                        th scope="row" { "Address" }
                        td.mono { @if let Some(before) = formerly { (before.address) } @else { span.soft { "nothing" } } }
                        td.mono { (device.address) }
                        td.soft { "the same address was asked" }
                    }
                    tr {
                        th scope="row" { "Fingerprints" }
                        td { @if let Some(before) = formerly { (pins(&before.pins)) } @else { span.soft { "nothing" } } }
                        td { (pins(&device.pins)) }
                        td { @match &seen {
                            Some(Ok(_)) => (pins(&shown)),
                            Some(Err(why)) => { (why.text) }
                            None => a href="?look=1" { "Ask the device" }
                        } }
                    }
                }
            } }
            @if let Some(Ok(shown)) = &seen {
                p { "It shows a certificate for " strong { (shown.subject) } " by " (shown.issuer) ", valid " (when(&shown.not_before)) " to " (when(&shown.not_after)) "." }
                @if matches { div.note.good { p { "What it shows is one of the pins on record." } } }
                @else { div.note.wait { p { "What it shows is none of the pins on record." } } }
            }
            @if device.state == Standing::Pending && rights.may_on(routes::APPROVE_DEVICE, &application_dn(&device.id)) { (approve(caller, device, &shown)) }
        }
    }
}

fn approve(caller: &Caller, device: &Device, shown: &[Pin]) -> Markup {
    html! {
        form method="post" action={ "/console/devices/" (segment(&device.id.to_string())) "/approve" } {
            (csrf(caller))
            // What was looked at, and nothing else, is approved.
            input type="hidden" name="incarnation" value=(device.incarnation);
            input type="hidden" name="endpointRevision" value=(device.endpoint_revision);
            fieldset {
                legend { "By which fingerprint it is recognised" }
                @if !device.pins.is_empty() {
                    label.check { input type="radio" name="pin" value="" checked; "the pins on record" }
                }
                @for pin in shown {
                    label.check {
                        input type="radio" name="pin" value=(pin) checked[device.pins.is_empty() && Some(pin) == shown.last()];
                        span { "shown now: " span.mono { (pin) } }
                    }
                }
                @if device.pins.is_empty() && shown.is_empty() { p { "There is none on record: ask the device, and compare what it shows with its label or its console." } }
            }
            p { "Compare them with what you know of the device from elsewhere. After the approval, jobs log in to it." }
            button { "Approve" }
        }
    }
}

fn acts(caller: &Caller, rights: &Rights, device: &Device) -> Markup {
    let path = |change: &str| format!("/console/devices/{}/{change}", segment(&device.id.to_string()));
    let dn = application_dn(&device.id);
    let (looks, renews) = (rights.may_on(routes::PROBE, &dn), rights.may_on(routes::RENEW_OWN, &dn));
    html! {
        @if device.state == Standing::Approved && (looks || renews) {
            section.card aria-labelledby="acts" {
                h2 id="acts" { "Do" }
                div.acts {
                    @if looks { (act(caller, &Act { name: "Look at it", action: &path("probe"), says: "A worker logs in and reads. Nothing is written to the device.", typed: None, fields: html! {} })) }
                    @if renews { (act(caller, &Act { name: "Renew its certificate", action: &path("renew"), says: "The device makes a key and a request, an authority signs it, and it is installed. Until then it shows its old one.", typed: None, fields: html! {} })) }
                }
            }
        }
    }
}

pub(crate) async fn change(
    State(app): State<Arc<App>>,
    Path((id, change)): Path<(String, String)>,
    sent: Sent,
) -> Result<Response, Trouble> {
    let api = Api { app: &app, caller: &sent.caller };
    match change.as_str() {
        "approve" => {
            let revision: u64 = sent.text("endpointRevision").parse().unwrap_or_default();
            let mut body = json!({ "incarnation": sent.text("incarnation"), "endpointRevision": revision });
            if !sent.text("pin").is_empty() {
                body["pins"] = json!([sent.text("pin")]);
            }
            api.call(routes::APPROVE_DEVICE, &[&id], "", Some(&body)).await?
        }
        "probe" => api.call(routes::PROBE, &[&id], "", None).await?,
        "renew" => api.call(routes::RENEW_OWN, &[&id], "", None).await?,
        _ => return Ok(nothing_here().await),
    };
    Ok(Redirect::to(&format!("/console/devices/{}?done={change}", segment(&id))).into_response())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet::tests::hostile;

    #[test]
    fn a_device_cannot_write_into_its_page() {
        let device = hostile("bmc-1", &json!({}));
        let shown = html! { (identity(&device)) (held(&device)) }.into_string();
        for raw in ["<script", "<img src=x", "<b onclick"] {
            assert!(!shown.contains(raw), "{raw}: {shown}");
        }
    }
}
