//! `rootcast rotate`: requests a new root.

mod compromised;

use anyhow::Result;
use clap::Args;
use reqwest::Method;
use rootcast_core::job::{JobId, Phase};
use rootcast_core::rollover::template::RolloutName;
use rootcast_dialects::lenovo::KEY_COMPROMISE;
use serde::Deserialize;
use serde_json::json;

use crate::{
    api::{Api, ApiError},
    exit::End,
    output::{self, Format, note, out},
    watch,
};

#[derive(Debug, Default, Args)]
pub(crate) struct Rotate {
    /// Follow the rollover until it ends or pauses; Ctrl-C ends only that
    #[arg(long)]
    watch: bool,
    /// Begin no rollover, but read every device, follow that, and say which ones are ready, how long a rollover with these
    /// options takes, and what it costs. Nothing is written to a device. Fails if a device is not ready
    #[arg(long, visible_alias = "dry-run", conflicts_with_all = ["immediate", "compromised"])]
    preflight: bool,
    /// Activate the new root at once, before the devices hold it: connections may fail until they do
    #[arg(long)]
    immediate: bool,
    /// Somebody else may have a root's key: disable it, let the new root sign at once, and take all older roots off the
    /// devices in the same visit; says what that breaks, and asks for the root's name
    #[arg(long, conflicts_with_all = ["immediate", "reason", "hold_down", "sample", "until"])]
    compromised: bool,
    /// The compromised root (default: the one that signs)
    #[arg(long, value_name = "N", requires = "compromised")]
    generation: Option<u32>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
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

pub(crate) async fn run(api: &Api, mut rotate: Rotate, format: Format) -> Result<End> {
    if rotate.preflight {
        return preflight(api, &rotate, format).await;
    }
    if rotate.compromised {
        let root = compromised::root(api, rotate.generation).await?;
        // A repetition is about this one, also when another root signs.
        rotate.generation = Some(root.generation);
        if !rotate.yes && !compromised::confirmed(&root).await? {
            note!("Nothing is replaced.");
            return Ok(End::Failed);
        }
    } else if !rotate.yes && !compromised::is_meant(api, rotate.immediate).await? {
        note!("Nothing is replaced.");
        return Ok(End::Failed);
    }
    let Some(job) = request(api, &rotate).await? else {
        match format {
            Format::Text => out!("The new root is active: there is no approved device to wait for."),
            Format::Json => output::json(&json!({"job": null, "jobPath": ""}))?,
        }
        return Ok(End::Done);
    };
    match format {
        Format::Text => out!("Job {job} brings the new root to the devices."),
        Format::Json if !rotate.watch => output::json(&json!({"job": job, "jobPath": job.path()}))?,
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

async fn preflight(api: &Api, rotate: &Rotate, format: Format) -> Result<End> {
    let Some(job) = ask(api, Method::POST, "/rollovers/preflight", rotate).await? else {
        match format {
            Format::Text => out!("There is no approved device to read: a new root would be active at once."),
            Format::Json => output::json(&json!({"job": null, "jobPath": ""}))?,
        }
        return Ok(End::Done);
    };
    if format == Format::Text {
        out!("Preflight job {job} reads the devices; nothing is written to them.");
    }
    watch::follow(api, job, format).await
}

/// `PUT /signingCertificate`. `None` if there are no devices: then there is no job.
pub(crate) async fn request(api: &Api, rotate: &Rotate) -> Result<Option<JobId>> {
    ask(api, Method::PUT, "/signingCertificate", rotate).await
}

/// The job that the answer names.
async fn ask(api: &Api, method: Method, path: &str, rotate: &Rotate) -> Result<Option<JobId>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        job_path: String,
    }
    let answer: Option<Answer> = api.send(method, path, &rotate.query(), None::<&()>).await?;
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
        Self { watch: true, until: Some(phase), yes: true, ..Self::default() }
    }

    /// Only the given options: the API has its own defaults.
    fn query(&self) -> Vec<(&'static str, String)> {
        let immediate = self.immediate.then(|| ("activation", "immediate".to_owned()));
        let reason = self.compromised.then(|| KEY_COMPROMISE.to_owned()).or_else(|| self.reason.clone());
        let reason = reason.map(|reason| ("reason", reason));
        let generation = self.generation.map(|generation| ("generation", generation.to_string()));
        let hold = [("holdDown", self.hold_down), ("sample", self.sample)];
        let hold = hold.into_iter().filter_map(|(name, number)| Some((name, number?.to_string())));
        let until = self.until.map(|until| ("until", until.to_string()));
        immediate
            .into_iter()
            .chain(reason)
            .chain(generation)
            .chain(until)
            .chain(hold)
            .chain(self.rollout.query())
            .collect()
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
        let compromised = [("reason", "keyCompromise"), ("generation", "2"), ("canary", "9")];
        assert_eq!(
            query("rootcast rotate --compromised --generation 2 --canary 9"),
            compromised.map(|(name, value)| (name, value.to_owned()))
        );
        for line in ["--compromised --until retire", "--compromised --reason x", "--generation 1"] {
            assert!(Arguments::try_parse_from(format!("rootcast rotate {line}").split(' ')).is_err(), "{line}");
        }
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
