//! AWS in this process: every call of every function arrives here, behind the SDK's HTTP client, and every fault of
//! the cloud is injected here.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::clock;
use crate::devices::Fleet;
use crate::dynamo::{Called, Place, Tables};
use crate::functions::Function;
use crate::keys::Keys;
use crate::loopback::Loopback;
use crate::memory;
use crate::passwords::Passwords;
use crate::queues::Queues;
use crate::random::Random;
use crate::services::Services;
use crate::truth::Truth;

/// Fault rates: probabilities per call, message or invocation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A transaction, or a write that meets one, is cancelled for a conflict.
    pub conflict: f64,
    pub throttled: f64,
    pub server_error: f64,
    /// The call takes effect, and its answer is lost.
    pub lost_answer: f64,
    /// Some of KMS's hosts learn a second or two later that a key was enabled or disabled.
    pub unseen: f64,
    /// A message is delivered again although it was deleted.
    pub duplicate: f64,
    /// A message arrives minutes late.
    pub late: f64,
    /// An invocation dies between two of its calls.
    pub kill: f64,
    /// A request to a device fails, before or after it took effect.
    pub network: f64,
}

/// A service's answer.
pub type Answer = Result<Value, Refusal>;

#[derive(Debug, Clone)]
pub struct Refusal {
    pub status: u16,
    pub code: String,
    pub message: String,
    /// A cancelled transaction's reasons, one per write.
    pub reasons: Vec<Value>,
}

impl Refusal {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { status: 400, code: code.to_owned(), message: message.into(), reasons: Vec::new() }
    }

    fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

pub struct Cloud {
    pub random: Arc<Random>,
    pub faults: Mutex<Faults>,
    pub tables: Tables,
    pub queues: Queues,
    pub keys: Keys,
    pub services: Services,
    pub truth: Truth,
    pub passwords: Passwords,
    pub fleet: Fleet,
    /// The devices behind real TLS, in worlds that use it.
    pub loopback: OnceLock<Loopback>,
    /// Whether the invariants are checked. Where only calls are counted, they would take most of the time and the memory.
    pub is_watched: bool,
    trace: Mutex<VecDeque<String>>,
    lines: usize,
    calls: Mutex<BTreeMap<String, u64>>,
    injected: Mutex<BTreeMap<&'static str, u64>>,
}

/// Lines of trace to keep, unless `ROOTCAST_TRACE=n` is set.
const TRACE: usize = 250;

impl Cloud {
    pub fn new(random: Arc<Random>, is_watched: bool) -> Arc<Self> {
        let lines = std::env::var("ROOTCAST_TRACE").ok().and_then(|lines| lines.parse().ok());
        Arc::new(Self {
            random,
            faults: Mutex::default(),
            tables: Tables::new(is_watched),
            queues: Queues::default(),
            keys: Keys::default(),
            services: Services::default(),
            truth: Truth::default(),
            passwords: Passwords::default(),
            fleet: Fleet::default(),
            loopback: OnceLock::new(),
            is_watched,
            trace: Mutex::default(),
            lines: lines.unwrap_or(if is_watched { TRACE } else { 0 }),
            calls: Mutex::default(),
            injected: Mutex::default(),
        })
    }

    pub fn faults(&self) -> Faults {
        *self.faults.lock().unwrap()
    }

    pub fn note(&self, line: impl fmt::Display) {
        if self.lines == 0 {
            return;
        }
        let mut trace = self.trace.lock().unwrap();
        if trace.len() >= self.lines {
            trace.pop_front();
        }
        trace.push_back(format!("{:>10.3} {line}", clock::age().as_secs_f64()));
    }

    pub fn trace(&self) -> String {
        self.trace.lock().unwrap().iter().map(|line| format!("{line}\n")).collect()
    }

    pub fn inject(&self, fault: &'static str) {
        *self.injected.lock().unwrap().entry(fault).or_default() += 1;
    }

    /// Calls by service and operation.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.calls.lock().unwrap().clone()
    }

    pub fn injected(&self) -> BTreeMap<&'static str, u64> {
        self.injected.lock().unwrap().clone()
    }

    async fn call(&self, process: &Process, target: &str, body: &[u8]) -> Result<HttpResponse, ConnectorError> {
        let operation = target.rsplit_once('.').map_or(target, |(_, operation)| operation);
        let service = target.split(['.', '_']).next().unwrap_or_default();
        *self.calls.lock().unwrap().entry(format!("{service}.{operation}")).or_default() += 1;
        sleep(Duration::from_millis(self.random.between(1, 12))).await;
        process.dies_here(self, operation).await;
        if let Some(refusal) = self.refuse(service, operation, body) {
            self.note(format_args!("{process} {operation} !{}", refusal.code));
            return Ok(refused(&refusal));
        }
        let written = |answer: Answer| Called {
            answer: answer.map(|answer| serde_json::to_vec(&answer).unwrap()),
            rows: Vec::new(),
        };
        let Called { answer, rows } = memory::aside(|| match service {
            "DynamoDB" => self.tables.call(process.function, operation, body),
            "AmazonSQS" => written(self.queues.call(self, operation, body)),
            "TrentService" => written(self.keys.call(self, operation, body)),
            "ResourceGroupsTaggingAPI" => written(self.keys.tagged(body)),
            _ => written(self.services.call(operation, body)),
        });
        memory::given(answer.as_ref().map_or(0, Vec::len));
        if self.lines > 0 {
            self.note(format_args!("{process} {operation} {}", summary(operation, body, &rows, &answer)));
        }
        if answer.is_ok() && self.is_watched {
            self.truth.after(self, process.function, operation, body, &rows);
        }
        process.dies_here(self, operation).await;
        if answer.is_ok() && self.random.chance(self.faults().lost_answer) {
            self.inject("answer lost");
            self.note(format_args!("{process} {operation} answer lost"));
            return Err(ConnectorError::io("the answer was lost".into()));
        }
        sleep(Duration::from_millis(self.random.between(0, 5))).await;
        Ok(answer.map_or_else(|refusal| refused(&refusal), |answer| response(200, answer)))
    }

    /// A fault instead of the call.
    fn refuse(&self, service: &str, operation: &str, body: &[u8]) -> Option<Refusal> {
        let faults = self.faults();
        if self.random.chance(faults.throttled) {
            self.inject("throttled");
            return Some(Refusal::new("ThrottlingException", "Rate exceeded"));
        }
        if self.random.chance(faults.server_error) {
            self.inject("server error");
            let code = if service == "DynamoDB" { "InternalServerError" } else { "InternalFailure" };
            return Some(Refusal::new(code, "The request failed for an internal reason").status(500));
        }
        let writes = matches!(operation, "TransactWriteItems" | "PutItem" | "UpdateItem" | "DeleteItem");
        if writes && service == "DynamoDB" && self.random.chance(faults.conflict) {
            self.inject("transaction conflict");
            return Some(self.collision(operation, body));
        }
        None
    }

    fn collision(&self, operation: &str, body: &[u8]) -> Refusal {
        if operation != "TransactWriteItems" {
            return Refusal::new("TransactionConflictException", "Transaction is ongoing for the item");
        }
        let request: Value = serde_json::from_slice(body).unwrap();
        let writes = request["TransactItems"].as_array().map_or(1, Vec::len);
        let hit = usize::try_from(self.random.below(writes as u64)).unwrap();
        let reason = |index| json!({ "Code": if index == hit { "TransactionConflict" } else { "None" } });
        let reasons: Vec<Value> = (0..writes).map(reason).collect();
        let message = "Transaction cancelled, please refer cancellation reasons for specific reasons";
        Refusal { reasons, ..Refusal::new("TransactionCanceledException", message) }
    }
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cloud")
    }
}

/// A short form of a call for the trace.
fn summary(operation: &str, body: &[u8], rows: &[Place], answer: &Result<Vec<u8>, Refusal>) -> String {
    let name = |Place { pk, sk, .. }: &Place| if sk.is_empty() { pk.clone() } else { format!("{pk}/{sk}") };
    let mut told = match operation {
        "SendMessage" | "SendMessageBatch" | "ChangeMessageVisibilityBatch" => {
            String::from_utf8_lossy(body).replace("\\\"", "'").chars().take(160).collect()
        }
        _ => rows.iter().map(name).collect::<Vec<_>>().join(", "),
    };
    if let Err(refusal) = answer {
        told = format!("{told} = {} {}", refusal.code, json!(refusal.reasons));
    }
    told
}

fn refused(refusal: &Refusal) -> HttpResponse {
    let mut body = json!({ "__type": format!("com.amazonaws#{}", refusal.code), "message": refusal.message });
    if !refusal.reasons.is_empty() {
        body["CancellationReasons"] = refusal.reasons.clone().into();
    }
    response(refusal.status, serde_json::to_vec(&body).unwrap())
}

fn response(status: u16, body: Vec<u8>) -> HttpResponse {
    HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body))
}

/// One sandbox of a function. It can die at any of its calls.
pub struct Process {
    pub function: Function,
    pub number: u64,
    /// Calls and answers left until it dies.
    left: Mutex<Option<u64>>,
    pub died: Notify,
    pub is_dead: AtomicBool,
}

impl Process {
    pub fn new(function: Function, number: u64) -> Self {
        Self { function, number, left: Mutex::default(), died: Notify::new(), is_dead: AtomicBool::new(false) }
    }

    pub fn live_for(&self, calls: Option<u64>) {
        *self.left.lock().unwrap() = calls;
    }

    /// Ends everything that the process had under way.
    async fn dies_here(&self, cloud: &Cloud, operation: &str) {
        let dies = match &mut *self.left.lock().unwrap() {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if dies && !self.is_dead.swap(true, Ordering::Relaxed) {
            cloud.inject("kill");
            cloud.note(format_args!("{self} is killed at {operation}"));
            self.died.notify_one();
        }
        if self.is_dead.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}-{}", self.function, self.number)
    }
}

/// The SDK's HTTP client of one process.
#[derive(Clone)]
pub struct Wire {
    pub cloud: Arc<Cloud>,
    pub process: Arc<Process>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({})", self.process)
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { cloud, process } = self.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").unwrap_or_default();
            let body = request.body().bytes().unwrap_or_default();
            cloud.call(&process, target, body).await
        })
    }
}

impl HttpClient for Wire {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
