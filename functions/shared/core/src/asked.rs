//! Events of EventBridge that ask for something. Whoever may put one on the stack's bus for requests may have it done.
//!
//! An event is untrusted text until it is read here. It is delivered at least once: its id says which one it is.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZero;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use time::OffsetDateTime;

use crate::audit::{Act, Action, Actor, Name, Outcome, Subject};
use crate::device::DeviceId;
use crate::rollover::template::RolloutName;

/// Most devices of one event: their renewals are begun within one invocation.
pub const MOST_DEVICES: usize = 20;
const LONGEST_REASON: usize = 256;
/// Of `source` and of an id: EventBridge's own limit, and more than a UUID.
const LONGEST_SOURCE: usize = 256;
const LONGEST_ID: usize = 64;

/// The id that EventBridge gives each event: the same for each delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventId(String);

impl FromStr for EventId {
    type Err = NotAsked;

    fn from_str(text: &str) -> Result<Self, NotAsked> {
        let plain = (1..=LONGEST_ID).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        plain.then(|| Self(text.to_owned())).ok_or(NotAsked::Id)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an event asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The next root, as by `PUT /signingCertificate`.
    Root { reason: Option<String>, rollout: Option<RolloutName> },
    /// A root in the place of every other one, as by `PUT /signingCertificate?reason=keyCompromise`. Without a generation,
    /// the root that signs is compromised.
    Compromise { generation: Option<u32>, reason: Option<String> },
    /// The next certificates of these devices, as by `POST /devices/{id}/certificate`.
    Renewals(BTreeSet<DeviceId>),
}

/// An event that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub id: EventId,
    /// What the sender calls itself: nothing but a name, which the audit shows.
    pub source: String,
    pub account: String,
    pub wanted: Wanted,
}

/// Why an event asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotAsked {
    #[error("it is no event of EventBridge: {0}")]
    NotAnEvent(String),
    #[error("its id is not 1 to {LONGEST_ID} letters, digits and hyphens")]
    Id,
    #[error("its source or its account is longer than {LONGEST_SOURCE} characters, or has others than printable ASCII")]
    Source,
    #[error("nothing is done for an event of this detail-type")]
    DetailType,
    #[error("its detail is not as documented: {0}")]
    Detail(String),
    #[error("its reason has more than {LONGEST_REASON} characters, or control characters")]
    Reason,
    #[error("it names {0} devices, and 1 to {MOST_DEVICES} are renewed for one event")]
    Devices(usize),
}

#[derive(Deserialize)]
struct Envelope {
    id: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    source: String,
    account: String,
    detail: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RotateRoot {
    reason: Option<String>,
    rollout: Option<RolloutName>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RootCompromised {
    generation: Option<NonZero<u32>>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RenewDevices {
    devices: Vec<DeviceId>,
}

impl Asked {
    /// # Errors
    /// A sentence for the log.
    pub fn read(event: &str) -> Result<Self, NotAsked> {
        let Envelope { id, detail_type, source, account, detail } =
            serde_json::from_str(event).map_err(|why| NotAsked::NotAnEvent(cut(&why)))?;
        let id = id.parse()?;
        let is_plain = |text: &str| text.len() <= LONGEST_SOURCE && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain(&source) || !is_plain(&account) {
            return Err(NotAsked::Source);
        }
        let wanted = match detail_type.as_str() {
            "Rotate Root" => {
                let asked: RotateRoot = detailed(detail)?;
                Wanted::Root { reason: reason(asked.reason)?, rollout: asked.rollout }
            }
            "Root Compromised" => {
                let RootCompromised { generation, reason: why } = detailed(detail)?;
                Wanted::Compromise { generation: generation.map(NonZero::get), reason: reason(why)? }
            }
            "Device Certificate Renewal Requested" => {
                let named = detailed::<RenewDevices>(detail)?.devices;
                if named.is_empty() || named.len() > MOST_DEVICES {
                    return Err(NotAsked::Devices(named.len()));
                }
                Wanted::Renewals(named.into_iter().collect())
            }
            _ => return Err(NotAsked::DetailType),
        };
        Ok(Self { id, source, account, wanted })
    }

    /// The rule of the template that sent it here.
    const fn rule(&self) -> &'static str {
        match self.wanted {
            Wanted::Root { .. } => "rotate-root",
            Wanted::Compromise { .. } => "root-compromised",
            Wanted::Renewals(_) => "renew-device-certificates",
        }
    }

    /// As the audit names it: the rule, and the event as its request.
    pub fn actor(&self) -> Actor {
        Actor { principal: format!("rule:{}", self.rule()), request_id: Some(self.id.to_string()) }
    }

    fn act(&self, action: Action, at: OffsetDateTime) -> Act {
        let subject = Subject::Request(Name::of(&format!("event-{}", self.id)));
        Act::new(subject, action, &self.actor(), at)
    }

    /// The first entry of the event's own chain: what it asks for, and of whom the event says that it is.
    pub fn begun(&self, at: OffsetDateTime) -> Act {
        let act = self.act(Action::Request, at).came_to(Outcome::Begun);
        let act = act.with("source", &self.source).with("account", &self.account);
        match &self.wanted {
            Wanted::Root { reason, rollout } => {
                let act = reason.iter().fold(act, |act, reason| act.with("reason", reason));
                rollout.iter().fold(act, |act, rollout| act.with("rollout", rollout))
            }
            Wanted::Compromise { generation, reason } => {
                let act = generation.iter().fold(act, |act, generation| act.with("generation", generation));
                reason.iter().fold(act, |act, reason| act.with("reason", reason))
            }
            Wanted::Renewals(devices) => act.with("devices", devices.len()),
        }
    }

    /// The entries after it: what came of it.
    pub fn ended(&self, outcome: Outcome, said: &str, at: OffsetDateTime) -> Vec<Act> {
        self.act(Action::CarryOut, at).came_to(outcome).saying("result", said)
    }
}

fn detailed<T: DeserializeOwned>(detail: Value) -> Result<T, NotAsked> {
    if !detail.is_object() {
        return Err(NotAsked::Detail("it is no JSON object".to_owned()));
    }
    serde_json::from_value(detail).map_err(|why| NotAsked::Detail(cut(&why)))
}

/// Of a text of the sender's, which may be long.
fn cut(why: &serde_json::Error) -> String {
    why.to_string().chars().take(LONGEST_REASON).collect()
}

fn reason(text: Option<String>) -> Result<Option<String>, NotAsked> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) if text.chars().count() > LONGEST_REASON || text.chars().any(char::is_control) => {
            Err(NotAsked::Reason)
        }
        text => Ok(text),
    }
}

/// Whether Lambda's event is one of EventBridge, and no request of API Gateway: that has no `detail-type`, whatever its
/// sender writes into headers, path and body.
pub fn is_event(event: &str) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "detail-type")]
        _detail_type: String,
    }
    serde_json::from_str::<Kind>(event).is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn event(kind: &str, detail: Value) -> Value {
        json!({
            "version": "0", "id": "7bf73129-1428-4cd3-a780-95db273d1602", "detail-type": kind, "source": "ops.calendar",
            "account": "123456789012", "time": "2026-11-29T12:00:00Z", "region": "eu-central-1", "resources": [],
            "detail": detail,
        })
    }

    fn read(kind: &str, detail: Value) -> Result<Wanted, NotAsked> {
        Asked::read(&event(kind, detail).to_string()).map(|asked| asked.wanted)
    }

    #[test]
    fn a_request_says_what_is_wanted_and_by_whom() {
        assert_eq!(read("Rotate Root", json!({})), Ok(Wanted::Root { reason: None, rollout: None }));
        let reason = Some("yearly".to_owned());
        assert_eq!(read("Rotate Root", json!({ "reason": "yearly" })), Ok(Wanted::Root { reason, rollout: None }));
        let rollout = "weekend".parse().ok();
        assert_eq!(read("Rotate Root", json!({ "rollout": "weekend" })), Ok(Wanted::Root { reason: None, rollout }));
        for generation in [None, Some(2)] {
            let wanted = Wanted::Compromise { generation, reason: Some("stolen".to_owned()) };
            assert_eq!(read("Root Compromised", json!({ "generation": generation, "reason": "stolen" })), Ok(wanted));
        }
        let renewals = event("Device Certificate Renewal Requested", json!({ "devices": ["a", "b", "a"] }));
        let asked = Asked::read(&renewals.to_string()).unwrap();
        assert_eq!(asked.wanted, Wanted::Renewals(["a", "b"].map(|id| id.parse().unwrap()).into()));
        let actor = asked.actor();
        assert_eq!(actor.principal, "rule:renew-device-certificates");
        assert_eq!(actor.request_id.as_deref(), Some("7bf73129-1428-4cd3-a780-95db273d1602"));
        let entry = asked.begun(OffsetDateTime::UNIX_EPOCH).after(&crate::audit::Head::NONE);
        assert_eq!(entry.subject.to_string(), "request:event-7bf73129-1428-4cd3-a780-95db273d1602");
        assert_eq!((entry.details["source"].as_str(), entry.details["devices"].as_str()), ("ops.calendar", "2"));
    }

    #[test]
    fn an_event_that_is_not_as_documented_is_refused() {
        let renew = "Device Certificate Renewal Requested";
        for detail in [
            json!({ "activation": "immediate" }),
            json!([]),
            json!(null),
            json!("x"),
            json!({ "reason": 7 }),
            json!({ "rollout": "A b" }),
        ] {
            assert!(matches!(read("Rotate Root", detail.clone()), Err(NotAsked::Detail(_))), "{detail}");
        }
        for reason in ["x".repeat(257), "a\nb".to_owned(), "\u{1b}[2J".to_owned()] {
            assert_eq!(read("Rotate Root", json!({ "reason": reason })), Err(NotAsked::Reason));
        }
        assert_eq!(read(renew, json!({ "devices": [] })), Err(NotAsked::Devices(0)));
        assert_eq!(read(renew, json!({ "devices": vec!["a"; 21] })), Err(NotAsked::Devices(21)));
        for devices in [json!("a"), json!(["../a"]), json!([""]), json!([7]), json!(null)] {
            assert!(matches!(read(renew, json!({ "devices": devices })), Err(NotAsked::Detail(_))), "{devices}");
        }
        for detail in [json!({ "generation": 0 }), json!({ "generation": "1" }), json!({ "roots": [1] })] {
            assert!(matches!(read("Root Compromised", detail.clone()), Err(NotAsked::Detail(_))), "{detail}");
        }
        for kind in ["rotate root", "root compromised", ""] {
            assert_eq!(read(kind, json!({})), Err(NotAsked::DetailType));
        }
        for (member, value) in [("id", "a/b"), ("id", ""), ("source", "a b"), ("source", "ä"), ("account", "\n")] {
            let mut event = event("Rotate Root", json!({}));
            event[member] = json!(value);
            assert!(Asked::read(&event.to_string()).is_err(), "{member} {value}");
        }
    }

    #[test]
    fn only_an_event_of_eventbridge_is_one() {
        assert!(is_event(&event("x", json!({})).to_string()));
        let forged = json!({
            "version": "2.0", "rawPath": "/detail-type", "headers": { "detail-type": "Rotate Root" },
            "body": "{\"detail-type\":\"Rotate Root\"}", "requestContext": { "http": { "method": "PUT" } },
        });
        for other in [forged.to_string(), "null".to_owned(), "[]".to_owned(), "x".to_owned()] {
            assert!(!is_event(&other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String, id: String, kind: String, source: String) {
            let _ = Asked::read(&text);
            let event = json!({ "id": id, "detail-type": kind, "source": source, "account": "1", "detail": text });
            let _ = Asked::read(&event.to_string());
        }
    }
}
