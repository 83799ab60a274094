//! Other implementations that read certificates at the current time: the `openssl` command (3.0 or later) and
//! rustls-webpki.

use rootcast_pki::certificate::Certificate;
use time::OffsetDateTime;

pub(super) use super::openssl::text;
use super::webpki;

/// Whether a client with these anchors accepts `leaf` with the certificates in `sent`: the verdicts of OpenSSL and
/// webpki.
pub(super) fn accept(anchors: &[&Certificate], leaf: &Certificate, sent: &[&Certificate]) -> [bool; 2] {
    let webpki = webpki::verify(anchors, leaf, sent, "localhost", OffsetDateTime::now_utc());
    [verify(anchors, leaf, sent).is_ok(), webpki.is_ok()]
}

pub(super) fn verify(anchors: &[&Certificate], leaf: &Certificate, sent: &[&Certificate]) -> Result<(), String> {
    super::openssl::verify(anchors, leaf, sent, OffsetDateTime::now_utc())
}
