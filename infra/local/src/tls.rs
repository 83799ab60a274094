//! Certificates and TLS servers for this machine only: the API's front, image servers, devices.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use axum::Router;
use axum_server::{Handle, tls_rustls::RustlsConfig};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::task::JoinHandle;

/// How long open requests may continue when a server is ended.
const DRAIN: Duration = Duration::from_secs(2);

/// Host names of every server here.
const LOOPBACK: [&str; 2] = ["localhost", "127.0.0.1"];

/// A certificate authority for one run; its key is never written to disk.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its chain and private key, in PEM.
pub(crate) struct Identity {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let mut params = named(name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for servers on loopback.
    pub(crate) fn issue(&self, name: &str) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let certificate = server(name)?.signed_by(&key, &self.0)?;
        Ok(Identity { chain: certificate.pem(), key: key.serialize_pem() })
    }
}

impl Identity {
    /// A self-signed certificate, as most new devices have, also in DER.
    pub(crate) fn self_signed(name: &str) -> Result<(Self, CertificateDer<'static>)> {
        let key = KeyPair::generate()?;
        let certificate = server(name)?.self_signed(&key)?;
        Ok((Self { chain: certificate.pem(), key: key.serialize_pem() }, certificate.der().clone()))
    }
}

fn server(name: &str) -> Result<CertificateParams> {
    let mut params = named(name, &LOOPBACK)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn named(name: &str, hosts: &[&str]) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(hosts.iter().map(|&host| host.to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

/// A running TLS server on loopback; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    handle: Handle<SocketAddr>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// Serves `app` over HTTP/2 and HTTP/1.1 on `port`, or on a free port.
    pub(crate) fn start(app: Router, identity: &Identity, port: Option<u16>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0)))
            .with_context(|| format!("port {} on loopback is taken: choose another, or none", port.unwrap_or(0)))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let mut tls = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?)
            .context("the server's certificate and key do not fit")?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let handle = Handle::new();
        let server =
            axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(Arc::new(tls)))?.handle(handle.clone());
        Ok(Self { port, handle, task: tokio::spawn(server.serve(app.into_make_service())) })
    }

    pub(crate) async fn end(mut self) -> Result<()> {
        self.handle.graceful_shutdown(Some(DRAIN));
        (&mut self.task).await?.context("a TLS server failed")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
