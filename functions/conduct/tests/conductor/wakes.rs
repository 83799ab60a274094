//! What a wake-up costs, which jobs it conducts, and what happens to its message: with the SDK's own mock layer, which
//! counts calls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsBatchResponse;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsOutput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::operation::send_message::SendMessageOutput;
use aws_smithy_mocks::{Rule, mock};
use conduct::{ConductError, Wake, handle};
use serde_json::json;
use time::OffsetDateTime;

use crate::{Item, app, control, event, number, schedule, text};

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const ROLLOVER: u64 = 99_999;

/// The jobs table, as far as a wake-up reads it.
#[derive(Default)]
struct World {
    running: u64,
    /// Running deployments that have been waiting for long.
    quiet: Vec<u64>,
    /// The job whose record cannot be read.
    broken: Option<u64>,
    place: Option<u64>,
    calls: Vec<String>,
}

type Shared = Arc<Mutex<World>>;

impl World {
    /// The jobs conducted, in order.
    fn conducted(&mut self) -> Vec<u64> {
        let calls = std::mem::take(&mut self.calls);
        calls.iter().filter_map(|call| call.strip_prefix("get ")?.strip_suffix(" meta")?.parse().ok()).collect()
    }
}

fn entry(job: u64) -> Item {
    Item::from([("pk".to_owned(), text("running")), ("sk".to_owned(), text(format!("{job:012}")))])
}

/// Takes and releases a job's lease.
fn leases(world: &Shared) -> [Rule; 2] {
    let (taken, left) = (world.clone(), world.clone());
    let take = mock!(Client::update_item).then_compute_output(move |request| {
        let job = request.key().unwrap()["pk"].as_s().unwrap();
        taken.lock().unwrap().calls.push(format!("take {job}"));
        UpdateItemOutput::builder().build()
    });
    let leave = mock!(Client::delete_item).then_compute_output(move |request| {
        let job = request.key().unwrap()["pk"].as_s().unwrap();
        left.lock().unwrap().calls.push(format!("leave {job}"));
        DeleteItemOutput::builder().build()
    });
    [take, leave]
}

fn tables(world: &Shared) -> [Rule; 3] {
    let (read, listed, written) = (world.clone(), world.clone(), world.clone());
    let get = mock!(Client::get_item).then_compute_output(move |request| {
        let mut world = read.lock().unwrap();
        let key = request.key().unwrap();
        let part = |name| key.get(name).map(|part| part.as_s().unwrap().clone()).unwrap_or_default();
        let (id, pk, sk) = (part("id"), part("pk"), part("sk"));
        world.calls.push(format!("get {id}{pk} {sk}"));
        let answer = GetItemOutput::builder();
        match (id.as_str(), pk.as_str()) {
            ("authority", _) => answer.item("running", number(ROLLOVER)).build(),
            (_, "schedule") => match world.place {
                Some(after) => answer.item("after", number(after)).build(),
                None => answer.build(),
            },
            (_, job) if world.broken.is_some_and(|broken| broken.to_string() == job) => {
                answer.item("kind", text("deployment")).build()
            }
            // A job that no longer exists needs nothing.
            _ => answer.build(),
        }
    });
    let query = mock!(Client::query).then_compute_output(move |request| {
        let mut world = listed.lock().unwrap();
        if request.expression_attribute_values().unwrap().contains_key(":joining") {
            world.calls.push("joining".to_owned());
            return QueryOutput::builder().build();
        }
        world.calls.push("query".to_owned());
        let after = request.exclusive_start_key().map_or(0, |key| key["sk"].as_s().unwrap().parse().unwrap());
        let last = (after + u64::try_from(request.limit().unwrap()).unwrap()).min(world.running);
        assert!(request.filter_expression().unwrap().contains("quietSince <= :before"));
        assert_eq!(request.expression_attribute_values().unwrap()[":before"], AttributeValue::N("-900".to_owned()));
        let due = world.quiet.iter().filter(|job| (after + 1..=last).contains(job)).map(|job| entry(*job)).collect();
        let next = (last < world.running).then(|| entry(last));
        QueryOutput::builder().set_items(Some(due)).set_last_evaluated_key(next).build()
    });
    let write = mock!(Client::transact_write_items).then_compute_output(move |request| {
        let mut world = written.lock().unwrap();
        let put = request.transact_items()[0].put().unwrap();
        assert_eq!(put.item()["pk"], text("schedule"));
        world.place = put.item().get("after").map(|after| after.as_n().unwrap().parse().unwrap());
        let place = world.place;
        world.calls.push(format!("place {place:?}"));
        TransactWriteItemsOutput::builder().build()
    });
    [get, query, write]
}

/// Accepts a delayed control message for the job.
fn handed_on() -> Rule {
    mock!(aws_sdk_sqs::Client::send_message)
        .match_requests(|request| {
            request.message_body().unwrap().contains(r#""job":7"#)
                && (5..=10).contains(&request.delay_seconds().unwrap())
        })
        .then_output(|| SendMessageOutput::builder().build())
}

/// Handles a wake-up with a minute left.
async fn wake(tables: &[&Rule], sent: &Rule, wake: Wake) -> Result<SqsBatchResponse, ConductError> {
    handle(&app(tables, sent, || NOW), event(wake, NOW, Duration::from_secs(60))).await
}

async fn look(world: &Shared) -> Result<SqsBatchResponse, ConductError> {
    let ([get, query, write], [take, leave]) = (tables(world), leases(world));
    wake(&[&get, &query, &write, &take, &leave], &handed_on(), schedule()).await
}

#[tokio::test]
async fn the_schedule_costs_the_same_for_ten_thousand_deployments() {
    let rollover = ["get authority ", "get sleep ", "take 99999", "get 99999 meta", "leave 99999"];
    for (running, place) in [(10, None), (10_000, Some("place Some(1000)"))] {
        let world = Shared::new(World { running, ..World::default() }.into());
        look(&world).await.unwrap();
        let looked: Vec<&str> =
            rollover.into_iter().chain(["joining", "get schedule running", "query"]).chain(place).collect();
        assert_eq!(world.lock().unwrap().calls, looked, "{running}");
    }
}

#[tokio::test]
async fn every_quiet_deployment_gets_its_turn_after_the_rollover() {
    let quiet = vec![3, 999, 1500, 2400];
    let world = Shared::new(World { running: 2500, quiet, ..World::default() }.into());
    for expected in [vec![ROLLOVER, 3, 999], vec![ROLLOVER, 1500], vec![ROLLOVER, 2400], vec![ROLLOVER, 3, 999]] {
        look(&world).await.unwrap();
        assert_eq!(world.lock().unwrap().conducted(), expected);
    }
}

#[tokio::test]
async fn a_deployment_that_cannot_be_conducted_blocks_no_other() {
    let world = Shared::new(World { running: 20, quiet: vec![3, 7], broken: Some(3), ..World::default() }.into());
    assert!(look(&world).await.is_err());
    assert_eq!(world.lock().unwrap().conducted(), [ROLLOVER, 3, 7]);
}

#[tokio::test]
async fn the_position_is_recorded_before_a_deployment_is_conducted() {
    let world = Shared::new(World { running: 20, quiet: vec![3, 7], ..World::default() }.into());
    look(&world).await.unwrap();
    let calls = std::mem::take(&mut world.lock().unwrap().calls);
    let calls: Vec<_> = calls.into_iter().skip_while(|call| call != "query").collect();
    let of = |job: u64| {
        [format!("place Some({job})"), format!("take {job}"), format!("get {job} meta"), format!("leave {job}")]
    };
    let expected: Vec<String> =
        ["query".to_owned()].into_iter().chain(of(3)).chain(of(7)).chain(["place None".to_owned()]).collect();
    assert_eq!(calls, expected);
}

#[tokio::test]
async fn a_throttled_job_is_handed_on_and_its_message_done() {
    let throttled = r#"{"__type":"ThrottlingException","message":"too fast"}"#;
    let read = mock!(Client::get_item).sequence();
    let read = (0..8).fold(read, |read, _| read.http_status(400, Some(throttled.to_owned()))).build();
    let sent = handed_on();
    let [take, leave] = leases(&Shared::default());
    let answer = wake(&[&read, &take, &leave], &sent, control()).await.unwrap();
    assert_eq!((take.num_calls(), leave.num_calls()), (1, 1), "nobody has to wait for the lease");
    assert!(answer.batch_item_failures.is_empty(), "{answer:?}");
    assert_eq!((read.num_calls(), sent.num_calls()), (8, 1));
}

/// Only the conductor may sign with a root's key. Several messages need one look; one that fails comes back.
#[tokio::test]
async fn a_message_about_a_roots_lists_leads_to_that_root() {
    let world = Shared::default();
    let ([get, query, write], [take, leave]) = (tables(&world), leases(&world));
    let message = |id: &str, body: serde_json::Value| json!({ "messageId": id, "body": body.to_string() });
    let records = json!({ "Records": [
        message("m-1", json!({ "listsOfRoot": 2 })), message("m-2", json!({ "listsOfRoot": 2 })),
        message("m-3", json!({ "listsOfRoot": -1 })), message("m-4", json!({ "job": 7, "why": "a test" })),
    ] });
    let asked = serde_json::from_value(records).unwrap();
    let answer = wake(&[&get, &query, &write, &take, &leave], &handed_on(), asked).await.unwrap();
    let failed: Vec<_> = answer.batch_item_failures.iter().map(|each| each.item_identifier.as_str()).collect();
    assert_eq!(failed, ["m-1", "m-2"], "there is no such root; what cannot be read is dropped");
    assert_eq!(world.lock().unwrap().calls, ["get root#0000000002 ", "take 7", "get 7 meta", "leave 7"]);
}

#[tokio::test]
async fn an_unreadable_record_fails_its_message() {
    let world = Shared::new(World { broken: Some(7), ..World::default() }.into());
    let ([get, query, write], [take, leave]) = (tables(&world), leases(&world));
    let sent = handed_on();
    let answer = wake(&[&get, &query, &write, &take, &leave], &sent, control()).await.unwrap();
    assert_eq!(answer.batch_item_failures[0].item_identifier, "m-1");
    assert_eq!(sent.num_calls(), 0);
}
