//! From the last proof to the end of the old root.

use rcgen::{KeyPair, PublicKeyData};
use rootcast_pki::root::{LeafSpec, Serial, prepare_server_leaf};
use rootcast_pki::subject::DeviceSubject;

use super::*;
use crate::openbmc::Bmc;

impl Scene {
    /// Waits until the job has this state.
    pub(super) async fn job_is(&self, job: u64, state: &str) -> Row {
        let end = clock::age() + 12 * HOUR;
        loop {
            let known = truth::job(&self.world.cloud, job).unwrap();
            if known["state"] == state {
                return known;
            }
            assert!(clock::age() < end, "job {job} is not {state}: {known}\n{}", self.world.cloud.trace());
            sleep(Duration::from_secs(20)).await;
        }
    }

    pub(super) async fn own_certificates(&self, numbers: &[u8]) -> Vec<Certificate> {
        let mut own = Vec::new();
        for number in numbers {
            self.world.must("POST", &format!("/devices/{}/certificate", id(*number)), Value::Null).await;
            own.push(self.own(*number, None).await);
            self.shows(*number, own.last().unwrap()).await;
        }
        own
    }
}

/// Imports the certificate of somebody's service, below the authority that signs now. Returns its name.
async fn import_service(scene: &Scene, number: u8) -> String {
    let ledger = scene.world.functions.ledger();
    let issuing = ledger.issuing(ledger.authority().await.unwrap().issuing.unwrap()).await.unwrap().unwrap();
    let (arn, issuer) = issuing.key_and_certificate().unwrap();
    let (key, host) = (KeyPair::generate().unwrap(), format!("images-{number}.example.com"));
    let spec = LeafSpec {
        subject: DeviceSubject::new(host.clone(), [host.clone()], Vec::new()).unwrap(),
        serial: Serial::from_random([number; 16]),
        not_before: issuer.not_before(),
        not_after: issuer.not_after(),
        crl: None,
    };
    let prepared = prepare_server_leaf(&spec, &key.subject_public_key_info(), issuer).unwrap();
    let leaf = scene.world.functions.vault().sign_prepared(arn, prepared).await.unwrap();
    let body = json!({
        "name": host, "certificate": leaf.pem(), "certificate_chain": issuer.pem(), "private_key": key.serialize_pem()
    });
    scene.world.must("POST", "/v3/scm/certificates/import", body).await;
    format!(r"\VED\Policy\Certificates\{host}")
}

/// With processes that die between any two calls, and answers that are lost, too.
#[test]
fn an_old_root_is_gone_when_its_rollover_is_complete() {
    let bad = Faults { kill: 0.05, lost_answer: 0.02, conflict: 0.05, throttled: 0.02, ..Faults::default() };
    for faults in [Faults::default(), bad] {
        scene(3, async |scene| {
            scene.signs("1.1").await;
            let before = scene.own_certificates(&[1, 2]).await;
            scene.world.faults(faults);
            let job = scene.world.regenerate("?canary=20&errorBudget=100&until=retire").await.unwrap();
            sleep(6 * HOUR).await;
            scene.world.faults(Faults::default());
            let ended = scene.job_is(job, "ended").await;
            assert_eq!(ended["outcome"], "completed", "{ended}\n{}", scene.world.cloud.trace());
            for (number, before) in [1, 2].into_iter().zip(&before) {
                let after = scene.own(number, Some(before)).await;
                assert!(after.issuer_dn().contains("Issuing G2.1"), "{}", after.issuer_dn());
                scene.shows(number, &after).await;
            }
            assert!((1..=3).all(|number| scene.holds(number, 2) && !scene.holds(number, 1)));
            end::rest(&scene.world).await;
        });
    }
}

#[test]
fn a_device_that_forgets_the_root_stops_the_hold_down() {
    scene(3, async |scene| {
        let job = scene.world.regenerate("?canary=20&holdDown=7200&sample=100&until=activate").await.unwrap();
        scene.task_is(job, "distribute", 3, "acked").await;
        sleep(HOUR / 2).await;
        let waits = truth::job(&scene.world.cloud, job).unwrap();
        assert_eq!((&waits["phase"], scene.signing()), (&json!("holdDown"), 1), "{waits}");
        scene.place(3, Bmc::forget);
        let paused = scene.job_is(job, "paused").await;
        assert!(paused["reason"].as_str().unwrap().contains("1 devices had lost the new root"), "{paused}");
        scene.post(job, "resume", Value::Null).await;
        sleep(HOUR).await;
        assert_eq!(scene.signing(), 1, "the hold-down begins anew");
        let ended = scene.job_is(job, "ended").await;
        assert_eq!((&ended["outcome"], scene.signing()), (&json!("activated"), 2), "{ended}");
        end::rest(&scene.world).await;
    });
}

/// The visit that finds the anchor lost writes it and fails, so that the next one finds it there.
#[test]
fn an_anchor_written_in_a_failed_visit_counts_as_lost() {
    scene(3, async |scene| {
        let job = scene.world.regenerate("?canary=20&holdDown=7200&sample=100&until=activate").await.unwrap();
        scene.task_is(job, "distribute", 3, "acked").await;
        scene.mood(3, Mood::Crashes);
        scene.place(3, Bmc::forget);
        while scene.place(3, |bmc| bmc.mood) != Mood::Broken {
            sleep(Duration::from_secs(1)).await;
        }
        sleep(Duration::from_secs(20)).await;
        scene.mood(3, Mood::Well);
        let paused = scene.job_is(job, "paused").await;
        assert!(paused["reason"].as_str().unwrap().contains("1 devices had lost the new root"), "{paused}");
        scene.post(job, "resume", Value::Null).await;
        let ended = scene.job_is(job, "ended").await;
        assert_eq!((&ended["outcome"], scene.signing()), (&json!("activated"), 2), "{ended}");
        end::rest(&scene.world).await;
    });
}

#[test]
fn a_job_stops_where_it_was_told_and_continues() {
    scene(2, async |scene| {
        scene.signs("1.1").await;
        scene.own_certificates(&[1]).await;
        let job = scene.world.regenerate("?until=publish").await.unwrap();
        let paused = scene.job_is(job, "paused").await;
        assert_eq!((&paused["phase"], scene.holds(1, 2)), (&json!("publish"), false), "{paused}");
        scene.post(job, "continue?until=distribute", Value::Null).await;
        scene.task_is(job, "distribute", 1, "acked").await;
        let paused = scene.job_is(job, "paused").await;
        assert_eq!((&paused["phase"], scene.signing()), (&json!("distribute"), 1), "{paused}");
        scene.post(job, "continue?until=activate", Value::Null).await;
        let ended = scene.job_is(job, "ended").await;
        assert_eq!((&ended["outcome"], scene.signing()), (&json!("activated"), 2), "{ended}");
        scene.post(job, "continue", Value::Null).await;
        sleep(HOUR).await;
        let ended = scene.job_is(job, "ended").await;
        assert_eq!(ended["outcome"], "completed", "{ended}\n{}", scene.world.cloud.trace());
        assert!((1..=2).all(|number| scene.holds(number, 2) && !scene.holds(number, 1)));
        end::rest(&scene.world).await;
    });
}

#[test]
fn what_is_valid_below_an_old_root_keeps_it() {
    scene(2, async |scene| {
        scene.signs("1.1").await;
        let before = scene.own_certificates(&[1]).await;
        scene.world.credential(&id(1), "wrong");
        let job = scene.begin().await;
        let paused = scene.job_is(job, "paused").await;
        scene.world.credential(&id(1), "correct horse");
        assert_eq!(paused["phase"], "distribute", "{paused}");
        scene.post(job, "resume", Value::Null).await;
        scene.job_is(job, "ended").await;
        scene.world.credential(&id(1), "wrong");
        scene.post(job, "continue", Value::Null).await;
        let paused = scene.job_is(job, "paused").await;
        assert_eq!(paused["phase"], "reissue", "{paused}");
        scene.post(job, "waive", json!({ "devices": [id(1)], "reason": "it is scrapped" })).await;
        scene.world.credential(&id(1), "correct horse");
        scene.post(job, "resume", Value::Null).await;
        let ended = scene.job_is(job, "ended").await;
        assert_eq!(ended["outcome"], "completed", "a waived device does not keep the root: {ended}");
        assert_eq!(scene.own(1, None).await, before[0]);
        end::rest(&scene.world).await;
    });
}

#[test]
fn a_device_that_lost_its_requests_key_makes_another_request() {
    scene(2, async |scene| {
        scene.signs("1.1").await;
        let before = scene.own_certificates(&[1]).await;
        scene.mood(1, Mood::Declines);
        let job = scene.world.regenerate("?canary=20&until=retire").await.unwrap();
        let paused = scene.job_is(job, "paused").await;
        assert_eq!(paused["phase"], "reissue", "{paused}");
        scene.place(1, |bmc| {
            bmc.mood = Mood::Well;
            bmc.lose_request();
        });
        scene.post(job, "resume", Value::Null).await;
        let ended = scene.job_is(job, "ended").await;
        assert_eq!(ended["outcome"], "completed", "{ended}");
        let after = scene.own(1, Some(&before[0])).await;
        assert!(scene.place(1, |bmc| *bmc.leaf() == after) && after.issuer_dn().contains("Issuing G2.1"));
        end::rest(&scene.world).await;
    });
}

#[test]
fn no_root_leaves_before_each_joining_device_has_the_next() {
    scene(2, async |scene| {
        scene.signs("1.1").await;
        scene.own_certificates(&[1]).await;
        let job = scene.world.regenerate("?canary=20&errorBudget=100&until=activate").await.unwrap();
        scene.job_is(job, "ended").await;
        // Nothing can be replaced at this device until the other one has joined.
        scene.mood(1, Mood::Refuses);
        scene.post(job, "continue", Value::Null).await;
        let paused = scene.job_is(job, "paused").await;
        assert_eq!(paused["phase"], "reissue", "{paused}");
        assert!(!paused["reason"].as_str().unwrap().contains("abort"), "it cannot be aborted any more: {paused}");
        let enrolment = scene.world.enrolment("late", scene.world.install(9));
        scene.world.credential("late", "wrong");
        scene.world.must("POST", "/devices", enrolment).await;
        scene.mood(1, Mood::Well);
        scene.post(job, "resume", Value::Null).await;
        let paused = scene.job_is(job, "paused").await;
        assert!(paused["reason"].as_str().unwrap().contains("late (it has not proven"), "{paused}");
        assert!((1..=2).all(|number| scene.holds(number, 1)), "the old root stays meanwhile");
        scene.world.credential("shared/other", crate::world::PASSWORD);
        scene.world.must("PATCH", "/devices/late", json!({ "credential": "/devices/shared/other" })).await;
        scene.post(job, "resume", Value::Null).await;
        let ended = scene.job_is(job, "ended").await;
        assert_eq!(ended["outcome"], "completed", "{ended}\n{}", scene.world.cloud.trace());
        assert!([1, 2, 9].into_iter().all(|number| scene.holds(number, 2) && !scene.holds(number, 1)));
        end::rest(&scene.world).await;
    });
}

#[test]
fn an_imported_certificate_keeps_the_old_root_unless_waived() {
    scene(1, async |scene| {
        scene.signs("1.1").await;
        let [kept, waived] = [import_service(scene, 1).await, import_service(scene, 2).await];
        let job = scene.world.regenerate("?canary=20&until=retire").await.unwrap();
        let paused = scene.job_is(job, "paused").await;
        assert_eq!(paused["phase"], "reissue", "{paused}");
        let shown = scene.world.must("GET", &format!("/jobs/{job}"), Value::Null).await["response"].take();
        assert_eq!(shown["inUse"]["found"], 2, "{shown}");
        let names = shown["inUse"]["names"].as_array().unwrap();
        assert!([&kept, &waived].iter().all(|name| names.contains(&json!(name))), "{shown}");
        let spare = |name: &str| json!({ "certificates": [name], "reason": "its owner was told" });
        scene.post(job, "waive", spare(&waived)).await;
        scene.post(job, "resume", Value::Null).await;
        let paused = scene.job_is(job, "paused").await;
        let why = paused["reason"].as_str().unwrap();
        assert!(why.contains(&kept) && !why.contains(&waived), "{why}");
        assert!(scene.holds(1, 1));
        let path = format!("/jobs/{job}/waive");
        let (_, unknown) = scene.world.ask("POST", &path, spare(r"\VED\Policy\Certificates\none")).await.unwrap();
        assert_eq!(unknown["response"]["certificates"][0]["result"], "refused", "{unknown}");
        scene.post(job, "waive", spare(&kept)).await;
        scene.post(job, "resume", Value::Null).await;
        let ended = scene.job_is(job, "ended").await;
        assert_eq!(ended["outcome"], "completed", "{ended}");
        assert!(scene.holds(1, 2) && !scene.holds(1, 1));
        end::rest(&scene.world).await;
    });
}

#[test]
fn a_job_that_cannot_run_again_ends_as_it_had() {
    scene(2, async |scene| {
        scene.signs("1.1").await;
        scene.mood(1, Mood::Refuses);
        let query = "canary=20&errorBudget=100&until=activate";
        let job = scene.world.regenerate(&format!("?activation=immediate&{query}")).await.unwrap();
        let ended = scene.job_is(job, "ended").await;
        assert_eq!(ended["outcome"], "activatedWithFailures", "{ended}");
        scene.mood(1, Mood::Well);
        let next = scene.world.regenerate(&format!("?{query}")).await.unwrap();
        assert_eq!(scene.job_is(next, "ended").await["outcome"], "activated");
        scene.post(job, "continue", Value::Null).await;
        sleep(HOUR / 4).await;
        let again = scene.job_is(job, "ended").await;
        assert_eq!(again["outcome"], "activatedWithFailures", "{again}");
        assert!(again["reason"].as_str().unwrap().contains("no longer signs"), "{again}");
        end::rest(&scene.world).await;
    });
}
