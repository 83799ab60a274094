//! `rootcast root policy`: the next root's algorithm, and when a root is replaced by itself.

use anyhow::{Context, Result};
use clap::{ArgGroup, Args};
use reqwest::Method;
use rootcast_core::rollover::rotation::Rotation;
use rootcast_core::rollover::template::RolloutName;
use serde_json::{Map, Value, json};

use crate::{
    api::Api,
    exit::{End, Usage},
    output::{self, Format, out, plain},
};

/// Without an option, the policy is printed.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("rotation"))]
pub(crate) struct Policy {
    /// The next root's algorithm: DEFAULT, CNSA, RSA_4096, ECDSA_P256 or ECDSA_P384
    #[arg(long, value_name = "NAME")]
    algorithm: Option<String>,
    /// Replace a root by itself when this percentage of its life is left
    #[arg(long, group = "rotation", value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(1..=90))]
    rotate_at_percent_left: Option<u64>,
    /// Replace a root by itself when it is this old
    #[arg(long, group = "rotation", value_name = "DAYS", value_parser = clap::value_parser!(u64).range(30..=36_500))]
    rotate_after_days: Option<u64>,
    /// Replace the root that signs on this day (UTC), if it was made before it
    #[arg(long, group = "rotation", value_name = "YYYY-MM-DD")]
    rotate_on: Option<String>,
    /// Replace no root by itself
    #[arg(long, group = "rotation")]
    no_rotation: bool,
    /// Stored rollout of what begins by itself: the next root's rollover, and renewals of devices' certificates in its windows
    #[arg(long, value_name = "NAME")]
    rollout: Option<RolloutName>,
    /// No stored rollout for what begins by itself
    #[arg(long, conflicts_with = "rollout")]
    no_rollout: bool,
}

const PATH: &str = "/certificatePolicy";

pub(super) async fn run(api: &Api, given: &Policy, format: Format) -> Result<End> {
    let changes = given.changes()?;
    let policy: Value = match changes.is_empty() {
        true => api.get(PATH, &[]).await?,
        false => {
            let written: Option<Value> = api.send(Method::PUT, PATH, &[], Some(&changes)).await?;
            written.context("the API did not answer with the policy")?
        }
    };
    match format {
        Format::Json => output::json(&policy)?,
        Format::Text => {
            let rotation: Option<Rotation> =
                serde_json::from_value(policy["rotation"].clone()).context("the policy cannot be read")?;
            out!("Algorithm of the next root  {}", plain(policy["specName"].as_str().unwrap_or_default()));
            let when = rotation.map_or_else(|| "never".to_owned(), |rotation| rotation.to_string());
            out!("A root is replaced by itself  {when}");
            out!("Rollout of what begins by itself  {}", plain(policy["rollout"].as_str().unwrap_or("the defaults")));
        }
    }
    Ok(End::Done)
}

impl Policy {
    /// Only what is given.
    fn changes(&self) -> Result<Map<String, Value>> {
        let rotation = match (self.rotate_at_percent_left, self.rotate_after_days, &self.rotate_on) {
            (Some(percent), ..) => Some(json!({ "percentLeft": percent })),
            (_, Some(days), _) => Some(json!({ "ageDays": days })),
            (_, _, Some(day)) => Some(json!({ "on": day })),
            _ => self.no_rotation.then_some(Value::Null),
        };
        if let Some(rotation) = rotation.as_ref().filter(|rotation| !rotation.is_null()) {
            serde_json::from_value::<Rotation>(rotation.clone()).map_err(|error| Usage(error.to_string()))?;
        }
        let algorithm = self.algorithm.clone().map(Value::from);
        let stored = self.rollout.as_ref().map(|name| Value::from(name.to_string()));
        let stored = stored.or_else(|| self.no_rollout.then_some(Value::Null));
        let given = [("specName", algorithm), ("rotation", rotation), ("rollout", stored)];
        Ok(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};
    use crate::root::RootCommand;

    fn changes(options: &str) -> Result<Value> {
        let line = format!("rootcast root policy {options}");
        match Arguments::try_parse_from(line.split_whitespace())?.command {
            Command::Root(RootCommand::Policy(policy)) => Ok(policy.changes()?.into()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_is_given_is_changed() {
        for (options, body) in [
            ("", json!({})),
            ("--algorithm CNSA", json!({ "specName": "CNSA" })),
            ("--rotate-at-percent-left 20", json!({ "rotation": { "percentLeft": 20 } })),
            ("--rotate-after-days 700", json!({ "rotation": { "ageDays": 700 } })),
            (
                "--rotate-on 2027-06-01 --algorithm CNSA",
                json!({ "specName": "CNSA", "rotation": { "on": "2027-06-01" } }),
            ),
            ("--no-rotation", json!({ "rotation": null })),
            ("--rollout weekend", json!({ "rollout": "weekend" })),
            ("--no-rollout", json!({ "rollout": null })),
        ] {
            assert_eq!(changes(options).unwrap(), body, "{options}");
        }
    }

    #[test]
    fn a_rotation_that_is_none_is_refused_before_it_is_sent() {
        for options in ["--rotate-on tomorrow", "--rotate-at-percent-left 91", "--no-rotation --rotate-after-days 700"]
        {
            assert!(changes(options).is_err(), "{options}");
        }
    }
}
