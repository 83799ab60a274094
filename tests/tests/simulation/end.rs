//! The required end of every world after the last fault: each job has ended, or is paused with a message whose remedy
//! works; nothing hangs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::clock;
use crate::dynamo::{CERTIFICATES, DEVICES, JOBS, Row};
use crate::imported;
use crate::keys::State;
use crate::people::approve;
use crate::rollovers;
use crate::world::World;

/// A job without faults takes minutes; with postponed messages and given-up work from before, some hours.
/// A hold-down takes hours more, and begins anew if a device loses the root meanwhile.
const LIMIT: Duration = Duration::from_secs(48 * 3600);
/// Until the end, a job may pause so often: it is followed each time.
const MOST_PAUSES: u32 = 12;
/// After this time no message is late, postponed, or held by a dead worker.
const QUIET: Duration = Duration::from_secs(45 * 60);

/// Corrects the operators' data about every device. `all`: including unapproved devices, for which the job waits.
pub async fn put_right(world: &World, all: bool) {
    for (id, known) in world.cloud.truth.devices() {
        world.give_credential(&id, known.address);
        world.give_credential(&format!("shared/{id}"), known.address);
        if all || known.approved {
            let Some(row) = world.cloud.tables.named(DEVICES, &id) else { continue };
            let pin = world.cloud.fleet.at(known.address, |bmc| bmc.pin());
            if !row["unapproved"].is_null() || row["pins"] != json!([pin]) {
                approve(world, &id).await;
            }
            if row["profile"] != "openbmc" {
                _ = world.ask("PATCH", &format!("/devices/{id}"), json!({ "profile": "openbmc" })).await;
            }
        }
    }
}

/// Continues the world until all work has ended, and checks what is left.
pub async fn rest(world: &World) {
    let accuse = |what: String| world.cloud.truth.accuse(&world.cloud, what);
    let end = clock::age() + LIMIT;
    finish_replacing(world).await;
    let mut pauses = BTreeMap::<String, u32>::new();
    while let Some(job) = next_rollover(world) {
        if clock::age() > end {
            return accuse(format!(
                "I5 job {} does not end: {} {} {}",
                job["id"], job["phase"], job["state"], job["reason"]
            ));
        }
        if job["state"] == "paused" {
            let reason = job["reason"].as_str().unwrap_or_default();
            if reason.len() < 20 {
                return accuse(format!("I5 job {} is paused and does not say why: {reason}", job["id"]));
            }
            let pauses = pauses.entry(job["id"].to_string()).or_default();
            *pauses += 1;
            if *pauses > MOST_PAUSES {
                return accuse(format!(
                    "I5 job {} pauses again and again: {reason} {:?}",
                    job["id"],
                    world.failures(&job)
                ));
            }
            if let Some((status, answer)) = follow(world, &job, reason, *pauses).await
                && status >= 400
                && world.job(job["id"].as_u64().unwrap())["state"] == "paused"
            {
                return accuse(format!("I5 job {} says {reason}, which is refused: {answer}", job["id"]));
            }
        }
        if job["phase"] == "create" {
            // The process that created it died: the next PUT finishes it.
            _ = world.regenerate("").await;
            finish_replacing(world).await;
        }
        sleep(Duration::from_secs(30)).await;
    }
    while let Some(job) = world.jobs().iter().find(|job| job["kind"] == "deployment" && job["outcome"].is_null()) {
        if clock::age() > end {
            accuse(format!("I5 deployment {} does not end: {}", job["id"], job["reason"]));
            break;
        }
        sleep(Duration::from_secs(60)).await;
    }
    let quiet = clock::age() + QUIET;
    while clock::age() < quiet && !(is_quiet(world) && unknown_keys(world).is_empty() && awake(world).is_empty()) {
        sleep(Duration::from_secs(30)).await;
    }
    for queue in ["control", "task", "issue"] {
        for message in world.cloud.queues.left(queue).0 {
            accuse(format!("I5 a message is left in {queue}: {message:?}"));
        }
    }
    for device in world.cloud.tables.all(DEVICES) {
        if device["lease"]["until"].as_i64().is_some_and(|until| until > clock::now().unix_timestamp()) {
            accuse(format!("I5 a lease is left on {}", device["id"]));
        }
    }
    for arn in unknown_keys(world) {
        accuse(format!("I4 nobody knows of {arn}"));
    }
    for root in awake(world) {
        accuse(format!("I7 {root} is awake"));
    }
    serials_are_unique(world);
    issuing_authorities_agree(world);
    imported::ties_agree(world);
    world.cloud.truth.distrusted_roots_are_unused(&world.cloud);
    world.cloud.truth.signing_root_is_held(&world.cloud);
}

/// Whoever said that a root is compromised repeats it until another one has taken its place.
async fn finish_replacing(world: &World) {
    let end = clock::age() + LIMIT;
    let replacing = || world.cloud.tables.named(CERTIFICATES, "authority").is_some_and(|it| it["replacing"].is_array());
    while replacing() {
        if clock::age() > end {
            return world.cloud.truth.accuse(&world.cloud, "I5 a compromised root is not replaced".to_owned());
        }
        _ = world.regenerate("?reason=keyCompromise").await;
        sleep(Duration::from_secs(30)).await;
    }
}

/// A rollover that has not ended: one that runs, before one that is paused, before one that waits for another.
fn next_rollover(world: &World) -> Option<Row> {
    let open = world.jobs().into_iter().filter(|job| job["kind"] == "rollover" && job["state"] != "ended");
    let rank = |job: &Row| {
        let reason = job["reason"].as_str().unwrap_or_default();
        (job["state"] == "paused", reason.contains("Resume this one when"))
    };
    open.min_by_key(rank)
}

/// Does what the sentence of a paused job says. By default: look at the failed tasks, mend the devices, then resume the job.
async fn follow(world: &World, job: &Value, reason: &str, times: u32) -> Option<(u16, Value)> {
    if reason.contains("`rootcast job continue`") {
        return rollovers::go_on_or_back(world, job).await;
    }
    put_right(world, times > 3).await;
    if let Some((_, named)) = reason.split_once("still needed, by ") {
        let named = named.split_once(". Renew").map_or(named, |(named, _)| named);
        let named = named.split_once(": ").map_or(named, |(_, named)| named);
        for name in named.split(", ") {
            make_unneeded(world, job, name, times).await;
        }
    }
    world.ask("POST", &format!("/jobs/{}/resume", job["id"]), Value::Null).await
}

/// What keeps an older root is renewed, revoked, deleted, or waived by name.
async fn make_unneeded(world: &World, job: &Value, name: &str, times: u32) {
    if name.starts_with(r"\VED\Policy\Certificates\") && world.cloud.random.chance(0.5) {
        let waiver = json!({ "certificates": [name], "reason": "its owner was told" });
        _ = world.ask("POST", &format!("/jobs/{}/waive", job["id"]), waiver).await;
        return;
    }
    if let Some(name) = name.strip_prefix(r"\VED\Policy\Certificates\") {
        return imported::delete(world, name).await;
    }
    let (device, what) = name.split_once(" (").unwrap_or((name, ""));
    let what = what.trim_end_matches(')');
    let path = format!("/devices/{device}");
    let is_known = world.cloud.truth.devices().contains_key(device);
    if what.contains("it has not proven") {
        if times > 3 {
            _ = world.ask("DELETE", &path, Value::Null).await;
        }
    } else if is_known && times < 3 {
        _ = world.ask("POST", &format!("{path}/certificate"), Value::Null).await;
    } else {
        _ = world.ask("POST", "/certificates/revocation", json!({ "serial": what })).await;
    }
}

fn is_quiet(world: &World) -> bool {
    ["control", "task", "issue"].iter().all(|queue| world.cloud.queues.left(queue).0.is_empty())
}

/// Keys that can sign and belong to no recorded root, or to one that never signs. No function deletes a key with a name.
fn unknown_keys(world: &World) -> Vec<String> {
    let rows = world.cloud.tables.all(CERTIFICATES);
    let live = rows.iter().filter(|row| row["state"] != "abandoned");
    let known: BTreeSet<&str> = live.filter_map(|row| row["key"].as_str()).collect();
    let keys = &world.cloud.keys;
    let enabled = keys.states().into_iter().filter(|(_, state)| *state == State::Enabled).map(|(arn, _)| arn);
    enabled.filter(|arn| !known.contains(arn.as_str()) && !keys.is_named(arn)).collect()
}

/// At most one issuing authority signs, the one on record; and of a revoked one, or a compromised root, whose pass is over,
/// everything is revoked.
fn issuing_authorities_agree(world: &World) {
    let (rows, lists) = (world.cloud.tables.all(CERTIFICATES), world.cloud.tables.all(JOBS));
    let accuse = |what: String| world.cloud.truth.accuse(&world.cloud, what);
    let id = |row: &Value| row["id"].as_str().unwrap_or_default().to_owned();
    let authority = rows.iter().find(|row| row["id"] == "authority").cloned().unwrap_or_default();
    let all = || rows.iter().filter(|row| id(row).starts_with("issuing#"));
    let signing: Vec<&Value> = all().filter(|row| row["state"] == "signing").map(|row| &row["spec"]["id"]).collect();
    let on_record: Vec<&Value> = [&authority["issuing"]].into_iter().filter(|id| !id.is_null()).collect();
    if signing != on_record {
        accuse(format!("I6 {signing:?} sign, and {on_record:?} is on record"));
    }
    // Below a compromised root, its own pass counts.
    let goes_on = |generation: &Value| {
        let root = rows.iter().find(|row| id(row).starts_with("root#") && row["generation"] == *generation);
        root.is_some_and(|root| !root["compromise"].is_null() && root["compromise"]["pass"]["isDone"] != true)
    };
    let is_revoked = |of: &str, is_its: &dyn Fn(&Value) -> bool, lists_of: &str| {
        let signed = rows.iter().filter(|row| id(row).starts_with("serial#") && row["leaf"].is_string());
        for signed in signed.filter(|row| is_its(row)) {
            let serial = id(signed).replace("serial#", "");
            let is_listed =
                |row: &Row| row["sk"] == *serial && row["pk"].as_str().is_some_and(|pk| pk.starts_with(lists_of));
            if !lists.iter().any(is_listed) {
                accuse(format!("I6 {serial} is not revoked, although {of} is"));
            }
        }
    };
    for revoked in all().filter(|row| row["pass"]["isDone"] == true) {
        let signer = &revoked["spec"]["id"];
        if goes_on(&signer["generation"]) {
            continue;
        }
        let is_its = |row: &Value| row["generation"] == signer["generation"] && row["issuing"] == signer["number"];
        is_revoked(&signer.to_string(), &is_its, &format!("crl#{}.{}#", signer["generation"], signer["number"]));
    }
    for root in rows.iter().filter(|row| id(row).starts_with("root#") && row["compromise"]["pass"]["isDone"] == true) {
        is_revoked(&id(root), &|row| row["generation"] == root["generation"], &format!("crl#{}", root["generation"]));
    }
}

/// The roots whose key is enabled, although nothing is signed.
fn awake(world: &World) -> Vec<String> {
    let states = world.cloud.keys.states();
    let is_enabled = |key: &Value| states.iter().any(|(arn, state)| key == arn.as_str() && *state == State::Enabled);
    let rows = world.cloud.tables.all(CERTIFICATES);
    let roots = rows.iter().filter(|row| row["id"].as_str().is_some_and(|id| id.starts_with("root#")));
    let made = roots.filter(|root| root["certificate"].is_string() && is_enabled(&root["key"]));
    made.map(|root| root["id"].to_string()).collect()
}

/// Serial numbers are unique per issuer, over device certificates and links.
fn serials_are_unique(world: &World) {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for row in world.cloud.tables.all(CERTIFICATES) {
        let certificates =
            [&row["certificate"], &row["newWithOld"]["certificate"], &row["oldWithNew"]["certificate"], &row["leaf"]];
        for certificate in certificates.into_iter().filter_map(Value::as_str) {
            let Ok(parsed) = rootcast_pki::certificate::Certificate::try_from(certificate.to_owned()) else {
                continue;
            };
            let (_, x509) = x509_parser::parse_x509_certificate(parsed.der()).unwrap();
            let name = format!("{} {}", x509.issuer(), x509.raw_serial_as_string());
            let before = found.insert(name.clone(), certificate.to_owned());
            if before.is_some_and(|before| before != certificate) {
                world.cloud.truth.accuse(&world.cloud, format!("I4 two certificates have the serial number {name}"));
            }
        }
    }
}
