//! The bucket of whoever audits, to which statements are copied. Under object lock, nobody can replace a copy or delete it.
//!
//! Two headers and one call do not need the S3 SDK, which is the largest of all.

use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use backon::{ExponentialBuilder, Retryable};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rootcast_ledger::Misconfigured;
use rootcast_pki::fingerprint::Fingerprint;
use thiserror::Error;
use tokio::time::timeout;

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSES: ExponentialBuilder =
    ExponentialBuilder::new().with_min_delay(Duration::from_millis(100)).with_max_times(2);

type Source = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Error)]
pub enum BucketError {
    /// `code`: S3's own word for it.
    #[error(
        "S3 answered {status} {code} to {object}: the bucket has to be in this region, and its policy has to permit s3:PutObject"
    )]
    Refused { status: u16, code: String, object: String },
    #[error("{object} could not be sent: {source}")]
    Unsent { object: String, source: Source },
}

impl BucketError {
    /// Whether the same request may succeed later.
    fn passes(&self) -> bool {
        match self {
            // 409: another one is putting the same object.
            Self::Refused { status, .. } => matches!(status, 409 | 429 | 500..),
            Self::Unsent { .. } => true,
        }
    }
}

pub struct Bucket {
    pub http: SharedHttpConnector,
    pub credentials: SharedCredentialsProvider,
    pub region: String,
    /// What an object's name is appended to.
    pub address: String,
}

impl Bucket {
    /// The bucket's folder for this stack.
    /// `suffix`: the end of AWS's names in this partition, like amazonaws.com.
    pub fn of(config: &SdkConfig, bucket: &str, suffix: &str, stack: &str) -> Result<Self, Misconfigured> {
        let region = config.region().ok_or(Misconfigured("AWS_REGION"))?.to_string();
        let credentials = config.credentials_provider().ok_or(Misconfigured("AWS_ACCESS_KEY_ID"))?;
        let endpoint = std::env::var("AWS_ENDPOINT_URL_S3").ok();
        let host = match endpoint.as_deref().or(config.endpoint_url()) {
            Some(endpoint) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
            None => format!("https://{bucket}.s3.{region}.{suffix}"),
        };
        let tls = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
        Ok(Self {
            http: SharedHttpConnector::new(Connector::builder().tls_provider(tls).build()),
            credentials,
            address: format!("{host}/rootcast/{region}/{stack}/heads/"),
            region,
        })
    }

    /// Puts an object of this name, unless there is one. One call, and at most two more.
    pub async fn put(&self, name: &str, content: &str) -> Result<(), BucketError> {
        let object = format!("{}{name}", self.address);
        let attempt = async || {
            let unsent = |source| BucketError::Unsent { object: object.clone(), source };
            let answer = timeout(ATTEMPT_TIMEOUT, self.ask(&object, content)).await;
            let (status, code) = answer.map_err(Source::from).flatten().map_err(unsent)?;
            // 412: it is there.
            let done = matches!(status, 200..300 | 412);
            if done { Ok(()) } else { Err(BucketError::Refused { status, code, object: object.clone() }) }
        };
        attempt.retry(PAUSES).when(BucketError::passes).await
    }

    async fn ask(&self, object: &str, content: &str) -> Result<(u16, String), Source> {
        let credentials = self.credentials.provide_credentials().await?;
        let request = signed(object, content, credentials, &self.region, SystemTime::now())?;
        let answer = self.http.call(request).await?;
        let status = answer.status().as_u16();
        // Nothing else of the answer is told: it may repeat the request's signature.
        let body = aws_smithy_types::byte_stream::ByteStream::new(answer.into_body()).collect().await?.into_bytes();
        let text = String::from_utf8_lossy(&body);
        let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
        Ok((status, code.map_or_else(String::new, |(code, _)| code.to_owned())))
    }
}

/// The request to put this object, unless there is one.
fn signed(
    object: &str,
    content: &str,
    credentials: Credentials,
    region: &str,
    now: SystemTime,
) -> Result<HttpRequest, Source> {
    let checksum = BASE64_STANDARD.encode(Fingerprint::of(content.as_bytes()).as_bytes());
    // S3 takes nothing without a checksum into a bucket with object lock.
    let headers = [("if-none-match", "*"), ("x-amz-checksum-sha256", checksum.as_str())];
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    let identity = credentials.into();
    let params = SigningParams::builder().identity(&identity).region(region).name("s3").time(now).settings(settings);
    let body = SignableBody::Bytes(content.as_bytes());
    let signable = SignableRequest::new("PUT", object, headers.into_iter(), body)?;
    let (instructions, _) = sign(signable, &params.build()?.into())?.into_parts();
    let mut request = HttpRequest::new(SdkBody::from(content));
    request.set_method("PUT")?;
    request.set_uri(object)?;
    for (name, value) in headers.into_iter().chain(instructions.headers()) {
        request.headers_mut().try_insert(name.to_owned(), value.to_owned())?;
    }
    Ok(request)
}
