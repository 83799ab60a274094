//! `rootcast job waive`: excludes devices from a job, a thousand per request, or imported certificates.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::Method;
use rootcast_core::device::DeviceId;
use rootcast_core::job::JobId;
use rootcast_core::job::task::TaskState;
use rootcast_dialects::native::{CertificateWaiver, Job, Task, WaiverOutcome, WaiverResult};
use serde_json::{Value, json};

use super::{Waive, find, read, tell};
use crate::{
    api::{Api, ApiError},
    ask,
    device::list::selected,
    exit::{End, Usage},
    output::{self, Format, note, out, plain},
};

/// The API's limit per request.
const AT_ONCE: usize = 1000;
const CERTIFICATES_AT_ONCE: usize = 100;
/// Page size for the job's tasks. Each page is waived before the next one is read.
const PAGE: &str = "1000";
/// Attempts for a device that is busy, with a pause in between.
const ROUNDS: usize = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// A longer list would scroll the rest of the output away.
const SHOWN_REFUSALS: usize = 20;

/// Progress so far. At most one page of devices is in memory.
struct Waiving<'a> {
    api: &'a Api,
    id: JobId,
    reason: &'a str,
    format: Format,
    /// The number of failed devices, with `--all-failed`.
    expected: Option<u64>,
    waived: u64,
    refused: u64,
    /// The first refusals.
    refusals: Vec<WaiverResult>,
    /// The last answer.
    job: Option<Value>,
}

pub(super) async fn run(api: &Api, waive: Waive, format: Format) -> Result<End> {
    let id = find(api, &waive.which).await?;
    if !ask::is_meant(waive.yes, &question(id, &waive), &id.to_string()).await? {
        note!("Nothing is waived.");
        return Ok(End::Failed);
    }
    if !waive.certificates.is_empty() {
        return waive_certificates(api, id, &waive, format).await;
    }
    let mut waiving = Waiving {
        api,
        id,
        reason: &waive.reason,
        format,
        expected: None,
        waived: 0,
        refused: 0,
        refusals: Vec::new(),
        job: None,
    };
    let done = match &waive.selector {
        Some(selector) => waiving.all_failed(Some(&selected(api, selector).await?)).await,
        None if waive.all_failed => waiving.all_failed(None).await,
        None => waiving.each(waive.devices).await,
    };
    done.with_context(|| waiving.so_far())?;
    waiving.conclude()
}

/// What the job does without waiting for.
fn question(id: JobId, waive: &Waive) -> String {
    let (certificates, devices) = (&waive.certificates, &waive.devices);
    if !certificates.is_empty() {
        return format!(
            "Waive {} in job {id}? Devices refuse them once an old root is gone.",
            plain(&certificates.join(", "))
        );
    }
    let which = match &waive.selector {
        Some(selector) => format!("every failed device with {}", String::from(selector.clone())),
        None if waive.all_failed => "every failed device".to_owned(),
        None => devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    format!("Waive {which} in job {id}? It goes on without them: they refuse what only the new root vouches for.")
}

async fn waive_certificates(api: &Api, id: JobId, waive: &Waive, format: Format) -> Result<End> {
    let path = format!("/jobs/{id}/waive");
    let (mut job, mut waived, mut refused) = (None, 0, 0);
    for some in waive.certificates.chunks(CERTIFICATES_AT_ONCE) {
        let body = json!({"certificates": some, "reason": waive.reason});
        let answer: Option<Value> = api.send_repeatedly(Method::POST, &path, &body).await?;
        let answer = answer.ok_or_else(|| ApiError::unintelligible(&path, "it has no response"))?;
        let outcomes: Vec<CertificateWaiver> = serde_json::from_value(answer["certificates"].clone())
            .map_err(|error| ApiError::unintelligible(&path, error))?;
        if format == Format::Json {
            output::json(&answer)?;
        }
        for CertificateWaiver { certificate, message, .. } in outcomes {
            match message {
                None => waived += 1,
                Some(why) => {
                    refused += 1;
                    if format == Format::Text {
                        out!("{} not waived: {}", plain(&certificate), plain(&why));
                    }
                }
            }
        }
        job = Some(answer);
    }
    if format == Format::Text {
        out!("{waived} certificates are waived.");
        tell(id, job, format)?;
    }
    Ok(End::unless(refused > 0))
}

impl Waiving<'_> {
    /// `among`: only these.
    async fn all_failed(&mut self, among: Option<&BTreeSet<DeviceId>>) -> Result<()> {
        let job: Job = read(self.id, self.api.get(&format!("/jobs/{}", self.id), &[]).await?)?;
        self.expected = Some(job.devices.failed);
        let path = format!("/jobs/{}/tasks", self.id);
        let mut pages = self.api.paged(&path, &[("state", "failed")], "tasks", PAGE);
        while let Some(tasks) = pages.next::<Task>().await? {
            let failed =
                tasks.into_iter().filter(|task| task.state == TaskState::Failed && task.pass == job.summary.pass);
            let failed = failed.map(|task| task.device);
            self.each(failed.filter(|device| among.is_none_or(|among| among.contains(device))).collect()).await?;
        }
        if self.job.is_none() {
            return Err(Usage(format!("no device of job {} failed", self.id)).into());
        }
        Ok(())
    }

    async fn each(&mut self, devices: Vec<DeviceId>) -> Result<()> {
        for some in devices.chunks(AT_ONCE) {
            let mut open = some.to_vec();
            for round in 1..=ROUNDS {
                let busy = self.send(&open, round == ROUNDS).await?;
                if busy.is_empty() {
                    break;
                }
                open = busy;
                tokio::time::sleep(PAUSE).await;
            }
            self.show_progress();
        }
        Ok(())
    }

    /// Returns the devices to send again. The request is idempotent: a waived device stays waived.
    async fn send(&mut self, devices: &[DeviceId], is_last: bool) -> Result<Vec<DeviceId>> {
        let path = format!("/jobs/{}/waive", self.id);
        let body = json!({"devices": devices, "reason": self.reason});
        let answer: Option<Value> = self.api.send_repeatedly(Method::POST, &path, &body).await?;
        let answer = answer.ok_or_else(|| ApiError::unintelligible(&path, "it has no response"))?;
        let outcomes: Vec<WaiverResult> = serde_json::from_value(answer["results"].clone())
            .map_err(|error| ApiError::unintelligible(&path, error))?;
        if self.format == Format::Json {
            output::json(&answer)?;
        }
        self.job = Some(answer);
        let mut busy = Vec::new();
        for outcome in outcomes {
            match outcome.result {
                WaiverOutcome::Waived | WaiverOutcome::Unchanged => self.waived += 1,
                WaiverOutcome::Busy if !is_last => busy.push(outcome.device),
                WaiverOutcome::Busy | WaiverOutcome::Refused => {
                    self.refused += 1;
                    if self.refusals.len() < SHOWN_REFUSALS {
                        self.refusals.push(outcome);
                    }
                }
            }
        }
        Ok(busy)
    }

    fn show_progress(&self) {
        if let (Format::Text, Some(expected)) = (self.format, self.expected)
            && expected > AT_ONCE as u64
        {
            note!("{} of {expected} devices waived", self.waived);
        }
    }

    fn so_far(&self) -> String {
        let id = self.id;
        format!("{} devices of job {id} are waived; repeat the command for the rest", self.waived)
    }

    fn conclude(self) -> Result<End> {
        let end = End::unless(self.refused > 0);
        if self.format == Format::Json {
            return Ok(end);
        }
        for WaiverResult { device, message, .. } in &self.refusals {
            out!("{device} not waived: {}", plain(message.as_deref().unwrap_or("no reason was given")));
        }
        let more = self.refused.saturating_sub(self.refusals.len() as u64);
        if more > 0 {
            out!("and {more} more not waived");
        }
        out!("{} devices are waived.", self.waived);
        tell(self.id, self.job, self.format)?;
        Ok(end)
    }
}

#[cfg(test)]
#[path = "waive_tests.rs"]
mod tests;
