//! A job's lease: one conductor holds it at a time, releases it, looks again after a wake-up, and passes no gate
//! without it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::delete_item::{DeleteItemError, DeleteItemOutput};
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::PutItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::error::{ConditionalCheckFailedException, TransactionCanceledException};
use aws_sdk_dynamodb::types::{CancellationReason, Put, TransactWriteItem};
use aws_sdk_sqs::operation::send_message::SendMessageOutput;
use aws_smithy_mocks::{MockResponse, Rule, mock};
use conduct::handle;
use rootcast_core::deployment::lifecycle::{Lifecycle, Work};
use rootcast_core::job::{Activation, Job, JobId, JobOutcome, JobState, NewJob, Phase};
use rootcast_core::rollover::generation::GenerationState;
use rootcast_core::rollover::rollout::Rollout;
use rootcast_ledger::RootRecord;
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::root::{RootSpec, Serial};
use time::OffsetDateTime;

use crate::{Item, app, control, event, number, text};

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const MINUTE: Duration = Duration::from_secs(60);
/// The owner in `event`.
const US: &str = "this conductor";

#[derive(Debug, PartialEq, Eq)]
struct Lease {
    owner: String,
    until: i64,
    wakes: u64,
}

/// The rows of one job.
#[derive(Default)]
struct World {
    job: Item,
    root: Item,
    lease: Option<Lease>,
    /// How often the job was read.
    looks: usize,
    /// What happens while the job is read for the first time.
    meanwhile: Option<fn(&mut Lease)>,
    /// The rows that each transaction wrote or checked.
    writes: Vec<String>,
    sent: Vec<String>,
}

#[derive(Clone)]
struct Tables(Arc<Mutex<World>>);

fn lease(owner: &str, until: i64) -> Lease {
    Lease { owner: owner.to_owned(), until, wakes: 0 }
}

fn job() -> Job {
    let new = NewJob {
        id: JobId(7),
        generation: 2,
        old_generation: None,
        activation: Activation::Proven,
        rollout: Rollout::default(),
        until: Phase::Activate,
        requested_for: None,
    };
    Job::new(new, NOW)
}

/// A published root, which is no longer live once it is withdrawn.
fn root() -> RootRecord {
    let spec = RootSpec {
        generation: 2,
        root_name: "Rootcast Root".to_owned(),
        subject: "C=DE".parse().unwrap(),
        algorithm: KeyAlgorithm::EcdsaP256,
        serial: Serial::from_random([1; 16]),
        not_before: NOW,
        not_after: NOW,
        permitted: Default::default(),
        crl: None,
    };
    RootRecord {
        revision: 3,
        generation: 2,
        state: GenerationState::Published,
        spec,
        key: None,
        key_made: None,
        tbs: None,
        certificate: None,
        new_with_old: None,
        old_with_new: None,
        last_issuing: 0,
        retirement: None,
        compromise: None,
        lifecycle: Lifecycle::idle(Work::Root, ""),
        created: NOW,
    }
}

impl Tables {
    fn of(job: &Job) -> Self {
        let mut item: Item = serde_dynamo::to_item(job).unwrap();
        item.extend([("pk".to_owned(), text("7")), ("sk".to_owned(), text("meta"))]);
        let root = serde_dynamo::to_item(root()).unwrap();
        Self(Arc::new(Mutex::new(World { job: item, root, ..World::default() })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn job(&self) -> Job {
        serde_dynamo::from_item(self.world().job.clone()).unwrap()
    }

    /// Wakes a conductor that has this much time left. Returns whether its message is done.
    async fn wake(&self, left: Duration) -> bool {
        let ([get, batch, query, write, put], [change, leave]) = (self.rows(), self.leases());
        let app = app(&[&get, &batch, &query, &write, &put, &change, &leave], &self.queue(), || NOW);
        handle(&app, event(control(), NOW, left)).await.unwrap().batch_item_failures.is_empty()
    }

    fn rows(&self) -> [Rule; 5] {
        let (read, some, written, alone) = (self.clone(), self.clone(), self.clone(), self.clone());
        let get = mock!(Client::get_item).then_compute_output(move |request| {
            let (mut world, key) = (read.world(), request.key().unwrap());
            let id = key.get("id").or(key.get("sk")).unwrap().as_s().unwrap();
            let item = match id.as_str() {
                "meta" => {
                    world.looks += 1;
                    let meanwhile = world.meanwhile.take();
                    if let (Some(happens), Some(held)) = (meanwhile, &mut world.lease) {
                        happens(held);
                    }
                    Some(world.job.clone())
                }
                "authority" => {
                    let known =
                        [("revision", 1), ("running", 7), ("bundle", 2), ("firstGeneration", 2), ("lastGeneration", 2)];
                    Some(known.map(|(name, value)| (name.to_owned(), number(value))).into())
                }
                root if root.starts_with("root#") => Some(world.root.clone()),
                _ => None,
            };
            GetItemOutput::builder().set_item(item).build()
        });
        let batch = mock!(Client::batch_get_item).then_compute_output(move |request| {
            let roots = request.request_items().unwrap().contains_key("certificates");
            let found = if roots { vec![some.world().root.clone()] } else { Vec::new() };
            BatchGetItemOutput::builder().responses("certificates", found).build()
        });
        let query = mock!(Client::query).then_output(|| QueryOutput::builder().build());
        let write = mock!(Client::transact_write_items).then_compute_response(move |request| {
            if written.world().transact(request.transact_items()) {
                return MockResponse::Output(TransactWriteItemsOutput::builder().build());
            }
            let reason = CancellationReason::builder().code("ConditionalCheckFailed").build();
            let cancelled = TransactionCanceledException::builder().cancellation_reasons(reason).build();
            MockResponse::Error(TransactWriteItemsError::TransactionCanceledException(cancelled))
        });
        let put = mock!(Client::put_item).then_compute_output(move |request| {
            let put = Put::builder().table_name("jobs").set_item(request.item().cloned()).build().unwrap();
            assert!(alone.world().transact(&[TransactWriteItem::builder().put(put).build()]));
            PutItemOutput::builder().build()
        });
        [get, batch, query, write, put]
    }

    /// Takes the lease, notifies its holder, and releases it.
    fn leases(&self) -> [Rule; 2] {
        let (changed, left) = (self.clone(), self.clone());
        let change = mock!(Client::update_item).then_compute_response(move |request| {
            let (mut world, values) = (changed.world(), request.expression_attribute_values().unwrap());
            let seconds = |name: &str| values[name].as_n().unwrap().parse::<i64>().unwrap();
            let owner = values.get(":owner").map(|owner| owner.as_s().unwrap().as_str());
            let held = world.lease.as_ref();
            let is_held = held.is_some_and(|held| values.get(":now").is_none() || held.until > seconds(":now"));
            let is_ours = held.is_some_and(|held| Some(held.owner.as_str()) == owner);
            let holds = match request.update_expression().unwrap() {
                "ADD wakes :one" => is_held,
                "SET wakes = :none" => is_ours,
                _ => !is_held || is_ours,
            };
            if !holds {
                let refused = ConditionalCheckFailedException::builder().build();
                return MockResponse::Error(UpdateItemError::ConditionalCheckFailedException(refused));
            }
            match (request.update_expression().unwrap(), &mut world.lease) {
                ("ADD wakes :one", Some(held)) => held.wakes += 1,
                ("SET wakes = :none", Some(held)) => held.wakes = 0,
                (_, free) => *free = Some(lease(owner.unwrap(), seconds(":until"))),
            }
            MockResponse::Output(UpdateItemOutput::builder().build())
        });
        let leave = mock!(Client::delete_item).then_compute_response(move |_| {
            let mut world = left.world();
            if world.lease.as_ref().is_some_and(|held| held.owner == US && held.wakes == 0) {
                world.lease = None;
                return MockResponse::Output(DeleteItemOutput::builder().build());
            }
            let refused = ConditionalCheckFailedException::builder().build();
            MockResponse::Error(DeleteItemError::ConditionalCheckFailedException(refused))
        });
        [change, leave]
    }

    fn queue(&self) -> Rule {
        let tables = self.clone();
        mock!(aws_sdk_sqs::Client::send_message).then_compute_output(move |request| {
            tables.world().sent.push(request.message_body().unwrap().to_owned());
            SendMessageOutput::builder().build()
        })
    }
}

impl World {
    /// Applies all writes or none.
    fn transact(&mut self, writes: &[TransactWriteItem]) -> bool {
        let (mut names, mut rows) = (Vec::new(), Vec::new());
        for write in writes {
            if let Some(check) = write.condition_check() {
                let is_lease = check.key()["sk"] == text("conductor");
                let owner = check.expression_attribute_values().and_then(|values| values.get(":owner"));
                if is_lease && self.lease.as_ref().map(|held| text(&held.owner)).as_ref() != owner {
                    return false;
                }
                names.push(if is_lease { "lease" } else { "fleet" });
            }
            let Some(put) = write.put() else { continue };
            let key = put.item().get("sk").or(put.item().get("id")).unwrap().as_s().unwrap();
            names.push(match key.split('#').next().unwrap() {
                "meta" => "job",
                "authority" => "authority",
                "root" => "root",
                "bundle" => "bundle",
                _ => continue,
            });
            rows.push((key, put.item()));
        }
        for (key, row) in rows {
            match key.as_str() {
                "meta" => self.job = row.clone(),
                root if root.starts_with("root#") => self.root = row.clone(),
                _ => {}
            }
        }
        names.dedup();
        self.writes.push(names.join(", "));
        true
    }
}

#[tokio::test]
async fn without_time_a_conductor_hands_on_and_keeps_no_lease() {
    let tables = Tables::of(&job());
    assert!(tables.wake(Duration::from_secs(5)).await);
    let world = tables.world();
    assert_eq!((world.looks, &world.lease), (0, &None));
    assert_eq!(world.sent, [r#"{"job":7,"why":"to be continued"}"#]);
}

#[tokio::test]
async fn a_wake_up_during_the_work_causes_another_look() {
    let tables = Tables::of(&Job { state: JobState::Paused, ..job() });
    tables.world().meanwhile = Some(|held| held.wakes += 1);
    assert!(tables.wake(MINUTE).await);
    let world = tables.world();
    assert_eq!((world.looks, &world.lease), (2, &None));
}

#[tokio::test]
async fn a_wake_up_at_the_end_does_not_keep_the_lease() {
    let tables = aborted();
    tables.world().meanwhile = Some(|held| {
        held.wakes += 1;
        std::thread::sleep(Duration::from_millis(200));
    });
    assert!(tables.wake(Duration::from_millis(5100)).await);
    let world = tables.world();
    assert_eq!((world.looks, &world.lease, world.sent.len()), (1, &None, 1));
}

#[tokio::test]
async fn a_conductor_that_finds_a_lease_only_notifies_its_holder() {
    let tables = Tables::of(&job());
    tables.world().lease = Some(lease("another", 10));
    assert!(tables.wake(MINUTE).await);
    let world = tables.world();
    assert_eq!((world.looks, world.sent.len()), (0, 0));
    assert_eq!(world.lease, Some(Lease { wakes: 1, ..lease("another", 10) }));
}

#[tokio::test]
async fn an_expired_lease_is_taken() {
    let tables = Tables::of(&Job { state: JobState::Paused, ..job() });
    tables.world().lease = Some(lease("dead", 0));
    assert!(tables.wake(MINUTE).await);
    let world = tables.world();
    assert_eq!((world.looks, &world.lease), (1, &None));
}

/// A rollover whose abort was requested, over a fleet without devices.
fn aborted() -> Tables {
    let mut job = job();
    job.publish(2);
    job.distribute(NOW);
    job.abort_requested = true;
    Tables::of(&job)
}

#[tokio::test]
async fn a_gate_is_passed_on_condition_of_the_lease() {
    let tables = aborted();
    assert!(tables.wake(MINUTE).await);
    assert_eq!(tables.job().outcome, Some(JobOutcome::Aborted));
    let steps =
        ["authority, root, bundle, job, lease", "job", "job", "job", "job, fleet, lease", "authority, job, lease"];
    assert_eq!(tables.world().writes, steps);
}

#[tokio::test]
async fn a_conductor_that_lost_its_lease_passes_no_gate() {
    let tables = aborted();
    tables.world().meanwhile = Some(|held| *held = lease("another", 60));
    assert!(tables.wake(Duration::from_millis(5100)).await);
    assert_eq!(tables.job().outcome, None);
    let world = tables.world();
    assert_eq!((world.writes.len(), &world.lease), (0, &Some(lease("another", 60))));
}
