//! `rootcast retry`: retries failed devices, all or some of them.

use anyhow::Result;
use clap::Args;
use reqwest::Method;
use rootcast_core::device::DeviceId;
use rootcast_core::device::labels::Selector;
use rootcast_core::job::task::ErrorClass;
use rootcast_core::job::{JobId, MOST_RETRIED};
use rootcast_dialects::native::Task;
use serde::Serialize;
use serde_json::Value;

use crate::{
    api::{Api, ApiError},
    device::list::selected,
    exit::{End, Usage},
    job::{Which, find, read},
    output::{self, Format, dry, out, plain},
    watch,
};

/// Retries the failed devices that match every filter, and those that wait for their next try at once; without a filter, all.
#[derive(Debug, Args)]
pub(crate) struct Retry {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    filters: Filters,
    /// Only devices with these labels, such as site=fra
    #[arg(long = "where", id = "selector", value_name = "LABELS", conflicts_with = "devices")]
    selector: Option<Selector>,
    /// Follow the job afterwards
    #[arg(long)]
    watch: bool,
    /// Say how many devices would be tried again, and try none
    #[arg(long, conflicts_with = "watch")]
    dry_run: bool,
}

/// In the API's format: an absent filter matches every device.
#[derive(Debug, Args, Serialize)]
struct Filters {
    /// Only this error class, such as connect or unauthorized; may be repeated
    #[arg(long = "class", value_name = "CLASS", value_parser = class)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    classes: Vec<ErrorClass>,
    /// Only devices of this wave; may be repeated
    #[arg(long = "wave", value_name = "N")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waves: Vec<u32>,
    /// Only this device; may be repeated
    #[arg(long = "device", value_name = "ID")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    devices: Vec<DeviceId>,
}

/// The class by its name in the API, which refusals also use.
fn class(text: &str) -> Result<ErrorClass, serde_json::Error> {
    serde_json::from_value(Value::String(text.to_owned()))
}

pub(crate) async fn run(api: &Api, retry: Retry, format: Format) -> Result<End> {
    let id = find(api, &retry.which).await?;
    let path = format!("/jobs/{id}/retry");
    let mut filters = retry.filters;
    if let Some(selector) = &retry.selector {
        filters.devices = labelled(api, id, selector).await?;
    }
    let answer: Option<Value> = api.send(Method::POST, &path, &dry(retry.dry_run), Some(&filters)).await?;
    let answer = answer.ok_or_else(|| ApiError::unintelligible(&path, "it has no response"))?;
    match format {
        Format::Json if retry.watch => {}
        Format::Json => output::json(&answer)?,
        Format::Text if retry.dry_run => out!("{}", would(id, &answer)),
        Format::Text => tell(id, answer, retry.watch)?,
    }
    if retry.watch { watch::follow(api, id, format).await } else { Ok(End::Done) }
}

/// The failed devices with these labels.
async fn labelled(api: &Api, id: JobId, selector: &Selector) -> Result<Vec<DeviceId>> {
    let devices = selected(api, selector).await?;
    let failed: Vec<Task> = api.pages(&format!("/jobs/{id}/tasks"), &[("state", "failed")], "tasks").await?;
    let chosen: Vec<DeviceId> =
        failed.into_iter().map(|task| task.device).filter(|device| devices.contains(device)).collect();
    match chosen.len() {
        0 => Err(Usage(format!("no failed device of job {id} has the labels {selector}")).into()),
        many if many > MOST_RETRIED => Err(Usage(format!(
            "{many} failed devices have the labels {selector}, and a retry names {MOST_RETRIED}: add labels, or --class"
        ))
        .into()),
        _ => Ok(chosen),
    }
}

fn would(id: JobId, answer: &Value) -> String {
    let devices = match answer["retried"].as_u64() {
        Some(1) => "1 failed device".to_owned(),
        retried => format!("{} failed devices", retried.unwrap_or_default()),
    };
    let waiting = match answer["hastened"].as_u64().unwrap_or_default() {
        0 => String::new(),
        many => format!(", and those of {many} without a result that wait for their next try"),
    };
    format!("Job {id} would try {devices} again{waiting}. Nothing is done.")
}

fn tell(id: JobId, answer: Value, is_watched: bool) -> Result<()> {
    let devices = match answer["retried"].as_u64() {
        Some(1) => "1 failed device is".to_owned(),
        retried => format!("{} failed devices are", retried.unwrap_or_default()),
    };
    out!("Job {id}: {devices} tried again.");
    if let Some(hastened) = answer["hastened"].as_u64().filter(|hastened| *hastened > 0) {
        out!("Of {hastened} without a result, those that wait for their next try are tried now.");
    }
    if !is_watched {
        out!("{}", plain(&read(id, answer)?.summary.reason));
        out!("Follow it: rootcast job watch {id}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

    use clap::{Parser, error::ErrorKind};
    use rootcast_core::job::JobId;
    use serde_json::json;

    use crate::arguments::{Arguments, Command};

    fn parse(line: &str) -> Result<super::Retry, clap::Error> {
        match Arguments::try_parse_from(line.split(' '))?.command {
            Command::Retry(retry) => Ok(retry),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_given_filters_are_sent() {
        let body = |line: &str| serde_json::to_value(parse(line).unwrap().filters).unwrap();
        assert_eq!(body("rootcast retry 7 --watch"), json!({}));
        assert_eq!(
            body("rootcast retry --class unauthorized --device a --class notStored 7 --wave 3"),
            json!({ "classes": ["unauthorized", "notStored"], "waves": [3], "devices": ["a"] })
        );
        let retry = parse("rootcast retry --device a --device b 7").unwrap();
        assert_eq!((retry.which.id.map(|id| id.0), retry.filters.devices.len()), (Some(7), 2));
    }

    #[test]
    fn a_dry_run_says_what_would_be_tried() {
        let would = |answer| super::would(JobId(7), &answer);
        assert_eq!(
            would(json!({ "retried": 1, "hastened": 0 })),
            "Job 7 would try 1 failed device again. Nothing is done."
        );
        let both = "Job 7 would try 2 failed devices again, and those of 3 without a result that wait for their next try. Nothing is done.";
        assert_eq!(would(json!({ "retried": 2, "hastened": 3 })), both);
        assert_eq!(parse("rootcast retry 7 --dry-run --watch").unwrap_err().kind(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn an_unknown_class_is_a_usage_error_listing_all() {
        let error = parse("rootcast retry --class asleep").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueValidation);
        assert!(error.to_string().contains("`pinMismatch`"), "{error}");
        assert_eq!(parse("rootcast retry --wave x").unwrap_err().kind(), ErrorKind::ValueValidation);
    }
}
