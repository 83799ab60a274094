//! The calls, generated from the table of routes: each route on each object that there is, with each body that matters
//! for an attack. The list has the same calls in the same order in every state; what they say depends on the state.

use std::sync::LazyLock;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rootcast_core::access::permission::Operation;
use rootcast_core::inventory::guid::CertificateGuid;
use rootcast_gate::Principal;
use rootcast_gate::routes::{self, Needs, Route, TABLE};
use rootcast_pki::crl::CrlId;
use rootcast_pki::signer::SignerId;
use serde_json::{Map, Value, json};

use super::roles::{Attacker, Credential};
use super::scene::{
    ATTACKER, CLIENT, FREE, IMPORTED, LOGIN, MINE, OTHER, REFRESH, SLOW, Scene, THEIRS, VICTIM, VICTIMS, application,
    dn, own_dn, session,
};
use crate::dynamo::DEVICES;
use crate::imported;

/// A name that no certificate of this fleet may have.
pub const FOREIGN: &str = "login.example.com";

/// A root of the attacker's own, the same one in every state.
fn of_the_attacker() -> &'static str {
    static ROOT: LazyLock<String> = LazyLock::new(|| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    });
    &ROOT
}

/// For a key that is no device's.
fn request_of_the_attacker() -> &'static str {
    static REQUEST: LazyLock<String> = LazyLock::new(|| {
        let request = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap());
        request.unwrap().pem().unwrap()
    });
    &REQUEST
}

#[derive(Debug, Clone)]
pub struct Call {
    /// Tells the calls of a route apart.
    pub label: String,
    pub path: String,
    pub body: Option<Value>,
}

/// Looks at a device over a real network.
const NOT_HERE: [Route; 1] = [routes::FINGERPRINT];

pub const ALL: [&str; 4] = [VICTIM, SLOW, MINE, FREE];

/// All routes with their places in the table.
pub fn all_routes() -> impl Iterator<Item = (usize, &'static Route)> {
    TABLE.iter().enumerate().filter(|(_, route)| !NOT_HERE.contains(route))
}

impl Scene {
    /// The calls of a route.
    pub fn calls(&self, route: &Route) -> Vec<Call> {
        let mut calls = Vec::new();
        for (object, path) in self.paths(route) {
            let object = object.unwrap_or_default();
            for (label, body) in self.bodies(route, object) {
                for (query, suffix) in queries(route) {
                    let label = [object, label, query].into_iter().filter(|part| !part.is_empty());
                    let label =
                        format!("{} {}: {}", route.method.as_str(), route.path, label.collect::<Vec<_>>().join(", "));
                    calls.push(Call { label, path: format!("{path}{suffix}"), body: body.clone() });
                }
            }
        }
        calls
    }

    /// The route's path for each object that it can name.
    fn paths(&self, route: &Route) -> Vec<(Option<&'static str>, String)> {
        let Some((before, rest)) = route.path.split_once('{') else { return vec![(None, route.path.to_owned())] };
        let (name, after) = rest.split_once('}').unwrap();
        let list = CrlId::of(SignerId::root(1), &self.serial.clone().try_into().unwrap()).shard().unwrap();
        let after = after.replace("{list}", &format!("{list}.crl"));
        let guid = |id: &str| CertificateGuid(id.parse().unwrap()).to_string().replace('{', "%7B").replace('}', "%7D");
        let objects: Vec<(&'static str, String)> = match name {
            "device" => ALL.map(|device| (device, device.to_owned())).into(),
            "id" if route.path.to_lowercase().starts_with("/trustedcertificates") => {
                vec![("the first", "1".to_owned())]
            }
            "id" | "certificate" => vec![("imported", self.web.clone()), ("the victim's", self.own.clone())],
            "guid" => vec![("imported", guid(&self.web)), ("the victim's", guid(&self.own))],
            "request" => vec![("", self.request().unwrap_or_else(|| "0".repeat(32)))],
            "session" => vec![("", session().sha256().to_string())],
            "job" | "jobs" => vec![("running", self.job.to_string())],
            "issuing" => vec![("1.1", "1.1".to_owned())],
            "signer" => vec![("a root", "1".to_owned()), ("an issuing authority", "1.1".to_owned())],
            "generation" => vec![("1", "1".to_owned()), ("2", "2".to_owned())],
            "name" if route.path.starts_with("/rollouts") => vec![("nightly", "nightly".to_owned())],
            "name" => [ATTACKER, OTHER].map(|name| (name, name.to_owned())).into(),
            other => panic!("{}: say what an attacker puts for {other}", route.path),
        };
        objects.into_iter().map(|(object, text)| (Some(object), format!("{before}{text}{after}"))).collect()
    }

    fn bodies(&self, route: &Route, object: &'static str) -> Vec<(&'static str, Option<Value>)> {
        let pins = json!([self.pin]);
        let server = format!("https://{}", THEIRS.ip());
        let named = |dn: &str, more: Value| {
            let mut body = Map::from_iter([("CertificateDN".to_owned(), Value::from(dn))]);
            body.extend(more.as_object().unwrap().clone());
            Value::Object(body)
        };
        let on = |certificate: String, more: Value| {
            ALL.map(|device| {
                let mut body = named(&certificate, more.clone());
                body["ApplicationDN"] = json!([application(device)]);
                (device, body)
            })
        };
        let both = |more: Value| {
            vec![("imported", named(&dn(IMPORTED), more.clone())), ("the victim's", named(&own_dn(VICTIM), more))]
        };
        let device = |id: &str, credential: &str| json!({ "id": id, "address": server, "credential": format!("/devices/{credential}"), "profile": "openbmc", "pins": pins });
        let with = |mut row: Value, name: &str, value: Value| {
            row[name] = value;
            row
        };
        let foreign = json!({ "commonName": FOREIGN, "dnsNames": [FOREIGN] });
        let bodies: Vec<(&'static str, Value)> = match *route {
            routes::CHOOSE_POLICY => vec![("", json!({ "specName": "CNSA" }))],
            routes::SET_ISSUANCE_POLICY => {
                let rule =
                    json!({ "prefix": r"\VED\Policy", "dnsSuffixes": [FOREIGN], "usages": ["server", "client"] });
                [0, 1].map(|revision| ("any", json!({ "revision": revision, "rules": [rule] }))).into()
            }
            routes::STORE_ROLLOUT => vec![("", json!({ "canary": 10_000, "errorBudget": 100 }))],
            routes::TRUST | routes::TRUST_LOWER => vec![("", json!({ "certificate": of_the_attacker() }))],
            routes::CANCEL_TASKS => vec![("", json!({ "action": "cancel", "list": [self.job.to_string()] }))],
            routes::ENROL => vec![
                ("own", device(FREE, FREE)),
                ("victim's credential", device(FREE, VICTIM)),
                ("shared credential", device(FREE, "shared/rack")),
                ("foreign name", with(device(FREE, FREE), "subject", foreign)),
                ("as the victim", device(VICTIM, VICTIM)),
                ("as the slow one", device(SLOW, SLOW)),
                ("as the victim in capitals", device("VICTIM", VICTIM)),
            ],
            routes::EDIT_DEVICE => vec![
                ("name", json!({ "name": "another" })),
                ("labels", json!({ "labels": { "site": "fra" } })),
                ("attacker's server", json!({ "address": server, "pins": pins })),
                ("attacker's address", json!({ "address": server })),
                ("victim's address", json!({ "address": format!("https://{}", VICTIMS.ip()) })),
                ("victim's credential", json!({ "credential": format!("/devices/{VICTIM}") })),
                ("shared credential", json!({ "credential": "/devices/shared/rack" })),
                ("foreign name", json!({ "subject": foreign })),
                ("no pins", json!({ "pins": [] })),
            ],
            routes::APPROVE_DEVICE => {
                let row = self.world.cloud.tables.named(DEVICES, object).unwrap_or_default();
                let seen = json!({
                    "incarnation": row["incarnation"].as_str().unwrap_or(&"01".repeat(16)),
                    "endpointRevision": row["endpointRevision"].as_u64().unwrap_or(1),
                });
                vec![("", seen.clone()), ("attacker's pin", with(seen, "pins", pins.clone()))]
            }
            routes::SIGN_REQUEST => vec![("for the attacker's key", json!({ "request": request_of_the_attacker() }))],
            routes::WAIVE => {
                let waiver = |devices: &[&str]| json!({ "devices": devices, "reason": "scrapped" });
                let certificates = json!({ "certificates": [dn(IMPORTED)], "reason": "its owner was told" });
                vec![("slow", waiver(&[SLOW])), ("all", waiver(&ALL)), ("certificate", certificates)]
            }
            routes::REVOKE_SIGNED => vec![
                ("by certificate", json!({ "certificate": self.own })),
                ("by serial number", json!({ "serial": self.serial, "reason": "keyCompromise" })),
            ],
            routes::REJECT => vec![("", json!({ "reason": "not wanted" }))],
            routes::RETRY_JOB => vec![("", json!({}))],
            routes::SCM_DEPLOY => {
                let to = |device| json!({ "service_name": "DEVICE", "resources": [{ "id": device }] });
                ALL.map(|device| (device, to(device))).into()
            }
            routes::SCM_DEPLOYED => vec![("", json!({ "certificate_ids": [self.web, self.own] }))],
            routes::SCM_IMPORT => {
                let another = imported::body(1, "another");
                let place = with(imported::body(1, "certificate"), "folder", json!(format!(r"Devices\{VICTIM}")));
                vec![("", another), ("over it", imported::body(1, IMPORTED)), ("as the victim's", place)]
            }
            routes::ASSOCIATE => on(dn(IMPORTED), json!({ "PushToNew": true })).into(),
            routes::DISSOCIATE => on(dn(IMPORTED), json!({}))[..1].to_vec(),
            routes::PUSH => {
                let mut bodies = on(dn(IMPORTED), json!({})).to_vec();
                bodies.push(("all", named(&dn(IMPORTED), json!({ "PushToAll": true }))));
                bodies
            }
            routes::RENEW => both(json!({})),
            routes::RESET => both(json!({ "Restart": true })),
            routes::RETRY => both(json!({})),
            routes::REVOKE => both(json!({ "Reason": 4 })),
            routes::DN_TO_GUID => vec![("", json!({ "ObjectDN": dn(IMPORTED) }))],
            routes::RETRIEVE => {
                let key = json!({ "Format": "Base64", "IncludePrivateKey": true, "Password": "Passw0rd-of-eve" });
                [both(json!({ "Format": "Base64", "IncludeChain": true })), both(key)].concat()
            }
            routes::LOG_IN => {
                let log_in = |name, password| {
                    let scope = "certificate:manage,delete,discover,revoke;security:manage";
                    json!({ "client_id": CLIENT, "username": name, "password": password, "scope": scope })
                };
                vec![("", log_in(ATTACKER, self.known_password())), ("as another", log_in(OTHER, "guessed password"))]
            }
            routes::EXCHANGE => [CLIENT, "other"]
                .map(|client| (client, json!({ "client_id": client, "refresh_token": REFRESH })))
                .into(),
            routes::BEGIN_SESSION => vec![
                ("", json!({ "UserId": ATTACKER, "password": self.known_password() })),
                ("as another", json!({ "UserId": OTHER, "password": "guessed password" })),
            ],
            routes::ADD_PRINCIPAL => {
                vec![("", json!({ "name": "mallory", "password": LOGIN, "role": "administrator" }))]
            }
            routes::CHANGE_PASSWORD => vec![("", json!({ "password": "another password of eve" }))],
            _ => return vec![("", None)],
        };
        bodies.into_iter().map(|(label, body)| (label, Some(body))).collect()
    }

    /// Only who has logged in with a password knows it.
    fn known_password(&self) -> &'static str {
        match self.attacker.credential {
            Credential::Session => LOGIN,
            _ => "guessed password",
        }
    }
}

fn queries(route: &Route) -> Vec<(&'static str, String)> {
    match *route {
        routes::REGENERATE => {
            let immediate = ("immediate", "?activation=immediate".to_owned());
            let compromised = ("compromised", "?reason=keyCompromise".to_owned());
            vec![("", String::new()), immediate, compromised, ("proof of a month", "?proofAge=2592000".to_owned())]
        }
        routes::POLICY_AUDIT => ["issuance", "certificate"].map(|name| (name, format!("?name={name}"))).into(),
        routes::REQUEST_AUDIT => vec![("unknown", "?name=unknown".to_owned())],
        routes::PRINCIPAL_AUDIT | routes::DENIAL_AUDIT => {
            [ATTACKER, OTHER].map(|name| (name, format!("?name={name}"))).into()
        }
        routes::DOWNLOAD => {
            vec![("imported", format!("?CertificateDN={}&IncludePrivateKey=true", dn(IMPORTED).replace('\\', "%5C")))]
        }
        _ => vec![("", String::new())],
    }
}

/// Whether the route refuses this caller whatever the state of the world.
pub fn is_never_admitted(route: &Route, attacker: &Attacker) -> bool {
    let (grants, scopes) = attacker.effective();
    let is_elsewhere = scopes.is_some() && !route.path.starts_with("/vedsdk");
    let alone = Operation::ALL.iter().copied().collect();
    let caller = Principal { scopes, alone, ..Principal::unknown(ATTACKER, grants) };
    route.needs != Needs::Public
        && (route.admits(Some(&caller)).is_err() || (is_elsewhere && route.needs != Needs::Authenticated))
}
