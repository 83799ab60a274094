//! `POST /v3/scm/certificates/{id}/deploy`: a certificate goes to devices. The work itself is a job's.
//!
//! Six calls to AWS: certificate, devices, their uses (where they have any), the job's id, one transaction, one message.

use std::collections::HashSet;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::LOCATION;
use axum::{Extension, Json};
use rootcast_core::certificate_id::CertificateId;
use rootcast_core::deployment::{Deployment, MOST_DEVICES};
use rootcast_core::device::DeviceId;
use rootcast_core::job::JobId;
use rootcast_core::lifecycle::Work;
use rootcast_gate::{ApiError, Principal, ScmError};
use rootcast_ledger::{DeviceRecord, Ledger, LedgerError, NewUse, UseRecord};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tracing::info;

use super::Named;
use super::dto::is_expired;
use super::show::load;
use crate::app::App;
use crate::deployments::path;
use crate::extract::Body;
use crate::steer::wake;

/// The one service that certificates are deployed to.
pub(super) const SERVICE: &str = "DEVICE";
/// Job ids come from one counter, and devices change: whoever loses a race looks again, so often.
const ATTEMPTS: u32 = 8;
/// The first pause after that; it doubles. 1.3 s in all.
const PAUSE: Duration = Duration::from_millis(10);

/// What of the vendor's body means something here.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    service_name: String,
    resources: Vec<Resource>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    id: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    failure_list: Vec<Failure>,
    /// Ours: the job that brings the certificate to the others; `null` where there are none.
    job_id: Option<JobId>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Failure {
    resource: String,
    failure_info: String,
}

impl Wanted {
    fn check(&self) -> Result<(), ScmError> {
        if self.service_name != SERVICE {
            return Err(ScmError::invalid(format!(
                "service_name is {SERVICE}: certificates are deployed to the devices that are enrolled here."
            )));
        }
        if !(1..=MOST_DEVICES).contains(&self.resources.len()) {
            return Err(ScmError::invalid(format!("resources names 1 to {MOST_DEVICES} devices by their ids.")));
        }
        Ok(())
    }

    /// Each device once, and what names none.
    fn devices(&self) -> (Vec<DeviceId>, Vec<Failure>) {
        let (mut devices, mut failures) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for Resource { id } in &self.resources {
            match id.parse::<DeviceId>() {
                _ if !seen.insert(id) => {
                    failures.push(failure(id, "The request names the device twice: once is enough."))
                }
                Ok(device) => devices.push(device),
                Err(why) => failures.push(failure(id, format!("This names no device: {why}."))),
            }
        }
        (devices, failures)
    }
}

fn failure(resource: &str, why: impl Into<String>) -> Failure {
    // What the caller sent may be anything: as much of it as a device id may have is told back.
    Failure { resource: resource.chars().take(64).collect(), failure_info: why.into() }
}

pub(crate) async fn deploy(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Named(id): Named,
    body: Result<Body<Wanted>, ApiError>,
) -> Result<(HeaderMap, Json<Answer>), ScmError> {
    let Body(wanted) = body?;
    wanted.check()?;
    let parts = app.parts().await?;
    let mut pause = PAUSE;
    for _ in 0..ATTEMPTS {
        let (answer, made) = attempt(&parts.ledger, &caller, id, &wanted).await?;
        let Some(made) = made else { return Ok((HeaderMap::new(), Json(answer))) };
        match parts.ledger.deploy(&made.deployment, made.last_job, &made.uses, None).await {
            Err(LedgerError::Conflict | LedgerError::Transient { .. }) => tokio::time::sleep(pause).await,
            written => {
                written?;
                let job = made.deployment.id;
                info!(
                    caller = caller.name, job.id = job.0, certificate.id = %id, devices.deployed = made.uses.len(),
                    devices.refused = answer.failure_list.len(), "deployment begun"
                );
                wake(parts, job, "created").await;
                let location = path(job).parse().map_err(ScmError::internal)?;
                return Ok((HeaderMap::from_iter([(LOCATION, location)]), Json(answer)));
            }
        }
        pause *= 2;
    }
    Err(ScmError::conflict("The devices are changing all the time: send the request again in a moment."))
}

struct Made {
    deployment: Deployment,
    last_job: u64,
    uses: Vec<NewUse>,
}

/// What the request comes to by what there is now; without a job where no device is left.
async fn attempt(
    ledger: &Ledger,
    caller: &Principal,
    id: CertificateId,
    wanted: &Wanted,
) -> Result<(Answer, Option<Made>), ScmError> {
    let now = OffsetDateTime::now_utc();
    let certificate = load(ledger, id).await?;
    if is_expired(certificate.not_after, now) {
        let why = format!("{id} expired on {}: import the certificate that follows it.", certificate.not_after.date());
        return Err(ScmError::invalid(why));
    }
    let (devices, mut failure_list) = wanted.devices();
    let mut found = ledger.devices_by_id(&devices).await?;
    let uses = ledger.uses_of_devices(found.values()).await?;
    let mut taken = Vec::new();
    for device in devices {
        match judge(&device, found.remove(&device), id, &uses) {
            Ok(new) => taken.push(new),
            Err(why) => failure_list.push(failure(device.as_str(), why)),
        }
    }
    if taken.is_empty() {
        return Ok((Answer { failure_list, job_id: None }, None));
    }
    let last_job = ledger.authority().await?.last_job;
    let job = JobId(last_job + 1);
    let devices = taken.iter().map(|new| new.device.id.clone()).collect();
    let deployment = Deployment::new(job, id, Work::Install, devices, caller.name.clone(), now);
    Ok((Answer { failure_list, job_id: Some(job) }, Some(Made { deployment, last_job, uses: taken })))
}

/// Why a device is not given the certificate, and what to do about it.
fn judge(
    id: &DeviceId,
    device: Option<DeviceRecord>,
    certificate: CertificateId,
    uses: &[UseRecord],
) -> Result<NewUse, String> {
    let device = device.ok_or_else(|| format!("There is no device {id}: GET /devices lists those that there are."))?;
    if device.pins.is_empty() {
        return Err(format!(
            "The device is not approved: PATCH /devices/{id} with the pin of the certificate that it shows."
        ));
    }
    if !device.profile.takes_private_key() {
        return Err(format!(
            "A device of profile {} takes no private key, only certificates for keys of its own; devices of the profiles dmtf and openbmc take one.",
            device.profile
        ));
    }
    let mut of_device = uses.iter().filter(|other| other.device == *id);
    let under_way = of_device.clone().find(|other| other.is_under_way());
    if let Some((other, job)) = under_way.and_then(|other| Some((other, other.job?))) {
        return Err(format!(
            "Job {job} is bringing {} to the device: deploy again when it has ended.",
            other.certificate
        ));
    }
    let earlier = of_device.find(|other| other.certificate == certificate).cloned();
    Ok(NewUse { device, earlier })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_core::device::{Driver, Pin, Profile};
    use rootcast_core::lifecycle::{Lifecycle, Stage};
    use rootcast_gate::parse_json;
    use serde_json::json;

    use super::*;

    const CERTIFICATE: &str = "scs1600313391074";

    fn device(profile: Profile) -> DeviceRecord {
        let pin: Pin = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let (address, credential) = ("https://10.0.0.7".to_owned(), "/rootcast/devices/bmc-1".to_owned());
        let mut device = DeviceRecord::new("bmc-1".parse().unwrap(), address, Driver::Redfish, profile, credential);
        device.approve(vec![pin]);
        device
    }

    fn tie(certificate: &str, stage: Option<Stage>, in_error: bool) -> UseRecord {
        let lifecycle = Lifecycle { stage, in_error, ..Lifecycle::idle(Work::Install, "It failed.") };
        let (certificate, device) = (certificate.parse().unwrap(), "bmc-1".parse().unwrap());
        let tied = UseRecord::new(certificate, device, lifecycle, OffsetDateTime::UNIX_EPOCH);
        UseRecord { job: Some(JobId(12)), ..tied }
    }

    fn judged(device: Option<DeviceRecord>, uses: &[UseRecord]) -> Result<Option<UseRecord>, String> {
        let new = judge(&"bmc-1".parse().unwrap(), device, CERTIFICATE.parse().unwrap(), uses)?;
        Ok(new.earlier)
    }

    #[test]
    fn the_body_is_the_vendors() {
        let check =
            |body: serde_json::Value| parse_json::<Wanted>(body.to_string().as_bytes()).unwrap().check().is_ok();
        let resource = json!({ "id": "bmc-1", "type": "x", "domain_name": "y", "enterprise_project_id": "0" });
        assert!(check(json!({ "project_name": "p", "service_name": "DEVICE", "resources": [resource] })));
        assert!(check(json!({ "service_name": "DEVICE", "resources": vec![&resource; 20] })));
        for refused in [
            json!({ "service_name": "WAF", "resources": [resource] }),
            json!({ "service_name": "DEVICE", "resources": [] }),
            json!({ "service_name": "DEVICE", "resources": vec![&resource; 21] }),
        ] {
            assert!(!check(refused.clone()), "{refused}");
        }
    }

    #[test]
    fn what_names_no_device_or_one_twice_is_told_at_once() {
        let ids = ["bmc-1", "a b", "bmc-1", "bmc-2", "a b"];
        let wanted =
            Wanted { service_name: SERVICE.to_owned(), resources: ids.map(|id| Resource { id: id.to_owned() }).into() };
        let (devices, failures) = wanted.devices();
        assert_eq!(devices.iter().map(DeviceId::as_str).collect::<Vec<_>>(), ["bmc-1", "bmc-2"]);
        assert_eq!(
            failures.iter().map(|failure| failure.resource.as_str()).collect::<Vec<_>>(),
            ["a b", "bmc-1", "a b"]
        );
        assert!(failures[0].failure_info.contains("1 to 64 characters") && failures[1].failure_info.contains("twice"));
        assert_eq!(failure(&"x".repeat(999), "").resource.len(), 64);
    }

    #[test]
    fn a_device_that_cannot_have_it_is_told_why() {
        assert!(judged(None, &[]).unwrap_err().contains("no device bmc-1"));
        assert!(
            judged(Some(DeviceRecord { pins: Vec::new(), ..device(Profile::Dmtf) }), &[])
                .unwrap_err()
                .contains("not approved")
        );
        for profile in [Profile::LenovoXcc, Profile::Vmedia] {
            assert!(judged(Some(device(profile)), &[]).unwrap_err().contains("the profiles dmtf and openbmc take one"));
        }
        let under_way = tie("scs0000000000001", Some(Stage::InstallCertificate), false);
        assert!(
            judged(Some(device(Profile::Dmtf)), &[under_way])
                .unwrap_err()
                .contains("Job 12 is bringing scs0000000000001")
        );
    }

    #[test]
    fn an_earlier_use_of_the_same_certificate_is_replaced_and_of_another_left() {
        let other = tie("scs0000000000001", None, false);
        assert_eq!(judged(Some(device(Profile::Openbmc)), std::slice::from_ref(&other)), Ok(None));
        let failed = tie(CERTIFICATE, Some(Stage::CheckConfiguration), true);
        assert_eq!(judged(Some(device(Profile::Openbmc)), &[other, failed.clone()]), Ok(Some(failed)));
    }
}
