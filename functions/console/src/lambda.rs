//! Calls to the API's functions, with the event that API Gateway would send.
//!
//! One call does not need the Lambda SDK.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use lambda_http::Error;
use serde_json::Value;
use thiserror::Error as ThisError;
use tokio::time::timeout;

/// The function has 29 s, as each that it calls; what is left is for the page that says so.
const LIMIT: Duration = Duration::from_secs(27);
/// The header of an answer that the function's own code did not give.
const FAILED: &str = "x-amz-function-error";

type Source = Box<dyn StdError + Send + Sync>;

#[derive(Debug, ThisError)]
pub(crate) enum Unanswered {
    /// 429: the account's concurrency, or the function's, is used up.
    #[error("Lambda answered {status} to a call of {function}")]
    Refused { status: u16, function: String },
    #[error("{function} could not be called: {source}")]
    Unsent { function: String, source: Source },
}

pub struct Lambda {
    pub http: SharedHttpConnector,
    pub credentials: SharedCredentialsProvider,
    pub region: String,
    /// Without a slash at its end.
    pub endpoint: String,
}

impl Lambda {
    /// `suffix`: the end of AWS's names in this partition, like amazonaws.com.
    pub fn of(config: &SdkConfig, suffix: &str) -> Result<Self, Error> {
        let region = config.region().ok_or("the environment variable AWS_REGION is missing")?.to_string();
        let endpoint = match config.endpoint_url() {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://lambda.{region}.{suffix}"),
        };
        let tls = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
        Ok(Self {
            http: SharedHttpConnector::new(Connector::builder().tls_provider(tls).build()),
            credentials: config.credentials_provider().ok_or("there are no AWS credentials")?,
            region,
            endpoint,
        })
    }

    /// The function's answer. Never sent twice: it is not known whether a call that failed was carried out.
    pub(crate) async fn invoke(&self, function: &str, event: &Value) -> Result<Value, Unanswered> {
        let unsent = |source| Unanswered::Unsent { function: function.to_owned(), source };
        let asked = timeout(LIMIT, self.ask(function, event.to_string())).await;
        let (status, body) = asked.map_err(Source::from).flatten().map_err(unsent)?;
        if status != 200 {
            return Err(Unanswered::Refused { status, function: function.to_owned() });
        }
        serde_json::from_slice(&body).map_err(Source::from).map_err(unsent)
    }

    async fn ask(&self, function: &str, event: String) -> Result<(u16, Vec<u8>), Source> {
        let credentials = self.credentials.provide_credentials().await?;
        let url = format!("{}/2015-03-31/functions/{function}/invocations", self.endpoint);
        let request = signed(&url, event, credentials, &self.region, SystemTime::now())?;
        let answer = self.http.call(request).await?;
        // Its text may repeat what the function was asked.
        let status = if answer.headers().contains_key(FAILED) { 502 } else { answer.status().as_u16() };
        Ok((status, ByteStream::new(answer.into_body()).collect().await?.to_vec()))
    }
}

fn signed(
    url: &str,
    event: String,
    credentials: Credentials,
    region: &str,
    now: SystemTime,
) -> Result<HttpRequest, Source> {
    let identity = credentials.into();
    let params = SigningParams::builder().identity(&identity).region(region).name("lambda").time(now);
    let params = params.settings(SigningSettings::default()).build()?.into();
    let signable = SignableRequest::new("POST", url, std::iter::empty(), SignableBody::Bytes(event.as_bytes()))?;
    let (instructions, _) = sign(signable, &params)?.into_parts();
    let mut request = HttpRequest::new(SdkBody::from(event));
    request.set_method("POST")?;
    request.set_uri(url)?;
    for (name, value) in instructions.headers() {
        request.headers_mut().try_insert(name.to_owned(), value.to_owned())?;
    }
    Ok(request)
}
