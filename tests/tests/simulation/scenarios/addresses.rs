//! An address belongs to one device.

use std::net::{Ipv4Addr, SocketAddr};

use rootcast_core::access::permission::Grants;
use rootcast_ledger::TokenRecord;
use rootcast_pki::fingerprint::Fingerprint;

use super::*;

impl Scene {
    async fn refused(&self, method: &str, path: &str, body: Value) -> String {
        let (status, told) = self.world.ask(method, path, body).await.unwrap();
        assert_eq!(status, 409, "{told}");
        told.to_string()
    }

    async fn move_to(&self, number: u8, address: &str) {
        self.world.must("PATCH", &format!("/devices/{}", id(number)), json!({ "address": address })).await;
    }

    /// Of everybody who may read all devices, page by page.
    async fn listed(&self) -> Vec<String> {
        let (mut listed, mut cursor) = (Vec::new(), String::new());
        loop {
            let page =
                self.world.must("GET", &format!("/devices?limit=2{cursor}"), Value::Null).await["response"].take();
            listed.extend(page["devices"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
            match page["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        listed.sort_unstable();
        listed
    }
}

#[test]
fn an_address_is_of_one_device_in_any_spelling() {
    scene(3, async |scene| {
        let world = &scene.world;
        let mut row = world.enrolment("other", world.install(9));
        for address in ["https://10.0.0.1", "https://10.0.0.1:443", "https://0x0a.0.0.1", "https://[::ffff:10.0.0.1]"] {
            row["address"] = json!(address);
            let told = scene.refused("POST", "/devices", row.clone()).await;
            assert!(told.contains("device bmc-1 has the address"), "{told}");
        }
        // The profile's own slot, by its name.
        row["slot"] = json!("/redfish/v1/Managers/bmc/Truststore/Certificates");
        scene.refused("POST", "/devices", row.clone()).await;
        row["slot"] = Value::Null;
        let told = scene.refused("PATCH", "/devices/bmc-2", json!({ "address": "https://10.0.0.1" })).await;
        assert!(told.contains("device bmc-1 has it") && told.contains("To swap"), "{told}");

        // Whoever may not see the other device is not told which it is.
        let mut few = Grants::default();
        few.add(r"\VED\Policy\Devices\bmc-2=read,write".parse().unwrap());
        let record = TokenRecord {
            principal: "few".to_owned(),
            grants: few,
            granted: None,
            exchanged: None,
            expires: clock::now() + time::Duration::HOUR,
            created: clock::now(),
        };
        world.functions.ledger().put_token(&Fingerprint::of(b"few"), &record).await.unwrap();
        let (status, told) =
            world.ask_as("few", "PATCH", "/devices/bmc-2", json!({ "address": "https://10.0.0.1" })).await.unwrap();
        let told = told.to_string();
        assert!(
            status == 409
                && told.contains("another device, which an administrator sees, has it")
                && !told.contains("bmc-1"),
            "{told}"
        );

        // The devices' own rows are unchanged, and an edit that keeps the address is none of a place.
        scene.move_to(1, "https://10.0.0.1:443").await;
        assert_eq!(scene.listed().await, ["bmc-1", "bmc-2", "bmc-3"]);

        // A deletion frees the address, and the same row may be sent again.
        world.must("DELETE", "/devices/bmc-1", Value::Null).await;
        row["address"] = json!("https://10.0.0.1");
        world.must("POST", "/devices", row.clone()).await;
        assert_eq!(world.must("POST", "/devices", row).await["response"]["devices"][0]["result"], "unchanged");
        assert_eq!(scene.listed().await, ["bmc-2", "bmc-3", "other"]);
    });
}

#[test]
fn two_devices_swap_their_addresses_by_a_free_one() {
    scene(2, async |scene| {
        scene.move_to(1, "https://10.0.0.1:8443").await;
        scene.move_to(2, "https://10.0.0.1").await;
        scene.move_to(1, "https://10.0.0.2").await;
        let devices = scene.world.cloud.truth.devices();
        let at = |id: &str| devices[id].address.ip().to_string();
        assert_eq!((at("bmc-1").as_str(), at("bmc-2").as_str()), ("10.0.0.2", "10.0.0.1"));
        // What they left is free.
        scene
            .world
            .must(
                "POST",
                "/devices",
                json!({ "id": "late", "address": "https://10.0.0.1:8443",
            "credential": { "username": "a", "password": "b" } }),
            )
            .await;
    });
}

/// Many at once, in several transactions, half of them twice.
#[test]
fn of_rows_with_one_address_the_first_is_enrolled() {
    scene(0, async |scene| {
        let row = |name: &str, number: u8| {
            json!({ "id": format!("{name}-{number}"), "address": format!("https://{}", Ipv4Addr::new(10, 0, 1, number)),
                "credential": { "username": "a", "password": "b" } })
        };
        let first: Vec<Value> = (0..40).map(|number| row("first", number)).collect();
        let second: Vec<Value> = (20..60).map(|number| row("second", number)).collect();
        scene.world.must("POST", "/devices", json!(first)).await;
        let before = scene.world.cloud.tables.write_units();
        let (status, told) = scene.world.ask("POST", "/devices", json!(second)).await.unwrap();
        let units = scene.world.cloud.tables.write_units() - before;
        assert_eq!(status, 207, "{told}");
        let results = told["response"]["devices"].as_array().unwrap();
        let refused: Vec<&Value> = results.iter().filter(|row| row["result"] == "refused").collect();
        assert_eq!(refused.len(), 20, "{told}");
        assert!(refused[0]["message"].as_str().unwrap().starts_with("device first-20 has the address"), "{told}");
        assert_eq!(scene.listed().await.len(), 60);
        assert_eq!(units, 20.0 * 8.0, "two a device for the claim, two for it, four for its audit");
    });
}

/// As a table that was restored has them, or one from before there were claims.
#[test]
fn a_restored_table_gets_the_claims_of_its_devices() {
    scene(2, async |scene| {
        let world = &scene.world;
        let tables = &world.cloud.tables;
        let is_claim = |id: &str| id.contains("address#");
        let without = tables.rows().into_iter().filter(|((_, id), _)| !is_claim(id)).collect();
        tables.restore(&without);
        let text = |text: &str| json!({ "S": text });
        let ghost = json!({ "pk": text("address#https://10.0.0.9"), "sk": text("claim"), "claimant": text("ghost"),
            "incarnation": without[&(DEVICES, json!({ "id": text("bmc-1") }).to_string())]["incarnation"], "revision": { "N": "3" } });
        tables.put(JOBS, &ghost);
        let ledger = world.functions.ledger();
        for (dry_run, claimed) in [(true, 2), (false, 2), (true, 0)] {
            assert_eq!(ledger.restore_fleet(dry_run).await.unwrap().claimed, claimed, "{dry_run}");
        }
        let free = world.install(9);
        world.must("POST", "/devices", world.enrolment("other", free)).await;
        let mut row = world.enrolment("third", free);
        row["address"] = json!("https://10.0.0.2");
        assert!(scene.refused("POST", "/devices", row).await.contains("device bmc-2 has"));
    });
}

/// A device that answered 202 has the root some minutes later, whoever it belongs to by then.
#[test]
fn what_a_device_works_on_is_awaited_by_its_next_owner() {
    for (leaves, comes) in [("deleted", "other"), ("deleted", "bmc-1"), ("moved", "other")] {
        scene(2, async move |scene| {
            let world = &scene.world;
            scene.mood(1, Mood::Slow(300));
            let job = scene.begin().await;
            while world.cloud.tables.named(DEVICES, &id(1)).unwrap()["working"].is_null() {
                sleep(Duration::from_secs(1)).await;
            }
            let at = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 443));
            match leaves {
                "moved" => {
                    let to = world.install(9);
                    let pin = world.cloud.fleet.at(to, |bmc| bmc.pin());
                    let moved = json!({ "address": "https://10.0.0.9", "pins": [pin] });
                    world.must("PATCH", "/devices/bmc-1", moved).await;
                }
                _ => _ = world.must("DELETE", "/devices/bmc-1", Value::Null).await,
            }
            world.must("POST", "/devices", world.enrolment(comes, at)).await;
            scene.mood(1, Mood::Well);
            world.must("POST", &format!("/jobs/{job}/abort"), Value::Null).await;
            let ended = world.ended(job).await;
            sleep(Duration::from_secs(400)).await;
            assert!(ended["outcome"] == "aborted" && !scene.holds(1, 2), "{leaves}, {comes}: {ended}");
            assert!(world.cloud.tables.named(DEVICES, comes).unwrap()["working"].is_null());
        });
    }
}
