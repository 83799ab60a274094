//! `GET /crl/{generation}/{shard}.crl`: which certificates of ours are revoked, for whoever verifies one. Needs no token:
//! what it holds is public, and each request costs one read.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, Uri};
use rootcast_gate::ApiError;
use rootcast_pki::crl::CrlShard;

use crate::app::App;
use crate::bundle::{CACHE, is_known, not_modified};

/// The one path of a list; what only resembles it is told to nobody without a token.
pub(crate) fn is_path(path: &str) -> bool {
    path.parse::<CrlShard>().is_ok()
}

pub(crate) async fn show(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    let no_list = || {
        ApiError::not_found(
            "There is no such revocation list.",
            "Take the address from the certificate's cRLDistributionPoints; a list is there as soon as a certificate names it.",
        )
    };
    let list: CrlShard = uri.path().parse().map_err(|_| no_list())?;
    let published = app.parts().await?.ledger.crl(list).await?.ok_or_else(no_list)?;
    let tag = format!("\"crl-{}-{}-{}\"", list.generation(), list.shard(), published.number);
    if is_known(&headers, &tag) {
        return Ok(not_modified(tag));
    }
    // RFC 2585 §4.2.
    let headers = [(CONTENT_TYPE, "application/pkix-crl".to_owned()), (ETAG, tag), (CACHE_CONTROL, CACHE.to_owned())];
    Ok((headers, published.crl.der().to_vec()).into_response())
}
