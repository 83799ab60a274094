//! Asynchronous writes.

use std::time::{Duration, Instant};

use rootcast_core::device::Profile;
use rootcast_core::job::task::ErrorClass;
use rootcast_drivers::{Ended, Monitor, Progress};
use serde_json::{Value, json};

use super::fake::{Fake, MONITOR, Model, Reply, error, root, running};
use super::{Attempt, ask, ended, install, prints};

#[tokio::test]
async fn a_short_task_is_waited_for() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.work_on(2, "0");
    let new = root("one");
    assert_eq!(Attempt::new(&fake, Profile::Openbmc, install(&[&new])).done().await.held.anchors, prints(&[&new]));
    assert_eq!(fake.open_sessions(), 0);
}

#[tokio::test]
async fn a_long_task_is_resumed_by_a_later_attempt() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.work_on(2, "40");
    let new = root("one");
    let mut attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&new]));
    let start = Instant::now();
    let Ok(Progress::Running { monitor, after }) = attempt.run().await else { panic!("not running") };
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!((after, fake.open_sessions()), (Duration::from_secs(40), 0));
    let carried = Monitor::from(monitor.to_string().as_str());
    let Ok(Progress::Running { after, .. }) = ask(&fake, Profile::Openbmc, &carried).await else {
        panic!("not running")
    };
    assert_eq!(after, Duration::from_secs(40));
    let ended = ended(&fake, &monitor).await;
    attempt.earlier = Some(&ended);
    fake.requests();
    assert_eq!(attempt.done().await.held.anchors, prints(&[&new]));
    assert!(!fake.requests().iter().any(|request| request.is("POST", "/Truststore")), "written twice");
}

#[tokio::test]
async fn a_failed_tasks_reason_is_reported_unless_its_effect_shows() {
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
    let ended = ended(&fake, &MONITOR.into()).await;
    let mut resumed = Attempt::new(&fake, Profile::Openbmc, install(&[&new]));
    resumed.earlier = Some(&ended);
    assert_eq!(resumed.fails().await.class, ErrorClass::ServerError);
    fake.hold(&new);
    resumed.done().await;
}

#[tokio::test]
async fn after_an_endless_task_the_slot_decides() {
    let fake = Fake::start(Model::OpenBmc).await;
    let new = root("one");
    let endless = Ended::given_up(&MONITOR.into());
    let mut attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&new]));
    attempt.earlier = Some(&endless);
    let failure = attempt.fails().await;
    assert_eq!(failure.class, ErrorClass::Timeout);
    assert!(failure.message.contains("does not end"), "{failure:?}");
    fake.hold(&new);
    assert!(!attempt.done().await.changed);
}

#[tokio::test]
async fn after_a_lost_monitor_the_slot_decides() {
    let fake = Fake::start(Model::OpenBmc).await;
    let ended = ended(&fake, &MONITOR.into()).await;
    let mut attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")]));
    attempt.earlier = Some(&ended);
    assert!(attempt.done().await.changed);
}

#[tokio::test]
async fn a_refused_monitor_query_does_not_end_the_task() {
    for (status, class) in [(401, ErrorClass::Unauthorized), (503, ErrorClass::Throttled)] {
        let fake = Fake::start(Model::OpenBmc).await;
        fake.fault(move |request, _| request.is("GET", MONITOR).then(|| error(status, "Not now.")));
        let failure = ask(&fake, Profile::Openbmc, &MONITOR.into()).await.unwrap_err();
        assert_eq!(failure.class, class);
    }
}

#[tokio::test]
async fn every_profiles_monitor_can_be_queried() {
    for (model, profile) in [
        (Model::Xcc, Profile::LenovoXcc),
        (Model::Dmtf { expand: true }, Profile::Dmtf),
        (Model::Vmedia { replace: true }, Profile::Vmedia),
    ] {
        let fake = Fake::start(model).await;
        assert!(matches!(ask(&fake, profile, &MONITOR.into()).await, Ok(Progress::Done(_))), "{profile}");
    }
}

const JOB: &str = "/redfish/v1/Managers/iDRAC.Embedded.1/Jobs/JID_1";

/// A POST makes a job, which has these states one after another; the last one stays. After `Completed` the certificate is
/// listed.
fn works(fake: &Fake, states: &'static [(u16, &'static str)], location: bool) {
    let (mut asked, mut body) = (0, Value::Null);
    fake.fault(move |request, state| {
        if request.is("POST", state.collection()) {
            body = request.body.clone();
            let headers = if location { vec![("Location", JOB.to_owned())] } else { Vec::new() };
            return Some(Reply::Json(202, headers, json!({"@odata.id": JOB, "JobState": "New"})));
        }
        if !request.is("GET", JOB) {
            return None;
        }
        let (status, said) = states[asked.min(states.len() - 1)];
        asked += 1;
        if (said == "Completed" || status == 404) && body.is_object() {
            state.store(body.take()["CertificateString"].as_str().unwrap().to_owned());
        }
        let percent = if said == "Completed" { 100 } else { 20 };
        let words = if said == "Failed" { "LC011: the import did not work." } else { "" };
        let job = match said {
            "" => json!({"PercentComplete": percent}),
            said => json!({"Id": "JID_1", "JobState": said, "PercentComplete": percent, "Message": words}),
        };
        Some(Reply::Json(status, Vec::new(), job))
    });
}

#[tokio::test]
async fn a_vendors_job_is_followed_to_its_end() {
    for states in [
        &[(200, "Running"), (200, "Completed")][..],
        &[(200, "Scheduled"), (200, "Completed")],
        &[(200, ""), (200, "Completed")],
        &[(200, "Running"), (404, "gone")],
    ] {
        for location in [true, false] {
            let fake = Fake::start(Model::Dmtf { expand: false }).await;
            works(&fake, states, location);
            let new = root("one");
            let done = Attempt::new(&fake, Profile::Dmtf, install(&[&new])).done().await;
            assert_eq!(done.held.anchors, prints(&[&new]));
            let posts = fake.requests().iter().filter(|request| request.is("POST", "/TrustedCertificates")).count();
            assert_eq!(posts, 1, "{states:?}");
        }
    }
}

#[tokio::test]
async fn a_job_that_runs_for_long_is_asked_again_later() {
    let fake = Fake::start(Model::Dmtf { expand: false }).await;
    works(&fake, &[(200, "Running")], true);
    let attempt = Attempt::new(&fake, Profile::Dmtf, install(&[&root("one")]));
    let Ok(Progress::Running { monitor, .. }) = attempt.run().await else { panic!("not running") };
    assert_eq!((monitor.to_string().as_str(), fake.open_sessions()), (JOB, 0));
}

#[tokio::test]
async fn a_failed_job_is_quoted() {
    for states in [&[(200, "Failed")][..], &[(200, "Running"), (200, "Failed")]] {
        let fake = Fake::start(Model::Dmtf { expand: false }).await;
        works(&fake, states, true);
        let failure = Attempt::new(&fake, Profile::Dmtf, install(&[&root("one")])).fails().await;
        assert_eq!(failure.class, ErrorClass::ServerError);
        assert!(failure.message.contains("LC011: the import did not work."), "{failure:?}");
    }
    let fake = Fake::start(Model::Dmtf { expand: false }).await;
    works(&fake, &[(200, "CompletedWithErrors")], true);
    assert_eq!(
        Attempt::new(&fake, Profile::Dmtf, install(&[&root("one")])).fails().await.class,
        ErrorClass::ServerError
    );
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
    let failure = ask(&fake, Profile::Openbmc, &"https://evil.example/redfish/v1/x".into()).await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::Unsupported);
    fake.fault(|request, state| request.is("POST", state.collection()).then(|| error(202, "Later.")));
    assert_eq!(attempt.fails().await.class, ErrorClass::NotStored);
}
