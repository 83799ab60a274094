//! Huawei Cloud's Certificate Manager (SCM v3).
//!
//! Source: the models of PyPI `huaweicloudsdkscm` 3.1.219.

pub mod certificate;
mod error;
pub mod import;
pub mod list;
mod refusal;

use axum::extract::{FromRequest, Request};
use rootcast_gate::{BODY_LIMIT, json};
use serde::de::DeserializeOwned;

pub use error::{HuaweiError, report};
pub use refusal::{checks_failed, not_stored};

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = HuaweiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, HuaweiError> {
        Ok(Self(json(request, BODY_LIMIT).await?))
    }
}
