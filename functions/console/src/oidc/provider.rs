//! The calls of a sign-in: of the provider, and of our own API with the provider's token.

use std::error::Error as StdError;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tracing::error;

use super::{Oidc, broken};
use crate::api::{Told, told};

/// Of each call: three of them, and what is around them, end before the function does.
const LIMIT: Duration = Duration::from_secs(8);

type Source = Box<dyn StdError + Send + Sync>;

/// What the provider publishes about itself: OpenID Connect Discovery 1.0 §3.
#[derive(Deserialize)]
pub(super) struct Provider {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

impl Provider {
    pub(super) async fn found(oidc: &Oidc, http: &SharedHttpConnector) -> Result<Self, Told> {
        let issuer = oidc.issuer.as_str();
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let found: Self = asked(http, "GET", &url, None).await?;
        // Over plain HTTP only if the issuer is named so. A fragment would hide what is asked.
        let is_fit = |url: &String| {
            let is_safe = url.starts_with("https://") || issuer.starts_with("http://") && url.starts_with("http://");
            is_safe && !url.contains('#')
        };
        let is_its_own = found.issuer == issuer;
        if is_its_own && [&found.authorization_endpoint, &found.token_endpoint].into_iter().all(is_fit) {
            return Ok(found);
        }
        error!(issuer, "the provider's configuration is of another issuer, or its addresses are not https");
        Err(unfit())
    }

    pub(super) fn authorization(&self, asked: &[(&str, String)]) -> String {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(asked).finish();
        let between = if self.authorization_endpoint.contains('?') { '&' } else { '?' };
        format!("{}{between}{query}", self.authorization_endpoint)
    }

    /// The ID token that the provider gives for the code, once.
    pub(super) async fn token(&self, form: &[(&str, &str)], http: &SharedHttpConnector) -> Result<String, Told> {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        asked::<Tokens>(http, "POST", &self.token_endpoint, Some(form)).await.map(|tokens| tokens.id_token)
    }
}

/// The cookies of the session that our own API begins for the token, once API Gateway has verified it.
pub(super) async fn session(host: &str, token: &str, http: &SharedHttpConnector) -> Result<Vec<String>, Told> {
    let url = format!("https://{host}/sessions/oidc?as=session");
    let headers = [("authorization", format!("Bearer {token}"))];
    let (status, cookies, body) = sent(http, "POST", &url, &headers, String::new()).await.map_err(|why| {
        error!(error = %why, "the API got no token to begin a session for");
        broken("The API did not answer.", StatusCode::SERVICE_UNAVAILABLE)
    })?;
    let body = String::from_utf8_lossy(&body);
    match StatusCode::from_u16(status) {
        Ok(StatusCode::OK) => Ok(cookies),
        // The identity is nobody's, which the API says with what to do.
        Ok(StatusCode::FORBIDDEN) => Err(told(&body, StatusCode::FORBIDDEN)),
        _ => {
            error!(status, "API Gateway does not take the provider's token");
            Err(broken("The provider's token is not taken.", StatusCode::UNAUTHORIZED))
        }
    }
}

async fn asked<T: DeserializeOwned>(
    http: &SharedHttpConnector,
    method: &'static str,
    url: &str,
    form: Option<String>,
) -> Result<T, Told> {
    let kind = form.as_ref().map(|_| ("content-type", "application/x-www-form-urlencoded".to_owned()));
    let headers: Vec<_> = kind.into_iter().chain([("accept", "application/json".to_owned())]).collect();
    let (status, _, body) = sent(http, method, url, &headers, form.unwrap_or_default()).await.map_err(|why| {
        error!(error = %why, url, "the OpenID provider does not answer");
        unfit()
    })?;
    match serde_json::from_slice(&body) {
        Ok(told) if status == 200 => Ok(told),
        // Its text may repeat what it was asked.
        _ => {
            error!(status, url, "the OpenID provider refuses");
            Err(unfit())
        }
    }
}

async fn sent(
    http: &SharedHttpConnector,
    method: &'static str,
    url: &str,
    headers: &[(&'static str, String)],
    body: String,
) -> Result<(u16, Vec<String>, Vec<u8>), Source> {
    let mut request = HttpRequest::new(SdkBody::from(body));
    request.set_method(method)?;
    request.set_uri(url)?;
    for (name, value) in headers {
        request.headers_mut().try_insert(*name, value.clone())?;
    }
    let whole = async {
        let answer: HttpResponse = http.call(request).await?;
        let status = answer.status().as_u16();
        let cookies = answer.headers().get_all("set-cookie").map(str::to_owned).collect();
        let body = ByteStream::new(answer.into_body()).collect().await?.to_vec();
        Ok::<_, Source>((status, cookies, body))
    };
    timeout(LIMIT, whole).await?
}

fn unfit() -> Told {
    broken("The OpenID provider did not answer as it should.", StatusCode::BAD_GATEWAY)
}
