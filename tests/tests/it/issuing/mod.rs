//! A device's own certificate, from the device's key to the connection that shows the signed certificate.

mod devices;
mod issuer;
mod kills;
mod made;
mod names;
pub(crate) mod renewals;

use rootcast_core::deployment::lifecycle::{Entry, Stage, StageResult, Work};
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::CertificateDn;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::JobId;
use rootcast_core::job::task::ErrorClass;
use rootcast_ledger::{CertificateRecord, UseRecord};
use serde_json::{Value, json};

use crate::fake::{Fake, GENERATE, Model, PASSWORD, REPLACE, Request, USER};
use crate::stack::{LIMIT, Stack, fake_enrolment, until};

/// A fake, enrolled and approved with its current certificate.
pub async fn device(stack: &Stack, id: &str, model: Model) -> Fake {
    let fake = Fake::start(model).await;
    stack.store_credential(id, USER, PASSWORD).await;
    let mut row = fake_enrolment(id, &fake);
    row["profile"] = json!(match model {
        Model::OpenBmc => "openbmc",
        Model::Xcc => "lenovo-xcc",
        Model::Dmtf { .. } => "dmtf",
        Model::Vmedia { .. } => "vmedia",
    });
    stack.enrol(vec![row]).await;
    fake
}

/// A job that issues a device's own certificate.
pub struct Issuing {
    pub job: JobId,
    pub certificate: CertificateId,
    device: DeviceId,
}

/// Requests the device's own certificate, the first one or a renewal.
pub async fn begin(stack: &Stack, device: &str) -> Issuing {
    let begun = stack.api.post(&format!("/devices/{device}/certificate"), json!({})).await.response();
    let said = |name: &str| begun[name].as_str().unwrap();
    assert_eq!(said("dn"), dn(device));
    let job = said("jobPath").rsplit('/').next().unwrap().parse().unwrap();
    Issuing { job, certificate: said("certificate").parse().unwrap(), device: device.parse().unwrap() }
}

/// Venafi's name for a device's own certificate.
pub fn dn(device: &str) -> String {
    CertificateDn::of_device(&device.parse().unwrap()).to_string()
}

async fn outcome(stack: &Stack, job: JobId, wanted: &str) -> Value {
    until(&format!("the job has {wanted}"), LIMIT, async || {
        let shown = stack.api.get(&format!("/jobs/{job}")).await.response();
        assert!(shown["state"] != "ended" || shown["outcome"] == wanted, "{shown}");
        (shown["state"] == "ended").then_some(shown)
    })
    .await
}

/// The device shows the recorded certificate.
pub async fn deployed(stack: &Stack, job: &Issuing) -> CertificateRecord {
    outcome(stack, job.job, "deployed").await;
    let binding = binding(stack, job).await;
    assert_eq!((binding.lifecycle.stage, binding.lifecycle.in_error), (None, false), "{binding:?}");
    let record = stack.ledger.certificate(job.certificate).await.unwrap().unwrap();
    let shown = stack.api.get(&format!("/devices/{}/fingerprint", binding.device)).await.response();
    assert_eq!(shown["fingerprint"], format!("sha256:{}", record.leaf.fingerprint()));
    let device = stack.ledger.device(&binding.device).await.unwrap().unwrap();
    let pins: Vec<String> = device.pins.iter().map(ToString::to_string).collect();
    assert_eq!(json!(pins), json!([shown["spki"]]), "only the new key is approved");
    assert_eq!((device.certificate, device.lease), (Some(job.certificate), None));
    record
}

/// The job failed at this stage.
pub async fn failed(stack: &Stack, job: &Issuing, stage: Stage, class: ErrorClass) -> UseRecord {
    outcome(stack, job.job, "deployedWithFailures").await;
    let binding = binding(stack, job).await;
    assert_eq!((binding.lifecycle.stage, binding.lifecycle.in_error), (Some(stage), true), "{binding:?}");
    assert_eq!(binding.lifecycle.history.last().unwrap().result, StageResult::Failed(class), "{binding:?}");
    binding
}

/// Retries what failed: it succeeds, from that stage on, without repeating earlier stages.
async fn retried(stack: &Stack, job: &Issuing, from: Stage) -> CertificateRecord {
    stack.api.post(&format!("/jobs/{}/retry", job.job), json!({})).await.response();
    went_on(stack, job, from).await
}

async fn went_on(stack: &Stack, job: &Issuing, from: Stage) -> CertificateRecord {
    let record = deployed(stack, job).await;
    let history = binding(stack, job).await.lifecycle.history;
    let begun = history.iter().rposition(|entry| entry.result == StageResult::Queued).unwrap();
    let again: &[Entry] = &history[begun..];
    assert_eq!((again[0].stage, again[0].attempt), (from, 2), "{history:?}");
    let order = Work::Issue.stages();
    let place = |stage: Stage| order.iter().position(|each| *each == stage);
    let done: Vec<_> = again[1..].iter().map(|entry| (entry.stage, entry.result)).collect();
    let expected: Vec<_> = order[place(from).unwrap()..].iter().map(|stage| (*stage, StageResult::Done)).collect();
    assert_eq!(done, expected, "{history:?}");
    record
}

async fn binding(stack: &Stack, job: &Issuing) -> UseRecord {
    stack.ledger.uses_by(job.certificate, [&job.device]).await.unwrap().remove(0)
}

/// Requests and replacements at the device since the last call.
fn asked(fake: &Fake) -> (usize, usize) {
    let requests = fake.requests();
    let count = |is: fn(&Request) -> bool| requests.iter().filter(|request| is(request)).count();
    (count(|request| request.is("POST", GENERATE)), count(|request| request.is("POST", REPLACE)))
}
