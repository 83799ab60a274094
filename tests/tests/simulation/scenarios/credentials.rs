//! Credentials that are sealed in the devices' records.

use crate::openbmc::USER;
use crate::world::PASSWORD;

use super::*;

impl Scene {
    /// A device whose user name and password are in its record.
    async fn enrol_sealed(&self, number: u8) -> Value {
        let mut row = self.world.enrolment(&id(number), self.world.install(number));
        row["credential"] = login(PASSWORD);
        self.world.must("POST", "/devices", row).await
    }

    async fn patch(&self, number: u8, credential: Value) -> Value {
        let path = format!("/devices/{}", id(number));
        self.world.must("PATCH", &path, json!({ "credential": credential })).await["response"].take()
    }

    async fn got(&self, number: u8) -> Value {
        self.world.must("GET", &format!("/devices/{}", id(number)), Value::Null).await["response"].take()
    }

    fn kms(&self, operation: &str) -> u64 {
        self.world.cloud.calls().get(&format!("TrentService.{operation}")).copied().unwrap_or(0)
    }

    fn stored(&self, number: u8) -> Value {
        let rows = self.world.cloud.tables.rows();
        rows[&(DEVICES, json!({ "id": { "S": id(number) } }).to_string())].clone()
    }
}

fn login(password: &str) -> Value {
    json!({ "username": USER, "password": password })
}

#[test]
fn a_sealed_credential_is_opened_once_a_visit_and_never_shown() {
    scene(0, async |scene| {
        let sealed = scene.kms("GenerateDataKey");
        let mut answers = Vec::new();
        for number in 1..=3 {
            answers.push(scene.enrol_sealed(number).await);
        }
        assert_eq!(scene.kms("GenerateDataKey"), sealed + 3);
        let opened = scene.kms("Decrypt");
        let job = scene.begin().await;
        assert_eq!(scene.world.ended(job).await["outcome"], "activated");
        for number in 1..=3 {
            assert!(scene.holds(number, scene.signing()));
            answers.push(scene.got(number).await);
        }
        assert_eq!(scene.kms("Decrypt"), opened + 3, "one a visit");
        for path in ["/devices", "/devices/bmc-1/audit", "/jobs/2/tasks"] {
            answers.push(scene.world.ask("GET", path, Value::Null).await.unwrap().1);
        }
        let told = json!(answers).to_string();
        assert!(told.contains("sealed:") && !told.contains(PASSWORD), "{told}");
        let rows = format!("{:?}", scene.world.cloud.tables.rows());
        assert!(!rows.contains(PASSWORD), "it is in a table");
    });
}

#[test]
fn a_sealed_credential_does_not_open_in_another_record() {
    scene(0, async |scene| {
        scene.enrol_sealed(1).await;
        scene.enrol_sealed(2).await;
        // Somebody who may write the table brings one device's password to the record of another one.
        let (from, mut to) = (scene.stored(1), scene.stored(2));
        to["sealed"] = from["sealed"].clone();
        scene.world.cloud.tables.put(DEVICES, &to);
        // And that of an earlier device of the same name to the present one.
        let old = scene.stored(1);
        scene.world.must("DELETE", "/devices/bmc-1", Value::Null).await;
        let mut row = scene.world.enrolment(&id(1), ([10, 0, 0, 1], 443).into());
        row["credential"] = login(PASSWORD);
        scene.world.must("POST", "/devices", row).await;
        let mut new = scene.stored(1);
        new["sealed"] = old["sealed"].clone();
        scene.world.cloud.tables.put(DEVICES, &new);
        let job = scene.begin().await;
        scene.job_is(job, "paused").await;
        for number in 1..=2 {
            let row = scene.row(job, "distribute", number).unwrap();
            assert_eq!(row["failure"]["class"], "credential", "{row}");
            assert!(row["failure"]["message"].as_str().unwrap().contains("rootcast device credential"), "{row}");
            assert_eq!(scene.logins(number), 0);
            scene.patch(number, login(PASSWORD)).await;
        }
        scene.post(job, "retry", json!({})).await;
        assert_eq!(scene.world.ended(job).await["outcome"], "activated");
    });
}

#[test]
fn a_stored_password_is_sent_to_approved_places_only() {
    scene(0, async |scene| {
        scene.enrol_sealed(1).await;
        scene.enrol_sealed(2).await;
        let before = scene.got(1).await;
        let there = scene.world.install(9);
        let edit = json!({ "address": format!("https://{}", there.ip()), "pins": [] });
        let moved = scene.world.ask_as_operator("PATCH", "/devices/bmc-1", edit).await.unwrap();
        assert_eq!((moved.0, &moved.1["response"]["state"]), (200, &json!("pending")));
        assert_eq!(moved.1["response"]["credential"], before["credential"], "it stays, and is not sent");
        let job = scene.begin().await;
        assert_eq!(scene.world.ended(job).await["outcome"], "activated");
        assert_eq!(scene.logins(9), 0);
        // An operator's password is an identity that waits for its approval, too, even if it is the same one.
        scene
            .world
            .must("PATCH", "/devices/bmc-1", json!({ "address": before["address"], "pins": before["pins"] }))
            .await;
        let back = scene.got(1).await;
        let looked_at = json!({ "incarnation": back["incarnation"], "endpointRevision": back["endpointRevision"] });
        scene.world.must("POST", "/devices/bmc-1/approval", looked_at).await;
        let set = json!({ "credential": login(PASSWORD) });
        let set = scene.world.ask_as_operator("PATCH", "/devices/bmc-1", set).await.unwrap();
        assert_eq!((set.0, &set.1["response"]["state"]), (200, &json!("pending")));
        assert_ne!(set.1["response"]["credential"], before["credential"]);
        // No record names another one's.
        for foreign in
            [before["credential"].clone(), json!("/devices/bmc-2"), json!({ "username": "a", "password": "" })]
        {
            let refused = scene.world.ask("PATCH", "/devices/bmc-1", json!({ "credential": foreign })).await.unwrap();
            assert_eq!(refused.0, 400, "{foreign}: {}", refused.1);
        }
    });
}

#[test]
fn a_device_changes_between_a_parameter_and_a_stored_credential() {
    scene(1, async |scene| {
        assert_eq!(scene.got(1).await["credential"], "/devices/bmc-1");
        let sealed = scene.patch(1, login(PASSWORD)).await;
        assert!(sealed["credential"].as_str().unwrap().starts_with("sealed:"), "{sealed}");
        assert!(scene.stored(1)["sealed"].is_object());
        scene.world.credential("bmc-1", "wrong");
        let job = scene.begin().await;
        assert_eq!(scene.world.ended(job).await["outcome"], "activated");
        scene.world.credential("bmc-1", PASSWORD);
        assert_eq!(scene.patch(1, json!("/devices/bmc-1")).await["credential"], "/devices/bmc-1");
        assert!(scene.stored(1)["sealed"].is_null(), "nothing of it is left");
        let opened = scene.kms("Decrypt");
        let job = scene.begin().await;
        assert_eq!(scene.world.ended(job).await["outcome"], "activated");
        assert_eq!(scene.kms("Decrypt"), opened);
        // A repeated row changes nothing, and does not compare passwords.
        scene.patch(1, login(PASSWORD)).await;
        let mut row = scene.world.enrolment(&id(1), ([10, 0, 0, 1], 443).into());
        row["credential"] = login("another");
        let before = scene.stored(1);
        let again = scene.world.must("POST", "/devices", row).await;
        assert_eq!(again["response"]["devices"][0]["result"], "unchanged", "{again}");
        assert_eq!(scene.stored(1)["sealed"], before["sealed"]);
    });
}
