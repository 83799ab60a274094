//! How fast messages leave and certificates are signed, beside the SDK alone, which does the same sends, writes and signatures
//! on the same services. In virtual time, so that only calls after each other count; and the processor's time for sending.

use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA384, digest};
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures::stream;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::clock;
use crate::dynamo::JOBS;
use crate::fleet::{AT_ONCE, ISSUERS, enrolled, id};
use crate::openbmc::Mood;
use crate::queues::url;
use crate::world::{REAL, Setting, World};

/// As the queue's crate sends.
const BATCH: usize = 10;
const CALLS: usize = 8;
/// Most devices between two records of how far it is.
const PAGE: usize = 1000;
/// Messages that the issuers have at once.
const AT_KMS: usize = ISSUERS * BATCH;
const LOOK: Duration = Duration::from_millis(10);

/// How long each side took.
#[derive(Debug, Clone, Copy)]
pub struct Beside {
    pub ours: Duration,
    pub bare: Duration,
    /// In real time.
    pub our_work: Duration,
    pub bare_work: Duration,
}

impl Beside {
    /// Our rate as a part of the other.
    pub fn ratio(&self) -> f64 {
        self.bare.as_secs_f64() / self.ours.as_secs_f64()
    }

    pub fn work_ratio(&self) -> f64 {
        self.bare_work.as_secs_f64() / self.our_work.as_secs_f64()
    }
}

async fn timed(work: impl Future<Output = ()>) -> (Duration, Duration) {
    let (age, real) = (clock::age(), Instant::now());
    work.await;
    (clock::age() - age, real.elapsed())
}

/// A job's tasks to its devices, all in one wave after a canary of one shard's first.
pub fn sending(devices: u32) -> Beside {
    let setting = Setting { pace: REAL, workers: 0, issuers: 0, is_watched: false };
    World::live_in(setting, 1, async move |world| {
        enrolled(&world, devices, |_| Mood::Well).await;
        let wave = format!("?canary={devices}&largestWave={devices}");
        world.regenerate(&wave).await.unwrap();
        let all = usize::try_from(devices).unwrap();
        while world.cloud.queues.waiting("task") == 0 {
            sleep(LOOK).await;
        }
        let sent = world.cloud.queues.waiting("task");
        let (ours, our_work) = timed(async {
            while world.cloud.queues.waiting("task") < all {
                sleep(LOOK).await;
            }
        })
        .await;
        let (bare, bare_work) = timed(send_bare(&world, all - sent)).await;
        Beside { ours, bare, our_work, bare_work }
    })
}

/// The record of each page with its counter, and then its messages.
async fn send_bare(world: &World, devices: usize) {
    let (database, queue, _) = world.functions.bare();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let record = "x".repeat(1500);
    let pages = (0..devices).step_by(PAGE);
    for (number, from) in pages.enumerate() {
        let put = Put::builder().table_name(JOBS).item("pk", text("bare")).item("sk", text("meta"));
        let put = put.item("record", text(&record)).item("revision", text(&number.to_string()));
        let is_first = number == 0;
        let condition = if is_first { "attribute_not_exists(pk)" } else { "revision = :read" };
        let read = number.checked_sub(1).map(|read| text(&read.to_string()));
        let put = put.condition_expression(condition);
        let put = match read {
            Some(read) => put.expression_attribute_values(":read", read),
            None => put,
        };
        let counters = Update::builder().table_name(JOBS).key("pk", text(&format!("bare#{number}")));
        let counters = counters.key("sk", text("counters")).update_expression("ADD dispatched :n");
        let counters = counters.expression_attribute_values(":n", AttributeValue::N("1".to_owned()));
        let writes = vec![
            TransactWriteItem::builder().put(put.build().unwrap()).build(),
            TransactWriteItem::builder().update(counters.build().unwrap()).build(),
        ];
        database.transact_write_items().set_transact_items(Some(writes)).send().await.unwrap();
        let to = devices.min(from + PAGE);
        let numbers: Vec<usize> = (from..to).collect();
        stream::iter(numbers.chunks(BATCH).map(Ok))
            .try_for_each_concurrent(CALLS, |some| {
                let body = |number: &usize| {
                    json!({ "job": 1, "leg": "distribute", "device": id(u32::try_from(*number).unwrap()), "attempt": 1, "wave": 1 })
                };
                let entry = |(index, number): (usize, &usize)| {
                    let entry = SendMessageBatchRequestEntry::builder().id(index.to_string());
                    entry.message_body(body(number).to_string()).build().unwrap()
                };
                let entries = some.iter().enumerate().map(entry).collect();
                let call = queue.send_message_batch().queue_url(url("task")).set_entries(Some(entries));
                async move { call.send().await.map(|_| ()) }
            })
            .await
            .unwrap();
    }
}

/// Device certificates, from the requests to the last signature.
pub fn issuing(devices: u32) -> Beside {
    let setting = Setting { pace: REAL, workers: 50, issuers: 0, is_watched: false };
    World::live_in(setting, 1, async move |world| {
        enrolled(&world, devices, |_| Mood::Well).await;
        let first = world.regenerate("").await.unwrap();
        world.ended(first).await;
        stream::iter(1..=devices)
            .for_each_concurrent(AT_ONCE, async |number| {
                world.must("POST", &format!("/devices/{}/certificate", id(number)), Value::Null).await;
            })
            .await;
        let all = u64::from(devices);
        while (world.cloud.queues.waiting("issue") as u64) < all {
            sleep(LOOK).await;
        }
        let before = world.cloud.keys.signatures("issuing");
        let (ours, our_work) = timed(async {
            world.serve_issuers(ISSUERS);
            while world.cloud.keys.signatures("issuing") < before + all {
                sleep(LOOK).await;
            }
        })
        .await;
        let (_, _, kms) = world.functions.bare();
        let key = world.cloud.keys.one("issuing").unwrap();
        let message = Blob::new(digest(&SHA384, b"a certificate").as_ref());
        let (bare, bare_work) = timed(async {
            stream::iter(0..devices)
                .for_each_concurrent(AT_KMS, async |_| {
                    let sign = kms.sign().key_id(&key).message(message.clone()).message_type(MessageType::Digest);
                    sign.signing_algorithm(SigningAlgorithmSpec::EcdsaSha384).send().await.unwrap();
                })
                .await;
        })
        .await;
        Beside { ours, bare, our_work, bare_work }
    })
}

#[test]
fn sending_and_signing_are_measured_beside_the_sdk() {
    let (sending, issuing) = (sending(400), issuing(200));
    let work = [sending.work_ratio(), issuing.work_ratio()];
    assert!(sending.ratio() > 0.3 && issuing.ratio() > 0.02 && work[0] > 0.0, "{sending:?} {issuing:?} {work:?}");
}
