//! What uses up a task's tries, and what does not.

use rootcast_core::job::task::ErrorClass;
use rootcast_core::job::{JobId, Selection};

use crate::aws::Fault;
use crate::fake::error;
use crate::{MAX_TRIES, World, later, log_ins};

/// The device refuses every anchor.
fn fails(world: &World) {
    world.fake.fault(|request, state| request.is("POST", state.collection()).then(|| error(500, "Not now.")));
}

#[tokio::test]
async fn a_failing_device_is_visited_as_often_as_allowed() {
    let world = World::new().await;
    fails(&world);
    for number in 1..MAX_TRIES {
        assert!(!world.deliver().await, "it comes back");
        let tries = world.tries().unwrap();
        assert_eq!((tries.count, tries.failure.class), (number, ErrorClass::ServerError));
        assert!(tries.next.is_some() && world.task().is_none());
        later(900);
    }
    assert!(world.deliver().await);
    world.assert_failed(ErrorClass::ServerError);
    assert_eq!(log_ins(&world.fake.requests()), MAX_TRIES as usize);
    assert_eq!(world.device().lease, None);
}

/// Such as a join and an install, or the tasks of two deployments.
#[tokio::test]
async fn two_tasks_at_one_device_each_use_up_their_tries() {
    let mut world = World::new().await;
    fails(&world);
    for number in 1..=MAX_TRIES {
        for job in [7, 8] {
            world.job.id = JobId(job);
            world = world.distributes();
            assert_eq!(world.deliver().await, number == MAX_TRIES, "try {number} of job {job}");
        }
        later(900);
    }
    assert_eq!(log_ins(&world.fake.requests()), 2 * MAX_TRIES as usize);
}

#[tokio::test]
async fn receives_use_up_no_tries() {
    let world = World::new().await;
    fails(&world);
    let body = serde_json::to_value(world.message()).unwrap();
    assert!(world.receive(&body, 19).await, "a new message takes its place");
    assert_eq!(world.sent(), [body]);
    assert_eq!((world.tries().map(|tries| tries.count), world.task()), (Some(1), None));
}

#[tokio::test]
async fn throttles_use_up_no_tries() {
    for call in ["BatchGetItem", "UpdateItem lease", "GetParameters"] {
        let world = World::new().await;
        for receives in 1..40 {
            // More throttles than the SDK makes attempts.
            world.aws.fault(call, Fault::Throttled, 99);
            world.receive(&serde_json::to_value(world.message()).unwrap(), receives).await;
            // The SDK retries less often after many throttles, so some faults may be left.
            world.aws.state().faults.clear();
            later(900);
        }
        assert_eq!(world.fake.requests().len(), 0, "{call}");
        assert_eq!((world.tries(), world.device().begun, world.task()), (None, 0, None), "{call}");
        assert!(world.aws.state().postponed.len() == 4 && world.sent().len() == 35, "{call}");
        assert!(world.deliver().await);
        world.assert_acked();
    }
}

#[tokio::test]
async fn a_message_before_the_next_try_causes_no_visit() {
    let world = World::new().await;
    fails(&world);
    world.deliver().await;
    world.fake.requests();
    assert!(!world.deliver().await, "a second message of the same task waits");
    assert_eq!((world.fake.requests().len(), world.device().begun), (0, 0));
    assert_eq!(world.tries().map(|tries| tries.count), Some(1));
    later(900);
    world.fake.recover();
    assert!(world.deliver().await);
    world.assert_acked();
}

/// As by `rootcast retry`: the job says so, and nobody writes the device's record.
#[tokio::test]
async fn a_hastened_message_is_visited_before_its_next_try() {
    let mut world = World::new().await;
    fails(&world);
    world.deliver().await;
    world.job = world.job.hasten(&Selection::everything(crate::now()), crate::now());
    world.aws.state().job = crate::aws::wire(&serde_json::to_value(&world.job).unwrap());
    world.aws.state().job["M"]["pk"] = serde_json::json!({ "S": "7" });
    world.aws.state().job["M"]["sk"] = serde_json::json!({ "S": "meta" });
    later(1);
    assert!(!world.deliver().await, "it fails again");
    assert_eq!(world.tries().map(|tries| tries.count), Some(2));
    world.fake.requests();
    assert!(!world.deliver().await, "and is not hastened twice");
    assert_eq!(world.fake.requests().len(), 0);
}

#[tokio::test]
async fn a_device_fails_unvisited_after_three_visits_that_never_ended() {
    let world = World::new().await;
    let device = "bmc-1".parse().unwrap();
    for number in 0..3 {
        let lease = rootcast_ledger::Lease { owner: format!("dead {number}"), until: crate::now() };
        world.app.ledger.lease(&device, &lease, Some(3), crate::now()).await.unwrap();
        later(100);
    }
    assert!(world.deliver().await);
    let task = world.assert_failed(ErrorClass::Lost);
    assert!(task.failure.unwrap().message.contains("3 visits"), "the number is said");
    assert!(world.fake.requests().is_empty());
    assert_eq!((world.device().begun, world.device().lease), (0, None), "whoever comes next may try again");
}

#[tokio::test]
async fn a_visit_that_ends_resets_the_count_of_dead_workers() {
    let world = World::new().await;
    for number in 0..2 {
        let lease = rootcast_ledger::Lease { owner: format!("dead {number}"), until: crate::now() };
        world.app.ledger.lease(&"bmc-1".parse().unwrap(), &lease, Some(3), crate::now()).await.unwrap();
    }
    assert!(world.deliver().await);
    world.assert_acked();
    assert_eq!(world.device().begun, 0);
}
