//! What the conductor is asked to renew.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::query::{QueryError, QueryOutput};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::error::ResourceNotFoundException;
use aws_sdk_sqs::operation::send_message::SendMessageOutput;
use aws_smithy_mocks::{MockResponse, Rule, RuleMode, mock, mock_client};
use rootcast_core::deployment::renewal::PercentLeft;
use rootcast_core::job::message::Renew;
use rootcast_events::Events;
use rootcast_ledger::Ledger;
use rootcast_queue::Queue;
use rotate::{App, handle};

use crate::heads::{names, signing};
use crate::{NOW, now};

/// A queue to which nobody writes.
pub(crate) fn nobody() -> Queue {
    let none: [&Rule; 0] = [];
    Queue::new(mock_client!(aws_sdk_sqs, RuleMode::MatchAny, &none))
}

#[derive(Default)]
struct World {
    /// Certificates in the index, by number: their shard, and when they are due.
    due: BTreeMap<u64, (i64, i64)>,
    broken: Option<i64>,
    /// Queries of the index.
    read: usize,
    /// The messages: certificates, and seconds of delay.
    asked: Vec<(Vec<u64>, i32)>,
}

fn index(world: &Arc<Mutex<World>>) -> Rule {
    let world = Arc::clone(world);
    let query = mock!(Client::query).match_requests(|request| request.index_name() == Some("by-renewal"));
    query.then_compute_response(move |request| {
        let mut world = world.lock().unwrap();
        world.read += 1;
        let values = request.expression_attribute_values().unwrap();
        let [shard, now] = [":shard", ":now"].map(|name| values[name].as_n().unwrap().parse::<i64>().unwrap());
        if world.broken == Some(shard) {
            let missing = ResourceNotFoundException::builder().build();
            return MockResponse::Error(QueryError::ResourceNotFoundException(missing));
        }
        let due = world.due.iter().filter(|(_, (of, at))| *of == shard && *at <= now);
        let id = |number: &u64| AttributeValue::S(format!("scs{number:013}"));
        let item = |(number, _): (&u64, &(i64, i64))| HashMap::from([("id".to_owned(), id(number))]);
        let limit = usize::try_from(request.limit().unwrap()).unwrap();
        MockResponse::Output(QueryOutput::builder().set_items(Some(due.take(limit).map(item).collect())).build())
    })
}

fn queue(world: &Arc<Mutex<World>>) -> Queue {
    let world = Arc::clone(world);
    let sent = mock!(aws_sdk_sqs::Client::send_message).then_compute_output(move |request| {
        assert_eq!(request.queue_url(), Some("control"));
        let Renew { renew } = serde_json::from_str(request.message_body().unwrap()).unwrap();
        let number = |id: &rootcast_core::inventory::id::CertificateId| id.to_string()[3..].parse().unwrap();
        let asked = (renew.iter().map(number).collect(), request.delay_seconds().unwrap());
        world.lock().unwrap().asked.push(asked);
        SendMessageOutput::builder().build()
    });
    Queue::new(mock_client!(aws_sdk_sqs, RuleMode::MatchAny, &[&sent]))
}

/// One run: whether it completed.
async fn run(world: &Arc<Mutex<World>>, percent: u8, an_hour: u32) -> bool {
    let ([heads, put], notary) = signing();
    let nothing = mock!(Client::query)
        .match_requests(|request| request.index_name() == Some("by-expiry"))
        .then_output(|| QueryOutput::builder().build());
    let counted = crate::counted();
    let rules = [&index(world), &nothing, &heads, &put, &counted];
    let no_bus: [&Rule; 0] = [];
    let app = App {
        ledger: Ledger::new(mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, &rules), names()),
        events: Events::new(mock_client!(aws_sdk_eventbridge, RuleMode::MatchAny, &no_bus), "bus"),
        notary,
        queue: queue(world),
        control_queue: "control".to_owned(),
        renewal: PercentLeft(percent),
        renewals_an_hour: an_hour,
        bucket: None,
        stack: "rootcast".to_owned(),
        clock: now,
    };
    handle(&app, SystemTime::from(now()) + Duration::from_secs(60)).await.is_ok()
}

fn world(certificates: impl IntoIterator<Item = (u64, i64, i64)>) -> Arc<Mutex<World>> {
    let at = |seconds| NOW.get() + seconds;
    let due = certificates.into_iter().map(|(number, shard, seconds)| (number, (shard, at(seconds)))).collect();
    Arc::new(Mutex::new(World { due, ..World::default() }))
}

#[tokio::test]
async fn an_hour_without_a_renewal_costs_sixteen_reads() {
    let world = world([(1, 3, 1)]);
    assert!(run(&world, 33, 100).await);
    let world = world.lock().unwrap();
    assert_eq!((world.read, world.asked.len()), (16, 0));
}

#[tokio::test]
async fn some_certificates_are_renewed_by_one_job() {
    let world = world((0..40).map(|number| (number, number as i64 % 16, 0)));
    assert!(run(&world, 33, 1000).await);
    let asked = std::mem::take(&mut world.lock().unwrap().asked);
    assert_eq!(asked.iter().map(|(some, _)| some.len()).collect::<Vec<_>>(), [18, 18, 4]);
    let mut all: Vec<u64> = asked.iter().flat_map(|(some, _)| some.clone()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..40).collect::<Vec<_>>());
    assert_eq!(asked.iter().map(|(_, delay)| *delay).collect::<Vec<_>>(), [0, 300, 600], "not all at once");
}

/// The conductor begins as many as the hour may have.
#[tokio::test]
async fn each_shards_share_is_asked_for_first() {
    let world = world((0..3200).map(|number| (number, number as i64 % 16, 0)));
    assert!(run(&world, 33, 320).await);
    let asked = std::mem::take(&mut world.lock().unwrap().asked);
    let all: Vec<u64> = asked.into_iter().flat_map(|(some, _)| some).collect();
    let mut shards = BTreeMap::<u64, usize>::new();
    all.iter().take(320).for_each(|number| *shards.entry(number % 16).or_default() += 1);
    assert_eq!(shards, (0..16).map(|shard| (shard, 20)).collect());
    assert_eq!(all.len(), 16 * 50, "no more than that");
}

/// The conductor cannot read the first one, hour after hour.
#[tokio::test]
async fn the_first_of_a_shard_does_not_hold_up_the_next() {
    let world = world([(1, 3, -9), (2, 3, 0)]);
    assert!(run(&world, 33, 16).await);
    assert_eq!(world.lock().unwrap().asked, [(vec![1, 2], 0)]);
}

#[tokio::test]
async fn nothing_is_looked_for_while_it_is_off() {
    let world = world([(1, 0, 0)]);
    assert!(run(&world, 0, 100).await);
    let world = world.lock().unwrap();
    assert_eq!((world.read, world.asked.len()), (0, 0));
}

#[tokio::test]
async fn a_shard_that_cannot_be_read_blocks_no_other() {
    let world = world([(1, 3, 0), (2, 4, 0)]);
    world.lock().unwrap().broken = Some(3);
    assert!(!run(&world, 33, 100).await);
    assert_eq!(world.lock().unwrap().asked, [(vec![2], 0)]);
}
