//! Concurrent callers, one rollover.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::get_item::{GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::types::error::TransactionCanceledException;
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason};
use aws_sdk_kms::types::KeyState;
use aws_sdk_resourcegroupstagging::operation::get_resources::GetResourcesOutput;
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use futures::future::join_all;
use http::StatusCode;
use rootcast_authority::CertificateAuthority;
use rootcast_core::access::permission::{Grants, Role};
use rootcast_core::deployment::Deployment;
use rootcast_core::deployment::lifecycle::Work;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::{JobId, JobOutcome};
use rootcast_gate::SecondPerson;
use rootcast_ledger::{Ledger, PendingCertificate, Tables};
use rootcast_queue::Queue;
use rootcast_vault::Vault;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::regenerator::{Regenerator, Reply, put, seconds_ago, settings};
use super::whole::assert_whole;
use super::wire::Wire;
use crate::stack::{Stack, by_tests};

const JOB_PATH: &str = "/signingCertificate/jobs/1";

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_callers_wins_and_all_get_its_job() {
    Stack::run(0, async |stack| {
        for (round, callers) in [2, 5, 2, 5, 2, 5].into_iter().enumerate() {
            let regenerator = Arc::new(Regenerator::open(&stack.local, &format!("race-{round}")).await);
            regenerator.enrol().await;
            let replies = call_at_once(&regenerator, callers).await;
            let (won, lost): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == StatusCode::OK);
            assert_eq!((won.len(), lost.len()), (1, callers - 1), "{replies:?}");
            // Callers that lost may have taken the ids before it.
            let job = regenerator.ledger.jobs_before(None, 1).await.unwrap().jobs[0].id();
            for reply in &replies {
                assert_eq!((reply.job_path(), reply.location()), (&*job.path(), Some(&*job.path())), "{reply:?}");
            }
            for reply in lost {
                assert_busy(reply, job);
            }
            let keys = regenerator.keys().await;
            assert!(matches!(&*keys, [(1, _, KeyState::Enabled)]), "{keys:?}");
            regenerator.end_job(job).await;
            assert_whole(&regenerator, 1, 1).await;
        }
    })
    .await;
}

/// Without devices there is no job whose path could be returned. A concurrent caller is refused, and a later one gets
/// the next root.
#[tokio::test(flavor = "multi_thread")]
async fn callers_without_devices_do_not_block_each_other() {
    Stack::run(0, async |stack| {
        let regenerator = Arc::new(Regenerator::open(&stack.local, "race-alone").await);
        let replies = call_at_once(&regenerator, 5).await;
        let won = replies.iter().filter(|reply| reply.status == StatusCode::OK).count();
        assert!(won >= 1, "{replies:?}");
        for reply in replies.iter().filter(|reply| reply.status != StatusCode::OK) {
            assert_eq!(reply.status, StatusCode::CONFLICT, "{reply:?}");
            assert_eq!((reply.job_path(), reply.location()), ("", None));
            assert!(reply.message()[2].contains("again in a minute"), "{reply:?}");
        }
        assert_whole(&regenerator, u32::try_from(won).unwrap(), 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_root_is_refused_while_a_job_runs() {
    Stack::run(0, async |stack| {
        let regenerator = Regenerator::open(&stack.local, "busy").await;
        regenerator.enrol().await;
        assert_eq!(regenerator.put(&Wire::default(), seconds_ago::<300>).await.status, StatusCode::OK);
        let wire = Wire::default();
        let reply = regenerator.put(&wire, seconds_ago::<0>).await;
        assert_busy(&reply, JobId(1));
        assert_eq!((reply.job_path(), reply.location()), (JOB_PATH, Some(JOB_PATH)));
        assert_eq!(wire.sent(), ["GetItem"; 3], "a refusal only reads");
    })
    .await;
}

/// As deployed: several Lambda environments, and a device that cannot be reached.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_callers_of_the_api_get_one_job() {
    Stack::run(0, async |stack| {
        let device = json!({
            "id": "bmc-0001", "address": "https://127.0.0.1:9", "driver": "redfish", "profile": "dmtf",
            "credential": "/rootcast/devices/bmc-0001", "pins": [format!("sha256:{}", "ab".repeat(32))],
        });
        stack.enrol(vec![device]).await;
        let paths = [
            "/signingCertificate",
            "/signingcertificate",
            "/signingCertificate",
            "/signingCertificate?activation=proven",
        ];
        let answers = join_all(paths.map(|path| stack.api.put(path))).await;
        let won = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
        assert_eq!(won, 1, "{answers:?}");
        for answer in &answers {
            if answer.status != StatusCode::OK {
                answer.refused(409);
            }
            // Callers that lost may have taken the ids before it.
            assert_eq!(answer.headers["location"], answers[0].headers["location"]);
            let body: Value = serde_json::from_str(&answer.text).unwrap();
            assert_eq!(body["response"]["jobPath"], answer.headers["location"].to_str().unwrap());
        }
        assert_eq!(stack.ledger.jobs_before(None, 100).await.unwrap().jobs.len(), 1);
        let authority = stack.ledger.authority().await.unwrap();
        assert_eq!((authority.last_generation, authority.claim), (1, None));
    })
    .await;
}

/// Deployments take their ids from a separate counter, and write nothing that the steps of a root's creation have
/// read.
#[tokio::test(flavor = "multi_thread")]
async fn deployments_do_not_conflict_with_a_new_root() {
    Stack::run(0, async |stack| {
        let regenerator = Arc::new(Regenerator::open(&stack.local, "deploying").await);
        regenerator.enrol().await;
        let stop = Arc::new(AtomicBool::new(false));
        let deploying = (0..4).map(|_| {
            let (regenerator, stop) = (regenerator.clone(), stop.clone());
            tokio::spawn(async move {
                let mut begun = 0;
                while !stop.load(Ordering::Relaxed) {
                    begin_deployment(&regenerator.ledger).await;
                    begun += 1;
                }
                begun
            })
        });
        let deploying: Vec<_> = deploying.collect();
        let reply = regenerator.put(&Wire::default(), seconds_ago::<0>).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        let job: JobId = reply.job_path().rsplit('/').next().unwrap().parse().unwrap();
        assert_eq!(regenerator.end_job(job).await.outcome, Some(JobOutcome::Activated));
        stop.store(true, Ordering::Relaxed);
        let begun: Vec<u32> = join_all(deploying).await.into_iter().map(Result::unwrap).collect();
        assert!(begun.iter().all(|count| *count > 1), "{begun:?}");
    })
    .await;
}

async fn begin_deployment(ledger: &Ledger) {
    let (job, now) = (ledger.next_job_id().await.unwrap(), seconds_ago::<0>());
    let mut random = [0; 16];
    random[8..].copy_from_slice(&job.0.to_be_bytes());
    let (id, device) = (CertificateId::from_random(random), format!("bmc-{job}").parse::<DeviceId>().unwrap());
    let place = PendingCertificate {
        id,
        revision: 0,
        folder: "Deploying".to_owned(),
        name: job.to_string(),
        device: device.clone(),
        uses: 0,
        imported_by: "tests".to_owned(),
        created: now,
    };
    let deployment = Deployment::new(job, id, Work::Issue, [device].into(), "tests".to_owned(), now);
    ledger.deploy(&deployment, &[], Some(&place), &by_tests()).await.unwrap();
}

/// DynamoDB cancels a transaction that conflicts with another one in flight, without evaluating its conditions; no
/// emulator does.
#[tokio::test]
async fn a_caller_whose_transaction_conflicted_gets_the_winners_job() {
    let asks_for =
        |id: &'static str| move |request: &GetItemInput| request.key().unwrap()["id"].as_s().unwrap().starts_with(id);
    let number = |number: i64| AttributeValue::N(number.to_string());
    let created = number(seconds_ago::<60>().unix_timestamp());
    let expires = number(seconds_ago::<-60>().unix_timestamp());
    let grants: AttributeValue = serde_dynamo::to_attribute_value(Grants::from(Role::Administrator)).unwrap();
    let token = mock!(Client::get_item).match_requests(asks_for("token#")).then_output(move || {
        let record = GetItemOutput::builder().item("principal", AttributeValue::S("tests".to_owned()));
        let record = record.item("grants", grants.clone());
        record.item("expires", expires.clone()).item("created", created.clone()).build()
    });
    let none =
        |of| mock!(Client::get_item).match_requests(asks_for(of)).then_output(|| GetItemOutput::builder().build());
    let (namesake, policy) = (none("principal#"), none("policy"));
    let claim = HashMap::from([
        ("generation".to_owned(), number(1)),
        ("job".to_owned(), number(1)),
        ("until".to_owned(), number(seconds_ago::<-60>().unix_timestamp())),
    ]);
    let authority = mock!(Client::get_item)
        .match_requests(asks_for("authority"))
        .sequence()
        .output(|| GetItemOutput::builder().build())
        .output(move || {
            let record = GetItemOutput::builder().item("revision", AttributeValue::N("1".to_owned()));
            record.item("claim", AttributeValue::M(claim.clone())).build()
        })
        .build();
    let number_1 = number(1);
    let fleet = mock!(Client::batch_get_item).then_output(move || {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let shard = [("pk", text("fleet#00")), ("sk", text("revision")), ("approved", number_1.clone())];
        let shard = shard.map(|(name, value)| (name.to_owned(), value)).into();
        BatchGetItemOutput::builder().responses("jobs", vec![shard]).build()
    });
    let scan = mock!(Client::scan).then_output(|| ScanOutput::builder().count(1).build());
    let cancelled = |code| {
        let reason = |code| CancellationReason::builder().code(code).build();
        let cancelled = TransactionCanceledException::builder().cancellation_reasons(reason(code));
        TransactWriteItemsError::TransactionCanceledException(cancelled.cancellation_reasons(reason("None")).build())
    };
    // The retry finds that the other caller won.
    let collision = mock!(Client::transact_write_items)
        .sequence()
        .error(move || cancelled("TransactionConflict"))
        .error(move || cancelled("ConditionalCheckFailed"))
        .build();
    let number_2 = AttributeValue::N("2".to_owned());
    let id = mock!(Client::update_item)
        .then_output(move || UpdateItemOutput::builder().attributes("last", number_2.clone()).build());
    let rules = [&token, &namesake, &policy, &authority, &fleet, &scan, &id, &collision];
    let ledger = Ledger::new(mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, rules), tables());
    let kms = mock_client!(aws_sdk_kms, []);
    let no_key = mock!(aws_sdk_resourcegroupstagging::Client::get_resources)
        .then_output(|| GetResourcesOutput::builder().build());
    let tagging = mock_client!(aws_sdk_resourcegroupstagging, RuleMode::MatchAny, [&no_key]);
    let nowhere = aws_sdk_sqs::Config::builder().behavior_version(BehaviorVersion::latest()).build();
    let app = regenerate::App {
        workers: 50,
        authority: CertificateAuthority::new(
            ledger.clone(),
            Vault::new(&kms, &tagging, "collision"),
            time::Duration::days(30),
        ),
        second: SecondPerson::new(ledger.clone(), Default::default(), seconds_ago::<0>),
        ledger,
        queue: Queue::new(aws_sdk_sqs::Client::from_conf(nowhere)),
        control_queue: String::new(),
        settings: settings(),
        clock: seconds_ago::<0>,
    };
    let reply = put(app).await;
    assert_busy(&reply, JobId(1));
    assert_eq!((reply.job_path(), reply.location()), (JOB_PATH, Some(JOB_PATH)));
}

fn tables() -> Tables {
    let table = |name: &str| Some(name.to_owned());
    Tables {
        certificates: table("certificates"),
        jobs: table("jobs"),
        devices: table("devices"),
        access: table("access"),
        audit: table("audit"),
        heads: None,
    }
}

async fn call_at_once(regenerator: &Arc<Regenerator>, callers: usize) -> Vec<Reply> {
    let start = Arc::new(Barrier::new(callers));
    let calls = (0..callers).map(|_| {
        let (regenerator, start) = (regenerator.clone(), start.clone());
        tokio::spawn(async move {
            start.wait().await;
            regenerator.put(&Wire::default(), seconds_ago::<0>).await
        })
    });
    join_all(calls).await.into_iter().map(|reply| reply.unwrap()).collect()
}

fn assert_busy(reply: &Reply, job: JobId) {
    assert_eq!(reply.status, StatusCode::CONFLICT, "{reply:?}");
    assert_eq!(reply.body["result"], "failed");
    assert_eq!(reply.body["messages"][0]["id"], "FQXHMSE1009J");
    let [text, explanation, recovery] = reply.message();
    assert_eq!(text, format!("Job {job} is still changing the devices' trust anchors."));
    assert_eq!(explanation, "The request conflicts with the current state of the resource.");
    assert_eq!(recovery, format!("Wait until job {job} has ended, or resume or abort it: {}.", job.path()));
}
