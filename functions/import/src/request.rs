//! The body of an import, and its client token.

use axum::body::Bytes;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rootcast_core::fingerprint::Fingerprint;
use rootcast_core::import::Material;
use rootcast_core::storing::{CertificateName, EnterpriseProject, Folder};
use rootcast_gate::{Principal, ScmError};
use rootcast_ledger::ClientRequest;
use serde::{Deserialize, Deserializer};
use zeroize::{Zeroize, Zeroizing};

use crate::refusal;

/// Ours: a request that is sent again under the same token is done once.
const CLIENT_TOKEN: &str = "x-client-token";
/// In characters.
const LONGEST_TOKEN: usize = 128;

/// Fields that are not named here are passed over, as the vendor's API does. No `Debug`: it holds a key.
#[derive(Deserialize)]
struct Fields {
    name: Option<String>,
    /// Ours.
    folder: Option<String>,
    certificate: Option<Secret>,
    certificate_chain: Option<Secret>,
    private_key: Option<Secret>,
    /// Ours, in place of the three before: a file in base64, and its password.
    pkcs12: Option<Secret>,
    pkcs12_password: Option<Secret>,
    duplicate_check: Option<bool>,
    enterprise_project_id: Option<String>,
    enc_certificate: Option<Secret>,
    enc_private_key: Option<Secret>,
}

/// A text that holds a key, or where somebody may have put one.
struct Secret(Zeroizing<String>);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// What is to be imported, and where it goes. No `Debug`: it holds a key.
pub(crate) struct ImportRequest {
    pub(crate) name: CertificateName,
    pub(crate) folder: Folder,
    pub(crate) enterprise_project: Option<EnterpriseProject>,
    /// The same certificate may not be stored twice.
    pub(crate) only_once: bool,
    material: Sent,
}

enum Sent {
    Pem { certificate: Secret, chain: Option<Secret>, key: Secret },
    Pkcs12 { der: Zeroizing<Vec<u8>>, password: Secret },
}

impl ImportRequest {
    /// # Errors
    /// About one field, by its name. A value is never repeated: it may be a key in the wrong place.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ScmError> {
        let fields: Fields = serde_json::from_slice(body).map_err(|why| not_an_import(&why))?;
        if fields.enc_certificate.is_some() || fields.enc_private_key.is_some() {
            return Err(refusal::sm2_pair());
        }
        let field = |name: &str, why: &dyn std::fmt::Display| ScmError::invalid(format!("{name}: {why}."));
        let name = fields.name.ok_or_else(|| ScmError::invalid("name is missing: send 3 to 63 characters."))?;
        let project = fields.enterprise_project_id.filter(|id| !id.is_empty());
        Ok(Self {
            name: name.parse().map_err(|why| field("name", &why))?,
            folder: fields
                .folder
                .map_or(Ok(Folder::default()), |folder| folder.parse())
                .map_err(|why| field("folder", &why))?,
            enterprise_project: project
                .map(|id| id.parse())
                .transpose()
                .map_err(|why| field("enterprise_project_id", &why))?,
            only_once: fields.duplicate_check.unwrap_or_default(),
            material: match fields.pkcs12 {
                Some(file) => {
                    if fields.certificate.is_some()
                        || fields.certificate_chain.is_some()
                        || fields.private_key.is_some()
                    {
                        return Err(ScmError::invalid(
                            "pkcs12 comes with certificate, certificate_chain or private_key: send the one or the others.",
                        ));
                    }
                    Sent::Pkcs12 { der: file.base64()?, password: fields.pkcs12_password.unwrap_or_else(Secret::empty) }
                }
                // An empty text is for the checks to refuse, by the vendor's own codes.
                None => Sent::Pem {
                    certificate: fields.certificate.unwrap_or_else(Secret::empty),
                    chain: fields.certificate_chain,
                    key: fields.private_key.unwrap_or_else(Secret::empty),
                },
            },
        })
    }

    pub(crate) fn material(&self) -> Material<'_> {
        match &self.material {
            Sent::Pem { certificate, chain, key } => Material::Pem {
                certificate: &certificate.0,
                certificate_chain: chain.as_ref().map(|chain| chain.0.as_str()),
                private_key: &key.0,
            },
            Sent::Pkcs12 { der, password } => Material::Pkcs12 { der, password: &password.0 },
        }
    }
}

impl Secret {
    fn empty() -> Self {
        Self(Zeroizing::default())
    }

    /// With or without line breaks.
    fn base64(&self) -> Result<Zeroizing<Vec<u8>>, ScmError> {
        let mut text = Zeroizing::new(Vec::with_capacity(self.0.len()));
        text.extend(self.0.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
        let length = STANDARD.decode_slice(&*text, &mut der).map_err(|_| {
            ScmError::invalid("pkcs12 is not base64 (RFC 4648 §4): send the file as `base64` writes it.")
        })?;
        der.truncate(length);
        Ok(der)
    }
}

/// serde_json repeats what it did not expect, which may be a key: only the place is told.
fn not_an_import(why: &serde_json::Error) -> ScmError {
    let (line, column) = (why.line(), why.column());
    ScmError::invalid(if why.is_data() {
        format!(
            "The body is not an import (line {line}, column {column}): it is an object, whose duplicate_check is true or \
             false, and whose other fields are strings."
        )
    } else {
        format!("The body is not JSON (line {line}, column {column}).")
    })
}

/// The caller's token with what he asks, if he sent one.
pub(crate) fn client_request(
    headers: &HeaderMap,
    caller: &Principal,
    body: &[u8],
) -> Result<Option<ClientRequest>, ScmError> {
    let mut sent = headers.get_all(CLIENT_TOKEN).into_iter();
    let Some(token) = sent.next() else { return Ok(None) };
    let token = token.as_bytes();
    if sent.next().is_some() || !(1..=LONGEST_TOKEN).contains(&token.len()) || !token.iter().all(u8::is_ascii_graphic) {
        return Err(ScmError::invalid(
            "X-Client-Token: send it once, with 1 to 128 printable characters and no spaces; a UUID is one.",
        ));
    }
    let named = [caller.name.as_bytes(), b"\0", token].concat();
    Ok(Some(ClientRequest { token: Fingerprint::of(&named), body: Fingerprint::of(body) }))
}

/// Overwrites a body that nobody else holds.
pub(crate) fn wipe(body: Bytes) {
    if let Ok(mut bytes) = body.try_into_mut() {
        bytes.as_mut().zeroize();
    }
}
