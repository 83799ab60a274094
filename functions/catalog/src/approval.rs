//! `POST /devices/{id}/approval`: the identity of a device is approved as the caller has seen it.

use axum::Extension;
use axum::extract::State;
use rootcast_core::access::permission::Right;
use rootcast_core::audit::Actor;
use rootcast_core::device::{DeviceId, DeviceVersion, Incarnation, Pin};
use rootcast_dialects::lenovo::{Body, Envelope, LenovoError};
use rootcast_dialects::native::Device;
use rootcast_gate::{Principal, RequestId};
use rootcast_ledger::{CertificateRecord, DeviceRecord, LedgerError};
use rootcast_pki::crl::Reason;
use serde::Deserialize;
use tracing::{info, warn};

use crate::app::{App, Parts};
use crate::devices::{ATTEMPTS, editor, load};
use crate::extract::Id;
use crate::inventory::{Rules, shown};
use crate::issuance_policy;

/// The version of the device that the caller has looked at, and the pins that it shall have if they are to be others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ApprovalRequest {
    incarnation: Incarnation,
    endpoint_revision: u64,
    pins: Option<Vec<Pin>>,
}

pub(crate) async fn approve(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(by): Extension<RequestId>,
    Id(id): Id<DeviceId>,
    Body(request): Body<ApprovalRequest>,
) -> Result<Envelope<Device>, LenovoError> {
    let parts = app.parts().await?;
    let refused = |why: String| LenovoError::invalid(why, "Correct the device's record, and approve it then.");
    for _ in 0..ATTEMPTS {
        let before = load(&parts.ledger, &caller, Right::Read, &id).await?;
        let pins = request.approves(&before)?;
        let policy = parts.ledger.issuance_policy().await?.policy;
        issuance_policy::permits(&policy, &before).map_err(refused)?;
        match parts.ledger.approve_device(&before, pins, editor(&caller, &id, &by), (parts.clock)()).await {
            Err(LedgerError::Conflict) => {}
            written => {
                let device = written?;
                info!(caller = caller.name, device.id = %id, device.endpoint_revision = device.endpoint_revision, "device approved");
                renew_if_compromised(parts, &device, &caller.acting(&by)).await;
                return Ok(Envelope::success(shown(device)));
            }
        }
    }
    Err(LedgerError::Conflict.into())
}

/// The authority that signed its own certificate was compromised while it was not approved: nobody could renew it. Asked for
/// once; whoever approved the device learns of a failure from the log alone, and may ask for the renewal himself.
pub(crate) async fn renew_if_compromised(parts: &Parts, device: &DeviceRecord, by: &Actor) {
    let Some(certificate) = device.certificate else { return };
    let renewed = async {
        let held = parts.ledger.certificate(certificate).await?;
        let is_own = |held: &CertificateRecord| held.device.as_ref() == Some(&device.id);
        let revoked = held.filter(is_own).and_then(|held| held.revoked);
        if revoked.is_none_or(|revoked| revoked.reason != Reason::CaCompromise) {
            return Ok(None);
        }
        parts.operations().issue(&device.id, by).await.map(Some)
    };
    match renewed.await {
        Ok(Some(job)) => {
            info!(device.id = %device.id, job.id = job.id.0, "its certificate's authority was compromised: it is renewed")
        }
        Ok(None) => {}
        Err(why) => {
            let error = &why as &dyn std::error::Error;
            warn!(device.id = %device.id, error, "its certificate's authority was compromised, and its renewal could not be begun: POST /devices/ID/certificate");
        }
    }
}

impl ApprovalRequest {
    /// The device's pins with the approval.
    fn approves(&self, device: &DeviceRecord) -> Result<Vec<Pin>, LenovoError> {
        let id = &device.id;
        let Self { incarnation, endpoint_revision, .. } = *self;
        if device.version() != (DeviceVersion { incarnation, endpoint_revision }) {
            return Err(LenovoError::conflict(
                format!(
                    "The identity of device {id} was changed meanwhile, or another device was enrolled under this id."
                ),
                "Compare the identity as it is now (GET /devices/{id}), and approve that one.",
            ));
        }
        let pins = self.pins.as_deref().unwrap_or(&device.pins);
        if pins.is_empty() {
            return Err(LenovoError::invalid(
                format!("Device {id} has no pin: it cannot be recognised."),
                "Send pins: the fingerprints that GET /devices/{id}/fingerprint shows, once you have confirmed them.",
            ));
        }
        Rules::pins(pins).map_err(|why| LenovoError::invalid(why, "Correct the body and send the request again."))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_core::device::{Driver, Profile};
    use rootcast_gate::parse_json;
    use serde_json::json;

    use super::*;

    fn device() -> DeviceRecord {
        let (address, credential) = ("https://10.0.0.7".parse().unwrap(), "/rootcast/devices/bmc-1".to_owned());
        let incarnation = Incarnation::from_random([1; 16]);
        DeviceRecord::new("bmc-1".parse().unwrap(), incarnation, address, Driver::Redfish, Profile::Dmtf, credential)
    }

    #[test]
    fn an_approval_is_of_the_identity_that_was_seen() {
        let pin: Pin = format!("spki-sha256:{}", "ab".repeat(32)).parse().unwrap();
        let approves = |body: serde_json::Value, device: &DeviceRecord| {
            parse_json::<ApprovalRequest>(body.to_string().as_bytes()).unwrap().approves(device)
        };
        let seen = |incarnation: &str, revision: u64, pins: &[Pin]| {
            let body = json!({ "incarnation": incarnation.repeat(16), "endpointRevision": revision });
            let mut body = body.as_object().unwrap().clone();
            if !pins.is_empty() {
                body.insert("pins".to_owned(), json!(pins));
            }
            serde_json::Value::from(body)
        };
        let pinned = DeviceRecord { endpoint_revision: 3, pins: vec![pin], ..device() };
        assert_eq!(approves(seen("01", 3, &[]), &pinned).unwrap(), [pin]);
        for unseen in [seen("01", 2, &[]), seen("02", 3, &[])] {
            assert_eq!(approves(unseen, &pinned).unwrap_err().status(), 409);
        }
        let bare = DeviceRecord { pins: Vec::new(), ..pinned };
        assert_eq!(approves(seen("01", 3, &[pin]), &bare).unwrap(), [pin]);
        assert_eq!(approves(seen("01", 3, &[]), &bare).unwrap_err().status(), 400);
    }
}
