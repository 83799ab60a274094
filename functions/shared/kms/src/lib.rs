//! What a call of KMS or of the tagging API fails with, and whether a retry may help.
//!
//! Makes no call: a dependency on this crate is no permission. `rootcast-vault` and `rootcast-seal` make them.

use std::error::Error;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use thiserror::Error;

/// Never contains what was sent.
#[derive(Debug, Error)]
#[error("{operation}{}: {reason}", .kind.text(.key))]
pub struct KmsError {
    pub operation: &'static str,
    /// The key that the call uses; empty if it uses none.
    pub key: String,
    pub kind: Kind,
    /// The service's code and message.
    pub reason: String,
    pub source: Box<dyn Error + Send + Sync>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// KMS does not know the key. Temporary for a key that was just created.
    Unknown,
    /// The key is disabled, and could be enabled.
    Disabled,
    /// The key is pending deletion, or has another usage.
    Unusable,
    /// Neither a policy nor, for a new key, its tags allow the call.
    Denied,
    /// A throttle, a fault inside KMS, a timeout, a lost connection. The SDK's own retries are already used up.
    Passing,
    /// Any other failure, and any refusal of a call without a key.
    Failed,
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

impl KmsError {
    /// `key`: the key that the call uses, if any.
    pub fn new<E>(operation: &'static str, key: Option<&str>, error: SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let reason = match (error.code(), error.message()) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            (None, _) => error.to_string(),
        };
        let kind = Kind::of(key.is_some(), &error);
        Self { operation, key: key.unwrap_or_default().to_owned(), kind, reason, source: error.into() }
    }

    /// Whether the key cannot be used, whoever asks.
    pub const fn is_unusable(&self) -> bool {
        matches!(self.kind, Kind::Unknown | Kind::Disabled | Kind::Unusable)
    }

    /// Whether a later retry may succeed.
    pub const fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::Passing)
    }
}

impl Kind {
    fn of<E: ProvideErrorMetadata>(uses_key: bool, error: &SdkError<E>) -> Self {
        match error.code().unwrap_or_default() {
            "NotFoundException" if uses_key => return Self::Unknown,
            // [Key states](https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html) and key usages that
            // make KMS refuse a call. A key that is pending deletion may be refused by either code.
            "DisabledException" if uses_key && !is_pending_deletion(error) => return Self::Disabled,
            "DisabledException" | "KMSInvalidStateException" | "InvalidKeyUsageException" if uses_key => {
                return Self::Unusable;
            }
            "AccessDeniedException" if uses_key => return Self::Denied,
            code if TRANSIENT.contains(&code) => return Self::Passing,
            _ => {}
        }
        match error {
            SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => Self::Passing,
            SdkError::ServiceError(answer) if answer.raw().status().is_server_error() => Self::Passing,
            _ => Self::Failed,
        }
    }

    fn text(self, key: &str) -> String {
        match self {
            Self::Unknown | Self::Disabled | Self::Unusable => format!(": key {key} cannot be used"),
            Self::Denied => format!(": key {key} may not be used"),
            Self::Passing | Self::Failed => " failed".to_owned(),
        }
    }
}

/// KMS says `DisabledException: ARN is disabled.` of one, and `DisabledException: ARN is pending deletion.` of the other.
fn is_pending_deletion<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    error.message().is_some_and(|message| message.contains(" is pending "))
}
