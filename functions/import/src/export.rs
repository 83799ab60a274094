//! Export: returns a private key to authorized callers, and records it in the audit chain first.

use std::sync::Arc;

use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rootcast_core::audit::{Act, Action, Outcome, Subject};
use rootcast_dialects::huawei::{HuaweiError, Named, no_such_certificate};
use rootcast_gate::{Principal, RequestId, source};
use rootcast_pki::certificate::Certificate;
use serde::{Serialize, Serializer};
use tracing::info;
use zeroize::Zeroizing;

use crate::App;

/// All fields are PEM, with lines that end in LF.
#[derive(Serialize)]
pub(crate) struct Exported {
    /// `certificate` and `certificate_chain`.
    entire_certificate: String,
    certificate: String,
    /// Starts with the leaf's issuer; empty if one of our own roots issued the leaf.
    certificate_chain: String,
    /// PKCS #8.
    #[serde(serialize_with = "text")]
    private_key: Zeroizing<String>,
}

/// Six calls: GetItem of the record, two for the entry in its audit chain and, once that is written, Decrypt; two for
/// the outcome. The entries say to which address the key goes. Expired certificates can be exported too: data that was
/// encrypted to them must remain readable.
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    parts: Parts,
    Named(id): Named,
) -> Result<([(HeaderName, HeaderValue); 1], Json<Exported>), HuaweiError> {
    let record = app.ledger.certificate(id).await?.filter(|record| caller.sees(&record.dn()));
    let record = record.ok_or_else(no_such_certificate)?;
    let sealed = record.key.as_ref().ok_or_else(|| {
        HuaweiError::invalid("The private key of this certificate was made by its device and never left it.")
    })?;
    let act = Act::new(Subject::Certificate(id), Action::Export, &caller.acting(&request), (app.clock)());
    let act = act.with("dn", record.dn()).with("leaf", record.leaf.fingerprint());
    let act = act.with("to", source(&parts)).came_to(Outcome::Begun);
    app.ledger.audit(&act).await?;
    info!(caller = caller.name, certificate.id = %id, certificate.dn = record.dn(), "private key exported");
    let key = match app.sealer.open(&record.seal_context(), sealed).await {
        Ok(key) => key,
        Err(error) => {
            app.ledger.audit(&act.came_to(Outcome::Failed)).await?;
            return Err(error.into());
        }
    };
    // The key leaves with this answer. If this entry fails, `begun` alone still counts as done.
    app.ledger.audit(&act.came_to(Outcome::Done)).await?;
    let exported = Exported::of(&record.leaf, &record.chain, &key);
    Ok(([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(exported)))
}

impl Exported {
    fn of(leaf: &Certificate, chain: &[Certificate], key: &[u8]) -> Self {
        let certificate = leaf.pem();
        let certificate_chain: String = chain.iter().map(Certificate::pem).collect();
        Self {
            entire_certificate: format!("{certificate}{certificate_chain}"),
            certificate,
            certificate_chain,
            private_key: pem(key),
        }
    }
}

/// `PRIVATE KEY` (RFC 7468 §10). Allocated at once: a growing string leaves copies in memory.
fn pem(pkcs8: &[u8]) -> Zeroizing<String> {
    let lines = pkcs8.len().div_ceil(48);
    let mut pem = Zeroizing::new(String::with_capacity(lines * 65 + 64));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    for line in pkcs8.chunks(48) {
        STANDARD.encode_string(line, &mut pem);
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

fn text<S: Serializer>(text: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_pki::import::{Material, check};
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn an_exported_certificate_can_be_imported_again() {
        let (root_key, key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
        let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let anchor = Certificate::from_der(root.self_signed(&root_key).unwrap().der().to_vec()).unwrap();
        let leaf = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &rcgen::Issuer::new(root, root_key)).unwrap();
        let leaf = Certificate::from_der(leaf.der().to_vec()).unwrap();

        let exported = Exported::of(&leaf, std::slice::from_ref(&anchor), key.serialized_der());
        let sent = Material::Pem {
            certificate: &exported.certificate,
            certificate_chain: Some(&exported.certificate_chain),
            private_key: &exported.private_key,
        };
        let checked = check(&sent, &[], OffsetDateTime::now_utc()).unwrap();
        assert_eq!((&checked.leaf, checked.chain.as_slice()), (&leaf, [anchor].as_slice()));
        assert_eq!(*checked.key.pem(), *exported.private_key);
        assert_eq!(exported.entire_certificate, exported.certificate.clone() + &exported.certificate_chain);
    }
}
