//! Requests as API Gateway sends them, with the calls to AWS that they cause, on the SDK's own mock layer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod associating;
mod listing;
mod resetting;
mod retrieving;
mod retry;
mod revoking;

use std::collections::HashMap;
use std::sync::Arc;

use ::retry::{App, router};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::get_item::{GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput};
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::types::error::TransactionCanceledException;
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, TransactWriteItem};
use aws_sdk_sqs::operation::send_message::SendMessageOutput;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::header::{ALLOW, AUTHORIZATION, WWW_AUTHENTICATE};
use axum::response::Response;
use rootcast_core::access::permission::{Grants, Role};
use rootcast_core::deployment::lifecycle::{Lifecycle, Stage, Work};
use rootcast_core::deployment::{Deployment, DeploymentOutcome};
use rootcast_core::device::{Driver, Pin, Profile};
use rootcast_core::inventory::sealed::Sealed;
use rootcast_core::job::JobId;
use rootcast_ledger::{
    CertificateRecord, DeviceRecord, GrantId, Granted, Ledger, PendingCertificate, PrincipalRecord, Tables,
    TokenRecord, UseRecord,
};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_queue::Queue;
use serde::Serialize;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use tower::ServiceExt;

const CERTIFICATE: &str = "scs0000000000001";
const DN: &str = r"\VED\Policy\Servers\web";
const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// One key of the request; `audit` for the head of an audit chain.
fn key(request: &GetItemInput) -> &str {
    let key = request.key().unwrap();
    if let Some(AttributeValue::S(sort)) = key.get("sk")
        && sort == "audit"
    {
        return sort;
    }
    key.get("id").or_else(|| key.get("pk")).unwrap().as_s().unwrap()
}

/// Accepts every token as an operator's.
fn token() -> Rule {
    token_of(Role::Operator)
}

/// Accepts every token, with these grants.
fn token_of(grants: impl Into<Grants>) -> Rule {
    let grants: AttributeValue = serde_dynamo::to_attribute_value(grants.into()).unwrap();
    let asked = mock!(Client::get_item).match_requests(|request| request.table_name() == Some("access"));
    let token = asked.sequence().output(move || {
        let record = GetItemOutput::builder().item("principal", text("ops")).item("grants", grants.clone());
        record.item("expires", AttributeValue::N("1".to_owned())).item("created", AttributeValue::N("0".into())).build()
    });
    // No principal has the token's name.
    token.output(|| GetItemOutput::builder().build()).build()
}

fn name() -> Rule {
    mock!(Client::get_item)
        .match_requests(|request| key(request) == r"name#servers\web")
        .then_output(|| GetItemOutput::builder().item("certificate", text(CERTIFICATE)).build())
}

fn no_name() -> Rule {
    mock!(Client::get_item)
        .match_requests(|request| key(request).starts_with("name#"))
        .then_output(|| GetItemOutput::builder().build())
}

/// A use: under way (`Some(false)`), in error (`Some(true)`), or proven (`None`).
fn binding(device: &str, job: u64, attempt: u32, in_error: Option<bool>) -> UseRecord {
    let stage = in_error.map(|_| Stage::InstallCertificate);
    let in_error = in_error == Some(true);
    let lifecycle = Lifecycle { attempt, stage, in_error, ..Lifecycle::idle(Work::Install, "So it is.") };
    let bound = UseRecord::new(CERTIFICATE.parse().unwrap(), device.parse().unwrap(), lifecycle, NOW);
    UseRecord { job: Some(JobId(job)), revision: 1, ..bound }
}

fn items(uses: &[UseRecord]) -> Vec<HashMap<String, AttributeValue>> {
    uses.iter().map(|each| serde_dynamo::to_item(each).unwrap()).collect()
}

fn uses(uses: Vec<UseRecord>) -> Rule {
    mock!(Client::query).then_output(move || QueryOutput::builder().set_items(Some(items(&uses))).build())
}

fn uses_then(uses: Vec<UseRecord>) -> Rule {
    mock!(Client::batch_get_item)
        .then_output(move || BatchGetItemOutput::builder().responses("jobs", items(&uses)).build())
}

/// The jobs that work on uses: deployments count as running for as long as they say.
fn no_rollovers() -> Rule {
    mock!(Client::batch_get_item).then_output(|| BatchGetItemOutput::builder().build())
}

/// An imported certificate.
fn record() -> CertificateRecord {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned(), "10.0.0.7".to_owned()]).unwrap();
    let leaf = Certificate::from_der(made.cert.der().to_vec()).unwrap();
    CertificateRecord {
        id: CERTIFICATE.parse().unwrap(),
        shard: 1,
        revision: 1,
        folder: "Servers".to_owned(),
        name: "web".to_owned(),
        spki: Fingerprint::of(leaf.spki_der()),
        leaf,
        chain: Vec::new(),
        issuing: None,
        key: Some(Sealed { data_key: vec![1], nonce: vec![2], ciphertext: vec![3] }),
        device: None,
        key_algorithm: "EC P-256".to_owned(),
        signature_algorithm: "SHA256withECDSA".to_owned(),
        common_name: Some("a.test".to_owned()),
        names: vec!["a.test".to_owned(), "10.0.0.7".to_owned()],
        not_before: NOW,
        not_after: NOW + time::Duration::DAY,
        enterprise_project_id: None,
        uses: 1,
        unproven: false,
        noticed: None,
        renew_at: None,
        shown_until: None,
        revoked: None,
        imported_by: "ops".to_owned(),
        created: NOW,
        updated: NOW,
    }
}

/// A device's own certificate.
fn own() -> CertificateRecord {
    CertificateRecord { key: None, device: Some("bmc-1".parse().unwrap()), ..record() }
}

/// A device's own certificate that was never issued.
fn place() -> PendingCertificate {
    PendingCertificate {
        id: CERTIFICATE.parse().unwrap(),
        revision: 1,
        folder: r"Devices\bmc-1".to_owned(),
        name: "certificate".to_owned(),
        device: "bmc-1".parse().unwrap(),
        uses: 1,
        imported_by: "ops".to_owned(),
        created: NOW,
    }
}

fn held(record: impl Serialize) -> Rule {
    let item: HashMap<String, AttributeValue> = serde_dynamo::to_item(record).unwrap();
    mock!(Client::get_item)
        .match_requests(|request| key(request) == CERTIFICATE)
        .then_output(move || GetItemOutput::builder().set_item(Some(item.clone())).build())
}

fn device(id: &str, bindings: &[&str]) -> DeviceRecord {
    let (address, credential) = ("https://10.0.0.7".parse().unwrap(), "/rootcast/devices/bmc".to_owned());
    let mut device = DeviceRecord {
        bindings: bindings.iter().map(|binding| binding.parse().unwrap()).collect(),
        revision: 4,
        ..DeviceRecord::new(
            id.parse().unwrap(),
            rootcast_core::device::Incarnation::from_random([1; 16]),
            address,
            Driver::Redfish,
            Profile::Openbmc,
            credential,
        )
    };
    device.pins = vec![Pin::Key(Fingerprint::of(b"key"))];
    device
}

fn devices(devices: Vec<DeviceRecord>) -> Rule {
    mock!(Client::batch_get_item)
        .match_requests(|request| request.request_items().unwrap().contains_key("devices"))
        .then_output(move || {
            let items = devices.iter().map(|each| serde_dynamo::to_item(each).unwrap()).collect();
            BatchGetItemOutput::builder().responses("devices", items).build()
        })
}

/// The counter of job ids: the next one is 7.
fn next_job() -> Rule {
    mock!(Client::update_item)
        .match_requests(|request| request.key().unwrap()["pk"].as_s().unwrap() == "counter")
        .then_output(|| UpdateItemOutput::builder().attributes("last", AttributeValue::N("7".to_owned())).build())
}

/// An audit chain without entries.
fn chain() -> Rule {
    mock!(Client::get_item)
        .match_requests(|request| key(request) == "audit")
        .then_output(|| GetItemOutput::builder().build())
}

/// Accepts a transaction that only appends to audit chains.
fn recorded() -> Rule {
    written(&[])
}

/// Accepts a transaction that writes these records first, and then only audit chains.
fn written(expected: &'static [&'static str]) -> Rule {
    mock!(Client::transact_write_items)
        .match_requests(move |request| {
            let mut writes: Vec<String> = request.transact_items().iter().map(told).collect();
            let chains = writes.split_off(writes.len().min(expected.len()));
            assert_eq!(writes, expected);
            assert!(chains.iter().all(|write| write.contains(" audit")), "{chains:?}");
            true
        })
        .then_output(|| TransactWriteItemsOutput::builder().build())
}

fn told(write: &TransactWriteItem) -> String {
    let key = |item: &HashMap<String, AttributeValue>| {
        // A job's record has an `id` attribute besides its key.
        let names: &[&str] = if item.contains_key("pk") { &["pk", "sk"] } else { &["id"] };
        names.iter().map(|name| item[*name].as_s().unwrap().as_str()).collect::<Vec<_>>().join(" ")
    };
    match (write.put(), write.delete(), write.update()) {
        (Some(put), ..) => format!("put {}", key(put.item())),
        (_, Some(delete), _) => format!("delete {}", key(delete.key())),
        (.., update) => format!("update {}", key(update.unwrap().key())),
    }
}

fn deployment(id: u64, devices: &[&str], outcome: Option<DeploymentOutcome>) -> Deployment {
    let devices = devices.iter().map(|device| device.parse().unwrap()).collect();
    let mut deployment =
        Deployment::new(JobId(id), CERTIFICATE.parse().unwrap(), Work::Install, devices, "ops".to_owned(), NOW);
    deployment.revision = 5;
    deployment.outcome = outcome;
    deployment
}

fn lost() -> Rule {
    mock!(Client::transact_write_items).then_error(|| {
        let reason = CancellationReason::builder().code("ConditionalCheckFailed").build();
        let cancelled = TransactionCanceledException::builder().cancellation_reasons(reason).build();
        TransactWriteItemsError::TransactionCanceledException(cancelled)
    })
}

fn woken(why: &str) -> Rule {
    let why = format!(r#""why":"{why}""#);
    mock!(aws_sdk_sqs::Client::send_message)
        .match_requests(move |request| request.message_body().unwrap().contains(&why))
        .then_output(|| SendMessageOutput::builder().build())
}

/// Applies the rules in this order, after the token's.
async fn call(request: Request<Body>, rules: &[&Rule], wake: &Rule) -> (u16, Value) {
    let token = token();
    let rules: Vec<&Rule> = std::iter::once(&token).chain(rules.iter().copied()).collect();
    call_with(request, mock_client!(aws_sdk_dynamodb, RuleMode::Sequential, &rules), wake).await
}

async fn call_with(request: Request<Body>, dynamodb: Client, wake: &Rule) -> (u16, Value) {
    let response = answer(request, dynamodb, wake).await;
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&to_bytes(response.into_body(), 100_000).await.unwrap()).unwrap())
}

async fn answer(request: Request<Body>, dynamodb: Client, wake: &Rule) -> Response {
    let table = |name: &str| Some(name.to_owned());
    let tables = Tables {
        certificates: table("certificates"),
        jobs: table("jobs"),
        access: table("access"),
        audit: table("audit"),
        devices: table("devices"),
        heads: None,
    };
    let app = App {
        ledger: Ledger::new(dynamodb, tables),
        queue: Queue::new(mock_client!(aws_sdk_sqs, RuleMode::MatchAny, &[wake])),
        control_queue: "https://sqs.invalid/control".to_owned(),
        issue_queue: "https://sqs.invalid/issue".to_owned(),
        clock: || NOW + time::Duration::milliseconds(300), // records keep whole seconds
    };
    let response = router(Arc::new(app)).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(status == 401, response.headers().contains_key(WWW_AUTHENTICATE));
    assert_eq!(status == 405, response.headers().contains_key(ALLOW));
    response
}

fn post(call: &str, body: Value) -> Request<Body> {
    request("POST", &format!("/vedsdk/Certificates/{call}"), body.to_string())
}

fn request(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header(AUTHORIZATION, "Bearer dG9rZW4==");
    request.body(body.into()).unwrap()
}

fn refused(error: &str) -> (u16, Value) {
    (400, json!({ "Error": error }))
}

fn success() -> (u16, Value) {
    (200, json!({"Success": true}))
}

/// A token with these scopes, of an existing principal.
fn narrowed(scopes: &'static str) -> Client {
    let hash = format!("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA${}", "A".repeat(43));
    let holder = PrincipalRecord {
        password: Some(hash.try_into().unwrap()),
        grants: Role::Administrator.into(),
        epoch: 7,
        created: OffsetDateTime::UNIX_EPOCH,
        person: None,
        made_by: Default::default(),
    };
    let granted = Granted {
        grant: GrantId::from_random([1; 16]),
        epoch: holder.login_epoch().unwrap(),
        scopes: scopes.parse().unwrap(),
    };
    let token = TokenRecord {
        principal: "ops".to_owned(),
        grants: Grants::default(),
        granted: Some(granted),
        exchanged: None,
        expires: OffsetDateTime::UNIX_EPOCH + Duration::SECOND,
        created: OffsetDateTime::UNIX_EPOCH,
    };
    let read = mock!(Client::get_item).then_compute_output(move |request| {
        let item = match key(request) {
            id if id.starts_with("token#") => serde_dynamo::to_item(&token).ok(),
            "principal#ops" => serde_dynamo::to_item(&holder).ok(),
            _ => None,
        };
        GetItemOutput::builder().set_item(item).build()
    });
    // A denial is recorded.
    let recorded = mock!(Client::transact_write_items).then_output(|| TransactWriteItemsOutput::builder().build());
    mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&read, &recorded])
}

#[tokio::test]
async fn a_scoped_token_is_valid_only_for_its_scopes() {
    for (scopes, forbidden, allowed) in [
        (
            "certificate",
            &["associate", "dissociate", "push", "renew", "reset", "retrieve", "retry", "revoke"][..],
            &[][..],
        ),
        ("certificate:revoke", &["renew", "Retry"], &["revoke"]),
        (
            "certificate:manage",
            &["Revoke"],
            &["associate", "dissociate", "push", "renew", "reset", "retrieve", "retry"],
        ),
    ] {
        for (calls, is_forbidden) in [(forbidden, true), (allowed, false)] {
            for name in calls {
                let body = json!({ "CertificateDN": DN }).to_string();
                let request = request("POST", &format!("/vedsdk/Certificates/{name}"), body);
                let (status, told) = call_with(request, narrowed(scopes), &woken("retry")).await;
                assert_eq!(status == 403, is_forbidden, "{scopes} {name}: {told}");
            }
        }
    }
}
