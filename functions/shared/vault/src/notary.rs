//! The key that signs the statements of the audit chains' heads. template.yaml makes it, and its policy lets nothing but
//! the one function sign.

use aws_sdk_kms::config::timeout::TimeoutConfig;
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::notary::NotaryKey;
use tokio::sync::OnceCell;

use crate::{ATTEMPT_TIMEOUT, CALL_TIMEOUT, VaultError, public_key, sign};

pub struct Notary {
    kms: aws_sdk_kms::Client,
    key: String,
    /// Once it was read.
    public: OnceCell<NotaryKey>,
}

impl Notary {
    /// `key`: its ARN.
    pub fn new(kms: &aws_sdk_kms::Client, key: impl Into<String>) -> Self {
        let limits =
            TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).operation_timeout(CALL_TIMEOUT).build();
        let kms = aws_sdk_kms::Client::from_conf(kms.config().to_builder().timeout_config(limits).build());
        Self { kms, key: key.into(), public: OnceCell::new() }
    }

    /// The text as a JWS. One call, and another one for the public key in each process.
    pub async fn sign(&self, payload: &[u8]) -> Result<String, VaultError> {
        const ALGORITHM: KeyAlgorithm = KeyAlgorithm::EcdsaP256;
        let read = async || {
            let spki = public_key(&self.kms, &self.key, ALGORITHM).await?;
            NotaryKey::from_spki(&spki).map_err(|error| VaultError::Notarised(error.into()))
        };
        let unsigned = self.public.get_or_try_init(read).await?.sign(payload);
        let signature = sign(&self.kms, &self.key, ALGORITHM, &unsigned.digest()).await?;
        unsigned.complete(&signature).map_err(VaultError::Notarised)
    }
}
