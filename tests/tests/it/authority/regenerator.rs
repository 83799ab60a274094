//! The function `regenerate` in this process, with the local cloud's DynamoDB, SQS and KMS.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::{BillingMode, GlobalSecondaryIndex};
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::types::KeyState;
use aws_sdk_resourcegroupstagging::types::TagFilter;
use axum::body::{Body, to_bytes};
use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderMap, Request, StatusCode};
use rootcast_authority::{CertificateAuthority, IssuingSettings, Settings};
use rootcast_core::access::permission::Role;
use rootcast_core::device::{DeviceId, Driver, Pin, Profile};
use rootcast_core::job::{Job, JobId, JobState, Phase};
use rootcast_events::Events;
use rootcast_gate::SecondPerson;
use rootcast_ledger::{DeviceRecord, Editor, Ledger, Tables, TokenRecord};
use rootcast_local::LocalStack;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_queue::Queue;
use rootcast_seal::Sealer;
use rootcast_vault::{GENERATION_TAG, INSTALLATION_TAG, SERIAL_TAG, STACK_TAG, Vault};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::Instant;
use tower::ServiceExt;

use super::wire::Wire;
use crate::stack::by_tests;

pub(crate) const TOKEN: &str = "b2ZmaWNlLW9mZmljZS1vZmZpY2Utb2ZmaWNlLW9mZmljZQ==";
pub(crate) const DEVICE: &str = "bmc-0001";
pub(crate) const OPS: Editor<'static> =
    Editor { name: "ops", request: None, may_approve: true, may_release: true, may_revoke: true };

/// A deployment without functions: tables as in template.yaml, queues without consumers, keys under a separate tag.
/// Creating one takes some milliseconds, and nothing else writes to it.
pub(crate) struct Regenerator {
    config: SdkConfig,
    tables: Tables,
    pub(crate) queue: String,
    name: String,
    pub(crate) ledger: Ledger,
}

/// The answer that a caller gets.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn job_path(&self) -> &str {
        self.body["response"]["jobPath"].as_str().unwrap()
    }

    pub(crate) fn location(&self) -> Option<&str> {
        self.headers.get(LOCATION).map(|location| location.to_str().unwrap())
    }

    /// Text, explanation and recovery of the first message; none may be empty.
    pub(crate) fn message(&self) -> [&str; 3] {
        let message = &self.body["messages"][0];
        let told = [&message["text"], &message["explanation"], &message["recovery"]["text"]]
            .map(|each| each.as_str().unwrap());
        assert!(told.iter().all(|each| !each.is_empty()), "{self:?}");
        told
    }
}

/// The clock of a process that started this many seconds ago.
pub(crate) fn seconds_ago<const SECONDS: i64>() -> OffsetDateTime {
    OffsetDateTime::now_utc() - time::Duration::seconds(SECONDS)
}

impl Regenerator {
    pub(crate) async fn open(stack: &LocalStack, name: &str) -> Self {
        Self::made(stack, name, name).await
    }

    /// The stack after it was deleted and recreated under its name: new tables, existing keys.
    pub(crate) async fn again(&self, stack: &LocalStack) -> Self {
        Self::made(stack, &self.name, &format!("{}-again", self.name)).await
    }

    async fn made(stack: &LocalStack, name: &str, prefix: &str) -> Self {
        let config = stack.sdk_config.clone();
        let dynamodb = aws_sdk_dynamodb::Client::new(&config);
        let copy = async |output: &str| {
            let copied = format!("{prefix}-{output}");
            copy_table(&dynamodb, stack.outputs.of(output).unwrap(), &copied).await;
            Some(copied)
        };
        let tables = Tables {
            certificates: copy("CertificatesTable").await,
            jobs: copy("JobsTable").await,
            devices: copy("DevicesTable").await,
            access: copy("AccessTable").await,
            audit: copy("AuditTable").await,
            heads: None,
        };
        let created = aws_sdk_sqs::Client::new(&config).create_queue().queue_name(prefix).send().await.unwrap();
        let ledger = Ledger::new(dynamodb, tables.clone());
        let regenerator = Self { config, tables, queue: created.queue_url.unwrap(), name: name.to_owned(), ledger };
        regenerator.admit(TOKEN, seconds_ago::<-3600>()).await;
        regenerator
    }

    pub(crate) async fn admit(&self, token: &str, expires: OffsetDateTime) {
        let record = TokenRecord {
            principal: "tests".to_owned(),
            grants: Role::Administrator.into(),
            granted: None,
            exchanged: None,
            expires,
            created: seconds_ago::<0>(),
        };
        self.ledger.put_token(&Fingerprint::of(token.as_bytes()), &record).await.unwrap();
    }

    pub(super) fn kms(&self) -> aws_sdk_kms::Client {
        aws_sdk_kms::Client::new(&self.config)
    }

    pub(super) fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// The only queue, for every purpose.
    pub(super) fn queue(&self) -> &str {
        &self.queue
    }

    pub(super) fn certificates_table(&self) -> &str {
        self.tables.certificates.as_deref().unwrap()
    }

    /// Enrols an approved device that cannot be reached.
    pub(crate) async fn enrol(&self) {
        self.ledger.enrol(&[unreachable_device(DEVICE)], &by_tests(), seconds_ago::<0>()).await.unwrap();
    }

    /// The function, started at this clock, with this wire.
    pub(crate) fn app(&self, wire: &Wire, clock: fn() -> OffsetDateTime) -> regenerate::App {
        let ledger = self.ledger_over(wire);
        regenerate::App {
            workers: 50,
            authority: CertificateAuthority::new(ledger.clone(), self.vault_over(wire), time::Duration::days(30)),
            second: SecondPerson::new(ledger.clone(), Default::default(), clock),
            ledger,
            queue: Queue::new(self.sqs_over(wire)),
            control_queue: self.queue.clone(),
            settings: settings(),
            clock,
        }
    }

    /// The function with another KMS.
    pub(crate) fn app_with_vault(&self, vault: Vault) -> regenerate::App {
        let authority = CertificateAuthority::new(self.ledger.clone(), vault, time::Duration::days(30));
        regenerate::App { authority, ..self.app(&Wire::default(), seconds_ago::<0>) }
    }

    pub(super) fn authority(&self) -> CertificateAuthority {
        CertificateAuthority::new(self.ledger.clone(), self.vault_over(&Wire::default()), time::Duration::days(30))
    }

    /// `PUT /signingCertificate`.
    pub(crate) async fn put(&self, wire: &Wire, clock: fn() -> OffsetDateTime) -> Reply {
        put(self.app(wire, clock)).await
    }

    /// Deletes the device, and lets the conductor finish the job.
    pub(crate) async fn end_job(&self, id: JobId) -> Job {
        self.ledger.delete_device(&DEVICE.parse().unwrap(), OPS, seconds_ago::<0>()).await.unwrap();
        let job = self.conduct(id).await;
        assert_eq!(job.state, JobState::Ended, "{job:?}");
        job
    }

    fn conductor(&self, vault: Vault) -> conduct::App {
        conduct::App {
            ledger: self.ledger.clone(),
            authority: CertificateAuthority::new(self.ledger.clone(), vault, time::Duration::days(30)),
            queue: Queue::new(self.sqs_over(&Wire::default())),
            control_queue: self.queue.clone(),
            task_queue: self.queue.clone(),
            stall: time::Duration::minutes(15),
            issuer_timeout: time::Duration::minutes(2),
            renewal: rootcast_core::deployment::renewal::PercentLeft(33),
            renewals_an_hour: 100,
            stack: self.name.clone(),
            clock: seconds_ago::<0>,
        }
    }

    /// The conductor's schedule, when the tags show every key.
    pub(super) async fn wake(&self, vault: Vault) -> Result<(), conduct::ConductError> {
        let mut context = lambda_runtime::Context::default();
        let end = SystemTime::now() + Duration::from_secs(660 + 60);
        context.deadline = end.duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap();
        let wake = serde_json::from_str(r#"{"wake":"running"}"#).unwrap();
        let conductor = conduct::App { clock: seconds_ago::<-660>, ..self.conductor(vault) };
        conduct::handle(&conductor, lambda_runtime::LambdaEvent::new(wake, context)).await.map(|_| ())
    }

    /// Has an issuing authority made below the root that signs.
    pub(crate) async fn make_issuing(&self, now: OffsetDateTime) {
        let Settings { permitted, backdate, roles, .. } = settings();
        let crl_base = super::requester::CRL_BASE.to_owned();
        let validity = time::Duration::days(300);
        let settings = IssuingSettings { validity, backdate, crl_base, roles, permitted, leaves_from_root: false };
        let vault = self.vault_over(&Wire::default());
        let authority = CertificateAuthority::new(self.ledger.clone(), vault, time::Duration::days(30));
        let before = self.ledger.authority().await.unwrap();
        assert!(authority.with_issuing(settings).keep_issuing(&before, &by_tests(), now).await.unwrap());
    }

    /// Runs the conductor until it has nothing to do.
    pub(crate) async fn conduct(&self, id: JobId) -> Job {
        let conductor = self.conductor(self.vault_over(&Wire::default()));
        conductor.conduct(id, "test", Instant::now() + Duration::from_secs(60)).await.unwrap();
        self.ledger.job(id).await.unwrap().unwrap()
    }

    /// Every KMS key that was created here: generation, ARN, state.
    pub(crate) async fn keys(&self) -> Vec<(u32, String, KeyState)> {
        let kms = aws_sdk_kms::Client::new(&self.config);
        let ours = TagFilter::builder().key(STACK_TAG).values(&self.name).build();
        let tagging = aws_sdk_resourcegroupstagging::Client::new(&self.config);
        let found = tagging.get_resources().tag_filters(ours).into_paginator().items().send();
        let found: Vec<_> = found.collect::<Result<_, _>>().await.unwrap();
        let mut keys = Vec::new();
        for mapping in found {
            let tag = |name| mapping.tags().iter().find(|tag| tag.key() == name).unwrap();
            let generation = tag(GENERATION_TAG);
            // Recovery finds each key by these tags.
            assert!(tag(INSTALLATION_TAG).value().len() == 32 && tag(SERIAL_TAG).value().len() == 32);
            let arn = mapping.resource_arn().unwrap();
            let described = kms.describe_key().key_id(arn).send().await.unwrap();
            let state = described.key_metadata.unwrap().key_state.unwrap();
            keys.push((generation.value().parse().unwrap(), arn.to_owned(), state));
        }
        keys
    }

    pub(crate) async fn public_key(&self, key: &str) -> Vec<u8> {
        let kms = aws_sdk_kms::Client::new(&self.config);
        kms.get_public_key().key_id(key).send().await.unwrap().public_key.unwrap().into_inner()
    }

    pub(crate) fn vault_over(&self, wire: &Wire) -> Vault {
        let kms =
            aws_sdk_kms::config::Builder::from(&self.config).interceptor(wire.clone()).retry_config(retries(wire));
        Vault::new(&aws_sdk_kms::Client::from_conf(kms.build()), &self.tagging_over(wire), self.name.as_str())
    }

    pub(crate) fn vault_with(&self, tagging: &aws_sdk_resourcegroupstagging::Client) -> Vault {
        Vault::new(&aws_sdk_kms::Client::new(&self.config), tagging, self.name.as_str())
    }

    fn tagging_over(&self, wire: &Wire) -> aws_sdk_resourcegroupstagging::Client {
        let config = aws_sdk_resourcegroupstagging::config::Builder::from(&self.config);
        let config = config.interceptor(wire.clone()).retry_config(retries(wire));
        aws_sdk_resourcegroupstagging::Client::from_conf(config.build())
    }

    pub(crate) fn ssm_over(&self, wire: &Wire) -> aws_sdk_ssm::Client {
        let config = aws_sdk_ssm::config::Builder::from(&self.config);
        aws_sdk_ssm::Client::from_conf(config.interceptor(wire.clone()).retry_config(retries(wire)).build())
    }

    /// On the default bus, to which no test of a regenerator listens.
    pub(crate) fn events_over(&self, wire: &Wire) -> Events {
        let config = aws_sdk_eventbridge::config::Builder::from(&self.config);
        let config = config.interceptor(wire.clone()).retry_config(retries(wire)).build();
        Events::new(aws_sdk_eventbridge::Client::from_conf(config), "default")
    }

    /// With a key that does not exist: a regenerator seals nothing.
    pub(crate) fn sealer(&self) -> Sealer {
        Sealer::new(&aws_sdk_kms::Client::new(&self.config), "none")
    }

    pub(crate) fn ledger_over(&self, wire: &Wire) -> Ledger {
        let config = aws_sdk_dynamodb::config::Builder::from(&self.config);
        let config = config.interceptor(wire.clone()).retry_config(retries(wire));
        Ledger::new(aws_sdk_dynamodb::Client::from_conf(config.build()), self.tables.clone())
    }

    pub(crate) fn sqs_over(&self, wire: &Wire) -> aws_sdk_sqs::Client {
        let config = aws_sdk_sqs::config::Builder::from(&self.config);
        aws_sdk_sqs::Client::from_conf(config.interceptor(wire.clone()).retry_config(retries(wire)).build())
    }
}

/// `PUT /signingCertificate` with a valid token.
pub(crate) async fn put(app: regenerate::App) -> Reply {
    send(app, "/signingCertificate", Some(&format!("Bearer {TOKEN}"))).await
}

pub(crate) async fn send(app: regenerate::App, path: &str, authorization: Option<&str>) -> Reply {
    let mut request = Request::put(path);
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request.body(Body::empty()).unwrap();
    let answer = regenerate::router(Arc::new(app)).oneshot(request).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    Reply { status: head.status, headers: head.headers, body: serde_json::from_slice(&body).unwrap() }
}

pub(crate) fn settings() -> Settings {
    Settings {
        root_name: "Regenerator Root".to_owned(),
        subject: "O=Example Corp,C=DE".parse().unwrap(),
        permitted: Default::default(),
        validity: time::Duration::days(400),
        backdate: time::Duration::hours(1),
        hold_down: 0,
        until: Phase::Activate,
        crl_base: Some("http://pki.example.com".to_owned()),
        roles: "arn:aws:iam::000000000000:role/rootcast/us-east-1/regenerator".parse().unwrap(),
    }
}

pub(crate) fn unreachable_device(id: &str) -> DeviceRecord {
    let id: DeviceId = id.parse().unwrap();
    let (address, credential) = ("https://127.0.0.1:9".parse().unwrap(), format!("/rootcast/devices/{id}"));
    let mut device = DeviceRecord::new(
        id,
        rootcast_core::device::Incarnation::from_random([1; 16]),
        address,
        Driver::Redfish,
        Profile::Dmtf,
        credential,
    );
    device.pins = vec![Pin::Certificate(Fingerprint::of(b"nobody's certificate"))];
    device
}

/// A dead process does not retry.
fn retries(wire: &Wire) -> RetryConfig {
    if wire.is_cut() { RetryConfig::disabled() } else { RetryConfig::standard() }
}

/// Copies the schema that template.yaml defined, without the items.
async fn copy_table(dynamodb: &aws_sdk_dynamodb::Client, from: &str, to: &str) {
    let described = dynamodb.describe_table().table_name(from).send().await.unwrap().table.unwrap();
    let indexes: Vec<_> = described
        .global_secondary_indexes
        .unwrap_or_default()
        .into_iter()
        .map(|index| {
            GlobalSecondaryIndex::builder()
                .set_index_name(index.index_name)
                .set_key_schema(index.key_schema)
                .set_projection(index.projection)
                .build()
                .unwrap()
        })
        .collect();
    let created = dynamodb
        .create_table()
        .table_name(to)
        .set_attribute_definitions(described.attribute_definitions)
        .set_key_schema(described.key_schema)
        .set_global_secondary_indexes((!indexes.is_empty()).then_some(indexes))
        .billing_mode(BillingMode::PayPerRequest);
    created.send().await.unwrap();
}
