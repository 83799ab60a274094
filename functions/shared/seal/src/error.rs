//! What sealing and opening fail with.

use std::error::Error;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use rootcast_kms::{Kind, KmsError};
use thiserror::Error;

/// No variant contains any part of a secret.
#[derive(Debug, Error)]
pub enum SealError {
    #[error("the secret does not belong here: it was sealed for another record or under another key, or was changed")]
    Foreign,
    #[error(transparent)]
    Kms(KmsError),
    #[error("{operation} answered without {field}")]
    Incomplete { operation: &'static str, field: &'static str },
    #[error("AES-256-GCM could not encrypt")]
    Cipher,
}

impl SealError {
    /// Whether a later retry may succeed. The SDK's own retries are already used up.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Kms(error) if error.is_retryable())
    }
}

/// [Decrypt's errors](https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html#API_Decrypt_Errors) for a
/// data key that was changed, or sealed under another context or another key.
const FOREIGN: [&str; 2] = ["InvalidCiphertextException", "IncorrectKeyException"];

pub(crate) fn failed<E>(operation: &'static str, key: &str, error: SdkError<E>) -> SealError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    if error.code().is_some_and(|code| FOREIGN.contains(&code)) {
        return SealError::Foreign;
    }
    let failed = KmsError::new(operation, Some(key), error);
    SealError::Kms(match failed.kind {
        // This key is no root's: no tag allows its use, and a denial is a failure like any other.
        Kind::Denied => KmsError { kind: Kind::Failed, ..failed },
        _ => failed,
    })
}
