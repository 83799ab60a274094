//! What a rollover costs at AWS, counted at the local cloud's door: every call of every function goes through here.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use rootcast_core::job::JobOutcome;
use rootcast_local::{LocalOptions, Progress};
use serde_json::Value;

use crate::fake::{Fake, Model, PASSWORD, USER};
use crate::stack::{Stack, fake_enrolment};

/// Large enough that what a job costs by itself does not show, small enough for a test.
const DEVICES: u32 = 200;

/// Passes everything on, and keeps count.
struct Meter {
    cloud: String,
    client: reqwest::Client,
    calls: Mutex<BTreeMap<String, u32>>,
    write_units: Mutex<u32>,
}

#[tokio::test]
async fn a_device_costs_less_than_a_queue_call_and_four_write_units_beside_its_lease() {
    // For the meter's own client, which is made before the stack's.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cloud_port = free_port();
    let meter = Arc::new(Meter {
        cloud: format!("http://127.0.0.1:{cloud_port}"),
        client: reqwest::Client::new(),
        calls: Mutex::default(),
        write_units: Mutex::default(),
    });
    let endpoint = meter.listen().await;
    let mut options = LocalOptions::new(0, Progress::silent()).unwrap();
    options.cloud_port = Some(cloud_port);
    options.parameters.insert("EndpointUrl".to_owned(), endpoint);
    Stack::run_on(options, async |stack| {
        stack.found().await;
        let mut fakes = Vec::new();
        let mut enrolments = Vec::new();
        for number in 0..DEVICES {
            let id = format!("fake-{number:03}");
            let fake = Fake::start(Model::OpenBmc).await;
            stack.store_credential(&id, USER, PASSWORD).await;
            enrolments.push(fake_enrolment(&id, &fake));
            fakes.push(fake);
        }
        stack.enrol(enrolments).await;
        meter.reset();
        let id = stack.put_root("").await;
        let job = stack.ended(id).await;
        assert_eq!(job.outcome, Some(JobOutcome::Activated), "{}", job.reason);
        stack.assert_counters_equal_task_states(id).await;
        let devices = f64::from(DEVICES);
        let (queue, writes) = (f64::from(meter.count("AmazonSQS")) / devices, f64::from(meter.units()) / devices);
        // A lease is taken with one write and given back, with what was seen, by another.
        let leases = f64::from(meter.count("DynamoDB_20120810.UpdateItem")) / devices;
        eprintln!("a device of {DEVICES}: {queue:.2} SQS calls, {writes:.2} write units, of which {leases:.2} for its lease; {:?}", meter.calls());
        // Exact on an idle machine; on a busy one some devices time out and come again.
        assert!(queue < 0.75, "{queue} SQS calls a device");
        assert!((2.0..2.5).contains(&leases), "{leases} lease writes a device");
        assert!(writes - leases <= 4.0, "{} write units a device beside its lease", writes - leases);
    })
    .await;
}

impl Meter {
    async fn listen(self: &Arc<Self>) -> String {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let router = Router::new().fallback(pass_on).with_state(Arc::clone(self));
        tokio::spawn(async move { axum::serve(listener, router).await });
        endpoint
    }

    fn reset(&self) {
        self.calls.lock().unwrap().clear();
        *self.write_units.lock().unwrap() = 0;
    }

    fn calls(&self) -> BTreeMap<String, u32> {
        self.calls.lock().unwrap().clone()
    }

    fn count(&self, prefix: &str) -> u32 {
        self.calls().iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, count)| count).sum()
    }

    fn units(&self) -> u32 {
        *self.write_units.lock().unwrap()
    }

    fn take_note(&self, target: &str, body: &[u8]) {
        *self.calls.lock().unwrap().entry(target.to_owned()).or_default() += 1;
        if target.starts_with("DynamoDB") {
            let request: Value = serde_json::from_slice(body).unwrap();
            *self.write_units.lock().unwrap() += write_units(target, &request);
        }
    }
}

/// One for each KiB that a write leaves behind, two in a transaction. An item's JSON is longer than the item, so this
/// is no less than AWS would count; an update is taken for 1 KiB, which no record that is updated exceeds.
fn write_units(target: &str, request: &Value) -> u32 {
    let of_item = |item: &Value| u32::try_from(item.to_string().len().div_ceil(1024)).unwrap();
    match target.rsplit('.').next().unwrap() {
        "PutItem" => of_item(&request["Item"]),
        "UpdateItem" | "DeleteItem" => 1,
        "TransactWriteItems" => {
            let writes = request["TransactItems"].as_array().unwrap();
            let of_write = |write: &Value| write.get("Put").map_or(1, |put| of_item(&put["Item"]));
            writes.iter().map(|write| 2 * of_write(write)).sum()
        }
        "GetItem" | "BatchGetItem" | "Query" | "Scan" => 0,
        other => panic!("{other} is not counted here"),
    }
}

async fn pass_on(
    State(meter): State<Arc<Meter>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let target = headers.get("x-amz-target").map(|target| target.to_str().unwrap().to_owned());
    meter.take_note(&target.unwrap_or_else(|| uri.path().to_owned()), &body);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let asked = meter.client.request(method, format!("{}{path}", meter.cloud)).headers(headers).body(body);
    let answer = asked.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    *response.headers_mut().unwrap() = answer.headers().clone();
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
