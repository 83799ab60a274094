//! A device creates the key of its own certificate and a certificate request (DSP8010,
//! `CertificateService.GenerateCSR`).
//!
//! An attempt: log in, find the web server's certificates, read the target of `CertificateService`'s action, POST,
//! log out. Requests on a device that answers at once:
//!
//! | profile | before | action | after |
//! |---|---|---|---|
//! | `openbmc` | log in | service, POST | log out |
//! | `dmtf`, `lenovo-xcc`, `supermicro` | root, log in, managers, network protocol | the same | log out |
//! | `dell-idrac` | root, log in, network protocol | the same | log out |
//! | `hpe-ilo` | root, log in | one resource, POST, the same until it has the request | log out |
//!
//! A device only keeps the key of its last request. While a request is in use, no other request must be made.

use std::time::Duration;

use http::Method;
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::device::{Profile, Slot};
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_pki::algorithm::KeyAlgorithm::{self, EcdsaP256, EcdsaP384, Rsa2048, Rsa3072, Rsa4096};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Redfish;
use super::fault;
use super::install::Reference;
use super::link::Link;
use super::monitor::{self, Ended, Stop};
use super::session::Session;
use super::slot::link;
use super::web::{self, Kind, WebServer};
use crate::credential::Credential;
use crate::trust::{Endpoint, Progress};

/// In bytes. A request with an RSA key of 8192 bits and a hundred names has half this size.
const CSR_LIMIT: usize = 16 * 1024;

/// Implementations require every part of the subject (as DSP8010 does), and many refuse what a certificate may say:
/// OpenBMC answers 500 to a name of over 64 bytes, as ten letters beyond ASCII may be. Only the request's public key is
/// used, so every part has this value; `ZZ` is no country (ISO 3166-1 leaves it to users, CLDR calls it unknown).
const UNSAID: &str = "Unspecified";
const NO_COUNTRY: &str = "ZZ";

/// In seconds, if the device does not say: an RSA key may take a management controller minutes.
const KEY_TIME: u32 = 120;
const HPE_KEY_TIME: Duration = Duration::from_secs(60);

/// One attempt on one device.
#[derive(Debug, Clone, Copy)]
pub struct GenerateCsr<'a> {
    pub endpoint: &'a Endpoint,
    pub profile: Profile,
    /// As in [`super::Installation`].
    pub slot: Option<&'a Slot>,
    pub credential: &'a Credential,
    /// The type of the key to create. OpenBMC only creates RSA keys of 2048 bits.
    pub key: KeyAlgorithm,
    /// The result of the request that an earlier attempt at this task started.
    pub earlier: Option<&'a Ended>,
    /// As in [`super::Assignment`].
    pub deadline: Instant,
}

impl Redfish {
    /// Returns the request as the device wrote it: PEM of at most 16 KiB, not parsed.
    ///
    /// # Errors
    /// A [`Failure`] at [`Stage::CreateCsr`]. A device that is creating another request answers 503, which is
    /// [`ErrorClass::Throttled`]. Fails without connecting if the profile has no web server.
    pub async fn request(&self, wanted: &GenerateCsr<'_>) -> Result<Progress<String>, Failure> {
        self.generate(wanted).await.map_err(|failure| failure.at(Stage::CreateCsr))
    }

    async fn generate(&self, wanted: &GenerateCsr<'_>) -> Result<Progress<String>, Failure> {
        web::fits(wanted.profile, false)?;
        if let Some(earlier) = wanted.earlier {
            // If the device has forgotten the request, the attempt ends here: a new request within this attempt could
            // be forgotten again, without end.
            return csr(earlier.body()?, wanted.profile).map(Progress::Done);
        }
        let mut session = self.session(wanted.endpoint, wanted.credential, wanted.deadline).await?;
        let outcome = attempt(&mut session, wanted).await;
        session.close().await;
        monitor::progress(outcome)
    }
}

async fn attempt(session: &mut Session<'_>, wanted: &GenerateCsr<'_>) -> Result<String, Stop> {
    let server = web::find(session, wanted.profile, wanted.slot).await?;
    let service = session.get(&server.service).await?.json()?;
    if server.kind == Kind::Hpe {
        return hpe(session, wanted, &server, &service).await;
    }
    let target = link(session, &service, "/Actions/#CertificateService.GenerateCSR/target")?;
    let target = target.unwrap_or_else(|| server.service.child("Actions/CertificateService.GenerateCSR"));
    let body = serde_json::to_value(Body::new(wanted, &server, &service))
        .map_err(|_| Failure::new(ErrorClass::Rejected, "The request cannot be written."))?;
    let body = post(session, &target, &body).await?;
    Ok(csr(&body, wanted.profile)?)
}

/// A device that is busy, or does not answer in time, still makes the key. Another request begins it anew.
async fn post(session: &mut Session<'_>, target: &Link, body: &Value) -> Result<Value, Stop> {
    let still_at_it = |failure: Failure| match failure.class {
        ErrorClass::Throttled | ErrorClass::Timeout => {
            let wait = failure.wait.unwrap_or(KEY_TIME);
            failure.not_before(Some(wait))
        }
        _ => failure,
    };
    let answer = session.ask(Method::POST, target, Some(body)).await.map_err(still_at_it)?;
    match monitor::finish(session, answer).await {
        Err(Stop::Failed(failure)) => Err(still_at_it(failure).into()),
        outcome => outcome,
    }
}

/// iLO says that it has begun, and shows the request when it is done: after ten minutes at the latest.
async fn hpe(
    session: &mut Session<'_>,
    wanted: &GenerateCsr<'_>,
    server: &WebServer,
    before: &Value,
) -> Result<String, Stop> {
    let said = Body::new(wanted, server, before);
    let body = json!({
        "City": said.city, "CommonName": said.common_name, "Country": said.country, "IncludeIP": true,
        "OrgName": said.organization, "OrgUnit": said.organizational_unit, "State": said.state,
    });
    let body = post(session, &server.service.child("Actions/HpeHttpsCert.GenerateCSR"), &body).await?;
    if let Ok(request) = csr(&body, wanted.profile) {
        return Ok(request);
    }
    let now = session.get(&server.service).await?.json()?;
    let is_old = |request: &String| csr(before, wanted.profile).is_ok_and(|before| before == *request);
    match csr(&now, wanted.profile) {
        Ok(request) if !is_old(&request) => Ok(request),
        _ => Err(Stop::Running { monitor: server.service.as_str().into(), after: HPE_KEY_TIME }),
    }
}

fn csr(body: &Value, profile: Profile) -> Result<String, Failure> {
    let unusable = |why: &str| Failure::new(ErrorClass::Unsupported, format!("The device's answer {why}."));
    match ["CSRString", monitor::LATER].iter().find_map(|name| body.get(name)?.as_str()) {
        None | Some("") => {
            let instead = match profile.takes_private_key() {
                true => "; import a certificate with its private key, and deploy that one",
                false => "",
            };
            let words = match fault::words(body).as_str() {
                "" => String::new(),
                words => format!(" but says: {words}"),
            };
            Err(unusable(&format!("has no CSRString with a request in it{words}{instead}")))
        }
        Some(text) if text.len() > CSR_LIMIT => Err(unusable(&format!("has a CSRString of over {CSR_LIMIT} bytes"))),
        Some(text) => Ok(text.to_owned()),
    }
}

/// Without `KeyUsage`: its meaning differs between devices, and it is not used.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a> {
    certificate_collection: Reference<'a>,
    common_name: &'a str,
    country: &'a str,
    state: &'a str,
    city: &'a str,
    organization: &'a str,
    organizational_unit: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_pair_algorithm: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_curve_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_bit_length: Option<u32>,
}

impl<'a> Body<'a> {
    fn new(wanted: &GenerateCsr<'a>, server: &'a WebServer, service: &Value) -> Self {
        let key = wanted.key;
        let decides = wanted.profile == Profile::DellIdrac;
        Self {
            certificate_collection: Reference { id: server.certificates.collection.as_str() },
            common_name: UNSAID,
            country: NO_COUNTRY,
            state: UNSAID,
            city: UNSAID,
            organization: UNSAID,
            organizational_unit: UNSAID,
            // iDRAC's own setting decides.
            key_pair_algorithm: (!decides).then(|| algorithm(key, wanted.profile, service)),
            key_curve_id: curve(key, wanted.profile).filter(|_| !decides),
            key_bit_length: bits(key).filter(|_| !decides),
        }
    }
}

/// The standard uses the names of TCG's algorithm registry; DMTF's use case checkers use `TPM_ALG_ECDSA`, and
/// Lenovo's REST API guide `TPM_ALG_ECDH`. If the device lists the names that it accepts, the list decides.
/// bmcweb has its own names and refuses the standard's.
fn algorithm(key: KeyAlgorithm, profile: Profile, service: &Value) -> &'static str {
    let elliptic = matches!(key, EcdsaP256 | EcdsaP384);
    let allowed = service.pointer("/Actions/#CertificateService.GenerateCSR/KeyPairAlgorithm@Redfish.AllowableValues");
    let allowed = allowed.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let names = match profile {
        Profile::Openbmc => return if elliptic { "EC" } else { "RSA" },
        _ if !elliptic => return "TPM_ALG_RSA",
        Profile::LenovoXcc => ["TPM_ALG_ECDH", "TPM_ALG_ECDSA"],
        _ => ["TPM_ALG_ECDSA", "TPM_ALG_ECDH"],
    };
    names.into_iter().find(|name| allowed.iter().any(|value| value == name)).unwrap_or(names[0])
}

/// bmcweb passes the name to OpenSSL, which knows P-256 by its older name.
const fn curve(key: KeyAlgorithm, profile: Profile) -> Option<&'static str> {
    match (key, profile) {
        (EcdsaP256, Profile::Openbmc) => Some("prime256v1"),
        (EcdsaP384, Profile::Openbmc) => Some("secp384r1"),
        (EcdsaP256, _) => Some("TPM_ECC_NIST_P256"),
        (EcdsaP384, _) => Some("TPM_ECC_NIST_P384"),
        _ => None,
    }
}

const fn bits(key: KeyAlgorithm) -> Option<u32> {
    match key {
        EcdsaP256 | EcdsaP384 => None,
        Rsa2048 => Some(2048),
        Rsa3072 => Some(3072),
        Rsa4096 => Some(4096),
    }
}
