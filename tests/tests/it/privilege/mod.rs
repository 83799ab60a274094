//! Least privilege: each function's calls to AWS are exactly what its role allows.
//!
//! Each function gets a separate endpoint for AWS, by the SDK's variable, without being changed otherwise. Lambda's
//! own use of a role (logs, receiving messages) does not pass through it.

mod attacks;
mod audit;
mod call;
mod engine;
mod foreign;
mod keys;
mod policy;
mod unused;

use std::collections::BTreeSet;

use reqwest::Method;
use rootcast_core::access::identity::Identity;

use rootcast_core::access::permission::{Grants, Role};
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::inventory::id::{CertificateId, policy_dn};
use rootcast_core::job::task::ErrorClass;
use rootcast_core::job::{JobOutcome, JobState};
use rootcast_local::{LocalOptions, Progress, free_ports};
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use self::call::{Call, calls};
use self::keys::Keys;
use self::policy::{Statement, allowed, is_like};
use self::unused::{BY_LAMBDA, UNDONE, UNUSED};
use crate::access::identities::{Provider, SIGNED};
use crate::access::sessions::basic;
use crate::anchors;
use crate::attacks::persons::together;
use crate::clients;
use crate::fake::{Model, PASSWORD, USER};
use crate::import::deploying::{deploy, ended, fakes};
use crate::import::events::look;
use crate::import::pki::Bundle;
use crate::issuing;
use crate::issuing::renewals::make_due;
use crate::proxy::Proxy;
use crate::stack::{FUNCTIONS, LIMIT, Stack, fake_enrolment, until};

#[tokio::test]
async fn every_functions_permissions_match_its_calls() {
    let cloud_port = free_ports(1).unwrap()[0];
    let proxy = Proxy::to(cloud_port);
    let mut options = LocalOptions::new(0, Progress::silent()).unwrap();
    options.cloud_port = Some(cloud_port);
    let provider = Provider::start().await;
    for (name, value) in [("OidcIssuer", provider.issuer.as_str()), ("OidcAudience", "rootcast")] {
        options.parameters.insert(name.to_owned(), value.to_owned());
    }
    Stack::run_on(options, async |stack| {
        for function in FUNCTIONS {
            watch(stack, function, &proxy.open(function).await).await;
        }
        begin_too_early(stack).await;
        roll_over(stack).await;
        join(stack).await;
        import(stack).await;
        issue(stack).await;
        look(stack).await;
        see_some(stack).await;
        stack.invoke("IssueFunction", &json!({ "wake": "lists" })).await;
        call(stack, &provider).await;
        have_confirmed(stack).await;
        for queue in ["ControlQueueUrl", "TaskQueueUrl", "IssueQueueUrl"] {
            stack.emptied(queue).await;
        }

        let asked: BTreeSet<Call> = proxy.take().iter().flat_map(calls).collect();
        let mut keys = Keys::default();
        let asked = keys.of_calls(stack, asked).await;
        let mut findings = Vec::new();
        for function in FUNCTIONS {
            let allowed = allowed(stack, function).await;
            let asked: Vec<&Call> = asked.iter().filter(|call| call.function == function).collect();
            assert!(!asked.is_empty(), "{function} asked for nothing");
            let refused = asked.iter().filter(|call| !allowed.permits(call, keys.policy(&call.resource)));
            let refused: BTreeSet<_> = refused.map(|call| (&call.action, &call.resource, &call.context)).collect();
            findings.extend(refused.into_iter().map(|what| format!("{function} does what it may not: {what:?}")));
            findings.extend(allowed.statements.iter().flat_map(|statement| superfluous(statement, &asked)));
            findings.extend(keys.superfluous(&allowed.role, function, &asked));
        }
        let told: BTreeSet<&str> = findings.iter().map(String::as_str).collect();
        let excused: BTreeSet<&str> = UNUSED.iter().map(|(what, _)| *what).collect();
        let open: Vec<_> = told.difference(&excused).collect();
        assert!(open.is_empty(), "{open:#?}");
        let idle: Vec<_> = excused.difference(&told).collect();
        assert!(idle.is_empty(), "reasons for what is not found: {idle:#?}");
    })
    .await;
}

/// Routes the function's calls through this address from now on.
async fn watch(stack: &Stack, function: &str, endpoint: &str) {
    set(stack, function, "AWS_ENDPOINT_URL", endpoint).await;
}

async fn set(stack: &Stack, function: &str, variable: &str, value: &str) {
    let name = stack.local.outputs.of(function).unwrap();
    let url = format!("{}/2015-03-31/functions/{name}/configuration", stack.local.endpoint_url);
    let client = reqwest::Client::new();
    let config: Value = client.get(&url).send().await.unwrap().json().await.unwrap();
    let mut environment = config["Environment"].clone();
    environment["Variables"][variable] = json!(value);
    let changed = client.put(&url).json(&json!({ "Environment": environment })).send().await.unwrap();
    changed.error_for_status().unwrap();
    // Running processes still use the old value.
    stack.crash(function).await;
}

/// The parts of the statement that no call used.
fn superfluous(statement: &Statement, asked: &[&Call]) -> Vec<String> {
    let Statement { function, sid, denies, actions, resources, .. } = statement;
    if *denies || sid == UNDONE || actions.iter().all(|action| BY_LAMBDA.contains(&action.as_str())) {
        return Vec::new();
    }
    let used: Vec<&&Call> = asked.iter().filter(|call| statement.applies(call)).collect();
    let is_used = |is: &dyn Fn(&Call) -> bool| used.iter().any(|call| is(call));
    let has_key = |call: &Call, pattern: &str| {
        call.context.get(call::LEADING_KEYS).into_iter().flatten().any(|key| is_like(key, pattern))
    };
    let actions = actions
        .iter()
        .filter(|action| !BY_LAMBDA.contains(&action.as_str()) && !is_used(&|call| call.action == **action));
    let resources = resources.iter().filter(|pattern| !is_used(&|call| is_like(&call.resource, pattern)));
    let keys = statement.leading_keys().filter(|pattern| !is_used(&|call| has_key(call, pattern)));
    let idle = actions.chain(resources).chain(keys);
    idle.map(|what| format!("{function} {sid}: {what} is not used")).collect()
}

/// Requests own certificates without a root, and for an unknown device.
async fn begin_too_early(stack: &Stack) {
    let fake = issuing::device(stack, "early", Model::OpenBmc).await;
    let job = issuing::begin(stack, "early").await;
    issuing::failed(stack, &job, Stage::PostCsr, ErrorClass::Authority).await;
    stack.api.post("/devices/early/probe", json!({})).await.response();
    stack.store_credential("gone", USER, PASSWORD).await;
    let mut nobody = fake_enrolment("gone", &fake);
    nobody["address"] = json!("https://127.0.0.1:9");
    stack.enrol(vec![nobody]).await;
    let job = issuing::begin(stack, "gone").await;
    issuing::failed(stack, &job, Stage::CreateCsr, ErrorClass::Connect).await;
    for device in ["early", "gone"] {
        stack.api.delete(&format!("/devices/{device}")).await;
    }
}

/// An active root; devices; a rollover that completes, and one that is paused, waived, resumed and aborted.
async fn roll_over(stack: &Stack) {
    stack.found().await;
    let api = &stack.api;
    api.send(Method::PUT, "/certificatePolicy", Some(json!({ "specName": "ECDSA_P256" }))).await.response();
    stack.permit(json!({ "networks": ["127.0.0.0/8"] })).await;
    let fakes = fakes(stack, &["a", "b", "c", "going"]).await;
    api.patch("/devices/a", json!({ "name": "first" })).await.response();
    api.get("/devices").await.response();
    assert!(api.get("/devices?limit=1").await.response()["cursor"].is_string());
    api.get("/devices/a/fingerprint").await.response();
    let id = stack.put_root("?until=distrust").await;
    assert_eq!(stack.ended(id).await.outcome, Some(JobOutcome::Activated));
    trust_others(stack).await;
    api.delete("/devices/going").await;
    for path in ["", "/tasks", "/audit"] {
        api.get(&format!("/jobs/{id}{path}")).await.response();
    }
    for path in
        ["/jobs", "/signingCertificate/details", "/signingCertificate/jobs", "/certificatePolicy", "/audit/heads"]
    {
        api.get(path).await.response();
    }
    api.get(&format!("/signingCertificate/jobs/{id}")).await.response();
    assert_eq!(api.get("/bundle").await.status, 200);

    for device in ["a", "b"] {
        stack.store_credential(device, USER, "tr0ub4dor-and-3").await;
    }
    let id = stack.put_root("?errorBudget=1&errorBudgetMinimum=1").await;
    stack.paused(id).await;
    stack.store_credential("a", USER, PASSWORD).await;
    api.post(&format!("/jobs/{id}/retry"), json!({ "devices": ["a"] })).await.response();
    stack.job_when(id, "the job stops", |job| job.state != JobState::Running).await;
    api.post(&format!("/jobs/{id}/waive"), json!({ "devices": ["b"], "reason": "scrapped" })).await.response();
    api.post(&format!("/jobs/{id}/abort"), json!({})).await.response();
    stack.store_credential("b", USER, PASSWORD).await;
    let job = stack.job_when(id, "the job ends", |job| job.state != JobState::Running).await;
    if job.state == JobState::Paused {
        api.post(&format!("/jobs/{id}/resume"), json!({})).await.response();
        stack.ended(id).await;
    }
    drop(fakes);
}

/// A device approved after the rollovers: the schedule sends it the current bundle.
async fn join(stack: &Stack) {
    let fakes = fakes(stack, &["late"]).await;
    stack.invoke("ConductFunction", &json!({ "wake": "running" })).await;
    let (id, bundle) = ("late".parse().unwrap(), stack.ledger.authority().await.unwrap().bundle);
    until("the device holds the bundle of today", LIMIT, async || {
        let held = stack.ledger.device(&id).await.unwrap().unwrap().held;
        held?.ack.filter(|ack| ack.bundle_version == bundle)
    })
    .await;
    stack.api.delete("/devices/late").await;
    drop(fakes);
}

/// Foreign certificates, imported by each vendor's own client, and calls that the clients do not make.
async fn import(stack: &Stack) {
    let bundle = Bundle::new("signed.example.com");
    let (ak, sk) = stack.access_key("deployer", Role::Administrator).await;
    let given = json!({
        "ak": ak, "sk": sk, "name": "signed", "certificate": bundle.leaf, "chain": bundle.chain(), "key": bundle.key,
        "copies": 0, "domain": "signed.example.com", "expires": "",
    });
    clients::run(stack, "huaweicloudsdkscm", &given).await;

    let fakes = fakes(stack, &["locked", "open"]).await;
    stack.store_credential("locked", USER, "tr0ub4dor-and-3").await;
    let near = Bundle::lasting("web.example.com", Duration::days(6));
    let id = stack.import("web", &near).await;
    let token = json!({ "name": "twice", "certificate": near.all(), "private_key": near.key });
    let imports = "/v3/scm/certificates/import";
    for _ in 0..2 {
        stack.api.post_with("X-Client-Token", "one-and-the-same", imports, token.clone()).await.json();
    }
    let (job, _) = deploy(stack, id, &["locked", "open"]).await;
    assert_eq!(ended(stack, job.unwrap()).await["outcome"], "deployedWithFailures");
    stack.api.post("/v3/scm/deployed-resources", json!({ "certificate_ids": [id], "service_names": ["DEVICE"] })).await;
    stack.store_credential("locked", USER, PASSWORD).await;
    let password = stack.principal("cert-manager").await;
    let dn = policy_dn("Certificates", "web");
    let scope = "certificate:manage,revoke;configuration";
    let given = json!({ "username": "cert-manager", "password": password, "scope": scope, "dn": dn });
    clients::run(stack, "pyvenafi", &given).await;

    let other = stack.import("other", &Bundle::new("other.example.com")).await;
    let device = r"\VED\Policy\Devices\open";
    let dn = policy_dn("Certificates", "other");
    let mut body = json!({ "CertificateDN": dn, "ApplicationDN": [device], "PushToNew": true, "WorkToDoTimeout": 20 });
    venafi(stack, "Associate", &body).await;
    until_idle(stack).await;
    stack.api.get("/vedsdk/Certificates").await.json();
    stack.api.post("/vedsdk/Certificates/Retrieve", json!({ "CertificateDN": dn, "Format": "Base64" })).await.json();
    body.as_object_mut().unwrap().remove("PushToNew");
    venafi(stack, "Push", &body).await;
    until_idle(stack).await;
    stack.store_credential("open", USER, "tr0ub4dor-and-3").await;
    venafi(stack, "Push", &body).await;
    until_idle(stack).await;
    venafi(stack, "Reset", &json!({ "CertificateDN": dn })).await;
    venafi(stack, "Dissociate", &body).await;
    assert_eq!(stack.api.delete(&format!("/v3/scm/certificates/{other}")).await.status, 204);
    drop(fakes);
}

/// A device's own certificate: issued, renewed, revoked.
async fn issue(stack: &Stack) {
    let fake = issuing::device(stack, "own", Model::OpenBmc).await;
    let first = issuing::begin(stack, "own").await;
    issuing::deployed(stack, &first).await;
    let dn = issuing::dn("own");
    venafi(stack, "Renew", &json!({ "CertificateDN": dn, "WorkToDoTimeout": 60 })).await;
    until_idle(stack).await;
    renew_by_itself(stack, first.certificate).await;
    replace_issuing(stack, first.certificate).await;
    let body = json!({ "CertificateDN": dn, "IncludeChain": true, "Format": "Base64" });
    stack.api.post("/vedsdk/Certificates/Retrieve", body).await.json();
    let record = stack.ledger.certificate(first.certificate).await.unwrap().unwrap();
    let thumbprint = json!({ "Thumbprint": record.leaf.thumbprint(), "Reason": 1, "WorkToDoTimeout": 60 });
    venafi(stack, "Revoke", &thumbprint).await;
    let serials = |row: &Value| row["serial"].as_str().unwrap().to_owned();
    let signed = stack.api.get("/certificates/signed").await.response();
    let signed: Vec<String> = signed["signed"].as_array().unwrap().iter().map(serials).collect();
    for body in [json!({ "serial": signed[0] }), json!({ "thumbprint": record.leaf.thumbprint() })] {
        stack.api.post("/certificates/revocation", body).await.response();
    }
    stack.api.get(&format!("/certificates/{}/audit", first.certificate)).await.response();
    drop(fake);
}

/// Lists of somebody who may read a folder and a device; and a visit to a device whose credential is in its record.
async fn see_some(stack: &Stack) {
    let mut some = Grants::default();
    for grant in [r"\VED\Policy\Certificates=read", r"\VED\Policy\Devices\a=read"] {
        some.add(grant.parse().unwrap());
    }
    let api = stack.api_of("some", some).await;
    api.get("/v3/scm/certificates").await.json();
    api.get("/vedsdk/Certificates").await.json();
    let credential = json!({ "username": USER, "password": PASSWORD });
    stack.api.patch("/devices/a", json!({ "credential": credential })).await.response();
    stack.api.post("/devices/a/probe", json!({})).await.response();
    stack.emptied("TaskQueueUrl").await;
}

/// A root of others comes to the devices and leaves them.
async fn trust_others(stack: &Stack) {
    let added =
        stack.api.post("/trustedCertificates", json!({ "certificate": anchors::of_others("Other").pem() })).await;
    let added = added.json()["response"].clone();
    let ended = async |changed: &Value| {
        let job = changed["jobPath"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
        stack.ended(job).await
    };
    assert_eq!(ended(&added).await.outcome, Some(JobOutcome::Distributed));
    let one = format!("/trustedCertificates/{}", added["id"].as_str().unwrap());
    for path in ["/trustedCertificates", &one] {
        stack.api.get(path).await.response();
    }
    let removed = stack.api.delete(&one).await.response();
    stack
        .api
        .post(&format!("/jobs/{}/abort", removed["jobPath"].as_str().unwrap().rsplit('/').next().unwrap()), json!({}))
        .await;
    ended(&removed).await;
}

/// As when the certificate's time has come.
async fn renew_by_itself(stack: &Stack, certificate: CertificateId) {
    let record = async || stack.ledger.certificate(certificate).await.unwrap().unwrap();
    let before = record().await;
    make_due(stack, &before, 20).await;
    look(stack).await;
    until("it is renewed", LIMIT, async || Some(record().await).filter(|now| now.leaf != before.leaf)).await;
    until_idle(stack).await;
}

/// The next issuing authority signs, and the one before is compromised: what it signed is revoked and renewed.
async fn replace_issuing(stack: &Stack, certificate: CertificateId) {
    let signing = async || stack.ledger.authority().await.unwrap().issuing;
    let leaf = async || stack.ledger.certificate(certificate).await.unwrap().unwrap().leaf;
    let (before, signed) = (signing().await.unwrap(), leaf().await);
    stack.api.post("/issuingAuthorities", json!({})).await.response();
    until("the next one signs", LIMIT, async || signing().await.filter(|now| *now != before)).await;
    stack.api.post(&format!("/issuingAuthorities/{before}/compromise"), json!({})).await.response();
    until("its certificate is renewed", LIMIT, async || Some(leaf().await).filter(|now| *now != signed)).await;
    until_idle(stack).await;
}

/// Every way to authenticate, and the management of users.
async fn call(stack: &Stack, provider: &Provider) {
    let root = "iam#arn:aws:iam::000000000000:root";
    let jane = Identity::oidc(&provider.issuer, "Jane").unwrap();
    let password = "a very long password indeed";
    let principal =
        json!({ "name": "jane", "password": password, "role": "administrator", "identities": [root, jane] });
    let api = &stack.api;
    assert_eq!(api.post("/principals", principal.clone()).await.status, 201);
    for path in ["/principals", "/principals/jane"] {
        api.get(path).await.response();
    }
    let given = api.send_as(Some(&provider.token()), Method::POST, "/sessions/oidc", None).await.response();
    let token = given["access_token"].as_str();
    api.send_as(token, Method::GET, "/vedauth/authorize/verify", None).await.json();
    api.send_as(token, Method::GET, "/vedauth/revoke/token", None).await;
    api.send_with(&[("authorization", SIGNED)], Method::POST, "/sessions/iam", None).await.response();

    // Each function records what it refuses.
    let reader = stack.api_of("reader", Role::Reader).await;
    for (method, path) in [(Method::GET, "/principals"), (Method::POST, "/v3/scm/certificates/scs0000000000001/export")]
    {
        assert_eq!(reader.send(method, path, None).await.status, 403);
    }

    let basic = basic("jane", password);
    let with_password = [("authorization", basic.as_str())];
    let kept = stack.session("jane", password).await;
    for (method, path) in [(Method::GET, "/jobs"), (Method::GET, "/principals"), (Method::PUT, "/signingCertificate")] {
        api.send_with(&with_password, method.clone(), path, None).await;
        // A session's use is recorded only once in a while.
        let soon = OffsetDateTime::now_utc() + Duration::minutes(7);
        stack.ledger.extend_session(&Fingerprint::of(kept.id.as_bytes()), soon).await.unwrap();
        stack.in_session(&kept, Some(&kept.csrf), method, path).await;
    }
    let soon = OffsetDateTime::now_utc() + Duration::minutes(7);
    stack.ledger.extend_session(&Fingerprint::of(kept.id.as_bytes()), soon).await.unwrap();
    stack.in_session(&kept, Some(&kept.csrf), Method::POST, "/v3/scm/certificates/import").await;
    // The page asks catalog and access; by its forms, import and regenerate.
    assert_eq!(stack.in_session(&kept, None, Method::GET, "/console").await.status, 200);
    for path in ["/console/certificates", "/console/roots/preflight"] {
        stack.form(&kept, path).await;
    }
    stack.in_session(&kept, Some(&kept.csrf), Method::DELETE, "/sessions").await.response();
    let given = stack.log_in("jane", password, "certificate").await.json();
    let given = stack.exchange("tests", &given["refresh_token"]).await.json();
    api.send_as(given["access_token"].as_str(), Method::GET, "/vedauth/revoke/token", None).await;
    let next = json!({ "password": "another very long password" });
    api.send(Method::PUT, "/principals/jane/password", Some(next)).await.response();
    api.delete("/principals/jane").await.response();
    // Takes over the removed user's identities.
    assert_eq!(api.post("/principals", principal).await.status, 201);
}

/// In each function that asks for a second person, a call that a second person confirms, and that cannot be carried out.
async fn have_confirmed(stack: &Stack) {
    for function in ["RegenerateFunction", "CatalogFunction", "ImportFunction", "LoginFunction"] {
        set(stack, function, "TWO_PERSONS", "regenerate,abort,export-key,administer-access").await;
    }
    let one = stack.person("one", None, Role::Administrator).await;
    let other = stack.person("other", None, Role::Administrator).await;
    for (method, path, body) in [
        (Method::PUT, "/signingCertificate?wavePause=x", None),
        (Method::POST, "/jobs/999/abort", None),
        (Method::POST, "/v3/scm/certificates/scs0000000000009/export", None),
        (Method::POST, "/principals", Some(json!({ "name": "nobody" }))),
    ] {
        let answer = together(&one, &other, method, path, body).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
    }
    other.get("/requests?state=all").await.response();
}

async fn venafi(stack: &Stack, call: &str, body: &Value) {
    stack.api.post(&format!("/vedsdk/Certificates/{call}"), body.clone()).await.json();
}

/// Waits until no work is left.
async fn until_idle(stack: &Stack) {
    until("no deployment runs", LIMIT, async || {
        let all = stack.ledger.quiet_deployments(OffsetDateTime::now_utc(), None, 1000).await.unwrap();
        all.quiet.is_empty().then_some(())
    })
    .await;
}
