//! The KMS keys of the root generations and of the issuing authorities below them: created, found again after a crash,
//! compared with their certificates, used, put to sleep and woken, and scheduled for deletion. The private keys never
//! leave KMS.
//!
//! A dependency on this crate is a permission: template.yaml grants KMS access to the functions that depend on it,
//! and to no other.
//!
//! Retries are the SDK's own, within the time limits below. Only [`Vault::create_key`] has none: it has no
//! idempotency token, so a retry after a lost answer would leave an unknown key that costs money. The caller makes
//! another key instead, and gives up what [`Vault::keys_of`] finds of the first attempt.

mod error;
mod keys;
mod notary;
mod policy;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::operation::get_public_key::GetPublicKeyOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeySpec, KeyUsageType, MessageType, SigningAlgorithmSpec, Tag};
use rootcast_kms::KmsError;
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::bundle::SignedBundle;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::root::{Prepared, Serial, Unsigned};

pub use self::error::VaultError;
pub use self::keys::{MadeKey, Purpose, Standing, TaggedKey};
pub use self::notary::Notary;
pub use self::policy::{KeyRole, KeyRoles, NotRoles};

/// Tags only find keys, they permit nothing: see `policy`. This one's value is the stack's name.
pub const STACK_TAG: &str = "rootcast:stack";
/// Its value is that of the [`KeyRole`]. Keys from before there were issuing authorities have none: they are roots'.
pub const ROLE_TAG: &str = "rootcast:role";
/// Its value is the generation number, in decimal.
pub const GENERATION_TAG: &str = "rootcast:generation";
/// Its value is the [`InstallationId`] in the tables. A stack that is recreated with the same name has another one.
pub const INSTALLATION_TAG: &str = "rootcast:installation";
/// Its value is the serial number that was reserved for the certificate: it leads from a key to its record.
pub const SERIAL_TAG: &str = "rootcast:serial";

/// Per attempt. KMS answers in tens of milliseconds; an RSA-4096 signature is the slowest call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Per call with its retries: leaves time for the rest of an API Gateway request's 30 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Per attempt at CreateKey, which generates an RSA key synchronously.
const CREATE_TIMEOUT: Duration = Duration::from_secs(15);

pub struct Vault {
    kms: aws_sdk_kms::Client,
    tagging: aws_sdk_resourcegroupstagging::Client,
    stack: String,
    /// The certificates that were confirmed to match a key, for the lifetime of the process.
    confirmed: Mutex<HashMap<String, Fingerprint>>,
}

impl Vault {
    /// `stack`: the name of the deployment. Only keys with its tag are created, found and used.
    pub fn new(
        kms: &aws_sdk_kms::Client,
        tagging: &aws_sdk_resourcegroupstagging::Client,
        stack: impl Into<String>,
    ) -> Self {
        let limits =
            TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).operation_timeout(CALL_TIMEOUT).build();
        let kms = kms.config().to_builder().timeout_config(limits.clone()).build();
        let tagging = tagging.config().to_builder().timeout_config(limits).build();
        Self {
            kms: aws_sdk_kms::Client::from_conf(kms),
            tagging: aws_sdk_resourcegroupstagging::Client::from_conf(tagging),
            stack: stack.into(),
            confirmed: Mutex::default(),
        }
    }

    /// Creates a signing key with its own policy and returns its ARN. Not retried (see the crate's documentation): after a
    /// [retryable](VaultError::is_retryable) error the key may or may not exist.
    pub async fn create_key(
        &self,
        purpose: &Purpose,
        algorithm: KeyAlgorithm,
        roles: &KeyRoles,
    ) -> Result<String, VaultError> {
        const OPERATION: &str = "kms:CreateKey";
        let limits = TimeoutConfig::builder()
            .operation_attempt_timeout(CREATE_TIMEOUT)
            .operation_timeout(CREATE_TIMEOUT)
            .build();
        let once = aws_sdk_kms::Config::builder().retry_config(RetryConfig::disabled()).timeout_config(limits);
        let created = self
            .kms
            .create_key()
            .key_spec(KeySpec::from(algorithm.kms_key_spec()))
            .key_usage(KeyUsageType::SignVerify)
            .policy(roles.policy(purpose.role))
            .set_multi_region(roles.multi_region(purpose.role))
            // The check wants the caller to be able to change the policy again, which no function may. The account's
            // administrators can.
            .bypass_policy_lockout_safety_check(true)
            .description(self.description(purpose.role, purpose.generation))
            .tags(tag(OPERATION, STACK_TAG, &self.stack)?)
            .tags(tag(OPERATION, ROLE_TAG, purpose.role.tag())?)
            .tags(tag(OPERATION, GENERATION_TAG, &purpose.generation.to_string())?)
            .tags(tag(OPERATION, INSTALLATION_TAG, &purpose.installation.to_string())?)
            .tags(tag(OPERATION, SERIAL_TAG, &purpose.serial.to_string())?)
            .customize()
            .config_override(once)
            .send()
            .await
            .map_err(|error| KmsError::new(OPERATION, None, error))?;
        let arn = created.key_metadata.and_then(|metadata| metadata.arn);
        arn.ok_or(VaultError::Incomplete { operation: OPERATION, field: "Arn" })
    }

    /// Gives the key the alias of its root or issuing authority: the one role that may give a key up is denied it for a key with a name.
    /// KMS may take [up to five minutes](https://docs.aws.amazon.com/kms/latest/developerguide/alias-authorization.html)
    /// until it does. Call it before the key signs for the first time; the key may be disabled.
    pub async fn mark_as_signing(&self, key: &str, serial: Serial) -> Result<(), VaultError> {
        let alias = self.alias(serial);
        let named = self.kms.create_alias().alias_name(&alias).target_key_id(key).send().await;
        let Err(error) = named else { return Ok(()) };
        if !error.as_service_error().is_some_and(|error| error.is_already_exists_exception()) {
            return Err(KmsError::new("kms:CreateAlias", Some(key), error).into());
        }
        match self.signing_key(serial).await? {
            Some(named) if named == key => Ok(()),
            _ => Err(VaultError::Named { alias, key: key.to_owned() }),
        }
    }

    /// The key that [`Vault::mark_as_signing`] named, in whatever state: KMS shows no public key of one that sleeps. A key of
    /// an earlier release may only permit its public key to be read.
    pub async fn signing_key(&self, serial: Serial) -> Result<Option<String>, VaultError> {
        let alias = self.alias(serial);
        let shown = self.kms.describe_key().key_id(&alias).send().await;
        match shown.map_err(|error| VaultError::from(KmsError::new("kms:DescribeKey", Some(&alias), error))) {
            Ok(shown) => Ok(shown.key_metadata.and_then(|metadata| metadata.arn)),
            Err(error) if error.is_unusable() => Ok(None),
            Err(error) if error.is_denied() => match self.get_public_key(&alias).await {
                Ok(shown) => Ok(shown.key_id),
                // This says nothing about the name.
                Err(_) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// What [`Vault::create_key`] says of a key. No function can give it to an existing key.
    pub fn description(&self, role: KeyRole, generation: u32) -> String {
        match role {
            KeyRole::Root => format!("Root generation {generation} of Rootcast stack {}", self.stack),
            KeyRole::Issuing => {
                format!("Issuing authority below root generation {generation} of Rootcast stack {}", self.stack)
            }
        }
    }

    /// The name that [`Vault::mark_as_signing`] gives to the key of this root or issuing authority.
    pub fn alias(&self, serial: Serial) -> String {
        format!("alias/rootcast/{}/{serial}", self.stack)
    }

    /// The SubjectPublicKeyInfo in DER. Fails unless the key's spec, usage and public key all match `algorithm`.
    pub async fn public_key(&self, key: &str, algorithm: KeyAlgorithm) -> Result<Vec<u8>, VaultError> {
        public_key(&self.kms, key, algorithm).await
    }

    /// Signs a digest with the algorithm's length. The signature is DER for ECDSA, PKCS #1 v1.5 for RSA.
    pub async fn sign(&self, key: &str, algorithm: KeyAlgorithm, digest: &[u8]) -> Result<Vec<u8>, VaultError> {
        sign(&self.kms, key, algorithm, digest).await
    }

    /// Signs a prepared object. A signature by another key than the issuer's is refused.
    pub async fn sign_prepared<T: Unsigned>(&self, key: &str, prepared: Prepared<T>) -> Result<T::Signed, VaultError> {
        let signature = self.sign(key, prepared.issuer_algorithm(), &prepared.digest()).await?;
        Ok(prepared.complete(&signature)?)
    }

    /// `signer`'s signature of a bundle, for [`SignedBundle::add`], which refuses a signature by another key.
    pub async fn signature_of(
        &self,
        key: &str,
        signer: &Certificate,
        bundle: &SignedBundle,
    ) -> Result<Vec<u8>, VaultError> {
        let algorithm = signer.key_algorithm().map_err(rootcast_pki::bundle::JwsError::from)?;
        self.sign(key, algorithm, &bundle.digest(signer)?).await
    }

    /// Fails unless `key` belongs to `certificate`. Queries KMS once per process, since neither ever changes.
    pub async fn confirm(&self, key: &str, certificate: &Certificate) -> Result<(), VaultError> {
        let known = |map: &HashMap<_, _>| map.get(key) == Some(&certificate.fingerprint());
        if known(&self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        let differs = || VaultError::Differs { key: key.to_owned(), certificate: certificate.fingerprint() };
        let algorithm = certificate.key_algorithm().map_err(|_| differs())?;
        if self.public_key(key, algorithm).await? != certificate.spki_der() {
            return Err(differs());
        }
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        confirmed.insert(key.to_owned(), certificate.fingerprint());
        Ok(())
    }

    /// Fails unless `key` can sign now. Queries KMS each time: a key may be disabled at any moment.
    ///
    /// # Errors
    /// [Unusable](VaultError::is_unusable) if the key is disabled, pending deletion or gone.
    pub async fn check(&self, key: &str, certificate: &Certificate) -> Result<(), VaultError> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.confirm(key, certificate).await
    }

    /// Wakes a key: it can sign as soon as all of KMS's hosts
    /// [know it](https://docs.aws.amazon.com/kms/latest/developerguide/accessing-kms.html#programming-eventual-consistency),
    /// mostly within seconds. Succeeds if the key is awake.
    ///
    /// # Errors
    /// [Unusable](VaultError::is_unusable) if the key is pending deletion or gone.
    pub async fn enable(&self, key: &str) -> Result<(), VaultError> {
        let woken = self.kms.enable_key().key_id(key).send().await;
        woken.map_err(|error| KmsError::new("kms:EnableKey", Some(key), error))?;
        Ok(())
    }

    /// Puts a key to sleep: it cannot sign until it is enabled, as soon as all of KMS's hosts know it. Succeeds if the
    /// key sleeps already.
    ///
    /// # Errors
    /// [Unusable](VaultError::is_unusable) if the key is pending deletion or gone: then it cannot sign either.
    pub async fn disable(&self, key: &str) -> Result<(), VaultError> {
        let asleep = self.kms.disable_key().key_id(key).send().await;
        asleep.map_err(|error| KmsError::new("kms:DisableKey", Some(key), error))?;
        Ok(())
    }

    /// Schedules a key's deletion: it cannot sign any more, and is deleted after `days` (KMS accepts 7 to 30).
    /// Succeeds if the key is already pending deletion or gone, and for a key that is disabled.
    pub async fn schedule_deletion(&self, key: &str, days: u8) -> Result<(), VaultError> {
        let scheduled =
            self.kms.schedule_key_deletion().key_id(key).pending_window_in_days(i32::from(days)).send().await;
        match scheduled.map_err(|error| KmsError::new("kms:ScheduleKeyDeletion", Some(key), error)) {
            Err(error) if !error.is_unusable() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Cancels a key's deletion: it stays disabled. Succeeds if the key is not pending deletion, or gone.
    pub async fn cancel_deletion(&self, key: &str) -> Result<(), VaultError> {
        let cancelled = self.kms.cancel_key_deletion().key_id(key).send().await;
        match cancelled.map_err(|error| KmsError::new("kms:CancelKeyDeletion", Some(key), error)) {
            Err(error) if !error.is_unusable() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Gives the key of a retired root, or of an issuing authority below it, a second name: without it, the one role that may
    /// give a key up is denied that for a key that has signed, and with it, waking it is denied. KMS may take five minutes
    /// until it is so. Succeeds if the key is pending deletion or gone.
    pub async fn mark_as_retired(&self, key: &str, serial: Serial) -> Result<(), VaultError> {
        let alias = self.retired_alias(serial);
        let Err(error) = self.kms.create_alias().alias_name(alias).target_key_id(key).send().await else {
            return Ok(());
        };
        if error.as_service_error().is_some_and(|error| error.is_already_exists_exception()) {
            return Ok(());
        }
        match KmsError::new("kms:CreateAlias", Some(key), error) {
            error if error.is_unusable() => Ok(()),
            error => Err(error.into()),
        }
    }

    /// The name that [`Vault::mark_as_retired`] gives.
    pub fn retired_alias(&self, serial: Serial) -> String {
        format!("alias/rootcast/{}/retired/{serial}", self.stack)
    }

    async fn get_public_key(&self, key: &str) -> Result<GetPublicKeyOutput, VaultError> {
        get_public_key(&self.kms, key).await
    }
}

async fn public_key(kms: &aws_sdk_kms::Client, key: &str, algorithm: KeyAlgorithm) -> Result<Vec<u8>, VaultError> {
    let answer = get_public_key(kms, key).await?;
    let mismatch = |found: String| VaultError::WrongKind { key: key.to_owned(), expected: algorithm, found };
    let spec = answer.key_spec.as_ref().map(KeySpec::as_str).unwrap_or_default();
    if spec != algorithm.kms_key_spec() {
        return Err(mismatch(spec.to_owned()));
    }
    let usage = answer.key_usage.as_ref().map(KeyUsageType::as_str).unwrap_or_default();
    if usage != KeyUsageType::SignVerify.as_str() {
        return Err(mismatch(usage.to_owned()));
    }
    let spki = answer.public_key.map(Blob::into_inner);
    let spki = spki.ok_or(VaultError::Incomplete { operation: "kms:GetPublicKey", field: "PublicKey" })?;
    match KeyAlgorithm::of_spki(&spki) {
        Ok(found) if found == algorithm => Ok(spki),
        Ok(found) => Err(mismatch(found.kms_key_spec().to_owned())),
        Err(error) => Err(mismatch(error.to_string())),
    }
}

/// Sends the digest and not the message: KMS's limit for a message is 4096 bytes.
async fn sign(
    kms: &aws_sdk_kms::Client,
    key: &str,
    algorithm: KeyAlgorithm,
    digest: &[u8],
) -> Result<Vec<u8>, VaultError> {
    let signed = kms
        .sign()
        .key_id(key)
        .message(Blob::new(digest))
        .message_type(MessageType::Digest)
        .signing_algorithm(SigningAlgorithmSpec::from(algorithm.kms_signing_algorithm()))
        .send()
        .await
        .map_err(|error| KmsError::new("kms:Sign", Some(key), error))?;
    let signature = signed.signature.map(Blob::into_inner);
    signature.ok_or(VaultError::Incomplete { operation: "kms:Sign", field: "Signature" })
}

async fn get_public_key(kms: &aws_sdk_kms::Client, key: &str) -> Result<GetPublicKeyOutput, VaultError> {
    let answer = kms.get_public_key().key_id(key).send().await;
    Ok(answer.map_err(|error| KmsError::new("kms:GetPublicKey", Some(key), error))?)
}

fn tag(operation: &'static str, key: &'static str, value: &str) -> Result<Tag, VaultError> {
    let built = Tag::builder().tag_key(key).tag_value(value).build();
    built.map_err(|_| VaultError::Incomplete { operation, field: key })
}
