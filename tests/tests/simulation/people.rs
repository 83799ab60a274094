//! People, who do ordinary things at any time through the real API; and the weather, which affects devices.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::clock;
use crate::imported;
use crate::openbmc::Mood;
use crate::rollovers;
use crate::world::World;

/// `pause`: the mean time between two actions, in seconds.
pub async fn people(world: World, pause: u64, until: Duration) {
    while clock::age() < until {
        sleep(Duration::from_secs(world.cloud.random.between(1, 2 * pause))).await;
        if clock::age() < until {
            act(&world).await;
        }
    }
}

async fn act(world: &World) {
    let random = &world.cloud.random;
    let job = world.newest_job().map(|job| job["id"].to_string());
    let devices = world.cloud.truth.devices();
    let ids: Vec<&String> = devices.keys().collect();
    let (Some(job), Some(id)) = (job, random.pick(&ids)) else { return };
    if random.chance(0.2) {
        return imported::act(world, id).await;
    }
    let device = format!("/devices/{id}");
    if random.chance(0.04) {
        return replace_issuing(world).await;
    }
    if random.chance(0.1) {
        return operate(world, id).await;
    }
    if random.chance(0.02) {
        return compromise(world).await;
    }
    if random.chance(0.15) {
        return rollovers::act(world).await;
    }
    let post = async |what: &str, body: Value| _ = world.ask("POST", &format!("/jobs/{job}/{what}"), body).await;
    match random.below(100) {
        0..14 => post("pause", Value::Null).await,
        14..36 => post("resume", Value::Null).await,
        36..39 => post("abort", Value::Null).await,
        39..45 => post("retry", json!({})).await,
        45..51 => post("waive", json!({ "devices": [id], "reason": "it is being replaced" })).await,
        51..58 => _ = world.ask("DELETE", &device, Value::Null).await,
        58..66 => {
            let known = format!("d{}", random.below(80));
            let at = place(world);
            _ = world.ask("POST", "/devices", world.enrolment(&known, at)).await;
        }
        66..72 => {
            // The device was moved, or replaced by another one.
            let at = place(world);
            world.give_credential(id, at);
            let pin = world.cloud.fleet.at(at, |bmc| bmc.pin());
            let edit = json!({ "address": format!("https://{}", at.ip()), "pins": [pin] });
            _ = world.ask("PATCH", &device, edit).await;
        }
        72..77 => approve(world, id).await,
        77..79 => _ = world.ask("PATCH", &device, json!({ "pins": [] })).await,
        79..82 => {
            let other = format!("/devices/shared/{id}");
            let address = devices[*id].address;
            world.give_credential(&format!("shared/{id}"), address);
            _ = world.ask("PATCH", &device, json!({ "credential": other })).await;
        }
        82..84 => {
            let profile = if random.chance(0.3) { "dmtf" } else { "openbmc" };
            _ = world.ask("PATCH", &device, json!({ "profile": profile })).await;
        }
        84..88 => _ = world.ask("POST", &format!("{device}/certificate"), Value::Null).await,
        88..90 => {
            if let Some((200, own)) = world.ask("GET", &format!("{device}/certificate"), Value::Null).await {
                let body = json!({ "CertificateDN": own["response"]["dn"], "Reason": 4 });
                _ = world.ask("POST", "/vedsdk/certificates/revoke", body).await;
            }
        }
        90..92 => {
            if let Some((200, own)) = world.ask("GET", &format!("{device}/certificate"), Value::Null).await {
                let body = json!({ "CertificateDN": own["response"]["dn"] });
                let path = if random.chance(0.5) { "/vedsdk/certificates/retry" } else { "/vedsdk/certificates/reset" };
                _ = world.ask("POST", path, body).await;
            }
        }
        92..94 => _ = world.ask("POST", "/rollovers/preflight?canary=3", Value::Null).await,
        _ => _ = world.regenerate(&rollovers::query(world)).await,
    }
}

/// Where a device is to be: mostly a place that no other device has, which may be a new one.
fn place(world: &World) -> SocketAddr {
    let random = &world.cloud.random;
    let places = world.cloud.fleet.places();
    if let Some(at) = random.pick(&places).filter(|_| random.chance(0.15)) {
        return *at;
    }
    let taken: BTreeSet<SocketAddr> = world.cloud.truth.devices().values().map(|known| known.address).collect();
    let free: Vec<SocketAddr> = places.iter().filter(|at| !taken.contains(at)).copied().collect();
    let new = (1..=u8::MAX).find(|number| !places.contains(&(Ipv4Addr::new(10, 0, 0, *number), 443).into()));
    match (random.pick(&free), new) {
        (Some(at), _) => *at,
        (None, Some(number)) => world.install(number),
        (None, None) => places[0],
    }
}

/// The next issuing authority is asked for, or one is compromised.
async fn replace_issuing(world: &World) {
    let random = &world.cloud.random;
    let listed = world.ask("GET", "/issuingAuthorities", Value::Null).await;
    let listed = listed.and_then(|(_, listed)| listed["response"].as_array().cloned()).unwrap_or_default();
    _ = match random.pick(&listed).filter(|_| random.chance(0.4)) {
        Some(one) => {
            let path = format!("/issuingAuthorities/{}/compromise", one["id"].as_str().unwrap_or_default());
            world.ask("POST", &path, Value::Null).await
        }
        None => world.ask("POST", "/issuingAuthorities", Value::Null).await,
    };
}

/// Somebody else may have the key of the root that signs, or of any other one.
async fn compromise(world: &World) {
    let random = &world.cloud.random;
    let named = match random.below(6) {
        generation @ 1..=4 => format!("&generation={generation}"),
        _ => String::new(),
    };
    _ = world.regenerate(&format!("?reason=keyCompromise&canary=2&growth=3&errorBudget=40{named}")).await;
}

/// An operator edits, deletes and enrols devices. What changes an identity then waits for its approval.
async fn operate(world: &World, id: &str) {
    let random = &world.cloud.random;
    let device = format!("/devices/{id}");
    let at = place(world);
    _ = match random.below(5) {
        0 => world.ask_as_operator("DELETE", &device, Value::Null).await,
        1 => world.ask_as_operator("PATCH", &device, json!({ "address": format!("https://{}", at.ip()) })).await,
        2 => world.ask_as_operator("PATCH", &device, json!({ "profile": "dmtf" })).await,
        3 => world.ask_as_operator("PATCH", &device, json!({ "name": "renamed" })).await,
        _ => {
            let row = world.enrolment(&format!("d{}", random.below(80)), at);
            world.ask_as_operator("POST", "/devices", row).await
        }
    };
}

/// Approves the device as it is recorded, with the certificate that it shows now.
pub async fn approve(world: &World, id: &str) {
    let Some(known) = world.cloud.truth.devices().get(id).cloned() else { return };
    let Some(pin) = world.cloud.fleet.at(known.address, |bmc| bmc.pin()) else { return };
    let path = format!("/devices/{id}");
    let Some((200, shown)) = world.ask("GET", &path, Value::Null).await else { return };
    let shown = &shown["response"];
    let seen = (&shown["incarnation"], &shown["endpointRevision"]);
    let approval = json!({ "incarnation": seen.0, "endpointRevision": seen.1, "pins": [pin] });
    _ = world.ask("POST", &format!("{path}/approval"), approval).await;
}

/// Devices fail and recover, lose their content, and are replaced.
pub async fn weather(world: World, pause: u64, until: Duration) {
    while clock::age() < until {
        let random = &world.cloud.random;
        sleep(Duration::from_secs(random.between(1, 2 * pause))).await;
        let places = world.cloud.fleet.places();
        let Some(at) = random.pick(&places).filter(|_| clock::age() < until) else { return };
        let kind = random.below(100);
        let slow = Mood::Slow(random.between(5, 400));
        world.cloud.fleet.at(*at, |bmc| match kind {
            0..40 => bmc.mood = Mood::Well,
            40..50 => bmc.mood = Mood::Refuses,
            50..57 => bmc.mood = Mood::Hangs,
            57..63 => bmc.mood = Mood::Lies,
            63..73 => bmc.mood = slow,
            73..78 => bmc.mood = Mood::Busy,
            78..83 => bmc.mood = Mood::Broken,
            83..86 => bmc.mood = Mood::Full,
            86..91 => bmc.forget(),
            91..96 => bmc.change_identity(),
            _ => bmc.password.push('!'),
        });
        world.cloud.note(format_args!("~~~ {at} {kind}"));
    }
}
