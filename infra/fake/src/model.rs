//! How the fake devices store certificates and sessions.

use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{KeyPair, PublicKeyData};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};

use super::csr::Csr;
use super::{PASSWORD, Reply, Request, USER};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// 200 on create, 500 on a duplicate, on garbage and on the eleventh. Takes a leaf as an anchor. One RSA key for all
    /// requests. Empty lists while its [services](super::Fake::services) are down.
    OpenBmc,
    /// 201 on create, 409 on the fifth.
    Xcc,
    /// The standard, with or without `$expand`.
    Dmtf { expand: bool },
    /// Like sushy-tools: Basic only, one slot, 409 on a second POST, stores anything. With or without the standard's
    /// `CertificateService`.
    Vmedia { replace: bool },
}

/// The certificate of the fake's web server.
pub(super) struct Web {
    /// PEM as it is read back: without the key.
    pub(super) text: String,
    /// The chain and the key that were just installed, for the TLS server: DER.
    pub(super) replaced: Option<(Vec<Vec<u8>>, Vec<u8>)>,
    /// The key of its last request, PKCS #8 DER, and when it was created.
    pub(super) pending: Option<(Vec<u8>, Instant)>,
    /// A restart of the controller was asked for.
    pub(super) restarts: bool,
    /// OpenBMC's only RSA key, PKCS #8 DER.
    pub(super) rsa: Option<Vec<u8>>,
}

impl Web {
    pub(super) const fn new(text: String) -> Self {
        Self { text, replaced: None, pending: None, restarts: false, rsa: None }
    }
}

pub const GENERATE: &str = "/redfish/v1/CertificateService/Actions/CertificateService.GenerateCSR";
pub const REPLACE: &str = "/redfish/v1/CertificateService/Actions/CertificateService.ReplaceCertificate";

pub struct State {
    pub(super) model: Model,
    /// Ids and PEM texts.
    pub members: Vec<(u32, String)>,
    pub(super) web: Web,
    /// Ids and tokens.
    pub sessions: Vec<(u32, String)>,
    /// How requests are created.
    pub csr: Csr,
    /// The services that keep its certificates are down.
    pub(super) down: bool,
    pub(super) next: u32,
}

impl State {
    pub(super) fn new(model: Model, web: Web) -> Self {
        Self { model, members: Vec::new(), web, sessions: Vec::new(), csr: Csr::default(), down: false, next: 1 }
    }

    pub fn add(&mut self, der: &[u8]) {
        self.store(pem(der));
    }

    pub fn store(&mut self, text: String) -> u32 {
        self.next += 1;
        self.members.push((self.next, text));
        self.next
    }

    /// What its web server lists, DER.
    pub(super) fn chain(&self) -> Vec<Vec<u8>> {
        ders(&self.web.text)
    }

    /// Its web server has this chain and key from now on, DER.
    pub fn install(&mut self, chain: Vec<Vec<u8>>, key: Vec<u8>) {
        self.web.replaced = Some((chain, key));
    }

    /// Restarts the controller after this answer.
    pub fn restart(&mut self) {
        self.web.restarts = true;
    }

    pub(super) fn set_down(&mut self, down: bool) {
        self.down = down;
        for (id, _) in &mut self.members {
            self.next += 1;
            *id = self.next;
        }
    }

    pub fn held(&self) -> Vec<Fingerprint> {
        self.members.iter().flat_map(|(_, text)| ders(text)).map(|der| Fingerprint::of(&der)).collect()
    }

    pub const fn collection(&self) -> &'static str {
        match self.model {
            Model::OpenBmc => "/redfish/v1/Managers/bmc/Truststore/Certificates",
            Model::Xcc => "/redfish/v1/UpdateService/RemoteServerCertificates",
            Model::Dmtf { .. } => "/redfish/v1/Managers/1/SecurityPolicy/TLS/Client/TrustedCertificates",
            Model::Vmedia { .. } => "/redfish/v1/Systems/1/VirtualMedia/Cd1/Certificates",
        }
    }

    /// The device's answer without faults.
    pub fn answer(&mut self, request: &Request) -> Reply {
        let (path, query) = request.uri.split_once('?').unwrap_or((&request.uri, ""));
        let path = path.trim_end_matches('/');
        if path == "/redfish/v1" {
            return Reply::json(self.root());
        }
        if let Model::Vmedia { .. } = self.model {
            let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")));
            if request.authorization.as_ref() != Some(&expected) {
                return error(401, "Incorrect username or password");
            }
        } else if request.is("POST", "/SessionService/Sessions") {
            return self.log_in(&request.body);
        } else if !self.sessions.iter().any(|(_, token)| Some(token) == request.token.as_ref()) {
            return error(401, "The session is not valid.");
        }
        let collection = self.collection();
        if self.down && (path.starts_with(collection) || path.starts_with(self.web_certificates())) {
            return match request.method.as_str() {
                "GET" if path == collection || path == self.web_certificates() => Reply::json(json!({"Members": []})),
                "POST" => error(500, "The request failed due to an internal service error."),
                _ => error(404, "The requested resource was not found."),
            };
        }
        let member = path.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/')?.parse::<u32>().ok());
        match (request.method.as_str(), path, member) {
            ("GET", _, Some(id)) => match self.members.iter().find(|(known, _)| *known == id) {
                Some((_, text)) => Reply::json(certificate(collection, id, text)),
                None => error(404, "No such certificate."),
            },
            ("DELETE", _, Some(id)) => {
                let before = self.members.len();
                self.members.retain(|(known, _)| *known != id);
                if self.members.len() < before { Reply::status(204) } else { error(404, "No such certificate.") }
            }
            ("GET", path, None) if path == collection => self.list(query),
            ("POST", path, None) if path == collection => self.create(&request.body),
            ("POST", REPLACE, None) => self.replace(&request.body),
            ("POST", path, None) if path.ends_with("/Actions/Manager.Reset") => {
                self.restart();
                Reply::status(204)
            }
            ("POST", GENERATE, None) if self.has_web_server() => self.generate(&request.body),
            ("GET", path, None) if path == self.web_certificates() => {
                Reply::json(json!({"Members": [{"@odata.id": self.web_certificate()}]}))
            }
            ("GET", path, None) if path == self.web_certificate() => {
                Reply::json(certificate(self.web_certificates(), 1, &self.web.text))
            }
            ("DELETE", path, None) if path.contains("/Sessions/") => {
                self.sessions.retain(|(id, _)| !path.ends_with(&format!("/{id}")));
                Reply::status(204)
            }
            ("GET", path, None) => self.walk(path),
            _ => error(405, "Not allowed."),
        }
    }

    fn replace(&mut self, body: &Value) -> Reply {
        let uri = body.pointer("/CertificateUri/@odata.id").and_then(Value::as_str).unwrap_or_default();
        let text = body["CertificateString"].as_str().unwrap_or_default().to_owned();
        if self.has_web_server() && uri == self.web_certificate() {
            return self.replace_own(&text, body);
        }
        let collection = self.collection();
        match self.members.iter_mut().find(|(id, _)| uri == format!("{collection}/{id}")) {
            Some(member) => {
                member.1 = text;
                Reply::status(204)
            }
            None => error(404, "No such certificate."),
        }
    }

    /// OpenBMC only knows `PEM`, quotes what it refuses, and answers with the new resource. Without a private key the
    /// certificate is for the key of the last request; XCC only accepts such certificates, and no chain.
    fn replace_own(&mut self, text: &str, body: &Value) -> Reply {
        let kind = body["CertificateType"].as_str().unwrap_or_default();
        let (chain, sent) = (ders(text), key(text));
        let is_held = chain.first().is_some_and(|leaf| ders(&self.web.text).first() == Some(leaf));
        if self.model == Model::OpenBmc && (chain.is_empty() || is_held || self.down) {
            return error(500, "The request failed due to an internal service error.");
        }
        let fits = match self.model {
            Model::OpenBmc => kind == "PEM",
            Model::Xcc => kind == "PEM" && chain.len() == 1,
            _ => kind == if chain.len() > 1 { "PEMchain" } else { "PEM" },
        };
        if !fits || sent.is_some() && self.model == Model::Xcc {
            return error(400, "The parameter CertificateType has a value that is not in the list.");
        }
        match sent.or_else(|| self.web.pending.as_ref().map(|(key, _)| key.clone())) {
            Some(key) if chain.first().is_some_and(|leaf| is_pair(leaf, &key)) => {
                self.web.text = chain.iter().map(|der| pem(der)).collect();
                self.web.replaced = Some((chain, key));
                match self.model {
                    Model::OpenBmc => Reply::json(certificate(self.web_certificates(), 1, &self.web.text)),
                    _ => Reply::status(204),
                }
            }
            _ => error(
                400,
                &format!("The property 'Certificate' with the requested value of '{text}' could not be written."),
            ),
        }
    }

    const fn has_web_server(&self) -> bool {
        !matches!(self.model, Model::Vmedia { .. })
    }

    pub(super) const fn web_certificates(&self) -> &'static str {
        match self.model {
            Model::OpenBmc => "/redfish/v1/Managers/bmc/NetworkProtocol/HTTPS/Certificates",
            _ => "/redfish/v1/Managers/1/NetworkProtocol/HTTPS/Certificates",
        }
    }

    pub fn web_certificate(&self) -> String {
        format!("{}/1", self.web_certificates())
    }

    fn root(&self) -> Value {
        let mut root = json!({
            "@odata.id": "/redfish/v1", "Id": "RootService",
            "Systems": {"@odata.id": "/redfish/v1/Systems"},
            "Managers": {"@odata.id": "/redfish/v1/Managers"},
            "UpdateService": {"@odata.id": "/redfish/v1/UpdateService"},
        });
        match self.model {
            Model::Vmedia { replace: true } | Model::Dmtf { .. } | Model::Xcc => {
                root["CertificateService"] = json!({"@odata.id": "/redfish/v1/CertificateService"})
            }
            _ => {}
        }
        if !matches!(self.model, Model::Vmedia { .. }) {
            root["Links"] = json!({"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}});
        }
        if let Model::Dmtf { expand } = self.model {
            root["ProtocolFeaturesSupported"] = json!({"ExpandQuery": {"NoLinks": expand}});
        }
        root
    }

    fn walk(&self, path: &str) -> Reply {
        let one = |uri: &str| Reply::json(json!({"Members": [{"@odata.id": uri}]}));
        match path {
            "/redfish/v1/Managers" => one("/redfish/v1/Managers/1"),
            "/redfish/v1/Systems" => one("/redfish/v1/Systems/1"),
            "/redfish/v1/Systems/1/VirtualMedia" => Reply::json(json!({"Members": [
                {"@odata.id": "/redfish/v1/Systems/1/VirtualMedia/Floppy1"},
                {"@odata.id": "/redfish/v1/Systems/1/VirtualMedia/Cd1"},
            ]})),
            "/redfish/v1/Managers/1/SecurityPolicy" => {
                Reply::json(json!({"TLS": {"Client": {"TrustedCertificates": {"@odata.id": self.collection()}}}}))
            }
            "/redfish/v1/Managers/1/NetworkProtocol" => {
                Reply::json(json!({"HTTPS": {"Port": 443, "Certificates": {"@odata.id": self.web_certificates()}}}))
            }
            "/redfish/v1/UpdateService" if self.model == Model::Xcc => {
                Reply::json(json!({"RemoteServerCertificates": {"@odata.id": self.collection()}}))
            }
            "/redfish/v1/Systems/1/VirtualMedia/Cd1" => Reply::json(json!({"Id": "Cd1"})),
            "/redfish/v1/CertificateService" if self.has_web_server() => Reply::json(self.certificate_service()),
            _ => error(404, "No such resource."),
        }
    }

    fn log_in(&mut self, body: &Value) -> Reply {
        if body["UserName"] != USER || body["Password"] != PASSWORD {
            return error(401, "The user name or password is wrong.");
        }
        self.next += 1;
        let (id, token) = (self.next, format!("token-{}", self.next));
        self.sessions.push((id, token.clone()));
        let uri = format!("/redfish/v1/SessionService/Sessions/{id}");
        Reply::Json(201, vec![("X-Auth-Token", token), ("Location", uri.clone())], json!({"@odata.id": uri}))
    }

    fn list(&self, query: &str) -> Reply {
        let collection = self.collection();
        let inline = query == "$expand=." && self.model == Model::Dmtf { expand: true };
        let member = |(id, text): &(u32, String)| match inline {
            true => certificate(collection, *id, text),
            false => json!({"@odata.id": format!("{collection}/{id}")}),
        };
        Reply::json(json!({"@odata.id": collection, "Members": self.members.iter().map(member).collect::<Vec<_>>()}))
    }

    fn create(&mut self, body: &Value) -> Reply {
        let text = body["CertificateString"].as_str().unwrap_or_default().to_owned();
        let first = ders(&text).first().map(|der| Fingerprint::of(der));
        let status = match self.model {
            Model::OpenBmc if first.is_none_or(|first| self.held().contains(&first)) || self.members.len() >= 10 => {
                return error(500, "The request failed due to an internal service error.");
            }
            Model::OpenBmc => 200,
            Model::Xcc if self.members.len() >= 4 => return error(409, "There are four certificates already."),
            Model::Vmedia { .. } if !self.members.is_empty() => {
                return error(409, "Virtual media certificate already exists");
            }
            Model::Vmedia { .. } => 204,
            _ if ders(&text).len() != 1 => return error(400, "The certificate is not in the form of PEM."),
            _ => 201,
        };
        let id = self.store(text);
        Reply::Json(status, vec![("Location", format!("{}/{id}", self.collection()))], json!({"Id": id.to_string()}))
    }
}

/// In the standard's format, with a resolution.
pub fn error(status: u16, message: &str) -> Reply {
    let said = json!({"MessageId": "Base.1.13.GeneralError", "Message": message, "Resolution": "Look it up."});
    Reply::Json(
        status,
        Vec::new(),
        json!({"error": {"code": "Base.1.13.GeneralError", "@Message.ExtendedInfo": [said]}}),
    )
}

fn certificate(collection: &str, id: u32, text: &str) -> Value {
    json!({"@odata.id": format!("{collection}/{id}"), "CertificateString": text, "CertificateType": "PEM"})
}

/// One long line that ends with a carriage return: devices reformat PEM.
pub fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\r\n{}\r\n-----END CERTIFICATE-----\r\n", BASE64_STANDARD.encode(der))
}

pub(super) fn ders(text: &str) -> Vec<Vec<u8>> {
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    let bodies = blocks.filter_map(|block| Some(block.split_once("-----END CERTIFICATE-----")?.0));
    bodies.filter_map(|body| BASE64_STANDARD.decode(body.split_whitespace().collect::<String>()).ok()).collect()
}

/// PKCS #8.
pub(super) fn key(text: &str) -> Option<Vec<u8>> {
    let (_, body) = text.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (body, _) = body.split_once("-----END PRIVATE KEY-----")?;
    BASE64_STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
}

fn is_pair(leaf: &[u8], key: &[u8]) -> bool {
    let Ok(key) = KeyPair::try_from(key) else { return false };
    Certificate::from_der(leaf).is_ok_and(|leaf| leaf.spki_der() == key.subject_public_key_info())
}
