//! `rootcast rotate`: requests a new root.

use anyhow::Result;
use clap::Args;
use reqwest::Method;
use rootcast_core::job::{JobId, Phase};
use rootcast_core::rollover::template::RolloutName;
use serde::Deserialize;
use serde_json::json;

use crate::{
    api::{Api, ApiError},
    exit::End,
    output::{self, Format, out},
    watch,
};

#[derive(Debug, Default, Args)]
pub(crate) struct Rotate {
    /// Follow the rollover until it ends or pauses
    #[arg(long)]
    watch: bool,
    /// Activate the new root at once, before the devices hold it: connections may fail until they do
    #[arg(long)]
    immediate: bool,
    /// Why the root is replaced; kept in the audit record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Seconds between the last device's proof and the new root's first signature (default: the installation's, a day)
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(..=2_592_000))]
    hold_down: Option<u64>,
    /// Percentage of the devices that are read anew during the hold-down, and at least 20 devices
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(..=100))]
    sample: Option<u64>,
    /// Go no further than this phase: publish, distribute, holdDown, activate, reissue, distrust or retire (default: the
    /// installation's)
    #[arg(long, value_name = "PHASE")]
    until: Option<Phase>,
    #[command(flatten)]
    rollout: RolloutArguments,
}

/// How devices are visited; the API has its own defaults.
#[derive(Debug, Default, Args)]
pub(crate) struct RolloutArguments {
    /// Start with this stored rollout; the other options take precedence over what it says: rootcast rollout list
    #[arg(long = "rollout", id = "stored", value_name = "NAME")]
    stored: Option<RolloutName>,
    /// Devices in the first wave
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    canary: Option<u64>,
    /// Factor by which each wave is larger than the one before
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    growth: Option<u64>,
    /// Largest wave, in devices
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    largest_wave: Option<u64>,
    /// Seconds between two waves
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(..=604_800))]
    wave_pause: Option<u64>,
    /// Percentage of devices that may fail; when it is exceeded the rollover pauses
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(..=100))]
    error_budget: Option<u64>,
    /// Minimum results before the error budget applies within a wave
    #[arg(long, value_name = "N")]
    error_budget_minimum: Option<u64>,
    /// Seconds after which a proof is old: before the new root signs, the device is read again (default: a day)
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(60..=2_592_000))]
    proof_age: Option<u64>,
}

pub(crate) async fn run(api: &Api, rotate: Rotate, format: Format) -> Result<End> {
    let Some(job) = request(api, &rotate).await? else {
        match format {
            Format::Text => out!("The new root is active: there is no approved device to wait for."),
            Format::Json => output::json(&json!({"jobPath": ""}))?,
        }
        return Ok(End::Done);
    };
    match format {
        Format::Text => out!("Job {job} brings the new root to the devices."),
        Format::Json if !rotate.watch => output::json(&json!({"jobPath": job.path()}))?,
        Format::Json => {}
    }
    if rotate.watch {
        return watch::follow(api, job, format).await;
    }
    if format == Format::Text {
        out!("Follow it: rootcast job watch {job}");
    }
    Ok(End::Done)
}

/// `PUT /signingCertificate`. `None` if there are no devices: then there is no job.
pub(crate) async fn request(api: &Api, rotate: &Rotate) -> Result<Option<JobId>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        job_path: String,
    }
    let path = "/signingCertificate";
    let answer: Option<Answer> = api.send(Method::PUT, path, &rotate.query(), None::<&()>).await?;
    let job_path = answer.map(|answer| answer.job_path).unwrap_or_default();
    if job_path.is_empty() {
        return Ok(None);
    }
    let id = job_path.rsplit('/').next().unwrap_or_default().parse();
    Ok(Some(id.map_err(|_| ApiError::unintelligible(path, format_args!("{job_path} names no job")))?))
}

impl Rotate {
    /// The API's defaults, with `--watch` and `--until`.
    pub(crate) fn watched_until(phase: Phase) -> Self {
        Self { watch: true, until: Some(phase), ..Self::default() }
    }

    /// Only the given options: the API has its own defaults.
    fn query(&self) -> Vec<(&'static str, String)> {
        let immediate = self.immediate.then(|| ("activation", "immediate".to_owned()));
        let reason = self.reason.clone().map(|reason| ("reason", reason));
        let hold = [("holdDown", self.hold_down), ("sample", self.sample)];
        let hold = hold.into_iter().filter_map(|(name, number)| Some((name, number?.to_string())));
        let until = self.until.map(|until| ("until", until.to_string()));
        immediate.into_iter().chain(reason).chain(until).chain(hold).chain(self.rollout.query()).collect()
    }
}

impl RolloutArguments {
    /// Only the given options.
    pub(crate) fn query(&self) -> impl Iterator<Item = (&'static str, String)> {
        let numbers = [
            ("canary", self.canary),
            ("growth", self.growth),
            ("largestWave", self.largest_wave),
            ("wavePause", self.wave_pause),
            ("errorBudget", self.error_budget),
            ("errorBudgetMinimum", self.error_budget_minimum),
            ("proofAge", self.proof_age),
        ];
        let numbers = numbers.into_iter().filter_map(|(name, number)| Some((name, number?.to_string())));
        self.stored.iter().map(|name| ("rollout", name.to_string())).chain(numbers)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

    use clap::Parser;

    use crate::arguments::{Arguments, Command};

    #[test]
    fn only_the_given_options_are_sent() {
        let query = |line: &str| match Arguments::try_parse_from(line.split(' ')).unwrap().command {
            Command::Rotate(rotate) => rotate.query(),
            other => panic!("{other:?}"),
        };
        assert_eq!(query("rootcast rotate --watch"), []);
        assert_eq!(
            query("rootcast rotate --rollout weekend --canary 1"),
            [("rollout", "weekend"), ("canary", "1")].map(|(name, value)| (name, value.to_owned()))
        );
        assert_eq!(
            query("rootcast rotate --immediate --reason old --canary 1 --error-budget 0"),
            [("activation", "immediate"), ("reason", "old"), ("canary", "1"), ("errorBudget", "0")]
                .map(|(name, value)| (name, value.to_owned()))
        );
    }
}
