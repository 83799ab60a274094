//! `POST Certificates/Associate` and `/Dissociate`: which devices should have a certificate.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use rootcast_dialects::venafi::{Body, Flag, VenafiError};
use rootcast_gate::{Principal, RequestId};
use rootcast_ledger::MOST_BINDINGS;
use serde::Deserialize;
use tracing::info;

use crate::applications::{Applications, may_write, refused};
use crate::named::Call;
use crate::{App, Deadline, Done};

const ASSOCIATE: Call = Call::writing("Associate");
const DISSOCIATE: Call = Call::writing("Dissociate");

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AssociateRequest {
    #[serde(rename = "CertificateDN")]
    certificate_dn: Option<String>,
    #[serde(rename = "ApplicationDN")]
    application_dn: Option<Applications>,
    /// Only of an association.
    push_to_new: Option<Flag>,
    /// Only of a dissociation.
    delete_orphans: Option<Flag>,
}

/// `PushToNew` brings the certificate to those of the devices that never got it, whether this request associates them
/// or an earlier, interrupted one did.
pub(crate) async fn associate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Extension(Deadline(deadline)): Extension<Deadline>,
    Body(wanted): Body<AssociateRequest>,
) -> Result<Json<Done>, VenafiError> {
    let devices = applications(wanted.application_dn)?.devices(MOST_BINDINGS)?;
    let named = app.named(ASSOCIATE, &caller, wanted.certificate_dn).await?;
    may_write(&caller, &devices)?;
    let by = caller.acting(&id);
    let not_bound = app.operations().until(deadline).associate(named.id, &devices, &by).await;
    let not_bound = not_bound.map_err(|why| ASSOCIATE.not_begun(&named, why))?;
    if !not_bound.is_empty() {
        return Err(refused(&not_bound));
    }
    info!(caller = caller.name, certificate.id = %named.id, devices = devices.len(), "associated");
    if wanted.push_to_new.unwrap_or_default().0 {
        let uses = app.ledger.uses_by(named.id, &devices).await?;
        let is_new = |device: &_| uses.iter().any(|each| each.device == *device && each.job.is_none());
        let new: Vec<_> = devices.into_iter().filter(is_new).collect();
        app.deploy(ASSOCIATE, &named, &new, &by, deadline).await?;
    }
    Ok(Done::JSON)
}

/// Succeeds for a device that the certificate is not bound to. The certificate that a device presents does not change.
pub(crate) async fn dissociate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Body(wanted): Body<AssociateRequest>,
) -> Result<Json<Done>, VenafiError> {
    if wanted.delete_orphans.unwrap_or_default().0 {
        return Err(VenafiError::invalid(
            "DeleteOrphans is false: an application is a device, which DELETE /devices/ID takes out of management.",
        ));
    }
    let devices = applications(wanted.application_dn)?.devices(MOST_BINDINGS)?;
    let named = app.named(DISSOCIATE, &caller, wanted.certificate_dn).await?;
    may_write(&caller, &devices)?;
    let still_bound = app.operations().dissociate(named.id, &devices, &caller.acting(&id)).await;
    let still_bound = still_bound.map_err(|why| DISSOCIATE.not_begun(&named, why))?;
    if !still_bound.is_empty() {
        return Err(refused(&still_bound));
    }
    info!(caller = caller.name, certificate.id = %named.id, devices = devices.len(), "dissociated");
    Ok(Done::JSON)
}

fn applications(sent: Option<Applications>) -> Result<Applications, VenafiError> {
    sent.ok_or_else(|| VenafiError::invalid("ApplicationDN is missing."))
}
