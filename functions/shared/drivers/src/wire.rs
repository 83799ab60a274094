//! The only place that connects to devices: HTTP over pinned TLS, and reading a device's certificate.
//!
//! The protocol is implemented on top. This trait is separate so that tests can simulate fleets in memory, with
//! faults that a real TLS server could not reproduce quickly.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use rootcast_core::device::Pin;
use rootcast_core::device::address::DeviceAddress;
use rootcast_core::job::task::{ErrorClass, Failure};
use tokio::time::Instant;

use crate::observe::{ObservedCertificate, handshake};
use crate::tls::{self, Expected, client_config};

/// For TCP and TLS: a switched-off device should not use up its task's time.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// In bytes. The largest legitimate answer is a collection of some dozens of certificates of 2 KiB.
pub const BODY_LIMIT: usize = 1 << 20;

/// A device's addresses, and the pins that identify it.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: DeviceAddress,
    /// Checked against the address policy; no other address is connected to.
    pub sockets: Vec<SocketAddr>,
    /// Nothing is sent unless the device proves possession of one of these certificates' keys.
    pub pins: Vec<Pin>,
}

/// The future of an exchange.
pub type Exchanged<'a, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// Connections to devices.
pub trait Wire: fmt::Debug + Send + Sync {
    /// Does not connect yet.
    fn open(&self, peer: Peer) -> Result<Box<dyn Line>, Failure>;

    /// A handshake only, on a separate connection.
    fn look<'a>(&'a self, peer: &'a Peer, deadline: Instant) -> Exchanged<'a, ObservedCertificate>;
}

/// A connection to one device, opened by the first request and reopened after it broke.
pub trait Line: fmt::Debug + Send + Sync {
    /// Any status counts as an answer. The body has at most [`BODY_LIMIT`] bytes.
    fn exchange(&self, request: Request<Bytes>) -> Exchanged<'_, Response<Bytes>>;
}

/// Real devices, over TLS.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tls;

impl Wire for Tls {
    fn open(&self, peer: Peer) -> Result<Box<dyn Line>, Failure> {
        let name = peer.address.to_string();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(client_config(Expected::Pinned(peer.pins))?)
            .resolve_to_addrs(&peer.address.host().to_string(), &peer.sockets)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .https_only(true)
            .http1_only()
            .pool_max_idle_per_host(1)
            .connect_timeout(CONNECT_LIMIT)
            .build()
            .map_err(|why| tls::failure(&name, &why))?;
        Ok(Box::new(TlsLine { name, client }))
    }

    fn look<'a>(&'a self, peer: &'a Peer, deadline: Instant) -> Exchanged<'a, ObservedCertificate> {
        let expected = Expected::Pinned(peer.pins.clone());
        Box::pin(handshake(&peer.address, &peer.sockets, expected, deadline))
    }
}

pub(crate) fn tls() -> Arc<dyn Wire> {
    Arc::new(Tls)
}

#[derive(Debug)]
struct TlsLine {
    name: String,
    client: reqwest::Client,
}

impl TlsLine {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let asked = format!("{} {path}", request.method());
        let failed = |why: reqwest::Error| self.lost(&why, &asked);
        let request = reqwest::Request::try_from(request).map_err(failed)?;
        let mut response = self.client.execute(request).await.map_err(failed)?;
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > BODY_LIMIT {
                let message = format!("{asked}: the answer is longer than {BODY_LIMIT} bytes.");
                return Err(Failure::new(ErrorClass::Unsupported, message));
            }
            body.extend_from_slice(&chunk);
        }
        *answer.body_mut() = body.into();
        Ok(answer)
    }

    /// The failure for a connection that could not be opened, or broke.
    fn lost(&self, why: &reqwest::Error, asked: &str) -> Failure {
        match why.is_timeout() {
            true => Failure::new(ErrorClass::Timeout, format!("{}: no connection in time.", self.name)),
            false => tls::failure(&format!("{}: {asked}", self.name), why),
        }
    }
}

impl Line for TlsLine {
    fn exchange(&self, request: Request<Bytes>) -> Exchanged<'_, Response<Bytes>> {
        Box::pin(self.send(request))
    }
}
