//! Commands with a concurrent writer, on the SDK's own mock layer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItemError, BatchGetItemInput, BatchGetItemOutput};
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput};
use aws_sdk_dynamodb::types::error::{ResourceNotFoundException, TransactionCanceledException};
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason};
use aws_sdk_sqs::operation::send_message::SendMessageOutput;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use rootcast_core::audit::Actor;
use rootcast_core::deployment::lifecycle::Work;
use rootcast_core::deployment::{Deployment, DeploymentOutcome, NotResumed};
use rootcast_core::device::DeviceId;
use rootcast_core::job::task::{TaskRecord, TaskState};
use rootcast_core::job::{
    Activation, Command, Job, JobId, JobOutcome, JobRecord, MOST_SELECTIONS, NewJob, Phase, Refusal, Refused, Reopen,
    Selection,
};
use rootcast_core::rollover::rollout::Rollout;
use rootcast_ledger::{Ledger, Tables};
use rootcast_operations::{JobRefusal, NotDone, Operations, Requeued, Waiver};
use rootcast_queue::Queue;
use time::OffsetDateTime;
use tokio::time::Instant;

const ID: JobId = JobId(7);
const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn rollover(revision: u64) -> Job {
    let new = NewJob {
        id: ID,
        generation: 2,
        old_generation: Some(1),
        activation: Activation::Proven,
        rollout: Rollout::default(),
        until: Phase::Activate,
        requested_for: None,
    };
    let mut job = Job::new(new, NOW);
    job.publish(1);
    job.distribute(NOW);
    Job { revision, ..job }
}

fn paused(revision: u64) -> JobRecord {
    JobRecord::Rollover(Box::new(rollover(revision).command(Command::Pause, NOW).unwrap()))
}

fn deployment(revision: u64, outcome: Option<DeploymentOutcome>) -> Deployment {
    let (certificate, devices) = ("scs1600313391074".parse().unwrap(), ["bmc-1".parse().unwrap()].into());
    let job = Deployment::new(ID, certificate, Work::Install, devices, "ops".to_owned(), NOW);
    Deployment { revision, outcome, ..job }
}

fn failed(revision: u64) -> JobRecord {
    JobRecord::Deployment(deployment(revision, Some(DeploymentOutcome::DeployedWithFailures)))
}

/// The job in the table.
fn there(job: JobRecord) -> Rule {
    let (item, kind) = match &job {
        JobRecord::Rollover(job) => (serde_dynamo::to_item(job).unwrap(), "rollover"),
        JobRecord::Deployment(job) => (serde_dynamo::to_item(job).unwrap(), "deployment"),
    };
    mock!(Client::get_item)
        .match_requests(|request| request.key().unwrap()["sk"] == AttributeValue::S("meta".to_owned()))
        .then_output(move || {
            let kind = AttributeValue::S(kind.to_owned());
            GetItemOutput::builder().set_item(Some(std::clone::Clone::clone(&item))).item("kind", kind).build()
        })
}

/// An audit chain without entries.
fn chain() -> Rule {
    mock!(Client::get_item)
        .match_requests(|request| request.key().unwrap()["sk"] == AttributeValue::S("audit".to_owned()))
        .then_output(|| GetItemOutput::builder().build())
}

fn lost() -> Rule {
    mock!(Client::transact_write_items).then_error(|| {
        let reason = CancellationReason::builder().code("ConditionalCheckFailed").build();
        let cancelled = TransactionCanceledException::builder().cancellation_reasons(reason).build();
        TransactWriteItemsError::TransactionCanceledException(cancelled)
    })
}

/// Accepts the write of the job over the revision `read`, with its audit entry.
fn written(read: u64) -> Rule {
    mock!(Client::transact_write_items)
        .match_requests(move |request| {
            let [job, .., entry, head] = request.transact_items() else { return false };
            let sort = |write: &aws_sdk_dynamodb::types::TransactWriteItem| write.put().unwrap().item()["sk"].clone();
            let sorts = [entry, head].map(|write| sort(write).as_s().unwrap().clone());
            sorts == ["audit#000000000001", "audit"]
                && job.put().unwrap().expression_attribute_values().unwrap()[":read"]
                    == AttributeValue::N(read.to_string())
        })
        .then_output(|| TransactWriteItemsOutput::builder().build())
}

fn woken() -> Rule {
    mock!(aws_sdk_sqs::Client::send_message).then_output(|| SendMessageOutput::builder().build())
}

struct World {
    ledger: Ledger,
    queue: Queue,
}

impl World {
    fn new(mode: RuleMode, rules: &[&Rule], wake: &Rule) -> Self {
        let tables = Tables { jobs: Some("jobs".to_owned()), audit: Some("audit".to_owned()), ..Tables::default() };
        Self {
            ledger: Ledger::new(mock_client!(aws_sdk_dynamodb, mode, rules), tables),
            queue: Queue::new(mock_client!(aws_sdk_sqs, RuleMode::MatchAny, &[wake])),
        }
    }

    fn operations(&self) -> Operations<'_> {
        Operations {
            ledger: &self.ledger,
            queue: &self.queue,
            control_queue: "https://sqs.invalid/control",
            clock: || NOW,
            deadline: None,
        }
    }

    async fn steer(&self, command: Command) -> Result<JobRecord, NotDone<JobRefusal>> {
        self.operations().steer(ID, command, &by()).await
    }

    async fn retry_failed(&self, deadline: Instant) -> Result<Requeued, NotDone<JobRefusal>> {
        let (certificate, devices) = ("scs1600313391074".parse().unwrap(), ["bmc-1".parse().unwrap()].into());
        self.operations().retry_failed(ID, certificate, &devices, &by(), deadline).await
    }
}

fn by() -> Actor {
    Actor::function("tests")
}

fn in_a_minute() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, NotDone<JobRefusal>>) -> JobRefusal {
    match answer.unwrap_err() {
        NotDone::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_conflict_the_command_is_decided_on_fresh_records() {
    for (before, now) in [(paused(5), paused(6)), (failed(5), failed(6))] {
        let (wake, saved) = (woken(), written(6));
        let rules = [&there(before), &chain(), &lost(), &there(now), &chain(), &saved];
        let world = World::new(RuleMode::Sequential, &rules, &wake);
        world.steer(Command::Resume).await.unwrap();
        assert_eq!((saved.num_calls(), wake.num_calls()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_ended_meanwhile_refuses_and_is_not_written() {
    let mut ended = rollover(6);
    ended.end(JobOutcome::Activated, "done");
    let wake = woken();
    let rules = [&there(paused(5)), &chain(), &lost(), &there(JobRecord::Rollover(Box::new(ended)))];
    let world = World::new(RuleMode::Sequential, &rules, &wake);
    let why = refusal(world.steer(Command::Resume).await);
    assert_eq!((why, wake.num_calls()), (Refused::Rollover(Refusal::Ended).into(), 0));
}

#[tokio::test(start_paused = true)]
async fn conflicts_at_every_attempt_are_refused_as_busy() {
    for job in [paused(5), failed(5)] {
        let (wake, lost) = (woken(), lost());
        let world = World::new(RuleMode::MatchAny, &[&there(job), &chain(), &lost], &wake);
        let begun = Instant::now();
        let answer = world.steer(Command::Resume).await;
        assert!(matches!(answer, Err(NotDone::Busy)), "{answer:?}");
        assert_eq!((lost.num_calls(), wake.num_calls()), (9, 0));
        assert!((5100..5300).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_refused_command_writes_nothing_and_wakes_nobody() {
    let none = mock!(Client::get_item).then_output(|| GetItemOutput::builder().build());
    for (there, command, why) in [
        (there(paused(5)), Command::Pause, Refused::Rollover(Refusal::AlreadyPaused).into()),
        (there(failed(5)), Command::Abort, Refused::OfDeployment.into()),
        (none, Command::Abort, JobRefusal::NoJob),
    ] {
        let (wake, saved) = (woken(), written(5));
        let world = World::new(RuleMode::MatchAny, &[&there, &chain(), &saved], &wake);
        assert_eq!(refusal(world.steer(command).await), why);
        assert_eq!((there.num_calls(), saved.num_calls(), wake.num_calls()), (1, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn earlier_retries_are_waited_for_and_reported_if_they_stay() {
    let earlier = ["a", "b", "c", "d"]
        .map(|device| Selection { devices: [device.parse().unwrap()].into(), ..Selection::everything(NOW) });
    assert_eq!(earlier.len(), MOST_SELECTIONS);
    let full = Deployment { reopen: Reopen::from(earlier.to_vec()), ..deployment(5, None) };
    let (full, wake, saved) = (|| there(JobRecord::Deployment(full.clone())), woken(), written(6));
    let rules = [&full(), &full(), &there(failed(6)), &chain(), &saved];
    let world = World::new(RuleMode::Sequential, &rules, &wake);
    assert_eq!(world.retry_failed(in_a_minute()).await.unwrap(), Requeued::Now);
    assert_eq!((saved.num_calls(), wake.num_calls()), (1, 1));

    let world = World::new(RuleMode::MatchAny, &[&full()], &wake);
    let why = refusal(world.retry_failed(in_a_minute()).await);
    assert_eq!(why, Refused::Deployment(NotResumed::ManyRetries).into());
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_after_the_deadline() {
    let (there, lost, wake) = (there(failed(5)), lost(), woken());
    let world = World::new(RuleMode::MatchAny, &[&there, &chain(), &lost], &wake);
    for (left, looks) in [(Duration::ZERO, 0), (Duration::from_millis(50), 2)] {
        let begun = Instant::now();
        let answer = world.retry_failed(begun + left).await;
        assert!(matches!(answer, Err(NotDone::Late)), "{answer:?}");
        assert_eq!(there.num_calls(), looks);
        assert!(begun.elapsed() <= left, "no pause goes past it: {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_waived_before_an_error_is_recorded() {
    let one: DeviceId = "bmc-1".parse().unwrap();
    let others = (2..).map(|number| format!("bmc-{number}").parse::<DeviceId>().unwrap());
    let other = others.into_iter().find(|other| other.shard() != one.shard()).unwrap();

    let asks_for = |shard: u8| {
        let shard = AttributeValue::S(format!("{ID}#{shard:02}"));
        move |request: &BatchGetItemInput| request.request_items().unwrap()["jobs"].keys()[0]["pk"] == shard
    };
    let task = TaskRecord::new(one.clone(), TaskState::Failed, 1, NOW);
    let there_is =
        mock!(Client::batch_get_item).match_requests(asks_for(one.shard())).then_compute_output(move |asked| {
            let mut item: std::collections::HashMap<_, _> = serde_dynamo::to_item(&task).unwrap();
            item.extend(asked.request_items().unwrap()["jobs"].keys()[0].clone());
            BatchGetItemOutput::builder().responses("jobs", vec![item]).build()
        });
    let lost = mock!(Client::batch_get_item)
        .match_requests(asks_for(other.shard()))
        .then_error(|| BatchGetItemError::ResourceNotFoundException(ResourceNotFoundException::builder().build()));
    let nothing = mock!(Client::batch_get_item).then_output(|| BatchGetItemOutput::builder().build());
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&lines);
    let written = mock!(Client::transact_write_items).then_compute_output(move |request| {
        let puts = request.transact_items().iter().filter_map(|write| write.put()?.item().get("line")?.as_s().ok());
        kept.lock().unwrap().extend(puts.cloned());
        TransactWriteItemsOutput::builder().build()
    });

    let wake = woken();
    let job = there(JobRecord::Rollover(Box::new(rollover(5))));
    let rules = [&job, &chain(), &there_is, &lost, &nothing, &written];
    let world = World::new(RuleMode::MatchAny, &rules, &wake);
    let waiver = Waiver { devices: &[one, other], named: 2, reason: "broken" };
    let answer = world.operations().waive(ID, waiver, &by(), in_a_minute()).await;
    assert!(matches!(answer, Err(NotDone::Ledger(_))), "{answer:?}");
    let lines = lines.lock().unwrap();
    let [begun, ended] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(begun.contains(r#""outcome":"begun""#), "{begun}");
    for part in [r#""names":"bmc-1","#, r#""unfinished":"true""#, r#""waived":"1""#, r#""outcome":"done""#] {
        assert!(ended.contains(part), "{part} {ended}");
    }
    assert_eq!(wake.num_calls(), 1, "the gate may be open now");
}
