//! `GET /crl/{signer}/{list}.crl`: which of our certificates are revoked, for anyone who verifies one. Needs no
//! token: the content is public, and each request costs one read.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use rootcast_dialects::lenovo::LenovoError;
use rootcast_pki::crl::CrlId;

use crate::app::App;
use crate::bundle::{CACHE, is_known, not_modified};

/// `list`: parsed from the path before the caller is authenticated. A path that only resembles a list's needs a token.
pub(crate) async fn show(
    State(app): State<App>,
    list: Option<Extension<CrlId>>,
    headers: HeaderMap,
) -> Result<Response, LenovoError> {
    let no_list = || {
        LenovoError::not_found(
            "There is no such revocation list.",
            "Take the address from the certificate's cRLDistributionPoints; a list is there as soon as a certificate names it.",
        )
    };
    let Extension(list) = list.ok_or_else(no_list)?;
    let published = app.parts().await?.ledger.signed_crl(list).await?.ok_or_else(no_list)?;
    let tag = format!("\"{list}-{}\"", published.number);
    if is_known(&headers, &tag) {
        return Ok(not_modified(tag));
    }
    // RFC 2585 §4.2.
    let headers = [(CONTENT_TYPE, "application/pkix-crl".to_owned()), (ETAG, tag), (CACHE_CONTROL, CACHE.to_owned())];
    Ok((headers, published.crl.der().to_vec()).into_response())
}
