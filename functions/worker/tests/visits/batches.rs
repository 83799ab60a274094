//! What a batch's messages share, and which messages cause no visit.

use rootcast_core::job::message::Task;
use serde_json::{Value, json};

use crate::World;

impl World {
    fn message_to(&self, device: &str, attempt: u32) -> Value {
        let task = Task::new(self.job.id, self.job.pass(), device.parse().unwrap(), attempt);
        serde_json::to_value(task).unwrap()
    }
}

#[tokio::test]
async fn the_credentials_of_a_batch_are_read_at_once() {
    let world = World::new().await;
    world.enrol("bmc-2");
    world.fake.hold(&world.root);
    let messages = [world.message_to("bmc-1", 1), world.message_to("bmc-2", 1)];
    assert!(world.receive_all(&[&messages[0], &messages[1]], 1).await);
    assert_eq!(world.aws.count("GetParameters"), 1);
    for id in ["bmc-1", "bmc-2"] {
        let device: rootcast_ledger::DeviceRecord = world.aws.device(id);
        assert!(device.held.is_some_and(|held| held.ack.is_some()), "{id}");
    }
}

#[tokio::test]
async fn a_repeated_message_in_a_batch_causes_one_visit() {
    let world = World::new().await;
    let message = world.message_to("bmc-1", 1);
    assert!(world.receive_all(&[&message, &message], 1).await);
    world.assert_acked();
    assert_eq!(crate::log_ins(&world.fake.requests()), 1);
}

#[tokio::test]
async fn a_message_of_an_older_attempt_changes_nothing() {
    let world = World::new().await;
    world.password("tr0ub4dor-and-3");
    assert!(world.deliver().await);
    // The device is retried.
    if let Some(task) = &mut world.aws.state().task {
        (task["state"], task["attempt"]) = (json!({ "S": "waiting" }), json!({ "N": "2" }));
    }
    world.password(crate::PASSWORD);
    let before = (world.task(), world.device());
    world.fake.requests();
    assert!(world.receive(&world.message_to("bmc-1", 1), 1).await, "it is done with");
    assert_eq!((world.task(), world.device()), before);
    assert!(world.fake.requests().is_empty());
    assert!(world.receive(&world.message_to("bmc-1", 2), 1).await);
    world.assert_acked();
}
