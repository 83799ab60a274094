//! The `openssl` command, 3.0 or later.

use std::process::Command;

use rootcast_core::certificate::Certificate;
use tempfile::TempDir;
use time::OffsetDateTime;

/// What OpenSSL reads in a certificate, as text.
pub(crate) fn text(certificate: &Certificate) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("certificate.pem");
    std::fs::write(&path, certificate.pem()).unwrap();
    let options = ["-noout", "-text", "-nameopt", "RFC2253", "-serial", "-fingerprint", "-sha256"];
    let output = Command::new("openssl").arg("x509").arg("-in").arg(path).args(options).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a device with these anchors accepts what a server sent: the leaf, then the rest in this order.
pub(crate) fn verify(
    anchors: &[&Certificate],
    leaf: &Certificate,
    sent: &[&Certificate],
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
    let output = command.arg(write("leaf.pem", &[leaf])).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
