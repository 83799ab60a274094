//! KMS and its tag index: real keys, real signatures, real states.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Mutex;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    CertificateParams, Issuer, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData, SignatureAlgorithm,
    SigningKey,
};
use rootcast_pki::certificate::Certificate;
use rootcast_vault::ROLE_TAG;
use serde_json::{Value, json};

use crate::clock;
use crate::cloud::{Answer, Cloud, Refusal};

/// The symmetric key for sealing: it exists from the beginning, and belongs to no root.
pub const SEALING: &str = "arn:aws:kms:eu-central-1:000000000000:key/sealing";
/// The key that signs statements of the audit's heads: a world has it from [`Keys::have_notary`] on.
pub const NOTARY: &str = "arn:aws:kms:eu-central-1:000000000000:key/notary";
const DAY: u64 = 24 * 3600;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Enabled,
    Disabled,
    /// Deleted at this age of the world.
    PendingDeletion(Duration),
}

struct Key {
    pair: EcdsaKeyPair,
    spec: String,
    tags: Value,
    state: State,
    /// The state before the last change, which some calls meet until this age of the world.
    before: Option<(State, Duration)>,
    made: Duration,
    /// Signatures so far.
    signed: u64,
}

impl Key {
    fn new(algorithm: &'static EcdsaSigningAlgorithm, spec: &str, tags: Value) -> Self {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let (state, before, made) = (State::Enabled, None, clock::age());
        Self { pair, spec: spec.to_owned(), tags, state, before, made, signed: 0 }
    }

    fn change(&mut self, cloud: &Cloud, state: State) {
        let is_late = self.state != state && cloud.random.chance(cloud.faults().unseen);
        self.before =
            is_late.then(|| (self.state, clock::age() + Duration::from_millis(cloud.random.between(100, 2000))));
        self.state = state;
    }

    /// The state as the host that gets this call knows it.
    fn seen(&self, cloud: &Cloud) -> State {
        match self.before {
            Some((before, until)) if clock::age() < until && cloud.random.chance(0.5) => {
                cloud.inject("key state unseen");
                before
            }
            _ => self.state,
        }
    }
}

/// A key, and its specification.
struct Borrowed<'a>(&'a EcdsaKeyPair, &'a str);

impl PublicKeyData for Borrowed<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        if self.1 == "ECC_NIST_P256" { &PKCS_ECDSA_P256_SHA256 } else { &PKCS_ECDSA_P384_SHA384 }
    }
}

impl SigningKey for Borrowed<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signed = self.0.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(signed.as_ref().to_vec())
    }
}

#[derive(Default)]
pub struct Keys {
    keys: Mutex<BTreeMap<String, Key>>,
    /// The key of each alias.
    names: Mutex<BTreeMap<String, String>>,
}

impl Keys {
    pub fn states(&self) -> Vec<(String, State)> {
        self.keys.lock().unwrap().iter().map(|(arn, key)| (arn.clone(), key.state)).collect()
    }

    /// Signatures so far, by the role of their keys: `root` or `issuing`.
    pub fn signatures(&self, role: &str) -> u64 {
        let keys = self.keys.lock().unwrap();
        let tag = json!({ "TagKey": ROLE_TAG, "TagValue": role });
        let has_role = |key: &&Key| key.tags.as_array().is_some_and(|tags| tags.contains(&tag));
        keys.values().filter(has_role).map(|key| key.signed).sum()
    }

    /// A key of this role.
    pub fn one(&self, role: &str) -> Option<String> {
        let keys = self.keys.lock().unwrap();
        let tag = json!({ "TagKey": ROLE_TAG, "TagValue": role });
        let is = |key: &Key| key.tags.as_array().is_some_and(|tags| tags.contains(&tag));
        keys.iter().find(|(_, key)| is(key)).map(|(arn, _)| arn.clone())
    }

    /// It has a name, as the template gives it one.
    pub fn have_notary(&self) {
        let key = Key::new(&ECDSA_P256_SHA256_ASN1_SIGNING, "ECC_NIST_P256", json!([]));
        self.keys.lock().unwrap().insert(NOTARY.to_owned(), key);
        self.names.lock().unwrap().insert("alias/audit".to_owned(), NOTARY.to_owned());
    }

    pub fn is_named(&self, arn: &str) -> bool {
        self.names.lock().unwrap().values().any(|named| named == arn)
    }

    /// The keys that there were, in these states.
    pub fn restore(&self, states: &[(String, State)]) {
        let mut keys = self.keys.lock().unwrap();
        keys.retain(|arn, _| states.iter().any(|(known, _)| known == arn));
        for (arn, state) in states {
            let key = keys.get_mut(arn).unwrap();
            (key.state, key.before) = (*state, None);
        }
    }

    /// Signs a certificate for a new key as somebody would who has this key, and not KMS. Returns it and the new key, in PEM.
    pub fn certify(&self, arn: &str, issuer: &Certificate, params: &CertificateParams) -> Option<(String, String)> {
        let keys = self.keys.lock().unwrap();
        let signer = Borrowed(&keys.get(arn)?.pair, &keys.get(arn)?.spec);
        let issuer = Issuer::from_ca_cert_der(&issuer.der().into(), signer).ok()?;
        let key = rcgen::KeyPair::generate().ok()?;
        Some((params.signed_by(&key, &issuer).ok()?.pem(), key.serialize_pem()))
    }

    pub fn call(&self, cloud: &Cloud, operation: &str, body: &[u8]) -> Answer {
        let body: Value = serde_json::from_slice(body).unwrap();
        let named = body["KeyId"].as_str().or(body["TargetKeyId"].as_str()).unwrap_or_default();
        let mut names = self.names.lock().unwrap();
        let arn = names.get(named).map_or(named, String::as_str).to_owned();
        match operation {
            "CreateKey" => return self.create(cloud, &body),
            "GenerateDataKey" | "Decrypt" => return sealing(operation, &body),
            _ => {}
        }
        let mut keys = self.keys.lock().unwrap();
        let key = keys.get_mut(&arn).filter(|key| !is_gone(key.state));
        let key = key.ok_or_else(|| Refusal::new("NotFoundException", format!("Key '{arn}' does not exist")))?;
        let pending = matches!(key.state, State::PendingDeletion(_));
        let state = if matches!(operation, "Sign" | "GetPublicKey") { key.seen(cloud) } else { key.state };
        let usable = match state {
            State::Enabled => Ok(()),
            State::Disabled => Err(Refusal::new("DisabledException", format!("{arn} is disabled."))),
            State::PendingDeletion(_) => {
                // KMS documents both codes for the use of such a key.
                let uses = matches!(operation, "Sign" | "GetPublicKey") && arn.ends_with(['1', '3', '5', '7', '9']);
                let code = if uses { "DisabledException" } else { "KMSInvalidStateException" };
                Err(Refusal::new(code, format!("{arn} is pending deletion.")))
            }
        };
        // As the roles of those that make roots say.
        let retired = names.iter().any(|(name, named)| *named == arn && name.contains("/retired/"));
        match operation {
            "EnableKey" | "Sign" if retired => {
                Err(Refusal::new("AccessDeniedException", "an explicit deny in an identity-based policy"))
            }
            "GetPublicKey" => {
                usable?;
                let public: PublicKeyX509Der<'_> = key.pair.public_key().as_der().unwrap();
                Ok(json!({
                    "KeyId": arn, "PublicKey": BASE64_STANDARD.encode(public.as_ref()),
                    "KeySpec": key.spec, "KeyUsage": "SIGN_VERIFY",
                }))
            }
            "Sign" => {
                usable?;
                let (algorithm, of) = match key.spec.as_str() {
                    "ECC_NIST_P256" => ("ECDSA_SHA_256", &digest::SHA256),
                    _ => ("ECDSA_SHA_384", &digest::SHA384),
                };
                if body["SigningAlgorithm"] != algorithm || body["MessageType"] != "DIGEST" {
                    return Err(Refusal::new("InvalidKeyUsageException", format!("{} signs {algorithm}.", key.spec)));
                }
                let message = BASE64_STANDARD.decode(body["Message"].as_str().unwrap_or_default()).unwrap();
                let digest = Digest::import_less_safe(&message, of)
                    .map_err(|_| Refusal::new("ValidationException", "Digest is invalid length for algorithm."))?;
                let signature = key.pair.sign_digest(&digest).unwrap();
                key.signed += 1;
                Ok(json!({
                    "KeyId": arn, "Signature": BASE64_STANDARD.encode(signature), "SigningAlgorithm": algorithm,
                }))
            }
            "CreateAlias" if pending => usable.map(|()| Value::Null),
            "CreateAlias" => match names.entry(body["AliasName"].as_str().unwrap_or_default().to_owned()) {
                Entry::Occupied(there) => Err(Refusal::new("AlreadyExistsException", there.key())),
                Entry::Vacant(free) => {
                    free.insert(arn);
                    Ok(Value::Null)
                }
            },
            "DescribeKey" => Ok(json!({ "KeyMetadata": metadata(&arn, key) })),
            "DisableKey" | "EnableKey" if pending => usable.map(|()| Value::Null),
            "DisableKey" => {
                key.change(cloud, State::Disabled);
                Ok(Value::Null)
            }
            "EnableKey" => {
                key.change(cloud, State::Enabled);
                Ok(Value::Null)
            }
            "CancelKeyDeletion" if pending => {
                key.state = State::Disabled;
                Ok(json!({ "KeyId": arn }))
            }
            "CancelKeyDeletion" => {
                Err(Refusal::new("KMSInvalidStateException", format!("{arn} is not pending deletion.")))
            }
            "ScheduleKeyDeletion" if pending => usable.map(|()| Value::Null),
            // As the conductor's role says.
            "ScheduleKeyDeletion" if names.values().any(|named| *named == arn) && !retired => {
                Err(Refusal::new("AccessDeniedException", "an explicit deny in an identity-based policy"))
            }
            "ScheduleKeyDeletion" => {
                let days = body["PendingWindowInDays"].as_u64().unwrap_or(30);
                if !(7..=30).contains(&days) {
                    return Err(Refusal::new("ValidationException", "PendingWindowInDays is 7 to 30."));
                }
                key.state = State::PendingDeletion(clock::age() + Duration::from_secs(days * DAY));
                Ok(json!({ "KeyId": arn, "KeyState": "PendingDeletion", "PendingWindowInDays": days }))
            }
            other => Err(Refusal::new("UnsupportedOperationException", other)),
        }
    }

    fn create(&self, cloud: &Cloud, body: &Value) -> Answer {
        let spec = body["KeySpec"].as_str().unwrap_or_default();
        let algorithm = match spec {
            "ECC_NIST_P256" => &ECDSA_P256_SHA256_ASN1_SIGNING,
            "ECC_NIST_P384" => &ECDSA_P384_SHA384_ASN1_SIGNING,
            other => return Err(Refusal::new("UnsupportedOperationException", other)),
        };
        let key = Key::new(algorithm, spec, body["Tags"].clone());
        let kind = if body["MultiRegion"] == true { "mrk-" } else { "" };
        let arn = format!("arn:aws:kms:eu-central-1:000000000000:key/{kind}{:016x}", cloud.random.next());
        let metadata = metadata(&arn, &key);
        self.keys.lock().unwrap().insert(arn, key);
        Ok(json!({ "KeyMetadata": metadata }))
    }

    /// `tag:GetResources`; it learns of a key some seconds after KMS.
    pub fn tagged(&self, body: &[u8]) -> Answer {
        let body: Value = serde_json::from_slice(body).unwrap();
        let filters = body["TagFilters"].as_array().cloned().unwrap_or_default();
        let fits = |key: &Key, filter: &Value| {
            let values = filter["Values"].as_array().cloned().unwrap_or_default();
            let tags = key.tags.as_array().map(Vec::as_slice).unwrap_or_default();
            tags.iter().any(|tag| tag["TagKey"] == filter["Key"] && values.contains(&tag["TagValue"]))
        };
        let keys = self.keys.lock().unwrap();
        let found =
            keys.iter().filter(|(_, key)| !is_gone(key.state) && clock::age() >= key.made + Duration::from_secs(3));
        let found = found.filter(|(_, key)| filters.iter().all(|filter| fits(key, filter)));
        let tags = |key: &Key| -> Vec<Value> {
            let tags = key.tags.as_array().map(Vec::as_slice).unwrap_or_default();
            tags.iter().map(|tag| json!({ "Key": tag["TagKey"], "Value": tag["TagValue"] })).collect()
        };
        let found: Vec<Value> = found.map(|(arn, key)| json!({ "ResourceARN": arn, "Tags": tags(key) })).collect();
        Ok(json!({ "ResourceTagMappingList": found, "PaginationToken": "" }))
    }
}

fn is_gone(state: State) -> bool {
    matches!(state, State::PendingDeletion(at) if at <= clock::age())
}

fn metadata(arn: &str, key: &Key) -> Value {
    let state = match key.state {
        State::Enabled => "Enabled",
        State::Disabled => "Disabled",
        State::PendingDeletion(_) => "PendingDeletion",
    };
    json!({
        "Arn": arn, "KeyId": arn, "KeyState": state, "KeySpec": key.spec, "KeyUsage": "SIGN_VERIFY",
        "CreationDate": clock::milliseconds(clock::at(key.made)) / 1000,
    })
}

/// A data key with its context, sealed under a key that never leaves this module.
fn sealing(operation: &str, body: &Value) -> Answer {
    let wrong = || Refusal::new("InvalidCiphertextException", "");
    let cipher = RandomizedNonceKey::new(&AES_256_GCM, &[7; 32]).unwrap();
    // The order does not matter, as in KMS.
    let context: BTreeMap<&str, &str> = body["EncryptionContext"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    let context = Aad::from(json!(context).to_string().into_bytes());
    if operation == "GenerateDataKey" {
        let mut key = vec![0; 32];
        aws_lc_rs::rand::fill(&mut key).unwrap();
        let plaintext = BASE64_STANDARD.encode(&key);
        let nonce = cipher.seal_in_place_append_tag(context, &mut key).unwrap();
        key.extend_from_slice(nonce.as_ref());
        return Ok(json!({ "KeyId": SEALING, "Plaintext": plaintext, "CiphertextBlob": BASE64_STANDARD.encode(key) }));
    }
    let blob = BASE64_STANDARD.decode(body["CiphertextBlob"].as_str().unwrap_or_default()).map_err(|_| wrong())?;
    let (sealed, nonce) = blob.split_at_checked(blob.len().saturating_sub(12)).ok_or_else(wrong)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
    let mut sealed = sealed.to_vec();
    let opened = cipher.open_in_place(nonce, context, &mut sealed).map_err(|_| wrong())?;
    Ok(json!({ "KeyId": SEALING, "Plaintext": BASE64_STANDARD.encode(opened) }))
}
