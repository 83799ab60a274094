//! How the fake devices create certificate requests: with OpenSSL, like phosphor-certificate-manager.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::model::{GENERATE, REPLACE, key};
use super::{Model, Reply, State, error};

/// The parts of the subject that the standard and OpenBMC require.
const SUBJECT: [(&str, &str); 6] = [
    ("City", "L"),
    ("CommonName", "CN"),
    ("Country", "C"),
    ("Organization", "O"),
    ("OrganizationalUnit", "OU"),
    ("State", "ST"),
];

#[derive(Debug, Clone, Copy, Default)]
pub struct Csr {
    pub flaw: Option<Flaw>,
    /// How long a request takes, during which another one is refused.
    pub takes: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// The signature does not verify.
    BrokenSignature,
    /// The key is RSA 1024.
    WeakKey,
}

impl State {
    pub(super) fn certificate_service(&self) -> Value {
        let mut generate = json!({"target": GENERATE});
        if self.model == Model::Xcc {
            generate["KeyPairAlgorithm@Redfish.AllowableValues"] = json!(["TPM_ALG_ECDH", "TPM_ALG_RSA"]);
        }
        json!({
            "@odata.id": "/redfish/v1/CertificateService",
            "Actions": {"#CertificateService.GenerateCSR": generate, "#CertificateService.ReplaceCertificate": {"target": REPLACE}},
        })
    }

    /// One at a time; the key of an earlier request is forgotten.
    pub(super) fn generate(&mut self, body: &Value) -> Reply {
        // OpenBMC takes empty ones.
        let is_missing = |text: Option<&str>| text.is_none_or(|text| text.is_empty() && self.model != Model::OpenBmc);
        if let Some((name, _)) = SUBJECT.iter().find(|(name, _)| is_missing(body[name].as_str())) {
            return property_missing(name);
        }
        if self.model == Model::OpenBmc && (self.down || is_too_long(body)) {
            return error(500, "The request failed due to an internal service error.");
        }
        if body.pointer("/CertificateCollection/@odata.id").and_then(Value::as_str) != Some(self.web_certificates()) {
            return error(400, "The parameter CertificateCollection is not supported.");
        }
        let Some(algorithm) = self.algorithm(body) else {
            return error(400, "The parameter KeyPairAlgorithm is not supported by the action GenerateCSR.");
        };
        let begun = self.web.pending.as_ref().map(|(_, begun)| begun.elapsed());
        if begun.is_some_and(|begun| begun < self.csr.takes) {
            return error(503, "The service is temporarily unavailable. Retry in 10 seconds.");
        }
        let is_kept = self.model == Model::OpenBmc && algorithm[0].starts_with("rsa");
        let stored = self.web.rsa.clone().filter(|_| is_kept);
        let (request, key) = made(&subject(body, self.model), &algorithm, stored.as_deref(), self.csr.flaw);
        if is_kept {
            self.web.rsa = Some(key.clone());
        }
        self.web.pending = Some((key, Instant::now()));
        Reply::json(json!({
            "CSRString": format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", BASE64_STANDARD.encode(request)),
            "CertificateCollection": {"@odata.id": self.web_certificates()},
        }))
    }

    /// OpenSSL's options for the algorithm. OpenBMC only knows its own names, the others the standard's.
    fn algorithm(&self, body: &Value) -> Option<Vec<String>> {
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let curve = |name| Some(vec!["ec".to_owned(), "-pkeyopt".to_owned(), format!("ec_paramgen_curve:{name}")]);
        let rsa = || Some(vec![format!("rsa:{}", body["KeyBitLength"].as_u64()?)]);
        match (self.model, text("KeyPairAlgorithm"), text("KeyCurveId")) {
            (Model::OpenBmc, "EC", name @ ("prime256v1" | "secp384r1")) => curve(name),
            (Model::OpenBmc, "RSA", "") if body["KeyBitLength"] == 2048 => rsa(),
            (Model::OpenBmc, ..) => None,
            (Model::Xcc, "TPM_ALG_ECDH", "TPM_ECC_NIST_P384") => curve("secp384r1"),
            (Model::Dmtf { .. }, "TPM_ALG_ECDSA", "TPM_ECC_NIST_P256") => curve("prime256v1"),
            (Model::Dmtf { .. }, "TPM_ALG_ECDSA", "TPM_ECC_NIST_P384") => curve("secp384r1"),
            (Model::Xcc | Model::Dmtf { .. }, "TPM_ALG_RSA", "") => rsa(),
            _ => None,
        }
    }
}

/// In bytes of UTF-8: OpenSSL, which OpenBMC hands the subject to, counts so.
fn is_too_long(body: &Value) -> bool {
    let length = |name: &str| body[name].as_str().unwrap_or_default().len();
    length("Country") > 2 || length("CommonName") > 64 || length("Organization") > 64
}

/// In OpenBMC's format: names, usages and the key's algorithm are parts of the subject.
fn subject(body: &Value, model: Model) -> String {
    let names = body["AlternativeNames"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let names = names.map(|name| ("subjectAltName", name));
    let said = SUBJECT.iter().map(|(name, short)| (*short, body[name].as_str().unwrap_or_default()));
    let algorithm = Some(("algorithm", body["KeyPairAlgorithm"].as_str().unwrap_or_default()));
    let algorithm = algorithm.filter(|_| model == Model::OpenBmc);
    let parts = names.chain(said).chain([("extendedKeyUsage", "ServerAuthentication")]).chain(algorithm);
    let parts = parts.filter(|(_, value)| !value.is_empty());
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('/', "\\/").replace('+', "\\+");
    parts.map(|(kind, value)| format!("/{kind}={}", escaped(value))).collect()
}

/// The request and its key, DER. `stored`: a key that was made before. As on OpenBMC, SHA-256 is used with every key, and the version is one too high.
fn made(subject: &str, algorithm: &[String], stored: Option<&[u8]>, flaw: Option<Flaw>) -> (Vec<u8>, Vec<u8>) {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("key.pem");
    let weak = ["rsa:1024".to_owned()];
    let algorithm = if flaw == Some(Flaw::WeakKey) { &weak } else { algorithm };
    let mut make = Command::new("openssl");
    make.args(["req", "-new", "-sha256", "-nodes", "-batch", "-utf8", "-outform", "DER", "-subj", subject]);
    let make = match stored {
        Some(key) => {
            let text =
                format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(key));
            std::fs::write(&path, text).unwrap();
            make.arg("-key").arg(&path)
        }
        None => make.arg("-keyout").arg(&path).arg("-newkey").args(algorithm),
    };
    let request = output(make, b"");
    let (_, request) = element(&request);
    let (rest, _) = element(request);
    let mut info = request[..request.len() - rest.len()].to_vec();
    let header = info.len() - element(&info).1.len();
    assert_eq!(info[header..header + 3], [2, 1, 0], "INTEGER 0");
    info[header + 2] = 1;
    let (signature, _) = element(rest);
    let algorithm = &rest[..rest.len() - signature.len()];
    let mut signed = output(Command::new("openssl").args(["dgst", "-sha256", "-sign"]).arg(&path), &info);
    if flaw == Some(Flaw::BrokenSignature) {
        *signed.last_mut().unwrap() ^= 1;
    }
    let signature = tagged(3, &[&[0], signed.as_slice()].concat());
    let whole = tagged(0x30, &[&info, algorithm, &signature].concat());
    (whole, key(&std::fs::read_to_string(&path).unwrap()).unwrap())
}

fn output(command: &mut Command, input: &[u8]) -> Vec<u8> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The rest after the first DER element, and the element's content.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, header) = match usize::from(der[1]) {
        long @ 0x81..=0x84 => {
            let octets = &der[2..2 + long - 0x80];
            (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), 2 + long - 0x80)
        }
        short => (short, 2),
    };
    (&der[header + length..], &der[header..header + length])
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let octets = content.len().to_be_bytes();
    let octets = &octets[octets.iter().position(|octet| *octet != 0).unwrap()..];
    let long = [0x80 + u8::try_from(octets.len()).unwrap()];
    let long = if content.len() < 0x80 { &[] } else { long.as_slice() };
    [&[tag], long, octets, content].concat()
}

/// In bmcweb's words.
fn property_missing(name: &str) -> Reply {
    let message = format!("The property {name} is a required property and must be included in the request.");
    let said = json!({"MessageId": "Base.1.13.PropertyMissing", "Message": message, "Resolution": "None."});
    Reply::Json(
        400,
        Vec::new(),
        json!({"error": {"code": "Base.1.13.PropertyMissing", "@Message.ExtendedInfo": [said]}}),
    )
}
