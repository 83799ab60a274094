//! One world: a cloud with the functions, a fleet, and virtual time, all determined by a seed.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use rootcast_core::access::permission::Role;
use rootcast_ledger::TokenRecord;
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::clock;
use crate::cloud::{Cloud, Faults};
use crate::dynamo::{JOBS, Row};
use crate::functions::{Function, Functions};
use crate::openbmc::{Bmc, USER};
use crate::random::Random;
use crate::truth;

const TOKEN: &str = "token";
/// Of somebody who may write, create and delete every device, but approve none.
const OPERATOR: &str = "operator";
pub const PASSWORD: &str = "correct horse";

/// A handle; clones refer to the same world.
#[derive(Clone)]
pub struct World(Rc<Inner>);

/// How often the schedule wakes the conductor, and the issuer for its lists.
#[derive(Debug, Clone, Copy)]
pub struct Pace(pub Duration, pub Duration);

/// As template.yaml has it.
pub const REAL: Pace = Pace(Duration::from_secs(60), Duration::from_secs(900));
/// For worlds of many hours.
pub const SLOW: Pace = Pace(Duration::from_secs(300), Duration::from_secs(900));
/// In which the conductor is woken less often while nothing is under way.
const IDLE: Duration = Duration::from_secs(900);

/// The messages of an invocation: at most so many, and how long it is waited for them after the first.
#[derive(Debug, Clone, Copy)]
struct Gathered {
    most: usize,
    window: Duration,
}

/// As template.yaml has it.
const TEN: Gathered = Gathered { most: 10, window: Duration::ZERO };
const ISSUED: Gathered = Gathered { most: 1000, window: Duration::from_secs(1) };

/// What a world is like.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub pace: Pace,
    /// Workers and issuers at once. Without any, messages stay in their queue.
    pub workers: usize,
    pub issuers: usize,
    /// Whether the invariants are checked.
    pub is_watched: bool,
}

pub struct Inner {
    pace: Cell<Pace>,
    pub cloud: Arc<Cloud>,
    pub functions: Functions,
}

impl Deref for World {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl World {
    /// Runs a world from its beginning, and leaves nothing behind.
    pub fn live<T: 'static>(seed: u64, life: impl AsyncFnOnce(World) -> T) -> T {
        Self::live_at(REAL, seed, life)
    }

    /// As [`Self::live`], with a coarser schedule: for a world that lives for years.
    pub fn live_at<T: 'static>(pace: Pace, seed: u64, life: impl AsyncFnOnce(World) -> T) -> T {
        Self::live_in(Setting { pace, workers: 5, issuers: 4, is_watched: true }, seed, life)
    }

    pub fn live_in<T: 'static>(setting: Setting, seed: u64, life: impl AsyncFnOnce(World) -> T) -> T {
        let Setting { pace, workers, issuers, is_watched } = setting;
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let random = Random::new(seed);
            let mut skew = [0; clock::FUNCTIONS];
            skew.iter_mut().for_each(|skew| *skew = i64::try_from(random.below(4000)).unwrap() - 2000);
            clock::begin(skew);
            let cloud = Cloud::new(random, is_watched);
            let world =
                Self(Rc::new(Inner { pace: Cell::new(pace), functions: Functions::new(Arc::clone(&cloud)), cloud }));
            world.begin(workers, issuers).await;
            life(world).await
        })
    }

    /// Whether its schedule is coarser than the real one.
    pub fn is_slow(&self) -> bool {
        self.pace.get().0 > REAL.0
    }

    /// From now on its schedule is coarser than the real one: nothing happens any more that would need it.
    pub fn slow_down(&self) {
        self.pace.set(Pace(self.pace.get().0.max(SLOW.0), self.pace.get().1));
    }

    /// Until the schedule wakes the conductor again.
    fn until_woken(&self) -> Duration {
        let pause = self.pace.get().0;
        if pause == SLOW.0 && self.is_at_rest() { IDLE } else { pause }
    }

    async fn begin(&self, workers: usize, issuers: usize) {
        let queues = &self.cloud.queues;
        queues.create("control", Duration::from_secs(360), 5);
        queues.create("task", Duration::from_secs(600), 10);
        queues.create("issue", Duration::from_secs(180), 10);
        for (token, role) in [(TOKEN, Role::Administrator), (OPERATOR, Role::Operator)] {
            let record = TokenRecord {
                principal: "people".to_owned(),
                grants: role.into(),
                granted: None,
                exchanged: None,
                // A token lives for a day after its creation, and some worlds until their first root has expired.
                expires: clock::now() + time::Duration::days(4000),
                created: clock::now() + time::Duration::days(3999),
            };
            self.functions.ledger().put_token(&Fingerprint::of(token.as_bytes()), &record).await.unwrap();
        }
        self.serve("control", Function::Conduct, 2, TEN);
        self.serve("task", Function::Worker, workers, TEN);
        self.serve_issuers(issuers);
        self.schedule_by(Function::Conduct, Self::until_woken, json!({ "wake": "running" }));
        self.schedule_by(Function::Issue, |world| world.pace.get().1, json!({ "wake": "lists" }));
    }

    pub fn serve_issuers(&self, at_once: usize) {
        self.serve("issue", Function::Issue, at_once, ISSUED);
    }

    /// A queue's event source mapping: at most `at_once` concurrent invocations.
    fn serve(&self, queue: &'static str, function: Function, at_once: usize, of: Gathered) {
        let world = self.clone();
        spawn_local(async move {
            let free = Arc::new(Semaphore::new(at_once));
            loop {
                let mine = Arc::clone(&free).acquire_owned().await.unwrap();
                let mut batch = loop {
                    match world.cloud.queues.receive(&world.cloud, queue) {
                        Ok(batch) if !batch.is_empty() => break batch,
                        Ok(_) => world.cloud.queues.wait(queue).await,
                        // No message is received until some are deleted or visible again.
                        Err(_) => sleep(Duration::from_secs(1)).await,
                    }
                };
                let until = clock::age() + of.window;
                while batch.len() < of.most && clock::age() < until {
                    match world.cloud.queues.receive(&world.cloud, queue) {
                        Ok(more) if !more.is_empty() => batch.extend(more),
                        _ => {
                            let left = until.saturating_sub(clock::age());
                            let _ = timeout(left, world.cloud.queues.wait(queue)).await;
                        }
                    }
                }
                let world = world.clone();
                spawn_local(async move {
                    // If the invocation died, none of its messages is deleted.
                    if let Ok(failed) = world.functions.batch(function, &batch).await {
                        for message in batch.iter().filter(|message| !failed.contains(&message.id)) {
                            world.cloud.queues.delete(&world.cloud, queue, &message.receipt);
                        }
                    }
                    drop(mine);
                });
            }
        });
    }

    pub fn schedule(&self, function: Function, every: Duration, event: Value) {
        self.schedule_by(function, move |_| every, event);
    }

    fn schedule_by(&self, function: Function, every: impl Fn(&Self) -> Duration + 'static, event: Value) {
        let world = self.clone();
        spawn_local(async move {
            loop {
                sleep(every(&world)).await;
                let (world, event) = (world.clone(), event.clone());
                spawn_local(async move { _ = world.functions.event(function, event).await });
            }
        });
    }

    pub fn faults(&self, faults: Faults) {
        *self.cloud.faults.lock().unwrap() = faults;
    }

    /// A person's request: returns status and body, or `None` if the function died.
    pub async fn ask(&self, method: &str, path: &str, body: Value) -> Option<(u16, Value)> {
        self.ask_as(TOKEN, method, path, body).await
    }

    /// As [`Self::ask`], by an operator.
    pub async fn ask_as_operator(&self, method: &str, path: &str, body: Value) -> Option<(u16, Value)> {
        self.ask_as(OPERATOR, method, path, body).await
    }

    pub async fn ask_as(&self, token: &str, method: &str, path: &str, body: Value) -> Option<(u16, Value)> {
        let function = match path {
            _ if path.starts_with("/vedsdk") => Function::Retry,
            "/v3/scm/certificates/import" => Function::Import,
            _ if method == "PUT" && path.starts_with("/signingCertificate") => Function::Regenerate,
            _ if method == "POST" && path.starts_with("/issuingAuthorities") => Function::Regenerate,
            _ if method == "POST" && path.starts_with("/roots/") => Function::Regenerate,
            _ if method != "GET" && path.starts_with("/trustedCertificates") => Function::Regenerate,
            _ if path.starts_with("/rollovers/preflight") => Function::Regenerate,
            _ => Function::Catalog,
        };
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(text.clone()))
            .unwrap();
        self.cloud.note(format_args!("--- {token}: {method} {path} {}", text.get(..200).unwrap_or(&text)));
        // Recorded before the request, for its immediate effects, and after it.
        let may_act = method != "GET" && self.cloud.is_watched;
        if may_act {
            self.cloud.passwords.acted(path);
        }
        let response = self.functions.http(function, request).await;
        if may_act {
            self.cloud.passwords.acted(path);
        }
        let response = response.ok()?;
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let said = if status < 400 { String::new() } else { body.to_string() };
        self.cloud.note(format_args!("--- {method} {path} = {status} {said}"));
        Some((status, body))
    }

    /// As [`Self::ask`], repeated until it succeeds.
    pub async fn must(&self, method: &str, path: &str, body: Value) -> Value {
        for _ in 0..20 {
            match self.ask(method, path, body.clone()).await {
                Some((200..300, body)) => return body,
                Some((status, answer)) if status < 500 && status != 409 => {
                    panic!("{method} {path}: {status} {answer}\n{}", self.cloud.trace())
                }
                _ => sleep(Duration::from_secs(10)).await,
            }
        }
        panic!("{method} {path} is never done\n{}", self.cloud.trace())
    }

    /// Installs a new device.
    pub fn install(&self, number: u8) -> SocketAddr {
        let at = SocketAddr::from((Ipv4Addr::new(10, 0, 0, number), 443));
        self.cloud.fleet.add(at, Bmc::new(PASSWORD));
        if let Some(loopback) = self.cloud.loopback.get() {
            loopback.serve(&self.cloud, at);
        }
        at
    }

    /// The enrolment of this device under this id, approved with its current certificate.
    pub fn enrolment(&self, id: &str, at: SocketAddr) -> Value {
        let credential = format!("/devices/{id}");
        self.give_credential(id, at);
        let pin = self.cloud.fleet.at(at, |bmc| bmc.pin()).unwrap();
        json!({ "id": id, "address": format!("https://{}", at.ip()), "profile": "openbmc", "credential": credential, "pins": [pin] })
    }

    /// Stores the credential that the device at this address accepts.
    pub fn give_credential(&self, id: &str, at: SocketAddr) {
        let password = self.cloud.fleet.at(at, |bmc| bmc.password.clone()).unwrap();
        self.credential(id, &password);
    }

    pub fn credential(&self, id: &str, password: &str) {
        let mut value = json!({ "username": USER, "password": password });
        if id.starts_with("shared/") {
            value["addresses"] = json!(["10.0.0.0/8"]);
        }
        self.cloud.services.set_parameter(format!("/devices/{id}"), value.to_string());
    }

    /// `PUT /signingCertificate`: returns the job's id, if there is a job.
    pub async fn regenerate(&self, query: &str) -> Option<u64> {
        let (status, body) = self.ask("PUT", &format!("/signingCertificate{query}"), Value::Null).await?;
        let path = body["response"]["jobPath"].as_str().filter(|_| status < 400)?;
        path.rsplit('/').next()?.parse().ok()
    }

    /// All jobs, newest first.
    pub fn jobs(&self) -> Vec<Row> {
        let jobs = self.cloud.tables.partition("jobs");
        let ids = jobs.iter().rev().filter_map(|entry| entry["sk"].as_str()?.parse::<u64>().ok());
        ids.filter_map(|id| truth::job(&self.cloud, id)).collect()
    }

    /// The job's failed devices, with reasons.
    pub fn failures(&self, job: &Value) -> Vec<String> {
        let rows = self.cloud.tables.all(JOBS);
        let of_job = format!("{}#", job["id"]);
        let failed = rows.iter().filter(|row| row["pk"].as_str().is_some_and(|pk| pk.starts_with(&of_job)));
        let failed = failed.filter(|row| row["state"] == "failed");
        failed.map(|row| format!("{}: {}", row["device"], row["failure"]["message"])).collect()
    }

    /// The newest rollover.
    pub fn newest_job(&self) -> Option<Row> {
        self.jobs().into_iter().find(|job| job["kind"] == "rollover")
    }

    pub fn job(&self, id: u64) -> Row {
        truth::job(&self.cloud, id).unwrap()
    }

    /// Waits until the job matches, at most for `limit`.
    pub async fn job_when(&self, id: u64, limit: Duration, is: impl Fn(&Value) -> bool) -> Row {
        let end = clock::age() + limit;
        loop {
            let job = self.job(id);
            if is(&job) {
                return job;
            }
            assert!(clock::age() < end, "job {id} does not come so far: {job}\n{}", self.cloud.trace());
            sleep(Duration::from_millis(500)).await;
        }
    }

    pub async fn ended(&self, id: u64) -> Row {
        self.job_when(id, Duration::from_secs(24 * 3600), |job| job["state"] == "ended").await
    }

    /// Checks that no violation was found.
    pub fn assert_whole(&self) {
        let broken = self.cloud.truth.broken();
        if std::env::var("ROOTCAST_TRACE").is_ok() {
            eprintln!("{}", self.cloud.trace());
        }
        assert!(broken.is_empty(), "{}\n{}", broken.join("\n"), self.cloud.trace());
    }
}
