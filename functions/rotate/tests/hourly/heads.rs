//! Statements of the audit chains' heads: what they name, and that a run may end between any two calls.

#[path = "../../../shared/core/src/audit/test_key.rs"]
#[allow(dead_code, reason = "KMS signs here")]
mod test_key;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::operation::query::{QueryError, QueryInput, QueryOutput};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::error::{ConditionalCheckFailedException, ResourceNotFoundException};
use aws_sdk_kms::operation::get_public_key::{GetPublicKeyError, GetPublicKeyOutput};
use aws_sdk_kms::operation::sign::{SignError, SignOutput};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::error::NotFoundException;
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use aws_smithy_mocks::{MockResponse, Rule, RuleMode, mock, mock_client};
use rootcast_core::audit::{Stated, Subject, verify_statements};
use rootcast_core::deployment::renewal::PercentLeft;
use rootcast_core::job::JobId;
use rootcast_events::Events;
use rootcast_ledger::{Ledger, Tables};
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_vault::Notary;
use rotate::{App, RotateError, handle};

use self::test_key::Key;
use crate::bucket::{S3, bucket};
use crate::{NOW, later, now};

pub(crate) const HOUR: i64 = 3600;
/// Heads per page of the index.
const PAGE: usize = 1000;

/// A chain's head: shard, time of its last entry, number of entries.
type Chain = (u8, i64, u64);

pub(crate) struct World {
    key: Key,
    chains: BTreeMap<String, Chain>,
    /// Items of the index that no function of ours writes.
    strange: Vec<HashMap<String, AttributeValue>>,
    /// By their sort key.
    pub(crate) statements: BTreeMap<String, String>,
    /// The bucket, if there is one.
    pub(crate) s3: Option<S3>,
    /// The number of the last statement in it, as it is noted.
    pub(crate) copied: Option<AttributeValue>,
    /// Calls until AWS is gone.
    pub(crate) left: usize,
    /// Another run stores this statement before ours.
    faster: Option<(String, String)>,
    /// The answer to the next statement's first attempt is lost.
    unanswered: bool,
}

pub(crate) type Shared = Arc<Mutex<World>>;

fn hash(subject: &str, sequence: u64) -> Fingerprint {
    Fingerprint::of(format!("{subject} {sequence}").as_bytes())
}

impl World {
    pub(crate) fn shared() -> Shared {
        let key = Key::new();
        let (chains, statements) = (BTreeMap::new(), BTreeMap::new());
        let (strange, s3, copied, faster, unanswered) = (Vec::new(), None, None, None, false);
        let left = usize::MAX;
        Arc::new(Mutex::new(Self { key, chains, strange, statements, s3, copied, left, faster, unanswered }))
    }

    /// In the bucket, of what this key signed.
    pub(crate) fn key_folder(&self) -> String {
        Fingerprint::of(&self.key.spki()).to_string()[..16].to_owned()
    }

    /// The next entry of the chain of this job.
    pub(crate) fn act(&mut self, job: u64) {
        let entries = self.chains.get(&job.to_string()).map_or(0, |(.., entries)| *entries);
        self.chains.insert(job.to_string(), ((job % 16) as u8, NOW.get(), entries + 1));
    }

    fn index(&self, request: &QueryInput) -> QueryOutput {
        let values = request.expression_attribute_values().unwrap();
        let amount = |name: &str| -> i64 { values[name].as_n().unwrap().parse().unwrap() };
        let after = request.exclusive_start_key().map_or("", |key| key["pk"].as_s().unwrap());
        let mut due = self.chains.iter().filter(|(subject, (shard, changed, _))| {
            i64::from(*shard) == amount(":shard") && *changed >= amount(":since") && subject.as_str() > after
        });
        let item = |(subject, (.., sequence)): (&String, &Chain)| {
            let hash = hash(subject, *sequence).to_string();
            let texts = [("pk", subject.clone()), ("sk", "audit".to_owned()), ("hash", hash)];
            let texts = texts.map(|(name, value)| (name.to_owned(), AttributeValue::S(value)));
            let sequence = ("sequence".to_owned(), AttributeValue::N(sequence.to_string()));
            texts.into_iter().chain([sequence]).collect()
        };
        let mut page: Vec<_> = due.by_ref().take(PAGE).map(item).collect();
        let next = page.last().filter(|_| due.next().is_some()).cloned();
        page.splice(0..0, self.strange.iter().cloned());
        QueryOutput::builder().set_items(Some(page)).set_last_evaluated_key(next).build()
    }

    /// The last statement, those after a number, or the number of the last one that was copied.
    fn own(&self, request: &QueryInput) -> QueryOutput {
        let values = request.expression_attribute_values().unwrap();
        if values.contains_key(":copied") {
            let item = self.copied.iter().map(|copied| [("copied".to_owned(), copied.clone())].into());
            return QueryOutput::builder().set_items(Some(item.collect())).build();
        }
        if let Some(first) = values.get(":first") {
            let found = self.statements.range(first.as_s().unwrap().clone()..);
            let limit = usize::try_from(request.limit().unwrap()).unwrap();
            let more = found.clone().nth(limit).map(|_| [].into());
            let found = found.map(|(_, jws)| [("jws".to_owned(), AttributeValue::S(jws.clone()))].into()).take(limit);
            return QueryOutput::builder().set_items(Some(found.collect())).set_last_evaluated_key(more).build();
        }
        let kind = request.expression_attribute_values().unwrap()[":kind"].as_s().unwrap();
        let last = self.statements.iter().rev().find(|(sort, _)| sort.starts_with(kind)).map(|(sort, jws)| {
            [("sk", sort), ("jws", jws)].map(|(name, value)| (name.to_owned(), AttributeValue::S(value.clone()))).into()
        });
        QueryOutput::builder().set_items(Some(last.into_iter().collect())).build()
    }

    pub(crate) fn is_gone(&mut self) -> bool {
        let gone = self.left == 0;
        self.left = self.left.saturating_sub(1);
        gone
    }

    /// What is stated, verified.
    fn stated(&self) -> Stated {
        let texts: Vec<&String> = self.statements.values().collect();
        verify_statements(&texts, &[Fingerprint::of(&self.key.spki())], None, now()).unwrap()
    }

    /// The chains of these statements, with their entries.
    fn names(&self, from: usize) -> Vec<(String, u64)> {
        let of = |jws: &String| {
            let payload = rootcast_pki::notary::open(jws).unwrap().payload;
            let statement: rootcast_core::audit::Statement = serde_json::from_slice(&payload).unwrap();
            statement.heads.into_iter().map(|head| (head.subject.to_string(), head.sequence)).collect::<Vec<_>>()
        };
        let mut named: Vec<_> = self.statements.values().skip(from).flat_map(of).collect();
        named.sort_unstable();
        named
    }
}

pub(crate) fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap()
}

fn missing<T>(of: impl FnOnce(ResourceNotFoundException) -> T) -> T {
    of(ResourceNotFoundException::builder().build())
}

fn tables(world: &Shared) -> [Rule; 2] {
    let (read, written) = (Arc::clone(world), Arc::clone(world));
    let query = mock!(Client::query).match_requests(|request| request.table_name() != Some("certificates"));
    let query = query.then_compute_response(move |request| {
        let mut world = lock(&read);
        if world.is_gone() {
            return MockResponse::Error(missing(QueryError::ResourceNotFoundException));
        }
        let indexed = request.index_name().is_some();
        MockResponse::Output(if indexed { world.index(request) } else { world.own(request) })
    });
    let put = mock!(Client::put_item).then_compute_response(move |request| {
        let mut world = lock(&written);
        if let Some(copied) = request.item().unwrap().get("copied") {
            assert_eq!(request.condition_expression(), Some("attribute_not_exists(pk) OR copied < :copied"));
            if world.is_gone() {
                return MockResponse::Error(missing(PutItemError::ResourceNotFoundException));
            }
            world.copied = Some(copied.clone());
            return MockResponse::Output(PutItemOutput::builder().build());
        }
        assert_eq!(request.condition_expression(), Some("attribute_not_exists(pk)"));
        if let Some((sort, jws)) = world.faster.take() {
            world.statements.insert(sort, jws);
        }
        let item = request.item().unwrap();
        let sort = item["sk"].as_s().unwrap().clone();
        if std::mem::take(&mut world.unanswered) {
            world.statements.insert(sort.clone(), item["jws"].as_s().unwrap().clone());
        }
        if world.statements.contains_key(&sort) {
            let failed = ConditionalCheckFailedException::builder().build();
            return MockResponse::Error(PutItemError::ConditionalCheckFailedException(failed));
        }
        // Whether the answer is lost or the request is: both happen.
        let (before, after) = (world.is_gone(), world.is_gone());
        if !before {
            world.statements.insert(sort, item["jws"].as_s().unwrap().clone());
        }
        if before || after {
            return MockResponse::Error(missing(PutItemError::ResourceNotFoundException));
        }
        MockResponse::Output(PutItemOutput::builder().build())
    });
    [query, put]
}

fn kms(world: &Shared) -> [Rule; 2] {
    let (read, signing) = (Arc::clone(world), Arc::clone(world));
    let public = mock!(aws_sdk_kms::Client::get_public_key).then_compute_response(move |_| {
        let mut world = lock(&read);
        if world.is_gone() {
            return MockResponse::Error(GetPublicKeyError::NotFoundException(NotFoundException::builder().build()));
        }
        let answer = GetPublicKeyOutput::builder().public_key(Blob::new(world.key.spki()));
        MockResponse::Output(answer.key_spec(KeySpec::EccNistP256).key_usage(KeyUsageType::SignVerify).build())
    });
    let sign = mock!(aws_sdk_kms::Client::sign).then_compute_response(move |request| {
        let mut world = lock(&signing);
        if world.is_gone() {
            return MockResponse::Error(SignError::NotFoundException(NotFoundException::builder().build()));
        }
        let signature = world.key.sign_digest(request.message().unwrap().as_ref());
        MockResponse::Output(SignOutput::builder().signature(Blob::new(signature)).build())
    });
    [public, sign]
}

/// What a run needs for its statements; for a test of something else, on a world of its own.
pub(crate) fn signing() -> ([Rule; 2], Notary) {
    let world = World::shared();
    (tables(&world), notary(&world))
}

fn notary(world: &Shared) -> Notary {
    let [public, sign] = kms(world);
    Notary::new(&mock_client!(aws_sdk_kms, RuleMode::MatchAny, &[&public, &sign]), "key")
}

pub(crate) fn names() -> Tables {
    let table = |name: &str| Some(name.to_owned());
    Tables { certificates: table("certificates"), audit: table("audit"), heads: table("heads"), ..Tables::default() }
}

/// One run. Returns whether it completed.
pub(crate) async fn run(world: &Shared) -> bool {
    attempt(world).await.is_ok()
}

pub(crate) async fn attempt(world: &Shared) -> Result<(), RotateError> {
    let [query, put] = tables(world);
    let certificates = mock!(Client::query)
        .match_requests(|request| request.table_name() == Some("certificates"))
        .then_output(|| QueryOutput::builder().build());
    let bus = mock!(aws_sdk_eventbridge::Client::put_events)
        .then_output(|| aws_sdk_eventbridge::operation::put_events::PutEventsOutput::builder().build());
    let app = App {
        ledger: Ledger::new(
            mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, &[&query, &put, &certificates, &crate::counted()]),
            names(),
        ),
        events: Events::new(mock_client!(aws_sdk_eventbridge, RuleMode::MatchAny, &[&bus]), "bus"),
        notary: notary(world),
        queue: crate::renewals::nobody(),
        control_queue: "control".to_owned(),
        renewal: PercentLeft(33),
        renewals_an_hour: 100,
        bucket: lock(world).s3.as_ref().map(|_| bucket(world)),
        stack: "rootcast".to_owned(),
        clock: now,
    };
    handle(&app, SystemTime::from(now()) + Duration::from_secs(60)).await
}

fn named(chains: &[(u64, u64)]) -> Vec<(String, u64)> {
    let mut named: Vec<_> = chains.iter().map(|(job, entries)| (job.to_string(), *entries)).collect();
    named.sort_unstable();
    named
}

#[tokio::test]
async fn each_hour_states_what_has_changed() {
    let world = World::shared();
    for job in 1..=40 {
        lock(&world).act(job);
    }
    later(HOUR + 1);
    assert!(run(&world).await);
    assert_eq!(lock(&world).names(0), named(&(1..=40).map(|job| (job, 1)).collect::<Vec<_>>()));
    later(HOUR);
    lock(&world).act(7);
    assert!(run(&world).await);
    assert_eq!(lock(&world).names(1), named(&[(7, 2)]));
    // It is looked for an hour longer: an entry's time is before it is written.
    later(HOUR + 1);
    assert!(run(&world).await);
    assert_eq!(lock(&world).names(2), named(&[(7, 2)]));
    later(HOUR);
    assert!(run(&world).await);
    let stated = lock(&world).stated();
    assert_eq!((lock(&world).names(3), stated.latest.number, stated.latest.until), (vec![], 4, now()));
}

#[tokio::test]
async fn an_entry_that_the_index_had_late_is_stated() {
    let world = World::shared();
    assert!(run(&world).await);
    later(HOUR);
    lock(&world).act(3);
    let hidden = lock(&world).chains.remove("3").unwrap();
    assert!(run(&world).await);
    later(HOUR);
    lock(&world).chains.insert("3".to_owned(), hidden);
    assert!(run(&world).await);
    assert_eq!(lock(&world).names(0), named(&[(3, 1)]));
}

#[tokio::test]
async fn a_run_that_ends_anywhere_is_continued_without_a_gap() {
    // More heads than a statement takes, on more pages than one.
    let busy = |world: &Shared| (1..=1600).for_each(|job| lock(world).act(16 * job));
    for left in 0..60 {
        let world = World::shared();
        lock(&world).act(1);
        assert!(run(&world).await);
        later(HOUR);
        busy(&world);
        lock(&world).left = left;
        let whole = run(&world).await;
        lock(&world).left = usize::MAX;
        later(HOUR);
        assert!(run(&world).await, "after {left} calls");
        let stated = lock(&world).stated();
        let subjects: BTreeSet<_> = stated.subjects().cloned().collect();
        let wanted = (1..=1600).map(|job| Subject::Job(JobId(16 * job))).chain([Subject::Job(JobId(1))]);
        assert_eq!(subjects, wanted.collect(), "after {left} calls");
        assert_eq!(stated.latest.until, now());
        if whole {
            assert!(left > 20, "{left} calls are too few");
            break;
        }
        assert!(left < 59, "no run was whole");
    }
}

#[tokio::test]
async fn of_two_runs_only_one_makes_the_next_statement() {
    let world = World::shared();
    lock(&world).act(1);
    assert!(run(&world).await);
    later(HOUR);
    // The other run's, made in a copy of this world.
    let (sort, first) =
        lock(&world).statements.first_key_value().map(|(sort, jws)| (sort.clone(), jws.clone())).unwrap();
    assert!(run(&world).await);
    let second = lock(&world).statements.pop_last().unwrap();
    lock(&world).faster = Some(second.clone());
    assert!(run(&world).await, "it is no error");
    assert_eq!(lock(&world).statements, BTreeMap::from([(sort, first), second]));
    assert_eq!(lock(&world).stated().latest.number, 2);
}

#[tokio::test]
async fn a_statement_whose_first_answer_was_lost_is_continued() {
    let world = World::shared();
    (1..=1600).for_each(|job| lock(&world).act(16 * job));
    lock(&world).unanswered = true;
    assert!(run(&world).await);
    let stated = lock(&world).stated();
    assert_eq!((stated.subjects().len(), stated.latest.until), (1600, now()));
}

#[tokio::test]
async fn an_item_that_is_no_head_holds_up_no_other() {
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let whole = HashMap::from(
        [("pk", text("9")), ("sk", text("audit")), ("hash", text(&hash("9", 1).to_string()))]
            .map(|(name, value)| (name.to_owned(), value)),
    );
    let whole: HashMap<_, _> =
        whole.into_iter().chain([("sequence".to_owned(), AttributeValue::N("1".to_owned()))]).collect();
    let changed = |name: &str, value: AttributeValue| {
        let mut item = whole.clone();
        item.insert(name.to_owned(), value);
        item
    };
    let lacking = |name: &str| {
        let mut item = whole.clone();
        item.remove(name);
        item
    };
    for strange in [
        changed("pk", text("nobody:9")),
        changed("pk", text("09")),
        changed("sk", text("other")),
        changed("hash", text("9")),
        changed("sequence", text("9")),
        changed("sequence", AttributeValue::N("-1".to_owned())),
        lacking("hash"),
        lacking("sequence"),
        lacking("pk"),
    ] {
        let world = World::shared();
        lock(&world).act(1);
        lock(&world).strange.push(strange.clone());
        assert!(run(&world).await, "{strange:?}");
        assert_eq!(lock(&world).names(0), named(&[(1, 1)]), "{strange:?}");
        assert_eq!(lock(&world).stated().latest.until, now(), "{strange:?}");
    }
}

#[tokio::test]
async fn nothing_follows_a_statement_that_is_none() {
    let world = World::shared();
    assert!(run(&world).await);
    for damaged in ["", "e30.e30.e30"] {
        lock(&world).statements.insert("statement#000000000001".to_owned(), damaged.to_owned());
        assert!(!run(&world).await);
        assert_eq!(lock(&world).statements.len(), 1);
    }
}
