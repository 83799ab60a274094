//! The call does the same work for ten devices and for ten thousand.

use std::time::{Duration, Instant};

use http::StatusCode;
use rootcast_core::job::{JobId, JobOutcome};
use rootcast_ledger::{Authority, Change, Ledger, LedgerError};

use super::regenerator::{Regenerator, seconds_ago, unreachable_device};
use super::wire::Wire;
use crate::stack::{Stack, by_tests};

const FLEETS: [usize; 2] = [10, 10_000];
/// Timed calls per fleet, whose median is used.
const ROUNDS: usize = 5;

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

/// The same through API Gateway and Lambda in the local cloud.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_devices_do_not_slow_the_api_down() {
    let mut medians = Vec::new();
    for devices in FLEETS {
        Stack::run(0, async |stack| {
            enrol(&stack.ledger, devices).await;
            let began = Instant::now();
            stack.api.put("/signingCertificate?canary=0").await.refused(400);
            let cold = began.elapsed();
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                let began = Instant::now();
                let id = stack.put_root("").await;
                times.push(began.elapsed());
                forget(stack, id).await;
            }
            eprintln!(
                "{devices} devices: PUT /signingCertificate took {times:?}; a refusal with the cold start {cold:?}"
            );
            times.sort();
            medians.push(times[ROUNDS / 2]);
        })
        .await;
    }
    eprintln!("medians for {FLEETS:?} devices: {medians:?}");
    assert!(medians[1] < medians[0] * 2 + Duration::from_millis(500), "{medians:?}: it must not grow with the fleet");
}

/// Ends the job in the records, so that the next root can be created without changing the fleet.
async fn forget(stack: &Stack, id: JobId) {
    loop {
        let mut job = stack.job(id).await;
        job.end(JobOutcome::Aborted, "Enough was seen.");
        let authority = Authority { running: None, ..stack.ledger.authority().await.unwrap() };
        let change = Change { authority: Some(&authority), job: Some(&job), ..Change::default() };
        match stack.ledger.commit(change).await {
            // The conductor is writing the job.
            Err(LedgerError::Conflict) => {}
            written => return written.unwrap(),
        }
    }
}

/// Enrols approved devices that cannot be reached.
async fn enrol(ledger: &Ledger, devices: usize) {
    let records: Vec<_> = (1..=devices).map(|number| unreachable_device(&format!("bmc-{number:05}"))).collect();
    assert!(
        ledger.enrol(&records, &by_tests(), seconds_ago::<0>()).await.unwrap().into_iter().all(|enrolled| enrolled)
    );
}
