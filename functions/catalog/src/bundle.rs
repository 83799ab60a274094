//! The bundle for devices that fetch it themselves: signed (`/bundle`), and in EST's form (`/cacerts`).
//!
//! Neither needs a token: the content is public. `/bundle` costs at most two reads of one item; `/cacerts` costs
//! three: the authority's record, the roots, the issuing authorities. A client that has the answer already costs one.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, StatusCode};
use rootcast_dialects::lenovo::LenovoError;
use rootcast_gate::Kind;
use rootcast_ledger::{Authority, BundleRecord};
use rootcast_pki::hierarchy::Hierarchy;
use rootcast_pki::pkcs7::certs_only;

use crate::app::App;

/// For a minute a device may still get the previous version; a device never goes back to an older one.
pub(crate) const CACHE: &str = "public, max-age=60";
/// HTTP has no such header, but RFC 7030 §4.1.3 shows it and older clients look for it (erratum 5107).
const TRANSFER_ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");

/// `GET /bundle`: a JWS that a holder of any live root can verify.
pub(crate) async fn signed(State(app): State<App>, headers: HeaderMap) -> Result<Response, LenovoError> {
    match published(&app, &headers).await? {
        Published::None => Err(LenovoError::not_found(
            "No bundle is published yet.",
            "Ask for the first root with PUT /signingCertificate.",
        )),
        Published::Seen(tag) => Ok(not_modified(tag)),
        Published::Bundle(_, record) if record.is_unsigned() => Err(LenovoError::not_found(
            format!(
                "Bundle {} has no signature: the KMS keys of all its roots are disabled or gone.",
                record.bundle.version
            ),
            "The workers bring it to the devices. Enable a root's key and ask for a new root, whose bundle is signed again.",
        )),
        Published::Bundle(tag, record) => {
            let headers =
                [(CONTENT_TYPE, "application/jose+json".to_owned()), (ETAG, tag), (CACHE_CONTROL, CACHE.to_owned())];
            Ok((headers, record.jws).into_response())
        }
    }
}

/// `GET /.well-known/est/cacerts` (RFC 7030 §4.1.3): the live roots; the links between them, OldWithNew and NewWithOld; and
/// the issuing authorities, since a client that was issued a certificate needs what leads to its root. Only what is signed
/// by itself is an anchor, as the RFC says. RFC 8951 §3.1: base64 without line breaks.
pub(crate) async fn cacerts(State(app): State<App>, headers: HeaderMap) -> Response {
    let answer = match published_authorities(&app, &headers).await {
        Ok(Authorities::None) => {
            let text = "No root is published yet: an operator asks for the first one.\n";
            return (StatusCode::NOT_FOUND, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response();
        }
        Ok(Authorities::Seen(tag)) => return not_modified(tag),
        Ok(Authorities::All(tag, all)) => {
            let certificates = all.roots().chain(all.links()).chain(all.issuing());
            certs_only(certificates).map(|pkcs7| (tag, pkcs7)).map_err(LenovoError::internal)
        }
        Err(error) => Err(error),
    };
    match answer {
        Ok((tag, pkcs7)) => {
            let headers = [
                (CONTENT_TYPE, "application/pkcs7-mime; smime-type=certs-only".to_owned()),
                (TRANSFER_ENCODING, "base64".to_owned()),
                (ETAG, tag),
                (CACHE_CONTROL, CACHE.to_owned()),
            ];
            (headers, STANDARD.encode(pkcs7)).into_response()
        }
        Err(error) => error.into_response(),
    }
}

enum Authorities {
    None,
    Seen(String),
    All(String, Hierarchy),
}

/// Links are made by the activation of a root, before it signs; an issuing authority before it signs.
async fn published_authorities(app: &App, headers: &HeaderMap) -> Result<Authorities, LenovoError> {
    let ledger = &app.parts().await?.ledger;
    let authority = ledger.authority().await?;
    if authority.bundle == 0 {
        return Ok(Authorities::None);
    }
    // Whatever changes the answer changes the authority's record too: also the revocation of an issuing authority.
    let tag = format!("\"pkcs7-{}-{}\"", authority.bundle, authority.revision);
    if is_known(headers, &tag) {
        return Ok(Authorities::Seen(tag));
    }
    Ok(Authorities::All(tag, ledger.hierarchy(&authority).await?))
}

enum Published {
    None,
    /// The caller has this version already.
    Seen(String),
    Bundle(String, Box<BundleRecord>),
}

/// Version and end identify an answer.
async fn published(app: &App, headers: &HeaderMap) -> Result<Published, LenovoError> {
    let ledger = &app.parts().await?.ledger;
    let Authority { bundle: version, bundle_expires, .. } = ledger.authority().await?;
    if version == 0 {
        return Ok(Published::None);
    }
    let tag = match bundle_expires {
        Some(exp) => format!("\"jws-{version}-{}\"", exp.unix_timestamp()),
        None => format!("\"jws-{version}\""),
    };
    if is_known(headers, &tag) {
        return Ok(Published::Seen(tag));
    }
    match ledger.bundle(version).await? {
        Some(record) => Ok(Published::Bundle(tag, Box::new(record))),
        None => Err(LenovoError::new(
            Kind::Internal,
            "The published bundle is missing.",
            "Tell whoever runs this deployment.",
        )),
    }
}

pub(crate) fn not_modified(tag: String) -> Response {
    (StatusCode::NOT_MODIFIED, [(ETAG, tag), (CACHE_CONTROL, CACHE.to_owned())]).into_response()
}

/// RFC 9110 §13.1.2, with the weak comparison of §8.8.3.2.
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let listed = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = listed.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn etags_are_compared_weakly() {
        let known =
            |value| is_known(&HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(value))]), "\"jws-3\"");
        assert!(known("\"jws-3\"") && known("W/\"jws-3\"") && known("\"a\", \"jws-3\"") && known("*"));
        assert!(!known("\"jws-2\"") && !known("jws-3") && !known("") && !known("\"pkcs7-3\""));
        assert!(!is_known(&HeaderMap::new(), "\"jws-3\""));
    }
}
