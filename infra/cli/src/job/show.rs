//! A job, described as text.

use anyhow::Result;
use rootcast_core::deployment::DeploymentOutcome;
use rootcast_core::device::DeviceId;
use rootcast_core::job::task::TaskState;
use rootcast_core::job::{Activation, JobId, JobOutcome, JobPurpose, JobState};
use rootcast_dialects::native::{
    Deployment, InUse, Job, Preflight, Proofs, Rollover, Summary, Task, Used, Visits, Wave, Work,
};
use rootcast_ledger::Leave;
use serde_json::Value;

use super::{not_ready, phase, read, some, some_failed};
use crate::{
    api::Api,
    exit::End,
    output::{self, Format, out, plain, table},
    preflight,
};

/// A longer list would scroll the rest of the output away.
pub(super) const SHOWN_FAILURES: usize = 20;
/// Devices under way that are searched for failed attempts: one page, and one read of their records.
const LOOKED_AT: usize = 100;

pub(super) async fn list(api: &Api, format: Format) -> Result<End> {
    let jobs: Vec<Value> = api.pages("/jobs", &[], "jobs").await?;
    if format == Format::Json {
        output::list(&jobs)?;
        return Ok(End::Done);
    }
    if jobs.is_empty() {
        out!("No job yet: rootcast rotate");
        return Ok(End::Done);
    }
    // A summary has some of a job's fields. All of them are for display only.
    let text = |job: &Value, field: &str| match &job[field] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let row = |job: &Value| {
        // A rollover distributes a root, named by its generation; a deployment distributes a certificate.
        let (phase, brings) =
            if job["certificate"].is_null() { ("phase", "generation") } else { ("leg", "certificate") };
        ["id", "state", phase, "outcome", brings, "created", "reason"].map(|field| text(job, field))
    };
    let rows: Vec<_> = jobs.iter().map(row).collect();
    out!("{}", table(["job", "state", "phase", "outcome", "brings", "created", "why"], &rows));
    Ok(End::Done)
}

pub(super) async fn run(api: &Api, id: JobId, format: Format) -> Result<End> {
    let answer: Value = api.get(&format!("/jobs/{id}"), &[]).await?;
    if format == Format::Json {
        output::json(&answer)?;
        return Ok(End::Done);
    }
    let job = read(id, answer)?;
    out!("{}", describe(&job));
    if let Some(of_job) = job.waves.as_deref().filter(|of_job| !of_job.is_empty()) {
        out!("\n{}", waves(of_job));
    }
    if let Some(report) = &job.report {
        out!(
            "\n{}\n{}",
            preflight::describe(report),
            preflight::devices(&not_ready(api, &job).await?, report.not_ready)
        );
    } else if job.devices.failed > 0 {
        out!("\n{}", failures(&some_failed(api, &job).await?, job.devices.failed));
    }
    let open = job.devices.dispatched.saturating_sub(job.devices.settled());
    if open > 0 && job.summary.state != JobState::Ended {
        out!("\n{}", under_way(&some(api, &job, (TaskState::Waiting, "waiting"), LOOKED_AT).await?, open));
    }
    Ok(End::Done)
}

fn describe(job: &Job) -> String {
    let counts = job.devices;
    let total = counts.total.map_or_else(|| "not counted yet".to_owned(), |total| total.to_string());
    let devices = format!(
        "{total}: {} acked, {} failed, {} waived, {} skipped, {} under way",
        counts.acked,
        counts.failed,
        counts.waived,
        counts.skipped,
        counts.dispatched.saturating_sub(counts.settled())
    );
    let summary = &job.summary;
    let mut lines =
        vec![("Job", format!("{}: {}, {}", summary.id, phase(job), state(summary))), ("Why", plain(&summary.reason))];
    match &summary.work {
        Work::Rollover(rollover) => lines.extend(describe_rollover(job, rollover)),
        Work::Deployment(Deployment { certificate, certificates, requested_by, .. }) => {
            let what = match certificates.len() {
                0 => format!("certificate {certificate}"),
                devices => format!("the next certificates of {devices} devices"),
            };
            lines.push(("Brings", format!("{what}, asked for by {}", plain(requested_by))));
            let own = certificates.iter().map(|(device, certificate)| ("", format!("{certificate} to {device}")));
            lines.extend(own);
        }
    }
    lines.push(("Devices", devices));
    lines.extend(job.used.as_ref().map(|used| ("Used", describe_used(used, job.preflight.as_ref()))));
    lines.push(("Times", format!("created {}, changed {}", summary.created, summary.updated)));
    lines.iter().map(|(name, value)| format!("{name:9}{value}")).collect::<Vec<_>>().join("\n")
}

/// Units and money so far, beside the preflight's estimate.
fn describe_used(used: &Used, before: Option<&Preflight>) -> String {
    let estimate = before.and_then(|before| before.estimated_dollars.as_ref());
    let estimate = estimate.map_or_else(String::new, |dollars| format!(" (estimated ${})", plain(dollars)));
    let calls: u64 = used.calls.values().sum();
    format!(
        "${}{estimate}: {} write units, {} read units, {} signatures, {} queue requests, {} GB-seconds in {} invocations; {calls} calls to AWS",
        plain(&used.dollars),
        used.write_units,
        used.read_units,
        used.signatures,
        used.queue_requests,
        used.gigabyte_seconds,
        used.invocations,
    )
}

fn state(job: &Summary) -> &'static str {
    match (job.state, &job.work) {
        (JobState::Running, _) => "running",
        (JobState::Paused, _) => "paused",
        (JobState::Ended, Work::Rollover(rollover)) => match rollover.outcome {
            Some(JobOutcome::Activated) => "completed: the new root is active",
            Some(JobOutcome::ActivatedWithFailures) => {
                "completed: the new root is active, but not every device holds it"
            }
            Some(JobOutcome::Completed) => "completed: the old roots are gone",
            Some(JobOutcome::RolledBack) => "ended: rolled back, the old root signs again",
            Some(JobOutcome::Distributed) => "completed: the devices hold the trusted certificates",
            Some(JobOutcome::Checked) => "completed: every device was read",
            Some(JobOutcome::Aborted) => "ended: aborted",
            Some(JobOutcome::TakenOver) => "ended: taken over by the job that replaces a compromised root",
            None => "ended",
        },
        (JobState::Ended, Work::Deployment(deployment)) => match deployment.outcome {
            Some(DeploymentOutcome::Deployed) => "completed: the devices show the certificate",
            Some(DeploymentOutcome::DeployedWithFailures) => "completed, but not every device shows the certificate",
            None => "ended",
        },
    }
}

fn describe_rollover(job: &Job, rollover: &Rollover) -> Vec<(&'static str, String)> {
    let follows = rollover.old_generation.map_or_else(|| "the first one".to_owned(), |old| format!("after {old}"));
    let activation = match rollover.activation {
        Activation::Proven => "activated when every device has proven that it holds it, or is waived",
        Activation::Immediate if !rollover.compromised.is_empty() => {
            "activated at once, in the place of every other root, since one is compromised"
        }
        Activation::Immediate => "activated at once, before the devices hold it",
    };
    let rollout = &rollover.rollout;
    let brings = match rollover.purpose {
        JobPurpose::Rollover => ("Root", format!("generation {}, {follows}; {activation}", rollover.generation)),
        JobPurpose::Anchors => ("Brings", "the trusted certificates of others: rootcast anchor list".to_owned()),
        JobPurpose::Preflight => ("Reads", "the devices before a rollover; nothing is written to them".to_owned()),
    };
    let mut lines = vec![
        brings,
        ("Bundle", format!("version {}", rollover.bundle_version)),
        (
            "Rollout",
            format!(
                "canary {}, growth {}, largest wave {}, pause {} s, error budget {} % (from {} devices), proofs no older than {} s, hold-down {} s",
                rollout.canary,
                rollout.growth,
                rollout.largest_wave,
                rollout.wave_pause,
                rollout.error_budget,
                rollout.error_budget_minimum,
                rollout.proof_age,
                rollout.hold_down
            ),
        ),
    ];
    lines.extend(rollout.name.as_ref().map(|name| ("Started", format!("with rollout {name}"))));
    let windows: Vec<String> = rollout.windows.iter().map(ToString::to_string).collect();
    lines.extend((!windows.is_empty()).then(|| ("Windows", format!("of {}", windows.join("; ")))));
    let order: Vec<String> = rollout.order.iter().map(ToString::to_string).collect();
    lines.extend((!order.is_empty()).then(|| ("Order", format!("{}, then the others", order.join(", then ")))));
    if job.devices.postponed > 0 {
        lines.push(("Postponed", format!("{} devices, until their windows open", job.devices.postponed)));
    }
    if let Some(InUse { found, names }) = rollover.breaks.as_ref().filter(|breaks| breaks.found > 0) {
        let names = names.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", ");
        lines.push(("Breaks", format!("{found} imported certificates, until they are replaced: {names}")));
    }
    lines.extend(job.preflight.as_ref().map(|before| ("Before", preflight::before(before))));
    lines.extend(rollover.until.map(|until| ("Goes", format!("as far as {until}"))));
    lines.extend(rollover.hold.as_ref().map(|hold| {
        let sampled =
            hold.sampled.as_ref().map_or_else(String::new, |at| format!("; a sample was read anew from {at} on"));
        ("Holds", format!("down until {}{sampled}", hold.until))
    }));
    if let Some(Proofs { fresh, old, missing, failed, waived, .. }) = &job.proofs {
        let found =
            format!("{fresh} fresh, {old} old, {missing} missing; {failed} devices failed, {waived} are waived");
        lines.push(("Proofs", found));
    }
    lines.extend(
        job.left
            .iter()
            .map(|left| ("Left", format!("{} ({}) at {} by {}", left.device, how(left.how), left.at, plain(&left.by)))),
    );
    if let Some(InUse { found, names }) = &job.in_use {
        let more = if *found > names.len() as u64 { ", and more" } else { "" };
        let names: Vec<String> = names.iter().map(|name| plain(name)).collect();
        lines.push(("Needs", format!("the older roots, {found}: {}{more}", names.join(", "))));
    }
    if !rollover.unusable_keys.is_empty() {
        let generations: Vec<_> = rollover.unusable_keys.iter().map(u32::to_string).collect();
        let what = "disabled, pending deletion or gone; they sign neither the bundle nor a link";
        lines.push(("Keys", format!("of root generations {}: {what}", generations.join(", "))));
    }
    lines
}

const fn how(left: Leave) -> &'static str {
    match left {
        Leave::Deleted => "deleted",
        Leave::Pending => "pending",
    }
}

fn waves(waves: &[Wave]) -> String {
    let row = |wave: &Wave| {
        let closed = wave.closed.clone().unwrap_or_else(|| "-".to_owned());
        let numbers = [u64::from(wave.number), wave.size, wave.acked, wave.failed].map(|number| number.to_string());
        let [number, size, acked, failed] = numbers;
        [wave.pass.to_string(), number, size, acked, failed, wave.opened.clone(), closed]
    };
    table(["pass", "wave", "size", "acked", "failed", "opened", "closed"], &waves.iter().map(row).collect::<Vec<_>>())
}

/// Failed attempts of devices under way, and the time of the next attempt. `all`: number of devices under way.
fn under_way(tasks: &[Task], all: u64) -> String {
    let tried = tasks.iter().filter_map(|task| Some((&task.device, task.tries.as_ref()?)));
    let row = |(device, tries): (&DeviceId, &Visits)| format!("  {device}  {}", in_vain(tries));
    let mut lines: Vec<String> = tried.take(SHOWN_FAILURES).map(row).collect();
    let more = all.saturating_sub(lines.len() as u64);
    match lines.is_empty() {
        true => return format!("{all} under way"),
        false => lines.insert(0, "Under way, and tried in vain so far:".to_owned()),
    }
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

/// The failed attempts at a device, and the time of the next one.
pub(crate) fn in_vain(tries: &Visits) -> String {
    let visits = if tries.count == 1 { "visit" } else { "visits" };
    let next = tries.next.as_ref().map_or_else(|| "that was the last".to_owned(), |next| format!("next at {next}"));
    format!("{} {visits} failed, {next}; {}: {}", tries.count, tries.class, plain(&tries.message))
}

/// Each failure with the device's message, grouped by remedy. `all`: number of failed devices.
pub(crate) fn failures(tasks: &[Task], all: u64) -> String {
    let mut lines = Vec::new();
    let mut told: Option<&str> = None;
    let mut shown: Vec<&Task> = tasks.iter().take(SHOWN_FAILURES).collect();
    shown.sort_by_key(|task| task.recovery.as_deref());
    for task in shown {
        if task.recovery.as_deref() != told {
            told = task.recovery.as_deref();
            lines.push(plain(told.unwrap_or_default()));
        }
        let class = task.class.map_or_else(String::new, |class| class.to_string());
        lines.push(format!("  {}  {class}: {}", task.device, plain(task.message.as_deref().unwrap_or("no message"))));
    }
    let more = all.saturating_sub(tasks.len().min(SHOWN_FAILURES) as u64);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use serde_json::{from_value, json};

    use super::{describe, describe_used, failures, under_way};
    use crate::watch::recorded;

    #[test]
    fn a_job_is_described() {
        let text = describe(&recorded::job(recorded::PAUSED));
        assert!(text.contains("Job      7: distribute, paused\nWhy      Paused: 2 of 5 devices failed"), "{text}");
        assert!(text.contains("Root     generation 2, after 1; activated when every device"), "{text}");
        assert!(text.contains("Devices  25: 3 acked, 2 failed, 0 waived, 0 skipped, 0 under way"), "{text}");
        assert_eq!(
            describe(&recorded::job(recorded::DEPLOYED_BUT_ONE)),
            "Job      7: install, completed, but not every device shows the certificate\n\
             Why      1 of 2 devices show the certificate, 1 failed.\n\
             Brings   certificate scs1600313391074, asked for by ops\n\
             Devices  2: 1 acked, 1 failed, 0 waived, 0 skipped, 0 under way\n\
             Times    created 2026-07-22T10:11:00Z, changed 2026-07-22T10:11:12Z"
        );
    }

    #[test]
    fn what_a_job_used_stands_beside_the_estimate() {
        let used = from_value(json!({
            "dollars": "0.0123", "calls": { "dynamodb": 70, "sqs": 9 }, "writeUnits": 60, "readUnits": 50,
            "queueRequests": 9, "signatures": 2, "invocations": 8, "gigabyteSeconds": 1, "prices": "us-east-1"
        }));
        assert_eq!(
            describe_used(&used.unwrap(), None),
            "$0.0123: 60 write units, 50 read units, 2 signatures, 9 queue requests, 1 GB-seconds in 8 invocations; 79 calls to AWS"
        );
        let before = json!({
            "job": 6, "at": "2026-01-02T03:04:05Z", "readyThen": { "devices": 3, "ready": 3 }, "estimatedDollars": "0.0111"
        });
        let used = from_value(json!({
            "dollars": "0.0123", "calls": {}, "writeUnits": 0, "readUnits": 0, "queueRequests": 0, "signatures": 0,
            "invocations": 0, "gigabyteSeconds": 0, "prices": ""
        }));
        let told = describe_used(&used.unwrap(), Some(&from_value(before).unwrap()));
        assert!(told.starts_with("$0.0123 (estimated $0.0111): "), "{told}");
    }

    #[test]
    fn devices_under_way_are_shown_with_their_failed_visits() {
        let task = |device: &str, tries: serde_json::Value| {
            from_value(json!({"device": device, "leg": "distribute", "state": "waiting", "attempt": 1, "tries": tries}))
                .unwrap()
        };
        let next = json!({"count": 2, "class": "connect", "message": "Nobody\nanswers.", "at": "2026-01-02T03:04:05Z", "next": "2026-01-02T03:05:05Z"});
        let last = json!({"count": 1, "class": "unauthorized", "message": "No.", "at": "2026-01-02T03:04:05Z"});
        assert_eq!(
            under_way(&[task("a", next), task("b", json!(null)), task("c", last)], 1000),
            "Under way, and tried in vain so far:\n  \
             a  2 visits failed, next at 2026-01-02T03:05:05Z; connect: Nobody answers.\n  \
             c  1 visit failed, that was the last; unauthorized: No.\nand 998 more"
        );
        assert_eq!(under_way(&[task("b", json!(null))], 1), "1 under way");
    }

    #[test]
    fn failures_are_grouped_by_remedy() {
        let task = |device: &str, recovery: &str| {
            from_value(json!({"device": device, "leg": "distribute", "state": "failed", "attempt": 1, "class": "connect", "message": "refused\n", "recovery": recovery})).unwrap()
        };
        assert_eq!(
            failures(&[task("c", "Switch it on."), task("a", "Mend it."), task("b", "Switch it on.")], 100_000),
            "Mend it.\n  a  connect: refused \nSwitch it on.\n  c  connect: refused \n  b  connect: refused \nand 99997 more"
        );
    }
}
