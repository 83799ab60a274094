//! Certificates that people import with their keys: associated, deployed, replaced, deleted.

use std::sync::LazyLock;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    date_time_ymd,
};
use rootcast_pki::certificate::Certificate;
use serde_json::{Value, json};

use crate::dynamo::{CERTIFICATES, DEVICES, JOBS, Row};
use crate::world::World;

/// Foreign certificates, created once per process: creating a key takes longer than importing it.
static MADE: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let of_authority = {
        let mut params = params("Somebody's root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    };
    let key_of_authority = key();
    let root = of_authority.self_signed(&key_of_authority).unwrap();
    let issuer = Issuer::from_ca_cert_der(root.der(), key_of_authority).unwrap();
    let leaf = |number: usize| {
        let key = key();
        let leaf = named(&format!("web-{number}")).signed_by(&key, &issuer).unwrap();
        json!({ "certificate": leaf.pem(), "certificate_chain": root.pem(), "private_key": key.serialize_pem() })
    };
    (0..6).map(leaf).collect()
});

/// Of a web server.
fn named(name: &str) -> CertificateParams {
    let name = format!("{name}.example.com");
    let mut params = params(&name);
    params.subject_alt_names.push(rcgen::SanType::DnsName(name.try_into().unwrap()));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    // A validity that covers every world, independent of the current date.
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params
}

/// A random action on a certificate; uses `device` if the action needs one.
pub async fn act(world: &World, device: &str) {
    let random = &world.cloud.random;
    let known = known(world);
    let kind = random.below(100);
    let Some((id, name)) = random.pick(&known).filter(|_| kind >= 20) else { return import(world).await };
    let named = |more: Value| {
        let mut body = json!({ "CertificateDN": format!(r"\VED\Policy\Certificates\{name}") });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let application = [format!(r"\VED\Policy\Devices\{device}")];
    let (path, body) = match kind {
        20..32 => ("associate", named(json!({ "ApplicationDN": application, "PushToNew": random.chance(0.5) }))),
        32..38 => ("push", named(json!({ "ApplicationDN": application }))),
        38..42 => ("push", named(json!({ "PushToAll": true }))),
        42..49 => ("retry", named(json!({ "WorkToDoTimeout": 5 }))),
        49..54 => ("reset", named(json!({ "Restart": random.chance(0.5), "WorkToDoTimeout": 5 }))),
        54..60 => ("dissociate", named(json!({ "ApplicationDN": application }))),
        60..66 => {
            world.ask("DELETE", &format!("/v3/scm/certificates/{id}"), Value::Null).await;
            return;
        }
        // Deploying to a device replaces the certificate that it shows.
        _ => {
            let devices = world.cloud.truth.devices();
            let others: Vec<&String> = devices.keys().collect();
            let mut resources = vec![json!({ "id": device })];
            resources
                .extend(random.pick(&others).filter(|other| **other != device).map(|other| json!({ "id": other })));
            let body = json!({ "service_name": "DEVICE", "resources": resources });
            world.ask("POST", &format!("/v3/scm/certificates/{id}/deploy"), body).await;
            return;
        }
    };
    _ = world.ask("POST", &format!("/vedsdk/certificates/{path}"), body).await;
}

/// The body of an import: one of these certificates, under a name.
pub fn body(number: u64, name: &str) -> Value {
    let mut body = MADE[usize::try_from(number).unwrap() % MADE.len()].clone();
    body["name"] = name.into();
    body
}

async fn import(world: &World) {
    let random = &world.cloud.random;
    let ours = if random.chance(0.3) { below_ours(world) } else { None };
    let mut body = ours.unwrap_or_else(|| body(random.below(6), &format!("web-{}", random.below(9))));
    body["duplicate_check"] = random.chance(0.2).into();
    _ = world.ask("POST", "/v3/scm/certificates/import", body).await;
}

/// A certificate that somebody had signed below one of our authorities that signs, or signed before, without our records.
fn below_ours(world: &World) -> Option<Value> {
    let random = &world.cloud.random;
    let rows = world.cloud.tables.all(CERTIFICATES);
    let is_live = |row: &&Row| row["state"] == "signing" || row["state"] == "superseded";
    let is_ours =
        |row: &&Row| row["id"].as_str().is_some_and(|id| id.starts_with("root#") || id.starts_with("issuing#"));
    let signers: Vec<&Row> = rows.iter().filter(is_ours).filter(is_live).collect();
    below(world, random.pick(&signers)?, &format!("web-{}", random.below(9)))
}

/// The body of an import. `signer`: the record of a root, or of an issuing authority.
pub fn below(world: &World, signer: &Value, name: &str) -> Option<Value> {
    let certificate: Certificate = serde_json::from_value(signer["certificate"].clone()).ok()?;
    let (leaf, key) = world.cloud.keys.certify(signer["key"].as_str()?, &certificate, &named(name))?;
    Some(json!({ "name": name, "certificate": leaf, "private_key": key }))
}

/// Takes the certificate off the records of its devices, and deletes it.
pub async fn delete(world: &World, name: &str) {
    let Some((id, _)) = known(world).into_iter().find(|(_, known)| known == name) else { return };
    let uses = world.cloud.tables.partition(&id);
    let devices = uses.iter().filter_map(|used| used["sk"].as_str()?.strip_prefix("use#"));
    let devices: Vec<String> = devices.map(|device| format!(r"\VED\Policy\Devices\{device}")).collect();
    if !devices.is_empty() {
        let body = json!({ "CertificateDN": format!(r"\VED\Policy\Certificates\{name}"), "ApplicationDN": devices });
        _ = world.ask("POST", "/vedsdk/certificates/dissociate", body).await;
    }
    _ = world.ask("DELETE", &format!("/v3/scm/certificates/{id}"), Value::Null).await;
}

/// Imported certificates in the order of their names, since their ids do not depend on the seed.
pub fn known(world: &World) -> Vec<(String, String)> {
    let rows = world.cloud.tables.all(CERTIFICATES);
    let imported = rows.iter().filter(|row| row["folder"] == "Certificates" && row["leaf"].is_string());
    let named = imported.filter_map(|row| Some((row["id"].as_str()?.to_owned(), row["name"].as_str()?.to_owned())));
    let mut known: Vec<(String, String)> = named.collect();
    known.sort_by(|(_, one), (_, other)| one.cmp(other));
    known
}

/// Certificate, device and use refer to each other; otherwise one of them can never be deleted, or can be deleted too
/// early.
pub fn ties_agree(world: &World) {
    let mut bound: Vec<(String, String)> = Vec::new();
    for device in world.cloud.tables.all(DEVICES) {
        let certificates = device["bindings"].as_array().map(Vec::as_slice).unwrap_or_default();
        let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        bound.extend(certificates.iter().map(|certificate| (name(certificate), name(&device["id"]))));
    }
    let rows = world.cloud.tables.all(JOBS);
    let of_use = |row: &Value| {
        let device = row["sk"].as_str()?.strip_prefix("use#")?.to_owned();
        Some((row["pk"].as_str()?.to_owned(), device))
    };
    let mut used: Vec<(String, String)> = rows.iter().filter_map(|row| of_use(row)).collect();
    bound.sort();
    used.sort();
    if bound != used {
        world.cloud.truth.accuse(&world.cloud, format!("I3 the devices' bindings are {bound:?}, the uses {used:?}"));
    }
    for certificate in world.cloud.tables.all(CERTIFICATES) {
        let Some(id) = certificate["id"].as_str().filter(|id| id.starts_with("scs")) else { continue };
        let count = used.iter().filter(|(of, _)| of == id).count() as u64;
        if certificate["uses"].as_u64().unwrap_or(0) != count {
            let told = &certificate["uses"];
            world.cloud.truth.accuse(&world.cloud, format!("I3 {id} counts {told} uses, and has {count}"));
        }
    }
}
