//! The cost of a rollover at AWS, counted at the local cloud's proxy, through which every function sends its calls.

use std::collections::BTreeMap;

use rootcast_core::job::JobOutcome;
use rootcast_local::{LocalOptions, Progress, free_ports};
use serde_json::Value;

use crate::fake::{Fake, Model, PASSWORD, USER};
use crate::proxy::{Proxy, Recorded};
use crate::stack::{Stack, fake_enrolment};

/// Large enough that the job's fixed cost is negligible, and small enough for a test.
const DEVICES: u32 = 200;

#[tokio::test]
async fn a_rollovers_cost_per_device_stays_in_its_budget() {
    let cloud_port = free_ports(1).unwrap()[0];
    let proxy = Proxy::to(cloud_port);
    let mut options = LocalOptions::new(0, Progress::silent()).unwrap();
    options.cloud_port = Some(cloud_port);
    options.parameters.insert("EndpointUrl".to_owned(), proxy.open("functions").await);
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
        proxy.take();
        let id = stack.put_root("").await;
        let job = stack.ended(id).await;
        assert_eq!(job.outcome, Some(JobOutcome::Activated), "{}", job.reason);
        stack.assert_counters_equal_task_states(id).await;
        let asked = proxy.take();
        let mut calls: BTreeMap<&str, u32> = BTreeMap::new();
        for Recorded { target, .. } in &asked {
            *calls.entry(target).or_default() += 1;
        }
        let count = |prefix: &str| -> u32 {
            calls.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, count)| count).sum()
        };
        let units: u32 = asked.iter().map(write_units).sum();
        let devices = f64::from(DEVICES);
        let (queue, writes) = (f64::from(count("AmazonSQS")) / devices, f64::from(units) / devices);
        // A lease is taken with one write, and returned with the device's result in another.
        let leases = f64::from(count("DynamoDB_20120810.UpdateItem")) / devices;
        eprintln!("a device of {DEVICES}: {queue:.2} SQS calls, {writes:.2} write units, of which {leases:.2} for its lease; {calls:?}");
        // Of the job, its root and its issuing authority; none of a device.
        assert!(count("AWSEvents.PutEvents") < 20, "{calls:?}");
        // Exact on an idle machine; on a busy one some devices time out and are retried.
        assert!(queue < 0.75, "{queue} SQS calls a device");
        assert!((2.0..2.5).contains(&leases), "{leases} lease writes a device");
        // About 1.1 of these are the conductor's: each page of a shard records its position, even with few devices.
        // They do not grow with the fleet.
        assert!(writes - leases <= 4.4, "{} write units a device beside its lease", writes - leases);
    })
    .await;
}

/// One unit per KiB of the item after the write, two in a transaction. An item's JSON is longer than the item, so
/// this is not less than AWS would count. An update counts as 1 KiB, which no updated record exceeds.
fn write_units(asked: &Recorded) -> u32 {
    let Some(operation) = asked.target.strip_prefix("DynamoDB_20120810.") else { return 0 };
    let request: Value = serde_json::from_slice(&asked.body).unwrap();
    let of_item = |item: &Value| u32::try_from(item.to_string().len().div_ceil(1024)).unwrap();
    match operation {
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
