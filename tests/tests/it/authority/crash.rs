//! A process may die at any of its calls: the next caller finishes or cleans up what is left.

use http::StatusCode;
use rootcast_core::job::{JobId, JobOutcome};

use super::regenerator::{Regenerator, Reply, seconds_ago};
use super::whole::{assert_job_of, assert_whole};
use super::wire::{Cut, Wire};
use crate::stack::Stack;

#[derive(Clone, Copy)]
struct Scene {
    name: &'static str,
    /// The number of existing generations.
    before: u32,
    has_device: bool,
    cut: fn(usize) -> Cut,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_root_survives_a_crash_before_every_call() {
    die_everywhere(Scene { name: "first-request", before: 0, has_device: false, cut: Cut::Request }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_without_devices_survives_a_crash_before_every_call() {
    die_everywhere(Scene { name: "alone-request", before: 1, has_device: false, cut: Cut::Request }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_without_devices_survives_a_crash_after_every_call() {
    die_everywhere(Scene { name: "alone-answer", before: 1, has_device: false, cut: Cut::Answer }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_with_a_job_survives_crashes_before_calls() {
    die_everywhere(Scene { name: "job-request", before: 1, has_device: true, cut: Cut::Request }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_with_a_job_survives_crashes_after_calls() {
    die_everywhere(Scene { name: "job-answer", before: 1, has_device: true, cut: Cut::Answer }).await;
}

/// The process that finishes another's work may die as well, at any of its calls.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_takes_over_may_die_too() {
    Stack::run(0, async |stack| {
        let twin = Regenerator::open(&stack.local, "twin").await;
        found(&twin, 1).await;
        let wire = Wire::default();
        assert_eq!(twin.put(&wire, seconds_ago::<130>).await.status, StatusCode::OK);
        let sent = wire.sent();
        let key_made = sent.iter().position(|call| call == "CreateKey").unwrap() + 1;
        let last_signature = sent.iter().rposition(|call| call == "Sign").unwrap() + 1;
        for first in [key_made, last_signature] {
            for n in 1.. {
                let regenerator = Regenerator::open(&stack.local, &format!("again-{first}-{n}")).await;
                found(&regenerator, 1).await;
                let died = regenerator.put(&Wire::cut_at(Cut::Answer(first)), seconds_ago::<130>).await;
                assert_told(&died);
                let died = regenerator.put(&Wire::cut_at(Cut::Answer(n)), seconds_ago::<65>).await;
                if died.status == StatusCode::OK {
                    settle(&regenerator, &died, 2, false).await;
                    break;
                }
                assert_told(&died);
                finish(&regenerator, 2, false, Cut::Answer(n)).await;
            }
        }
    })
    .await;
}

async fn die_everywhere(scene: Scene) {
    Stack::run(0, async |stack| {
        let mut deaths = 0;
        for n in 1.. {
            let regenerator = Regenerator::open(&stack.local, &format!("{}-{n}", scene.name)).await;
            found(&regenerator, scene.before).await;
            if scene.has_device {
                regenerator.enrol().await;
            }
            let wire = Wire::cut_at((scene.cut)(n));
            let died = regenerator.put(&wire, seconds_ago::<65>).await;
            let generation = scene.before + 1;
            if died.status == StatusCode::OK {
                settle(&regenerator, &died, generation, scene.has_device).await;
                break;
            }
            deaths += 1;
            assert_told(&died);
            assert_claim_holds(&regenerator).await;
            finish(&regenerator, generation, scene.has_device, (scene.cut)(n)).await;
        }
        eprintln!("{}: died {deaths} times", scene.name);
        assert!(deaths >= 12, "{deaths} calls are too few to make a root");
    })
    .await;
}

/// Creates this number of generations without faults.
async fn found(regenerator: &Regenerator, generations: u32) {
    for _ in 0..generations {
        let reply = regenerator.put(&Wire::default(), seconds_ago::<300>).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    }
}

/// Until the claim's minute is over, the other process may still be alive: the next caller is refused and gets its
/// job.
async fn assert_claim_holds(regenerator: &Regenerator) {
    let left = regenerator.ledger.authority().await.unwrap();
    let Some(claim) = &left.claim else { return };
    let reply = regenerator.put(&Wire::default(), seconds_ago::<65>).await;
    assert_eq!(reply.status, StatusCode::CONFLICT, "{reply:?}");
    assert_eq!(reply.job_path(), claim.job.map(JobId::path).unwrap_or_default());
    assert_eq!(regenerator.ledger.authority().await.unwrap(), left);
}

/// Calls a healthy process a minute later.
async fn finish(regenerator: &Regenerator, generation: u32, has_device: bool, cut: Cut) {
    let left = regenerator.ledger.authority().await.unwrap();
    let was_done = left.last_generation == generation && left.claim.is_none();
    let wire = Wire::default();
    let reply = regenerator.put(&wire, seconds_ago::<0>).await;
    match (was_done, has_device) {
        (false, _) => {
            assert_eq!(reply.status, StatusCode::OK, "{cut:?}: {reply:?}");
            settle(regenerator, &reply, generation, has_device).await;
        }
        // Only the answer to the last write was lost: the root is published, and its job is running.
        (true, true) => {
            assert!(matches!(cut, Cut::Answer(_)), "{cut:?}");
            assert_eq!(reply.status, StatusCode::CONFLICT, "{reply:?}");
            settle(regenerator, &reply, generation, has_device).await;
        }
        // As above without a job: nothing is under way, so a repeated call creates another root.
        (true, false) => {
            assert!(matches!(cut, Cut::Answer(_)), "{cut:?}");
            assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
            settle(regenerator, &reply, generation + 1, has_device).await;
        }
    }
}

/// Finishes the job, if there is one, and checks that nothing is left over.
async fn settle(regenerator: &Regenerator, reply: &Reply, generation: u32, has_device: bool) {
    if !has_device {
        assert_eq!((reply.job_path(), reply.location()), ("", None));
        return assert_whole(regenerator, generation, 0).await;
    }
    // A process that died after it took an id left a gap.
    let id = regenerator.ledger.jobs_before(None, 1).await.unwrap().jobs[0].id();
    assert_eq!((reply.job_path(), reply.location()), (&*id.path(), Some(&*id.path())));
    let (job, root) = (
        regenerator.ledger.job(id).await.unwrap().unwrap(),
        regenerator.ledger.root(generation).await.unwrap().unwrap(),
    );
    assert_job_of(&job, &root);
    assert_eq!(regenerator.end_job(id).await.outcome, Some(JobOutcome::Activated));
    assert_whole(regenerator, generation, 1).await;
}

/// Checks that the caller gets an error with the advice to retry.
fn assert_told(reply: &Reply) {
    assert!(reply.status.is_server_error(), "{reply:?}");
    let [_, _, recovery] = reply.message();
    assert!(recovery.contains("again"), "{recovery}");
}
