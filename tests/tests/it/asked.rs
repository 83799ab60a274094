//! Events that ask for something: by the stack's bus for requests, and as they may be delivered.

use std::sync::Arc;

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use futures::future::join_all;
use rootcast_authority::RootRequest;
use rootcast_core::asked::Asked;
use rootcast_core::audit::{Outcome, Subject};
use rootcast_core::job::Activation;
use rootcast_core::rollover::rollout::Rollout;
use rootcast_gate::{SecondPerson, Unmet};
use serde_json::{Value, json};

use crate::authority::regenerator::{Regenerator, seconds_ago, settings};
use crate::authority::wire::Wire;
use crate::fake::Model;
use crate::issuing;
use crate::stack::{LIMIT, Stack, until};

fn event(id: &str, kind: &str, detail: &Value) -> Value {
    json!({
        "version": "0", "id": id, "detail-type": kind, "source": "tests", "account": "000000000000",
        "time": "2026-11-29T12:00:00Z", "region": "us-east-1", "resources": [], "detail": detail,
    })
}

fn rotate(id: &str) -> String {
    event(id, "Rotate Root", &json!({ "reason": "yearly" })).to_string()
}

/// The outcomes in the event's chain.
async fn outcomes(regenerator: &Regenerator, id: &str) -> Vec<Outcome> {
    let subject: Subject = format!("request:event-{id}").parse().unwrap();
    let mut found = Vec::new();
    for sequence in 1.. {
        let Some(entry) = regenerator.ledger.audit_entry(&subject, sequence).await.unwrap() else { break };
        assert_eq!((entry.principal.as_str(), entry.request_id.as_deref()), ("rule:rotate-root", Some(id)));
        found.push(entry.outcome);
    }
    found
}

async fn put(stack: &Stack, kind: &str, detail: Value) {
    let entry = PutEventsRequestEntry::builder().source("tests").detail_type(kind).detail(detail.to_string());
    let entry = entry.event_bus_name(stack.local.outputs.of("RequestsBus").unwrap()).build();
    let sent = aws_sdk_eventbridge::Client::new(&stack.local.sdk_config).put_events().entries(entry).send().await;
    assert_eq!(sent.unwrap().failed_entry_count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_makes_one_root_however_often_it_is_delivered() {
    Stack::run(0, async |stack| {
        let regenerator = Regenerator::open(&stack.local, "asked").await;
        let app = Arc::new(regenerator.app(&Wire::default(), seconds_ago::<0>));
        let roots = async || regenerator.ledger.authority().await.unwrap().last_generation;
        let at_once = join_all((0..5).map(|_| {
            let app = Arc::clone(&app);
            tokio::spawn(async move { regenerate::carry_out(&app, &rotate("one")).await })
        }));
        let done: Vec<_> = at_once.await.into_iter().map(Result::unwrap).collect();
        assert!(done.iter().any(Result::is_ok), "{done:?}");
        assert!(done.iter().all(|done| matches!(done, Ok(()) | Err(Unmet::UnderWay))), "{done:?}");
        for _ in 0..2 {
            regenerate::carry_out(&app, &rotate("one")).await.unwrap();
        }
        assert_eq!(roots().await, 1);
        regenerate::carry_out(&app, &rotate("two")).await.unwrap();
        regenerate::carry_out(&app, &rotate("one")).await.unwrap();
        assert_eq!(roots().await, 2);
        assert_eq!(outcomes(&regenerator, "one").await, [Outcome::Begun, Outcome::Done]);
        let made = regenerator.ledger.audit_entry(&Subject::Root(2), 1).await.unwrap().unwrap();
        assert_eq!((made.principal.as_str(), made.details["reason"].as_str()), ("rule:rotate-root", "yearly"));
        assert_eq!(made.request_id.as_deref(), Some("two"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_event_is_finished_and_not_done_twice() {
    Stack::run(0, async |stack| {
        let regenerator = Regenerator::open(&stack.local, "asked-again").await;
        let app = regenerator.app(&Wire::default(), seconds_ago::<0>);
        let begin = async |id: &str| {
            let begun = Asked::read(&rotate(id)).unwrap().begun(seconds_ago::<61>());
            regenerator.ledger.begin_request(&begun, begun.at).await.unwrap();
        };
        let roots = async || regenerator.ledger.authority().await.unwrap().last_generation;
        begin("nothing-made").await;
        regenerate::carry_out(&app, &rotate("nothing-made")).await.unwrap();
        assert_eq!(roots().await, 1);
        begin("made").await;
        let (activation, rollout) = (Activation::Proven, Rollout::default());
        let request = RootRequest { activation, rollout, hold_down: None, until: None, requested_for: None };
        let by = Asked::read(&rotate("made")).unwrap().actor();
        app.authority.make_root(&settings(), &request, &by, seconds_ago::<30>()).await.unwrap();
        regenerate::carry_out(&app, &rotate("made")).await.unwrap();
        assert_eq!(roots().await, 2);
        assert_eq!(outcomes(&regenerator, "made").await, [Outcome::Begun, Outcome::Done]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_no_second_person_and_waits_for_no_job() {
    Stack::run(0, async |stack| {
        let regenerator = Regenerator::open(&stack.local, "asked-alone").await;
        regenerator.enrol().await;
        let app = regenerator.app(&Wire::default(), seconds_ago::<0>);
        let two = "regenerate,administer-access".parse().unwrap();
        let second = SecondPerson::new(regenerator.ledger.clone(), two, seconds_ago::<0>);
        let guarded = regenerate::App { second, ..regenerator.app(&Wire::default(), seconds_ago::<0>) };
        let refused = async |app: &regenerate::App, id: &str, why: &str| {
            let error = regenerate::carry_out(app, &rotate(id)).await.unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            // A later delivery is refused too, so that the event ends in the dead-letter queue.
            assert!(matches!(regenerate::carry_out(app, &rotate(id)).await, Err(Unmet::RefusedBefore(_))));
            assert_eq!(outcomes(&regenerator, id).await, [Outcome::Begun, Outcome::Failed]);
        };
        refused(&guarded, "alone", "second person").await;
        assert_eq!(regenerator.ledger.authority().await.unwrap().last_generation, 0);
        regenerate::carry_out(&app, &rotate("first")).await.unwrap();
        refused(&app, "next", "job 1 is still moving the devices").await;
        for wrong in
            [rotate("a/b"), "{}".to_owned(), event("x", "Rotate Root", &json!({ "activation": 1 })).to_string()]
        {
            assert!(matches!(regenerate::carry_out(&app, &wrong).await, Err(Unmet::NotAsked(_))), "{wrong}");
        }
    })
    .await;
}

#[tokio::test]
async fn events_on_the_bus_make_a_root_and_renew_a_certificate() {
    Stack::run(0, async |stack| {
        put(stack, "Rotate Root", json!({})).await;
        until("a root signs", LIMIT, async || stack.ledger.authority().await.unwrap().issuing).await;
        let _fake = issuing::device(stack, "own", Model::OpenBmc).await;
        let first = issuing::begin(stack, "own").await;
        issuing::deployed(stack, &first).await;
        let leaf = async || stack.ledger.certificate(first.certificate).await.unwrap().unwrap().leaf;
        let before = leaf().await;
        // Neither what is not as documented, nor the account's default bus.
        put(stack, "Device Certificate Renewal Requested", json!({ "devices": ["own", "own/.."] })).await;
        put(stack, "device certificate renewal requested", json!({ "devices": ["own"] })).await;
        put(stack, "Device Certificate Renewal Requested", json!({ "devices": ["own"] })).await;
        until("it is renewed", LIMIT, async || (leaf().await != before).then_some(())).await;
        let renewals = async || stack.ledger.jobs_before(None, 100).await.unwrap().jobs.len();
        assert_eq!(renewals().await, 2, "the first certificate, and one renewal");
        // The same event again, as EventBridge may deliver it.
        let again = event("again", "Device Certificate Renewal Requested", &json!({ "devices": ["own"] }));
        let ended = async || stack.api.get("/jobs/2").await.response()["state"] == "ended";
        until("the device is free", LIMIT, async || ended().await.then_some(())).await;
        for _ in 0..3 {
            stack.invoke("RetryFunction", &again).await;
        }
        assert_eq!(renewals().await, 3);
    })
    .await;
}
