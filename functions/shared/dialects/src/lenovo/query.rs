//! A query, parsed before the handler runs.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use rootcast_gate::{Parameter, Reads, fields, names};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::LenovoError;

/// The parameters of a route of our own API, in one or two types. Others are refused: a misspelt filter would show everything.
#[derive(Debug)]
pub struct Params<A, B = NoMore>(pub A, pub B);

/// Those of the vendor's routes. Others are ignored, as the vendors' clients need it.
#[derive(Debug)]
pub struct Loose<A, B = NoMore>(pub A, pub B);

/// Reads nothing further.
#[derive(Debug, Default, Deserialize)]
pub struct NoMore {}

impl<A: DeserializeOwned, B: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<A, B> {
    type Rejection = LenovoError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, LenovoError> {
        let known = Self::parameters();
        let query = parts.uri.query().unwrap_or_default();
        for (name, _) in form_urlencoded::parse(query.as_bytes()) {
            if known.iter().all(|parameter| parameter.name != name) {
                return Err(LenovoError::invalid(
                    format!("There is no parameter {name:.64}."),
                    format!("The parameters are {}.", names(&known)),
                ));
            }
        }
        Ok(Self(parse(parts)?, parse(parts)?))
    }
}

impl<A: DeserializeOwned, B: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Loose<A, B> {
    type Rejection = LenovoError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, LenovoError> {
        Ok(Self(parse(parts)?, parse(parts)?))
    }
}

impl<A: DeserializeOwned, B: DeserializeOwned> Reads for Params<A, B> {
    fn parameters() -> Vec<Parameter> {
        [fields::<A>(), fields::<B>()].concat()
    }
}

impl<A: DeserializeOwned, B: DeserializeOwned> Reads for Loose<A, B> {
    fn parameters() -> Vec<Parameter> {
        [fields::<A>(), fields::<B>()].concat()
    }
}

fn parse<T: DeserializeOwned>(parts: &Parts) -> Result<T, LenovoError> {
    let query = Query::<T>::try_from_uri(&parts.uri).map_err(|why: QueryRejection| {
        LenovoError::invalid(format!("{}.", why.body_text()), "Correct the query and send the request again.")
    })?;
    Ok(query.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use http::Request;

    use super::*;
    use crate::answer::Dialect;

    #[derive(Debug, Deserialize)]
    struct Page {
        limit: Option<u32>,
    }

    #[derive(Debug, Deserialize)]
    struct Filter {
        state: Option<String>,
    }

    fn parts(query: &str) -> Parts {
        Request::get(format!("/devices?{query}")).body(()).unwrap().into_parts().0
    }

    #[tokio::test]
    async fn an_unknown_parameter_is_refused_by_name() {
        let of = async |query: &str| {
            let Params(page, filter) = Params::<Page, Filter>::from_request_parts(&mut parts(query), &()).await?;
            Ok::<_, LenovoError>((page.limit, filter.state))
        };
        assert_eq!(of("").await.unwrap(), (None, None));
        assert_eq!(of("limit=1&state=pending").await.unwrap(), (Some(1), Some("pending".to_owned())));
        let refused = of("limit=1&stat=pending").await.unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.text()), (400, "There is no parameter stat."));
        assert_eq!(refused.refusal().recovery(), "The parameters are limit, state.");
        assert_eq!(of("limit=x").await.unwrap_err().status(), 400);
    }

    #[tokio::test]
    async fn a_vendors_client_may_send_more() {
        let Loose(page, _) = Loose::<Page>::from_request_parts(&mut parts("limit=1&x=2"), &()).await.unwrap();
        assert_eq!(page.limit, Some(1));
    }
}
