//! Devices that answer 202 and go on by themselves.

use rootcast_core::job::task::ErrorClass;
use rootcast_core::job::visit::Working;

use crate::aws::Fault;
use crate::fake::{MONITOR, running};
use crate::{World, later, log_ins};

#[tokio::test]
async fn what_a_device_works_on_is_on_its_record() {
    let world = World::new().await;
    world.fake.work_on(2, "40");
    assert!(!world.deliver().await, "it comes back");
    let working = world.device().working.unwrap();
    assert_eq!((working.monitor.as_str(), working.task), (MONITOR, world.attempt()));
    assert_eq!(world.device().tries, None);
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

/// It dies before it gives the device back: nothing that it would write then is written.
async fn worker_dies(world: &World) {
    world.aws.fault("UpdateItem release", Fault::Throttled, 99);
    assert!(!world.deliver().await);
    world.aws.state().faults.clear();
    assert!(world.device().lease.is_some());
    later(60);
}

#[tokio::test]
async fn what_a_device_works_on_survives_its_worker() {
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
async fn a_withdraw_waits_for_what_a_dead_worker_began() {
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
async fn a_monitor_that_cannot_be_noted_is_given_back_with_the_device() {
    let world = World::new().await;
    world.fake.work_on(1, "40");
    world.aws.fault("UpdateItem working", Fault::Throttled, 8);
    assert!(!world.deliver().await);
    assert_eq!(world.device().working.map(|working| working.monitor).as_deref(), Some(MONITOR));
    assert!(world.deliver().await);
    world.assert_acked();
}

/// The installation is on its way when the rollover is aborted: absence that is read before its end proves nothing.
#[tokio::test]
async fn a_withdraw_waits_for_what_the_device_still_works_on() {
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
async fn a_silent_device_is_not_taken_for_done() {
    let mut world = World::new().await;
    world.fake.work_on(9, "40");
    world.deliver().await;
    world.withdraws();
    world.fake.fault(|request, _| request.is("GET", MONITOR).then(|| crate::fake::error(503, "Not now.")));
    assert!(!world.deliver().await);
    assert_eq!(world.task(), None);
    assert_eq!(world.device().tries.map(|tries| tries.failure.class), Some(ErrorClass::Throttled));
    assert!(world.device().working.is_some());
}

#[tokio::test]
async fn work_without_an_end_is_given_up_and_named() {
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
async fn the_slot_has_the_last_word_after_endless_work() {
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
