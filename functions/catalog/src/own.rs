//! `POST` and `GET /devices/{id}/certificate`: a device's own certificate. The device makes the key; one of our
//! authorities signs.

use axum::Extension;
use axum::extract::State;
use http::HeaderMap;
use http::header::LOCATION;
use rootcast_core::access::permission::Right;
use rootcast_core::deployment::Deployment;
use rootcast_core::deployment::lifecycle::Lifecycle;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::CertificateDn;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::Pass;
use rootcast_core::job::visit::TaskAttempt;
use rootcast_dialects::lenovo::{Body, Envelope, LenovoError, Message, Params};
use rootcast_dialects::native::{Issued, OwnCertificate};
use rootcast_gate::{Principal, RequestId};
use rootcast_ledger::{CertificateOrPending, CertificateRecord};
use rootcast_operations::{DeviceRefusal, NotBegun, NotDone};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::request::SigningRequest;
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::app::App;
use crate::deployments::path;
use crate::devices::{may, no_such_device};
use crate::extract::{Dry, Id};
use crate::stamp::stamp;
use crate::tasks::{past, visits};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Begun {
    /// `None`, and no certificate: nothing was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    job_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateId>,
    dn: String,
}

/// Begins the job that makes the device create a key and a request, signs the request, and installs the certificate.
/// Until then the device presents its old one.
pub(crate) async fn renew(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Params(Dry { dry_run }, _): Params<Dry>,
    Id(id): Id<DeviceId>,
) -> Result<(HeaderMap, Envelope<Begun>), LenovoError> {
    may(&caller, Right::Write, &id)?;
    let parts = app.parts().await?;
    if dry_run {
        let dn = CertificateDn::of_device(&id).to_string();
        parts.operations().would_issue(&id).await.map_err(|why| refused(&id, why))?;
        let text = format!("Device {id} would make a key and a request, get a certificate, and show it.");
        let begun = Begun { job_path: None, certificate: None, dn };
        return Ok((HeaderMap::new(), Envelope::success(begun).saying(Message::done(text, "Nothing was done."))));
    }
    let job = parts.operations().issue(&id, &caller.acting(&request)).await.map_err(|why| refused(&id, why))?;
    info!(caller = caller.name, job.id = job.id.0, device.id = %id, certificate.id = %job.certificate, "a device's own certificate is to be issued");
    let text = format!("Device {id} is to have a certificate of its own, by job {}.", job.id);
    begun(&id, &job, text, "The one that it shows stays until the new one is there.")
}

/// PKCS #10.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Brought {
    request: String,
}

/// Begins the job that signs a request which was brought from a device that cannot be reached. The names are those of the device's
/// record, within the issuance policy, as if the device had made the request now.
pub(crate) async fn sign(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Id(id): Id<DeviceId>,
    Body(Brought { request: pem }): Body<Brought>,
) -> Result<(HeaderMap, Envelope<Begun>), LenovoError> {
    may(&caller, Right::Read, &id)?;
    let read = SigningRequest::parse(&pem).map_err(|why| {
        LenovoError::invalid(format!("request: {why}."), "Have the device make another request, and send that one.")
    })?;
    let parts = app.parts().await?;
    let job = parts.operations().sign(&id, &pem, &caller.acting(&request)).await.map_err(|why| refused(&id, why))?;
    info!(caller = caller.name, job.id = job.id.0, device.id = %id, certificate.id = %job.certificate, key = %read.key(), "a request that was brought from a device is to be signed");
    let text = format!("The request of device {id} is to be signed, by job {}.", job.id);
    begun(
        &id,
        &job,
        text,
        "GET /devices/ID/certificate has the certificate in a moment; it is installed when the device is reached.",
    )
}

fn begun(
    id: &DeviceId,
    job: &Deployment,
    text: String,
    explanation: &str,
) -> Result<(HeaderMap, Envelope<Begun>), LenovoError> {
    let job_path = path(job.id);
    let location = job_path.parse().map_err(LenovoError::internal)?;
    let dn = CertificateDn::of_device(id).to_string();
    let begun = Begun { job_path: Some(job_path), certificate: Some(job.certificate), dn };
    let message = Message::done(text, explanation);
    Ok((HeaderMap::from_iter([(LOCATION, location)]), Envelope::success(begun).saying(message)))
}

fn refused(id: &DeviceId, why: NotDone<NotBegun>) -> LenovoError {
    let text = why.to_string();
    match why {
        NotDone::Refused(NotBegun::Device(why)) => match why {
            DeviceRefusal::NoDevice => no_such_device(id),
            DeviceRefusal::NotApproved | DeviceRefusal::NoPrivateKey(_) | DeviceRefusal::NoWebServer(_) => {
                LenovoError::invalid(text, "Correct the device's record, and send the request again.")
            }
            DeviceRefusal::Full => {
                LenovoError::conflict(text, "GET /devices/ID lists its certificates; then send the request again.")
            }
            DeviceRefusal::UnderWay { .. } => LenovoError::conflict(text, "Send the request again then."),
        },
        NotDone::Refused(NotBegun::NameTaken(_)) | NotDone::Busy | NotDone::Late => {
            LenovoError::conflict(text, "Send the request again then.")
        }
        NotDone::Refused(why) => LenovoError::internal(why),
        NotDone::Ledger(error) => error.into(),
    }
}

/// Three calls: name, certificate, use; and the device, while a job works on it.
pub(crate) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(id): Id<DeviceId>,
) -> Result<Envelope<OwnCertificate>, LenovoError> {
    let ledger = &app.parts().await?.ledger;
    let none = || {
        LenovoError::not_found(
            format!("Device {id} has no certificate of ours."),
            format!("POST /devices/{id}/certificate has one made."),
        )
    };
    let dn = CertificateDn::of_device(&id);
    may(&caller, Right::Read, &id)?;
    let Some(certificate) = ledger.certificate_by_dn(&dn).await? else {
        return Err(if ledger.device(&id).await?.is_some() { none() } else { no_such_device(&id) });
    };
    let held = ledger.certificate_or_pending(certificate).await?.filter(|held| held.device() == Some(&id));
    let held = held.ok_or_else(none)?;
    let binding = ledger.uses_by(certificate, [&id]).await?.pop();
    let job = binding.as_ref().and_then(|binding| binding.job);
    let present = binding.as_ref().filter(|binding| binding.is_under_way()).and_then(|binding| {
        Some(TaskAttempt { job: binding.job?, pass: Pass::Install, attempt: binding.lifecycle.attempt })
    });
    let tries = match present {
        Some(present) => ledger.device(&id).await?.and_then(|device| device.tries.of(present).map(visits)),
        None => None,
    };
    let unbound = || Lifecycle::idle(Default::default(), "The device does not have it any more.");
    let Lifecycle { stage, in_error, status, history, .. } = binding.map_or_else(unbound, |binding| binding.lifecycle);
    let issued = match &held {
        CertificateOrPending::Certificate(record) => Some(issued(record)),
        CertificateOrPending::Pending(_) => None,
    };
    let (id, dn, history, tries) = (certificate, held.dn(), past(history), tries);
    Ok(Envelope::success(OwnCertificate { id, dn, issued, stage, in_error, status, job, tries, history }))
}

fn issued(record: &CertificateRecord) -> Issued {
    Issued {
        certificate: record.leaf.pem(),
        chain: record.chain.iter().map(Certificate::pem).collect(),
        subject_dn: record.leaf.subject_dn().to_owned(),
        names: record.names.clone(),
        serial_number: record.leaf.serial().to_owned(),
        not_before: stamp(record.not_before),
        not_after: stamp(record.not_after),
    }
}
