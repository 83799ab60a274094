//! `POST /jobs/{id}/waive`: excludes failed devices from the gate, or imported certificates from what keeps an old root, each
//! with a reason.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use rootcast_core::access::permission::Right;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::{CertificateDn, application_dn};
use rootcast_core::job::JobId;
use rootcast_dialects::lenovo::{Body, Envelope, LenovoError, Message, ResultKind};
use rootcast_dialects::native::{CertificateWaiver, WaiverOutcome, WaiverResult, WaiverResults};
use rootcast_gate::{Principal, RequestId};
use rootcast_operations::{NotWaived, Waived};
use serde::Deserialize;
use tokio::time::Instant;
use tracing::info;

use crate::app::{App, Parts};
use crate::extract::Id;
use crate::jobs::{load, rollover_view};
use crate::refused::{Asked, refused};

/// Devices per call. Each needs one transaction of about 10 ms; those of one shard run one after the other. If a
/// sixteenth of the devices is in each shard, that takes 0.6 s; if all are in one shard, 10 s.
const MOST_WAIVED: usize = 1000;
/// Certificates per call: a read for each, and a transaction for fifty.
const MOST_CERTIFICATES: usize = 100;
/// In characters. The reason is stored in each device's task.
const LONGEST_REASON: usize = 256;
/// A request that is not done by then reports what it did so far: API Gateway gives up after 30 s, and a call that is
/// under way at this moment may take another 8 s.
const LIMIT: Duration = Duration::from_secs(18);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Waiver {
    #[serde(default)]
    devices: Vec<DeviceId>,
    /// Imported certificates, by their names (`\\VED\\Policy\\…`).
    #[serde(default)]
    certificates: Vec<String>,
    reason: String,
}

impl Waiver {
    /// Removes duplicate devices, keeping the first.
    fn checked(mut self) -> Result<Self, LenovoError> {
        let refused = |why: String| Err(LenovoError::invalid(why, "Correct the body and send the request again."));
        let reason = self.reason.trim();
        if reason.is_empty() || reason.chars().count() > LONGEST_REASON || reason.chars().any(char::is_control) {
            return refused(format!(
                "reason says in 1 to {LONGEST_REASON} characters why the rollover does not wait for what is named."
            ));
        }
        let (devices, certificates) = (self.devices.len(), self.certificates.len());
        match (devices, certificates) {
            (1..=MOST_WAIVED, 0) | (0, 1..=MOST_CERTIFICATES) => {}
            _ => {
                return refused(format!(
                    "One request waives 1 to {MOST_WAIVED} devices, or 1 to {MOST_CERTIFICATES} certificates; this one names {devices} and {certificates}."
                ));
            }
        }
        let mut seen = BTreeSet::new();
        self.devices.retain(|device| seen.insert(device.clone()));
        Ok(self)
    }
}

pub(crate) async fn waive(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Id(id): Id<JobId>,
    Body(waiver): Body<Waiver>,
) -> Result<Envelope<WaiverResults>, LenovoError> {
    let waiver = waiver.checked()?;
    let deadline = Instant::now() + LIMIT;
    let parts = app.parts().await?;
    if !waiver.certificates.is_empty() {
        return waive_certificates(parts, id, waiver, &caller, &request).await;
    }
    // Devices that the caller may not see get the same result as devices that do not exist.
    let seen =
        waiver.devices.iter().filter(|device| caller.require(Right::Read, &application_dn(device)).is_ok()).cloned();
    let asked = rootcast_operations::Waiver {
        devices: &seen.collect::<Vec<_>>(),
        named: waiver.devices.len(),
        reason: waiver.reason.trim(),
    };
    let done = parts.operations().waive(id, asked, &caller.acting(&request), deadline).await;
    let done = done.map_err(|why| refused(id, Asked::Waive, why))?;
    let of = |device| done.get(device).copied().unwrap_or(Waived::Not(NotWaived::NoResult));
    let results: Vec<WaiverResult> = waiver.devices.iter().map(|device| result(device, of(device))).collect();
    let refused = waiver.devices.iter().filter(|device| !of(device).is_waived()).count();
    info!(
        caller = caller.name, job.id = %id, devices.waived = results.len() - refused, devices.refused = refused,
        reason = waiver.reason, "devices waived"
    );
    let shown = rollover_view(parts, &load(&parts.ledger, id).await?).await?;
    let total = results.len();
    let answer = Envelope::success(WaiverResults { job: shown, results, certificates: Vec::new() });
    if refused == 0 {
        let message = Message::done(
            format!("{total} devices are waived."),
            "The job does not wait for them. A paused job stays paused until it is resumed.",
        );
        return Ok(answer.saying(message));
    }
    let message = Message::partly(
        format!("{refused} of {total} devices were not waived."),
        "See the result of each device: only what has failed can be waived, and what is busy is to be sent again.",
    );
    Ok(answer.judged(if refused == total { ResultKind::Failed } else { ResultKind::Warning }).saying(message))
}

async fn waive_certificates(
    parts: &Parts,
    id: JobId,
    waiver: Waiver,
    caller: &Principal,
    request: &RequestId,
) -> Result<Envelope<WaiverResults>, LenovoError> {
    let seen = |name: &&String| caller.require(Right::Read, name).is_ok();
    let names: Vec<CertificateDn> =
        waiver.certificates.iter().filter(seen).filter_map(|name| name.parse().ok()).collect();
    let done = parts.operations().waive_certificates(id, &names, waiver.reason.trim(), &caller.acting(request)).await;
    let done = done.map_err(|why| refused(id, Asked::Waive, why))?;
    let certificates: Vec<CertificateWaiver> = waiver
        .certificates
        .into_iter()
        .map(|certificate| {
            let message = match done.get(&certificate) {
                Some(true) => None,
                Some(false) => Some("it is a device's own: waive the device"),
                None => Some("there is no such certificate: correct the name (\\VED\\Policy\\folder\\name)"),
            };
            let result = if message.is_none() { WaiverOutcome::Waived } else { WaiverOutcome::Refused };
            CertificateWaiver { certificate, result, message: message.map(str::to_owned) }
        })
        .collect();
    let refused = certificates.iter().filter(|each| each.message.is_some()).count();
    let total = certificates.len();
    info!(
        caller = caller.name, job.id = %id, certificates.waived = total - refused, certificates.refused = refused,
        reason = waiver.reason, "certificates waived"
    );
    let shown = rollover_view(parts, &load(&parts.ledger, id).await?).await?;
    let answer = Envelope::success(WaiverResults { job: shown, results: Vec::new(), certificates });
    if refused == 0 {
        let message = Message::done(
            format!("{total} certificates are waived."),
            "The job does not wait for them; devices that trust the new root alone will refuse them. A paused job stays paused until it is resumed.",
        );
        return Ok(answer.saying(message));
    }
    let message = Message::partly(
        format!("{refused} of {total} certificates were not waived."),
        "See the result of each certificate.",
    );
    Ok(answer.judged(if refused == total { ResultKind::Failed } else { ResultKind::Warning }).saying(message))
}

fn result(device: &DeviceId, waived: Waived) -> WaiverResult {
    let (result, message) = match waived {
        Waived::Now => (WaiverOutcome::Waived, None),
        Waived::Before => (WaiverOutcome::Unchanged, None),
        Waived::Not(NotWaived::Busy) => (WaiverOutcome::Busy, Some(told(NotWaived::Busy))),
        Waived::Not(why) => (WaiverOutcome::Refused, Some(told(why))),
    };
    WaiverResult { device: device.clone(), result, message: message.map(str::to_owned) }
}

const fn told(why: NotWaived) -> &'static str {
    match why {
        NotWaived::NoResult => "it has no result in this job: wait for one, or correct the id",
        NotWaived::Acked => "it did not fail: the device proved what it holds",
        NotWaived::Skipped => "it did not fail: the device was deleted",
        NotWaived::Waiting => "it is being tried again: wait for its result",
        NotWaived::Moved => "its task changed at this moment: look at it, and send it again",
        NotWaived::Busy => "it was not waived yet, for its record was busy or the time was over: send it again",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_gate::parse_json;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_waiver_has_a_reason_and_devices() {
        let check = |body: serde_json::Value| Waiver::checked(parse_json::<Waiver>(body.to_string().as_bytes())?);
        let waiver = check(json!({ "devices": ["b", "a", "b"], "reason": "scrapped" })).unwrap();
        assert_eq!(waiver.devices, ["b", "a"].map(|id| id.parse::<DeviceId>().unwrap()), "each once");
        for refused in [
            json!({ "devices": ["a"], "reason": "  " }),
            json!({ "devices": ["a"], "reason": "a\nb" }),
            json!({ "devices": ["a"], "reason": "x".repeat(257) }),
            json!({ "devices": ["a"] }),
            json!({ "devices": [], "reason": "x" }),
            json!({ "devices": vec!["a"; MOST_WAIVED + 1], "reason": "x" }),
            json!({ "devices": ["a b"], "reason": "x" }),
            json!({ "devices": ["a"], "reason": "x", "force": true }),
            json!({ "devices": ["a"], "certificates": ["\\VED\\Policy\\a"], "reason": "x" }),
        ] {
            assert_eq!(check(refused).err().unwrap().status(), 400);
        }
    }
}
