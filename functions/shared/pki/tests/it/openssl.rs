//! The `openssl` command, 3.0 or later.

use std::process::Command;

use rootcast_pki::certificate::Certificate;
use tempfile::TempDir;
use time::OffsetDateTime;

/// OpenSSL's text output for a certificate.
pub(crate) fn text(certificate: &Certificate) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("certificate.pem");
    std::fs::write(&path, certificate.pem()).unwrap();
    let options = ["-noout", "-text", "-nameopt", "RFC2253", "-serial", "-fingerprint", "-sha256"];
    run(Command::new("openssl").arg("x509").arg("-in").arg(path).args(options))
}

/// OpenSSL's text output for a revocation list, verified with its issuer's key.
pub(crate) fn crl_text(der: &[u8], issuer: &Certificate) -> String {
    let folder = TempDir::new().unwrap();
    let (list, anchor) = (folder.path().join("list.crl"), folder.path().join("issuer.pem"));
    std::fs::write(&list, der).unwrap();
    std::fs::write(&anchor, issuer.pem()).unwrap();
    let options = ["-inform", "DER", "-noout", "-text", "-nameopt", "RFC2253"];
    run(Command::new("openssl").arg("crl").arg("-in").arg(list).arg("-CAfile").arg(anchor).args(options))
}

/// A PEM request for a new key: `key` as in `openssl req -newkey`.
pub(crate) fn request(key: &[&str], subject: &str, options: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new("openssl");
    command.args(["req", "-new", "-nodes", "-batch", "-subj", subject, "-newkey"]).args(key).args(options);
    run(command.arg("-keyout").arg(folder.path().join("key.pem")))
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a device with these anchors accepts the server's certificates: the leaf, then the rest in this order.
pub(crate) fn verify(
    anchors: &[&Certificate],
    leaf: &Certificate,
    sent: &[&Certificate],
    at: OffsetDateTime,
) -> Result<(), String> {
    verify_with(anchors, leaf, sent, None, at)
}

/// Like [`verify`], for a device that also has the revocation list that covers the leaf.
pub(crate) fn verify_with(
    anchors: &[&Certificate],
    leaf: &Certificate,
    sent: &[&Certificate],
    crl: Option<&[u8]>,
    at: OffsetDateTime,
) -> Result<(), String> {
    run_verify(anchors, leaf, sent, crl.as_slice(), &["-crl_check"], at)
}

/// Like [`verify`], for a device that demands a revocation list for every certificate, and has these.
pub(crate) fn verify_all(
    anchors: &[&Certificate],
    leaf: &Certificate,
    sent: &[&Certificate],
    crls: &[&[u8]],
    at: OffsetDateTime,
) -> Result<(), String> {
    run_verify(anchors, leaf, sent, crls, &["-crl_check", "-crl_check_all"], at)
}

fn run_verify(
    anchors: &[&Certificate],
    leaf: &Certificate,
    sent: &[&Certificate],
    crls: &[&[u8]],
    checks: &[&str],
    at: OffsetDateTime,
) -> Result<(), String> {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, certificates: &[&Certificate]| {
        let path = folder.path().join(name);
        std::fs::write(&path, certificates.iter().map(|each| each.pem()).collect::<String>()).unwrap();
        path
    };
    let mut command = Command::new("openssl");
    command.args(["verify", "-x509_strict", "-check_ss_sig", "-no-CApath", "-no-CAstore", "-attime"]);
    command.arg(at.unix_timestamp().to_string());
    command.arg("-CAfile").arg(write("anchors.pem", anchors));
    if !sent.is_empty() {
        command.arg("-untrusted").arg(write("sent.pem", sent));
    }
    if !crls.is_empty() {
        let path = folder.path().join("lists.pem");
        let pem: String = crls.iter().map(|der| pem::encode(&pem::Pem::new("X509 CRL", *der))).collect();
        std::fs::write(&path, pem).unwrap();
        command.args(checks).arg("-extended_crl").arg("-CRLfile").arg(path);
    }
    let output = command.arg(write("leaf.pem", &[leaf])).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
