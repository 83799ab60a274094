//! rustls-webpki as a TLS client.

use std::time::SystemTime;

use rootcast_pki::certificate::Certificate;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use time::OffsetDateTime;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// Whether a client with these anchors accepts `leaf` from the server of this name, with the certificates in `sent`.
pub(crate) fn verify(
    anchors: &[&Certificate],
    leaf: &Certificate,
    sent: &[&Certificate],
    name: &str,
    at: OffsetDateTime,
) -> Result<(), webpki::Error> {
    let anchors: Vec<CertificateDer<'_>> = anchors.iter().map(|each| each.der().into()).collect();
    let anchors: Vec<_> = anchors.iter().map(|each| anchor_from_trusted_cert(each).unwrap()).collect();
    let sent: Vec<CertificateDer<'_>> = sent.iter().map(|each| each.der().into()).collect();
    let leaf = CertificateDer::from(leaf.der());
    let leaf = EndEntityCert::try_from(&leaf)?;
    let at = UnixTime::since_unix_epoch(SystemTime::from(at).duration_since(SystemTime::UNIX_EPOCH).unwrap());
    let usage = KeyUsage::server_auth();
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &sent, at, usage, None, None)?;
    leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name).unwrap())
}
