//! The function `issue` in this process, and a device that waits for its certificate. The device's request is
//! recorded as the worker would do it.

use aws_sdk_dynamodb::types::AttributeValue;
use issue::{Lists, Wake};
use lambda_runtime::{Context, LambdaEvent};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::message::{Publish, Task};
use rootcast_core::job::task::TaskRecord;
use rootcast_core::job::{JobId, Pass};
use rootcast_ledger::{CertificateRecord, Issuance, TaskKey, UseRecord};
use rootcast_operations::Request;
use rootcast_queue::Queue;
use rootcast_vault::Vault;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::regenerator::{DEVICE, Regenerator, seconds_ago};
use super::wire::Wire;
use crate::stack::by_tests;

pub(super) const CRL_BASE: &str = "http://pki.example.com";

/// A device that waits for its certificate, and its job.
pub(super) struct Requester<'a> {
    pub(super) regenerator: &'a Regenerator,
    pub(super) job: JobId,
    pub(super) certificate: CertificateId,
}

/// A request like a device's.
pub(super) fn request() -> String {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    rcgen::CertificateParams::new(Vec::new()).unwrap().serialize_request(&key).unwrap().pem().unwrap()
}

pub(super) fn issuer(regenerator: &Regenerator, wire: &Wire, clock: fn() -> OffsetDateTime) -> issue::App {
    issuer_with(regenerator, wire, regenerator.vault_over(wire), clock)
}

pub(super) fn issuer_with(
    regenerator: &Regenerator,
    wire: &Wire,
    vault: Vault,
    clock: fn() -> OffsetDateTime,
) -> issue::App {
    issue::App {
        ledger: regenerator.ledger_over(wire),
        vault,
        signatures: issue::signatures(),
        queue: Queue::new(regenerator.sqs_over(wire)),
        events: regenerator.events_over(wire),
        issue_queue: regenerator.queue().to_owned(),
        task_queue: regenerator.queue().to_owned(),
        control_queue: regenerator.queue().to_owned(),
        leaves_from_root: false,
        validity: Duration::days(90),
        renewal: rootcast_core::deployment::renewal::PercentLeft(33),
        revoke_superseded: true,
        crl_base: CRL_BASE.to_owned(),
        retry_base: 1,
        stack: "rootcast".to_owned(),
        clock,
        random: rootcast_queue::jitter,
    }
}

fn context(app: &issue::App) -> Context {
    let mut context = Context::default();
    context.deadline = u64::try_from(((app.clock)().unix_timestamp() + 60) * 1000).unwrap();
    context
}

/// Whether the message was processed.
pub(super) async fn deliver(app: &issue::App, body: &Value, receives: u32) -> bool {
    let event = json!({ "Records": [{
        "messageId": "message", "receiptHandle": "handle", "body": body.to_string(),
        "attributes": { "ApproximateReceiveCount": receives.to_string() },
    }] });
    let wake = Wake::Queue(serde_json::from_value(event).unwrap());
    issue::handle(app, LambdaEvent::new(wake, context(app))).await.unwrap().batch_item_failures.is_empty()
}

pub(super) async fn publish(app: &issue::App, crl: rootcast_pki::crl::CrlId) -> bool {
    deliver(app, &serde_json::to_value(Publish { crl }).unwrap(), 1).await
}

pub(super) async fn wake(app: &issue::App) {
    issue::handle(app, LambdaEvent::new(Wake::Schedule { what: Lists::Lists }, context(app))).await.unwrap();
}

impl<'a> Requester<'a> {
    /// Prepares a device that has made a request, for its first certificate or a renewal.
    pub(super) async fn open(regenerator: &'a Regenerator, request: &str) -> Self {
        let by = Request { by: &by_tests(), now: seconds_ago::<30>() };
        let job = rootcast_operations::issue(&regenerator.ledger, &device(), by).await.unwrap();
        let requester = Self { regenerator, job: job.id, certificate: job.certificate };
        let binding = requester.binding().await;
        let lifecycle =
            binding.lifecycle.advance(1, Stage::PostCsr, "The device has made its request.", by.now).unwrap();
        let address = regenerator.ledger.device(&device()).await.unwrap().unwrap().address;
        let issuance = Some(Issuance { request: request.to_owned(), address: Some(address), reserved: None });
        regenerator.ledger.save_use(&UseRecord { issuance, ..binding.with(lifecycle, by.now) }).await.unwrap();
        requester
    }

    pub(super) fn message(&self) -> Value {
        let task = Task::new(self.job, Pass::Install, device(), 1);
        serde_json::to_value(task).unwrap()
    }

    pub(super) async fn binding(&self) -> UseRecord {
        let device = device();
        self.regenerator.ledger.uses_by(self.certificate, [&device]).await.unwrap().remove(0)
    }

    pub(super) async fn record(&self) -> CertificateRecord {
        self.regenerator.ledger.certificate(self.certificate).await.unwrap().unwrap()
    }

    pub(super) async fn task(&self) -> Option<TaskRecord> {
        let key = TaskKey { job: self.job, pass: Pass::Install, device: device() };
        self.regenerator.ledger.jobs_and_tasks([], std::slice::from_ref(&key)).await.unwrap().1.remove(&key)
    }

    /// Ends the job as the conductor would, so that another one can begin.
    pub(super) async fn end(&self) {
        self.regenerator
            .ledger
            .reset_use(&self.binding().await, "The test is done with it.", seconds_ago::<0>())
            .await
            .unwrap();
    }

    /// Items of the certificates table whose sort key has this prefix.
    pub(super) async fn items(&self, prefix: &str) -> Vec<String> {
        let scanned = aws_sdk_dynamodb::Client::new(self.regenerator.config()).scan();
        let items = scanned.table_name(self.regenerator.certificates_table()).send().await.unwrap().items.unwrap();
        let ids = items.into_iter().filter_map(|mut item| match item.remove("id") {
            Some(AttributeValue::S(id)) => id.strip_prefix(prefix).map(str::to_owned),
            _ => None,
        });
        ids.collect()
    }

    /// Messages with this body in the queue.
    pub(super) async fn sent(&self, body: &Value) -> usize {
        let sqs = aws_sdk_sqs::Client::new(self.regenerator.config());
        let mut found = 0;
        loop {
            let asked = sqs.receive_message().queue_url(self.regenerator.queue()).max_number_of_messages(10);
            let messages = asked.send().await.unwrap().messages.unwrap_or_default();
            if messages.is_empty() {
                return found;
            }
            let same = |text: &str| serde_json::from_str::<Value>(text).is_ok_and(|other| other == *body);
            found += messages.iter().filter(|message| message.body().is_some_and(same)).count();
        }
    }
}

pub(super) fn device() -> DeviceId {
    DEVICE.parse().unwrap()
}
