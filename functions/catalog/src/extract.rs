//! What a request carries, parsed before a handler sees it. Every refusal is the API's own.

use std::str::FromStr;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::request::Parts;
use rootcast_gate::{ApiError, BODY_LIMIT, media_type, parse_json, read};
use serde::de::DeserializeOwned;

/// The query. Parameters that a route does not know are passed over.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::from_request_parts(parts, state).await.map_err(|why: QueryRejection| {
            ApiError::invalid(format!("{}.", why.body_text()), "Correct the query and send the request again.")
        })?;
        Ok(Self(query.0))
    }
}

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        media_type(request.headers(), &["application/json"])?;
        Ok(Self(parse_json(&read(request.into_body(), BODY_LIMIT).await?)?))
    }
}

/// The id in the path. What cannot be an id names nothing.
pub(crate) struct Id<T>(pub(crate) T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let named = Path::<String>::from_request_parts(parts, state).await.ok();
        let id = named.and_then(|Path(text)| text.parse().ok());
        id.map(Self).ok_or_else(|| ApiError::not_found("There is nothing of that id.", "Correct the id in the path."))
    }
}
