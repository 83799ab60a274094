//! `Certificates/Retrieve`: a certificate and its chain; `POST` in JSON, `GET` as a file.
//!
//! Returns no private key: this function cannot open any. A request for one is told which call returns it.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use rootcast_core::access::permission::Operation;
use rootcast_core::deployment::lifecycle::{Stage, worst};
use rootcast_dialects::venafi::{Body, Flag, VenafiError};
use rootcast_gate::{Kind, Principal};
use rootcast_ledger::{CertificateOrPending, CertificateRecord, LedgerError};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::pkcs7::certs_only;
use serde::{Deserialize, Serialize};

use crate::App;
use crate::named::{Call, Named};

const CALL: Call = Call::reading("Retrieve");

/// `Password`, `KeystorePassword`, `FriendlyName` and `EncryptionAlgorithm` concern private keys and are ignored; so is
/// `WorkToDoTimeout`: a pending certificate is reported at once.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RetrieveRequest {
    #[serde(rename = "CertificateDN")]
    certificate_dn: Option<String>,
    format: Option<String>,
    include_chain: Option<Flag>,
    root_first_order: Option<Flag>,
    include_private_key: Option<Flag>,
}

/// Venafi's formats without a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Pem,
    /// Venafi's `Base64 (PKCS #8)`: it differs only in the private key.
    PemPkcs8,
    Der,
    Pkcs7,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Retrieved {
    certificate_data: String,
    filename: String,
    format: &'static str,
}

/// The answer for a certificate that is still being issued.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pending {
    stage: Option<u16>,
    status: String,
}

struct File {
    name: String,
    format: Format,
    bytes: Vec<u8>,
}

pub(crate) async fn retrieve(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Body(wanted): Body<RetrieveRequest>,
) -> Result<Response, VenafiError> {
    let answer = app.file(&caller, wanted).await?;
    Ok(answer.map_or_else(IntoResponse::into_response, |file| {
        let certificate_data = STANDARD.encode(&file.bytes);
        Json(Retrieved { certificate_data, filename: file.name, format: file.format.name() }).into_response()
    }))
}

pub(crate) async fn download(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    wanted: Result<Query<RetrieveRequest>, QueryRejection>,
) -> Result<Response, VenafiError> {
    let Query(wanted) = wanted.map_err(|why| VenafiError::invalid(why.body_text()))?;
    let answer = app.file(&caller, wanted).await?;
    Ok(answer.map_or_else(IntoResponse::into_response, |file| {
        // The name has only letters, digits and three other characters.
        let disposition = format!("attachment; filename=\"{}\"", file.name);
        let headers = [(CONTENT_TYPE, file.format.media_type().to_owned()), (CONTENT_DISPOSITION, disposition)];
        (headers, file.bytes).into_response()
    }))
}

impl App {
    /// The inner error: the certificate is not issued yet.
    async fn file(
        &self,
        caller: &Principal,
        wanted: RetrieveRequest,
    ) -> Result<Result<File, (StatusCode, Json<Pending>)>, VenafiError> {
        let format = Format::of(wanted.format.as_deref())?;
        if wanted.include_private_key.unwrap_or_default().0 {
            return Err(no_private_key("IncludePrivateKey is false"));
        }
        let (chain, root_first) =
            (wanted.include_chain.unwrap_or_default().0, wanted.root_first_order.unwrap_or_default().0);
        if chain && format == Format::Der {
            return Err(VenafiError::invalid("DER holds one certificate: IncludeChain wants Base64 or PKCS #7."));
        }
        let (named, held) = self.held(CALL, caller, wanted.certificate_dn).await?;
        let record = match held {
            CertificateOrPending::Certificate(record) => record,
            CertificateOrPending::Pending(_) => {
                let never = || {
                    VenafiError::invalid(format!(
                        "Certificate {} was never issued, and is not being issued: Certificates/Renew begins it.",
                        named.dn
                    ))
                };
                return Ok(Err(self.pending(&named).await?.ok_or_else(never)?));
            }
        };
        // A renewal that has not come to its certificate: whoever asks for the next one must not take the last one for it.
        if record.device.is_some()
            && let Some(pending) = self.pending(&named).await?
        {
            return Ok(Err(pending));
        }
        let mut certificates = vec![record.leaf.clone()];
        if chain {
            certificates.extend(self.chain(&record).await?);
        }
        if root_first {
            certificates.reverse();
        }
        let bytes = format.encode(&certificates)?;
        Ok(Ok(File { name: format!("{}.{}", record.name, format.extension()), format, bytes }))
    }

    /// Venafi answers 202 for a certificate that is being issued, and 500 for one that will not be without a retry; both with
    /// the stage. Its clients go by the status, and by the last sentence. `None`: it is not being issued.
    async fn pending(&self, named: &Named) -> Result<Option<(StatusCode, Json<Pending>)>, VenafiError> {
        let uses = self.ledger.uses_of_certificate(named.id).await?;
        let life = worst(uses.iter().map(|each| &each.lifecycle));
        let Some((life, stage)) = life.and_then(|life| Some((life, life.stage?))) else { return Ok(None) };
        if stage >= Stage::InstallCertificate {
            return Ok(None);
        }
        let (status, told) = if life.in_error {
            let told = format!(
                "{} This certificate cannot be processed while it is in an error state. Fix any errors, and then click Retry.",
                life.status
            );
            (StatusCode::INTERNAL_SERVER_ERROR, told)
        } else {
            (StatusCode::ACCEPTED, life.status.clone())
        };
        Ok(Some((status, Json(Pending { stage: Some(stage.into()), status: told }))))
    }

    /// Starts with the issuer, and ends with the root. Below one of our roots, the links between are those of today: a root
    /// that was activated since is trusted by devices that never had the leaf's.
    async fn chain(&self, record: &CertificateRecord) -> Result<Vec<Certificate>, LedgerError> {
        let last = record.chain.last().unwrap_or(&record.leaf);
        if last.issuer_dn() == last.subject_dn() {
            return Ok(record.chain.clone());
        }
        let authority = self.ledger.authority().await?;
        let ours = self.ledger.live_roots(&authority).await?;
        Ok(match ours.complete(&record.leaf, &record.chain) {
            Some(whole) => whole.chain.into_iter().chain([whole.root.clone()]).collect(),
            None => record.chain.clone(),
        })
    }
}

impl Format {
    fn of(text: Option<&str>) -> Result<Self, VenafiError> {
        let text = text.unwrap_or("Base64");
        let is = |name: &str| text.eq_ignore_ascii_case(name);
        match [Self::Pem, Self::PemPkcs8, Self::Der, Self::Pkcs7].into_iter().find(|format| is(format.name())) {
            Some(format) => Ok(format),
            None if is("PKCS #12") || is("JKS") => Err(no_private_key("Format is Base64, DER or PKCS #7")),
            None => Err(VenafiError::invalid("Format is Base64, Base64 (PKCS #8), DER or PKCS #7.")),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Pem => "Base64",
            Self::PemPkcs8 => "Base64 (PKCS #8)",
            Self::Der => "DER",
            Self::Pkcs7 => "PKCS #7",
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::Pem | Self::PemPkcs8 => "cer",
            Self::Der => "der",
            Self::Pkcs7 => "p7b",
        }
    }

    /// Source: Venafi's page "GET Certificates/Retrieve".
    const fn media_type(self) -> &'static str {
        match self {
            Self::Pem | Self::PemPkcs8 => "application/x-pem-file",
            Self::Der => "application/x-x509-ca-cert",
            Self::Pkcs7 => "application/x-pkcs7-certificates",
        }
    }

    fn encode(self, certificates: &[Certificate]) -> Result<Vec<u8>, VenafiError> {
        match self {
            Self::Pem | Self::PemPkcs8 => {
                Ok(certificates.iter().map(Certificate::pem).collect::<String>().into_bytes())
            }
            Self::Der => Ok(certificates.iter().flat_map(Certificate::der).copied().collect()),
            Self::Pkcs7 => certs_only(certificates).map_err(|why| {
                VenafiError::new(Kind::Internal, "The certificate cannot be written in this format.").caused_by(why)
            }),
        }
    }
}

fn no_private_key(instead: &str) -> VenafiError {
    VenafiError::invalid(format!(
        "{instead}: private keys are given out by POST /v3/scm/certificates/ID/export alone, to who has the permission \
         {}.",
        Operation::ExportKey
    ))
}
