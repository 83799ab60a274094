//! A job in words.

use anyhow::Result;
use rootcast_core::job::{Activation, JobId, JobOutcome, JobState};
use serde_json::Value;

use super::{failed, read};
use crate::{
    api::{Api, Job, Task, WaveView},
    exit::End,
    output::{self, Format, out, plain, table},
    watch::phase_name,
};

/// More would scroll away what comes before them.
const SHOWN_FAILURES: usize = 20;

pub(super) async fn list(api: &Api, format: Format) -> Result<End> {
    let jobs: Vec<Value> = api.pages("/jobs", &[], "jobs").await?;
    if format == Format::Json {
        jobs.iter().try_for_each(output::json)?;
        return Ok(End::Done);
    }
    if jobs.is_empty() {
        out!("No job yet: rootcast rotate");
        return Ok(End::Done);
    }
    // A summary's fields are a part of a job's; none of them decides anything here.
    let text = |job: &Value, field: &str| match &job[field] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let row = |job: &Value| {
        ["id", "state", "phase", "outcome", "generation", "created", "reason"].map(|field| text(job, field))
    };
    let rows: Vec<_> = jobs.iter().map(row).collect();
    out!("{}", table(["job", "state", "phase", "outcome", "root", "created", "why"], &rows));
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
    if !job.waves.is_empty() {
        out!("\n{}", waves(&job.waves));
    }
    if job.devices.failed > 0 {
        out!("\n{}", failures(&failed(api, &job).await?));
    }
    Ok(End::Done)
}

fn describe(job: &Job) -> String {
    let state = match (job.state, job.outcome) {
        (JobState::Running, _) => "running",
        (JobState::Paused, _) => "paused",
        (JobState::Ended, Some(JobOutcome::Activated)) => "ended, the new root signs",
        (JobState::Ended, Some(JobOutcome::ActivatedWithFailures)) => {
            "ended, the new root signs, but not every device holds it"
        }
        (JobState::Ended, Some(JobOutcome::Aborted)) => "ended, aborted",
        (JobState::Ended, None) => "ended",
    };
    let follows = job.old_generation.map_or_else(|| "the first one".to_owned(), |old| format!("after {old}"));
    let activation = match job.activation {
        Activation::Proven => "signs when every device has proven that it holds it, or is waived",
        Activation::Immediate => "signs at once, before the devices hold it",
    };
    let counts = job.devices;
    let total = counts.total.map_or_else(|| "not counted yet".to_owned(), |total| total.to_string());
    let rollout = job.rollout;
    [
        ("Job", format!("{}: {}, {state}", job.id, phase_name(job.phase))),
        ("Why", plain(&job.reason)),
        ("Root", format!("generation {}, {follows}; {activation}", job.generation)),
        ("Bundle", format!("version {}", job.bundle_version)),
        (
            "Devices",
            format!(
                "{total}: {} acked, {} failed, {} waived, {} skipped, {} under way",
                counts.acked,
                counts.failed,
                counts.waived,
                counts.skipped,
                counts.dispatched.saturating_sub(counts.settled())
            ),
        ),
        (
            "Rollout",
            format!(
                "canary {}, growth {}, largest wave {}, pause {} s, error budget {} % (from {} devices)",
                rollout.canary,
                rollout.growth,
                rollout.largest_wave,
                rollout.wave_pause,
                rollout.error_budget,
                rollout.error_budget_minimum
            ),
        ),
        ("Times", format!("created {}, changed {}", job.created, job.updated)),
    ]
    .map(|(name, value)| format!("{name:9}{value}"))
    .join("\n")
}

fn waves(waves: &[WaveView]) -> String {
    let row = |wave: &WaveView| {
        let closed = wave.closed.clone().unwrap_or_else(|| "-".to_owned());
        let numbers = [u64::from(wave.number), wave.size, wave.acked, wave.failed].map(|number| number.to_string());
        let [number, size, acked, failed] = numbers;
        [wave.leg.to_string(), number, size, acked, failed, wave.opened.clone(), closed]
    };
    table(["leg", "wave", "size", "acked", "failed", "opened", "closed"], &waves.iter().map(row).collect::<Vec<_>>())
}

/// What failed, what the device said, and what to do; the same remedy only once.
pub(crate) fn failures(tasks: &[Task]) -> String {
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
    if tasks.len() > SHOWN_FAILURES {
        lines.push(format!("and {} more", tasks.len() - SHOWN_FAILURES));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use serde_json::{from_value, json};

    use super::{describe, failures};
    use crate::watch::recorded;

    #[test]
    fn a_job_is_described() {
        let text = describe(&recorded::job(recorded::PAUSED));
        assert!(text.contains("Job      7: distribute, paused\nWhy      Paused: 2 of 5 devices failed"), "{text}");
        assert!(text.contains("Root     generation 2, after 1; signs when every device"), "{text}");
        assert!(text.contains("Devices  25: 3 acked, 2 failed, 0 waived, 0 skipped, 0 under way"), "{text}");
    }

    #[test]
    fn failures_with_the_same_remedy_stand_together() {
        let task = |device: &str, recovery: &str| {
            from_value(json!({"device": device, "leg": "distribute", "state": "failed", "class": "connect", "message": "refused\n", "recovery": recovery})).unwrap()
        };
        assert_eq!(
            failures(&[task("c", "Switch it on."), task("a", "Mend it."), task("b", "Switch it on.")]),
            "Mend it.\n  a  connect: refused \nSwitch it on.\n  c  connect: refused \n  b  connect: refused "
        );
    }
}
