//! A person's look at a device: one visit, and its result in the device's record.

use rootcast_core::job::message::Task;
use rootcast_core::job::task::ErrorClass;
use rootcast_core::job::{NO_JOB, Pass};
use rootcast_ledger::Unapproved;

use crate::fake::error;
use crate::{World, log_ins, now};

impl World {
    async fn probe(&self, number: u32) -> bool {
        let task = Task::new(NO_JOB, Pass::Probe, "bmc-1".parse().unwrap(), number);
        self.receive(&serde_json::to_value(task).unwrap(), 1).await
    }
}

#[tokio::test]
async fn what_a_probe_finds_is_in_the_devices_record() {
    let world = World::new().await;
    world.fake.hold(&world.root);
    let before = world.device();
    assert!(world.probe(17).await);
    let after = world.device();
    let probed = after.probed.unwrap();
    assert_eq!((probed.number, probed.at, probed.failure), (17, now(), None));
    let slot = probed.found.unwrap().slots.into_iter().find(|slot| slot.is_used).unwrap();
    assert_eq!((slot.members, slot.places, slot.free()), (1, Some(10), Some(9)));
    assert_eq!((after.held, after.goal, after.begun, after.lease), (before.held, before.goal, 0, None));
    assert_eq!((world.task(), log_ins(&world.fake.requests())), (None, 1), "no job knows of it");
}

#[tokio::test]
async fn a_failing_probe_is_not_repeated_and_leaves_other_tries() {
    let world = World::new().await;
    world.fake.fault(|request, _| request.is("POST", "/Truststore").then(|| error(503, "Not now.")));
    assert!(!world.deliver().await, "the rollover comes back");
    let tries = world.device().tries;
    assert!(!tries.is_empty());
    world.fake.requests();
    world.fake.fault(|request, _| request.is("POST", "/Sessions").then(|| error(503, "All sessions are taken.")));
    assert!(world.probe(18).await, "it is done");
    let device = world.device();
    let failure = device.probed.unwrap().failure.unwrap();
    assert_eq!(failure.class, ErrorClass::Throttled);
    assert!(failure.message.contains("All sessions are taken."));
    assert_eq!((device.tries, log_ins(&world.fake.requests())), (tries, 1));
    world.fake.recover();
    assert!(world.probe(19).await);
    assert!(world.device().probed.unwrap().found.is_some());
}

#[tokio::test]
async fn an_unapproved_device_is_not_probed() {
    let world = World::new().await;
    let mut device = world.device();
    device.unapproved = Some(Unapproved { by: "ops".to_owned(), at: now(), formerly: None });
    world.aws.set_device(&device);
    assert!(world.probe(1).await);
    assert_eq!(world.device().probed.unwrap().failure.unwrap().class, ErrorClass::Unapproved);
    assert!(world.fake.requests().is_empty());
}
