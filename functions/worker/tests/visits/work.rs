//! Devices that answer 202 and work asynchronously.

use rootcast_core::job::task::ErrorClass;
use rootcast_core::job::visit::Working;

use crate::aws::Fault;
use crate::fake::{MONITOR, running};
use crate::{World, later, log_ins};

#[tokio::test]
async fn asynchronous_work_is_on_the_devices_record() {
    let world = World::new().await;
    world.fake.work_on(2, "40");
    assert!(!world.deliver().await, "it comes back");
    let working = world.device().working.unwrap();
    assert_eq!((working.monitor.as_str(), working.task), (MONITOR, world.attempt()));
    assert_eq!(world.tries(), None);
    assert_eq!(world.aws.state().postponed, [40]);
    world.fake.requests();
    assert!(!world.deliver().await, "it is still at it");
    assert_eq!(world.device().working, Some(working), "since when is kept");
    assert!(world.deliver().await);
    world.assert_acked();
    assert_eq!(world.device().working, None);
    assert!(!world.fake.requests().iter().any(|request| request.is("POST", "/Truststore")), "written twice");
    assert_eq!(world.aws.count("UpdateItem working"), 1, "once, when it was new");
}

/// The worker dies before it releases the device, so that everything written with the release is lost.
async fn worker_dies(world: &World) {
    world.aws.fault("UpdateItem release", Fault::Throttled, 99);
    assert!(!world.deliver().await);
    world.aws.state().faults.clear();
    assert!(world.device().lease.is_some());
    later(60);
}

#[tokio::test]
async fn asynchronous_work_is_followed_after_its_worker_died() {
    let world = World::new().await;
    world.fake.work_on(2, "40");
    worker_dies(&world).await;
    world.fake.requests();
    assert!(!world.deliver().await, "it is still at it");
    assert!(world.deliver().await);
    world.assert_acked();
    assert!(!world.fake.requests().iter().any(|request| request.is("POST", "/Truststore")), "written twice");
}

#[tokio::test]
async fn a_withdraw_waits_for_work_that_a_dead_worker_started() {
    let mut world = World::new().await;
    world.fake.work_on(2, "40");
    worker_dies(&world).await;
    world.withdraws();
    assert!(!world.deliver().await, "it comes back");
    assert_eq!(world.task(), None, "nothing is proven");
    assert!(world.deliver().await);
    world.assert_acked();
    let root = rootcast_pki::fingerprint::Fingerprint::of(&world.root);
    assert!(!world.fake.held().contains(&root), "it came after all, and was taken off");
}

#[tokio::test]
async fn a_monitor_is_recorded_at_the_latest_with_the_release() {
    let world = World::new().await;
    world.fake.work_on(1, "40");
    world.aws.fault("UpdateItem working", Fault::Throttled, 8);
    assert!(!world.deliver().await);
    assert_eq!(world.device().working.map(|working| working.monitor).as_deref(), Some(MONITOR));
    assert!(world.deliver().await);
    world.assert_acked();
}

/// The installation is under way when the rollover is aborted: until it ends, the absence of the root proves nothing.
#[tokio::test]
async fn a_withdraw_waits_for_work_under_way_at_the_device() {
    let mut world = World::new().await;
    world.fake.work_on(3, "40");
    world.deliver().await;
    world.withdraws();
    for _ in 0..2 {
        assert!(!world.deliver().await, "it comes back");
        assert_eq!(world.task(), None, "nothing is proven");
        assert!(world.device().working.is_some());
        later(40);
    }
    assert!(world.deliver().await);
    world.assert_acked();
    assert_eq!(world.device().working, None);
    let root = rootcast_pki::fingerprint::Fingerprint::of(&world.root);
    assert!(!world.fake.held().contains(&root), "it came after all, and was taken off");
}

#[tokio::test]
async fn an_unreadable_monitor_does_not_count_as_done() {
    let mut world = World::new().await;
    world.fake.work_on(9, "40");
    world.deliver().await;
    world.withdraws();
    world.fake.fault(|request, _| request.is("GET", MONITOR).then(|| crate::fake::error(503, "Not now.")));
    assert!(!world.deliver().await);
    assert_eq!(world.task(), None);
    assert_eq!(world.tries().map(|tries| tries.failure.class), Some(ErrorClass::Throttled));
    assert!(world.device().working.is_some());
}

#[tokio::test]
async fn endless_work_is_given_up_and_its_monitor_named() {
    let mut world = World::new().await;
    world.fake.fault(|request, state| {
        (request.is("POST", state.collection()) || request.is("GET", MONITOR)).then(|| running("900"))
    });
    world.deliver().await;
    world.withdraws();
    later(3599);
    assert!(!world.deliver().await, "there is still time");
    later(1);
    assert!(world.deliver().await);
    let failure = world.assert_failed(ErrorClass::Timeout).failure.unwrap();
    assert!(failure.message.contains(MONITOR) && failure.message.contains("job 7"), "{failure:?}");
    assert_eq!(world.device().working, None, "a retry reads what is there");
}

#[tokio::test]
async fn after_endless_work_the_trust_store_decides() {
    for arrived in [true, false] {
        let world = World::new().await;
        world.fake.fault(|request, state| {
            (request.is("POST", state.collection()) || request.is("GET", MONITOR)).then(|| running("900"))
        });
        world.deliver().await;
        later(3600);
        if arrived {
            world.fake.hold(&world.root);
        }
        assert!(world.deliver().await);
        if arrived {
            world.assert_acked();
        } else {
            let failure = world.assert_failed(ErrorClass::Timeout).failure.unwrap();
            assert!(failure.message.contains("does not end"), "{failure:?}");
        }
        assert_eq!(world.device().working, None);
    }
}

#[tokio::test]
async fn a_wrong_password_is_sent_once_to_busy_devices_too() {
    let world = World::new().await;
    let mut device = world.device();
    device.working = Some(Working { monitor: MONITOR.to_owned(), task: world.attempt(), since: crate::now() });
    world.aws.set_device(&device);
    world.password("tr0ub4dor-and-3");
    assert!(world.deliver().await);
    world.assert_failed(ErrorClass::Unauthorized);
    assert_eq!(log_ins(&world.fake.requests()), 1);
    assert!(world.device().working.is_some(), "nobody knows yet");
}
