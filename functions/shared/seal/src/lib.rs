//! Envelope encryption of secrets: each has its own KMS data key, AES-256-GCM, and a context that is bound to both.
//!
//! In scope: sealing and opening. A secret only opens with the context for which it was sealed, which is enforced
//! twice: KMS refuses the data key with another [EncryptionContext][context], and AES-GCM refuses the ciphertext with
//! other additional data.
//!
//! Out of scope: where the ciphertext is stored (`rootcast-ledger`), and its plaintext's meaning.
//!
//! A dependency on this crate is a permission: `kms:GenerateDataKey` for sealing, `kms:Decrypt` for opening.
//!
//! Data keys and plaintexts are overwritten when they are dropped. This does not apply to the AWS SDK's own buffers,
//! which have held KMS's answer.
//!
//! [context]: https://docs.aws.amazon.com/kms/latest/developerguide/encrypt_context.html

mod error;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, MAX_TAG_LEN, Nonce, RandomizedNonceKey};
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use rootcast_core::inventory::sealed::{SealContext, Sealed};
use zeroize::Zeroizing;

pub use self::error::SealError;
use self::error::failed;

/// Per attempt. KMS answers in tens of milliseconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Per call with its retries: leaves time for the rest of an API Gateway request's 30 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Seals and opens with one symmetric KMS key. Cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    kms: aws_sdk_kms::Client,
    key: Arc<str>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({})", self.key)
    }
}

impl Sealer {
    /// `key_arn`: the key that encrypts the data keys.
    pub fn new(kms: &aws_sdk_kms::Client, key_arn: impl Into<String>) -> Self {
        let limits =
            TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).operation_timeout(CALL_TIMEOUT).build();
        let kms = kms.config().to_builder().timeout_config(limits).build();
        Self { kms: aws_sdk_kms::Client::from_conf(kms), key: key_arn.into().into() }
    }

    /// One call to KMS: each secret gets its own data key.
    pub async fn seal(&self, context: &SealContext, plaintext: &[u8]) -> Result<Sealed, SealError> {
        let made = context.pairs().into_iter().fold(
            self.kms.generate_data_key().key_id(&*self.key).key_spec(DataKeySpec::Aes256),
            |call, (name, value)| call.encryption_context(name, value),
        );
        let made = made.send().await.map_err(|error| failed("kms:GenerateDataKey", &self.key, error))?;
        let absent = |field| SealError::Incomplete { operation: "kms:GenerateDataKey", field };
        let cipher = cipher(made.plaintext).ok_or_else(|| absent("an AES-256 key"))?;
        let data_key = made.ciphertext_blob.ok_or_else(|| absent("CiphertextBlob"))?.into_inner();

        // Reserve room for the tag: a reallocation would leave a copy of the plaintext in memory.
        let mut text = Zeroizing::new(Vec::with_capacity(plaintext.len() + MAX_TAG_LEN));
        text.extend_from_slice(plaintext);
        let nonce = cipher.seal_in_place_append_tag(Aad::from(context.aad()), &mut *text);
        let nonce = nonce.map_err(|_| SealError::Cipher)?.as_ref().to_vec();
        Ok(Sealed { data_key, nonce, ciphertext: std::mem::take(&mut *text) })
    }

    /// One call to KMS.
    ///
    /// # Errors
    /// [`SealError::Foreign`] if the secret was sealed for another context or under another key, or was changed.
    pub async fn open(&self, context: &SealContext, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let nonce = Nonce::try_assume_unique_for_key(&sealed.nonce).map_err(|_| SealError::Foreign)?;
        let opened = context.pairs().into_iter().fold(
            self.kms.decrypt().key_id(&*self.key).ciphertext_blob(Blob::new(sealed.data_key.as_slice())),
            |call, (name, value)| call.encryption_context(name, value),
        );
        let opened = opened.send().await.map_err(|error| failed("kms:Decrypt", &self.key, error))?;
        let cipher = cipher(opened.plaintext)
            .ok_or(SealError::Incomplete { operation: "kms:Decrypt", field: "an AES-256 key" })?;

        let mut text = Zeroizing::new(sealed.ciphertext.clone());
        let length =
            cipher.open_in_place(nonce, Aad::from(context.aad()), &mut text).map_err(|_| SealError::Foreign)?.len();
        text.truncate(length);
        Ok(text)
    }
}

/// `None` if the data key does not have 32 bytes. AWS-LC overwrites its own copy when it frees it.
fn cipher(data_key: Option<Blob>) -> Option<RandomizedNonceKey> {
    let data_key = Zeroizing::new(data_key?.into_inner());
    RandomizedNonceKey::new(&AES_256_GCM, &data_key).ok()
}
