//! The `openssl` command, 3.0 or later: its verdict on a chain, and whether a key is the leaf's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use futures::StreamExt as _;
use tempfile::TempDir;
use tokio::process::Command;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::corpus::certificate::TODAY;
use super::corpus::key::pem;
use super::{Presented, Verdict};

/// The input of one process: common anchors and other certificates, and the leaves of these bundles.
type Group<'a> = (&'a Presented<'a>, Vec<usize>);

pub(super) async fn verdicts(presented: &[Presented<'_>]) -> Vec<Verdict> {
    let folder = TempDir::new().unwrap();
    let mut groups: HashMap<_, Group<'_>> = HashMap::new();
    for (at, each) in presented.iter().enumerate() {
        groups.entry((&each.anchors, &each.others)).or_insert_with(|| (each, Vec::new())).1.push(at);
    }
    let mut verdicts = vec![None; presented.len()];
    let chains = groups.into_values().enumerate().map(async |(number, (each, members))| {
        let leaves: Vec<&[u8]> = members.iter().map(|at| presented[*at].bundle.leaf.as_slice()).collect();
        let said = verify(&folder.path().join(number.to_string()), each, &leaves).await;
        members.into_iter().zip(said).collect::<Vec<_>>()
    });
    // Low concurrency: the machine may have few processors.
    let judged: Vec<_> = futures::stream::iter(chains).buffer_unordered(4).concat().await;
    for (at, verdict) in judged {
        verdicts[at] = verdict;
    }
    let mut read = Read::default();
    for (verdict, each) in verdicts.iter_mut().zip(presented) {
        if verdict.is_none() {
            *verdict = read.mismatch(folder.path(), each).await;
        }
    }
    verdicts
}

async fn verify(folder: &Path, presented: &Presented<'_>, leaves: &[&[u8]]) -> Vec<Verdict> {
    std::fs::create_dir_all(folder).unwrap();
    let at = TODAY.unix_timestamp().to_string();
    let mut command = Command::new("openssl");
    command.args(["verify", "-x509_strict", "-check_ss_sig", "-purpose", "sslserver", "-auth_level", "2"]);
    command.args(["-attime", &at, "-no-CApath", "-no-CAstore"]);
    match presented.anchors.as_slice() {
        [] => command.arg("-no-CAfile"),
        anchors => command.arg("-CAfile").arg(write(folder, "anchors", anchors)),
    };
    if !presented.others.is_empty() {
        command.arg("-untrusted").arg(write(folder, "others", &presented.others));
    }
    let paths: Vec<_> =
        leaves.iter().enumerate().map(|(number, der)| write(folder, &format!("leaf-{number}"), &[der])).collect();
    let output = command.args(&paths).output().await.unwrap();
    let (accepted, refused) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let verdict = |path: PathBuf| {
        let path = path.display();
        if accepted.contains(&format!("{path}: OK\n")) {
            return None;
        }
        let before = refused.split(&format!("error {path}: verification failed")).next().unwrap_or_default();
        let reason = before.lines().rev().find(|line| line.starts_with("error ")).unwrap_or("unreadable");
        Some(reason.to_owned())
    };
    paths.into_iter().map(verdict).collect()
}

/// Public keys that OpenSSL read from private keys and from certificates. Cached, because many bundles share them.
#[derive(Default)]
struct Read<'a> {
    keys: HashMap<&'a str, Result<String, String>>,
    certificates: HashMap<Vec<u8>, String>,
}

impl<'a> Read<'a> {
    /// Checks that the private key is consistent and matches the certificate's public key.
    async fn mismatch(&mut self, folder: &Path, presented: &Presented<'a>) -> Verdict {
        let bundle = presented.bundle;
        if !self.keys.contains_key(bundle.key.as_str()) {
            let path = folder.join("key.pem");
            std::fs::write(&path, &bundle.key).unwrap();
            let mut command = Command::new("openssl");
            command.args(["pkey", "-check", "-pubout", "-passin", "pass:", "-in"]).arg(path);
            let output = command.output().await.unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            self.keys.insert(&bundle.key, if output.status.success() { Ok(public(&output)) } else { Err(said) });
        }
        let leaf = X509Certificate::from_der(&bundle.leaf);
        let spki = leaf.map_or_else(|_| bundle.leaf.clone(), |(_, leaf)| leaf.public_key().raw.to_vec());
        if !self.certificates.contains_key(&spki) {
            let mut command = Command::new("openssl");
            command.args(["x509", "-pubkey", "-noout", "-in"]).arg(write(folder, "leaf", &[&bundle.leaf]));
            self.certificates.insert(spki.clone(), public(&command.output().await.unwrap()));
        }
        match &self.keys[bundle.key.as_str()] {
            Err(said) => Some(said.lines().last().unwrap_or("no reason").to_owned()),
            Ok(public) if *public == self.certificates[&spki] => None,
            Ok(_) => Some("another key".to_owned()),
        }
    }
}

fn public(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout);
    said.find("-----BEGIN").map(|start| said[start..].to_owned()).unwrap_or_default()
}

fn write(folder: &Path, name: &str, ders: &[&[u8]]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, ders.iter().map(|der| pem("CERTIFICATE", der)).collect::<String>()).unwrap();
    path
}
