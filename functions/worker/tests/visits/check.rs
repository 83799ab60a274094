//! A preflight's visit: the device is read, and what was found is recorded.

use rootcast_core::device::{Profile, Slot};
use rootcast_core::job::task::{Ack, ErrorClass, Probe, TaskState};
use rootcast_core::job::{Job, JobId, NewPreflight, Phase};
use rootcast_core::preflight::{Expected, Finding, Preflight};
use rootcast_core::rollover::rollout::Rollout;
use rootcast_ledger::ObservedTrustStore;
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::bundle::Bundle;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;

use crate::fake::Request;
use crate::{World, log_ins, now};

impl World {
    /// The job reads the devices; the bundle has the root.
    fn preflights(mut self) -> Self {
        let expected = Expected { backdate: 3600, validity: 3600, algorithm: KeyAlgorithm::EcdsaP384 };
        let new = NewPreflight {
            id: JobId(7),
            signing: Some(1),
            bundle_version: 3,
            rollout: Rollout::default(),
            until: Phase::LAST,
            preflight: Preflight::new(expected, 50),
            requested_for: None,
        };
        self.job = Job::of_preflight(new, now());
        let anchors = vec![Certificate::from_der(self.root.clone()).unwrap()];
        let withdrawn = Vec::new();
        self.publishes(Bundle { version: 3, anchors, others: Vec::new(), withdrawn, issued: now(), exp: None });
        self
    }

    /// The device has proven that it holds the bundle.
    fn proven(self) -> Self {
        let mut device = self.device();
        let (of, at, sha256) = (device.version(), now(), Fingerprint::from_bytes([1; 32]));
        let ack = Ack { of, at, bundle_version: 3, sha256, probe: Probe::ReadBack };
        device.held = Some(ObservedTrustStore { ack: Some(ack), failure: None, at });
        self.aws.set_device(&device);
        self
    }

    fn findings(&self) -> Vec<Finding> {
        let task = self.task().expect("it is recorded");
        assert_eq!(task.state, TaskState::Acked, "{task:?}");
        assert_eq!(task.of, Some(self.device().version()));
        task.checked.unwrap().findings.into_iter().map(|found| found.finding).collect()
    }
}

fn writes(requests: &[Request]) -> usize {
    requests.iter().filter(|request| request.method != "GET" && !request.uri.contains("/Sessions")).count()
}

/// The date of the fake's answers is today's, and the world's is in 1970.
const NOW: &str = "Mon, 12 Jan 1970 13:46:40 GMT";

#[tokio::test]
async fn a_device_as_on_record_is_ready_and_not_written() {
    let world = World::new().await.preflights().proven();
    world.fake.lives_in(NOW);
    world.fake.hold(&world.root);
    let before = world.device();
    assert!(world.deliver().await);
    assert_eq!(world.findings(), []);
    let requests = world.fake.requests();
    assert_eq!((writes(&requests), log_ins(&requests), world.fake.open_sessions()), (0, 1, 0));
    let after = world.device();
    assert_eq!((after.held, after.goal, after.begun), (before.held, before.goal, 0));
    let checked = world.task().unwrap().checked.unwrap();
    assert_eq!((checked.members, checked.requests), (1, 3));
}

#[tokio::test]
async fn what_a_device_lost_is_found_and_not_given_back() {
    let world = World::new().await.preflights().proven();
    world.fake.lives_in(NOW);
    assert!(world.deliver().await);
    assert_eq!(world.findings(), [Finding::Changed]);
    assert_eq!((writes(&world.fake.requests()), world.fake.held().len()), (0, 0));
}

#[tokio::test]
async fn a_wrong_clock_and_a_full_store_are_found() {
    let world = World::new().await.preflights();
    world.fake.lives_in("Thu, 01 Jan 1970 00:02:03 GMT");
    (0..10).for_each(|number| world.fake.hold(&crate::fake::root(&number.to_string())));
    assert!(world.deliver().await);
    assert_eq!(world.findings(), [Finding::NoRoom, Finding::Clock]);
}

#[tokio::test]
async fn a_refused_password_is_tried_once() {
    let world = World::new().await.preflights();
    world.password("wrong");
    assert!(world.deliver().await);
    let task = world.assert_failed(ErrorClass::Unauthorized);
    assert_eq!(task.failure.and_then(|failure| failure.stage).map(|stage| stage.number()), Some(100));
    assert!(world.deliver().await);
    assert_eq!(log_ins(&world.fake.requests()), 1);
}

#[tokio::test]
async fn a_missing_slot_is_found_and_a_busy_device_is_tried_again() {
    let world = World::new().await.preflights();
    let mut device = world.device();
    device.profile = Profile::Dmtf;
    device.slot = Some("/redfish/v1/Nowhere".parse::<Slot>().unwrap());
    world.aws.set_device(&device);
    assert!(world.deliver().await);
    world.assert_failed(ErrorClass::Unsupported);
    let world = World::new().await.preflights();
    world.fake.fault(|_, _| Some(crate::fake::error(503, "Not now.")));
    assert!(!world.deliver().await, "it comes back");
    assert_eq!(world.tries().map(|tries| tries.failure.class), Some(ErrorClass::Throttled));
}
