//! Huawei Cloud's Certificate Manager (SCM v3).
//!
//! Source: the models of PyPI `huaweicloudsdkscm` 3.1.219.

pub mod certificate;
mod error;
pub mod import;
pub mod list;
mod refusal;

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use http::request::Parts;
use rootcast_core::inventory::id::CertificateId;
use rootcast_gate::{BODY_LIMIT, Reads, json};
use serde::de::DeserializeOwned;

pub use error::{HuaweiError, report};
pub use refusal::{checks_failed, issuer_revoked, not_stored, root_distrusted};

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = HuaweiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, HuaweiError> {
        Ok(Self(json(request, BODY_LIMIT).await?))
    }
}

impl<T> Reads for Body<T> {}

/// The certificate id in the path.
#[derive(Debug)]
pub struct Named(pub CertificateId);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = HuaweiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HuaweiError> {
        let named = Path::<String>::from_request_parts(parts, state).await.ok();
        named.and_then(|Path(id)| id.parse().ok()).map(Self).ok_or_else(no_such_certificate)
    }
}

impl Reads for Named {}

/// Also for text that is not a certificate id.
pub fn no_such_certificate() -> HuaweiError {
    HuaweiError::not_found("There is no certificate of that id. GET /v3/scm/certificates lists the certificates.")
}
