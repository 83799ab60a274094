//! What devices show, and whether the others can verify it: read off the devices' content, and off what was signed and
//! revoked, not off the product's own judgement.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use rootcast_pki::certificate::Certificate;
use serde_json::Value;

use crate::clock;
use crate::cloud::Cloud;
use crate::dynamo::{CERTIFICATES, JOBS, Row};
use crate::openbmc::Bmc;
use crate::truth::{Truth, is_waived};

/// A chain as a device serves it: of each certificate, who issued it, and whom it names.
pub type Names = Vec<(String, String)>;

/// Of the chain that the device serves.
pub fn names(bmc: &Bmc) -> Names {
    let chain = std::iter::once(bmc.leaf()).chain(bmc.chain());
    chain.map(|each| (each.issuer_dn().to_owned(), each.subject_dn().to_owned())).collect()
}

/// Whether a chain leads to one of these anchors without going back. Each of our authorities has a name of its own.
fn verifies(chain: &Names, anchors: &BTreeSet<String>) -> bool {
    let mut issuer = None;
    for (by, subject) in chain {
        if issuer.is_some_and(|issuer| issuer != subject) {
            return false;
        }
        if anchors.contains(by) {
            return true;
        }
        issuer = Some(by);
    }
    false
}

fn held(bmc: &mut Bmc) -> BTreeSet<String> {
    bmc.anchors().map(|anchor| anchor.subject_dn().to_owned()).collect()
}

impl Truth {
    /// An anchor was removed from a device: nobody needs it there.
    pub fn removed(&self, cloud: &Cloud, at: SocketAddr, anchor: &Certificate) {
        let ours = cloud.tables.beginning("root#");
        let is_it = |root: &Row| certificate(root, "certificate").is_some_and(|it| it == *anchor);
        // Whoever has the key of a compromised one can make whatever is below it, so that it is removed at once.
        let Some(root) = ours.into_iter().find(is_it).filter(|root| root["compromise"].is_null()) else { return };
        if ["published", "signing", "superseded"].iter().any(|live| root["state"] == *live) {
            self.accuse(cloud, format!("I9 {} is {} and was removed from {at}", root["id"], root["state"]));
        }
        if self.has_left_at_once(&root) {
            return;
        }
        let Some(after) = cloud.fleet.at(at, held) else { return };
        let before = after.iter().cloned().chain([anchor.subject_dn().to_owned()]).collect();
        for (other, leaf, chain) in shown(cloud) {
            if verifies(&chain, &before) && !verifies(&chain, &after) && self.is_valid(cloud, &leaf) {
                self.accuse(cloud, format!("I9 {at} lost {}, which {other} needs", root["id"]));
            }
        }
    }

    /// A device shows another certificate of ours: who could verify the one before verifies this one.
    pub fn replaced(&self, cloud: &Cloud, at: SocketAddr, before: &Names) {
        let Some((leaf, chain)) = cloud.fleet.at(at, |bmc| (bmc.leaf().clone(), names(bmc))) else { return };
        // Whoever still holds what left with a compromised root is not promised to verify anything.
        let rows = cloud.tables.beginning("root#");
        let left = rows.iter().filter(|root| self.has_left_at_once(root));
        let left: Vec<Certificate> = left.filter_map(|root| certificate(root, "certificate")).collect();
        for (id, known) in self.devices().iter().filter(|(_, known)| known.approved) {
            let Some(mut anchors) = cloud.fleet.at(known.address, held) else { continue };
            anchors.retain(|anchor| left.iter().all(|root| root.subject_dn() != anchor));
            if verifies(before, &anchors)
                && !verifies(&chain, &anchors)
                && signed(&cloud.tables.beginning("serial#"), &leaf).is_some()
                && !self.may_lack_roots(cloud, id)
            {
                self.accuse(cloud, format!("I9 {at} shows {chain:?}, and {id} cannot verify it"));
            }
        }
    }

    /// Of what a root signed that devices no longer trust, nothing is valid, unless the root was compromised.
    pub fn distrusted_roots_are_unused(&self, cloud: &Cloud) {
        let rows = cloud.tables.all(CERTIFICATES);
        let is_out = |row: &Value| row["state"] == "distrusted" || row["state"] == "retired";
        let has_left = |row: &&Row| is_out(row) && row["compromise"].is_null() && !self.has_left_at_once(row);
        let gone = rows.iter().filter(|row| is_of(row, "root#")).filter(has_left);
        let gone: BTreeSet<u64> = gone.filter_map(|root| root["generation"].as_u64()).collect();
        if gone.is_empty() {
            return;
        }
        let is_gone = |generation: &Value| generation.as_u64().is_some_and(|generation| gone.contains(&generation));
        let (revoked, now) = (revoked(cloud), clock::now());
        for row in rows.iter().filter(|row| is_of(row, "serial#") && row["leaf"].is_string()) {
            let (serial, device) = serial_and_device(row);
            let ends = row["notAfter"].as_i64().unwrap();
            if is_gone(&row["generation"])
                && ends > now.unix_timestamp()
                && !revoked.contains(&serial)
                && !self.was_waived(cloud, device)
            {
                let root = &row["generation"];
                self.accuse(cloud, format!("I6 root {root} is gone, and {serial} of {device} is valid below it"));
            }
        }
        let signers = rows.iter().filter(|row| {
            is_of(row, "root#") && is_gone(&row["generation"])
                || is_of(row, "issuing#") && is_gone(&row["spec"]["id"]["generation"])
        });
        let signers: Vec<Certificate> = signers.filter_map(|row| certificate(row, "certificate")).collect();
        for row in rows.iter().filter(|row| row["folder"] == "Certificates" && row["revoked"].is_null()) {
            let Some(leaf) = certificate(row, "leaf").filter(|leaf| leaf.not_after() > now) else { continue };
            let is_below = signers.iter().any(|signer| signer.subject_dn() == leaf.issuer_dn());
            if is_below && !is_spared(cloud, &row["id"]) {
                self.accuse(cloud, format!("I6 the root of the imported certificate {} is gone", row["name"]));
            }
        }
    }

    /// Whether a certificate is ours and says something to somebody.
    fn is_valid(&self, cloud: &Cloud, leaf: &Certificate) -> bool {
        let rows = cloud.tables.beginning("serial#");
        let Some(signed) = signed(&rows, leaf) else { return false };
        let (serial, device) = serial_and_device(signed);
        leaf.not_after() > clock::now() && !revoked(cloud).contains(&serial) && !self.was_waived(cloud, device)
    }

    /// By name, in any rollover: people answer for what such a device shows.
    fn was_waived(&self, cloud: &Cloud, device: &str) -> bool {
        rollovers(cloud).iter().any(|job| is_waived(cloud, job, "install", device))
    }

    /// Whether nothing was promised of a device: it joins, was waived, or a root was activated before it was proven.
    fn may_lack_roots(&self, cloud: &Cloud, device: &str) -> bool {
        let joining = cloud.tables.partition("joining");
        joining.iter().any(|entry| entry["device"] == device)
            || rollovers(cloud)
                .iter()
                .any(|job| job["activation"] == "immediate" || is_waived(cloud, job, "distribute", device))
    }
}

fn rollovers(cloud: &Cloud) -> Vec<Row> {
    let rows = cloud.tables.all(JOBS).into_iter();
    rows.filter(|row| row["sk"] == "meta" && row["kind"] == "rollover").collect()
}

/// Whether an imported certificate was waived by name.
fn is_spared(cloud: &Cloud, certificate: &Value) -> bool {
    let spared = format!("spared#{}", certificate.as_str().unwrap_or_default());
    cloud.tables.all(JOBS).iter().any(|row| row["sk"] == spared)
}

/// What each device shows.
fn shown(cloud: &Cloud) -> Vec<(SocketAddr, Certificate, Names)> {
    let mut shown = Vec::new();
    cloud.fleet.each(|at, bmc| shown.push((*at, bmc.leaf().clone(), names(bmc))));
    shown
}

fn is_of(row: &Value, kind: &str) -> bool {
    row["id"].as_str().is_some_and(|id| id.starts_with(kind))
}

fn certificate(row: &Value, name: &str) -> Option<Certificate> {
    serde_json::from_value(row[name].clone()).ok()
}

fn serial_and_device(signed: &Value) -> (String, &str) {
    let serial = signed["id"].as_str().unwrap_or_default().replace("serial#", "");
    (serial, signed["device"].as_str().unwrap_or_default())
}

/// The record of what one of our authorities signed.
fn signed<'a>(rows: &'a [Row], leaf: &Certificate) -> Option<&'a Value> {
    let fingerprint = leaf.fingerprint().to_string();
    rows.iter().find(|row| row["leaf"] == fingerprint).map(Row::as_ref)
}

/// The serial numbers on any list.
fn revoked(cloud: &Cloud) -> BTreeSet<String> {
    let rows = cloud.tables.all(JOBS);
    let listed = rows.iter().filter(|row| row["pk"].as_str().is_some_and(|pk| pk.starts_with("crl#")));
    listed.filter_map(|row| Some(row["sk"].as_str()?.to_owned())).collect()
}
