//! Writes that the device finishes by itself.

use std::time::{Duration, Instant};

use rootcast_core::device::Profile;
use rootcast_core::task::ErrorClass;
use rootcast_drivers::{Monitor, Progress};
use serde_json::{Value, json};

use super::fake::{Fake, MONITOR, Model, Reply, error, root, running};
use super::{Attempt, install, prints};

#[tokio::test]
async fn a_short_task_is_waited_for() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.work_on(2, "0");
    let new = root("one");
    assert_eq!(Attempt::new(&fake, Profile::Openbmc, install(&[&new])).done().await.held.anchors, prints(&[&new]));
    assert_eq!(fake.open_sessions(), 0);
}

#[tokio::test]
async fn a_long_task_is_handed_back_and_taken_up_again() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.work_on(2, "40");
    let new = root("one");
    let mut attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&new]));
    let start = Instant::now();
    let Ok(Progress::Running { monitor, after }) = attempt.run().await else { panic!("not running") };
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!((after, fake.open_sessions()), (Duration::from_secs(40), 0));
    let carried: Monitor = monitor.to_string().parse().unwrap();
    attempt.monitor = Some(&carried);
    let Ok(Progress::Running { monitor, .. }) = attempt.run().await else { panic!("not running") };
    attempt.monitor = Some(&monitor);
    fake.requests();
    assert_eq!(attempt.done().await.held.anchors, prints(&[&new]));
    assert!(!fake.requests().iter().any(|request| request.is("POST", "/Truststore")), "written twice");
}

#[tokio::test]
async fn a_task_that_failed_says_why_unless_its_effect_is_there() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, state| {
        let failed = json!({"TaskState": "Exception", "Messages": [{"Message": "The flash is worn out."}]});
        match request {
            _ if request.is("POST", state.collection()) => Some(running("0")),
            _ if request.is("GET", MONITOR) => Some(Reply::json(failed)),
            _ => None,
        }
    });
    let new = root("one");
    let attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&new]));
    let failure = attempt.fails().await;
    assert_eq!(failure.class, ErrorClass::ServerError);
    assert!(failure.message.contains("The flash is worn out."), "{failure:?}");
    let monitor: Monitor = format!("1 {MONITOR}").parse().unwrap();
    let mut resumed = Attempt::new(&fake, Profile::Openbmc, install(&[&new]));
    resumed.monitor = Some(&monitor);
    assert_eq!(resumed.fails().await.class, ErrorClass::ServerError);
    fake.hold(&new);
    resumed.done().await;
}

#[tokio::test]
async fn a_task_that_never_ends_is_given_up() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.work_on(u32::MAX, "900");
    let mut carried: Option<Monitor> = None;
    for round in 0..100 {
        let mut attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")]));
        let last = carried.take();
        attempt.monitor = last.as_ref();
        match attempt.run().await {
            Ok(Progress::Running { monitor, .. }) => carried = Some(monitor),
            Ok(Progress::Done(_)) => panic!("done"),
            Err(failure) => {
                assert_eq!(failure.class, ErrorClass::Timeout);
                assert!(round > 10);
                return;
            }
        }
    }
    panic!("for ever");
}

#[tokio::test]
async fn a_monitor_that_is_gone_leaves_the_word_to_the_slot() {
    let fake = Fake::start(Model::OpenBmc).await;
    let monitor: Monitor = format!("3 {MONITOR}").parse().unwrap();
    let mut attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")]));
    attempt.monitor = Some(&monitor);
    assert!(attempt.done().await.changed);
}

#[tokio::test]
async fn foreign_monitors_are_not_followed() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, state| {
        let headers = vec![("Location", "https://evil.example/redfish/v1/x".to_owned())];
        request.is("POST", state.collection()).then_some(Reply::Json(202, headers, Value::Null))
    });
    let attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")]));
    assert_eq!(attempt.fails().await.class, ErrorClass::Unsupported);
    let monitor: Monitor = "1 https://evil.example/redfish/v1/x".parse().unwrap();
    let mut resumed = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")]));
    resumed.monitor = Some(&monitor);
    assert_eq!(resumed.fails().await.class, ErrorClass::Unsupported);
    fake.fault(|request, state| request.is("POST", state.collection()).then(|| error(202, "Later.")));
    assert_eq!(attempt.fails().await.class, ErrorClass::NotStored);
}
