//! What lists cost: calls and rows, in a small and in a larger fleet.

use rootcast_core::access::permission::{Grants, Role};
use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::CertificateDn;
use rootcast_core::inventory::id::CertificateId;
use rootcast_ledger::{CertificateOrPending, CertificateRecord, Ledger, RevokedRecord, TokenRecord};
use rootcast_pki::crl::{CrlId, Reason};
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::root::Serial;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::clock;
use crate::dynamo::Reads;
use crate::functions::Function;
use crate::imported;
use crate::world::World;

const SIZES: [u8; 2] = [24, 120];
/// Imported certificates below the folder of him who sees few.
const FEW: usize = 3;

/// Sees everything; sees two devices and a folder; sees nothing.
const CALLERS: [&str; 3] = ["all", "few", "none"];

async fn callers(ledger: &Ledger) {
    let mut few = Grants::default();
    for grant in [
        r"\VED\Policy\Devices\d2=read",
        r"\VED\Policy\Devices\d7=read",
        r"\VED\Policy\servers=read",
        r"\VED\Policy\Jobs=read",
    ] {
        few.add(grant.parse().unwrap());
    }
    let mut none = Grants::default();
    none.add(r"\VED\Policy\Jobs=read".parse().unwrap());
    for (token, grants) in CALLERS.into_iter().zip([Role::Reader.into(), few, none]) {
        let record = TokenRecord {
            principal: token.to_owned(),
            grants,
            granted: None,
            exchanged: None,
            expires: clock::now() + time::Duration::days(1),
            created: clock::now(),
        };
        ledger.put_token(&Fingerprint::of(token.as_bytes()), &record).await.unwrap();
    }
}

/// Stores a copy of a certificate under another name.
async fn copy(
    ledger: &Ledger,
    of: &CertificateRecord,
    number: u64,
    folder: &str,
    name: &str,
    device: Option<DeviceId>,
) {
    let id: CertificateId = format!("scs{number:013}").parse().unwrap();
    let (folder, name) = (folder.to_owned(), name.to_owned());
    let updated = clock::now();
    let record = CertificateRecord { id, shard: id.shard(), folder, name, device, updated, ..of.clone() };
    let by = Actor { principal: "ops".to_owned(), request_id: None };
    let act = Act::new(Subject::Certificate(id), Action::Import, &by, updated);
    ledger.store_certificate(&record, false, None, &act).await.unwrap();
}

/// A fleet of so many devices after a rollover, each with a certificate, and as many imported ones beside a few in a folder.
async fn fleet(world: &World, devices: u8) -> u64 {
    let ledger = world.functions.ledger();
    callers(&ledger).await;
    world.must("PUT", "/signingCertificate", Value::Null).await;
    let rows: Vec<Value> =
        (1..=devices).map(|number| world.enrolment(&format!("d{number}"), world.install(number))).collect();
    world.must("POST", "/devices", json!(rows)).await;
    let job = world.regenerate("?until=activate").await.unwrap();
    world.ended(job).await;
    let answer = world.must("POST", "/v3/scm/certificates/import", imported::body(0, "web-0")).await;
    let first: CertificateId = answer["certificate_id"].as_str().unwrap().parse().unwrap();
    let first = ledger.certificate(first).await.unwrap().unwrap();
    for number in 1..=u64::from(devices) {
        let device: DeviceId = format!("d{number}").parse().unwrap();
        let dn = CertificateDn::of_device(&device);
        copy(&ledger, &first, number, &dn.folder.to_string(), "certificate", Some(device)).await;
        copy(&ledger, &first, 1000 + number, r"Web\Berlin", &format!("web-{number}"), None).await;
        sleep(std::time::Duration::from_secs(1)).await;
    }
    for number in 0..FEW {
        copy(&ledger, &first, 2000 + number as u64, r"Servers\Berlin 2", &format!("srv-{number}"), None).await;
    }
    job
}

async fn read(world: &World, token: &str, function: Function, path: &str) -> (Reads, Value) {
    let before = world.cloud.tables.reads(function);
    let (status, body) = world.ask_as(token, "GET", path, Value::Null).await.unwrap();
    assert_eq!(status, 200, "{token} {path}: {body}");
    (world.cloud.tables.reads(function).since(before), body)
}

fn rows(body: &Value) -> usize {
    let of = [&body["response"]["devices"], &body["response"]["tasks"], &body["certificates"], &body["Certificates"]];
    of.into_iter().find_map(|rows| rows.as_array()).map_or(0, Vec::len)
}

/// Who asks for what; the calls and rows that it takes, in every fleet; how many rows are shown.
#[test]
fn lists_cost_what_they_show() {
    let cost = |calls, rows| Reads { calls, rows };
    let lists: &[(&str, &str, Function, Reads, usize)] = &[
        ("all", "/devices?limit=10", Function::Catalog, cost(3, 11), 10),
        ("few", "/devices?limit=10", Function::Catalog, cost(3, 3), 2),
        ("none", "/devices?limit=10", Function::Catalog, cost(2, 1), 0),
        ("all", "/jobs/JOB/tasks?limit=1", Function::Catalog, cost(5, 4), 1),
        ("few", "/jobs/JOB/tasks?limit=10", Function::Catalog, cost(5, 6), 2),
        ("none", "/jobs/JOB/tasks?limit=10", Function::Catalog, cost(3, 2), 0),
        ("few", "/vedsdk/Certificates?limit=10", Function::Retry, cost(7, 12), FEW + 2),
        ("none", "/vedsdk/Certificates?limit=10", Function::Retry, cost(4, 2), 0),
        ("all", r"/vedsdk/Certificates?ParentDnRecursive=%5CVED%5CPolicy%5CServers", Function::Retry, cost(5, 8), FEW),
        ("few", "/v3/scm/certificates", Function::Catalog, cost(7, 12), FEW + 2),
        ("none", "/v3/scm/certificates", Function::Catalog, cost(4, 2), 0),
    ];
    let mut found: Vec<Vec<(Reads, usize)>> = Vec::new();
    let mut everything: Vec<Vec<(Reads, u64)>> = Vec::new();
    for devices in SIZES {
        let (some, all) = World::live(1, async move |world| {
            let job = fleet(&world, devices).await;
            let ledger = world.functions.ledger();
            sleep(std::time::Duration::from_secs(120)).await;
            assert!(ledger.complete_lists(clock::now(), || true).await.unwrap());
            let mut some = Vec::new();
            for (token, path, function, ..) in lists {
                let path = path.replace("JOB", &job.to_string());
                // The first request of a process reads more.
                read(&world, token, *function, &path).await;
                let (reads, body) = read(&world, token, *function, &path).await;
                some.push((reads, rows(&body)));
            }
            let total = u64::from(devices) * 2 + FEW as u64 + 1;
            let mut all = Vec::new();
            for (path, function, name) in [
                ("/vedsdk/Certificates?limit=10", Function::Retry, "TotalCount"),
                ("/v3/scm/certificates?limit=10", Function::Catalog, "total_count"),
            ] {
                let (reads, body) = read(&world, "all", function, path).await;
                assert_eq!((rows(&body), body[name].as_u64()), (10, Some(total)), "{path}");
                all.push((reads, total));
            }
            world.assert_whole();
            (some, all)
        });
        found.push(some);
        everything.push(all);
    }
    for (index, (token, path, _, expected, shown)) in lists.iter().enumerate() {
        for some in &found {
            assert_eq!(some[index], (*expected, *shown), "{token} {path}: {found:#?}");
        }
    }
    // Each of the sixteen shards has a page of the fleet at most.
    for ((small, _), (large, _)) in everything[0].iter().zip(&everything[1]) {
        assert_eq!(small.calls, large.calls);
        assert!(large.rows <= 16 * 12 + 65 + 10 + 5, "{large:?}");
    }
}

#[test]
fn certificates_from_before_the_counts_are_listed_all_the_same() {
    World::live(1, async |world| {
        let ledger = world.functions.ledger();
        callers(&ledger).await;
        let answer = world.must("POST", "/v3/scm/certificates/import", imported::body(0, "web-0")).await;
        let first: CertificateId = answer["certificate_id"].as_str().unwrap().parse().unwrap();
        let Some(CertificateOrPending::Certificate(first)) = ledger.certificate_or_pending(first).await.unwrap() else {
            panic!("no certificate")
        };
        for number in 0..5 {
            copy(&ledger, &first, number, r"Servers\Berlin", &format!("srv-{number}"), None).await;
        }
        // As an earlier release left them.
        let tables = &world.cloud.tables;
        let mut old = tables.rows();
        old.retain(|(table, key), _| *table != "certificates" || !key.contains("listed#"));
        old.values_mut().for_each(|row| _ = row.as_object_mut().unwrap().remove("tree"));
        tables.restore(&old);
        let counts = async || {
            let mut counts = Vec::new();
            for token in CALLERS {
                let (_, body) = read(&world, token, Function::Catalog, "/v3/scm/certificates").await;
                let (_, same) = read(&world, token, Function::Retry, "/vedsdk/Certificates").await;
                assert_eq!(body["total_count"], same["TotalCount"], "{token}");
                counts.push((body["total_count"].as_u64().unwrap(), rows(&body)));
            }
            counts
        };
        assert_eq!(counts().await, [(6, 6), (5, 5), (0, 0)]);
        copy(&ledger, &first, 5, r"Servers\Berlin", "srv-5", None).await;
        assert_eq!(counts().await, [(7, 7), (6, 6), (0, 0)]);
        assert!(!ledger.complete_lists(clock::now(), || true).await.unwrap(), "counted while certificates are stored");
        assert_eq!(ledger.counted_certificates().await.unwrap(), None);
        sleep(std::time::Duration::from_secs(120)).await;
        assert!(ledger.complete_lists(clock::now(), || true).await.unwrap());
        assert_eq!(ledger.counted_certificates().await.unwrap().unwrap().all(), 7);
        world.must("DELETE", &format!("/v3/scm/certificates/{}", first.id), Value::Null).await;
        copy(&ledger, &first, 6, r"Servers\Berlin", "srv-6", None).await;
        assert_eq!(counts().await, [(7, 7), (7, 7), (0, 0)]);
        assert!(ledger.complete_lists(clock::now(), || true).await.unwrap());
        world.assert_whole();
    });
}

/// A list of a signer with a million devices.
#[test]
fn a_revocation_costs_the_same_in_a_long_list() {
    World::live(1, async |world| {
        crate::scenarios::found(&world).await;
        world.must("POST", "/devices", world.enrolment("d1", world.install(1))).await;
        world.must("POST", "/devices/d1/certificate", Value::Null).await;
        sleep(std::time::Duration::from_secs(600)).await;
        let ledger = world.functions.ledger();
        let id = ledger.device(&"d1".parse().unwrap()).await.unwrap().unwrap().bindings[0];
        let held = ledger.certificate(id).await.unwrap().unwrap();
        let serial: Serial = held.leaf.serial().to_owned().try_into().unwrap();
        let list = CrlId::of(held.issuing.unwrap().into(), &serial);
        assert!(list.shard().unwrap() >= rootcast_pki::crl::FORMER_LISTS);
        let mut units = Vec::new();
        for number in 0..1200_u16 {
            let mut octets = *serial.octets();
            octets[14..].copy_from_slice(&number.to_be_bytes());
            let record = RevokedRecord {
                serial: Serial::of_leaf(octets),
                certificate: id,
                at: clock::now(),
                reason: Reason::Superseded,
                by: "ops".to_owned(),
                comments: None,
                not_after: held.not_after,
            };
            if number == 1100 {
                // A thousand of them are on the published list from now on.
                sleep(std::time::Duration::from_secs(1000)).await;
                assert_eq!(ledger.signed_crl(list).await.unwrap().unwrap().crl.revoked().unwrap().len(), 1100);
            }
            let before = world.cloud.tables.write_units();
            let by = Actor { principal: "ops".to_owned(), request_id: None };
            let act = Act::new(Subject::Certificate(id), Action::Revoke, &by, clock::now());
            assert!(ledger.revoke(None, list, &record, None, &act).await.unwrap());
            units.push(world.cloud.tables.write_units() - before);
        }
        assert!(units.iter().all(|each| *each == units[0]), "{units:?}");
        sleep(std::time::Duration::from_secs(1000)).await;
        let published = ledger.crl(list).await.unwrap().unwrap();
        assert_eq!((published.crl.revoked().unwrap().len(), published.behind), (1200, false));
    });
}
