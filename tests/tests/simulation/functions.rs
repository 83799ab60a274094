//! The real functions, each in separate sandboxes: invoked by the schedule, by queues and by people, and killed
//! between any two of their calls.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsBatchResponse;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region, StalledStreamProtectionConfig};
use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use lambda_http::RequestExt;
use lambda_runtime::{Context, LambdaEvent};
use rootcast_authority::{CertificateAuthority, IssuingSettings, Settings};
use rootcast_core::access::second::TwoPersons;
use rootcast_core::deployment::renewal::PercentLeft;
use rootcast_core::job::Phase;
use rootcast_drivers::Redfish;
use rootcast_events::Events;
use rootcast_gate::{ScmGate, SecondPerson};
use rootcast_ledger::{Ledger, Tables};
use rootcast_meter::Meter;
use rootcast_queue::Queue;
use rootcast_seal::Sealer;
use rootcast_vault::{Notary, Vault};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use crate::clock;
use crate::cloud::{Cloud, Process, Wire};
use crate::devices::Network;
use crate::dynamo::{ACCESS, AUDIT, CERTIFICATES, DEVICES, HEADS, JOBS};
use crate::keys::{NOTARY, SEALING};
use crate::memory;
use crate::queues::{Message, url};
use crate::random::random;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Function {
    Regenerate,
    Catalog,
    Import,
    Retry,
    Access,
    Conduct,
    Worker,
    Issue,
    Rotate,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Died;

enum App {
    Http(Router),
    Regenerate(Arc<regenerate::App>),
    Conduct(Box<conduct::App>),
    Worker(Arc<worker::App>),
    Issue(Box<issue::App>),
    Rotate(Box<rotate::App>),
}

struct Sandbox {
    process: Arc<Process>,
    app: App,
}

pub struct Functions {
    cloud: Arc<Cloud>,
    /// Warm sandboxes without an invocation.
    idle: Mutex<BTreeMap<Function, Vec<Rc<Sandbox>>>>,
    started: Mutex<u64>,
    /// Invocations under way.
    running: Mutex<u64>,
    /// What each function took, of those that ended.
    runs: Mutex<BTreeMap<Function, Runs>>,
    /// The parameter `TwoPersons`.
    two_persons: Mutex<TwoPersons>,
    /// The function whose next invocation dies after so many calls and answers.
    doomed: Mutex<Option<(Function, u64)>>,
}

/// What the invocations of a function took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Runs {
    pub invocations: u64,
    /// Batches of at most ten messages, which Lambda receives and deletes.
    pub batches: u64,
    pub lasted: Duration,
    /// The most that one of them held in memory, in bytes.
    pub most_memory: u64,
}

impl Runs {
    fn add(&mut self, lasted: Duration, memory: u64) {
        self.invocations += 1;
        self.lasted += lasted;
        self.most_memory = self.most_memory.max(memory);
    }
}

impl From<rootcast_gate::routes::Function> for Function {
    fn from(function: rootcast_gate::routes::Function) -> Self {
        match function {
            rootcast_gate::routes::Function::Regenerate => Self::Regenerate,
            rootcast_gate::routes::Function::Catalog => Self::Catalog,
            rootcast_gate::routes::Function::Import => Self::Import,
            rootcast_gate::routes::Function::Retry => Self::Retry,
            rootcast_gate::routes::Function::Access => Self::Access,
            rootcast_gate::routes::Function::Console => unreachable!("a page is no call of the API"),
        }
    }
}

impl Function {
    /// The time limits of template.yaml.
    const fn limit(self) -> Duration {
        match self {
            Self::Regenerate | Self::Catalog | Self::Import | Self::Retry | Self::Access => Duration::from_secs(29),
            Self::Conduct => Duration::from_secs(60),
            Self::Issue => Duration::from_secs(120),
            Self::Rotate => Duration::from_secs(300),
            Self::Worker => Duration::from_secs(600),
        }
    }

    /// Whether it counts what jobs use.
    const fn is_of_jobs(self) -> bool {
        matches!(self, Self::Regenerate | Self::Conduct | Self::Worker | Self::Issue)
    }

    /// The memory of template.yaml, in MB.
    pub const fn memory(self) -> u64 {
        match self {
            Self::Worker | Self::Issue | Self::Retry | Self::Rotate => 256,
            Self::Regenerate | Self::Catalog | Self::Conduct | Self::Import => 512,
            Self::Access => 1024,
        }
    }

    fn clock(self) -> fn() -> OffsetDateTime {
        match self {
            Self::Regenerate => clock::of::<0>,
            Self::Catalog => clock::of::<1>,
            Self::Retry => clock::of::<2>,
            Self::Conduct => clock::of::<3>,
            Self::Worker => clock::of::<4>,
            Self::Issue => clock::of::<5>,
            Self::Import => clock::of::<6>,
            // Nothing here depends on its skew.
            Self::Access | Self::Rotate => clock::now,
        }
    }
}

/// A service's client, without what takes time and changes nothing here: signatures, which nobody checks, the choice of an
/// endpoint, and the watch over connections.
macro_rules! client {
    ($sdk:ident, $wire:expr, $meter:expr) => {
        $sdk::Client::from_conf(
            $sdk::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new("eu-central-1"))
                .allow_no_auth()
                .endpoint_url("https://aws.invalid")
                .timeout_config(TimeoutConfig::disabled())
                .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
                .retry_config(RetryConfig::standard())
                .retry_partition($sdk::config::retry::RetryPartition::custom("world").build())
                .http_client($wire.clone())
                .interceptor($meter.clone())
                .build(),
        )
    };
}

impl Functions {
    pub fn new(cloud: Arc<Cloud>) -> Self {
        Self {
            cloud,
            idle: Mutex::default(),
            started: Mutex::default(),
            running: Mutex::default(),
            runs: Mutex::default(),
            two_persons: Mutex::default(),
            doomed: Mutex::default(),
        }
    }

    /// A ledger for the tests, without faults.
    pub fn ledger(&self) -> Ledger {
        Clients::new(&self.cloud, Arc::new(Process::new(Function::Catalog, 0))).ledger
    }

    /// The SDK alone, on the same services.
    pub fn bare(&self) -> (aws_sdk_dynamodb::Client, aws_sdk_sqs::Client, aws_sdk_kms::Client) {
        let process = Arc::new(Process::new(Function::Access, 0));
        let wire = Wire { cloud: Arc::clone(&self.cloud), process };
        let meter = Meter::default();
        (client!(aws_sdk_dynamodb, wire, meter), client!(aws_sdk_sqs, wire, meter), client!(aws_sdk_kms, wire, meter))
    }

    /// The root's and the issuing authorities' keys for the tests, without faults.
    pub fn vault(&self) -> Vault {
        Clients::new(&self.cloud, Arc::new(Process::new(Function::Issue, 0))).vault()
    }

    pub async fn http(&self, function: Function, request: Request<Body>) -> Result<Response<Body>, Died> {
        self.invoke(function, async |app, context| {
            let router = match app {
                App::Http(router) => router.clone(),
                App::Regenerate(app) => regenerate::router(Arc::clone(app)),
                _ => unreachable!(),
            };
            let request = request.with_lambda_context(context);
            let response = router.oneshot(request).await.unwrap();
            // The body is part of what a cut can interrupt.
            let (parts, body) = response.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            Response::from_parts(parts, Body::from(body))
        })
        .await
    }

    /// A batch of its queue: returns the ids of the failed messages.
    pub async fn batch(&self, function: Function, messages: &[Message]) -> Result<Vec<String>, Died> {
        let record = |message: &Message| {
            json!({
                "messageId": message.id, "receiptHandle": message.receipt, "body": message.body,
                "attributes": { "ApproximateReceiveCount": message.receives.to_string() }, "messageAttributes": {},
            })
        };
        let batch = json!({ "Records": messages.iter().map(record).collect::<Vec<_>>() });
        self.runs.lock().unwrap().entry(function).or_default().batches += messages.len().div_ceil(10) as u64;
        let answer = self.event(function, batch).await?;
        Ok(answer.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect())
    }

    /// An event from a queue or the schedule. An error of the function counts as its death.
    pub async fn event(&self, function: Function, event: Value) -> Result<SqsBatchResponse, Died> {
        let cloud = Arc::clone(&self.cloud);
        self.invoke(function, async |app, context| match app {
            App::Conduct(app) => {
                let done = conduct::handle(app, LambdaEvent::new(read(event), context)).await;
                done.map_err(|error| cloud.note(format_args!("Conduct failed: {error}"))).ok()
            }
            App::Issue(app) => {
                let done = issue::handle(app, LambdaEvent::new(read(event), context)).await;
                done.map_err(|error| cloud.note(format_args!("Issue failed: {error}"))).ok()
            }
            App::Worker(app) => Some(worker::handle(app, LambdaEvent::new(read(event), context)).await),
            App::Rotate(app) => {
                let deadline = context.deadline();
                let done = rotate::handle(app, deadline).await.map(|()| SqsBatchResponse::default());
                done.map_err(|error| cloud.note(format_args!("Rotate failed: {error}"))).ok()
            }
            App::Regenerate(app) => {
                let done = regenerate::look(app).await.map(|_| SqsBatchResponse::default());
                done.map_err(|error| cloud.note(format_args!("Regenerate failed: {error}"))).ok()
            }
            App::Http(_) => None,
        })
        .await?
        .ok_or(Died)
    }

    async fn invoke<T>(&self, function: Function, work: impl AsyncFnOnce(&App, Context) -> T) -> Result<T, Died> {
        *self.running.lock().unwrap() += 1;
        let sandbox = self.sandbox(function);
        let process = &sandbox.process;
        let killed = self.cloud.random.chance(self.cloud.faults().kill);
        let doomed = self.doomed.lock().unwrap().take_if(|(of, _)| *of == function).map(|(_, calls)| calls);
        process.live_for(doomed.or_else(|| killed.then(|| self.cloud.random.below(40))));
        let mut context = Context::default();
        let invocation = format!("{process}@{}", self.cloud.random.next());
        context.request_id.clone_from(&invocation);
        context.deadline = clock::milliseconds(function.clock()() + function.limit());
        let (begun, mut most_memory) = (Instant::now(), 0);
        let done = {
            let work = memory::Weighed::new(timeout(function.limit(), work(&sandbox.app, context)));
            tokio::select! {
                biased;
                () = process.died.notified() => None,
                (done, most) = work => {
                    most_memory = most;
                    done.ok()
                }
            }
        };
        *self.running.lock().unwrap() -= 1;
        self.runs.lock().unwrap().entry(function).or_default().add(begun.elapsed(), most_memory);
        match done {
            Some(done) => {
                process.live_for(None);
                self.idle.lock().unwrap().entry(function).or_default().push(sandbox);
                Ok(done)
            }
            None => {
                self.cloud.note(format_args!("{process} is gone"));
                self.cloud.passwords.lost(&invocation);
                Err(Died)
            }
        }
    }

    /// From now on these operations need a second person.
    pub fn need_two_persons(&self, operations: TwoPersons) {
        *self.two_persons.lock().unwrap() = operations;
        self.cool();
    }

    pub fn runs(&self) -> BTreeMap<Function, Runs> {
        self.runs.lock().unwrap().clone()
    }

    /// The function's next invocation dies after so many calls and answers.
    pub fn doom(&self, function: Function, calls: u64) {
        *self.doomed.lock().unwrap() = Some((function, calls));
    }

    pub fn is_idle(&self) -> bool {
        *self.running.lock().unwrap() == 0
    }

    /// Ends every warm sandbox.
    pub fn cool(&self) {
        self.idle.lock().unwrap().clear();
    }

    fn sandbox(&self, function: Function) -> Rc<Sandbox> {
        if let Some(warm) = self.idle.lock().unwrap().entry(function).or_default().pop() {
            return warm;
        }
        let number = {
            let mut started = self.started.lock().unwrap();
            *started += 1;
            *started
        };
        let process = Arc::new(Process::new(function, number));
        let network = Network { cloud: Arc::clone(&self.cloud), process: Arc::clone(&process) };
        let two_persons = self.two_persons.lock().unwrap().clone();
        let app = app(function, Clients::new(&self.cloud, Arc::clone(&process)), network, two_persons);
        Rc::new(Sandbox { process, app })
    }
}

fn read<T: DeserializeOwned>(event: Value) -> T {
    serde_json::from_value(event).unwrap()
}

struct Clients {
    ledger: Ledger,
    queue: Queue,
    kms: aws_sdk_kms::Client,
    tagging: aws_sdk_resourcegroupstagging::Client,
    ssm: aws_sdk_ssm::Client,
    events: Events,
}

impl Clients {
    fn new(cloud: &Arc<Cloud>, process: Arc<Process>) -> Self {
        let meter = match process.function {
            function if function.is_of_jobs() => Meter::new(function.memory()),
            _ => Meter::default(),
        };
        let wire = Wire { cloud: Arc::clone(cloud), process };
        let table = |name: &str| Some(name.to_owned());
        let tables = Tables {
            certificates: table(CERTIFICATES),
            jobs: table(JOBS),
            devices: table(DEVICES),
            access: table(ACCESS),
            audit: table(AUDIT),
            heads: table(HEADS),
        };
        Self {
            ledger: Ledger::new(client!(aws_sdk_dynamodb, wire, Meter::default()), tables).metered(&meter),
            queue: Queue::new(client!(aws_sdk_sqs, wire, meter)),
            kms: client!(aws_sdk_kms, wire, meter),
            tagging: client!(aws_sdk_resourcegroupstagging, wire, meter),
            ssm: client!(aws_sdk_ssm, wire, meter),
            events: Events::new(client!(aws_sdk_eventbridge, wire, meter), "bus"),
        }
    }

    fn vault(&self) -> Vault {
        Vault::new(&self.kms, &self.tagging, "world")
    }

    fn authority(&self) -> CertificateAuthority {
        CertificateAuthority::new(self.ledger.clone(), self.vault(), time::Duration::days(120)).with_sleep(true)
    }
}

/// The parameters `RenewAtPercentLeft` and `RenewalsAnHour`.
const RENEWAL: PercentLeft = PercentLeft(33);
pub const RENEWALS_AN_HOUR: u32 = 20;

fn issuing_settings() -> IssuingSettings {
    IssuingSettings {
        validity: time::Duration::days(730),
        backdate: time::Duration::HOUR,
        crl_base: "https://pki.example.com".to_owned(),
        roles: "arn:aws:iam::000000000000:role/rootcast/us-east-1/world".parse().unwrap(),
        permitted: Default::default(),
        leaves_from_root: false,
    }
}

fn app(function: Function, clients: Clients, network: Network, two_persons: TwoPersons) -> App {
    let (authority, vault) = (clients.authority(), clients.vault());
    let Clients { ledger, queue, kms, ssm, events, .. } = clients;
    let sealer = Sealer::new(&kms, SEALING);
    let (control_queue, task_queue, issue_queue) = (url("control"), url("task"), url("issue"));
    let (stack, clock) = ("world".to_owned(), function.clock());
    let second = SecondPerson::new(ledger.clone(), two_persons, clock);
    match function {
        Function::Rotate => App::Rotate(Box::new(rotate::App {
            ledger,
            events,
            notary: Notary::new(&kms, NOTARY),
            queue,
            control_queue,
            renewal: RENEWAL,
            renewals_an_hour: RENEWALS_AN_HOUR,
            bucket: None,
            stack,
            clock,
        })),
        Function::Regenerate => App::Regenerate(Arc::new(regenerate::App {
            workers: 50,
            second,
            ledger,
            authority,
            queue,
            control_queue,
            settings: Settings {
                root_name: "Root".to_owned(),
                subject: "O=World".parse().unwrap(),
                permitted: Default::default(),
                validity: time::Duration::days(3650),
                backdate: time::Duration::HOUR,
                hold_down: 0,
                until: Phase::Activate,
                crl_base: None,
                roles: "arn:aws:iam::000000000000:role/rootcast/us-east-1/world".parse().unwrap(),
            },
            clock,
        })),
        Function::Catalog => App::Http(catalog::router(catalog::App::new(catalog::Parts {
            second,
            gate: ScmGate::new(ledger.clone(), sealer),
            ledger,
            queue,
            control_queue,
            issue_queue,
            task_queue,
            networks: "10.0.0.0/8".parse().unwrap(),
            sealer: Sealer::new(&kms, SEALING),
            credential_prefix: "/devices/".to_owned(),
            ssm,
            prices: Default::default(),
            clock,
        }))),
        Function::Import => App::Http(import::router(Arc::new(import::App {
            second,
            gate: ScmGate::new(ledger.clone(), Sealer::new(&kms, SEALING)),
            sealer,
            events,
            roots: import::Roots::new(ledger.clone(), Vec::new),
            ledger,
            clock,
        }))),
        Function::Retry => {
            App::Http(retry::router(Arc::new(retry::App { ledger, queue, control_queue, issue_queue, clock })))
        }
        Function::Access => {
            App::Http(access::router(Arc::new(access::App { second, ledger, idle: time::Duration::hours(1), clock })))
        }
        Function::Conduct => App::Conduct(Box::new(conduct::App {
            ledger,
            authority: authority.with_issuing(issuing_settings()),
            queue,
            control_queue,
            task_queue,
            stall: time::Duration::seconds(900),
            issuer_timeout: time::Duration::seconds(120),
            renewal: RENEWAL,
            renewals_an_hour: RENEWALS_AN_HOUR,
            stack,
            clock,
        })),
        Function::Worker => App::Worker(Arc::new(worker::App {
            ledger,
            queue,
            ssm,
            sealer,
            events,
            redfish: Redfish::over(Arc::new(network), Arc::new("10.0.0.0/8".parse().unwrap())),
            credential_prefix: "/devices/".to_owned(),
            control_queue,
            task_queue,
            issue_queue,
            device_timeout: Duration::from_secs(90),
            retry_base: 30,
            max_tries: 5,
            stack,
            clock,
            random,
            bundles: Default::default(),
        })),
        Function::Issue => App::Issue(Box::new(issue::App {
            ledger,
            vault,
            signatures: issue::signatures(),
            queue,
            events,
            issue_queue,
            task_queue,
            control_queue,
            leaves_from_root: false,
            validity: time::Duration::days(365),
            renewal: RENEWAL,
            revoke_superseded: true,
            crl_base: "https://pki.example.com".to_owned(),
            retry_base: 30,
            stack: "rootcast".to_owned(),
            clock,
            random,
        })),
    }
}
