//! A management controller in memory. It behaves as OpenBMC was observed to: 200 on create, 500 on a duplicate and on
//! the eleventh certificate, arbitrary numbers of members, one certificate request at a time, empty lists while the
//! service that keeps the certificates is down.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData};
use rootcast_core::device::Pin;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::clock;

pub const USER: &str = "admin";
pub const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
const TRUSTED: &str = "/redfish/v1/Managers/bmc/Truststore/Certificates";
const OWN: &str = "/redfish/v1/Managers/bmc/NetworkProtocol/HTTPS/Certificates";
const SERVICE: &str = "/redfish/v1/CertificateService";
const MONITORS: &str = "/redfish/v1/TaskService/TaskMonitors";
const PLACES: usize = 10;
/// Wrong passwords until the account is locked.
const LOCKED_AFTER: u32 = 3;

/// The device's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    #[default]
    Well,
    Hangs,
    Refuses,
    /// Reports success, and stores nothing.
    Lies,
    /// Answers 202, and finishes this number of seconds later.
    Slow(u64),
    Busy,
    Broken,
    Full,
    /// Makes requests, and takes no certificate for them.
    Declines,
    /// Stores an anchor, and is broken from then on.
    Crashes,
    /// The services that keep its certificates are down: their lists are empty.
    Quiet,
}

#[derive(Clone)]
pub struct Bmc {
    pub mood: Mood,
    pub password: String,
    /// It is an attacker's server: it lets everybody in, to see what is sent next.
    pub lets_all_in: bool,
    /// Passwords that it was sent.
    pub logins: Vec<String>,
    /// Requests that brought a private key.
    pub keys: u32,
    /// Requests that may change something, other than log-ins and log-outs.
    pub writes: u32,
    /// How far its clock is behind; `None`: its answers have no date.
    pub behind: Option<Duration>,
    /// Its manager says so, not its answers.
    pub by_manager: bool,
    /// Log-ins with a wrong password, in total.
    pub wrong: u32,
    /// Its web server is down until this time.
    pub back: Duration,
    /// When it last lost its content.
    pub forgot: Duration,
    leaf: Certificate,
    /// What it serves after its leaf.
    chain: Vec<Certificate>,
    /// PKCS #8.
    leaf_key: Vec<u8>,
    anchors: Vec<(u32, Certificate)>,
    /// For anchors.
    pub places: usize,
    sessions: Vec<(u32, String)>,
    /// Certificates in asynchronous tasks, and when they are stored.
    tasks: Vec<(u32, Duration, Certificate)>,
    /// So many of its next requests are followed by somebody else's, with another key.
    pub overtaken: u32,
    /// The key of its last request.
    requested: Option<Arc<KeyPair>>,
    next: u32,
}

pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Value,
    /// The anchor that this answer contains.
    pub shown: Option<Fingerprint>,
    /// The anchor that is gone from now on.
    pub removed: Option<Certificate>,
}

impl Reply {
    fn of(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body, shown: None, removed: None }
    }
}

impl Bmc {
    pub fn new(password: &str) -> Self {
        let (leaf, leaf_key) = self_signed();
        Self {
            mood: Mood::Well,
            password: password.to_owned(),
            lets_all_in: false,
            logins: Vec::new(),
            keys: 0,
            writes: 0,
            behind: None,
            by_manager: false,
            wrong: 0,
            back: Duration::ZERO,
            forgot: Duration::ZERO,
            leaf,
            chain: Vec::new(),
            leaf_key,
            anchors: Vec::new(),
            places: PLACES,
            sessions: Vec::new(),
            tasks: Vec::new(),
            overtaken: 0,
            requested: None,
            next: 1,
        }
    }

    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// What it trusts, without tasks that are due.
    pub fn anchors(&self) -> impl Iterator<Item = &Certificate> {
        self.anchors.iter().map(|(_, anchor)| anchor)
    }

    /// The certificate that it shows in a handshake, and its key.
    pub fn identity(&self) -> (Vec<u8>, Vec<u8>) {
        (self.leaf.der().to_vec(), self.leaf_key.clone())
    }

    pub fn pin(&self) -> Pin {
        Pin::Certificate(self.leaf.fingerprint())
    }

    pub fn is_let_in_by(&self, pins: &[Pin]) -> bool {
        let key = Pin::Key(Fingerprint::of(self.leaf.spki_der()));
        pins.contains(&self.pin()) || pins.contains(&key)
    }

    /// The device was replaced or reset, and has another certificate.
    pub fn change_identity(&mut self) {
        (self.leaf, self.leaf_key) = self_signed();
        self.chain.clear();
    }

    /// A factory reset, or a restored configuration.
    pub fn forget(&mut self) {
        self.anchors.clear();
        self.tasks.clear();
        self.forgot = clock::age();
    }

    /// It was restarted: the key of its last request is gone.
    pub fn lose_request(&mut self) {
        self.requested = None;
    }

    /// Somebody removed it by hand.
    pub fn drop_anchor(&mut self, anchor: &Fingerprint) {
        self.anchors.retain(|(_, held)| held.fingerprint() != *anchor);
    }

    /// Its trust store has no place left.
    pub fn fill(&mut self) {
        while self.anchors.len() < self.places {
            let (certificate, _) = self_signed();
            self.add(certificate);
        }
    }

    /// Includes tasks that are due, even if they were not queried.
    pub fn holds(&mut self, anchor: &Fingerprint) -> bool {
        self.finish_tasks();
        self.anchors.iter().any(|(_, held)| held.fingerprint() == *anchor)
    }

    fn finish_tasks(&mut self) {
        let now = clock::age();
        let (done, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.tasks).into_iter().partition(|task| task.1 <= now);
        self.tasks = open;
        for (_, _, anchor) in done {
            if self.anchors.len() < self.places && !self.anchors.iter().any(|(_, held)| *held == anchor) {
                self.add(anchor);
            }
        }
    }

    fn add(&mut self, anchor: Certificate) -> u32 {
        self.next += 1;
        self.anchors.push((self.next, anchor));
        self.next
    }

    pub fn answer(&mut self, method: &str, path: &str, token: Option<&str>, body: &[u8]) -> Reply {
        self.finish_tasks();
        self.keys += u32::from(String::from_utf8_lossy(body).contains("PRIVATE KEY"));
        self.writes += u32::from(method != "GET" && !path.starts_with(SESSIONS));
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        match self.mood {
            Mood::Busy => return error(503, "Retry in a moment."),
            Mood::Broken => return error(500, "Internal error."),
            _ => {}
        }
        if (method, path) == ("POST", SESSIONS) {
            return self.log_in(&body);
        }
        if !self.sessions.iter().any(|(_, known)| Some(known.as_str()) == token) {
            return error(401, "The session is not valid.");
        }
        let is_kept = path.starts_with(TRUSTED) || path.starts_with(OWN);
        match method {
            "GET" if self.mood == Mood::Quiet && (path == TRUSTED || path == OWN) => {
                return Reply::of(200, json!({ "Members": [] }));
            }
            "POST" if self.mood == Mood::Quiet && path != SESSIONS => return error(500, "Internal error."),
            _ if self.mood == Mood::Quiet && is_kept => return error(404, "No such resource."),
            _ => {}
        }
        let number = |under: &str| path.strip_prefix(under)?.strip_prefix('/')?.parse::<u32>().ok();
        match method {
            "DELETE" if let Some(id) = number(SESSIONS) => {
                self.sessions.retain(|(known, _)| *known != id);
                Reply::of(204, Value::Null)
            }
            "GET" if path == TRUSTED => {
                let member = |(id, _): &(u32, Certificate)| json!({ "@odata.id": format!("{TRUSTED}/{id}") });
                Reply::of(200, json!({ "Members": self.anchors.iter().map(member).collect::<Vec<_>>() }))
            }
            "GET" if let Some(id) = number(TRUSTED) => match self.anchors.iter().find(|(known, _)| *known == id) {
                Some((_, anchor)) => Reply { shown: Some(anchor.fingerprint()), ..Reply::of(200, shown(anchor)) },
                None => error(404, "No such certificate."),
            },
            "DELETE" if let Some(id) = number(TRUSTED) => {
                match self.anchors.iter().position(|(known, _)| *known == id) {
                    Some(at) => Reply { removed: Some(self.anchors.remove(at).1), ..Reply::of(204, Value::Null) },
                    None => error(404, "No such certificate."),
                }
            }
            "POST" if path == TRUSTED => self.install(&body),
            "GET" if path == "/redfish/v1/Managers" && self.by_manager => {
                Reply::of(200, json!({ "Members": [{ "@odata.id": "/redfish/v1/Managers/bmc" }] }))
            }
            "GET" if path == "/redfish/v1/Managers/bmc" => {
                let clock = (clock::now() - self.behind.unwrap_or_default()).format(&Rfc3339).unwrap();
                Reply::of(200, json!({ "DateTime": clock }))
            }
            "GET" if let Some(id) = number(MONITORS) => match self.tasks.iter().any(|task| task.0 == id) {
                true => self.running(id),
                false => Reply::of(204, Value::Null),
            },
            "GET" if path == OWN => Reply::of(200, json!({ "Members": [{ "@odata.id": format!("{OWN}/1") }] })),
            "GET" if number(OWN).is_some() => Reply::of(200, shown(&self.leaf)),
            "GET" if path == SERVICE => Reply::of(200, json!({ "@odata.id": SERVICE, "Actions": {} })),
            "POST" if path.ends_with("CertificateService.GenerateCSR") => self.request(&body),
            "POST" if path.ends_with("CertificateService.ReplaceCertificate") => self.replace(&body),
            _ => error(404, "No such resource."),
        }
    }

    fn log_in(&mut self, body: &Value) -> Reply {
        self.logins.push(body["Password"].as_str().unwrap_or_default().to_owned());
        let is_right = body["UserName"] == USER && body["Password"] == self.password.as_str();
        if !is_right && !self.lets_all_in {
            self.wrong += 1;
            let told = if self.wrong >= LOCKED_AFTER { "The account is locked." } else { "Wrong password." };
            return error(401, told);
        }
        self.next += 1;
        let (id, token) = (self.next, format!("token-{}", self.next));
        self.sessions.push((id, token.clone()));
        let uri = format!("{SESSIONS}/{id}");
        let headers = vec![("X-Auth-Token", token), ("Location", uri.clone())];
        Reply { headers, ..Reply::of(201, json!({ "@odata.id": uri })) }
    }

    fn install(&mut self, body: &Value) -> Reply {
        let Ok(anchor) = Certificate::from_pem(body["CertificateString"].as_str().unwrap_or_default()) else {
            return error(500, "Not a certificate.");
        };
        let known = self.anchors.iter().any(|(_, held)| *held == anchor);
        match self.mood {
            Mood::Lies => Reply::of(204, Value::Null),
            Mood::Full => error(507, "No space left."),
            Mood::Crashes if !known => {
                self.add(anchor);
                self.mood = Mood::Broken;
                error(500, "Internal error.")
            }
            _ if known || self.anchors.len() >= self.places => error(500, "Internal error."),
            Mood::Slow(seconds) => {
                self.next += 1;
                self.tasks.push((self.next, clock::age() + Duration::from_secs(seconds), anchor));
                self.running(self.next)
            }
            _ => {
                let id = self.add(anchor);
                Reply { headers: vec![("Location", format!("{TRUSTED}/{id}"))], ..Reply::of(200, json!({ "Id": id })) }
            }
        }
    }

    fn running(&self, id: u32) -> Reply {
        let headers = vec![("Location", format!("{MONITORS}/{id}")), ("Retry-After", "20".to_owned())];
        Reply { headers, ..Reply::of(202, json!({ "TaskState": "Running" })) }
    }

    /// Creates a new key; the key of the last request is forgotten.
    fn request(&mut self, body: &Value) -> Reply {
        let is_long = |name: &str, most: usize| body[name].as_str().is_none_or(|text| text.len() > most);
        if is_long("CommonName", 64) || is_long("Organization", 64) || is_long("Country", 2) {
            return error(500, "Internal error.");
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, body["CommonName"].as_str().unwrap_or_default());
        let request = params.serialize_request(&key).unwrap().pem().unwrap();
        self.requested = (self.overtaken == 0).then(|| Arc::new(key));
        self.overtaken = self.overtaken.saturating_sub(1);
        Reply::of(200, json!({ "CSRString": request }))
    }

    /// For the key of its last request, or a key that is sent with the certificate.
    fn replace(&mut self, body: &Value) -> Reply {
        if self.mood == Mood::Declines {
            return error(400, "The certificate is not accepted.");
        }
        let text = body["CertificateString"].as_str().unwrap_or_default();
        let Ok(blocks) = pem::parse_many(text) else { return error(500, "Not a certificate.") };
        let given = blocks.iter().filter(|block| block.tag() == "CERTIFICATE");
        let mut chain = given.map_while(|block| Certificate::from_der(block.contents()).ok()).collect::<Vec<_>>();
        if chain.is_empty() {
            return error(500, "Not a certificate.");
        }
        let leaf = chain.remove(0);
        let brought = blocks.iter().find(|block| block.tag() == "PRIVATE KEY").map(|block| block.contents().to_vec());
        let own = self.requested.as_ref().filter(|key| key.subject_public_key_info() == leaf.spki_der());
        let Some(key) = brought.or_else(|| own.map(|key| key.serialize_der())) else {
            return error(400, "The certificate is for another key.");
        };
        if self.mood != Mood::Lies {
            (self.leaf, self.chain, self.leaf_key) = (leaf, chain, key);
            self.back = clock::age() + Duration::from_secs(2);
        }
        Reply::of(200, shown(&self.leaf))
    }
}

fn shown(certificate: &Certificate) -> Value {
    let text = BASE64_STANDARD.encode(certificate.der());
    json!({ "CertificateString": format!("-----BEGIN CERTIFICATE-----\r\n{text}\r\n-----END CERTIFICATE-----\r\n"), "CertificateType": "PEM" })
}

fn error(status: u16, message: &str) -> Reply {
    let said = json!({ "MessageId": "Base.1.13.GeneralError", "Message": message, "Resolution": "None." });
    Reply::of(status, json!({ "error": { "code": "Base.1.13.GeneralError", "@Message.ExtendedInfo": [said] } }))
}

fn self_signed() -> (Certificate, Vec<u8>) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "testhost");
    let leaf = Certificate::from_der(params.self_signed(&key).unwrap().der().to_vec()).unwrap();
    (leaf, key.serialize_der())
}
