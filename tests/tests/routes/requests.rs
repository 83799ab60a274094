//! A valid request for each row of the table, about the objects in the tables.

use aws_lc_rs::hmac;
use axum::body::Body;
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rootcast_core::inventory::dn::application_dn;
use rootcast_core::inventory::guid::CertificateGuid;
use rootcast_gate::routes::{self, Route};
use rootcast_gate::{CSRF_COOKIE, SESSION_COOKIE};
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use crate::tables::{ACCESS_KEY, CERTIFICATE, DEVICE, DN, JOB, PASSWORD, TOKEN, csrf, session};
use crate::world::SECRET;

/// How the request authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    None,
    Bearer,
    AuthToken,
    Signature,
    /// Name and password.
    Basic,
    /// A session's cookie with its CSRF token.
    Session,
    /// The cookie alone, which a browser sends for any page.
    Cookie,
}

impl Scheme {
    pub(crate) const ALL: [Self; 7] =
        [Self::None, Self::Bearer, Self::AuthToken, Self::Signature, Self::Basic, Self::Session, Self::Cookie];
}

const DATE: &[FormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
const API: &str = "api.test";

pub(crate) fn request(route: &Route, scheme: Scheme) -> Request<Body> {
    let (path, body) = (path(route), body(route).map(|body| body.to_string()).unwrap_or_default());
    let mut request = Request::builder().method(route.method.as_str()).uri(&path).header(HOST, API);
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    request = match scheme {
        Scheme::None => request,
        Scheme::Bearer => request.header(AUTHORIZATION, format!("Bearer {TOKEN}")),
        Scheme::AuthToken => request.header("x-auth-token", TOKEN),
        Scheme::Signature => {
            let date = OffsetDateTime::now_utc().format(DATE).unwrap();
            let signed = signature(route.method.as_str(), &path, &date, &body);
            request.header("x-sdk-date", date).header(AUTHORIZATION, signed)
        }
        Scheme::Basic => request.header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(format!("ops:{PASSWORD}")))),
        Scheme::Session => request.header(COOKIE, cookie()).header("x-csrf-token", csrf().expose()),
        Scheme::Cookie => request.header(COOKIE, cookie()),
    };
    request.body(Body::from(body)).unwrap()
}

pub(crate) fn cookie() -> String {
    format!("{SESSION_COOKIE}={}; {CSRF_COOKIE}={}", session().expose(), csrf().expose())
}

/// What the paths' parameters stand for here.
pub(crate) fn parameters() -> [(&'static str, String); 13] {
    let known = session().sha256().to_string();
    let guid = CertificateGuid(CERTIFICATE.parse().unwrap()).to_string();
    [
        ("generation", "1"),
        ("issuing", "1.1"),
        ("signer", "1.1"),
        ("list", "1.crl"),
        ("job", JOB),
        ("jobs", JOB),
        ("device", DEVICE),
        ("id", CERTIFICATE),
        ("certificate", CERTIFICATE),
        ("name", "ops"),
        ("guid", guid.as_str()),
        ("request", "0123456789abcdef0123456789abcdef"),
        ("session", known.as_str()),
    ]
    .map(|(name, value)| (name, value.to_owned()))
}

fn path(route: &Route) -> String {
    let encoded = |value: &str| value.replace('{', "%7B").replace('}', "%7D");
    let put = |path: String, (name, value): &(&str, String)| path.replace(&format!("{{{name}}}"), &encoded(value));
    let path = parameters().iter().fold(route.path.to_owned(), put);
    assert!(!path.contains('{'), "{path} names something that this test does not know");
    if *route == routes::DOWNLOAD { format!("{path}?CertificateDN={}", DN.replace('\\', "%5C")) } else { path }
}

pub(crate) fn body(route: &Route) -> Option<Value> {
    let named = json!({ "CertificateDN": DN });
    let bound = json!({ "CertificateDN": DN, "ApplicationDN": [application_dn(&DEVICE.parse().unwrap())] });
    Some(match *route {
        routes::CHOOSE_POLICY => json!({ "specName": "CNSA" }),
        routes::TRUST | routes::TRUST_LOWER => json!({ "certificate": "no PEM" }),
        routes::STORE_ROLLOUT => json!({ "canary": 2, "order": ["site=fra"] }),
        routes::SET_ISSUANCE_POLICY => json!({ "revision": 0, "rules": [] }),
        routes::CANCEL_TASKS => json!({ "action": "cancel", "list": ["7"] }),
        routes::ENROL => {
            json!({ "id": DEVICE, "address": "https://10.0.0.7", "credential": "/rootcast/devices/bmc-1" })
        }
        routes::APPROVE_DEVICE => json!({ "incarnation": "01".repeat(16), "endpointRevision": 1 }),
        routes::SIGN_REQUEST => json!({ "request": "no PEM" }),
        routes::EDIT_DEVICE => json!({ "name": "another" }),
        routes::WAIVE => json!({ "devices": [DEVICE], "reason": "scrapped" }),
        routes::REVOKE_SIGNED => json!({ "certificate": CERTIFICATE }),
        routes::SCM_DEPLOY => json!({ "service_name": "DEVICE", "resources": [{ "id": DEVICE }] }),
        routes::SCM_DEPLOYED => json!({ "certificate_ids": [CERTIFICATE] }),
        routes::SCM_IMPORT => {
            json!({ "name": "new", "folder": "Servers", "certificate": "no PEM", "private_key": "no PEM" })
        }
        routes::ASSOCIATE | routes::DISSOCIATE | routes::PUSH => bound,
        routes::RENEW | routes::RESET | routes::RETRIEVE | routes::RETRY | routes::REVOKE => named,
        routes::DN_TO_GUID => json!({ "ObjectDN": DN }),
        routes::LOG_IN => json!({ "client_id": "c", "username": "ops", "password": "wrong", "scope": "ssh" }),
        routes::ADD_PRINCIPAL => json!({ "name": "ops", "password": "too short" }),
        routes::CHANGE_PASSWORD => json!({ "password": "too short" }),
        routes::REJECT => json!({ "reason": "not now" }),
        routes::BEGIN_SESSION => json!({ "UserId": "ops" }),
        routes::EXCHANGE => json!({ "client_id": "c", "refresh_token": "unknown" }),
        _ => return None,
    })
}

/// In the format of Huawei Cloud's SDK.
fn signature(method: &str, path: &str, date: &str, body: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let body = Fingerprint::of(body.as_bytes());
    let path = path.trim_end_matches('/');
    let names = "host;x-sdk-date";
    let canonical = format!("{method}\n{path}/\n{query}\nhost:{API}\nx-sdk-date:{date}\n\n{names}\n{body}");
    let text = format!("SDK-HMAC-SHA256\n{date}\n{}", Fingerprint::of(canonical.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature: String =
        hmac::sign(&key, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("SDK-HMAC-SHA256 Access={ACCESS_KEY}, SignedHeaders={names}, Signature={signature}")
}
