//! Imports per second, compared in the same run on the local cloud with the SDK calls that every import needs: read
//! the token, create a data key, write record, name, leaf and the two items of the audit chain in one transaction,
//! and send the event.
//!
//! `cargo bench --bench imports`, on an idle machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a benchmark prints, and breaks off where something is missing"
)]

#[path = "../tests/it/import/pki.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod pki;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::builders::PutBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_kms::types::DataKeySpec;
use axum::body::Body;
use futures::{StreamExt, stream};
use http::Request;
use rootcast_core::access::permission::Role;
use rootcast_events::Events;
use rootcast_gate::{ScmGate, SecondPerson};
use rootcast_ledger::{Ledger, Tables, TokenRecord};
use rootcast_local::{LocalOptions, LocalStack, Progress};
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_seal::Sealer;
use serde_json::json;
use time::OffsetDateTime;
use tower::ServiceExt;

const TOKEN: &str = "a-token-for-a-benchmark-and-for-nothing-else";
/// The two sides alternate, so that both run under the same conditions.
const ROUNDS: usize = 6;
const IMPORTS: usize = 100;
const AT_ONCE: usize = 16;

#[tokio::main]
async fn main() {
    let local = LocalStack::start(LocalOptions::new(0, Progress::silent()).unwrap()).await.unwrap();
    let bodies: Vec<String> = (0..ROUNDS * IMPORTS)
        .map(|number| {
            let bundle = pki::Bundle::new(&format!("h{number}.example.com"));
            json!({"name": format!("host-{number}"), "certificate": bundle.all(), "private_key": bundle.key})
                .to_string()
        })
        .collect();
    let router = import::router(Arc::new(app(&local).await));
    let bare = Bare::new(&local);
    let (mut ours, mut theirs) = (Duration::ZERO, Duration::ZERO);
    for round in bodies.chunks(IMPORTS) {
        ours += timed(round, async |body| {
            let request = Request::post("/v3/scm/certificates/import")
                .header("authorization", format!("Bearer {TOKEN}"))
                .header("content-type", "application/json")
                .body(Body::from(body.clone()));
            let answer = router.clone().oneshot(request.unwrap()).await.unwrap();
            let status = answer.status();
            let told = axum::body::to_bytes(answer.into_body(), 1 << 16).await.unwrap();
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&told));
        })
        .await;
        theirs += timed(round, async |body| bare.calls(body).await).await;
    }
    let rate = |took: Duration| (ROUNDS * IMPORTS) as f64 / took.as_secs_f64();
    println!("imports          {:>7.0} /s", rate(ours));
    println!("bare SDK calls   {:>7.0} /s", rate(theirs));
    println!("ratio            {:>7.2}", rate(ours) / rate(theirs));
    local.shutdown().await.unwrap();
}

async fn timed(bodies: &[String], work: impl AsyncFn(&String)) -> Duration {
    let begun = Instant::now();
    stream::iter(bodies).for_each_concurrent(AT_ONCE, |body| work(body)).await;
    begun.elapsed()
}

async fn app(local: &LocalStack) -> import::App {
    let config = &local.sdk_config;
    let output = |name| local.outputs.of(name).unwrap().to_owned();
    let tables = Tables {
        certificates: Some(output("CertificatesTable")),
        audit: Some(output("AuditTable")),
        access: Some(output("AccessTable")),
        ..Tables::default()
    };
    let ledger = Ledger::new(aws_sdk_dynamodb::Client::new(config), tables);
    let created = OffsetDateTime::now_utc();
    let expires = created + time::Duration::HOUR;
    let record = TokenRecord {
        principal: "bench".to_owned(),
        grants: Role::Operator.into(),
        granted: None,
        exchanged: None,
        created,
        expires,
    };
    ledger.put_token(&Fingerprint::of(TOKEN.as_bytes()), &record).await.unwrap();
    let kms = aws_sdk_kms::Client::new(config);
    import::App {
        gate: ScmGate::new(ledger.clone(), Sealer::new(&kms, output("AccessKeyArn"))),
        sealer: Sealer::new(&kms, output("SealingKeyArn")),
        events: Events::new(aws_sdk_eventbridge::Client::new(config), "default"),
        roots: import::Roots::new(ledger.clone(), Vec::new),
        second: SecondPerson::new(ledger.clone(), Default::default(), OffsetDateTime::now_utc),
        ledger,
        clock: OffsetDateTime::now_utc,
    }
}

/// Only the official SDK.
struct Bare {
    database: aws_sdk_dynamodb::Client,
    kms: aws_sdk_kms::Client,
    events: aws_sdk_eventbridge::Client,
    access: String,
    certificates: String,
    audit: String,
    key: String,
}

impl Bare {
    fn new(local: &LocalStack) -> Self {
        let output = |name| local.outputs.of(name).unwrap().to_owned();
        Self {
            database: aws_sdk_dynamodb::Client::new(&local.sdk_config),
            kms: aws_sdk_kms::Client::new(&local.sdk_config),
            events: aws_sdk_eventbridge::Client::new(&local.sdk_config),
            access: output("AccessTable"),
            certificates: output("CertificatesTable"),
            audit: output("AuditTable"),
            key: output("SealingKeyArn"),
        }
    }

    /// Writes as many bytes as an import.
    async fn calls(&self, body: &str) {
        let id = || AttributeValue::S(uuid::Uuid::new_v4().to_string());
        self.database.get_item().table_name(&self.access).key("id", id()).consistent_read(true).send().await.unwrap();
        let context = HashMap::from([("a".to_owned(), "b".to_owned())]);
        let made = self.kms.generate_data_key().key_id(&self.key).key_spec(DataKeySpec::Aes256);
        made.set_encryption_context(Some(context)).send().await.unwrap();
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let write = |put: PutBuilder, key: &str, body: &str| {
            let put = put.item("body", text(body)).condition_expression(format!("attribute_not_exists({key})"));
            TransactWriteItem::builder().put(put.build().unwrap()).build()
        };
        let certificate =
            |body: &str| write(Put::builder().table_name(&self.certificates).item("id", id()), "id", body);
        let job = |sort: &str, body: &str| {
            write(Put::builder().table_name(&self.audit).item("pk", id()).item("sk", text(sort)), "pk", body)
        };
        let copies = Update::builder().table_name(&self.certificates).key("id", id());
        let copies = copies
            .update_expression("SET certificate = if_not_exists(certificate, :id) ADD copies :one")
            .expression_attribute_values(":id", text("scs0000000000001"))
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()));
        let entry = "x".repeat(420);
        let writes = vec![
            certificate(body),
            certificate("name"),
            TransactWriteItem::builder().update(copies.build().unwrap()).build(),
            job("audit#000000000001", &entry),
            job("audit", &entry[..80]),
        ];
        self.database.transact_write_items().set_transact_items(Some(writes)).send().await.unwrap();
        let entry = PutEventsRequestEntry::builder().source("bench").detail_type("Bare").detail("{}").build();
        self.events.put_events().entries(entry).send().await.unwrap();
    }
}
