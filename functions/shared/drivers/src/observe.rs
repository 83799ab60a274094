//! Reads a device's certificate, for the operator who approves the device.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rootcast_core::device::address::{AddressPolicy, DeviceAddress};
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_pki::fingerprint::Fingerprint;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use url::Host;

use crate::dial::resolve;
use crate::tls::{Expected, client_config, failure, key_fingerprint};

/// The leaf certificate that a device shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedCertificate {
    pub der: Vec<u8>,
    /// SHA-256 of `der`.
    pub certificate: Fingerprint,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key: Fingerprint,
}

/// An operator waits for the answer, and the HTTP API's limit is 30 s.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// A TLS handshake only, without HTTP or a credential. The device proves possession of the certificate's key.
pub async fn observe(policy: &AddressPolicy, address: &DeviceAddress) -> Result<ObservedCertificate, Failure> {
    let deadline = Instant::now() + TIME_LIMIT;
    let sockets = resolve(policy, address, deadline).await?;
    handshake(address, &sockets, Expected::Anybody, deadline).await
}

/// Always a full handshake, without session resumption.
pub(crate) async fn handshake(
    address: &DeviceAddress,
    sockets: &[SocketAddr],
    expected: Expected,
    deadline: Instant,
) -> Result<ObservedCertificate, Failure> {
    let deadline = deadline.min(Instant::now() + TIME_LIMIT);
    let late = |_| Failure::new(ErrorClass::Timeout, format!("{address} did not answer in time."));
    let refused = |why: &(dyn std::error::Error + 'static)| failure(address, why);
    let tcp = timeout_at(deadline, TcpStream::connect(sockets)).await.map_err(late)?.map_err(|why| refused(&why))?;
    let connector = TlsConnector::from(Arc::new(client_config(expected)?));
    let handshake = connector.connect(server_name(address)?, tcp);
    let tls = timeout_at(deadline, handshake).await.map_err(late)?.map_err(|why| refused(&why))?;
    let (_, connection) = tls.get_ref();
    let unreadable = |why: &str| Failure::new(ErrorClass::TlsHandshake, format!("{address}: {why}."));
    let leaf = connection.peer_certificates().and_then(<[_]>::first);
    let leaf = leaf.ok_or_else(|| unreadable("the device shows no certificate"))?;
    Ok(ObservedCertificate {
        der: leaf.to_vec(),
        certificate: Fingerprint::of(leaf),
        key: key_fingerprint(leaf).map_err(|_| unreadable("the device's certificate cannot be read"))?,
    })
}

fn server_name(address: &DeviceAddress) -> Result<ServerName<'static>, Failure> {
    match address.host() {
        Host::Ipv4(v4) => Ok(ServerName::from(std::net::IpAddr::V4(*v4))),
        Host::Ipv6(v6) => Ok(ServerName::from(std::net::IpAddr::V6(*v6))),
        Host::Domain(name) => ServerName::try_from(name.clone())
            .map_err(|why| Failure::new(ErrorClass::TlsHandshake, format!("{address}: {why}."))),
    }
}
