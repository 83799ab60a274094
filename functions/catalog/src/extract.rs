//! The parts of a request, parsed before a handler runs. Every refusal has the API's own form.

use std::str::FromStr;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use rootcast_dialects::lenovo::LenovoError;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The query. Parameters that a route does not know are ignored, as the vendors' clients need it: see [`Said`].
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = LenovoError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, LenovoError> {
        let query = Query::<T>::from_request_parts(parts, state).await.map_err(|why: QueryRejection| {
            LenovoError::invalid(format!("{}.", why.body_text()), "Correct the query and send the request again.")
        })?;
        Ok(Self(query.0))
    }
}

/// Every parameter of the query, for the routes of our own API: a misspelt filter would show everything.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Said(Vec<(String, String)>);

impl Said {
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), LenovoError> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => Err(LenovoError::invalid(
                format!("There is no parameter {name}."),
                format!("The parameters are {}.", known.join(", ")),
            )),
        }
    }
}

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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use http::Request;

    use super::*;

    #[tokio::test]
    async fn an_unknown_parameter_is_refused_by_name() {
        let of = async |query: &str| {
            let (mut parts, ()) = Request::get(format!("/devices?{query}")).body(()).unwrap().into_parts();
            let Params(said) = Params::<Said>::from_request_parts(&mut parts, &()).await?;
            said.only(&["limit", "state"])
        };
        assert!(of("").await.is_ok() && of("limit=1&state=pending").await.is_ok());
        let refused = of("limit=1&stat=pending").await.unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.text()), (400, "There is no parameter stat."));
    }
}
