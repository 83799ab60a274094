//! Errors of KMS calls, and whether a retry may help.

use std::error::Error;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::bundle::JwsError;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::root::IssueError;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum VaultError {
    /// The key does not exist, is disabled or pending deletion, or is not a signing key.
    #[error("{operation}: key {key} cannot be used: {reason}")]
    Unusable {
        operation: &'static str,
        key: String,
        /// KMS does not know the key. Temporary for a key that was just created.
        unknown: bool,
        reason: String,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Neither a policy nor, for a new key, its tags allow the call.
    #[error("{operation}: key {key} may not be used: {reason}")]
    Denied {
        operation: &'static str,
        key: String,
        reason: String,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("{operation} failed: {reason}")]
    Call {
        operation: &'static str,
        reason: String,
        retryable: bool,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("{operation} answered without {field}")]
    Incomplete { operation: &'static str, field: &'static str },
    #[error("key {key} is {found}, where {expected:?} for signing is expected")]
    WrongKind { key: String, expected: KeyAlgorithm, found: String },
    #[error("key {key} is not the key of certificate {certificate}")]
    Differs { key: String, certificate: Fingerprint },
    #[error("the certificate is refused: {0}")]
    Issue(#[from] IssueError),
    #[error("the bundle's signature is refused: {0}")]
    Bundle(#[from] JwsError),
}

impl VaultError {
    /// Whether a later retry may succeed: a throttle, a fault inside KMS, a timeout, a lost connection. The SDK's own
    /// retries are already used up (CreateKey has none).
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Call { retryable: true, .. })
    }

    /// Whether a key that was just created may become usable: KMS's hosts learn of it, and of its tags, with a delay.
    /// AWS names [up to five minutes](https://docs.aws.amazon.com/kms/latest/developerguide/tag-authorization.html)
    /// for the tags.
    pub fn may_be_too_early(&self) -> bool {
        matches!(self, Self::Unusable { unknown: true, .. } | Self::Denied { .. })
    }
}

/// Transient errors of [KMS](https://docs.aws.amazon.com/kms/latest/developerguide/throttling.html) and the tagging
/// API. `LimitExceededException` is a quota and not transient.
const TRANSIENT: [&str; 7] = [
    "ThrottlingException",
    "ThrottledException",
    "KMSInternalException",
    "DependencyTimeoutException",
    "KeyUnavailableException",
    "InternalServiceException",
    "PaginationTokenExpiredException",
];

/// [Key states](https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html) and key usages that make KMS
/// refuse a call.
const UNUSABLE: [&str; 4] =
    ["NotFoundException", "DisabledException", "KMSInvalidStateException", "InvalidKeyUsageException"];

pub(crate) fn failed<E>(operation: &'static str, key: Option<&str>, error: SdkError<E>) -> VaultError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let code = error.code().unwrap_or_default().to_owned();
    let reason = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    };
    if let Some(key) = key.filter(|_| UNUSABLE.contains(&code.as_str())) {
        let unknown = code == "NotFoundException";
        return VaultError::Unusable { operation, key: key.to_owned(), unknown, reason, source: error.into() };
    }
    if let Some(key) = key.filter(|_| code == "AccessDeniedException") {
        return VaultError::Denied { operation, key: key.to_owned(), reason, source: error.into() };
    }
    let retryable = match &error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        SdkError::ServiceError(answer) => TRANSIENT.contains(&code.as_str()) || answer.raw().status().is_server_error(),
        _ => false,
    };
    VaultError::Call { operation, reason, retryable, source: error.into() }
}
