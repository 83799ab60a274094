//! A FAKE management controller for tests and the demo fleet: it speaks enough Redfish over real TLS on loopback to
//! behave, and misbehave, like devices. Its behaviour was observed on running OpenBMC, or read in Lenovo's and the DMTF's
//! documents; it proves nothing else about real devices. It creates certificate requests with the `openssl` program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a fake stops at the first surprise, so that a test fails there"
)]

mod csr;
mod kept;
mod model;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::response::Response;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rcgen::{CertificateParams, CustomExtension, DnType, IsCa, KeyPair, PublicKeyData};
use rootcast_core::device::Pin;
use rootcast_core::device::address::DeviceAddress;
use rootcast_pki::fingerprint::Fingerprint;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

pub use csr::{Csr, Flaw};
use kept::Kept;
use model::Web;
pub use model::{GENERATE, Model, REPLACE, State, error, pem};

/// The only account of every fake.
pub const USER: &str = "admin";
pub const PASSWORD: &str = "correct horse";

/// The task monitor of its asynchronous operations.
pub const MONITOR: &str = "/redfish/v1/TaskService/TaskMonitors/7";

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

/// The answer for a task that is still running.
pub fn running(retry_after: &str) -> Reply {
    let headers = vec![("Location", MONITOR.to_owned()), ("Retry-After", retry_after.to_owned())];
    Reply::Json(202, headers, json!({"TaskState": "Running"}))
}

/// A running fake; it ends with the runtime on which it was started.
pub struct Fake {
    pub address: DeviceAddress,
    /// Pin of its TLS certificate.
    pub pin: Pin,
    /// Pin of its TLS key.
    pub key_pin: Pin,
    shared: Arc<Mutex<Shared>>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fake").field("address", &self.address).finish_non_exhaustive()
    }
}

struct Shared {
    state: State,
    requests: Vec<Request>,
    fault: Option<Fault>,
    tls: RustlsConfig,
    versions: Vec<&'static rustls::SupportedProtocolVersion>,
    /// After its certificate is replaced: how long the web server is down, and how long it then still shows the old
    /// one.
    restart: (Duration, Duration),
    /// What its web server shows after the restart.
    next: Option<Arc<ServerConfig>>,
    /// No connection is accepted before this time.
    down: Arc<Mutex<Instant>>,
    /// The `Date` of its answers.
    date: Option<&'static str>,
    /// The private key of its web server, PKCS #8 DER.
    key: Vec<u8>,
    /// Where it writes what it holds.
    file: Option<PathBuf>,
}

/// Replaces the fake's answer if it returns something.
type Fault = Box<dyn FnMut(&Request, &mut State) -> Option<Reply> + Send>;

/// A request that the fake received.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Including its query.
    pub uri: String,
    pub token: Option<String>,
    pub authorization: Option<String>,
    pub body: Value,
}

impl Request {
    pub fn is(&self, method: &str, part_of_uri: &str) -> bool {
        self.method == method && self.uri.contains(part_of_uri)
    }
}

pub enum Reply {
    Json(u16, Vec<(&'static str, String)>, Value),
    Raw(Vec<u8>),
    /// One byte at a time, without end.
    Drip,
    /// The connection breaks within the answer.
    Broken,
    Hang,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self::Json(status, Vec::new(), Value::Null)
    }

    pub fn json(body: Value) -> Self {
        Self::Json(200, Vec::new(), body)
    }
}

impl Fake {
    pub async fn start(model: Model) -> Self {
        let identity = Identity::new();
        let key = identity.key();
        Self::start_as(model, &identity, key, rustls::DEFAULT_VERSIONS).await
    }

    /// On this port, with what it held when it was last started with this file, or new. From now on it keeps there what
    /// it holds.
    ///
    /// # Errors
    /// The port is taken, or the file is not one of a fake.
    pub fn start_from(file: &Path, model: Model, port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let kept = match Kept::read(file)? {
            Some(kept) => kept,
            None => {
                let new = Identity::new();
                Kept::new(&new.certificate, new.key.serialize_der())
            }
        };
        let key = kept.key.clone();
        let fake =
            Self::serve(listener, kept.state(model), kept.chain(), key, kept.key_pin(), rustls::DEFAULT_VERSIONS);
        let mut shared = fake.lock();
        shared.file = Some(file.to_owned());
        shared.keep();
        drop(shared);
        Ok(fake)
    }

    /// `key` need not match the certificate.
    pub async fn start_as(
        model: Model,
        identity: &Identity,
        key: PrivateKeyDer<'static>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let state = State::new(model, Web::new(pem(&identity.certificate)));
        let key_pin = Pin::Key(Fingerprint::of(&identity.key.subject_public_key_info()));
        Self::serve(listener, state, vec![identity.certificate.to_vec()], key.secret_der().to_vec(), key_pin, versions)
    }

    fn serve(
        listener: TcpListener,
        state: State,
        chain: Vec<Vec<u8>>,
        key: Vec<u8>,
        key_pin: Pin,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let pin = Pin::Certificate(Fingerprint::of(&chain[0]));
        let tls = RustlsConfig::from_config(Arc::new(server(chain, key.clone(), versions)));
        let down = Arc::new(Mutex::new(Instant::now()));
        let shared = Arc::new(Mutex::new(Shared {
            state,
            requests: Vec::new(),
            fault: None,
            tls: tls.clone(),
            versions: versions.to_vec(),
            restart: Default::default(),
            next: None,
            down: Arc::clone(&down),
            date: None,
            key,
            file: None,
        }));
        let answering = Arc::clone(&shared);
        let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
            let shared = Arc::clone(&answering);
            async move { answer(shared, request).await }
        });
        let acceptor = RustlsAcceptor::new(tls).acceptor(Door { down });
        let server = axum_server::from_tcp(listener).unwrap().acceptor(acceptor);
        let server = tokio::spawn(server.serve(router.into_make_service()));
        Self { address: format!("https://127.0.0.1:{port}").parse().unwrap(), pin, key_pin, shared, server }
    }

    /// Frees its port.
    pub async fn end(self) {
        self.server.abort();
        let _ = self.server.await;
    }

    /// What its web server shows, DER.
    pub fn certificate(&self) -> Vec<u8> {
        self.lock().state.chain().swap_remove(0)
    }

    pub fn fault(&self, fault: impl FnMut(&Request, &mut State) -> Option<Reply> + Send + 'static) {
        self.lock().fault = Some(Box::new(fault));
    }

    /// Stops its clock at this HTTP date.
    pub fn lives_in(&self, date: &'static str) {
        self.lock().date = Some(date);
    }

    /// Ends the [fault](Self::fault).
    pub fn recover(&self) {
        self.lock().fault = None;
    }

    /// A POST is answered with 202, and stored when its [monitor](MONITOR) has been queried `polls` times.
    pub fn work_on(&self, polls: u32, retry_after: &'static str) {
        let (mut asked, mut body) = (0, Value::Null);
        self.fault(move |request, state| {
            if request.is("POST", state.collection()) {
                body = request.body.clone();
                return Some(running(retry_after));
            }
            if !request.is("GET", MONITOR) {
                return None;
            }
            asked += 1;
            if asked < polls {
                return Some(running(retry_after));
            }
            state.store(body["CertificateString"].as_str().unwrap().to_owned());
            Some(Reply::status(204))
        });
    }

    /// After its certificate is replaced, the web server is down for `gone`, then shows the old certificate for
    /// `old`. By default it changes at once.
    pub fn restarts(&self, gone: Duration, old: Duration) {
        self.lock().restart = (gone, old);
    }

    /// After its certificate is replaced, the web server is down until it [comes back](Self::comes_back).
    pub fn stays_away(&self) {
        self.restarts(FOR_EVER, Duration::ZERO);
    }

    pub fn comes_back(&self) {
        let mut shared = self.lock();
        shared.restart = Default::default();
        *shared.down.lock().unwrap() = Instant::now();
    }

    /// From now on it shows the certificate that it lists.
    pub fn restart_controller(&self) {
        self.lock().restart_controller();
    }

    /// Whether the services that keep its certificates are down: its web server answers 200 with empty lists. When they
    /// are back, they have given every certificate another number.
    pub fn services(&self, down: bool) {
        self.lock().state.set_down(down);
    }

    /// From now on it reports success for every replacement, and keeps the old certificate.
    pub fn lies(&self) {
        self.fault(|request, _| request.is("POST", REPLACE).then(|| Reply::status(204)));
    }

    /// How it creates requests from now on.
    pub fn makes_requests(&self, csr: Csr) {
        self.lock().state.csr = csr;
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.lock().requests)
    }

    pub fn hold(&self, der: &[u8]) {
        self.lock().state.add(der);
    }

    /// The content of its trust slot, in the order of its members.
    pub fn held(&self) -> Vec<Fingerprint> {
        self.lock().state.held()
    }

    pub fn open_sessions(&self) -> usize {
        self.lock().state.sessions.len()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }
}

/// A device's TLS certificate: self-signed, long expired, and without a specific name, as on many devices.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Default for Identity {
    fn default() -> Self {
        Self::new()
    }
}

impl Identity {
    pub fn new() -> Self {
        Self::with(KeyPair::generate().unwrap())
    }

    pub fn with(key: KeyPair) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "testhost");
        params.not_before = rcgen::date_time_ymd(1975, 1, 1);
        params.not_after = rcgen::date_time_ymd(1976, 1, 1);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, key }
    }

    /// A new key with a certificate that webpki refuses.
    pub fn odd(how: Odd) -> Self {
        let mut new = Self::new();
        let mut tbs = parts(&parts(&new.certificate)[0]);
        match how {
            // Negative, where rcgen's is not.
            Odd::NegativeSerial => tbs[1][2] |= 0x80,
            // Without extensions, as rcgen's here is.
            Odd::Version1 => _ = tbs.remove(0),
            Odd::CriticalExtension => {
                let unknown = tlv(0x30, &[b"\x06\x03\x2a\x03\x04\x01\x01\xff\x04\x02\x05\x00".to_vec()]);
                tbs.push(tlv(0xa3, &[tlv(0x30, &[unknown])]));
            }
        }
        // Nobody verifies the signature of a certificate that is pinned.
        let signed = parts(&new.certificate);
        new.certificate = tlv(0x30, &[tlv(0x30, &tbs), signed[1].clone(), signed[2].clone()]).into();
        new
    }

    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.serialize_der().into())
    }
}

/// What webpki has no tolerance for.
#[derive(Debug, Clone, Copy)]
pub enum Odd {
    NegativeSerial,
    Version1,
    CriticalExtension,
}

/// The elements within one.
fn parts(der: &[u8]) -> Vec<Vec<u8>> {
    let length = |der: &[u8]| match der[1] {
        0x82 => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
        0x81 => (3, usize::from(der[2])),
        short => (2, usize::from(short)),
    };
    let mut rest = &der[length(der).0..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (header, content) = length(rest);
        let (element, after) = rest.split_at(header + content);
        found.push(element.to_vec());
        rest = after;
    }
    found
}

fn tlv(tag: u8, content: &[Vec<u8>]) -> Vec<u8> {
    let content = content.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    match content.len() {
        0..0x80 => [&[tag, length[1]], content.as_slice()].concat(),
        0x80..0x100 => [&[tag, 0x81, length[1]], content.as_slice()].concat(),
        _ => [&[tag, 0x82, length[0], length[1]], content.as_slice()].concat(),
    }
}

/// With a key in PKCS #8 DER.
fn server(chain: Vec<Vec<u8>>, key: Vec<u8>, versions: &[&'static rustls::SupportedProtocolVersion]) -> ServerConfig {
    let (chain, key) = (chain.into_iter().map(CertificateDer::from).collect(), PrivateKeyDer::Pkcs8(key.into()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let signing = provider.key_provider.load_private_key(key).unwrap();
    let certified = rustls::sign::CertifiedKey::new(chain, signing);
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
}

/// Closed while the web server restarts.
#[derive(Debug, Clone)]
struct Door {
    down: Arc<Mutex<Instant>>,
}

impl<I, S> Accept<I, S> for Door {
    type Stream = I;
    type Service = S;
    type Future = std::future::Ready<std::io::Result<(I, S)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let is_up = *self.down.lock().unwrap() <= Instant::now();
        std::future::ready(is_up.then_some((stream, service)).ok_or_else(|| std::io::Error::other("restarting")))
    }
}

impl Shared {
    fn restart_controller(&mut self) {
        self.restart = Default::default();
        if let Some(config) = self.next.take() {
            self.tls.reload_from_config(config);
        }
    }

    /// Serves the new certificate as soon as the restart is over.
    fn change_certificate(&mut self, chain: Vec<Vec<u8>>, key: Vec<u8>) {
        self.key.clone_from(&key);
        let config = Arc::new(server(chain, key, &self.versions));
        let (gone, old) = self.restart;
        *self.down.lock().unwrap() = Instant::now() + gone;
        if old.is_zero() {
            return self.tls.reload_from_config(config);
        }
        self.next = Some(Arc::clone(&config));
        let tls = self.tls.clone();
        tokio::spawn(async move {
            tokio::time::sleep(gone + old).await;
            tls.reload_from_config(config);
        });
    }
}

/// A root certificate, DER.
pub fn root(name: &str) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    // As large as real certificates.
    params.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![4; 600]));
    params.self_signed(&key).unwrap().der().to_vec()
}

async fn answer(shared: Arc<Mutex<Shared>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let request = Request {
        method: parts.method.to_string(),
        uri: parts.uri.to_string(),
        token: header("x-auth-token"),
        authorization: header("authorization"),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let (reply, date) = {
        let mut shared = shared.lock().unwrap();
        shared.requests.push(request.clone());
        let mut fault = shared.fault.take();
        let reply = fault.as_mut().and_then(|fault| fault(&request, &mut shared.state));
        shared.fault = fault;
        let reply = reply.unwrap_or_else(|| shared.state.answer(&request));
        if let Some((chain, key)) = shared.state.web.replaced.take() {
            shared.change_certificate(chain, key);
        }
        if std::mem::take(&mut shared.state.web.restarts) {
            shared.restart_controller();
        }
        if request.method != "GET" {
            shared.keep();
        }
        (reply, shared.date)
    };
    match reply {
        Reply::Json(status, headers, body) => {
            let mut response = Response::builder().status(status).header("content-type", "application/json");
            if let Some(date) = date {
                response = response.header("date", date);
            }
            for (name, value) in headers {
                response = response.header(name, value);
            }
            let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
            response.body(body).unwrap()
        }
        Reply::Raw(bytes) => Response::new(Body::from(bytes)),
        Reply::Drip => Response::new(stream(Ok(Bytes::from_static(b" ")))),
        Reply::Broken => Response::new(stream(Err(std::io::Error::other("broken")))),
        Reply::Hang => std::future::pending().await,
    }
}

fn stream(item: std::io::Result<Bytes>) -> Body {
    let first = std::io::Result::Ok(Bytes::from_static(b"{"));
    Body::from_stream(futures::stream::unfold((first, item), |(now, item)| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let next = match &item {
            Ok(bytes) => Ok(bytes.clone()),
            Err(why) => Err(std::io::Error::other(why.to_string())),
        };
        Some((now, (next, item)))
    }))
}
