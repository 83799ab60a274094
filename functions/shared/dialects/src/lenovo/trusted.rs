//! The body of `POST /trustedCertificates`.

use rootcast_core::anchors::MOST;
use rootcast_pki::anchor::anchors;
use rootcast_pki::certificate::Certificate;
use serde::Deserialize;
use time::OffsetDateTime;

use super::LenovoError;

/// Source: <https://pubs.lenovo.com/lxca_scripting/rest_api_trustedcertificates_post>
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTrusted {
    /// PEM: one certificate, or several.
    certificate: String,
}

impl NewTrusted {
    /// # Errors
    /// 400, with the first certificate that cannot be a trust anchor, and why.
    pub fn anchors(&self, now: OffsetDateTime) -> Result<Vec<Certificate>, LenovoError> {
        anchors(&self.certificate, MOST, now).map_err(|why| {
            LenovoError::invalid(
                format!("Nothing is added: {why}."),
                "Give the root certificate of each authority that the devices are to trust, in PEM, without anything else.",
            )
        })
    }
}
