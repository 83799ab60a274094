//! `POST /v3/scm/certificates/{id}/deploy`: brings a certificate to devices. A job does the work.
//!
//! Eight calls to AWS: certificate, twice, devices, their uses (if they have any), the job's id, the certificate's
//! audit chain, one transaction, one message.

use std::collections::HashSet;

use axum::extract::{FromRequestParts, Query, State};
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use axum::{Extension, Json};
use rootcast_core::access::permission::Right;
use rootcast_core::deployment::MOST_DEPLOYED;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::application_dn;
use rootcast_core::job::JobId;
use rootcast_dialects::huawei::{Body, HuaweiError, Named, no_such_certificate};
use rootcast_gate::routes::Denied;
use rootcast_gate::{Parameter, Principal, Reads, RequestId, fields};
use rootcast_operations::{Begun, DeviceRefusal, NotBegun, NotDone, Planned};
use serde::{Deserialize, Serialize};
use tracing::info;

use super::show::load;
use crate::app::App;
use crate::deployments::path;
use crate::extract::Dry;

/// The only service that certificates are deployed to.
pub(super) const SERVICE: &str = "DEVICE";

/// The attributes of the vendor's body that have a meaning here.
#[derive(Debug, Deserialize)]
pub(crate) struct DeployRequest {
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
    /// Our own: the job that brings the certificate to the remaining devices; `null` if there are none.
    job_id: Option<JobId>,
    /// Our own, with `dryRun=true`: the devices to which a job would bring it.
    #[serde(skip_serializing_if = "Option::is_none")]
    would_deploy: Option<Vec<DeviceId>>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Failure {
    resource: String,
    failure_info: String,
}

impl DeployRequest {
    fn check(&self) -> Result<(), HuaweiError> {
        if self.service_name != SERVICE {
            return Err(HuaweiError::invalid(format!(
                "service_name is {SERVICE}: certificates are deployed to the devices that are enrolled here."
            )));
        }
        if !(1..=MOST_DEPLOYED).contains(&self.resources.len()) {
            return Err(HuaweiError::invalid(format!("resources names 1 to {MOST_DEPLOYED} devices by their ids.")));
        }
        Ok(())
    }

    /// The devices, and a failure for each duplicate and each text that is no device id.
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
    // The text is the caller's and may be long: only the maximum length of a device id is returned.
    Failure { resource: resource.chars().take(64).collect(), failure_info: why.into() }
}

pub(crate) async fn deploy(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    DryRun(is_dry): DryRun,
    Named(id): Named,
    Body(wanted): Body<DeployRequest>,
) -> Result<(HeaderMap, Json<Answer>), HuaweiError> {
    wanted.check()?;
    let parts = app.parts().await?;
    load(&parts.ledger, &caller, Right::Write, id).await?;
    let (mut devices, mut failure_list) = wanted.devices();
    devices.retain(|device| {
        let lacks = lacks(&caller, device);
        failure_list.extend(lacks.iter().map(|why| failure(device.as_str(), why)));
        lacks.is_none()
    });
    if is_dry {
        let planned = parts.operations().would_deploy(id, &devices).await;
        let Planned { devices, refused } = planned.map_err(refusal)?;
        failure_list.extend(refused.into_iter().map(|(device, why)| failure(device.as_str(), why.to_string())));
        return Ok((HeaderMap::new(), Json(Answer { failure_list, job_id: None, would_deploy: Some(devices) })));
    }
    let begun = parts.operations().deploy(id, &devices, &caller.acting(&request)).await;
    let Begun { job, refused } = begun.map_err(refusal)?;
    failure_list.extend(refused.into_iter().map(|(device, why)| failure(device.as_str(), why.to_string())));
    let answer = |failure_list, job_id| Json(Answer { failure_list, job_id, would_deploy: None });
    let Some(job) = job else { return Ok((HeaderMap::new(), answer(failure_list, None))) };
    info!(
        caller = caller.name, job.id = job.id.0, certificate.id = %id, devices.deployed = job.devices.len(),
        devices.refused = failure_list.len(), "deployment begun"
    );
    let location = path(job.id).parse().map_err(HuaweiError::internal)?;
    Ok((HeaderMap::from_iter([(LOCATION, location)]), answer(failure_list, Some(job.id))))
}

/// `dryRun`, as of our own API; the vendor's has no query here. Whoever misspells it wants no deployment.
pub(crate) struct DryRun(bool);

impl<S: Send + Sync> FromRequestParts<S> for DryRun {
    type Rejection = HuaweiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HuaweiError> {
        is_dry(&parts.uri).map(Self)
    }
}

impl Reads for DryRun {
    fn parameters() -> Vec<Parameter> {
        fields::<Dry>()
    }
}

fn is_dry(uri: &Uri) -> Result<bool, HuaweiError> {
    let plain = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
    let known = fields::<Dry>();
    let is_misspelt = |name: &str| known.iter().any(|known| known.name != name && plain(known.name) == plain(name));
    let mut said = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    match Query::<Dry>::try_from_uri(uri) {
        Ok(Query(Dry { dry_run })) if !said.any(|(name, _)| is_misspelt(&name)) => Ok(dry_run),
        _ => Err(HuaweiError::invalid("The parameter dryRun is true or false, and is there once.")),
    }
}

/// Why the caller may not deploy to the device.
fn lacks(caller: &Principal, device: &DeviceId) -> Option<String> {
    match caller.require(Right::Write, &application_dn(device)).err()? {
        Denied::Forbidden(why) => Some(why.to_string()),
        _ => Some(DeviceRefusal::NoDevice.to_string()),
    }
}

fn refusal(why: NotDone<NotBegun>) -> HuaweiError {
    match why {
        NotDone::Refused(NotBegun::NoCertificate) => no_such_certificate(),
        NotDone::Refused(NotBegun::Expired(_)) => {
            HuaweiError::invalid(format!("{why} Import the certificate that follows it."))
        }
        NotDone::Refused(NotBegun::NoRandom(_)) => HuaweiError::internal(why),
        NotDone::Refused(why) => HuaweiError::invalid(why.to_string()),
        NotDone::Busy | NotDone::Late => HuaweiError::conflict(why.to_string()),
        NotDone::Ledger(error) => error.into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_gate::parse_json;
    use serde_json::json;

    use super::*;

    #[test]
    fn validates_the_vendors_request_body() {
        let check =
            |body: serde_json::Value| parse_json::<DeployRequest>(body.to_string().as_bytes()).unwrap().check().is_ok();
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
    fn a_misspelt_dry_run_deploys_nothing() {
        let is_dry = |query: &str| is_dry(&format!("/?{query}").parse().unwrap());
        for (query, expected) in [("", false), ("x=1", false), ("dryRun=false", false), ("x=1&dryRun=true", true)] {
            assert_eq!(is_dry(query).unwrap(), expected, "{query}");
        }
        for refused in ["dryRun", "dryRun=", "dryRun=True", "dryRun=1", "dryrun=true", "dry_run=true", "dry-run=true"] {
            assert!(is_dry(refused).is_err(), "{refused}");
        }
        assert!(is_dry("dryRun=true&dryRun=false").is_err());
    }

    #[test]
    fn invalid_and_duplicate_devices_fail_immediately() {
        let ids = ["bmc-1", "a b", "bmc-1", "bmc-2", "a b"];
        let wanted = DeployRequest {
            service_name: SERVICE.to_owned(),
            resources: ids.map(|id| Resource { id: id.to_owned() }).into(),
        };
        let (devices, failures) = wanted.devices();
        assert_eq!(devices.iter().map(DeviceId::as_str).collect::<Vec<_>>(), ["bmc-1", "bmc-2"]);
        assert_eq!(
            failures.iter().map(|failure| failure.resource.as_str()).collect::<Vec<_>>(),
            ["a b", "bmc-1", "a b"]
        );
        assert!(failures[0].failure_info.contains("1 to 64 characters") && failures[1].failure_info.contains("twice"));
        assert_eq!(failure(&"x".repeat(999), "").resource.len(), 64);
    }
}
