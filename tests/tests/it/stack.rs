//! A stack for a test: started, used, inspected, and always stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::QueueAttributeName;
use aws_sdk_ssm::error::SdkError;
use aws_sdk_ssm::types::ParameterType;
use futures::FutureExt;
use rootcast_core::access::permission::{Grants, Role};
use rootcast_core::access::principal::PrincipalName;
use rootcast_core::audit::Actor;
use rootcast_core::device::{DeviceId, SHARDS};
use rootcast_core::job::task::{TaskRecord, TaskState};
use rootcast_core::job::{ByWave, Front, Job, JobId, JobState, Pass, Results, Tally};
use rootcast_ledger::{AccessKeyId, AccessKeyRecord, Ledger, PrincipalRecord, Tables, TokenRecord};
use rootcast_local::{Device, LocalOptions, LocalStack, Progress, store_credentials};
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_seal::Sealer;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::api::Api;
use crate::fake::Fake;
use crate::secrets::Secrets;

/// Default of template.yaml's CredentialPrefix.
pub const PREFIX: &str = "/rootcast/devices/";
/// The outputs of template.yaml with the functions' names.
pub const FUNCTIONS: [&str; 10] = [
    "RegenerateFunction",
    "ConductFunction",
    "WorkerFunction",
    "IssueFunction",
    "CatalogFunction",
    "ConsoleFunction",
    "ImportFunction",
    "RetryFunction",
    "LoginFunction",
    "RotateFunction",
];
/// A limit for every wait: nothing takes longer on two busy cores, including the minute of the conductor's schedule.
pub const LIMIT: Duration = Duration::from_secs(150);
const POLL: Duration = Duration::from_millis(50);

/// template.yaml's parameters, short enough that a test can wait for their limits.
const QUICK: [(&str, &str); 9] = [
    ("DeviceTimeoutSeconds", "6"),
    ("WorkerTimeoutSeconds", "12"),
    ("IssueTimeoutSeconds", "12"),
    ("TaskVisibilitySeconds", "13"),
    ("RetryBaseSeconds", "1"),
    ("MaxTries", "3"),
    // Longer than any wave here, so that tasks are only resent in tests that shorten it.
    ("StallSeconds", "120"),
    ("MaximumConcurrency", "4"),
    // Most tests are about the first half of a rollover.
    ("RolloverUntil", "activate"),
];

pub struct Stack {
    pub local: LocalStack,
    pub ledger: Ledger,
    pub api: Api,
    /// None of these may be in a log.
    pub secrets: Secrets,
}

impl Stack {
    /// Runs `test` on a stack with this number of emulated devices, none of them enrolled. If the test fails, prints
    /// the ends of the functions' logs.
    pub async fn run(devices: usize, test: impl AsyncFnOnce(&Self)) {
        Self::run_with(devices, &[], test).await;
    }

    /// As [`Self::run`], with other parameters of template.yaml.
    pub async fn run_with(devices: usize, parameters: &[(&str, &str)], test: impl AsyncFnOnce(&Self)) {
        let mut options = LocalOptions::new(devices, Progress::silent()).unwrap();
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        options.parameters.extend(parameters);
        Self::run_on(options, test).await;
    }

    /// As [`Self::run`], with these options; short time limits are added.
    pub async fn run_on(options: LocalOptions, test: impl AsyncFnOnce(&Self)) {
        let stack = Self::start(options).await;
        let result = AssertUnwindSafe(test(&stack)).catch_unwind().await;
        if let Err(panic) = result {
            for function in FUNCTIONS {
                let log = stack.log(function).await;
                let lines: Vec<&str> = log.lines().filter(|line| !line.contains("RequestId: ")).collect();
                eprintln!("--- {function}\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
            }
            resume_unwind(panic);
        }
        for function in FUNCTIONS {
            let found = stack.secrets.found_in(&stack.log(function).await);
            assert!(found.is_empty(), "{function} wrote into its log: {found:?}");
        }
        stack.local.shutdown().await.unwrap();
    }

    async fn start(mut options: LocalOptions) -> Self {
        for (name, value) in QUICK {
            options.parameters.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        let local = LocalStack::start(options).await.unwrap();
        let table = |output| Some(local.outputs.of(output).unwrap().to_owned());
        let tables = Tables {
            certificates: table("CertificatesTable"),
            jobs: table("JobsTable"),
            devices: table("DevicesTable"),
            access: table("AccessTable"),
            audit: table("AuditTable"),
            heads: table("HeadsTable"),
        };
        let ledger = Ledger::new(aws_sdk_dynamodb::Client::new(&local.sdk_config), tables);
        let secrets = Secrets::default();
        local.fleet.devices().for_each(|device| secrets.keep(&device.password));
        let api = api_of(&local, &ledger, &secrets, "tests", Role::Administrator).await;
        Self { local, ledger, api, secrets }
    }

    /// A client with another user's token.
    pub async fn api_of(&self, principal: &str, grants: impl Into<Grants>) -> Api {
        api_of(&self.local, &self.ledger, &self.secrets, principal, grants).await
    }

    /// Id and secret of an access key for a client that signs its requests, of a user without other credentials.
    pub async fn access_key(&self, name: &str, grants: impl Into<Grants>) -> (String, String) {
        let principal: PrincipalName = name.parse().unwrap();
        let created = OffsetDateTime::now_utc();
        let holder = PrincipalRecord {
            password: None,
            grants: grants.into(),
            epoch: 7,
            created,
            person: None,
            made_by: Default::default(),
        };
        self.ledger.put_principal(&principal, &holder, &by_tests()).await.unwrap();
        let id: AccessKeyId = "AKIDEXAMPLE012345678".parse().unwrap();
        let secret = uuid::Uuid::new_v4().to_string();
        self.secrets.keep(&secret);
        let kms = aws_sdk_kms::Client::new(&self.local.sdk_config);
        let sealer = Sealer::new(&kms, self.local.outputs.of("AccessKeyArn").unwrap());
        let record = AccessKeyRecord {
            principal,
            epoch: holder.epoch,
            secret: sealer.seal(&id.seal_context(), secret.as_bytes()).await.unwrap(),
            expires: None,
            created,
        };
        self.ledger.put_access_key(&id, &record, &by_tests()).await.unwrap();
        (id.to_string(), secret)
    }

    /// The emulated devices, in the order of their ids.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.local.fleet.devices()
    }

    /// Enrols every device of the fleet: its password stored, its certificate approved.
    pub async fn enrol_fleet(&self) {
        let devices = || self.devices().chain(self.local.fleet.fakes());
        store_credentials(&self.local.sdk_config, PREFIX, devices()).await.unwrap();
        self.enrol(devices().map(|device| device.enrolment(PREFIX)).collect()).await;
    }

    /// A parameter that a device names as its credential, and that nobody has stored, exists then.
    pub async fn enrol(&self, devices: Vec<Value>) {
        for name in devices.iter().filter_map(|device| device["credential"].as_str()) {
            self.parameter(name, "{}", false).await;
        }
        let answer = self.api.post("/devices", json!({ "devices": devices })).await.response();
        let results = answer["devices"].as_array().unwrap();
        assert_eq!(results.len(), devices.len());
        assert!(results.iter().all(|row| row["result"] == "created"), "{answer}");
    }

    /// Replaces the issuance policy by one rule for all devices.
    pub async fn permit(&self, mut rule: Value) {
        rule["prefix"] = json!(r"\VED\Policy\Devices");
        let revision = self.api.get("/issuancePolicy").await.response()["revision"].clone();
        let policy = json!({ "revision": revision, "rules": [rule] });
        self.api.send(reqwest::Method::PUT, "/issuancePolicy", Some(policy)).await.response();
    }

    /// Stores a device's user name and password where the worker reads them.
    pub async fn store_credential(&self, id: &str, username: &str, password: &str) {
        self.secrets.keep(password);
        let value = json!({ "username": username, "password": password }).to_string();
        self.parameter(&format!("{PREFIX}{id}"), &value, true).await;
    }

    async fn parameter(&self, name: &str, value: &str, overwrite: bool) {
        let put = aws_sdk_ssm::Client::new(&self.local.sdk_config).put_parameter().name(name).value(value);
        match put
            .r#type(ParameterType::SecureString)
            .overwrite(overwrite)
            .send()
            .await
            .map_err(SdkError::into_service_error)
        {
            Err(error) if !error.is_parameter_already_exists() => panic!("{error:?}"),
            _ => {}
        }
    }

    pub async fn forget_credential(&self, id: &str) {
        let delete = aws_sdk_ssm::Client::new(&self.local.sdk_config).delete_parameter();
        delete.name(format!("{PREFIX}{id}")).send().await.unwrap();
    }

    /// Creates a root that is active at once, because there are no devices yet.
    pub async fn found_root(&self) {
        let answer = self.api.put("/signingCertificate").await.response();
        assert_eq!(answer["jobPath"], "");
    }

    /// The same, then waits until the conductor has made the issuing authority below it, which changes the records of both.
    pub async fn found(&self) {
        self.found_root().await;
        let signs = async || self.ledger.authority().await.unwrap().issuing;
        until("an issuing authority signs", LIMIT, signs).await;
    }

    /// Requests a root; `query` begins with a question mark, or is empty.
    pub async fn put_root(&self, query: &str) -> JobId {
        let answer = self.api.put(&format!("/signingCertificate{query}")).await.response();
        let path = answer["jobPath"].as_str().unwrap();
        path.strip_prefix("/signingCertificate/jobs/").unwrap().parse().unwrap()
    }

    /// The id of the job that the next `PUT /signingCertificate` creates. Ids are consecutive, and this call takes
    /// one.
    pub async fn next_job(&self) -> JobId {
        JobId(self.ledger.next_job_id().await.unwrap().0 + 1)
    }

    pub async fn job(&self, id: JobId) -> Job {
        self.ledger.job(id).await.unwrap().unwrap()
    }

    /// The job, once `is_so` is true for it.
    pub async fn job_when(&self, id: JobId, what: &str, is_so: impl Fn(&Job) -> bool) -> Job {
        until(what, LIMIT, async || Some(self.job(id).await).filter(|job| is_so(job))).await
    }

    pub async fn ended(&self, id: JobId) -> Job {
        let ended = |job: &Job| job.state != JobState::Running;
        let job = self.job_when(id, "the job ends", ended).await;
        assert_eq!(job.state, JobState::Ended, "{}", job.reason);
        job
    }

    pub async fn paused(&self, id: JobId) -> Job {
        let job = self.job_when(id, "the job pauses", |job| job.state != JobState::Running).await;
        assert_eq!(job.state, JobState::Paused, "{}", job.reason);
        job
    }

    /// The pass's task records by device.
    pub async fn tasks(&self, id: JobId, pass: Pass) -> BTreeMap<String, TaskRecord> {
        let mut all = BTreeMap::new();
        for shard in 0..SHARDS {
            let tasks = self.ledger.tasks(id, pass, shard, None, None).await.unwrap();
            all.extend(tasks.into_iter().map(|task| (task.device.to_string(), task)));
        }
        all
    }

    /// Without the results by wave.
    pub async fn tally(&self, id: JobId, pass: Pass) -> Tally {
        Tally { by_wave: ByWave::default(), ..self.counted(id, pass).await }
    }

    async fn counted(&self, id: JobId, pass: Pass) -> Tally {
        let job = self.job(id).await;
        let counted = self.ledger.counters(id, pass, job.counted_together).await.unwrap();
        if job.pass() == pass { job.tally(counted.tally) } else { counted.tally }
    }

    /// Checks both passes; for a job that has ended, also that no device is pending.
    pub async fn assert_counters_equal_task_states(&self, id: JobId) {
        let job = self.job(id).await;
        for pass in [Pass::Distribute, Pass::Withdraw] {
            let tally = self.counted(id, pass).await;
            let tasks: Vec<TaskRecord> = self.tasks(id, pass).await.into_values().collect();
            let mut by_wave = ByWave::default();
            tasks.iter().for_each(|task| *by_wave.of_mut(task.wave) += Results::of(task.state));
            let count = |state| tasks.iter().filter(|task| task.state == state).count() as u64;
            let is_last = job.state == JobState::Ended && job.pass() == pass;
            let counted = Tally {
                dispatched: if is_last { tasks.len() as u64 } else { tally.dispatched },
                acked: count(TaskState::Acked),
                failed: count(TaskState::Failed),
                skipped: count(TaskState::Skipped),
                waived: count(TaskState::Waived),
                postponed: count(TaskState::Postponed),
                by_wave,
            };
            assert_eq!(tally, counted, "pass {pass}: {tasks:?}");
        }
    }

    /// Waits until the queue has no waiting message and none in flight.
    pub async fn emptied(&self, queue: &str) {
        let sqs = aws_sdk_sqs::Client::new(&self.local.sdk_config);
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let url = self.local.outputs.of(queue).unwrap();
        until(&format!("{queue} is empty"), LIMIT, async || {
            let asked = sqs.get_queue_attributes().queue_url(url);
            let answer = asked.set_attribute_names(Some(names.to_vec())).send().await.unwrap();
            let counts = answer.attributes.unwrap_or_default();
            counts.values().all(|count| count == "0").then_some(())
        })
        .await;
    }

    /// An emulated device's log: every request to it is a line.
    pub fn device_log(&self, device: &Device) -> String {
        std::fs::read_to_string(self.local.data.join("fleet").join(&device.id).join("log")).unwrap()
    }

    /// A function's log; empty if it never ran.
    pub async fn log(&self, function: &str) -> String {
        // The template of a former release has not all functions.
        let Ok(name) = self.local.outputs.of(function) else { return String::new() };
        self.local.log(name).await.unwrap_or_default()
    }

    /// Invokes a function as a schedule does, but waits for the result.
    pub async fn invoke(&self, function: &str, event: &Value) {
        let name = self.local.outputs.of(function).unwrap();
        let url = format!("{}/2015-03-31/functions/{name}/invocations", self.local.endpoint_url);
        let answer = reqwest::Client::new().post(url).json(event).send().await.unwrap().error_for_status().unwrap();
        assert!(!answer.headers().contains_key("x-amz-function-error"), "{}", answer.text().await.unwrap());
    }

    pub async fn crash(&self, function: &str) -> usize {
        self.local.crash(self.local.outputs.of(function).unwrap()).await.unwrap()
    }
}

/// The tests, as an audit chain names them.
pub fn by_tests() -> Actor {
    Actor::function("tests")
}

async fn api_of(
    local: &LocalStack,
    ledger: &Ledger,
    secrets: &Secrets,
    principal: &str,
    grants: impl Into<Grants>,
) -> Api {
    let token = uuid::Uuid::new_v4().to_string();
    secrets.keep(&token);
    let created = OffsetDateTime::now_utc();
    let expires = created + Duration::from_secs(3600);
    let record = TokenRecord {
        principal: principal.to_owned(),
        grants: grants.into(),
        granted: None,
        exchanged: None,
        created,
        expires,
    };
    ledger.put_token(&Fingerprint::of(token.as_bytes()), &record).await.unwrap();
    Api::new(&local.api_url, &std::fs::read(&local.ca_pem).unwrap(), token, secrets.clone())
}

/// Polls until there is an answer.
pub async fn until<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < limit, "{what}: not after {limit:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// These ids in the order in which a job's first wave takes them, if the fleet has no others: the first of each shard, then the
/// second.
pub fn in_order(job: JobId, mut ids: Vec<String>) -> Vec<String> {
    let step = |id: &String| {
        let shard = id.parse::<DeviceId>().unwrap().shard();
        (0..SHARDS).find(|step| Front::shard(job, *step) == shard).unwrap()
    };
    ids.sort();
    let mut ranks = BTreeMap::<u8, usize>::new();
    let mut places: Vec<_> = ids
        .into_iter()
        .map(|id| {
            let rank = ranks.entry(step(&id)).or_default();
            *rank += 1;
            (*rank, step(&id), id)
        })
        .collect();
    places.sort();
    places.into_iter().map(|(.., id)| id).collect()
}

/// The body to `POST /devices` for a fake, approved. Its credential is stored under its id.
pub fn fake_enrolment(id: &str, fake: &Fake) -> Value {
    json!({
        "id": id,
        "address": fake.address.to_string(),
        "driver": "redfish",
        "profile": "openbmc",
        "credential": format!("{PREFIX}{id}"),
        "pins": [fake.pin.to_string()],
    })
}

/// The certificates (DER) that an emulated device lists for an independent Redfish client.
pub async fn anchors_of(device: &Device) -> BTreeSet<Vec<u8>> {
    let certificate = reqwest::Certificate::from_der(&device.certificate).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([certificate]).https_only(true).build().unwrap();
    let get = async |path: &str| -> Value {
        let request = client.get(format!("{}{path}", device.address()));
        let answer = request.basic_auth(&device.username, Some(&device.password)).send().await.unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    };
    let slot = get(&format!("/redfish/v1/Systems/{}/VirtualMedia/Cd/Certificates", device.system)).await;
    let mut found = BTreeSet::new();
    for member in slot["Members"].as_array().unwrap() {
        let member = get(member["@odata.id"].as_str().unwrap()).await;
        let blocks = pem::parse_many(member["CertificateString"].as_str().unwrap()).unwrap();
        found.extend(blocks.into_iter().map(pem::Pem::into_contents));
    }
    found
}
