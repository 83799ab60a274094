//! Notices of expiring certificates: for which ones, and when again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::query::{QueryError, QueryOutput};
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::error::ResourceNotFoundException;
use aws_sdk_eventbridge::operation::put_events::PutEventsOutput;
use aws_sdk_eventbridge::types::PutEventsResultEntry;
use aws_smithy_mocks::{MockResponse, Rule, RuleMode, mock, mock_client};
use rootcast_core::deployment::renewal::PercentLeft;
use rootcast_events::Events;
use rootcast_ledger::Ledger;
use rotate::{App, handle};
use serde_json::Value;

use crate::heads::{names, signing};
use crate::{NOW, later, now};

const DAY: i64 = 24 * 3600;
/// Certificates per page.
const PAGE: usize = 2;

struct Row {
    shard: i64,
    not_after: i64,
    noticed: Option<i64>,
    folder: &'static str,
    /// Whether it was given a time of renewal.
    planned: bool,
}

#[derive(Default)]
struct World {
    certificates: BTreeMap<String, Row>,
    /// Certificates whose events EventBridge refuses.
    refused: Vec<String>,
    /// This shard cannot be read.
    broken: Option<i64>,
    /// The events that EventBridge accepted: certificate, and days before its end.
    told: Vec<(String, u64)>,
}

type Shared = Arc<Mutex<World>>;

fn id(number: usize) -> String {
    format!("scs{number:013}")
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn amount(value: &AttributeValue) -> i64 {
    value.as_n().unwrap().parse().unwrap()
}

impl World {
    /// A certificate for each element of `days`, with that many days left.
    fn of(shard: i64, days: &[i64]) -> Self {
        let row = |days: &i64| Row {
            shard,
            not_after: NOW.get() + days * DAY,
            noticed: None,
            folder: "Certificates",
            planned: false,
        };
        Self { certificates: (1..).map(id).zip(days.iter().map(row)).collect(), ..Self::default() }
    }

    fn shared(self) -> Shared {
        Arc::new(Mutex::new(self))
    }

    fn page(&self, shard: i64, from: i64, to: i64, after: &str) -> QueryOutput {
        let mut due = self
            .certificates
            .iter()
            .filter(|(id, row)| row.shard == shard && (from..=to).contains(&row.not_after) && id.as_str() > after);
        let item = |(id, row): (&String, &Row)| {
            let text = |value: &str| AttributeValue::S(value.to_owned());
            let known = [
                ("id", text(id)),
                ("folder", text(row.folder)),
                ("name", text("certificate")),
                ("notAfter", number(row.not_after)),
            ];
            let known = known.into_iter().chain(row.noticed.map(|days| ("noticed", number(days))));
            known.map(|(name, value)| (name.to_owned(), value)).collect::<HashMap<_, _>>()
        };
        let page: Vec<_> = due.by_ref().take(PAGE).map(item).collect();
        let next = page.last().filter(|_| due.next().is_some()).cloned();
        QueryOutput::builder().set_items(Some(page)).set_last_evaluated_key(next).build()
    }
}

fn tables(world: &Shared) -> [Rule; 2] {
    let (read, written) = (Arc::clone(world), Arc::clone(world));
    let query = mock!(Client::query).match_requests(|request| request.table_name() == Some("certificates"));
    let query = query.then_compute_response(move |request| {
        let (world, values) = (read.lock().unwrap(), request.expression_attribute_values().unwrap());
        let [shard, from, to] = [":shard", ":from", ":to"].map(|name| amount(&values[name]));
        if world.broken == Some(shard) {
            let missing = ResourceNotFoundException::builder().build();
            return MockResponse::Error(QueryError::ResourceNotFoundException(missing));
        }
        let after = request.exclusive_start_key().map_or("", |key| key["id"].as_s().unwrap());
        MockResponse::Output(world.page(shard, from, to, after))
    });
    let update = mock!(Client::update_item).then_compute_output(move |request| {
        let mut world = written.lock().unwrap();
        let row = world.certificates.get_mut(request.key().unwrap()["id"].as_s().unwrap()).unwrap();
        row.noticed = Some(amount(&request.expression_attribute_values().unwrap()[":days"]));
        row.planned |= request.update_expression().unwrap().contains("renewAt = if_not_exists(renewAt, :now)");
        UpdateItemOutput::builder().build()
    });
    [query, update]
}

fn bus(world: &Shared) -> Rule {
    let world = Arc::clone(world);
    mock!(aws_sdk_eventbridge::Client::put_events).then_compute_output(move |request| {
        let mut world = world.lock().unwrap();
        let mut take = |detail: &str| {
            let detail: Value = serde_json::from_str(detail).unwrap();
            let id = detail["certificateId"].as_str().unwrap().to_owned();
            if world.refused.contains(&id) {
                return PutEventsResultEntry::builder().error_code("InternalFailure").build();
            }
            world.told.push((id, detail["days"].as_u64().unwrap()));
            PutEventsResultEntry::builder().event_id("1").build()
        };
        let results = request.entries().iter().map(|entry| take(entry.detail().unwrap())).collect();
        PutEventsOutput::builder().set_entries(Some(results)).build()
    })
}

/// One run with this many seconds. Returns whether it completed, and the accepted events in order of their
/// certificates.
async fn run_within(world: &Shared, seconds: u64) -> (bool, Vec<(String, u64)>) {
    let [query, update] = tables(world);
    let ([heads, put], notary) = signing();
    let counted = crate::counted();
    let rules = [&query, &update, &heads, &put, &counted];
    let app = App {
        ledger: Ledger::new(mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, &rules), names()),
        events: Events::new(mock_client!(aws_sdk_eventbridge, RuleMode::MatchAny, &[&bus(world)]), "bus"),
        notary,
        queue: crate::renewals::nobody(),
        control_queue: "control".to_owned(),
        renewal: PercentLeft(0),
        renewals_an_hour: 100,
        bucket: None,
        stack: "rootcast".to_owned(),
        clock: now,
    };
    let done = handle(&app, SystemTime::from(now()) + Duration::from_secs(seconds)).await.is_ok();
    let mut told = std::mem::take(&mut world.lock().unwrap().told);
    told.sort_unstable();
    (done, told)
}

async fn run(world: &Shared) -> Vec<(String, u64)> {
    let (done, told) = run_within(world, 60).await;
    assert!(done);
    told
}

#[tokio::test]
async fn a_certificate_has_one_notice_per_threshold() {
    let world = World::of(3, &[31]).shared();
    for (wait, days) in [(0, None), (1, Some(30)), (14, None), (1, Some(15)), (8, Some(7)), (6, Some(1)), (2, None)] {
        later(wait * DAY);
        let expected: Vec<_> = days.map(|days| (id(1), days)).into_iter().collect();
        assert_eq!(run(&world).await, expected, "after {wait} more days");
        later(3600);
        assert_eq!(run(&world).await, [], "an hour later");
        later(-3600);
    }
}

#[tokio::test]
async fn every_page_of_a_shard_is_read() {
    let world = World::of(0, &[20; 2 * PAGE + 1]).shared();
    let all: Vec<_> = (1..=2 * PAGE + 1).map(|number| (id(number), 30)).collect();
    assert_eq!(run(&world).await, all);
}

#[tokio::test]
async fn the_next_run_continues_where_time_ran_out() {
    let world = World::of(0, &[20; PAGE + 1]).shared();
    let (done, told) = run_within(&world, 0).await;
    assert!(done);
    assert_eq!(told, [(id(1), 30), (id(2), 30)]);
    assert_eq!(run(&world).await, [(id(3), 30)]);
}

#[tokio::test]
async fn a_refused_event_is_sent_again_by_the_next_run() {
    let world = World::of(0, &[20, 20]).shared();
    world.lock().unwrap().refused = vec![id(1)];
    assert_eq!(run(&world).await, [(id(2), 30)]);
    world.lock().unwrap().refused.clear();
    assert_eq!(run(&world).await, [(id(1), 30)], "and the other one not again");
}

#[tokio::test]
async fn an_unreadable_shard_blocks_no_other() {
    let world = World { broken: Some(0), ..World::of(15, &[20]) }.shared();
    assert_eq!(run_within(&world, 60).await, (false, vec![(id(1), 30)]));
}

/// A certificate from before there were times of renewal.
#[tokio::test]
async fn a_devices_own_certificate_is_due_with_its_notice() {
    let mut world = World::of(0, &[20; 4]);
    for (row, folder) in world.certificates.values_mut().zip([r"Devices\bmc-1", "Devices", r"Devices\a\b", "Servers"]) {
        row.folder = folder;
    }
    let world = world.shared();
    assert_eq!(run(&world).await.len(), 4);
    let planned: Vec<bool> = world.lock().unwrap().certificates.values().map(|row| row.planned).collect();
    assert_eq!(planned, [true, false, false, false]);
}
