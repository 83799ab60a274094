//! The proof from the devices' side: which certificates a device trusts shows in what it fetches.
//!
//! A device is told to verify certificates and to fetch an image as virtual media. The fetch succeeds if the image
//! server's certificate chains to a certificate in the device's trust store, and fails otherwise.

use anyhow::{Context, Result, bail};
use axum::{Router, routing::get};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    fleet::Device,
    tls::{Authority, Identity, Server},
};

const IMAGE: &str = "/image.iso";

/// A TLS server on loopback that serves one small image.
#[derive(Debug)]
pub struct ImageServer(Server);

impl ImageServer {
    /// `chain`: the server's certificate for `localhost`, followed by its intermediates. `key`: its private key. Both
    /// in PEM.
    ///
    /// # Errors
    /// `chain` or `key` cannot be read, or they do not match.
    pub fn start(chain: String, key: String) -> Result<Self> {
        let app = Router::new().route(IMAGE, get(async || "an image that is worth nothing but its way here\n"));
        Ok(Self(Server::start(app, &Identity { chain, key }, None)?))
    }

    /// A server whose certificate was issued by an unknown authority.
    ///
    /// # Errors
    /// No port is free.
    pub fn stranger() -> Result<Self> {
        let Identity { chain, key } = Authority::new("A stranger's root")?.issue("A stranger")?;
        Self::start(chain, key)
    }

    pub fn image_url(&self) -> String {
        format!("https://localhost:{}{IMAGE}", self.0.port)
    }
}

/// A device's verdict on an image server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Download {
    Accepted,
    Refused,
}

/// Lets `device` fetch the image with certificate verification.
///
/// # Errors
/// The answer is neither of the two: the device is down, its password has changed, or the server is gone.
pub async fn prove(device: &Device, image_url: &str) -> Result<Download> {
    let client = device.client()?;
    let drive = format!("{}/redfish/v1/Systems/{}/VirtualMedia/Cd", device.address(), device.system);
    let send = async |request: reqwest::RequestBuilder, body: Value| {
        let answer = request.basic_auth(&device.username, Some(&device.password)).json(&body).send().await?;
        anyhow::Ok((answer.status(), answer.text().await?))
    };
    let (status, said) = send(client.patch(&drive), json!({"VerifyCertificate": true})).await?;
    if !status.is_success() {
        bail!("{} does not verify certificates: {status} {said}", device.id);
    }
    let (status, said) =
        send(client.post(format!("{drive}/Actions/VirtualMedia.InsertMedia")), json!({"Image": image_url})).await?;
    match status {
        StatusCode::NO_CONTENT => {
            let eject = client.post(format!("{drive}/Actions/VirtualMedia.EjectMedia"));
            send(eject, json!({})).await.with_context(|| format!("{} keeps the image", device.id))?;
            Ok(Download::Accepted)
        }
        // The emulator answers 500 to every failed fetch; only this message is about trust.
        StatusCode::INTERNAL_SERVER_ERROR if said.contains("CERTIFICATE_VERIFY_FAILED") => Ok(Download::Refused),
        status => bail!("{} neither accepted nor refused the image: {status} {said}", device.id),
    }
}
