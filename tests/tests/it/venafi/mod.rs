//! The calls of Venafi's Web SDK around Retry, in its clients' format, on a whole stack.

mod associating;
mod owning;
mod reading;
mod resetting;

use reqwest::Method;
use rootcast_core::inventory::dn::application_dn;
use rootcast_core::inventory::guid::CertificateGuid;
use rootcast_core::inventory::id::{CertificateId, policy_dn};
use serde_json::{Value, json};

use crate::fake::{Fake, MONITOR, running};
use crate::stack::{LIMIT, Stack, until};

/// Status and body of `POST Certificates/{call}`.
async fn post(stack: &Stack, call: &str, body: Value) -> (u16, Value) {
    let answer = stack.api.post(&format!("/vedsdk/Certificates/{call}"), body).await;
    (answer.status.as_u16(), serde_json::from_str(&answer.text).unwrap())
}

/// As [`post`], for the imported certificate with this name; must succeed.
async fn done(stack: &Stack, call: &str, name: &str, more: Value) -> Value {
    let (status, said) = post(stack, call, about(name, more)).await;
    assert_eq!(status, 200, "{call}: {said}");
    said
}

/// As [`done`], but must be refused; returns the text.
async fn refused(stack: &Stack, call: &str, name: &str, more: Value) -> String {
    let (status, said) = post(stack, call, about(name, more)).await;
    assert_eq!(status, 400, "{call}: {said}");
    said["Error"].as_str().unwrap().to_owned()
}

fn about(name: &str, more: Value) -> Value {
    let mut body = json!({ "CertificateDN": policy_dn("Certificates", name) });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn applications(devices: &[&str]) -> Value {
    devices.iter().map(|device| application_dn(&device.parse().unwrap())).collect::<Vec<_>>().into()
}

async fn details(stack: &Stack, id: CertificateId) -> Value {
    let guid = CertificateGuid(id).to_string().replace('{', "%7B").replace('}', "%7D");
    stack.api.get(&format!("/vedsdk/Certificates/{guid}")).await.json()
}

/// The details, once the work is at this stage with this error state.
async fn at_stage(stack: &Stack, id: CertificateId, stage: Option<u16>, in_error: bool) -> Value {
    until(&format!("{id} is at stage {stage:?}"), LIMIT, async || {
        let shown = details(stack, id).await;
        let now = &shown["ProcessingDetails"];
        (now["Stage"] == json!(stage) && now["InError"] == in_error).then_some(shown)
    })
    .await
}

/// The names in a list.
async fn listed(stack: &Stack, query: &str) -> Vec<String> {
    let answer = stack.api.get(&format!("/vedsdk/certificates/{query}")).await;
    let page = answer.json();
    let names = page["Certificates"].as_array().unwrap().iter().map(|each| each["Name"].as_str().unwrap().to_owned());
    let names: Vec<String> = names.collect();
    assert_eq!(answer.headers["x-record-count"], page["TotalCount"].to_string(), "{page}");
    let head = stack.api.send(Method::HEAD, &format!("/vedsdk/certificates/{query}"), None).await;
    assert_eq!(
        (head.headers["x-record-count"].clone(), head.text.as_str()),
        (answer.headers["x-record-count"].clone(), "")
    );
    names
}

/// The device accepts the certificate, and its task never ends.
fn never_done(fake: &Fake) {
    fake.fault(|request, _| {
        (request.is("POST", "ReplaceCertificate") || request.is("GET", MONITOR)).then(|| running("1"))
    });
}
