//! People who replace roots: they begin rollovers that go to any phase, steer each of them, and change the trusted
//! certificates of others.

use std::sync::LazyLock;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
use serde_json::{Value, json};

use crate::dynamo::Row;
use crate::world::World;

/// The last phases that people name.
const STOPS: [&str; 7] = ["publish", "distribute", "holdDown", "activate", "reissue", "distrust", "retire"];

/// Roots of others, made once per process.
static OTHERS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let root = |number: usize| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("Other root {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2030, 1, 1));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    };
    (0..4).map(root).collect()
});

/// The query of a rollover. Half of them go all the way; half have a hold-down, of minutes, or of hours in slow worlds.
pub fn query(world: &World) -> String {
    let random = &world.cloud.random;
    let until = match random.below(100) {
        0..50 => "retire",
        50..70 => "activate",
        _ => random.pick(&STOPS).unwrap(),
    };
    let hold_down = match random.below(100) {
        0..50 => 0,
        50..80 => random.between(60, 900),
        _ if !world.is_slow() => random.between(600, 1200),
        _ => random.between(3600, 4 * 3600),
    };
    let activation = if random.chance(0.15) { "immediate" } else { "proven" };
    let canary = random.between(2, 5);
    format!(
        "?canary={canary}&growth=3&errorBudget=40&until={until}&holdDown={hold_down}&sample=50&activation={activation}"
    )
}

/// A random action on a rollover, mostly the newest one.
pub async fn act(world: &World) {
    let random = &world.cloud.random;
    let jobs: Vec<Row> = world.jobs().into_iter().filter(|job| job["kind"] == "rollover").collect();
    let newest = jobs.first().filter(|_| random.chance(0.7));
    let Some(job) = newest.or_else(|| random.pick(&jobs)) else { return };
    let id = &job["id"];
    _ = match random.below(100) {
        0..35 => {
            let until = random.pick(&STOPS).filter(|_| random.chance(0.5));
            let until = until.map_or_else(String::new, |until| format!("?until={until}"));
            world.ask("POST", &format!("/jobs/{id}/continue{until}"), Value::Null).await
        }
        35..48 => world.ask("POST", &format!("/jobs/{id}/rollback"), Value::Null).await,
        48..66 => {
            let body = json!({ "certificate": random.pick(&OTHERS) });
            world.ask("POST", "/trustedCertificates?canary=3&growth=4&errorBudget=40", body).await
        }
        66..78 => {
            let listed = world.ask("GET", "/trustedCertificates", Value::Null).await;
            let listed = listed.and_then(|(_, listed)| listed["response"].as_array().cloned()).unwrap_or_default();
            let Some(id) = random.pick(&listed).and_then(|one| one["id"].as_str()) else { return };
            world.ask("DELETE", &format!("/trustedCertificates/{id}"), Value::Null).await
        }
        78..84 => {
            let generation = random.between(1, 4);
            world.ask("POST", &format!("/roots/{generation}/keep"), Value::Null).await
        }
        _ => world.ask("PUT", &format!("/signingCertificate{}", query(world)), Value::Null).await,
    };
}

/// What the sentence of a job that stopped where it was told to says: to continue the job, or to abort it.
pub async fn go_on_or_back(world: &World, job: &Value) -> Option<(u16, Value)> {
    let random = &world.cloud.random;
    let further = STOPS.iter().skip_while(|stop| job["until"] != **stop).skip(1).collect::<Vec<_>>();
    let path = match random.pick(&further).filter(|_| random.chance(0.7)) {
        Some(until) => format!("continue?until={until}"),
        None => "abort".to_owned(),
    };
    world.ask("POST", &format!("/jobs/{}/{path}", job["id"]), Value::Null).await
}
