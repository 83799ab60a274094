//! Other implementations that read certificates at the current time: the `openssl` command (3.0 or later) and
//! rustls-webpki.

use std::time::SystemTime;

use rootcast_pki::certificate::Certificate;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use time::OffsetDateTime;

pub(super) use super::openssl::text;

/// Whether a client with these anchors accepts `leaf` with the certificates in `sent`: the verdicts of OpenSSL and
/// webpki.
pub(super) fn accept(anchors: &[&Certificate], leaf: &Certificate, sent: &[&Certificate]) -> [bool; 2] {
    [verify(anchors, leaf, sent).is_ok(), webpki(anchors, leaf, sent).is_ok()]
}

pub(super) fn verify(anchors: &[&Certificate], leaf: &Certificate, sent: &[&Certificate]) -> Result<(), String> {
    super::openssl::verify(anchors, leaf, sent, OffsetDateTime::now_utc())
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
