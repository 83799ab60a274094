//! What roots' keys sign: nothing for a certificate of a device, and a few times a year otherwise. KMS counts.

use std::time::Duration;

use rootcast_core::deployment::lifecycle::Stage;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::dynamo::{CERTIFICATES, DEVICES, JOBS};
use crate::functions::Function;
use crate::queues::Message;
use crate::scenarios::found;
use crate::world::{Pace, World};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Certificates, each of a device of its own.
const MANY: usize = 10_000;
/// Each in a thread, since they take time.
const WORLDS: usize = 4;
/// The most messages that Lambda hands to the issuer at once.
const BATCH: usize = 10;

/// A device that has made its request, as the worker recorded it, and the message that the issuer gets.
struct Asked {
    rows: Vec<(&'static str, Value)>,
    message: Message,
}

impl Asked {
    /// By the real functions, up to the message, which no issuer receives.
    async fn record(world: &World) -> Self {
        world.must("POST", "/devices", world.enrolment("asked", world.install(1))).await;
        world.cloud.queues.limit_in_flight("issue", 0);
        world.must("POST", "/devices/asked/certificate", Value::Null).await;
        let message = loop {
            match world.cloud.queues.left("issue").0.pop() {
                Some(message) => break message,
                None => sleep(Duration::from_secs(1)).await,
            }
        };
        let rows = world.cloud.tables.rows();
        let job = serde_json::from_str::<Value>(&message.body).unwrap()["job"].to_string();
        let one = |table, is: &dyn Fn(&Value) -> bool| {
            let mut found = rows.iter().filter(|((of, _), row)| *of == table && is(row));
            let row = found.next().map(|(_, row)| (table, row.clone()));
            assert!(row.is_some() && found.next().is_none(), "one row of {table}");
            row.unwrap()
        };
        let use_of = one(JOBS, &|row| row["sk"]["S"] == "use#asked");
        let certificate = use_of.1["pk"]["S"].clone();
        let rows = vec![
            one(DEVICES, &|row| row["id"]["S"] == "asked"),
            one(CERTIFICATES, &|row| row["id"]["S"] == certificate),
            one(JOBS, &|row| row["pk"]["S"] == *job && row["sk"]["S"] == "meta"),
            use_of,
        ];
        Self { rows, message }
    }

    /// The same of another device: its own records, certificate and job, and another address.
    fn of(&self, number: usize) -> Self {
        let job: Value = serde_json::from_str::<Value>(&self.message.body).unwrap()["job"].clone();
        let certificate = self.rows[1].1["id"]["S"].as_str().unwrap();
        let (other, certificate_too) = (1_000_000 + number, format!("scs{:013}", 1_000_000_000 + number));
        let address = format!("10.1.{}.{}", number / 250, number % 250 + 1);
        let change = |text: String| {
            text.replace("asked", &format!("asked-{number}"))
                .replace(certificate, &certificate_too)
                .replace("10.0.0.1\"", &format!("{address}\""))
        };
        let row = |(table, row): &(&'static str, Value)| {
            let mut row: Value = serde_json::from_str(&change(row.to_string())).unwrap();
            if *table == JOBS {
                let is_job = row["sk"]["S"] == "meta";
                row[if is_job { "id" } else { "job" }] = json!({ "N": other.to_string() });
                if is_job {
                    row["pk"] = json!({ "S": other.to_string() });
                }
            }
            (*table, row)
        };
        let mut body: Value = serde_json::from_str(&change(self.message.body.clone())).unwrap();
        assert_eq!(body["job"], job);
        body["job"] = other.into();
        let mut message = self.message.clone();
        (message.id, message.body) = (number.to_string(), body.to_string());
        Self { rows: self.rows.iter().map(row).collect(), message }
    }
}

/// The issuer's real handler gets ten thousand requests of as many devices in batches of ten, as its queue delivers them.
/// One request was recorded from the real functions; the others differ from it in device, address, certificate and job.
#[test]
fn ten_thousand_certificates_take_no_signature_of_a_root() {
    let worlds: Vec<_> = (0..WORLDS).map(|_| std::thread::spawn(|| issue(MANY / WORLDS))).collect();
    let signed: Vec<(u64, u64)> = worlds.into_iter().map(|world| world.join().unwrap()).collect();
    let (roots, issuing) = signed.into_iter().fold((0, 0), |all, each| (all.0 + each.0, all.1 + each.1));
    eprintln!("{MANY} certificates: {issuing} signatures of issuing authorities, {roots} of roots");
    assert_eq!(roots, 0);
}

/// In a world of its own. Returns the signatures of the root, and of the issuing authority, which signs lists, too.
fn issue(certificates: usize) -> (u64, u64) {
    World::live_at(Pace(DAY, DAY), 1, async move |world| {
        found(&world).await;
        let asked = Asked::record(&world).await;
        world.cloud.queues.limit_in_flight("task", 0);
        let signatures = || (world.cloud.keys.signatures("root"), world.cloud.keys.signatures("issuing"));
        let before = signatures();
        for first in (0..certificates).step_by(BATCH) {
            let batch: Vec<Asked> = (first..first + BATCH).map(|number| asked.of(number)).collect();
            for (table, row) in batch.iter().flat_map(|each| &each.rows) {
                world.cloud.tables.put(table, row);
            }
            let messages: Vec<Message> = batch.into_iter().map(|each| each.message).collect();
            let failed = world.functions.batch(Function::Issue, &messages).await.unwrap();
            assert!(failed.is_empty(), "{failed:?}\n{}", world.cloud.trace());
        }
        let rows = world.cloud.tables.rows();
        let installs = Stage::InstallCertificate.number().to_string();
        let uses = || rows.values().filter(|row| row["sk"]["S"].as_str().is_some_and(|sk| sk.starts_with("use#")));
        let installed = uses().filter(|row| row["lifecycle"]["M"]["stage"]["N"] == installs).count();
        assert_eq!(installed, certificates, "{:?}", uses().next());
        let is_signed = |row: &Value| row["id"]["S"].as_str().is_some_and(|id| id.starts_with("serial#"));
        let signed = rows.values().filter(|row| is_signed(row) && row["leaf"]["S"].is_string()).count();
        assert_eq!(signed, certificates);
        let (root, issuing) = signatures();
        let (root, issuing) = (root - before.0, issuing - before.1);
        assert!(issuing >= certificates as u64, "{issuing}");
        (root, issuing)
    })
}

/// One root, and one device. The schedule looks every six hours instead of every minute, and at devices' lists once a day.
#[test]
fn a_root_signs_eleven_times_a_year() {
    let signed = World::live_at(Pace(DAY / 4, DAY), 1, async |world| {
        found(&world).await;
        world.must("POST", "/devices", world.enrolment("bmc-1", world.install(1))).await;
        world.must("POST", "/devices/bmc-1/certificate", Value::Null).await;
        let mut signed = Vec::new();
        for _ in 0..2 {
            sleep(DAY * 365).await;
            let before: u64 = signed.iter().sum();
            signed.push(world.cloud.keys.signatures("root") - before);
        }
        world.assert_whole();
        signed
    });
    // In its first year also itself, the first bundle, list and issuing authority.
    assert_eq!(signed, [15, 11]);
}
