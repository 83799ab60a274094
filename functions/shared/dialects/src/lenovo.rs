//! Lenovo XClarity Administrator's API, and our own, which uses the same envelope.

mod envelope;
mod error;
pub mod jobs;
mod query;
mod root_query;
mod trusted;

use axum::extract::{FromRequest, Request};
use rootcast_gate::{BODY_LIMIT, Reads, json};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use envelope::{Envelope, Message, Recovery, ResultKind};
pub use error::{LenovoError, report};
pub use query::{Loose, NoMore, Params};
pub use root_query::{Compromised, KEY_COMPROMISE, RootQuery};
pub use trusted::NewTrusted;

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = LenovoError;

    async fn from_request(request: Request, _: &S) -> Result<Self, LenovoError> {
        Ok(Self(json(request, BODY_LIMIT).await?))
    }
}

impl<T> Reads for Body<T> {}

/// Product and version. `pylxca` requests it right after its login, and accepts any object.
#[derive(Debug, Serialize)]
pub struct About {
    name: &'static str,
    version: &'static str,
}

impl About {
    pub const THIS: Self = Self { name: "Rootcast", version: env!("CARGO_PKG_VERSION") };
}
