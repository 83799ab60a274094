//! The body of an import, and its client token.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use rootcast_core::inventory::name::{CertificateName, EnterpriseProject, Folder};
use rootcast_gate::Principal;
use rootcast_ledger::ClientRequest;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::import::Material;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::HuaweiError;
use super::refusal::sm2_pair;

/// Ours: a request that is repeated with the same token is carried out once.
const CLIENT_TOKEN: &str = "x-client-token";
/// In characters.
const LONGEST_TOKEN: usize = 128;

/// Unknown fields are ignored, as in the vendor's API; an empty text is as good as none, since Terraform's provider and others send
/// each optional field that way. No `Debug`: it holds a key.
#[derive(Deserialize)]
struct Fields {
    name: Option<String>,
    /// Ours.
    folder: Option<String>,
    certificate: Option<Secret>,
    certificate_chain: Option<Secret>,
    private_key: Option<Secret>,
    /// Ours, instead of the previous three: a file in base64, and its password.
    pkcs12: Option<Secret>,
    pkcs12_password: Option<Secret>,
    duplicate_check: Option<bool>,
    /// Ours.
    allow_incomplete_chain: Option<bool>,
    enterprise_project_id: Option<String>,
    enc_certificate: Option<Secret>,
    enc_private_key: Option<Secret>,
}

/// A text that holds a key, or may hold one by mistake.
struct Secret(Zeroizing<String>);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// The material of an import, and where to store it. No `Debug`: it holds a key.
pub struct ImportRequest {
    pub name: CertificateName,
    pub folder: Folder,
    pub enterprise_project: Option<EnterpriseProject>,
    /// Refuses a certificate that is stored already.
    pub only_once: bool,
    /// Stores a chain whose end is neither sent nor known.
    pub allow_incomplete: bool,
    material: Sent,
}

enum Sent {
    Pem { certificate: Secret, chain: Option<Secret>, key: Secret },
    Pkcs12 { der: Zeroizing<Vec<u8>>, password: Secret },
}

impl ImportRequest {
    /// # Errors
    /// Names the invalid field. A value is never repeated: it may be a key in the wrong field.
    pub fn parse(body: &[u8]) -> Result<Self, HuaweiError> {
        let fields = serde_json::from_slice::<Fields>(body).map_err(|why| not_an_import(&why))?.without_empty();
        if fields.enc_certificate.is_some() || fields.enc_private_key.is_some() {
            return Err(sm2_pair());
        }
        Ok(Self {
            name: parsed("name", fields.name.as_deref().ok_or_else(|| missing("name"))?)?,
            folder: fields.folder.as_deref().map(|folder| parsed("folder", folder)).transpose()?.unwrap_or_default(),
            enterprise_project: fields
                .enterprise_project_id
                .as_deref()
                .map(|id| parsed("enterprise_project_id", id))
                .transpose()?,
            only_once: fields.duplicate_check.unwrap_or_default(),
            allow_incomplete: fields.allow_incomplete_chain.unwrap_or_default(),
            material: Sent::of(fields)?,
        })
    }

    pub fn material(&self) -> Material<'_> {
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

impl Fields {
    /// The certificate and the private key are left: their checks say more about an empty one.
    fn without_empty(mut self) -> Self {
        for field in [&mut self.folder, &mut self.enterprise_project_id] {
            field.take_if(|text| text.is_empty());
        }
        let secrets = [
            &mut self.certificate_chain,
            &mut self.pkcs12,
            &mut self.pkcs12_password,
            &mut self.enc_certificate,
            &mut self.enc_private_key,
        ];
        for field in secrets {
            field.take_if(|Secret(text)| text.is_empty());
        }
        if self.pkcs12.is_some() {
            for field in [&mut self.certificate, &mut self.private_key] {
                field.take_if(|Secret(text)| text.is_empty());
            }
        }
        self
    }
}

impl Sent {
    fn of(fields: Fields) -> Result<Self, HuaweiError> {
        let Fields { certificate, certificate_chain: chain, private_key, pkcs12, pkcs12_password, .. } = fields;
        let Some(file) = pkcs12 else {
            let certificate = certificate.ok_or_else(|| missing("certificate"))?;
            let key = private_key.ok_or_else(|| missing("private_key"))?;
            return Ok(Self::Pem { certificate, chain, key });
        };
        if certificate.is_some() || chain.is_some() || private_key.is_some() {
            return Err(HuaweiError::invalid(
                "pkcs12 comes with certificate, certificate_chain or private_key: send the one or the others.",
            ));
        }
        let password = pkcs12_password.unwrap_or_else(|| Secret(Zeroizing::default()));
        Ok(Self::Pkcs12 { der: file.base64()?, password })
    }
}

fn parsed<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<T, HuaweiError> {
    text.parse().map_err(|why| HuaweiError::invalid(format!("{field}: {why}.")))
}

fn missing(field: &str) -> HuaweiError {
    HuaweiError::invalid(format!(
        "{field} is missing: send name, certificate and private_key, or name, pkcs12 and pkcs12_password."
    ))
}

impl Secret {
    /// Decodes base64 with or without line breaks.
    fn base64(&self) -> Result<Zeroizing<Vec<u8>>, HuaweiError> {
        let mut text = Zeroizing::new(Vec::with_capacity(self.0.len()));
        text.extend(self.0.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
        let length = STANDARD.decode_slice(&*text, &mut der).map_err(|_| {
            HuaweiError::invalid("pkcs12 is not base64 (RFC 4648 §4): send the file as `base64` writes it.")
        })?;
        der.truncate(length);
        Ok(der)
    }
}

/// serde_json repeats unexpected values, which may be keys, so only the position is reported.
fn not_an_import(why: &serde_json::Error) -> HuaweiError {
    let (line, column) = (why.line(), why.column());
    HuaweiError::invalid(if why.is_data() {
        format!(
            "The body is not an import (line {line}, column {column}): it is an object, whose duplicate_check and \
             allow_incomplete_chain are true or false, and whose other fields are strings."
        )
    } else {
        format!("The body is not JSON (line {line}, column {column}).")
    })
}

/// The caller's token with the request, if a token was sent.
pub fn client_request(
    headers: &HeaderMap,
    caller: &Principal,
    body: &[u8],
) -> Result<Option<ClientRequest>, HuaweiError> {
    let mut sent = headers.get_all(CLIENT_TOKEN).into_iter();
    let Some(token) = sent.next() else { return Ok(None) };
    let token = token.as_bytes();
    if sent.next().is_some() || !(1..=LONGEST_TOKEN).contains(&token.len()) || !token.iter().all(u8::is_ascii_graphic) {
        return Err(HuaweiError::invalid(
            "X-Client-Token: send it once, with 1 to 128 printable characters and no spaces; a UUID is one.",
        ));
    }
    let named = [caller.name.as_bytes(), b"\0", token].concat();
    Ok(Some(ClientRequest { token: Fingerprint::of(&named), body: Fingerprint::of(body) }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test's inputs are its own")]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// A value that no message may repeat.
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0";

    fn parse(body: Value) -> Result<ImportRequest, String> {
        ImportRequest::parse(body.to_string().as_bytes()).map_err(|refusal| refusal.text().to_owned())
    }

    #[test]
    fn the_vendors_example_imports_into_the_default_folder() {
        let request =
            parse(json!({"name": "test_cert", "certificate": "C", "private_key": "K", "x_colour": 7})).unwrap();
        assert_eq!((request.name.to_string(), request.folder.to_string()), ("test_cert".into(), "Certificates".into()));
        assert!(request.enterprise_project.is_none() && !request.only_once && !request.allow_incomplete);
        let Material::Pem { certificate: "C", certificate_chain: None, private_key: "K" } = request.material() else {
            panic!("not what was sent");
        };
    }

    #[test]
    fn every_field_is_read_and_null_means_absent() {
        let request = parse(json!({
            "name": "web", "folder": r"Servers\Berlin 2",
            "certificate": "C", "certificate_chain": "I", "private_key": "K", "duplicate_check": true,
            "allow_incomplete_chain": true,
            "enterprise_project_id": "0", "enc_certificate": null, "pkcs12": null,
        }))
        .unwrap();
        assert_eq!((request.folder.to_string(), request.only_once), (r"Servers\Berlin 2".to_owned(), true));
        assert!(request.allow_incomplete);
        assert_eq!(request.enterprise_project.as_ref().unwrap().to_string(), "0");
        assert!(matches!(request.material(), Material::Pem { certificate_chain: Some("I"), .. }));
    }

    #[test]
    fn an_empty_text_is_as_good_as_no_field() {
        let request = parse(json!({
            "name": "web", "folder": "", "certificate": "C", "certificate_chain": "", "private_key": "K", "pkcs12": "",
            "pkcs12_password": "", "enterprise_project_id": "", "enc_certificate": "", "enc_private_key": "",
        }))
        .unwrap();
        assert_eq!(
            (request.folder.to_string(), request.enterprise_project.is_none()),
            ("Certificates".to_owned(), true)
        );
        assert!(matches!(
            request.material(),
            Material::Pem { certificate: "C", certificate_chain: None, private_key: "K" }
        ));
        let file = parse(json!({
            "name": "web", "certificate": "", "certificate_chain": "", "private_key": "", "pkcs12": "AA==",
        }))
        .unwrap();
        assert!(matches!(file.material(), Material::Pkcs12 { der: [0], password: "" }));
        let half = parse(json!({"name": "web", "certificate": "C", "private_key": "K", "enc_certificate": "C"}));
        assert!(half.map(drop).unwrap_err().contains("SM2"));
    }

    #[test]
    fn base64_is_read_with_or_without_line_breaks() {
        for text in ["AAECAwQ=", "AAEC\r\nAwQ=\n"] {
            let request = parse(json!({"name": "web", "pkcs12": text, "pkcs12_password": "P"})).unwrap();
            assert!(matches!(request.material(), Material::Pkcs12 { der: [0, 1, 2, 3, 4], password: "P" }));
        }
    }

    #[test]
    fn an_invalid_field_is_named_and_its_value_not_repeated() {
        for (body, named) in [
            (json!({"certificate": KEY, "private_key": KEY}), "name"),
            (json!({"name": KEY, "certificate": "C", "private_key": KEY}), "name"),
            (json!({"name": "web", "certificate": "C"}), "private_key"),
            (json!({"name": "web", "private_key": KEY}), "certificate"),
            (json!({"name": "web", "folder": KEY, "certificate": "C", "private_key": KEY}), "folder"),
            (
                json!({"name": "web", "enterprise_project_id": KEY, "certificate": "C", "private_key": KEY}),
                "enterprise",
            ),
            (json!({"name": "web", "duplicate_check": KEY, "certificate": "C", "private_key": KEY}), "duplicate_check"),
            (json!({"name": "web", "certificate": "C", "private_key": KEY, "enc_private_key": KEY}), "enc_private_key"),
            (json!({"name": "web", "pkcs12": KEY}), "pkcs12"),
            (json!({"name": "web", "pkcs12": "AA==", "private_key": KEY}), "pkcs12"),
            (json!([KEY]), "object"),
            (json!(KEY), "object"),
        ] {
            let message = parse(body).map(drop).unwrap_err();
            assert!(message.contains(named) && !message.contains("c2VjcmV0"), "{named}: {message}");
        }
    }

    fn client_token(values: &[&[u8]]) -> Result<Option<ClientRequest>, HuaweiError> {
        let values =
            values.iter().map(|value| (CLIENT_TOKEN.parse().unwrap(), HeaderValue::from_bytes(value).unwrap()));
        let caller = Principal::unknown("ops", Default::default());
        client_request(&values.collect(), &caller, b"body")
    }

    #[test]
    fn a_client_token_is_printable_and_occurs_once() {
        assert_eq!(client_token(&[]).unwrap(), None);
        let request = client_token(&[b"7f1c"]).unwrap().unwrap();
        assert_eq!((request.token, request.body), (Fingerprint::of(b"ops\x007f1c"), Fingerprint::of(b"body")));
        let refused: [&[&[u8]]; 5] = [&[b""], &[b"a b"], &[b"\xfc"], &[&[b'a'; 129]], &[b"a", b"a"]];
        for refused in refused {
            assert!(client_token(refused).is_err(), "{refused:?}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_parsed_or_refused_without_a_panic(body: Vec<u8>) {
            let _ = ImportRequest::parse(&body);
        }
    }
}
