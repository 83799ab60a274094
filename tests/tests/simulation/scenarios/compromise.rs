//! Issuing authorities are replaced, and revoked with everything that they signed, while devices keep their roots.

use super::*;
use crate::functions::Function;
use crate::people::approve;

const COMPROMISE: &str = "/issuingAuthorities/1.1/compromise";

impl Scene {
    /// The device's own certificate, once it has another one than `before`.
    pub(super) async fn own(&self, number: u8, before: Option<&Certificate>) -> Certificate {
        let end = clock::age() + 3 * HOUR;
        loop {
            let path = format!("/devices/{}/certificate", id(number));
            let shown = self.world.ask("GET", &path, Value::Null).await;
            let shown = shown.map(|(_, shown)| shown["response"].clone()).unwrap_or_default();
            let held = shown["issued"]["certificate"].as_str().and_then(|pem| Certificate::from_pem(pem).ok());
            if let Some(held) = held.filter(|held| Some(held) != before) {
                return held;
            }
            assert!(clock::age() < end, "{number} gets no other certificate: {shown}\n{}", self.world.cloud.trace());
            sleep(Duration::from_secs(20)).await;
        }
    }

    /// These devices' own certificates, below the first issuing authority.
    async fn issued(&self, devices: u8) -> Vec<Certificate> {
        self.signs("1.1").await;
        let mut issued = Vec::new();
        for number in 1..=devices {
            self.world.must("POST", &format!("/devices/{}/certificate", id(number)), Value::Null).await;
            issued.push(self.own(number, None).await);
        }
        while !self.world.is_at_rest() {
            sleep(Duration::from_secs(10)).await;
        }
        issued
    }

    /// What became of what the first issuing authority signed, once that `is` so.
    async fn pass_when(&self, limit: Duration, is: impl Fn(&Value) -> bool) -> Value {
        let end = clock::age() + limit;
        loop {
            let listed = self.issuing().await;
            let pass = &listed.iter().find(|each| each["id"] == "1.1").unwrap()["revoked"];
            if is(pass) {
                return pass.clone();
            }
            assert!(clock::age() < end, "{pass}\n{}", self.world.cloud.trace());
            sleep(Duration::from_secs(60)).await;
        }
    }

    /// Work for the device that no worker begins.
    async fn keep_busy(&self, number: u8) {
        self.world.must("POST", "/v3/scm/certificates/import", imported::body(0, "other")).await;
        self.world.cloud.queues.limit_in_flight("task", 0);
        let path = format!("/v3/scm/certificates/{}/deploy", imported::known(&self.world)[0].0);
        let to = json!({ "service_name": "DEVICE", "resources": [{ "id": id(number) }] });
        self.world.must("POST", &path, to).await;
    }

    async fn issuing(&self) -> Vec<Value> {
        let listed = self.world.must("GET", "/issuingAuthorities", Value::Null).await;
        listed["response"].as_array().unwrap().clone()
    }

    /// Waits until an issuing authority with this id signs.
    pub(super) async fn signs(&self, id: &str) {
        let end = clock::age() + HOUR;
        while !self.issuing().await.iter().any(|each| each["id"] == id && each["state"] == "signing") {
            assert!(clock::age() < end, "{id} does not sign\n{}", self.world.cloud.trace());
            sleep(Duration::from_secs(20)).await;
        }
    }
}

#[test]
fn an_issuing_authority_is_replaced_without_a_visit() {
    scene(2, async |scene| {
        scene.signs("1.1").await;
        scene.world.must("POST", "/devices/bmc-1/certificate", Value::Null).await;
        let first = scene.own(1, None).await;
        scene.world.must("POST", "/issuingAuthorities", Value::Null).await;
        scene.signs("1.2").await;
        scene.shows(1, &first).await;
        scene.world.must("POST", "/devices/bmc-1/certificate", Value::Null).await;
        let second = scene.own(1, Some(&first)).await;
        assert!(first.issuer_dn().contains("Issuing G1.1") && second.issuer_dn().contains("Issuing G1.2"));
        end::rest(&scene.world).await;
    });
}

/// With processes that die between any two calls, and answers that are lost, too.
#[test]
fn what_a_compromised_one_signed_is_revoked_and_renewed() {
    let bad = Faults { kill: 0.05, lost_answer: 0.02, conflict: 0.05, throttled: 0.02, ..Faults::default() };
    for faults in [Faults::default(), bad] {
        scene(3, async |scene| {
            let before = scene.issued(3).await;
            scene.world.faults(faults);
            scene.world.must("POST", COMPROMISE, Value::Null).await;
            scene.signs("1.2").await;
            for (number, before) in (1..).zip(&before) {
                let after = scene.own(number, Some(before)).await;
                assert!(after.issuer_dn().contains("Issuing G1.2"), "{}", after.issuer_dn());
            }
            sleep(HOUR).await;
            scene.world.faults(Faults::default());
            sleep(HOUR).await;
            scene.pass_when(Duration::ZERO, |pass| pass["isDone"] == true).await;
            end::rest(&scene.world).await;
        });
    }
}

#[test]
fn a_busy_device_is_renewed_in_a_later_round() {
    scene(2, async |scene| {
        let before = scene.issued(2).await;
        scene.keep_busy(1).await;
        scene.world.must("POST", COMPROMISE, Value::Null).await;
        scene.pass_when(HOUR, |pass| pass["devicesBusy"] == 1 && pass["renewals"] == 1).await;
        scene.world.cloud.queues.limit_in_flight("task", 100);
        let pass = scene.pass_when(3 * HOUR, |pass| pass["isDone"] == true).await;
        assert_eq!((&pass["renewals"], &pass["devicesBusy"]), (&json!(2), &json!(0)), "{pass}");
        for (number, before) in (1..).zip(&before) {
            assert!(scene.own(number, Some(before)).await.issuer_dn().contains("Issuing G1.2"));
        }
        end::rest(&scene.world).await;
    });
}

/// The job's record says that it is over, so that nobody gives its device up, as if it had been restored.
#[test]
fn a_device_that_stays_busy_is_waited_for_a_day() {
    scene(1, async |scene| {
        scene.issued(1).await;
        scene.keep_busy(1).await;
        let tables = &scene.world.cloud.tables;
        let rows = tables.rows();
        let of_jobs = || rows.iter().filter(|((table, _), _)| *table == JOBS).map(|(_, row)| row);
        let other = &imported::known(&scene.world)[0].0;
        let busy = of_jobs().find(|row| row["sk"]["S"] == "use#bmc-1" && row["pk"]["S"] == **other).unwrap();
        let job = of_jobs().find(|row| row["sk"]["S"] == "meta" && row["pk"]["S"] == busy["job"]["N"]).unwrap();
        let mut over = job.clone();
        over["outcome"] = json!({ "S": "deployed" });
        tables.put(JOBS, &over);
        scene.world.must("POST", COMPROMISE, Value::Null).await;
        sleep(23 * HOUR).await;
        scene.pass_when(Duration::ZERO, |pass| pass["isDone"] == false).await;
        scene.pass_when(3 * HOUR, |pass| pass["isDone"] == true).await;
    });
}

#[test]
fn an_unapproved_device_is_renewed_with_its_approval() {
    scene(2, async |scene| {
        let before = scene.issued(2).await;
        let changed = scene.world.ask_as_operator("PATCH", "/devices/bmc-1", json!({ "pins": [] })).await;
        assert_eq!(changed.unwrap().1["response"]["state"], "pending");
        scene.world.must("POST", COMPROMISE, Value::Null).await;
        let pass = scene.pass_when(HOUR, |pass| pass["isDone"] == true).await;
        let told = ["certificatesRevoked", "renewals", "devicesUnapproved"].map(|name| pass[name].as_u64().unwrap());
        assert_eq!(told, [2, 1, 1], "{pass}");
        scene.shows(1, &before[0]).await;
        approve(&scene.world, "bmc-1").await;
        let after = scene.own(1, Some(&before[0])).await;
        scene.shows(1, &after).await;
        // Its next approval renews nothing.
        let jobs = scene.world.jobs().len();
        scene.world.ask_as_operator("PATCH", "/devices/bmc-1", json!({ "pins": [] })).await.unwrap();
        approve(&scene.world, "bmc-1").await;
        assert_eq!(scene.world.jobs().len(), jobs);
        end::rest(&scene.world).await;
    });
}

/// Whoever revokes it dies, and asks again; or the conductor that is woken then.
#[test]
fn a_compromise_survives_a_crash_at_every_call() {
    for (function, least) in [(Function::Regenerate, 4), (Function::Conduct, 20)] {
        scene(1, async |scene| {
            let world = &scene.world;
            let before = &scene.issued(1).await[0];
            let start = world.snapshot();
            // Each call, before it is made; the answer of the one before has come.
            for calls in (0..).step_by(2) {
                world.restore(&start);
                let deaths = world.cloud.injected().get("kill").copied();
                world.functions.doom(function, calls);
                if world.ask("POST", COMPROMISE, Value::Null).await.is_none() {
                    world.must("POST", COMPROMISE, Value::Null).await;
                }
                scene.pass_when(2 * HOUR, |pass| pass["isDone"] == true).await;
                let after = scene.own(1, Some(before)).await;
                assert!(after.issuer_dn().contains("Issuing G1.2"), "{calls}: {}", after.issuer_dn());
                scene.shows(1, &after).await;
                let rows = world.cloud.tables.all(JOBS);
                let is_listed = |row: &Value| row["sk"] == before.serial() && row["reason"] == "caCompromise";
                assert_eq!(rows.iter().filter(|row| is_listed(row)).count(), 1, "{calls}");
                let audit = world.must("GET", "/roots/1/audit", Value::Null).await;
                let lines = audit["response"]["entries"].as_array().unwrap().iter().map(Value::to_string);
                let once = lines.filter(|line| line.contains("revoke") && line.contains("1.1")).count();
                assert_eq!(once, 1, "{calls}: {audit}");
                world.assert_whole();
                while !world.is_at_rest() {
                    sleep(Duration::from_secs(10)).await;
                }
                if world.cloud.injected().get("kill").copied() == deaths {
                    eprintln!("{function:?}: {} calls", calls / 2);
                    assert!(calls / 2 >= least, "{function:?} makes {} calls", calls / 2);
                    break;
                }
            }
        });
    }
}
