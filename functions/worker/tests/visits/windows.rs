//! Maintenance windows: nothing begins outside of them. The tests' clock begins at 13:46 UTC.

use rootcast_core::job::task::{TaskRecord, TaskState};
use serde_json::{from_value, json};

use crate::aws::wire;
use crate::fake::Reply;
use crate::{World, later, log_ins};

impl World {
    /// Work may begin at the device only at these hours (UTC).
    fn opens(&mut self, from: &str, to: &str) {
        self.job.rollout.windows = from_value(json!([{ "from": from, "to": to, "zone": "UTC" }])).unwrap();
        let mut state = self.aws.state();
        for (name, value) in wire(&serde_json::to_value(&self.job).unwrap())["M"].as_object().unwrap() {
            state.job["M"][name] = value.clone();
        }
    }

    fn assert_postponed(&self) -> TaskRecord {
        let task = self.task().expect("it is recorded");
        assert_eq!((task.state, task.attempt, &task.failure), (TaskState::Postponed, 1, &None), "{task:?}");
        let device = self.device();
        assert_eq!((self.tries(), device.lease, device.begun), (None, None, 0));
        task
    }
}

#[tokio::test]
async fn a_task_outside_its_window_is_put_back_unvisited() {
    let mut world = World::new().await;
    world.opens("15:00", "16:00");
    assert!(world.deliver().await, "its message is done");
    world.assert_postponed();
    assert_eq!(log_ins(&world.fake.requests()), 0);
    assert!(world.deliver().await, "twice is as good as once");
    world.assert_postponed();
}

#[tokio::test]
async fn a_device_without_the_windows_labels_is_visited() {
    let mut world = World::new().await;
    world.opens("15:00", "16:00");
    world.job.rollout.windows[0].devices = "site=fra".parse().unwrap();
    let windows = wire(&serde_json::to_value(&world.job.rollout.windows).unwrap());
    world.aws.state().job["M"]["rollout"]["M"]["windows"] = windows;
    assert!(world.deliver().await);
    world.assert_acked();
}

#[tokio::test]
async fn a_retry_after_the_window_uses_no_try() {
    let mut world = World::new().await;
    world.opens("13:00", "14:00");
    world.fake.fault(|_, _| Some(Reply::status(503)));
    assert!(!world.deliver().await, "it comes back");
    assert_eq!(world.tries().map(|tries| tries.count), Some(1));
    later(3600);
    assert!(world.deliver().await);
    world.assert_postponed();
}

#[tokio::test]
async fn what_a_device_runs_ends_after_its_window() {
    let mut world = World::new().await;
    world.opens("13:00", "14:00");
    world.fake.work_on(2, "40");
    assert!(!world.deliver().await, "it is at it");
    later(3000);
    assert!(!world.deliver().await, "it is still at it");
    assert!(world.deliver().await);
    world.assert_acked();
}
