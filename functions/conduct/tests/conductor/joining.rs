//! Devices that were approved late: how many one wake-up sends, and what happens when it is interrupted.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput};
use aws_sdk_dynamodb::types::error::TransactionCanceledException;
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, TransactWriteItem};
use aws_sdk_sqs::operation::send_message_batch::{SendMessageBatchError, SendMessageBatchOutput};
use aws_sdk_sqs::types::error::InvalidBatchEntryId;
use aws_smithy_mocks::{MockResponse, Rule, mock};
use conduct::handle;
use rootcast_core::device::{Driver, Incarnation, Pin, Profile};
use rootcast_core::job::message::Task;
use rootcast_core::job::task::{Ack, Probe};
use rootcast_ledger::{DeviceRecord, Joining, ObservedTrustStore};
use rootcast_pki::fingerprint::Fingerprint;
use time::OffsetDateTime;

use crate::{Item, app, event, schedule, text};

/// The current bundle.
const BUNDLE: u64 = 3;

thread_local! {
    /// In seconds. Each test has its own thread.
    static NOW: Cell<i64> = const { Cell::new(1_000_000) };
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW.get()).unwrap()
}

fn later(seconds: i64) {
    NOW.set(NOW.get() + seconds);
}

/// The records that a wake-up reads and writes.
#[derive(Default)]
struct World {
    devices: BTreeMap<String, DeviceRecord>,
    /// By sort key.
    joining: BTreeMap<String, Item>,
    sent: Vec<Task>,
    /// A rollover starts after this many pages.
    pages_until_rollover: Option<usize>,
    /// Another conductor moves this device first.
    raced: Option<String>,
    /// The process dies after sending this many messages.
    lives_for: Option<usize>,
}

type Shared = Arc<Mutex<World>>;

fn sort_key(item: &Item) -> String {
    item["sk"].as_s().unwrap().clone()
}

impl World {
    /// `count` devices that were just approved.
    fn approved(count: usize) -> Shared {
        let mut world = Self::default();
        for index in 0..count {
            let id = format!("bmc-{index:05}");
            let (address, credential) = ("https://10.0.0.7".parse().unwrap(), "/rootcast/bmc".to_owned());
            let incarnation = Incarnation::from_random([1; 16]);
            let mut device = DeviceRecord::new(
                id.parse().unwrap(),
                incarnation,
                address,
                Driver::Redfish,
                Profile::Openbmc,
                credential,
            );
            device.pins = vec![Pin::Key(Fingerprint::from_bytes([1; 32]))];
            let joining = Joining { device: device.id.clone(), version: device.version(), tries: 0, due: now() };
            let sort = format!("{:012}#{id}", NOW.get());
            let mut item: Item = serde_dynamo::to_item(&joining).unwrap();
            item.extend([("pk".to_owned(), text("joining")), ("sk".to_owned(), text(&sort))]);
            world.joining.insert(sort, item);
            world.devices.insert(id, device);
        }
        Arc::new(Mutex::new(world))
    }

    /// Devices of the messages sent since the last call.
    fn sent(&mut self) -> Vec<String> {
        let mut sent: Vec<String> = std::mem::take(&mut self.sent).iter().map(|task| task.device.to_string()).collect();
        sent.sort_unstable();
        sent
    }

    fn ids(&self) -> Vec<String> {
        self.devices.keys().cloned().collect()
    }

    /// All devices get the current bundle.
    fn proves_all(&mut self) {
        for device in self.devices.values_mut() {
            let sha256 = Fingerprint::from_bytes([1; 32]);
            let ack = Ack { of: device.version(), at: now(), bundle_version: BUNDLE, sha256, probe: Probe::ReadBack };
            device.held = Some(ObservedTrustStore { ack: Some(ack), failure: None, at: now() });
        }
    }

    fn page(&mut self, before: &str, limit: i32) -> Vec<Item> {
        assert!(limit <= 50, "a transaction takes no more");
        self.pages_until_rollover = self.pages_until_rollover.map(|pages| pages.saturating_sub(1));
        let due = self.joining.range(..before.to_owned()).map(|(_, item)| item.clone());
        due.take(limit.try_into().unwrap()).collect()
    }

    fn transact(&mut self, writes: &[TransactWriteItem]) -> bool {
        if let Some(raced) = self.raced.take() {
            self.joining.retain(|sort, _| !sort.ends_with(&raced));
        }
        let gone: Vec<String> = writes.iter().filter_map(|write| Some(sort_key(write.delete()?.key()))).collect();
        let holds = gone.iter().all(|sort| self.joining.contains_key(sort));
        if holds {
            self.joining.retain(|sort, _| !gone.contains(sort));
            let put = writes.iter().filter_map(|write| Some(write.put()?.item().clone()));
            self.joining.extend(put.map(|item| (sort_key(&item), item)));
        }
        holds
    }
}

fn tables(world: &Shared) -> [Rule; 5] {
    let on = || Arc::clone(world);
    let (read, listed, records, written, removed) = (on(), on(), on(), on(), on());
    let get = mock!(Client::get_item).then_compute_output(move |request| {
        let is_authority = request.key().unwrap().get("id") == Some(&text("authority"));
        let runs = read.lock().unwrap().pages_until_rollover == Some(0);
        let item = is_authority.then(|| {
            let running = runs.then(|| ("running".to_owned(), AttributeValue::N("7".to_owned())));
            let bundle = ("bundle".to_owned(), AttributeValue::N(BUNDLE.to_string()));
            let expires = (now() + time::Duration::days(30)).unix_timestamp();
            let expires = ("bundleExpires".to_owned(), AttributeValue::N(expires.to_string()));
            running.into_iter().chain([bundle, expires]).collect()
        });
        GetItemOutput::builder().set_item(item).build()
    });
    let query = mock!(Client::query).then_compute_output(move |request| {
        let values = request.expression_attribute_values().unwrap();
        let due = values.contains_key(":joining").then(|| {
            let before = values[":now"].as_s().unwrap();
            listed.lock().unwrap().page(before, request.limit().unwrap())
        });
        QueryOutput::builder().set_items(due).build()
    });
    let batch = mock!(Client::batch_get_item).then_compute_output(move |request| {
        let keys = request.request_items().unwrap()["devices"].keys();
        let world = records.lock().unwrap();
        let found = keys.iter().filter_map(|key| world.devices.get(key["id"].as_s().unwrap()));
        let found: Vec<Item> = found.map(|device| serde_dynamo::to_item(device).unwrap()).collect();
        BatchGetItemOutput::builder().responses("devices", found).build()
    });
    let write = mock!(Client::transact_write_items).then_compute_response(move |request| {
        if written.lock().unwrap().transact(request.transact_items()) {
            return MockResponse::Output(TransactWriteItemsOutput::builder().build());
        }
        let reason = CancellationReason::builder().code("ConditionalCheckFailed").build();
        let cancelled = TransactionCanceledException::builder().cancellation_reasons(reason).build();
        MockResponse::Error(TransactWriteItemsError::TransactionCanceledException(cancelled))
    });
    let delete = mock!(Client::delete_item).then_compute_output(move |request| {
        removed.lock().unwrap().joining.remove(&sort_key(request.key().unwrap()));
        DeleteItemOutput::builder().build()
    });
    [get, query, batch, write, delete]
}

fn queue(world: &Shared) -> Rule {
    let world = Arc::clone(world);
    mock!(aws_sdk_sqs::Client::send_message_batch).then_compute_response(move |request| {
        let mut world = world.lock().unwrap();
        if world.lives_for.is_some_and(|most| world.sent.len() >= most) {
            let dead = InvalidBatchEntryId::builder().build();
            return MockResponse::Error(SendMessageBatchError::InvalidBatchEntryId(dead));
        }
        let tasks = request.entries().iter().map(|entry| serde_json::from_str(entry.message_body()).unwrap());
        world.sent.extend(tasks);
        let answer = SendMessageBatchOutput::builder().set_successful(Some(Vec::new())).set_failed(Some(Vec::new()));
        MockResponse::Output(answer.build().unwrap())
    })
}

/// One wake-up with this many seconds. Returns whether it completed.
async fn look_within(world: &Shared, seconds: u64) -> bool {
    let tables = tables(world);
    let rules: Vec<&Rule> = tables.iter().collect();
    let app = app(&rules, &queue(world), now);
    handle(&app, event(schedule(), now(), Duration::from_secs(seconds))).await.is_ok()
}

async fn look(world: &Shared) {
    assert!(look_within(world, 60).await);
}

#[tokio::test]
async fn hundreds_of_late_devices_are_sent_in_one_wake_up() {
    let world = World::approved(730);
    look(&world).await;
    let ids = world.lock().unwrap().ids();
    assert_eq!(world.lock().unwrap().sent(), ids);
    later(599);
    look(&world).await;
    assert!(world.lock().unwrap().sent().is_empty(), "they have ten minutes");
    world.lock().unwrap().proves_all();
    later(1);
    look(&world).await;
    assert!(world.lock().unwrap().sent().is_empty());
    assert!(world.lock().unwrap().joining.is_empty(), "all are done");
}

#[tokio::test]
async fn one_wake_up_sends_a_bounded_number_of_messages() {
    let world = World::approved(5120);
    for expected in [5000, 120, 0] {
        look(&world).await;
        assert_eq!(world.lock().unwrap().sent().len(), expected);
    }
}

#[tokio::test]
async fn a_conductor_that_dies_causes_no_early_resend() {
    let world = World::approved(320);
    world.lock().unwrap().lives_for = Some(120);
    assert!(!look_within(&world, 60).await);
    world.lock().unwrap().lives_for = None;
    let before = world.lock().unwrap().sent();
    assert!(before.len() < 150, "{}", before.len());
    look(&world).await;
    let after = world.lock().unwrap().sent();
    assert!(before.iter().all(|device| !after.contains(device)), "sent twice");
    assert_eq!(after.len(), 320 - 150, "of its last page none is sent again yet");
    later(600);
    look(&world).await;
    let ids = world.lock().unwrap().ids();
    assert_eq!(world.lock().unwrap().sent(), ids, "nobody is forgotten");
}

#[tokio::test]
async fn a_device_moved_by_another_conductor_blocks_no_other() {
    let world = World::approved(70);
    world.lock().unwrap().raced = Some("bmc-00007".to_owned());
    look(&world).await;
    let others: Vec<String> = world.lock().unwrap().ids().into_iter().filter(|id| id != "bmc-00007").collect();
    assert_eq!(world.lock().unwrap().sent(), others);
}

#[tokio::test]
async fn joining_stops_when_a_rollover_starts() {
    let world = World::approved(320);
    world.lock().unwrap().pages_until_rollover = Some(3);
    look(&world).await;
    assert_eq!(world.lock().unwrap().sent().len(), 100);
}

#[tokio::test]
async fn without_time_devices_are_left_to_the_next_wake_up() {
    let world = World::approved(10);
    assert!(look_within(&world, 0).await);
    assert!(world.lock().unwrap().sent().is_empty());
    look(&world).await;
    assert_eq!(world.lock().unwrap().sent().len(), 10);
}
