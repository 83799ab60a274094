//! `POST Certificates/Push`: brings a certificate to its associated devices.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::application_dn;
use rootcast_dialects::venafi::{Body, Flag, VenafiError};
use rootcast_gate::{Principal, RequestId};
use rootcast_operations::{Unready, unready};
use serde::Deserialize;

use crate::applications::{Applications, may_write, refused};
use crate::named::Call;
use crate::{App, Deadline, Done};

const CALL: Call = Call::writing("Push");

/// Devices that one request may name; a request without names may cover more.
const MOST_NAMED: usize = 500;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PushRequest {
    #[serde(rename = "CertificateDN")]
    certificate_dn: Option<String>,
    #[serde(rename = "ApplicationDN")]
    application_dn: Option<Applications>,
    push_to_all: Option<Flag>,
}

pub(crate) async fn push(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Extension(Deadline(deadline)): Extension<Deadline>,
    Body(wanted): Body<PushRequest>,
) -> Result<Json<Done>, VenafiError> {
    let chosen = match (wanted.application_dn, wanted.push_to_all.unwrap_or_default().0) {
        (Some(applications), false) => Some(applications.devices(MOST_NAMED)?),
        (None, true) => None,
        _ => return Err(VenafiError::invalid("Send either ApplicationDN, or PushToAll with true.")),
    };
    let (named, held) = app.held(CALL, &caller, wanted.certificate_dn).await?;
    if let Some(device) = held.device() {
        return Err(VenafiError::invalid(format!(
            "There is no private key to push: it never left the device {device}, whose own certificate this is. \
             Certificates/Renew has a new one made there."
        )));
    }
    let mut uses = match &chosen {
        Some(devices) => app.ledger.uses_by(named.id, devices).await?,
        None => app.ledger.uses_of_certificate(named.id).await?,
    };
    uses.retain(|each| caller.sees(&application_dn(&each.device)));
    let devices = chosen.unwrap_or_else(|| uses.iter().map(|each| each.device.clone()).collect());
    may_write(&caller, &devices)?;
    if devices.is_empty() {
        return Err(VenafiError::invalid(
            "No application is associated with the certificate: Certificates/Associate does it.",
        ));
    }
    let unready: Vec<(DeviceId, &str)> =
        devices.iter().filter_map(|device| Some((device.clone(), told(unready(device, &uses)?)))).collect();
    if !unready.is_empty() {
        return Err(refused(&unready));
    }
    app.deploy(CALL, &named, &devices, &caller.acting(&id), deadline).await?;
    Ok(Done::JSON)
}

/// Venafi's condition: stage 0 or 1200, and not in error.
const fn told(why: Unready) -> &'static str {
    match why {
        Unready::NotAssociated => "The certificate is not associated with it: Certificates/Associate does it.",
        Unready::InError => {
            "It is in error: Certificates/Retry goes on where it failed, Certificates/Reset gives that up."
        }
        Unready::UnderWay => "The certificate is on its way there: send this again when it has ended.",
    }
}
