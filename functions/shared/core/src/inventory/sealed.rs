//! Secrets under envelope encryption: a KMS data key, AES-256-GCM, and the context that both are bound to.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::device::{DeviceId, Incarnation};
use crate::inventory::id::CertificateId;

/// A secret that only KMS can decrypt, and only for the context it was sealed for. Safe to store.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The data key as KMS encrypted it.
    #[serde(with = "text")]
    pub data_key: Vec<u8>,
    #[serde(with = "text")]
    pub nonce: Vec<u8>,
    /// Includes the tag.
    #[serde(with = "text")]
    pub ciphertext: Vec<u8>,
}

/// A ciphertext is no secret, but useless in a log.
impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.ciphertext.len())
    }
}

/// What a secret belongs to. A ciphertext that is moved to another record cannot be decrypted there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealContext {
    /// A certificate's private key; `spki`: SHA-256 of the SubjectPublicKeyInfo.
    PrivateKey { certificate: CertificateId, spki: Fingerprint },
    /// The secret of an access key, by the key's public id.
    AccessKey { id: String },
    /// A device's user name and password. They do not open in the record of another device, or of the next one with this id.
    DeviceCredential { device: DeviceId, incarnation: Incarnation },
}

impl SealContext {
    /// KMS's EncryptionContext.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::PrivateKey { certificate, spki } => {
                vec![("rootcast:certificate", certificate.to_string()), ("rootcast:spki-sha256", spki.to_string())]
            }
            Self::AccessKey { id } => vec![("rootcast:access-key", id.clone())],
            Self::DeviceCredential { device, incarnation } => {
                vec![("rootcast:device", device.to_string()), ("rootcast:incarnation", incarnation.to_string())]
            }
        }
    }

    /// The context as additional data of AES-GCM: one line per pair. No value contains a line break.
    pub fn aad(&self) -> Vec<u8> {
        self.pairs().into_iter().flat_map(|(name, value)| format!("{name}={value}\n").into_bytes()).collect()
    }
}

mod text {
    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    use super::{Deserialize, Engine, STANDARD};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
