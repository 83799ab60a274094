//! A worker and one device, while AWS fails, workers die, and the device works asynchronously.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod aws;
mod batches;
mod check;
mod classes;
mod expired;
mod expression;
mod probes;
mod recording;
mod tries;
mod windows;
mod work;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use lambda_runtime::{Context, LambdaEvent};
use rootcast_core::device::{Driver, Profile};
use rootcast_core::job::message::Task;
use rootcast_core::job::task::{ErrorClass, TaskRecord, TaskState};
use rootcast_core::job::visit::{TaskAttempt, Tries};
use rootcast_core::job::{Activation, Job, JobId, NewJob, Phase};
use rootcast_core::rollover::rollout::Rollout;
use rootcast_drivers::Redfish;
use rootcast_events::Events;
use rootcast_fake as fake;
use rootcast_fake::{Fake, Model, PASSWORD, Request, USER};
use rootcast_ledger::{DeviceRecord, Ledger, Tables};
use rootcast_pki::bundle::Bundle;
use rootcast_pki::certificate::Certificate;
use rootcast_queue::Queue;
use rootcast_seal::Sealer;
use serde_json::{Value, json};
use time::OffsetDateTime;
use worker::App;

use aws::{Aws, plain, wire};

const MAX_TRIES: u32 = 3;

thread_local! {
    /// Unix time in seconds. Each test has its own thread.
    static NOW: Cell<i64> = const { Cell::new(1_000_000) };
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW.get()).unwrap()
}

fn later(seconds: i64) {
    NOW.set(NOW.get() + seconds);
}

/// The stack as a worker sees it, and a device that is to hold a new root.
struct World {
    aws: Aws,
    fake: Fake,
    app: Arc<App>,
    job: Job,
    root: Vec<u8>,
}

macro_rules! client {
    ($service:ident, $aws:expr) => {{
        let retries = $service::config::retry::RetryConfig::standard().with_initial_backoff(Duration::from_millis(1));
        let config = $service::Config::builder().behavior_version($service::config::BehaviorVersion::latest());
        let config = config.region($service::config::Region::new("eu-central-1")).retry_config(retries);
        $service::Client::from_conf(config.allow_no_auth().http_client($aws.clone()).build())
    }};
}

impl World {
    async fn new() -> Self {
        let (aws, fake) = (Aws::default(), Fake::start(Model::OpenBmc).await);
        let table = |name: &str| Some(name.to_owned());
        let tables = Tables {
            certificates: table("certificates"),
            jobs: table("jobs"),
            devices: table("devices"),
            access: None,
            audit: None,
            heads: None,
        };
        let app = App {
            ledger: Ledger::new(client!(aws_sdk_dynamodb, aws), tables),
            queue: Queue::new(client!(aws_sdk_sqs, aws)),
            ssm: client!(aws_sdk_ssm, aws),
            sealer: Sealer::new(&client!(aws_sdk_kms, aws), "none"),
            events: Events::new(client!(aws_sdk_eventbridge, aws), "default"),
            redfish: Redfish::new(Arc::new("127.0.0.1".parse().unwrap())),
            credential_prefix: "/rootcast/devices/".to_owned(),
            control_queue: "https://sqs.invalid/control".to_owned(),
            task_queue: "https://sqs.invalid/task".to_owned(),
            issue_queue: "https://sqs.invalid/issue".to_owned(),
            device_timeout: Duration::from_secs(20),
            retry_base: 30,
            max_tries: MAX_TRIES,
            stack: "test".to_owned(),
            clock: now,
            random: || 7,
            bundles: Default::default(),
        };
        let new = NewJob {
            id: JobId(7),
            generation: 2,
            old_generation: Some(1),
            activation: Activation::Proven,
            rollout: Rollout::default(),
            until: Phase::Activate,
            requested_for: None,
        };
        let world = Self { aws, job: Job::new(new, now()), app: Arc::new(app), root: fake::root("Root G2"), fake };
        world.enrol("bmc-1");
        world.password(PASSWORD);
        world.distributes()
    }

    /// Enrols the fake device under this id.
    fn enrol(&self, id: &str) {
        let (id, address, credential) =
            (id.parse().unwrap(), self.fake.address.clone(), format!("/rootcast/devices/{id}"));
        let mut device = DeviceRecord::new(
            id,
            rootcast_core::device::Incarnation::from_random([1; 16]),
            address,
            Driver::Redfish,
            Profile::Openbmc,
            credential,
        );
        device.pins = vec![self.fake.pin];
        self.aws.set_device(&device);
    }

    fn password(&self, password: &str) {
        self.aws.state().parameter = json!({ "username": USER, "password": password }).to_string();
    }

    fn distributes(mut self) -> Self {
        self.job.publish(3);
        self.job.distribute(now());
        let anchors = vec![Certificate::from_der(self.root.clone()).unwrap()];
        self.publishes(Bundle {
            version: 3,
            anchors,
            others: Vec::new(),
            withdrawn: Vec::new(),
            issued: now(),
            exp: None,
        });
        self
    }

    /// Aborts the rollover.
    fn withdraws(&mut self) {
        self.job.withdraw(4, now());
        let withdrawn = vec![Certificate::from_der(self.root.clone()).unwrap().fingerprint()];
        let anchors = vec![Certificate::from_der(fake::root("Root G1")).unwrap()];
        self.fake.hold(anchors[0].der());
        self.publishes(Bundle { version: 4, anchors, others: Vec::new(), withdrawn, issued: now(), exp: None });
    }

    fn publishes(&self, bundle: Bundle) {
        let mut state = self.aws.state();
        state.bundle = wire(&json!({ "bundle": bundle, "jws": "{}" }));
        state.job = wire(&serde_json::to_value(&self.job).unwrap());
        state.job["M"]["pk"] = json!({ "S": "7" });
        state.job["M"]["sk"] = json!({ "S": "meta" });
        state.task = None;
    }

    fn message(&self) -> Task {
        Task::new(self.job.id, self.job.pass(), "bmc-1".parse().unwrap(), 1)
    }

    fn attempt(&self) -> TaskAttempt {
        (&self.message()).into()
    }

    /// Delivers a new message. Returns whether it is done.
    async fn deliver(&self) -> bool {
        self.receive(&serde_json::to_value(self.message()).unwrap(), 1).await
    }

    async fn receive(&self, body: &Value, receives: u32) -> bool {
        self.receive_all(&[body], receives).await
    }

    /// Delivers the messages in one batch. Returns whether all are done.
    async fn receive_all(&self, bodies: &[&Value], receives: u32) -> bool {
        let record = |(number, body): (usize, &&Value)| {
            json!({
                "messageId": format!("message {number}"), "receiptHandle": "handle", "body": body.to_string(),
                "attributes": { "ApproximateReceiveCount": receives.to_string() }, "messageAttributes": {},
            })
        };
        let event = json!({ "Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>() });
        let mut context = Context::default();
        context.request_id = format!("worker at {}", NOW.get());
        let event = LambdaEvent::new(serde_json::from_value(event).unwrap(), context);
        worker::handle(&self.app, event).await.batch_item_failures.is_empty()
    }

    fn task(&self) -> Option<TaskRecord> {
        let task = self.aws.state().task.clone()?;
        Some(serde_json::from_value(plain(&json!({ "M": task }))).unwrap())
    }

    fn assert_failed(&self, class: ErrorClass) -> TaskRecord {
        let task = self.task().expect("it is recorded");
        assert_eq!(task.failure.as_ref().map(|failure| failure.class), Some(class), "{task:?}");
        task
    }

    fn assert_acked(&self) {
        assert_eq!(self.task().map(|task| task.state), Some(TaskState::Acked), "{:?}", self.device());
    }

    fn device(&self) -> DeviceRecord {
        self.aws.device("bmc-1")
    }

    /// The device's latest.
    fn tries(&self) -> Option<Tries> {
        self.device().tries.iter().next().cloned()
    }

    /// Tasks that were sent again since the last call.
    fn sent(&self) -> Vec<Value> {
        let sent = std::mem::take(&mut self.aws.state().sent);
        sent.into_iter().filter(|(queue, ..)| queue == "task").map(|(_, body, _)| body).collect()
    }
}

fn log_ins(requests: &[Request]) -> usize {
    requests.iter().filter(|request| request.is("POST", "/SessionService/Sessions")).count()
}
