//! `rootcast doctor`: why the API does not do what it is asked, from the profile to the stack.

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::{
    api::{Api, ApiError},
    arguments::AccessArguments,
    exit::{self, End},
    output::{self, Format, out, plain, table},
    session,
};

/// The API itself tolerates a quarter of an hour in signed requests.
const SKEW_SECONDS: i64 = 300;
/// For any caller with a token.
const ANY: &str = "/vedsdk/systemstatus/version";

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    good: bool,
    found: String,
}

pub(crate) async fn run(arguments: &AccessArguments, format: Format) -> Result<End> {
    let mut findings = Vec::new();
    look(arguments, &mut findings).await;
    match format {
        Format::Json => output::list(&findings)?,
        Format::Text => {
            let row = |Finding { check, good, found }: &Finding| {
                let good = if *good { "ok" } else { "NOT OK" };
                [(*check).to_owned(), good.to_owned(), plain(found)]
            };
            out!("{}", table(["check", "", "found"], &findings.iter().map(row).collect::<Vec<_>>()));
        }
    }
    Ok(End::unless(findings.iter().any(|finding| !finding.good)))
}

/// Ends where nothing further could be found.
async fn look(arguments: &AccessArguments, findings: &mut Vec<Finding>) {
    let mut say = |check, found: Result<String>| {
        let good = found.is_ok();
        let found = found.unwrap_or_else(|error| exit::text(&error));
        findings.push(Finding { check, good, found });
        good
    };
    let access = arguments.resolve();
    let found = access.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"));
    let file = arguments.file().map_or_else(|_| "-".to_owned(), |file| file.display().to_string());
    if !say("profile", found.map(|access| format!("{file}, for {}", access.url))) {
        return;
    }
    let api = match access.and_then(|access| Api::connect(&access)) {
        Ok(api) => api,
        Err(error) => {
            say("address", Err(error));
            return;
        }
    };
    let date = match api.date(ANY).await {
        Ok(date) => date,
        Err(error) => {
            say("reachable", Err(error.into()));
            return;
        }
    };
    say("reachable", Ok("the API answers".to_owned()));
    say("clock", clock(date.as_deref(), OffsetDateTime::now_utc()));
    let token = api.get_plain::<Value>(session::VERIFY, &[]).await;
    let whose = |token: Value| format!("of {}, until {}", session::text(&token["identity"]), session::until(&token));
    if !say("token", token.map(whose).map_err(Into::into)) {
        return;
    }
    for (check, path) in [("may read devices", "/devices"), ("may read roots", "/signingCertificate/details")] {
        let read = api.get::<Value>(path, &[("limit", "1")]).await;
        say(check, read.map(|_| "yes".to_owned()).map_err(Into::into));
    }
    let jobs = api.get::<Value>("/jobs", &[("limit", "100")]).await;
    say("jobs", paused(jobs));
}

fn clock(date: Option<&str>, now: OffsetDateTime) -> Result<String> {
    let Some(theirs) = date.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok()) else {
        return Ok("the answer has no date to compare with".to_owned());
    };
    let seconds = (now - theirs).whole_seconds();
    anyhow::ensure!(seconds.abs() <= SKEW_SECONDS, "this machine's clock is {seconds} s off: set it, by NTP");
    Ok("as the API's".to_owned())
}

fn paused(jobs: Result<Value, ApiError>) -> Result<String> {
    let jobs = jobs?;
    let paused = jobs["jobs"].as_array().into_iter().flatten().filter(|job| job["state"] == "paused");
    let paused = paused.map(|job| job["id"].to_string()).collect::<Vec<_>>().join(", ");
    anyhow::ensure!(paused.is_empty(), "paused, and wait for you: {paused}. rootcast job show ID");
    Ok("none is paused".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::{clock, paused};

    #[test]
    fn a_wrong_clock_and_a_paused_job_are_found() {
        let now = datetime!(2026-11-30 01:07:00 UTC);
        assert!(clock(Some("Mon, 30 Nov 2026 01:07:07 GMT"), now).is_ok());
        let off = clock(Some("Mon, 30 Nov 2026 00:07:00 GMT"), now).map_err(|error| error.to_string());
        assert_eq!(off, Err("this machine's clock is 3600 s off: set it, by NTP".to_owned()));
        assert!(clock(None, now).is_ok());
        assert!(paused(Ok(json!({"jobs": [{"id": 3, "state": "running"}]}))).is_ok());
        let waits = paused(Ok(json!({"jobs": [{"id": 3, "state": "paused"}]}))).map_err(|error| error.to_string());
        assert!(waits.is_err_and(|waits| waits.starts_with("paused, and wait for you: 3.")));
    }
}
