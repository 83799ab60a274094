//! One person who acts as two, on a stack where each operation needs a second one.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::Method;
use reqwest::header::LOCATION;
use rootcast_core::access::permission::{Grants, Operation, Right, Role};
use rootcast_core::access::second::AskId;
use rootcast_core::audit::{Action, Entry, Name, Outcome, Subject};
use rootcast_core::job::JobId;
use rootcast_core::job::task::TaskState;
use rootcast_ledger::{Exchanged, IssuingState, PrincipalRecord, TokenRecord};
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::api::{Answer, Api};
use crate::fake::{Fake, Model, USER};
use crate::import::pki::Bundle;
use crate::stack::{LIMIT, Stack, by_tests, fake_enrolment, until};

const EVERY: &str = "regenerate,approve-device,activate,abort,export-key,administer-access";

impl Stack {
    /// A principal with a token.
    pub async fn person(&self, name: &str, person: Option<&str>, grants: impl Into<Grants>) -> Api {
        let (token, created) = (uuid::Uuid::new_v4().to_string(), OffsetDateTime::now_utc());
        self.secrets.keep(&token);
        let epoch = uuid::Uuid::new_v4().as_u64_pair().0;
        let record = PrincipalRecord {
            password: None,
            grants: grants.into(),
            epoch,
            created,
            person: person.map(|person| person.parse().unwrap()),
            made_by: BTreeSet::new(),
        };
        self.ledger.put_principal(&name.parse().unwrap(), &record, &by_tests()).await.unwrap();
        let given = TokenRecord {
            principal: name.to_owned(),
            grants: Grants::default(),
            granted: None,
            exchanged: Some(Exchanged { identity: None, epoch }),
            expires: created + Duration::HOUR,
            created,
        };
        self.ledger.put_token(&Fingerprint::of(token.as_bytes()), &given).await.unwrap();
        Api::new(&self.local.api_url, &std::fs::read(&self.local.ca_pem).unwrap(), token, self.secrets.clone())
    }

    /// What became of a request, in order.
    async fn recorded(&self, id: &str) -> Vec<(Action, Outcome, String)> {
        let page = self.ledger.audit_page(&Subject::Request(Name::of(id)), 0, 100).await.unwrap();
        let entries = page.lines.iter().map(|line| serde_json::from_str::<Entry>(line).unwrap());
        entries.map(|entry| (entry.action, entry.outcome, entry.principal)).collect()
    }
}

/// The request that the answer says it waits for.
fn waits(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{answer:?}");
    let place = answer.headers[LOCATION].to_str().unwrap();
    let id = place.strip_prefix("/requests/").unwrap();
    assert!(answer.text.contains(id), "{answer:?}");
    id.to_owned()
}

async fn confirmed(by: &Api, id: &str) -> Value {
    by.send(Method::POST, &format!("/requests/{id}/confirm"), None).await.response()
}

/// Nobody of these can confirm it.
async fn unconfirmed(by: &Api, id: &str, status: u16) -> Value {
    by.send(Method::POST, &format!("/requests/{id}/confirm"), None).await.refused(status)
}

/// Asks, has it confirmed, and asks again.
pub async fn together(jane: &Api, john: &Api, method: Method, path: &str, body: Option<Value>) -> Answer {
    let id = waits(&jane.send(method.clone(), path, body.clone()).await);
    confirmed(john, &id).await;
    jane.send(method, path, body).await
}

#[tokio::test]
async fn nobody_carries_out_alone_what_needs_two_persons() {
    Stack::run_with(0, &[("TwoPersons", EVERY)], async |stack| {
        let jane = stack.person("jane", None, Role::Administrator).await;
        let john = stack.person("john", None, Role::Administrator).await;
        a_new_root(stack, &jane, &john).await;
        a_compromise(stack, &jane, &john).await;
        a_private_key(stack, &jane, &john).await;
        a_second_thought(stack, &jane, &john).await;
        a_second_principal(stack, &jane, &john).await;
        a_device(stack, &jane, &john).await;
        on_the_command_line(stack, &jane, &john).await;
    })
    .await;
}

async fn a_new_root(stack: &Stack, jane: &Api, john: &Api) {
    const ROOT: &str = "/signingCertificate";
    // It is not known whose this token is.
    stack.api.put(ROOT).await.refused(403);
    let first = jane.put(ROOT).await;
    let id = waits(&first);
    let told: Value = serde_json::from_str(&first.text).unwrap();
    assert_eq!((&told["result"], &told["response"]["request"]), (&json!("warning"), &json!(id)), "{told}");
    assert_eq!(told["response"]["permissions"], json!(["regenerate"]));
    assert_eq!(waits(&jane.put(ROOT).await), id, "the same call makes no other request");
    assert_eq!(stack.ledger.authority().await.unwrap().last_generation, 0);

    // Himself, another identity of his, a stranger, and who may not make a root.
    let laptop = stack.person("jane-laptop", Some("JANE"), Role::Administrator).await;
    assert!(unconfirmed(jane, &id, 403).await.to_string().contains("nobody confirms his own"));
    unconfirmed(&laptop, &id, 403).await;
    unconfirmed(&stack.api, &id, 403).await;
    let operator = stack.person("oscar", None, Role::Operator).await;
    unconfirmed(&operator, &id, 404).await;
    assert_eq!(operator.get("/requests").await.response()["requests"], json!([]));
    assert_eq!(stack.api.send_as(None, Method::GET, "/requests", None).await.status, 401);

    let listed = john.get("/requests").await.response();
    let (request, more) = (&listed["requests"][0], &listed["requests"][1]);
    assert_eq!((&request["id"], &request["by"], &request["path"]), (&json!(id), &json!("jane"), &json!(ROOT)));
    assert!(more.is_null() && request["state"] == "open" && request["method"] == "PUT", "{listed}");
    assert_eq!(confirmed(john, &id).await["state"], "confirmed");

    // Another call than the confirmed one, and somebody else's.
    assert_ne!(waits(&jane.put("/signingCertificate?reason=x").await), id);
    assert_ne!(waits(&john.put(ROOT).await), id);
    let (one, other) = tokio::join!(jane.put(ROOT), jane.put(ROOT));
    let mut both = [one.status.as_u16(), other.status.as_u16()];
    both.sort_unstable();
    assert_eq!(both, [200, 202], "{one:?} {other:?}");
    assert_eq!(stack.ledger.authority().await.unwrap().last_generation, 1);

    let next = jane.put(ROOT).await;
    let again = waits(&next);
    assert!(again != id && next.text.contains(&id), "the answer may have been lost: {next:?}");
    // The first confirmation, sent again, says nothing of the new request.
    unconfirmed(john, &id, 404).await;
    assert_eq!(waits(&jane.put(ROOT).await), again);
    let by = |name: &str| name.to_owned();
    let expected = [
        (Action::Request, Outcome::Done, by("jane")),
        (Action::Confirm, Outcome::Done, by("john")),
        (Action::CarryOut, Outcome::Begun, by("jane")),
    ];
    assert_eq!(stack.recorded(&id).await, expected);
    let chain = john.get(&format!("/audit/requests?name={id}")).await.response();
    assert_eq!(chain["entries"].as_array().unwrap().len(), expected.len(), "{chain}");
    let denied = stack.ledger.audit_page(&Subject::Denials(Name::of("jane")), 0, 100).await.unwrap();
    assert!(denied.lines.iter().any(|line| line.contains("nobody confirms his own")), "{:?}", denied.lines);

    // One confirmation for two operations, by somebody who holds both.
    let at_once = "/signingCertificate?activation=immediate";
    let both = jane.put(at_once).await;
    let told: Value = serde_json::from_str(&both.text).unwrap();
    assert_eq!(told["response"]["permissions"], json!(["regenerate", "activate"]));
    let mut half = Grants::from(Role::Operator);
    half.permit(Operation::Regenerate);
    unconfirmed(&stack.person("harry", None, half).await, &waits(&both), 404).await;
    confirmed(john, &waits(&both)).await;
    assert_eq!(jane.put(at_once).await.response()["jobPath"], "");
    assert_eq!(stack.ledger.authority().await.unwrap().last_generation, 2);
}

/// It revokes every certificate that the authority signed: by two who hold both permissions.
async fn a_compromise(stack: &Stack, jane: &Api, john: &Api) {
    let signs = async |after| {
        let signing = async || stack.ledger.authority().await.unwrap().issuing;
        let next = async || signing().await.filter(|id| Some(*id) != after && id.generation == 2);
        until("an issuing authority signs", LIMIT, next).await
    };
    let state = async |id| stack.ledger.issuing(id).await.unwrap().unwrap().state;
    let first = signs(None).await;
    let path = format!("/issuingAuthorities/{first}/compromise");
    let asked = jane.send(Method::POST, &path, None).await;
    let (id, told): (_, Value) = (waits(&asked), serde_json::from_str(&asked.text).unwrap());
    assert_eq!(told["response"]["permissions"], json!(["regenerate", "activate"]));
    unconfirmed(jane, &id, 403).await;
    let mut half = Grants::from(Role::Operator);
    half.permit(Operation::Regenerate);
    unconfirmed(&stack.person("hugo", None, half).await, &id, 404).await;
    assert_eq!(state(first).await, IssuingState::Signing);
    confirmed(john, &id).await;
    // The confirmation is of this one.
    assert_ne!(waits(&jane.send(Method::POST, "/issuingAuthorities/2.9/compromise", None).await), id);
    assert_eq!(state(first).await, IssuingState::Signing);
    assert_eq!(jane.send(Method::POST, &path, None).await.response()["id"], first.to_string());
    assert_eq!(state(first).await, IssuingState::Revoked);
    signs(Some(first)).await;
}

async fn a_private_key(stack: &Stack, jane: &Api, john: &Api) {
    let certificate = stack.import("web", &Bundle::new("web.example.com")).await;
    let path = format!("/v3/scm/certificates/{certificate}/export");
    let export = async |by: &Api| by.send(Method::POST, &path, None).await;
    let asked = export(jane).await;
    let (id, told): (_, Value) = (waits(&asked), serde_json::from_str(&asked.text).unwrap());
    assert_eq!(told["error_code"], "SCM.0202");
    confirmed(john, &id).await;
    assert_ne!(waits(&export(john).await), id, "who confirms does not get the key");
    assert!(export(jane).await.json()["private_key"].as_str().unwrap().contains("PRIVATE KEY"));

    // Rejected.
    let id = waits(&export(jane).await);
    let reject = async |reason: Value| john.post(&format!("/requests/{id}/reject"), json!({ "reason": reason })).await;
    reject(json!("a\nb")).await.refused(400);
    assert_eq!(reject(json!("not on a Friday")).await.response()["state"], "rejected");
    let refused = export(jane).await;
    assert!(refused.status == 403 && refused.text.contains("john") && refused.text.contains("not on a Friday"));
    unconfirmed(john, &id, 409).await;

    // Expired, between the confirmation and the call.
    let other = stack.import("other", &Bundle::new("other.example.com")).await;
    let path = format!("/v3/scm/certificates/{other}/export");
    let id = waits(&jane.send(Method::POST, &path, None).await);
    confirmed(john, &id).await;
    expire(stack, &id).await;
    let next = waits(&jane.send(Method::POST, &path, None).await);
    assert_ne!(next, id);
    expire(stack, &next).await;
    unconfirmed(john, &next, 409).await;

    // By somebody who may no longer do it.
    let paul = stack.person("paul", None, Role::Administrator).await;
    let id = waits(&jane.send(Method::POST, &path, None).await);
    confirmed(&paul, &id).await;
    let (by, now) = (by_tests(), OffsetDateTime::now_utc());
    stack.ledger.change_grants(&"paul".parse().unwrap(), &Role::Operator.into(), &by, now).await.unwrap();
    assert_ne!(waits(&jane.send(Method::POST, &path, None).await), id);
}

/// A confirmed request is stopped before it is carried out, by whoever confirmed it.
async fn a_second_thought(stack: &Stack, jane: &Api, john: &Api) {
    let certificate = stack.import("thought", &Bundle::new("thought.example.com")).await;
    let path = format!("/v3/scm/certificates/{certificate}/export");
    let id = waits(&jane.send(Method::POST, &path, None).await);
    confirmed(john, &id).await;
    let reject = async |by: &Api| by.post(&format!("/requests/{id}/reject"), json!({ "reason": "no" })).await;
    let mary = stack.person("maria", None, Role::Administrator).await;
    reject(&mary).await.refused(409);
    assert_eq!(reject(john).await.response()["state"], "rejected");
    assert_eq!(jane.send(Method::POST, &path, None).await.status, 403);
}

/// The request ends an hour ago.
async fn expire(stack: &Stack, id: &str) {
    let id: AskId = id.parse().unwrap();
    let ended = (OffsetDateTime::now_utc() - Duration::HOUR).unix_timestamp();
    let update = aws_sdk_dynamodb::Client::new(&stack.local.sdk_config)
        .update_item()
        .table_name(stack.local.outputs.of("AccessTable").unwrap())
        .key("id", AttributeValue::S(format!("request#{}", id.place())))
        .update_expression("SET expires = :ended")
        .expression_attribute_values(":ended", AttributeValue::N(ended.to_string()));
    update.send().await.unwrap();
}

async fn a_second_principal(stack: &Stack, jane: &Api, john: &Api) {
    let password = "a very long password indeed";
    let puppet = json!({ "name": "puppet", "password": password, "role": "administrator" });
    let id = waits(&jane.post("/principals", puppet.clone()).await);
    let shown = john.get(&format!("/requests/{id}")).await;
    assert!(!shown.text.contains(password), "{shown:?}");
    let body = &shown.response()["body"];
    assert_eq!(body["members"], json!({ "name": "puppet", "role": "administrator" }));
    assert_eq!(body["leftOut"], json!(["password"]));
    confirmed(john, &id).await;
    // Another password than the confirmed one.
    let mut altered = puppet.clone();
    altered["password"] = json!("another very long password");
    assert_ne!(waits(&jane.post("/principals", altered).await), id);
    assert_eq!(jane.post("/principals", puppet).await.status, 201);

    // Whoever made it knows its password, and so whoever changed one.
    let kept = stack.session("puppet", password).await;
    let id = waits(&jane.put("/signingCertificate?reason=mine").await);
    let confirm = format!("/requests/{id}/confirm");
    assert_eq!(stack.in_session(&kept, Some(&kept.csrf), Method::POST, &confirm).await.status, 403);
    let mary = stack.person("mary", None, Role::Administrator).await;
    let changed = Some(json!({ "password": password }));
    together(jane, john, Method::PUT, "/principals/mary/password", changed).await.response();
    unconfirmed(&mary, &id, 403).await;
    // A principal who comes after the one that asked, under the same name.
    let eve = stack.person("eve", None, Role::Administrator).await;
    let id = waits(&eve.put("/signingCertificate").await);
    confirmed(john, &id).await;
    together(jane, john, Method::DELETE, "/principals/eve", None).await.response();
    let eve = stack.person("eve", None, Role::Administrator).await;
    assert_ne!(waits(&eve.put("/signingCertificate").await), id);
    // To look at principals, one is enough.
    jane.get("/principals/puppet").await.response();
}

async fn a_device(stack: &Stack, jane: &Api, john: &Api) {
    let slow = Fake::start(Model::OpenBmc).await;
    stack.store_credential("slow", USER, "not the device's password").await;
    jane.post("/devices", fake_enrolment("slow", &slow)).await.response();
    let shown = jane.get("/devices/slow").await.response();
    assert_eq!(shown["state"], "pending", "who may approve with a second person only, approves nothing by enrolling");
    let approval = json!({ "incarnation": shown["incarnation"], "endpointRevision": shown["endpointRevision"] });
    let id = waits(&jane.post("/devices/slow/approval", approval.clone()).await);
    let body = john.get(&format!("/requests/{id}")).await.response()["body"].take();
    assert_eq!(body["members"], approval);
    confirmed(john, &id).await;
    let approved = jane.post("/devices/slow/approval", approval).await.response();
    assert_eq!(approved["state"], "approved");

    let begun = together(jane, john, Method::PUT, "/signingCertificate?reason=devices", None).await.response();
    let job: JobId = begun["jobPath"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
    stack.paused(job).await;
    // A device that the job waits for cannot leave, and is only waived by two.
    for (method, body) in [(Method::DELETE, None), (Method::PATCH, Some(json!({ "pins": [] })))] {
        let id = waits(&jane.send(method, "/devices/slow", body).await);
        assert_eq!(john.get(&format!("/requests/{id}")).await.response()["permissions"], json!(["activate"]));
    }
    jane.get("/devices/slow").await.response();
    let path = format!("/jobs/{job}/waive");
    let waiver = |reason: &str| json!({ "devices": ["slow"], "reason": reason });
    let id = waits(&jane.post(&path, waiver("scrapped")).await);
    let body = john.get(&format!("/requests/{id}")).await.response()["body"].take();
    assert_eq!(body["members"], waiver("scrapped"));
    confirmed(john, &id).await;
    assert_ne!(waits(&jane.post(&path, waiver("scrapped ")).await), id);
    assert_eq!(jane.post(&path, waiver("scrapped")).await.response()["results"][0]["result"], "waived");
    let pass = stack.job(job).await.pass();
    assert_eq!(stack.tasks(job, pass).await["slow"].state, TaskState::Waived);

    // What could not be carried out can be sent again.
    let nothing = "/jobs/999/abort";
    let id = waits(&jane.send(Method::POST, nothing, None).await);
    confirmed(john, &id).await;
    for _ in 0..2 {
        jane.send(Method::POST, nothing, None).await.refused(404);
    }
    let outcomes: Vec<_> = stack.recorded(&id).await.into_iter().map(|(_, outcome, _)| outcome).collect();
    let tried = [Outcome::Begun, Outcome::Failed];
    assert_eq!(outcomes, [[Outcome::Done; 2], tried, tried].concat());
}

async fn on_the_command_line(stack: &Stack, jane: &Api, john: &Api) {
    let rotate = "rotate --reason console --yes";
    stack.cli_as(&jane.token, rotate).await.refused(5, "waits for a second person");
    let listed = stack.cli_as(&john.token, "request list").await.done();
    let of = |each: &&Value| each["query"] == "reason=console";
    let listed = listed.as_array().map_or_else(|| vec![listed.clone()], Clone::clone);
    let id = listed.iter().find(of).unwrap()["id"].as_str().unwrap().to_owned();
    stack.cli_as(&john.token, &format!("request confirm {id}")).await.refused(2, "--yes");
    stack.cli_as(&jane.token, &format!("request confirm {id} --yes")).await.refused(4, "nobody confirms his own");
    stack.cli_as(&john.token, &format!("request confirm {id} --yes")).await.done();
    let shown = stack.cli_as(&jane.token, &format!("request show {id}")).await.done();
    assert_eq!((&shown["state"], &shown["decision"]["by"]), (&json!("confirmed"), &json!("john")));
    // Withdrawn: the same call is a new request.
    stack.cli_as(&jane.token, "rotate --reason other --yes").await.refused(5, "waits");
    let id = waits(&jane.put("/signingCertificate?reason=other").await);
    stack.cli_as(&jane.token, &format!("request reject {id} --reason mistaken")).await.done();
    assert_ne!(waits(&jane.put("/signingCertificate?reason=other").await), id);
    let mut reader = Grants::default();
    reader.add(format!(r"\VED\Policy={}", Right::Read).parse().unwrap());
    let reader = stack.person("rita", None, reader).await;
    stack.cli_as(&reader.token, &format!("request show {id}")).await.refused(1, "no request of that id");
    stack.cli("access add jane --person Jane.Doe@example.com", "").await.done();
    let record = stack.ledger.principal(&"jane".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(record.person.unwrap().to_string(), "jane.doe@example.com");
}
