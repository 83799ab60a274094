//! Lenovo XClarity Administrator's API, and our own, which has the same envelope.

mod envelope;
mod error;

use axum::extract::{FromRequest, Request};
use rootcast_gate::{BODY_LIMIT, json};
use serde::de::DeserializeOwned;

pub use envelope::{Envelope, Message, Recovery, ResultKind};
pub use error::{LenovoError, report};

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = LenovoError;

    async fn from_request(request: Request, _: &S) -> Result<Self, LenovoError> {
        Ok(Self(json(request, BODY_LIMIT).await?))
    }
}
