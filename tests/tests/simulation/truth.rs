//! The invariants: derived from what physically happened, and checked after every write. They do not depend on the
//! product's own decisions or records.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rootcast_core::device::DeviceId;
use rootcast_pki::bundle::Bundle;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};

use crate::clock;
use crate::cloud::Cloud;
use crate::dynamo::{CERTIFICATES, DEVICES, JOBS, Place};
use crate::functions::Function;
use crate::openbmc::Bmc;

/// The issuer's time limit, and a margin for the clocks.
const ISSUER_LIVES: Duration = Duration::from_secs(125);

/// A device as its operators know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Address, pins, profile, slot, credential and subject.
    endpoint: Value,
    pub address: SocketAddr,
    pub approved: bool,
    /// When it was enrolled or last edited.
    since: Duration,
}

#[derive(Default)]
pub struct Truth {
    devices: Mutex<BTreeMap<String, Known>>,
    /// When an anchor was last read back from the device at an address.
    read: Mutex<BTreeMap<(SocketAddr, Fingerprint), Duration>>,
    signing: Mutex<Option<u64>>,
    /// The job that activated the active root.
    gate: Mutex<Option<Arc<Value>>>,
    /// What each job was begun as.
    jobs: Mutex<BTreeMap<String, Value>>,
    ended: Mutex<BTreeSet<String>>,
    /// When each job's hold-down began.
    held: Mutex<BTreeMap<String, Duration>>,
    /// When each generation stopped to sign.
    replaced: Mutex<BTreeMap<u64, Duration>>,
    /// Whether compromised roots are being replaced.
    replacing: Mutex<bool>,
    /// The root that last replaced compromised ones.
    replacement: Mutex<Option<u64>>,
    /// The keys of retired roots.
    retired: Mutex<BTreeSet<String>>,
    /// When a record last left an address: deleted, moved, or no longer approved.
    left: Mutex<BTreeMap<SocketAddr, Duration>>,
    /// What each counter and each task adds to the difference of both.
    counted: Mutex<BTreeMap<Place, Vec<(Counter, i64)>>>,
    /// That difference, where there is one.
    off: Mutex<BTreeMap<Counter, i64>>,
    broken: Mutex<Vec<String>>,
}

/// Of a job's pass: its name.
type Counter = (String, String, String);

impl Truth {
    pub fn become_like(&self, other: &Self) {
        self.devices.lock().unwrap().clone_from(&other.devices.lock().unwrap());
        self.read.lock().unwrap().clone_from(&other.read.lock().unwrap());
        self.signing.lock().unwrap().clone_from(&other.signing.lock().unwrap());
        self.gate.lock().unwrap().clone_from(&other.gate.lock().unwrap());
        self.jobs.lock().unwrap().clone_from(&other.jobs.lock().unwrap());
        self.ended.lock().unwrap().clone_from(&other.ended.lock().unwrap());
        self.held.lock().unwrap().clone_from(&other.held.lock().unwrap());
        self.replaced.lock().unwrap().clone_from(&other.replaced.lock().unwrap());
        self.replacing.lock().unwrap().clone_from(&other.replacing.lock().unwrap());
        self.replacement.lock().unwrap().clone_from(&other.replacement.lock().unwrap());
        self.retired.lock().unwrap().clone_from(&other.retired.lock().unwrap());
        self.left.lock().unwrap().clone_from(&other.left.lock().unwrap());
        self.counted.lock().unwrap().clone_from(&other.counted.lock().unwrap());
        self.off.lock().unwrap().clone_from(&other.off.lock().unwrap());
        self.broken.lock().unwrap().clone_from(&other.broken.lock().unwrap());
    }

    /// The violations that were found.
    pub fn broken(&self) -> Vec<String> {
        self.broken.lock().unwrap().clone()
    }

    pub fn accuse(&self, cloud: &Cloud, what: String) {
        cloud.note(format_args!("### {what}"));
        self.broken.lock().unwrap().push(what);
    }

    pub fn read_back(&self, at: SocketAddr, anchor: Fingerprint) {
        self.read.lock().unwrap().insert((at, anchor), clock::age());
    }

    pub fn devices(&self) -> BTreeMap<String, Known> {
        self.devices.lock().unwrap().clone()
    }

    /// Checks the effects of a call.
    pub fn after(&self, cloud: &Cloud, by: Function, operation: &str, body: &[u8], rows: &[Place]) {
        match operation {
            "ScheduleKeyDeletion" => self.key_given_up(cloud, body),
            "Sign" => self.signed(cloud, body),
            _ => {}
        }
        let mut counted = Vec::new();
        for place @ Place { table, pk, sk } in rows {
            match *table {
                DEVICES => self.device_changed(cloud, by, pk),
                JOBS if sk.starts_with("task#") || sk.starts_with("counters#") => counted.push(place),
                _ => {}
            }
        }
        for row in rows {
            self.job_or_root_changed(cloud, row);
        }
        self.counters(cloud, &counted);
    }

    fn device_changed(&self, cloud: &Cloud, by: Function, id: &str) {
        let mut devices = self.devices.lock().unwrap();
        let Some(row) = cloud.tables.named(DEVICES, id) else {
            if let Some(gone) = devices.remove(id) {
                self.left.lock().unwrap().insert(gone.address, clock::age());
            }
            return;
        };
        let endpoint =
            json!([row["address"], row["pins"], row["profile"], row["slot"], row["credential"], row["subject"]]);
        let address = row["address"].as_str().unwrap_or_default().trim_start_matches("https://");
        let address = address.parse().unwrap_or_else(|_| format!("{address}:443").parse().unwrap());
        let has_pins = row["pins"].as_array().is_some_and(|pins| !pins.is_empty());
        let approved = has_pins && row["unapproved"].is_null();
        let before = devices.get(id);
        if let Some(known) = before.filter(|known| known.approved && (known.address != address || !approved)) {
            self.left.lock().unwrap().insert(known.address, clock::age());
        }
        let since = match before {
            Some(known) if known.endpoint == endpoint || by == Function::Worker => known.since,
            _ => {
                cloud.passwords.changed(id);
                clock::age()
            }
        };
        let is_there = |(other, known): &(&String, &Known)| {
            *other != id && known.address == address && known.endpoint[3] == row["slot"]
        };
        if let Some((other, _)) = devices.iter().find(is_there) {
            self.accuse(cloud, format!("{id} and {other} have the address {address}"));
        }
        devices.insert(id.to_owned(), Known { endpoint, address, approved, since });
    }

    fn job_or_root_changed(&self, cloud: &Cloud, row: &Place) {
        let Place { table, pk, sk } = row;
        if *table == CERTIFICATES && pk == "authority" {
            let authority = cloud.tables.row(row).unwrap_or_default();
            let now = authority["signing"].as_u64();
            let before = std::mem::replace(&mut *self.signing.lock().unwrap(), now);
            let is_replacing = authority["replacing"].is_array();
            let was_replacing = std::mem::replace(&mut *self.replacing.lock().unwrap(), is_replacing);
            if was_replacing && !is_replacing && now != before {
                *self.replacement.lock().unwrap() = now;
            }
            if let Some(generation) = now.filter(|_| now != before) {
                let mut replaced = self.replaced.lock().unwrap();
                replaced.remove(&generation);
                replaced.extend(before.map(|before| (before, clock::age())));
                drop(replaced);
                self.activated(cloud, &authority, generation);
            }
        }
        if *table == CERTIFICATES && pk.starts_with("root#") {
            self.root_changed(cloud, pk);
        }
        if *table == CERTIFICATES && pk.starts_with("serial#") {
            self.certificate_signed(cloud, pk);
        }
        if *table == JOBS && sk == "meta" {
            let Some(job) = cloud.tables.row(row) else { return };
            let id = job["id"].to_string();
            let begun = json!([job["kind"], job["created"], job["generation"], job["certificate"]]);
            let before = self.jobs.lock().unwrap().entry(id.clone()).or_insert_with(|| begun.clone()).clone();
            if before != begun {
                self.accuse(cloud, format!("I4 the id of job {id} is given twice: {before}, then {begun}"));
            }
            match job["phase"].as_str() {
                Some("holdDown") => _ = self.held.lock().unwrap().entry(id.clone()).or_insert_with(clock::age),
                Some("distribute") => _ = self.held.lock().unwrap().remove(&id),
                _ => {}
            }
            if job["kind"] == "rollover" && job["state"] == "ended" && self.ended.lock().unwrap().insert(id) {
                self.ended(cloud, &job);
            }
        }
    }

    /// At activation, every device in its current form has proven that it has the root, or was waived by name.
    fn activated(&self, cloud: &Cloud, authority: &Value, generation: u64) {
        cloud.note(format_args!("### root {generation} signs"));
        let Some(job) = authority["running"].as_u64().and_then(|id| job(cloud, id)) else { return };
        // What an immediate activation leaves open, nobody promised; a compromise has a pass for it.
        let is_gated = job["activation"] != "immediate";
        *self.gate.lock().unwrap() = (is_gated || is_compromise(&job)).then(|| Arc::clone(&job));
        if !is_gated {
            return;
        }
        self.hold_down_is_over(cloud, &job);
        let root = root(cloud, generation).fingerprint();
        let seconds = |name: &str| job["rollout"][name].as_u64().map(Duration::from_secs);
        // The hold-down does not age proofs.
        // Neither does a closed window; how long it was closed, only a scenario knows.
        let age = seconds("proofAge").filter(|_| !job["rollout"]["windows"].is_array());
        let oldest = age.map_or(Duration::MAX, |age| age + seconds("holdDown").unwrap_or_default());
        for (id, known) in self.devices().iter().filter(|(_, known)| known.approved) {
            let proof = self.read.lock().unwrap().get(&(known.address, root)).copied();
            let fresh = proof.filter(|at| *at >= known.since);
            if is_waived(cloud, &job, "distribute", id) {
                continue;
            }
            if let Some(at) = fresh.filter(|at| clock::age().saturating_sub(*at) <= oldest) {
                let lacks = |bmc: &mut Bmc| !bmc.holds(&root) && bmc.forgot < at;
                if cloud.fleet.at(known.address, lacks) == Some(true) {
                    self.accuse(cloud, format!("I2 root {generation} signs, and {id} at {} lacks it", known.address));
                }
                continue;
            }
            let why = match (proof, fresh) {
                (None, _) => "it was never read back".to_owned(),
                (Some(at), None) => {
                    format!("it was read back at {at:?}, but the device is another since {:?}", known.since)
                }
                (_, Some(at)) => format!("its proof of {at:?} is too old"),
            };
            self.accuse(
                cloud,
                format!("I1 root {generation} signs, and {id} at {} lacks a proof: {why}", known.address),
            );
        }
    }

    /// The whole time since the hold-down last began. Functions' clocks differ by some seconds.
    fn hold_down_is_over(&self, cloud: &Cloud, job: &Value) {
        let wanted = Duration::from_secs(job["rollout"]["holdDown"].as_u64().unwrap_or(0));
        let since = self.held.lock().unwrap().get(&job["id"].to_string()).copied();
        let held = since.map_or(Duration::ZERO, |since| clock::age() - since);
        if held + Duration::from_secs(5) < wanted {
            self.accuse(cloud, format!("I1 job {} activates {held:?} after its hold-down began", job["id"]));
        }
    }

    fn root_changed(&self, cloud: &Cloud, id: &str) {
        let Some(root) = cloud.tables.named(CERTIFICATES, id) else { return };
        if root["state"] == "retired" {
            self.retired.lock().unwrap().extend(root["key"].as_str().map(ToOwned::to_owned));
        }
        if root["state"] == "distrusted" && root["retirement"].is_null() {
            self.distrusted_roots_are_unused(cloud);
        }
    }

    /// An issuer that began before a root was replaced may still sign below it, for as long as it lives.
    fn certificate_signed(&self, cloud: &Cloud, id: &str) {
        let Some(signed) = cloud.tables.named(CERTIFICATES, id).filter(|signed| signed["leaf"].is_string()) else {
            return;
        };
        let generation = signed["generation"].as_u64().unwrap_or_default();
        let since = self.replaced.lock().unwrap().get(&generation).copied();
        if since.is_some_and(|since| clock::age() > since + ISSUER_LIVES) {
            self.accuse(cloud, format!("I6 root {generation} signs no more, and {id} was signed below it"));
        }
    }

    /// Whether a root left with a compromised one: then every older root leaves at once, compromised or not, and what was
    /// below it is no longer verified.
    pub fn has_left_at_once(&self, root: &Value) -> bool {
        root["generation"].as_u64() < *self.replacement.lock().unwrap()
    }

    fn signed(&self, cloud: &Cloud, body: &[u8]) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if body["KeyId"].as_str().is_some_and(|key| self.retired.lock().unwrap().contains(key)) {
            self.accuse(cloud, format!("I6 the key {} of a retired root has signed", body["KeyId"]));
        }
    }

    /// Every device has the active root. A device that joined later gets it, or is still in the list of joining
    /// devices. What a device lost after it was last read cannot be known.
    pub fn signing_root_is_held(&self, cloud: &Cloud) {
        let (Some(generation), Some(job)) = (*self.signing.lock().unwrap(), self.gate.lock().unwrap().clone()) else {
            return;
        };
        let root = root(cloud, generation).fingerprint();
        let joining = cloud.tables.partition("joining");
        for (id, known) in self.devices().iter().filter(|(_, known)| known.approved) {
            let read = self.read.lock().unwrap().get(&(known.address, root)).copied();
            let lacks = |bmc: &mut Bmc| !bmc.holds(&root) && read.is_none_or(|read| bmc.forgot < read);
            let is_to_be_asked = joining.iter().any(|entry| entry["device"] == id.as_str());
            let waived = |pass| is_waived(cloud, &job, pass, id);
            let is_waived = waived("distribute") || (is_compromise(&job) && waived("distrust"));
            if cloud.fleet.at(known.address, lacks) == Some(true) && !is_to_be_asked && !is_waived {
                self.accuse(cloud, format!("I2 {id} at {} is left without root {generation}", known.address));
            }
        }
    }

    /// After a job without a root, every device holds what the job's bundle has of others, and nothing that it withdraws.
    fn anchors_settled(&self, cloud: &Cloud, job: &Value) {
        let version = job["bundleVersion"].as_u64().unwrap_or_default();
        let published = cloud.tables.named(CERTIFICATES, &format!("bundle#{version:010}")).unwrap_or_default();
        let bundle: Bundle = serde_json::from_value(published["bundle"].clone()).unwrap();
        for (id, known) in self.devices().iter().filter(|(_, known)| known.approved) {
            if ["withdraw", "distribute", "distrust"].iter().any(|pass| is_waived(cloud, job, pass, id)) {
                continue;
            }
            let by_another = self.left.lock().unwrap().get(&known.address).is_some_and(|left| known.since < *left);
            for anchor in &bundle.others {
                let read = self.read.lock().unwrap().get(&(known.address, *anchor)).copied();
                let lacks = |bmc: &mut Bmc| !bmc.holds(anchor) && read.is_none_or(|read| bmc.forgot < read);
                if cloud.fleet.at(known.address, lacks) == Some(true) {
                    self.accuse(cloud, format!("I8 job {} has ended, and {id} lacks {anchor}", job["id"]));
                }
            }
            for anchor in &bundle.withdrawn {
                if !by_another && cloud.fleet.at(known.address, |bmc| bmc.holds(anchor)) == Some(true) {
                    self.accuse(cloud, format!("I8 job {} has ended, and {id} holds {anchor}", job["id"]));
                }
            }
        }
    }

    /// After an aborted rollover no device has its root.
    fn ended(&self, cloud: &Cloud, job: &Value) {
        // What a job had left that was taken over, the one that did so has done at its own end.
        if job["outcome"] == "takenOver" {
            return;
        }
        if job["purpose"] == "anchors" {
            return self.anchors_settled(cloud, job);
        }
        if job["purpose"] == "preflight" {
            return;
        }
        if job["outcome"] == "completed" {
            self.completed(cloud, job);
            if is_compromise(job) {
                self.anchors_settled(cloud, job);
            }
        }
        if job["outcome"] != "aborted" {
            return;
        }
        let Some(root) = job["generation"].as_u64().and_then(|generation| find_root(cloud, generation)) else { return };
        for (id, known) in self.devices().iter().filter(|(_, known)| known.approved) {
            let holds = cloud.fleet.at(known.address, |bmc| bmc.holds(&root.fingerprint())).unwrap_or(false);
            let waived = || ["withdraw", "distribute"].iter().any(|pass| is_waived(cloud, job, pass, id));
            // Two records named one device, and the job knew it by the one that left.
            let by_another = self.left.lock().unwrap().get(&known.address).is_some_and(|left| known.since < *left);
            if holds && !waived() && !by_another {
                self.accuse(cloud, format!("I5 job {} is aborted, and {id} holds its root", job["id"]));
            }
        }
    }

    /// After a rollover that went all the way, no device has an older root, unless it was waived by name.
    fn completed(&self, cloud: &Cloud, job: &Value) {
        let old = (1..job["generation"].as_u64().unwrap_or(0)).filter_map(|generation| find_root(cloud, generation));
        let old: Vec<Fingerprint> = old.map(|root| root.fingerprint()).collect();
        for (id, known) in self.devices().iter().filter(|(_, known)| known.approved) {
            let holds = cloud.fleet.at(known.address, |bmc| old.iter().any(|root| bmc.holds(root))).unwrap_or(false);
            let waived = |pass| is_waived(cloud, job, pass, id);
            if holds && !waived("distrust") && !(is_compromise(job) && waived("distribute")) {
                self.accuse(cloud, format!("I6 job {} is completed, and {id} holds an older root", job["id"]));
            }
        }
    }

    fn key_given_up(&self, cloud: &Cloud, body: &[u8]) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let authority = cloud.tables.named(CERTIFICATES, "authority").unwrap_or_default();
        for generation in 1..=authority["lastGeneration"].as_u64().unwrap_or(0) {
            let root = cloud.tables.named(CERTIFICATES, &format!("root#{generation:010}")).unwrap_or_default();
            let live = ["published", "signing", "superseded"].iter().any(|state| root["state"] == *state);
            let is_evidence = !root["compromise"].is_null();
            if (live || is_evidence) && root["key"] == body["KeyId"] {
                self.accuse(cloud, format!("I4 the key of root {generation} ({}) is to be deleted", root["state"]));
            }
        }
    }

    /// The counters of a pass match its task records.
    fn counters(&self, cloud: &Cloud, rows: &[&Place]) {
        let (mut counted, mut off) = (self.counted.lock().unwrap(), self.off.lock().unwrap());
        for at in rows {
            let now = cloud.tables.row(at).map(|row| adds(at, &row)).unwrap_or_default();
            let before = counted.insert((*at).clone(), now.clone()).unwrap_or_default();
            let before = before.into_iter().map(|(counter, adds)| (counter, -adds));
            for (counter, adds) in now.into_iter().chain(before) {
                *off.entry(counter).or_default() += adds;
            }
        }
        off.retain(|_, off| *off != 0);
        for ((job, pass, name), off) in &*off {
            self.accuse(cloud, format!("I3 job {job}: the counter {name} of {pass} is off by {off}"));
        }
    }
}

/// A counter, and against it a task in that state.
fn adds(at: &Place, row: &Value) -> Vec<(Counter, i64)> {
    let job = at.pk.split('#').next().unwrap_or_default();
    let (kind, rest) = at.sk.split_once('#').unwrap_or_default();
    let pass = rest.split('#').next().unwrap_or_default();
    let mut adds: Vec<(String, i64)> = Vec::new();
    match kind {
        "counters" => {
            let names = ["acked", "failed", "skipped", "waived", "postponed", "listed"].map(ToOwned::to_owned);
            let of_waves = (0..32).flat_map(|wave| ["r", "f", "p"].map(|name| format!("{name}{wave}")));
            let count = |name: String| row[&name].as_i64().map(|count| (name, count));
            adds.extend(names.into_iter().chain(of_waves).filter_map(count));
        }
        "task" if row["state"] != "waiting" => {
            let state = row["state"].as_str().unwrap_or_default();
            adds.push((state.to_owned(), -1));
            // Each failure has its record.
            adds.extend((state == "failed").then(|| ("listed".to_owned(), -1)));
            if let Some(wave) = row["wave"].as_u64().filter(|wave| *wave > 0) {
                let result = if state == "postponed" { "p" } else { "r" };
                let names = std::iter::once(result).chain((state == "failed").then_some("f"));
                adds.extend(names.map(|name| (format!("{name}{}", wave % 32), -1)));
            }
        }
        _ => {}
    }
    let adds = adds.into_iter().filter(|(_, adds)| *adds != 0);
    adds.map(|(name, adds)| ((job.to_owned(), pass.to_owned(), name), adds)).collect()
}

pub fn job(cloud: &Cloud, id: u64) -> Option<Arc<Value>> {
    cloud.tables.of_jobs(&id.to_string(), "meta")
}

fn find_root(cloud: &Cloud, generation: u64) -> Option<Certificate> {
    let root = cloud.tables.named(CERTIFICATES, &format!("root#{generation:010}"))?;
    serde_json::from_value(root["certificate"].clone()).ok()
}

pub fn root(cloud: &Cloud, generation: u64) -> Certificate {
    find_root(cloud, generation).unwrap()
}

pub fn is_waived(cloud: &Cloud, job: &Value, pass: &str, device: &str) -> bool {
    let shard = device.parse::<DeviceId>().unwrap().shard();
    let task = cloud.tables.of_jobs(&format!("{}#{shard:02}", job["id"]), &format!("task#{pass}#{device}"));
    task.is_some_and(|task| task["state"] == "waived")
}

/// Its first pass removes the old roots too.
fn is_compromise(job: &Value) -> bool {
    job["compromised"].as_array().is_some_and(|roots| !roots.is_empty())
}
