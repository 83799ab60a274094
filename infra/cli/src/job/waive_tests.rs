#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use rootcast_core::access::token::Token;
use serde_json::{Value, json};

use super::*;
use crate::{job::Which, job::show, profile::Access, watch::recorded};

/// A job with this number of failed devices, paged as the API does: filtered pages may be short or empty.
struct World {
    failed: usize,
    waived: BTreeSet<usize>,
    /// Number and largest size of pages, and of requests.
    largest: (usize, usize),
    calls: (usize, usize),
    /// The request with this number fails once, as with an overloaded API.
    fails: Option<usize>,
    /// Every request from this number on fails.
    is_gone_from: usize,
    /// This device is busy this number of times.
    busy: (usize, usize),
}

type Shared = Arc<Mutex<World>>;

fn world(failed: usize) -> World {
    let (largest, calls) = ((0, 0), (0, 0));
    World { failed, waived: BTreeSet::new(), largest, calls, fails: None, is_gone_from: usize::MAX, busy: (0, 0) }
}

fn envelope(response: Value) -> Response {
    Json(json!({"response": response, "result": "success", "messages": []})).into_response()
}

fn job(world: &World) -> Value {
    let mut job: Value = serde_json::from_str(recorded::PAUSED).unwrap();
    job["devices"]["failed"] = json!(world.failed - world.waived.len());
    job
}

async fn tasks(State(world): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Response {
    let mut world = world.lock().unwrap();
    assert_eq!(query["state"], "failed");
    let limit: usize = query["limit"].parse().unwrap();
    world.largest.0 = world.largest.0.max(limit);
    world.calls.0 += 1;
    let from = query.get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
    let to = (from + limit).min(world.failed);
    let task = |number: usize| json!({"device": format!("bmc-{number:06}"), "leg": "distribute", "state": "failed", "attempt": 1});
    let tasks: Vec<Value> = (from..to).filter(|number| !world.waived.contains(number)).map(task).collect();
    let mut page = json!({"tasks": tasks});
    if to < world.failed {
        page["cursor"] = json!(to.to_string());
    }
    envelope(page)
}

async fn waive(State(world): State<Shared>, Json(body): Json<Value>) -> Response {
    let mut world = world.lock().unwrap();
    world.calls.1 += 1;
    let call = world.calls.1;
    if call >= world.is_gone_from || world.fails.take_if(|at| *at == call).is_some() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let devices = body["devices"].as_array().unwrap();
    world.largest.1 = world.largest.1.max(devices.len());
    let mut results = Vec::new();
    for device in devices {
        let number: usize = device.as_str().unwrap()["bmc-".len()..].parse().unwrap();
        let result = if number >= world.failed {
            "refused"
        } else if world.busy.0 == number && world.busy.1 > 0 {
            world.busy.1 -= 1;
            "busy"
        } else {
            if world.waived.insert(number) { "waived" } else { "unchanged" }
        };
        results.push(json!({"device": device, "result": result}));
    }
    let mut answer = job(&world);
    answer["results"] = json!(results);
    envelope(answer)
}

async fn api(world: World) -> (Api, Shared) {
    let world = Arc::new(Mutex::new(world));
    let shown = async |State(world): State<Shared>| envelope(job(&world.lock().unwrap()));
    let app = Router::new()
        .route("/jobs/7", get(shown))
        .route("/jobs/7/tasks", get(tasks))
        .route("/jobs/7/waive", post(waive))
        .with_state(world.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    (Api::connect(&Access { url, token: Token::from_text("secret==".to_owned()), ca: None }).unwrap(), world)
}

fn asked(devices: Vec<DeviceId>) -> Waive {
    let all_failed = devices.is_empty();
    Waive {
        yes: true,
        selector: None,
        which: Which { id: "7".parse().ok() },
        devices,
        all_failed,
        certificates: Vec::new(),
        reason: "scrapped".to_owned(),
    }
}

#[tokio::test]
async fn a_hundred_thousand_devices_are_waived_in_thousands() {
    let (api, world) = api(world(100_000)).await;
    assert_eq!(run(&api, asked(Vec::new()), Format::Text).await.unwrap(), End::Done);
    let world = world.lock().unwrap();
    assert_eq!((world.waived.len(), world.largest, world.calls), (100_000, (1000, 1000), (100, 100)));
}

#[tokio::test]
async fn showing_a_job_reads_no_more_failures_than_it_shows() {
    let (api, world) = api(world(100_000)).await;
    assert_eq!(show::run(&api, "7".parse().unwrap(), Format::Text).await.unwrap(), End::Done);
    let world = world.lock().unwrap();
    assert_eq!((world.calls.0, world.largest.0), (1, 20));
}

#[tokio::test]
async fn requests_to_an_overloaded_api_are_retried() {
    let (api, world) = api(World { fails: Some(2), ..world(3000) }).await;
    assert_eq!(run(&api, asked(Vec::new()), Format::Text).await.unwrap(), End::Done);
    assert_eq!(world.lock().unwrap().waived.len(), 3000);
}

#[tokio::test]
async fn an_interrupted_waive_reports_progress_and_can_be_repeated() {
    let (api, world) = api(World { is_gone_from: 3, ..world(5000) }).await;
    let error = run(&api, asked(Vec::new()), Format::Text).await.unwrap_err();
    assert!(format!("{error:#}").starts_with("2000 devices of job 7 are waived; repeat the command"), "{error:#}");
    {
        let mut world = world.lock().unwrap();
        assert_eq!(world.waived.len(), 2000);
        world.is_gone_from = usize::MAX;
        world.calls.1 = 0;
    }
    assert_eq!(run(&api, asked(Vec::new()), Format::Text).await.unwrap(), End::Done);
    let world = world.lock().unwrap();
    assert_eq!((world.waived.len(), world.calls.1), (5000, 3));
}

#[tokio::test]
async fn busy_devices_are_retried_and_refusals_reported() {
    let (api, world) = api(World { busy: (1, 1), ..world(3) }).await;
    let devices = ["bmc-000000", "bmc-000001", "bmc-000009"].map(|id| id.parse().unwrap());
    assert_eq!(run(&api, asked(devices.into()), Format::Text).await.unwrap(), End::Failed);
    assert_eq!(world.lock().unwrap().waived, BTreeSet::from([0, 1]));
}

#[tokio::test]
async fn waiving_without_failed_devices_is_a_usage_error() {
    let (api, _) = api(world(0)).await;
    let error = run(&api, asked(Vec::new()), Format::Text).await.unwrap_err();
    assert!(error.chain().any(|cause| cause.to_string() == "no device of job 7 failed"), "{error:#}");
}
