//! The fleet: what the devices hold, what waits for an approval, what failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use maud::{Markup, html};
use rootcast_dialects::native::{Device, Standing};
use rootcast_gate::routes;
use serde::Deserialize;

use crate::App;
use crate::api::{Api, Trouble, part};
use crate::caller::Caller;
use crate::frame::{Section, page};
use crate::holds;
use crate::parts::{encoded, field, named_bar, or_why, parameter, plain, read, segment, tag, text_field, when, word};

/// Devices that the figures are of, and among which a filter looks: the most that the API gives at once.
const LOOKED_AT: &str = "1000";
/// A page with these has less than 100 KB.
const ROWS: usize = 100;

#[derive(Deserialize)]
struct Devices {
    devices: Vec<Device>,
    cursor: Option<String>,
}

struct Filter {
    labels: String,
    state: String,
    text: String,
}

impl Filter {
    fn of(query: Option<&str>) -> Self {
        let asked = |name| parameter(query, name);
        Self { labels: asked("where"), state: asked("state"), text: asked("text") }
    }

    fn wants(&self, device: &Device) -> bool {
        let text = self.text.to_lowercase();
        let words = [device.id.to_string(), device.name.clone().unwrap_or_default(), device.address.to_string()];
        let class = device.failure.as_ref().map(|failure| plain(&word(&failure.class))).unwrap_or_default();
        let is_of_state = match self.state.as_str() {
            "pending" => device.state == Standing::Pending,
            "approved" => device.state == Standing::Approved,
            "failed" => device.failure.is_some(),
            _ => true,
        };
        is_of_state && (words.iter().any(|word| word.to_lowercase().contains(&text)) || class.contains(&text))
    }
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Markup, Trouble> {
    let filter = Filter::of(query.as_deref());
    let cursor = parameter(query.as_deref(), "cursor");
    let asked = encoded(&[("limit", LOOKED_AT), ("where", &filter.labels), ("cursor", &cursor)]);
    let api = Api { app: &app, caller: &caller };
    let (devices, known) = futures::join!(api.get(routes::DEVICES, &[], &asked), holds::known(&api));
    let known = known?;
    let devices = read(part(devices)?.map(|devices| devices.told::<Devices>()))?;
    let content = html! {
        (holds::shown(known))
        (or_why(devices, |devices| shown(devices, &filter)))
    };
    Ok(page(&caller, Section::Fleet, "Fleet", &content))
}

fn shown(Devices { devices, cursor }: Devices, filter: &Filter) -> Markup {
    let figures = figures(&devices, cursor.is_some());
    let mut wanted: Vec<Device> = devices.into_iter().filter(|device| filter.wants(device)).collect();
    // What waits for somebody comes first.
    wanted.sort_by_key(|device| (device.state == Standing::Approved, device.failure.is_none(), device.id.to_string()));
    html! {
        (figures)
        (form(filter))
        section.card aria-labelledby="devices" {
            h2 id="devices" { "Devices" }
            @if wanted.is_empty() { p { "No device matches." } } @else { (table(&wanted)) }
            @if wanted.len() > ROWS {
                p { "These are " (ROWS) " of " (wanted.len()) " devices that match: narrow the filter to see the others." }
            }
            @if let Some(cursor) = &cursor {
                @let next = encoded(&[("where", &filter.labels), ("state", &filter.state), ("text", &filter.text), ("cursor", cursor)]);
                p { a href={ "/console/devices?" (next) } { "The next thousand devices" } }
            }
        }
    }
}

fn figures(devices: &[Device], is_part: bool) -> Markup {
    let mut bundles: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut pending, mut unproven) = (0, 0);
    let mut failed: BTreeMap<String, u64> = BTreeMap::new();
    for device in devices {
        match device.held.as_ref().filter(|held| held.current) {
            Some(held) => *bundles.entry(held.bundle_version).or_default() += 1,
            None => unproven += 1,
        }
        pending += u64::from(device.state == Standing::Pending);
        if let Some(failure) = &device.failure {
            *failed.entry(plain(&word(&failure.class))).or_default() += 1;
        }
    }
    let newest = bundles.keys().next_back().copied().unwrap_or_default();
    let old: u64 = bundles.iter().filter(|(version, _)| **version != newest).map(|(_, count)| count).sum();
    let current = bundles.get(&newest).copied().unwrap_or_default();
    let name = format!("prove bundle {newest}, the newest that any holds");
    html! {
        div.grid {
            section.card aria-labelledby="hold" {
                h2 id="hold" { "What the trust stores hold" }
                (named_bar(&[("b1", current, &name), ("b3", old, "prove an older bundle"), ("b0", unproven, "prove nothing")]))
                p.small.soft { "Of " (devices.len()) " devices" @if is_part { " on this page; the fleet has more" } "." }
            }
            section.card aria-labelledby="attention" {
                h2 id="attention" { "What needs somebody" }
                @if pending == 0 && failed.is_empty() { p { "Nothing." } }
                @if pending > 0 { p { a href="/console/devices?state=pending" { (pending) " wait for an approval" } } }
                @for (class, count) in &failed {
                    p { a href={ "/console/devices?" (encoded(&[("state", "failed"), ("text", class)])) } { (class) ": " (count) } }
                }
            }
        }
    }
}

fn form(filter: &Filter) -> Markup {
    html! {
        form.row method="get" role="search" {
            (text_field("text", "Name, address or failure", &filter.text))
            (text_field("where", "Labels, as in site=fra", &filter.labels))
            (field("state", "State", &html! {
                select id="state" name="state" {
                    @for (value, name) in [("", "any"), ("pending", "waits for an approval"), ("approved", "approved"), ("failed", "failed last")] {
                        option value=(value) selected[filter.state == value] { (name) }
                    }
                }
            }))
            button { "Filter" }
        }
    }
}

fn table(devices: &[Device]) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label="Table" { table {
            thead { tr { th { "Device" } th { "Address" } th { "State" } th { "Bundle" } th { "Last failure" } } }
            tbody {
                @for device in devices.iter().take(ROWS) {
                    tr {
                        td {
                            a href={ "/console/devices/" (segment(&device.id.to_string())) } { (device.id) }
                            @if let Some(name) = &device.name { div.small.soft { (name) } }
                        }
                        td.mono { (device.address) }
                        td { (standing(device)) }
                        td {
                            @match &device.held {
                                Some(held) => { (held.bundle_version) div.small.soft { (when(&held.at)) } }
                                None => span.soft { "none" }
                            }
                        }
                        td { @if let Some(failure) = &device.failure { (plain(&word(&failure.class))) } }
                    }
                }
            }
        } }
    }
}

pub(crate) fn standing(device: &Device) -> Markup {
    match device.state {
        Standing::Pending => tag("wait", "waits for an approval"),
        Standing::Approved => tag("good", "approved"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A device whose names and messages are an attacker's.
    pub(crate) fn hostile(id: &str, more: &Value) -> Device {
        let mut device = json!({
            "id": id, "incarnation": "01".repeat(16), "endpointRevision": 1, "name": "<script>alert(1)</script>",
            "address": "https://10.0.0.7", "driver": "redfish", "profile": "dmtf", "credential": "\"><img src=x>",
            "pins": [], "state": "pending",
            "failure": { "class": "storeFull", "message": "<b onclick=alert(1)>full", "recovery": "Free it.", "at": "'\">" },
        });
        device.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(device).unwrap()
    }

    fn page(devices: Vec<Device>, filter: &Filter) -> String {
        shown(Devices { devices, cursor: Some("\"><x>".to_owned()) }, filter).into_string()
    }

    fn filter(state: &str, text: &str) -> Filter {
        Filter { labels: String::new(), state: state.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_device_cannot_write_into_the_page() {
        let shown = page(vec![hostile("bmc-1", &json!({}))], &filter("", "\"><script>"));
        for raw in ["<script", "<img src=x", "<b onclick", "\"><x>"] {
            assert!(!shown.contains(raw), "{raw}: {shown}");
        }
    }

    #[test]
    fn a_filter_finds_by_state_text_and_failure() {
        let approved = json!({ "state": "approved", "failure": null, "name": "Rack 7" });
        let (waits, works) = (hostile("bmc-1", &json!({})), hostile("bmc-2", &approved));
        for (state, text, expected) in [
            ("", "", (true, true)),
            ("pending", "", (true, false)),
            ("approved", "", (false, true)),
            ("failed", "store full", (true, false)),
            ("", "rack 7", (false, true)),
            ("", "10.0.0.7", (true, true)),
            ("", "nothing", (false, false)),
        ] {
            let filter = filter(state, text);
            assert_eq!((filter.wants(&waits), filter.wants(&works)), expected, "{state} {text}");
        }
    }

    #[test]
    fn a_full_page_is_small() {
        let devices = (0..1000).map(|number| hostile(&format!("bmc-{number:04}"), &json!({}))).collect();
        let shown = page(devices, &filter("", ""));
        assert!(shown.len() < 90_000 && shown.contains("100 of 1000"), "{}", shown.len());
    }
}
