//! The cost of an import: check and seal, compared in the same run with the bare operations of AWS-LC for the same
//! material, and with the same work in Python cryptography. Also the memory for the largest input.
//!
//! `cargo bench --bench import`. Times are CPU times, so other processes hardly affect them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and breaks off where something is missing"
)]

#[path = "../../functions/shared/pki/tests/import/corpus/mod.rs"]
#[allow(dead_code, reason = "the import's own tests use more of it")]
mod corpus;

use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use aws_lc_rs::aead::{AES_256_GCM, Aad, MAX_TAG_LEN, RandomizedNonceKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self as lc, EcdsaKeyPair, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm};
use corpus::certificate::{Spec, TODAY, alternative_names, dns};
use corpus::key::{Key, Kind};
use corpus::{Bundle, HOST, leaf_key, leaf_of, leaf_with, pki};
use peak_alloc::PeakAlloc;
use rootcast_pki::import::{LIMIT, Material, check};
use serde_json::json;
use zeroize::Zeroizing;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const ROUNDS: usize = 9;
/// Nanoseconds of CPU time per round and side: the clock has a resolution of milliseconds.
const ROUND: u64 = 200_000_000;

fn main() {
    if let Some(path) = std::env::args().nth(1).filter(|argument| argument.ends_with(".pem")) {
        return in_a_process_of_its_own(Path::new(&path));
    }
    let kinds = [("P-256", Kind::P256), ("RSA 2048", Kind::Rsa2048), ("RSA 4096", Kind::Rsa4096)];
    let bundles = kinds.map(|(_, kind)| leaf_of(Key::shared(kind, 2)));
    let python = python(&bundles);
    println!("CPU a certificate, µs. Leaf of the kind named, intermediate and root on P-256.");
    println!("           check + seal   bare AWS-LC       and the root's own    Python      with a proof of the key");
    for (((name, kind), bundle), [matched, proven]) in kinds.iter().zip(&bundles).zip(python) {
        let (ours, [links, all]) = compare(bundle, Key::shared(*kind, 2));
        let side = |theirs: f64| format!("{:>9.1} {:>5.2}×", theirs / 1e3, ours / theirs);
        let faster = |theirs: f64| format!("{:>9.1} {:>5.1}×", theirs * 1e6, theirs * 1e9 / ours);
        let (links, all, matched, proven) = (side(links), side(all), faster(matched), faster(proven));
        println!("{name:<10} {:>12.1} {links} {all} {matched} {proven}", ours / 1e3);
    }
    memory();
}

/// Median nanoseconds of our code, and of the bare operations without and with the root's self-signature, measured
/// alternately.
fn compare(bundle: &Bundle, key: &Key) -> (f64, [f64; 2]) {
    let text = bundle.text();
    let data_key = [7; 32];
    let links = Links::of(bundle, key);
    let mut rounds: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        rounds[0].push(cpu(|| import_and_seal(&text, &bundle.key, &data_key)));
        rounds[1].push(cpu(|| links.bare(2, &data_key)));
        rounds[2].push(cpu(|| links.bare(3, &data_key)));
    }
    let [ours, two, three] = rounds.map(|mut side| {
        side.sort_by(f64::total_cmp);
        side[ROUNDS / 2]
    });
    (ours, [two, three])
}

fn import_and_seal(certificate: &str, private_key: &str, data_key: &[u8]) {
    let checked = check(&Material::Pem { certificate, certificate_chain: None, private_key }, &[], TODAY).unwrap();
    black_box(seal(checked.key.pkcs8_der(), data_key));
}

/// As in `rootcast-seal`, with the data key from KMS.
fn seal(secret: &[u8], data_key: &[u8]) -> Vec<u8> {
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, data_key).unwrap();
    let mut text = Zeroizing::new(Vec::with_capacity(secret.len() + MAX_TAG_LEN));
    text.extend_from_slice(secret);
    cipher.seal_in_place_append_tag(Aad::from(HOST), &mut *text).unwrap();
    std::mem::take(&mut *text)
}

/// The inputs of AWS-LC, extracted beforehand: only the key remains to be parsed.
struct Links<'a> {
    key: &'a Key,
    algorithm: &'static dyn VerificationAlgorithm,
    /// Signed bytes, signature and the issuer's public key, for each link.
    signed: Vec<(Vec<u8>, Vec<u8>, &'static [u8])>,
}

impl<'a> Links<'a> {
    fn of(bundle: &Bundle, key: &'a Key) -> Self {
        let link = |der: &[u8], issuer: &'static Key| {
            let certificate = corpus::der::read(der).0;
            let (_, rest) = corpus::der::read(certificate);
            let signed = certificate[..certificate.len() - rest.len()].to_vec();
            (signed, corpus::der::read_all(rest)[1][1..].to_vec(), issuer.public())
        };
        let algorithm: &'static dyn VerificationAlgorithm = match key.kind {
            Kind::P256 => &lc::ECDSA_P256_SHA256_ASN1,
            _ => &lc::RSA_PKCS1_2048_8192_SHA256,
        };
        let (root, intermediate) = (&pki().root, &pki().intermediate);
        let signed =
            vec![link(&bundle.leaf, intermediate.key), link(&intermediate.der, root.key), link(&root.der, root.key)];
        Self { key, algorithm, signed }
    }

    /// Parses the key, signs and verifies once, verifies the signatures of `certificates` certificates, seals.
    fn bare(&self, certificates: usize, data_key: &[u8]) {
        let message = [7; 32];
        let random = SystemRandom::new();
        let signature = match self.key.kind {
            Kind::P256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&lc::ECDSA_P256_SHA256_ASN1_SIGNING, &self.key.pkcs8).unwrap();
                pair.sign(&random, &message).unwrap().as_ref().to_vec()
            }
            _ => {
                let pair = RsaKeyPair::from_pkcs8(&self.key.pkcs8).unwrap();
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&lc::RSA_PKCS1_SHA256, &random, &message, &mut signature).unwrap();
                signature
            }
        };
        UnparsedPublicKey::new(self.algorithm, self.key.public()).verify(&message, &signature).unwrap();
        for (message, signature, public) in &self.signed[..certificates] {
            UnparsedPublicKey::new(&lc::ECDSA_P256_SHA256_ASN1, public).verify(message, signature).unwrap();
        }
        black_box(seal(&self.key.pkcs8, data_key));
    }
}

/// Seconds of CPU time per certificate: comparing the key's public half, and also verifying it with a signature.
fn python(bundles: &[Bundle]) -> Vec<[f64; 2]> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let requirements = tests.join("tests/it/import_readers/readers.txt");
    let interpreter = runtime.block_on(rootcast_local::python_environment(&requirements)).unwrap();
    let sent: Vec<_> = bundles
        .iter()
        .map(|bundle| json!({"certificates": bundle.text(), "key": bundle.key, "host": HOST, "now": TODAY.unix_timestamp()}))
        .collect();
    let mut command = Command::new(interpreter);
    command.args(["-I", "-B"]).arg(tests.join("benches/import.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!(sent).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Nanoseconds of CPU time per call.
fn cpu(call: impl Fn()) -> f64 {
    let begun = used();
    let mut calls = 0_u64;
    loop {
        for _ in 0..16 {
            call();
        }
        calls += 16;
        let taken = used() - begun;
        if taken >= ROUND {
            return taken as f64 / calls as f64;
        }
    }
}

/// Nanoseconds of CPU time of this thread: `proc(5)`, schedstat.
fn used() -> u64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux, with CONFIG_SCHED_INFO");
    statistics.split(' ').next().unwrap().parse().unwrap()
}

/// The largest inputs: Rust's peak allocation, and the growth of a separate process, including AWS-LC.
fn memory() {
    println!("\n64 KiB of          allocated at most   process grew   outcome");
    for (name, text) in [
        ("an ordinary chain", padded(&leaf_with(|_| {}).text())),
        ("900 long names", padded(&many_names().text())),
        ("certificates", leaf_with(|_| {}).text().repeat(LIMIT / leaf_with(|_| {}).text().len())),
        ("headers", "-----BEGIN CERTIFICATE-----\n".repeat(LIMIT / 28)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle.pem");
        std::fs::write(&path, &text).unwrap();
        std::fs::write(path.with_extension("key"), leaf_key().pem()).unwrap();
        let own = Command::new(std::env::current_exe().unwrap()).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&own.stdout);
        println!("{name:<18} {}", said.trim_end());
    }
}

fn padded(text: &str) -> String {
    format!("{text}{}", "\n".repeat(LIMIT - text.len()))
}

fn many_names() -> Bundle {
    let names: Vec<_> = (0..900).map(|number| dns(&format!("bmc-{number:04}.rack.fleet.exam"))).collect();
    leaf_with(|leaf: &mut Spec| leaf.names = Some(alternative_names(&names)))
}

fn in_a_process_of_its_own(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let key = std::fs::read_to_string(path.with_extension("key")).unwrap();
    let sent = Material::Pem { certificate: &text, certificate_chain: None, private_key: &key };
    // Exclude AWS-LC's one-time initialisation.
    drop(check(&Material::Pem { certificate: "", certificate_chain: None, private_key: &key }, &[], TODAY));
    let resident = memory_of("VmRSS");
    ALLOCATED.reset_peak_usage();
    let start = ALLOCATED.current_usage();
    let outcome = check(&sent, &[], TODAY);
    let peak = ALLOCATED.peak_usage() - start;
    let grew = memory_of("VmHWM").saturating_sub(resident);
    let outcome = outcome.map_or_else(|problems| problems.first().code().to_owned(), |_| "imported".to_owned());
    println!("{:>15.0} KiB {grew:>10} KiB   {outcome}", peak as f64 / 1024.0);
}

/// KiB.
fn memory_of(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap()
}
