//! Errors of sealing and opening, and whether a retry may help.

use std::error::Error;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use thiserror::Error;

/// No variant contains any part of a secret.
#[derive(Debug, Error)]
pub enum SealError {
    #[error("the secret does not belong here: it was sealed for another record or under another key, or was changed")]
    Foreign,
    /// The key does not exist, is disabled or pending deletion, or is not a symmetric one.
    #[error("{operation}: key {key} cannot be used: {reason}")]
    Unusable {
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
    #[error("AES-256-GCM could not encrypt")]
    Cipher,
}

impl SealError {
    /// Whether a later retry may succeed: a throttle, a fault inside KMS, a timeout, a lost connection. The SDK's own
    /// retries are already used up.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Call { retryable: true, .. })
    }
}

/// [KMS's](https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html#API_Decrypt_Errors) transient errors.
const TRANSIENT: [&str; 4] =
    ["ThrottlingException", "KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException"];

/// [Key states](https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html) and key usages that make KMS
/// refuse a call.
const UNUSABLE: [&str; 4] =
    ["NotFoundException", "DisabledException", "KMSInvalidStateException", "InvalidKeyUsageException"];

/// Decrypt's errors for a data key that was changed, or sealed under another context or another key.
const FOREIGN: [&str; 2] = ["InvalidCiphertextException", "IncorrectKeyException"];

pub(crate) fn failed<E>(operation: &'static str, key: &str, error: SdkError<E>) -> SealError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let code = error.code().unwrap_or_default().to_owned();
    if FOREIGN.contains(&code.as_str()) {
        return SealError::Foreign;
    }
    let reason = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    };
    if UNUSABLE.contains(&code.as_str()) {
        return SealError::Unusable { operation, key: key.to_owned(), reason, source: error.into() };
    }
    let retryable = match &error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        SdkError::ServiceError(answer) => TRANSIENT.contains(&code.as_str()) || answer.raw().status().is_server_error(),
        _ => false,
    };
    SealError::Call { operation, reason, retryable, source: error.into() }
}
