//! The parts of a request, parsed before a handler runs. Every refusal has the API's own form.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use rootcast_dialects::lenovo::LenovoError;
use rootcast_gate::Reads;
use serde::Deserialize;

/// `dryRun=true`: the answer says what would be done, and nothing is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Dry {
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// The id in the path. Text that is not a valid id is not found.
pub(crate) struct Id<T>(pub(crate) T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = LenovoError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, LenovoError> {
        let named = Path::<String>::from_request_parts(parts, state).await.ok();
        let id = named.and_then(|Path(text)| text.parse().ok());
        id.map(Self)
            .ok_or_else(|| LenovoError::not_found("There is nothing of that id.", "Correct the id in the path."))
    }
}

impl<T> Reads for Id<T> {}
