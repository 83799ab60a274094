//! What others read in a certificate, at this moment: the `openssl` command (3.0 or later) and rustls-webpki.

use std::process::Command;
use std::time::SystemTime;

use rootcast_core::certificate::Certificate;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tempfile::TempDir;

/// `openssl x509 -text`.
pub(super) fn text(certificate: &Certificate) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("certificate.pem");
    std::fs::write(&path, certificate.pem()).unwrap();
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-text", "-nameopt", "RFC2253", "-serial", "-in"]).arg(path);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a client with these anchors accepts `leaf` and what was sent with it: OpenSSL's answer, then webpki's.
pub(super) fn accept(anchors: &[&Certificate], leaf: &Certificate, sent: &[&Certificate]) -> [bool; 2] {
    [verify(anchors, leaf, sent).is_ok(), webpki(anchors, leaf, sent).is_ok()]
}

/// `openssl verify -x509_strict`.
pub(super) fn verify(anchors: &[&Certificate], leaf: &Certificate, sent: &[&Certificate]) -> Result<(), String> {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, certificates: &[&Certificate]| {
        let path = folder.path().join(name);
        std::fs::write(&path, certificates.iter().map(|each| each.pem()).collect::<String>()).unwrap();
        path
    };
    let mut command = Command::new("openssl");
    command.args(["verify", "-x509_strict", "-check_ss_sig", "-no-CApath", "-no-CAstore"]);
    command.arg("-CAfile").arg(write("anchors.pem", anchors));
    if !sent.is_empty() {
        command.arg("-untrusted").arg(write("sent.pem", sent));
    }
    let output = command.arg(write("leaf.pem", &[leaf])).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn webpki(anchors: &[&Certificate], leaf: &Certificate, sent: &[&Certificate]) -> Result<(), webpki::Error> {
    let anchors: Vec<CertificateDer<'_>> = anchors.iter().map(|each| each.der().into()).collect();
    let anchors: Vec<_> = anchors.iter().map(|each| webpki::anchor_from_trusted_cert(each).unwrap()).collect();
    let sent: Vec<CertificateDer<'_>> = sent.iter().map(|each| each.der().into()).collect();
    let leaf = CertificateDer::from(leaf.der());
    let leaf = webpki::EndEntityCert::try_from(&leaf)?;
    let now = UnixTime::since_unix_epoch(SystemTime::UNIX_EPOCH.elapsed().unwrap());
    let usage = webpki::KeyUsage::server_auth();
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &sent, now, usage, None, None)?;
    leaf.verify_is_valid_for_subject_name(&ServerName::try_from("localhost").unwrap())
}
