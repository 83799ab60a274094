//! The trust anchors of others reach every device, and leave it.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

use super::*;

pub(super) fn of_others(name: &str) -> Certificate {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    Certificate::from_der(params.self_signed(&key).unwrap().der().to_vec()).unwrap()
}

/// The job of an answer.
fn job_of(answer: &Value) -> u64 {
    answer["response"]["jobPath"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap()
}

impl Scene {
    /// Begins the job that brings it to the devices.
    pub(super) async fn add(&self, anchor: &Certificate, query: &str) -> u64 {
        let body = json!({ "certificate": anchor.pem() });
        job_of(&self.world.must("POST", &format!("/trustedCertificates{query}"), body).await)
    }

    async fn remove(&self, id: &str) -> u64 {
        job_of(&self.world.must("DELETE", &format!("/trustedCertificates/{id}{ROLLOUT}"), Value::Null).await)
    }

    pub(super) fn has(&self, number: u8, anchor: &Certificate) -> bool {
        self.place(number, |bmc| bmc.holds(&anchor.fingerprint()))
    }

    pub(super) async fn trusted(&self) -> Vec<(String, String)> {
        let listed = self.world.must("GET", "/trustedCertificates", Value::Null).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        listed["response"].as_array().unwrap().iter().map(|each| (text(&each["id"]), text(&each["state"]))).collect()
    }
}

fn as_listed(id: &str, state: &str) -> Vec<(String, String)> {
    vec![(id.to_owned(), state.to_owned())]
}

#[test]
fn an_anchor_of_others_comes_and_goes_beside_the_root() {
    scene(3, async |scene| {
        let other = of_others("Other");
        let job = scene.add(&other, ROLLOUT).await;
        assert_eq!(scene.trusted().await, as_listed("1", "adding"));
        assert_eq!(scene.world.ended(job).await["outcome"], "distributed");
        assert_eq!(scene.trusted().await, as_listed("1", "trusted"));
        // Who joins later gets it too.
        let at = scene.world.install(9);
        scene.world.must("POST", "/devices", scene.world.enrolment("late", at)).await;
        sleep(HOUR).await;
        assert!([1, 2, 3, 9].into_iter().all(|number| scene.has(number, &other) && scene.holds(number, 1)));

        // And keeps it when the root changes.
        let job = scene.begin().await;
        assert_eq!(scene.world.ended(job).await["outcome"], "activated");
        let job = scene.remove("1").await;
        assert_eq!(scene.trusted().await, as_listed("1", "removing"));
        assert_eq!(scene.world.ended(job).await["outcome"], "distributed");
        assert!([1, 2, 3, 9].into_iter().all(|number| !scene.has(number, &other) && scene.holds(number, 2)));
        assert!(scene.trusted().await.is_empty());
        assert_eq!(scene.signing(), 2);
        end::rest(&scene.world).await;
    });
}

#[test]
fn an_aborted_addition_leaves_the_devices_again() {
    scene(3, async |scene| {
        let other = of_others("Other");
        scene.mood(3, Mood::Refuses);
        let job = scene.add(&other, ROLLOUT).await;
        scene.task_is(job, "distribute", 1, "acked").await;
        scene.task_is(job, "distribute", 2, "acked").await;
        assert!(scene.has(1, &other));
        scene.post(job, "abort", Value::Null).await;
        scene.mood(3, Mood::Well);
        assert_eq!(scene.world.ended(job).await["outcome"], "aborted");
        assert!((1..=3).all(|number| !scene.has(number, &other) && scene.holds(number, 1)));
        assert!(scene.trusted().await.is_empty());
        assert_eq!(scene.signing(), 1);
        end::rest(&scene.world).await;
    });
}

#[test]
fn an_aborted_removal_brings_the_anchor_back() {
    scene(3, async |scene| {
        let other = of_others("Other");
        let job = scene.add(&other, ROLLOUT).await;
        scene.world.ended(job).await;
        scene.mood(3, Mood::Refuses);
        let job = scene.remove("1").await;
        scene.task_is(job, "distribute", 1, "acked").await;
        assert!(!scene.has(1, &other));
        scene.mood(3, Mood::Well);
        scene.post(job, "abort", Value::Null).await;
        assert_eq!(scene.world.ended(job).await["outcome"], "aborted");
        assert!((1..=3).all(|number| scene.has(number, &other)));
        assert_eq!(scene.trusted().await, as_listed("1", "trusted"));
        end::rest(&scene.world).await;
    });
}

/// The gate is a survey here too: what a device lost, or a device that came while the job ran.
#[test]
fn an_addition_does_not_end_before_every_device_has_it() {
    scene(3, async |scene| {
        let other = of_others("Other");
        scene.mood(3, Mood::Refuses);
        let job = scene.add(&other, ROLLOUT).await;
        scene.task_is(job, "distribute", 1, "acked").await;
        let at = scene.world.install(9);
        scene.world.must("POST", "/devices", scene.world.enrolment("late", at)).await;
        let paused = scene.world.job_when(job, 3 * HOUR, |job| job["state"] == "paused").await;
        assert!(paused["reason"].as_str().unwrap().contains("trusted certificates"), "{paused}");
        assert_eq!(scene.trusted().await, as_listed("1", "adding"));
        scene.mood(3, Mood::Well);
        scene.post(job, "resume", Value::Null).await;
        assert_eq!(scene.world.ended(job).await["outcome"], "distributed");
        assert!([1, 2, 3, 9].into_iter().all(|number| scene.has(number, &other)));
        end::rest(&scene.world).await;
    });
}

/// With processes that die between any two calls, and answers that are lost, too.
#[test]
fn faults_lose_no_anchor_and_make_no_second_job() {
    let faults = Faults { kill: 0.05, lost_answer: 0.02, conflict: 0.05, throttled: 0.02, ..Faults::default() };
    scene(3, async |scene| {
        let anchors: Vec<Certificate> = (1..=3).map(|number| of_others(&format!("Other {number}"))).collect();
        scene.world.faults(faults);
        for (at, anchor) in anchors.iter().enumerate() {
            let body = json!({ "certificate": anchor.pem() });
            let path = format!("/trustedCertificates{ROLLOUT}");
            let end = clock::age() + 3 * HOUR;
            // Refused once it is there.
            while scene.world.ask("POST", &path, body.clone()).await.is_none_or(|(status, _)| status != 409) {
                assert!(clock::age() < end, "{}", scene.world.cloud.trace());
                sleep(Duration::from_secs(10)).await;
            }
            scene.world.faults(Faults::default());
            end::rest(&scene.world).await;
            assert_eq!(scene.trusted().await.len(), at + 1);
            scene.world.faults(faults);
        }
        scene.world.faults(Faults::default());
        assert!((1..=3).all(|number| anchors.iter().all(|anchor| scene.has(number, anchor))));
        let jobs = scene.world.jobs().into_iter().filter(|job| job["purpose"] == "anchors").count();
        assert_eq!(jobs, 3);
    });
}
