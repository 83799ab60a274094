//! `POST /v3/scm/deployed-resources`: where certificates are deployed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::extract::State;
use axum::{Extension, Json};
use futures::stream::{self, StreamExt, TryStreamExt};
use rootcast_core::deployment::lifecycle::{Lifecycle, Stage};
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::application_dn;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::JobId;
use rootcast_dialects::huawei::{Body, HuaweiError};
use rootcast_gate::Principal;
use rootcast_ledger::{CertificateOrPending, DeviceRecord, UseRecord};
use serde::{Deserialize, Serialize};

use super::deploy::SERVICE;
use crate::app::App;

/// Certificates per call: each needs one query.
const MOST_CERTIFICATES: usize = 50;
/// Concurrent queries.
const CONCURRENCY: usize = 8;
/// The vendor's name for all services.
const ALL: &str = "ALL";
/// The vendor's name for resources that have no region.
const GLOBAL: &str = "global";

#[derive(Debug, Deserialize)]
pub(crate) struct DeployedRequest {
    certificate_ids: Vec<CertificateId>,
    /// All, if none is named.
    #[serde(default)]
    service_names: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    results: Vec<Certificate>,
}

#[derive(Debug, Serialize)]
struct Certificate {
    certificate_id: CertificateId,
    total_num: usize,
    deployed_resources: Vec<Service>,
}

#[derive(Debug, Serialize)]
struct Service {
    service: &'static str,
    resource_num: usize,
    resource_location: &'static str,
    region_resources: Vec<Region>,
}

/// Devices whose deployment failed have an entry of their own: it is unknown which certificate they present.
#[derive(Debug, Serialize)]
struct Region {
    region_id: &'static str,
    is_error: bool,
    resources: Vec<Resource>,
}

#[derive(Debug, Serialize)]
struct Resource {
    resource_id: DeviceId,
    /// The id, if the device has no name.
    resource_name: String,
    /// From here on, the attributes are our own. `null`: the device was proven to present the certificate.
    stage: Option<Stage>,
    status: String,
    job_id: Option<JobId>,
}

pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Body(wanted): Body<DeployedRequest>,
) -> Result<Json<Answer>, HuaweiError> {
    if !(1..=MOST_CERTIFICATES).contains(&wanted.certificate_ids.len()) {
        return Err(HuaweiError::invalid(format!("certificate_ids names 1 to {MOST_CERTIFICATES} certificates.")));
    }
    let services = &wanted.service_names;
    let is_wanted = services.is_empty() || services.iter().any(|name| name == SERVICE || name == ALL);
    let ledger = &app.parts().await?.ledger;
    let hidden: BTreeSet<CertificateId> = if caller.sees_everything() {
        BTreeSet::new()
    } else {
        let named = ledger.certificates_or_pending(wanted.certificate_ids.iter().copied()).await?;
        named.iter().filter(|held| !caller.sees(&held.dn())).map(CertificateOrPending::id).collect()
    };
    let (caller, hidden) = (&caller, &hidden);
    let uses: Vec<(CertificateId, Vec<UseRecord>)> = stream::iter(wanted.certificate_ids)
        .map(|id| async move {
            let is_asked = is_wanted && !hidden.contains(&id);
            let mut uses = if is_asked { ledger.uses_of_certificate(id).await? } else { Vec::new() };
            uses.retain(|each| caller.sees(&application_dn(&each.device)));
            Ok::<_, HuaweiError>((id, uses))
        })
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    let named: BTreeSet<&DeviceId> = uses.iter().flat_map(|(_, uses)| uses).map(|it| &it.device).collect();
    let devices = ledger.devices_by_id(named).await?;
    let results = uses.into_iter().map(|(id, uses)| Certificate::of(id, uses, &devices)).collect();
    Ok(Json(Answer { results }))
}

impl Certificate {
    fn of(certificate_id: CertificateId, uses: Vec<UseRecord>, devices: &HashMap<DeviceId, DeviceRecord>) -> Self {
        let total_num = uses.len();
        let mut regions: BTreeMap<bool, Vec<Resource>> = BTreeMap::new();
        for UseRecord { device, lifecycle: Lifecycle { stage, in_error, status, .. }, job, .. } in uses {
            let name = devices.get(&device).and_then(|record| record.name.clone());
            let resource = Resource {
                resource_name: name.unwrap_or_else(|| device.to_string()),
                resource_id: device,
                stage,
                status,
                job_id: job,
            };
            regions.entry(in_error).or_default().push(resource);
        }
        let region = |(is_error, resources)| Region { region_id: GLOBAL, is_error, resources };
        let region_resources: Vec<Region> = regions.into_iter().map(region).collect();
        let service =
            Service { service: SERVICE, resource_num: total_num, resource_location: GLOBAL, region_resources };
        let deployed_resources = if total_num == 0 { Vec::new() } else { vec![service] };
        Self { certificate_id, total_num, deployed_resources }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_core::deployment::lifecycle::Work;
    use serde_json::json;
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn failed_devices_have_an_entry_of_their_own() {
        let id: CertificateId = "scs1600313391074".parse().unwrap();
        let binding = |device: &str, stage, in_error| {
            let lifecycle = Lifecycle { stage, in_error, ..Lifecycle::idle(Work::Install, "So it is.") };
            let bound = UseRecord::new(id, device.parse().unwrap(), lifecycle, OffsetDateTime::UNIX_EPOCH);
            UseRecord { job: Some(JobId(12)), ..bound }
        };
        let uses = vec![
            binding("bmc-1", None, false),
            binding("bmc-2", Some(Stage::CheckConfiguration), true),
            binding("bmc-3", Some(Stage::InstallCertificate), false),
        ];
        let resource = |id: &str, stage: Option<u16>| json!({ "resource_id": id, "resource_name": id, "stage": stage, "status": "So it is.", "job_id": 12 });
        assert_eq!(
            serde_json::to_value(Certificate::of(id, uses, &HashMap::new())).unwrap(),
            json!({
                "certificate_id": "scs1600313391074", "total_num": 3,
                "deployed_resources": [{
                    "service": "DEVICE", "resource_num": 3, "resource_location": "global",
                    "region_resources": [
                        { "region_id": "global", "is_error": false,
                          "resources": [resource("bmc-1", None), resource("bmc-3", Some(800))] },
                        { "region_id": "global", "is_error": true, "resources": [resource("bmc-2", Some(900))] },
                    ],
                }],
            })
        );
        let none = serde_json::to_value(Certificate::of(id, Vec::new(), &HashMap::new())).unwrap();
        assert_eq!(none, json!({ "certificate_id": "scs1600313391074", "total_num": 0, "deployed_resources": [] }));
    }
}
