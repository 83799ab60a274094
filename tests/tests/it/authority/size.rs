//! The call does the same work for ten devices and for ten thousand.

use std::time::Instant;

use http::StatusCode;
use rootcast_core::job::JobId;
use rootcast_ledger::{DeviceRecord, Ledger};

use super::regenerator::{Regenerator, seconds_ago, unreachable_device};
use super::wire::Wire;
use crate::stack::{Stack, by_tests};

const FLEETS: [usize; 2] = [10, 10_000];

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_devices_need_no_more_calls_than_ten() {
    Stack::run(0, async |stack| {
        let mut seen = Vec::new();
        for devices in FLEETS {
            let regenerator = Regenerator::open(&stack.local, &format!("fleet-{devices}")).await;
            enrol(&regenerator.ledger, devices).await;
            let wire = Wire::default();
            let began = Instant::now();
            let reply = regenerator.put(&wire, seconds_ago::<0>).await;
            let took = began.elapsed();
            assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
            assert_eq!(reply.job_path(), JobId(1).path());
            let mut sent = wire.sent();
            eprintln!("{devices} devices: {} AWS calls in {took:?}: {}", sent.len(), sent.join(" "));
            // Two of the calls are concurrent, and arrive in either order.
            sent.sort();
            seen.push(sent);
        }
        assert_eq!(seen[0], seen[1]);
    })
    .await;
}

/// Enrols approved devices that cannot be reached.
async fn enrol(ledger: &Ledger, devices: usize) {
    let record = |number: usize| DeviceRecord {
        address: format!("https://127.1.{}.{}", number / 250, number % 250).parse().unwrap(),
        ..unreachable_device(&format!("bmc-{number:05}"))
    };
    let records: Vec<_> = (1..=devices).map(record).collect();
    assert!(
        ledger.enrol(&records, &by_tests(), seconds_ago::<0>()).await.unwrap().into_iter().all(|enrolled| enrolled)
    );
}
