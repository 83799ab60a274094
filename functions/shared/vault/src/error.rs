//! What the vault fails with.

use rootcast_kms::{Kind, KmsError};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::bundle::JwsError;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::root::IssueError;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum VaultError {
    #[error(transparent)]
    Kms(#[from] KmsError),
    #[error("{operation} answered without {field}")]
    Incomplete { operation: &'static str, field: &'static str },
    #[error("key {key} is {found}, where {expected:?} for signing is expected")]
    WrongKind { key: String, expected: KeyAlgorithm, found: String },
    #[error("key {key} is not the key of certificate {certificate}")]
    Differs { key: String, certificate: Fingerprint },
    /// Somebody else named a key so: nothing is signed, since the key that signs would not be protected.
    #[error("{alias} is the name of another key than {key}")]
    Named { alias: String, key: String },
    #[error("the certificate is refused: {0}")]
    Issue(#[from] IssueError),
    #[error("the bundle's signature is refused: {0}")]
    Bundle(#[from] JwsError),
    #[error("the statement's signature is refused: {0}")]
    Notarised(#[source] JwsError),
}

impl VaultError {
    /// Whether the key does not exist, is disabled or pending deletion, or is not a signing key.
    pub fn is_unusable(&self) -> bool {
        matches!(self, Self::Kms(error) if error.is_unusable())
    }

    /// Whether the key is disabled, and can sign again once it is enabled. False of a key that is pending deletion or gone.
    pub fn is_disabled(&self) -> bool {
        matches!(self, Self::Kms(KmsError { kind: Kind::Disabled, .. }))
    }

    /// Whether neither a policy nor, for a new key, its tags allow the call.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Kms(KmsError { kind: Kind::Denied, .. }))
    }

    /// Whether a later retry may succeed. The SDK's own retries are already used up (CreateKey has none).
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Kms(error) if error.is_retryable())
    }

    /// Whether a key that was just created may become usable: KMS's hosts learn of it, and of its tags, with a delay.
    /// AWS names [up to five minutes](https://docs.aws.amazon.com/kms/latest/developerguide/tag-authorization.html)
    /// for the tags.
    pub fn may_be_too_early(&self) -> bool {
        matches!(self, Self::Kms(KmsError { kind: Kind::Unknown | Kind::Denied, .. }))
    }
}
