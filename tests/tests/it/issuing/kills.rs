//! Whichever process dies at whichever call, the result is the same.

use std::sync::Arc;
use std::time::Duration;

use lambda_runtime::{Context, LambdaEvent};
use rootcast_core::audit::Actor;
use rootcast_core::deployment::Deployment;
use rootcast_core::deployment::lifecycle::{Stage, StageResult, Work};
use rootcast_core::device::{Driver, Pin, Profile};
use rootcast_core::job::Pass;
use rootcast_core::job::message::Task;
use rootcast_core::job::task::TaskState;
use rootcast_drivers::{Redfish, observe};
use rootcast_ledger::{DeviceRecord, SignedPlace, TaskKey, UseRecord};
use rootcast_operations::Request;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_queue::Queue;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{asked, begin, binding, deployed, device};
use crate::authority::regenerator::{Regenerator, seconds_ago};
use crate::authority::wire::{Cut, Wire};
use crate::fake::{Fake, GENERATE, Model, PASSWORD, REPLACE, Reply, USER};
use crate::interruptions::deliver;
use crate::stack::{LIMIT, PREFIX, Stack, by_tests, until};

const DEVICE: &str = "bmc";

#[tokio::test]
async fn a_worker_dead_during_a_request_is_replaced() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let fake = device(stack, DEVICE, Model::OpenBmc).await;
        fake.fault(|request, _| request.is("POST", GENERATE).then_some(Reply::Hang));
        let job = begin(stack, DEVICE).await;
        until("the device is asked for a request", LIMIT, async || (asked(&fake).0 > 0).then_some(())).await;
        fake.recover();
        assert!(stack.crash("WorkerFunction").await > 0);
        deployed(stack, &job).await;
        assert_eq!(asked(&fake), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_worker_dead_during_a_restart_is_replaced_without_writes() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let fake = device(stack, DEVICE, Model::OpenBmc).await;
        fake.restarts(Duration::from_secs(2), Duration::from_secs(1));
        let job = begin(stack, DEVICE).await;
        until("the device is given its certificate", LIMIT, async || (asked(&fake).1 > 0).then_some(())).await;
        assert!(stack.crash("WorkerFunction").await > 0);
        deployed(stack, &job).await;
        assert_eq!(asked(&fake), (0, 0));
    })
    .await;
}

/// Each time a little later in its work.
#[tokio::test]
async fn an_issuer_that_keeps_dying_signs_its_reserved_certificate() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let fake = device(stack, DEVICE, Model::OpenBmc).await;
        deliver(stack, "IssueFunction", false).await;
        let job = begin(stack, DEVICE).await;
        until("the device has made its request", LIMIT, async || {
            (binding(stack, &job).await.lifecycle.stage == Some(Stage::PostCsr)).then_some(())
        })
        .await;
        deliver(stack, "IssueFunction", true).await;
        let sqs = aws_sdk_sqs::Client::new(&stack.local.sdk_config);
        let url = stack.local.outputs.of("IssueQueueUrl").unwrap();
        let task = json!({ "job": job.job, "leg": "install", "device": DEVICE, "attempt": 1 }).to_string();
        for step in 0..8 {
            sqs.send_message().queue_url(url).message_body(&task).send().await.unwrap();
            tokio::time::sleep(Duration::from_millis(25 * step)).await;
            stack.crash("IssueFunction").await;
            // The local cloud pauses a function for a second after a failure.
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
        sqs.send_message().queue_url(url).message_body(&task).send().await.unwrap();
        let record = deployed(stack, &job).await;
        assert_eq!(asked(&fake), (1, 1));
        let signed = stack.ledger.signed(SignedPlace::newest(1).unwrap(), 10).await.unwrap().rows;
        let serials: Vec<String> = signed.iter().map(|(serial, _)| serial.to_string()).collect();
        assert_eq!(serials, [record.leaf.serial()], "no other number was reserved");
    })
    .await;
}

/// The function that dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The worker that has the device make a request.
    Request,
    Issue,
    /// The worker that installs the certificate on the device.
    Install,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_survives_a_crash_at_every_call() {
    die_everywhere(Turn::Request, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_survives_a_crash_at_every_call() {
    die_everywhere(Turn::Issue, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_survives_a_crash_at_every_call() {
    die_everywhere(Turn::Install, 8).await;
}

/// Before each call is sent, and before each answer is received.
async fn die_everywhere(turn: Turn, at_least: usize) {
    Stack::run(0, async |stack| {
        stack.store_credential(DEVICE, USER, PASSWORD).await;
        for (kind, cut) in [("request", Cut::Request as fn(usize) -> Cut), ("answer", Cut::Answer)] {
            let mut deaths = 0;
            for n in 1.. {
                let scene = Scene::open(stack, &format!("{turn:?}-{kind}-{n}")).await;
                let wire = Wire::cut_at(cut(n));
                for each in [Turn::Request, Turn::Issue, Turn::Install] {
                    match each == turn {
                        true => {
                            scene.take(each, &wire, seconds_ago::<130>).await;
                            break;
                        }
                        false => scene.take(each, &Wire::default(), seconds_ago::<300>).await,
                    }
                }
                scene.end().await;
                scene.assert_whole(turn).await;
                if !wire.has_died() {
                    break;
                }
                deaths += 1;
            }
            eprintln!("{turn:?}: died {deaths} times at the {kind}");
            assert!(deaths >= at_least, "{deaths} calls are too few");
        }
    })
    .await;
}

/// A regenerator with a root, and a device that needs its own certificate.
struct Scene {
    regenerator: Regenerator,
    fake: Fake,
    job: Deployment,
}

impl Scene {
    async fn open(stack: &Stack, name: &str) -> Self {
        let regenerator = Regenerator::open(&stack.local, &name.to_lowercase()).await;
        let founded = regenerator.put(&Wire::default(), seconds_ago::<400>).await;
        assert!(founded.status.is_success(), "{founded:?}");
        regenerator.make_issuing(seconds_ago::<400>()).await;
        let fake = Fake::start(Model::OpenBmc).await;
        let (address, credential) = (fake.address.clone(), format!("{PREFIX}{DEVICE}"));
        let mut device = DeviceRecord::new(
            DEVICE.parse().unwrap(),
            rootcast_core::device::Incarnation::from_random([1; 16]),
            address,
            Driver::Redfish,
            Profile::Openbmc,
            credential,
        );
        device.pins = vec![fake.pin];
        regenerator.ledger.enrol(std::slice::from_ref(&device), &by_tests(), OffsetDateTime::now_utc()).await.unwrap();
        let by = Actor { principal: "tests".to_owned(), request_id: None };
        let request = Request { by: &by, now: seconds_ago::<350>() };
        let job = rootcast_operations::issue(&regenerator.ledger, &device.id, request).await.unwrap();
        Self { regenerator, fake, job }
    }

    /// Delivers the device's task to a process with this wire and this clock.
    async fn take(&self, turn: Turn, wire: &Wire, clock: fn() -> OffsetDateTime) {
        match turn {
            Turn::Issue => {
                let mut context = Context::default();
                context.deadline = u64::try_from((clock().unix_timestamp() + 60) * 1000).unwrap();
                let event = LambdaEvent::new(serde_json::from_value(self.message()).unwrap(), context);
                issue::handle(&self.issuer(wire, clock), event).await.unwrap();
            }
            Turn::Request | Turn::Install => {
                let event = LambdaEvent::new(serde_json::from_value(self.message()).unwrap(), Context::default());
                worker::handle(&Arc::new(self.worker(wire, clock)), event).await;
            }
        }
    }

    /// Runs healthy processes in turn. The dead process's leases have expired by now.
    async fn end(&self) {
        for _ in 0..3 {
            if self.is_settled().await {
                return;
            }
            self.take(Turn::Request, &Wire::default(), seconds_ago::<0>).await;
            self.take(Turn::Issue, &Wire::default(), seconds_ago::<0>).await;
        }
        assert!(self.is_settled().await, "{:?}", self.binding().await);
    }

    async fn is_settled(&self) -> bool {
        let key = TaskKey { job: self.job.id, pass: Pass::Install, device: DEVICE.parse().unwrap() };
        let (_, tasks) = self.regenerator.ledger.jobs_and_tasks([], std::slice::from_ref(&key)).await.unwrap();
        let task = tasks.get(&key);
        assert!(task.is_none_or(|task| task.state == TaskState::Acked), "{task:?}");
        task.is_some()
    }

    async fn binding(&self) -> UseRecord {
        self.regenerator.ledger.uses_by(self.job.certificate, &self.job.devices).await.unwrap().remove(0)
    }

    /// Checks that the result is the same as without a crash.
    async fn assert_whole(&self, turn: Turn) {
        let ledger = &self.regenerator.ledger;
        let binding = self.binding().await;
        assert_eq!((binding.lifecycle.stage, binding.lifecycle.in_error), (None, false), "{binding:?}");
        let done: Vec<Stage> = binding.lifecycle.history[1..].iter().map(|entry| entry.stage).collect();
        assert_eq!(done, Work::Issue.stages(), "{binding:?}");
        assert!(binding.lifecycle.history[1..].iter().all(|entry| entry.result == StageResult::Done), "{binding:?}");

        let record = ledger.certificate(self.job.certificate).await.unwrap().unwrap();
        let signed = ledger.signed(SignedPlace::newest(1).unwrap(), 10).await.unwrap().rows;
        let known: Vec<_> = signed.iter().map(|(serial, signed)| (serial.to_string(), signed.leaf)).collect();
        let (number, leaf) = (record.leaf.serial().to_owned(), record.leaf.fingerprint());
        assert_eq!(known, [(number, Some(leaf))], "a certificate that nobody knows");
        let shown = observe(&"127.0.0.1".parse().unwrap(), &self.fake.address).await.unwrap();
        assert_eq!(shown.certificate, record.leaf.fingerprint());

        let device = ledger.device(&DEVICE.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(device.pins, [Pin::Key(Fingerprint::of(record.leaf.spki_der()))]);
        assert_eq!((device.certificate, &device.bindings), (Some(record.id), &vec![record.id]));
        assert_eq!(device.lease, None);
        assert_eq!(self.fake.open_sessions(), 0);
        // A request that was not recorded is made again; a certificate that the device has is not written again.
        let requests = self.fake.requests();
        let count = |path| requests.iter().filter(|request| request.is("POST", path)).count();
        assert!(count(GENERATE) == 1 || turn == Turn::Request && count(GENERATE) == 2, "{}", count(GENERATE));
        assert_eq!(count(REPLACE), 1);
    }

    /// The message as Lambda delivers it.
    fn message(&self) -> Value {
        let (job, device) = (self.job.id, DEVICE.parse().unwrap());
        let task = Task::new(job, Pass::Install, device, 1);
        json!({ "Records": [{
            "messageId": "1",
            "receiptHandle": "none",
            "body": serde_json::to_string(&task).unwrap(),
            "attributes": { "ApproximateReceiveCount": "1" },
            "messageAttributes": {},
        }] })
    }

    fn worker(&self, wire: &Wire, clock: fn() -> OffsetDateTime) -> worker::App {
        let regenerator = &self.regenerator;
        worker::App {
            credential_prefix: PREFIX.to_owned(),
            ledger: regenerator.ledger_over(wire),
            queue: Queue::new(regenerator.sqs_over(wire)),
            ssm: regenerator.ssm_over(wire),
            sealer: regenerator.sealer(),
            events: regenerator.events_over(wire),
            redfish: Redfish::new(Arc::new("127.0.0.1".parse().unwrap())),
            control_queue: regenerator.queue.clone(),
            task_queue: regenerator.queue.clone(),
            issue_queue: regenerator.queue.clone(),
            device_timeout: Duration::from_secs(20),
            retry_base: 1,
            max_tries: 3,
            stack: "regenerator".to_owned(),
            clock,
            random: rootcast_queue::jitter,
            bundles: Default::default(),
        }
    }

    fn issuer(&self, wire: &Wire, clock: fn() -> OffsetDateTime) -> issue::App {
        let regenerator = &self.regenerator;
        issue::App {
            ledger: regenerator.ledger_over(wire),
            vault: regenerator.vault_over(wire),
            signatures: issue::signatures(),
            queue: Queue::new(regenerator.sqs_over(wire)),
            events: regenerator.events_over(wire),
            issue_queue: regenerator.queue.clone(),
            task_queue: regenerator.queue.clone(),
            control_queue: regenerator.queue.clone(),
            leaves_from_root: false,
            validity: time::Duration::days(90),
            renewal: rootcast_core::deployment::renewal::PercentLeft(33),
            revoke_superseded: true,
            crl_base: "https://pki.example.com".to_owned(),
            retry_base: 1,
            stack: "rootcast".to_owned(),
            clock,
            random: rootcast_queue::jitter,
        }
    }
}
