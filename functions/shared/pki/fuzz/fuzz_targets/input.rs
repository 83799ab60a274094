//! Decodes bytes into import material, so that the fuzzer mutates the DER as well as the text around it.

use rootcast_pki::certificate::Certificate;
use rootcast_pki::import::Material;
use time::OffsetDateTime;
use time::macros::datetime;

/// A time at which the seeds are valid.
pub(crate) const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);

/// The first byte selects the form; its upper bits select the label of the key.
pub(crate) const TEXT: u8 = 0;
pub(crate) const PKCS12: u8 = 1;
pub(crate) const DER: u8 = 2;
#[allow(dead_code, reason = "whatever is none of the others")]
pub(crate) const DER_BELOW_OWN_ROOT: u8 = 3;
pub(crate) const KEY_LABELS: [&str; 3] = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];

pub(crate) enum Input {
    /// As text: `certificate`, NUL, `private_key`, and optionally NUL and `certificate_chain`. As DER: each part after
    /// two octets with its length, the key first; the last part may be one of our own roots.
    Pem { certificate: String, certificate_chain: Option<String>, private_key: String, own_root: Option<Vec<u8>> },
    /// The password, NUL, then the file.
    Pkcs12 { der: Vec<u8>, password: String },
}

impl Input {
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (form, bytes) = bytes.split_first()?;
        Some(match form % 4 {
            TEXT => {
                let mut fields =
                    bytes.splitn(3, |byte| *byte == 0).map(|each| String::from_utf8_lossy(each).into_owned());
                let (certificate, private_key) = (fields.next()?, fields.next().unwrap_or_default());
                Self::Pem { certificate, certificate_chain: fields.next(), private_key, own_root: None }
            }
            PKCS12 => {
                let end = bytes.iter().position(|byte| *byte == 0)?;
                Self::Pkcs12 {
                    der: bytes[end + 1..].to_vec(),
                    password: String::from_utf8_lossy(&bytes[..end]).into_owned(),
                }
            }
            kind => {
                let mut parts = parts(bytes);
                let own_root = (kind != DER).then(|| parts.pop()).flatten().map(<[u8]>::to_vec);
                let (key, certificates) = parts.split_first()?;
                let label = KEY_LABELS[usize::from(form / 4) % KEY_LABELS.len()];
                Self::Pem {
                    certificate: certificates.iter().map(|der| armoured("CERTIFICATE", der)).collect(),
                    certificate_chain: None,
                    private_key: armoured(label, key),
                    own_root,
                }
            }
        })
    }

    pub(crate) fn material(&self) -> Material<'_> {
        match self {
            Self::Pem { certificate, certificate_chain, private_key, .. } => {
                Material::Pem { certificate, certificate_chain: certificate_chain.as_deref(), private_key }
            }
            Self::Pkcs12 { der, password } => Material::Pkcs12 { der, password },
        }
    }

    pub(crate) fn own_roots(&self) -> Vec<Certificate> {
        match self {
            Self::Pem { own_root: Some(der), .. } => Certificate::from_der(der.clone()).into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

/// Splits at the length prefixes; the last part may be shorter than its prefix says.
fn parts(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some(([high, low], rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (part, after) = rest.split_at(length);
        parts.push(part);
        bytes = after;
    }
    parts
}

fn armoured(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}
