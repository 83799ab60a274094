//! The same devices behind real TLS on loopback, for some worlds: the driver's own wire, real handshakes, real pins.
//!
//! Sockets do not follow virtual time. So they run in a separate runtime, and the world waits for them on a blocking
//! thread, during which tokio does not advance virtual time. The world itself creates the devices' answers, as
//! without TLS.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use axum::body::Body;
use axum_server::tls_rustls::RustlsConfig;
use bytes::Bytes;
use http::uri::{Authority, Parts, Scheme};
use http::{Request, Response, Uri};
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_drivers::{Line, ObservedCertificate, Peer, Tls, Wire};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::Instant;

use crate::cloud::Cloud;
use crate::devices::answer;

pub struct Loopback {
    runtime: Option<Runtime>,
    ports: Mutex<BTreeMap<SocketAddr, u16>>,
    asked: mpsc::UnboundedSender<Asked>,
    pub handshakes: AtomicU64,
}

/// A request to a device's server.
struct Asked {
    at: SocketAddr,
    request: Request<Bytes>,
    answer: oneshot::Sender<Option<Response<Bytes>>>,
}

impl Loopback {
    /// Puts the devices of this world behind TLS.
    pub fn begin(cloud: &Arc<Cloud>) {
        let (asked, mut asks) = mpsc::unbounded_channel::<Asked>();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        _ = cloud.loopback.set(Self {
            runtime: Some(runtime),
            ports: Mutex::default(),
            asked,
            handshakes: AtomicU64::new(0),
        });
        let cloud = Arc::downgrade(cloud);
        spawn_local(async move {
            while let Some(Asked { at, request, answer: to }) = asks.recv().await {
                let Some(cloud) = cloud.upgrade() else { return };
                _ = to.send(answer(&cloud, at, request));
            }
        });
    }

    /// Starts a server for the device at this address.
    pub fn serve(&self, cloud: &Arc<Cloud>, at: SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.ports.lock().unwrap().insert(at, listener.local_addr().unwrap().port());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Identity { cloud: Arc::downgrade(cloud), at }));
        // Each request needs a handshake, in which the device shows its current certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let asked = self.asked.clone();
        let router = axum::Router::new().fallback(move |request: Request<Body>| {
            let asked = asked.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let (answer, answered) = oneshot::channel();
                _ = asked.send(Asked { at, request: Request::from_parts(head, body), answer });
                let (mut head, body) = answered.await.ok().flatten().unwrap_or_default().into_parts();
                head.headers.insert("connection", "close".parse().unwrap());
                Response::from_parts(head, Body::from(body))
            }
        });
        let _inside = self.runtime().enter();
        let tls = RustlsConfig::from_config(Arc::new(config));
        let server = axum_server::from_tcp_rustls(listener, tls).unwrap();
        self.runtime().spawn(server.serve(router.into_make_service()));
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }

    /// The peer with its address on loopback.
    fn here(&self, peer: &Peer) -> Result<Peer, Failure> {
        let port = self.ports.lock().unwrap().get(&peer.sockets[0]).copied();
        let port = port.ok_or_else(|| Failure::new(ErrorClass::Connect, "nobody is there."))?;
        let address = format!("https://127.0.0.1:{port}").parse().unwrap();
        Ok(Peer { address, sockets: vec![(Ipv4Addr::LOCALHOST, port).into()], pins: peer.pins.clone() })
    }

    pub fn open(&self, peer: &Peer) -> Result<Arc<dyn Line>, Failure> {
        Tls.open(self.here(peer)?).map(Arc::from)
    }

    pub async fn exchange(
        &self,
        peer: &Peer,
        line: &Arc<dyn Line>,
        mut request: Request<Bytes>,
    ) -> Result<Response<Bytes>, Failure> {
        let authority: Authority = self.here(peer)?.sockets[0].to_string().parse().unwrap();
        let path = request.uri().path_and_query().cloned();
        let mut uri = Parts::default();
        (uri.scheme, uri.authority, uri.path_and_query) = (Some(Scheme::HTTPS), Some(authority), path);
        *request.uri_mut() = Uri::from_parts(uri).unwrap();
        let (handle, line) = (self.runtime().handle().clone(), Arc::clone(line));
        spawn_blocking(move || handle.block_on(line.exchange(request))).await.unwrap()
    }

    pub async fn look(&self, peer: &Peer) -> Result<ObservedCertificate, Failure> {
        let (handle, peer) = (self.runtime().handle().clone(), self.here(peer)?);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        spawn_blocking(move || handle.block_on(Tls.look(&peer, Instant::from_std(deadline)))).await.unwrap()
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// The device's side of a handshake: its certificate, and proof of possession of its key.
#[derive(Debug)]
struct Identity {
    cloud: Weak<Cloud>,
    at: SocketAddr,
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let cloud = self.cloud.upgrade()?;
        cloud.loopback.get()?.handshakes.fetch_add(1, Ordering::Relaxed);
        let (leaf, key) = cloud.fleet.at(self.at, |bmc| bmc.identity())?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = provider.key_provider.load_private_key(PrivateKeyDer::Pkcs8(key.into())).unwrap();
        Some(Arc::new(CertifiedKey::new(vec![CertificateDer::from(leaf)], key)))
    }
}
