//! A visit's outcome is recorded once, whatever is lost on the way, and no device is visited again for a lost answer.

use rootcast_core::job::task::ErrorClass;

use crate::aws::Fault;
use crate::{World, later, log_ins};

#[tokio::test]
async fn a_wrong_password_is_sent_once_although_recording_fails() {
    let world = World::new().await;
    world.password("tr0ub4dor-and-3");
    world.aws.fault("TransactWriteItems", Fault::Throttled, 8);
    assert!(!world.deliver().await, "it comes back");
    assert!(world.task().is_none());
    later(10);
    assert!(world.deliver().await);
    world.assert_failed(ErrorClass::Unauthorized);
    assert_eq!(log_ins(&world.fake.requests()), 1);
    assert_eq!((world.device().begun, world.device().lease), (0, None));
}

#[tokio::test]
async fn the_message_carries_an_outcome_that_cannot_be_recorded() {
    let world = World::new().await;
    world.password("tr0ub4dor-and-3");
    world.aws.fault("TransactWriteItems", Fault::Throttled, 8);
    world.aws.fault("UpdateItem release", Fault::Throttled, 99);
    assert!(world.deliver().await, "a new message takes its place");
    world.aws.state().faults.clear();
    let sent = world.sent();
    assert_eq!(sent[0]["unrecorded"]["class"], "unauthorized", "{sent:?}");
    world.aws.fault("TransactWriteItems", Fault::Throttled, 8);
    assert!(world.receive(&sent[0], 1).await, "and another one");
    assert_eq!(world.sent(), sent);
    assert!(world.receive(&sent[0], 1).await);
    world.assert_failed(ErrorClass::Unauthorized);
    assert_eq!(log_ins(&world.fake.requests()), 1);
}

#[tokio::test]
async fn the_record_says_what_the_device_holds() {
    let mut world = World::new().await;
    assert!(world.deliver().await);
    let held = world.device().held.unwrap();
    let ack = held.ack.unwrap();
    let root = rootcast_pki::fingerprint::Fingerprint::of(&world.root);
    assert_eq!((ack.of, ack.bundle_version), (world.device().version(), 3));
    assert_eq!((ack.sha256, held.failure), (rootcast_pki::bundle::content_hash(std::iter::once(root)), None));
    world.withdraws();
    world.password("tr0ub4dor-and-3");
    assert!(world.deliver().await);
    let held = world.device().held.unwrap();
    assert_eq!(held.failure.map(|failure| failure.class), Some(ErrorClass::Unauthorized));
    assert_eq!(held.ack, Some(ack), "what it proved before stays");
}

#[tokio::test]
async fn a_lease_is_used_although_its_answer_was_lost() {
    let world = World::new().await;
    world.aws.fault("UpdateItem lease", Fault::AnswerLost, 1);
    assert!(world.deliver().await);
    world.assert_acked();
    assert_eq!((world.aws.count("UpdateItem lease"), log_ins(&world.fake.requests())), (2, 1));
    assert_eq!((world.device().lease, world.device().begun), (None, 0));
}

#[tokio::test]
async fn a_device_is_released_although_the_answer_was_lost() {
    let world = World::new().await;
    world.aws.fault("UpdateItem release", Fault::AnswerLost, 1);
    assert!(world.deliver().await);
    world.assert_acked();
    assert_eq!((world.device().lease, world.aws.count("UpdateItem release")), (None, 2));
}

#[tokio::test]
async fn a_try_is_counted_although_the_release_is_throttled() {
    let world = World::new().await;
    world.fake.fault(|_, _| Some(crate::fake::error(500, "Not now.")));
    world.aws.fault("UpdateItem release", Fault::Throttled, 5);
    world.deliver().await;
    assert_eq!(world.tries().map(|tries| tries.count), Some(1));
    assert_eq!(world.device().lease, None);
}

/// One batch may hold two tasks of one device.
#[tokio::test]
async fn a_workers_lease_for_another_message_is_not_reused() {
    let world = World::new().await;
    let lease = rootcast_ledger::Lease {
        owner: "worker another-message".to_owned(),
        until: crate::now() + std::time::Duration::from_secs(30),
    };
    world.app.ledger.lease(&"bmc-1".parse().unwrap(), &lease, Some(3), crate::now()).await.unwrap();
    assert!(!world.deliver().await);
    assert_eq!(world.fake.requests().len(), 0);
    assert_eq!(world.aws.state().postponed, [31], "when the lease is over");
    assert_eq!((world.tries(), world.task()), (None, None), "and that was no try");
}

/// SQS delivers twice, and a batch whose answer was lost is sent again.
#[tokio::test]
async fn a_second_message_read_before_the_record_sends_no_password() {
    let world = World::new().await;
    world.password("tr0ub4dor-and-3");
    assert!(world.deliver().await);
    // As the second message's worker read it. It gets the lease as soon as the first one releases it.
    world.aws.state().task = None;
    assert!(world.deliver().await);
    world.assert_failed(ErrorClass::Unauthorized);
    assert_eq!(log_ins(&world.fake.requests()), 1);
}

#[tokio::test]
async fn an_unrecorded_failure_survives_another_tasks_visit() {
    let mut world = World::new().await;
    world.password("tr0ub4dor-and-3");
    world.aws.fault("TransactWriteItems", Fault::Throttled, 8);
    assert!(!world.deliver().await, "it comes back");
    world.aws.state().faults.clear();
    let (first, unrecorded) = (world.job.clone(), world.device().tries);
    world.job.id = rootcast_core::job::JobId(8);
    world.password(crate::PASSWORD);
    let world = world.distributes();
    assert!(world.deliver().await);
    world.assert_acked();
    assert_eq!(world.device().tries, unrecorded, "of job {}", first.id);
}

#[tokio::test]
async fn an_unrecorded_failure_survives_another_tasks_failure() {
    let mut world = World::new().await;
    world.password("tr0ub4dor-and-3");
    for job in [7, 8] {
        world.job.id = rootcast_core::job::JobId(job);
        world = world.distributes();
        world.aws.fault("TransactWriteItems", Fault::Throttled, 8);
        assert!(!world.deliver().await, "it comes back");
        world.aws.state().faults.clear();
    }
    for job in [7, 8] {
        world.job.id = rootcast_core::job::JobId(job);
        world = world.distributes();
        assert!(world.deliver().await);
        world.assert_failed(ErrorClass::Unauthorized);
    }
    assert_eq!(log_ins(&world.fake.requests()), 2, "one for each job");
}
