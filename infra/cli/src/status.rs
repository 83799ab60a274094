//! `rootcast status`: what runs, what failed, and what ends soon.

use anyhow::Result;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_dialects::native::Root;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::{
    api::Api,
    certificate,
    exit::End,
    job,
    output::{self, Format, out, plain, table},
};

/// Whoever renews by hand needs some weeks.
const SOON: Duration = Duration::days(30);
/// Failures of the last week, and no more than a terminal shows.
const LATELY: Duration = Duration::days(7);
const SHOWN: usize = 10;

pub(crate) async fn run(api: &Api, format: Format) -> Result<End> {
    let soon = certificate::List::default();
    let (jobs, roots, certificates) = tokio::try_join!(
        job::newest(api),
        async { anyhow::Ok(api.get::<Vec<Value>>("/signingCertificate/details", &[]).await?) },
        certificate::all(api, &soon),
    )?;
    let status = Status::of(jobs, roots, certificates, OffsetDateTime::now_utc());
    match format {
        Format::Json => output::json(&json!({
            "open": status.open, "failed": status.failed, "signing": status.signing, "expiring": status.expiring,
        }))?,
        Format::Text => out!("{}", status.words()),
    }
    Ok(End::Done)
}

struct Status {
    /// Jobs that have not ended.
    open: Vec<Value>,
    /// Jobs of the last week that left devices behind, or were aborted.
    failed: Vec<Value>,
    /// The root that signs.
    signing: Option<Value>,
    /// Certificates, the first to expire first.
    expiring: Vec<Value>,
}

impl Status {
    fn of(jobs: Vec<Value>, roots: Vec<Value>, certificates: Vec<Value>, now: OffsetDateTime) -> Self {
        let at = |value: &Value| OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok();
        let (open, ended): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job["state"] != "ended");
        let is_bad = |job: &Value| {
            let outcome = job["outcome"].as_str().unwrap_or_default();
            matches!(outcome, "activatedWithFailures" | "deployedWithFailures" | "aborted")
                && at(&job["updated"]).is_none_or(|updated| now - updated < LATELY)
        };
        let failed = ended.into_iter().filter(is_bad).collect();
        let signing = roots.into_iter().find(|root| root["state"] == json!(GenerationState::Signing));
        // In milliseconds, as the vendor's API has it, or as text.
        let ends = |certificate: &Value| expiry(&certificate["expire_time"]);
        let expiring =
            certificates.into_iter().filter(|each| ends(each).is_some_and(|ends| ends - now < SOON)).collect();
        Self { open, failed, signing, expiring }
    }

    fn words(&self) -> String {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let job = |job: &Value| {
            let phase = if job["phase"].is_null() { &job["leg"] } else { &job["phase"] };
            [text(&job["id"]), text(&job["state"]), text(phase), text(&job["reason"])]
        };
        let mut parts = vec![match self.signing.clone().map(serde_json::from_value::<Root>) {
            Some(Ok(root)) => format!(
                "Root generation {} signs, until {}. {}",
                root.generation,
                root.not_after,
                plain(&root.comes_next)
            ),
            _ => "No root signs yet: rootcast rotate".to_owned(),
        }];
        let mut add = |what: &str, none: &str, rows: Vec<[String; 4]>, head: [&str; 4]| {
            parts.push(match rows.len() {
                0 => none.to_owned(),
                all => {
                    let more = all.saturating_sub(SHOWN);
                    let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
                    format!("{what}\n{}{more}", table(head, &rows[..all.min(SHOWN)]))
                }
            });
        };
        let head = ["job", "state", "phase", "why"];
        add("Running or paused:", "No job runs.", self.open.iter().map(job).collect(), head);
        add("Failed in the last week:", "No job failed in the last week.", self.failed.iter().map(job).collect(), head);
        let certificate = |each: &Value| ["id", "name", "domain", "expire_time"].map(|field| text(&each[field]));
        let rows = self.expiring.iter().map(certificate).collect();
        add(
            "Expire within 30 days:",
            "No certificate expires within 30 days.",
            rows,
            ["id", "name", "domain", "expires"],
        );
        parts.join("\n\n")
    }
}

/// `2026-07-22 10:11:12.0` in UTC, as the vendor writes it.
fn expiry(value: &Value) -> Option<OffsetDateTime> {
    let text = value.as_str()?;
    let (date, time) = text.split_once([' ', 'T'])?;
    let time: String = time.chars().take(8).collect();
    OffsetDateTime::parse(&format!("{date}T{time}Z"), &Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::Status;

    #[test]
    fn only_what_needs_somebody_is_shown() {
        let job = |id: u32, state: &str, outcome: &str, updated: &str| json!({"id": id, "state": state, "phase": "distribute", "outcome": outcome, "updated": updated, "reason": "Why."});
        let jobs = vec![
            job(4, "paused", "", "2026-07-22T10:00:00Z"),
            job(3, "ended", "aborted", "2026-07-21T10:00:00Z"),
            job(2, "ended", "activated", "2026-07-21T10:00:00Z"),
            job(1, "ended", "aborted", "2026-06-21T10:00:00Z"),
        ];
        let certificate =
            |id: &str, expires: &str| json!({"id": id, "name": "web", "domain": "x", "expire_time": expires});
        let certificates =
            vec![certificate("scs1", "2026-07-30 10:00:00.0"), certificate("scs2", "2027-07-30 10:00:00.0")];
        let status = Status::of(jobs, Vec::new(), certificates, datetime!(2026-07-22 10:11:12 UTC));
        assert_eq!(
            status.words(),
            "No root signs yet: rootcast rotate\n\n\
             Running or paused:\njob  state   phase       why\n4    paused  distribute  Why.\n\n\
             Failed in the last week:\njob  state  phase       why\n3    ended  distribute  Why.\n\n\
             Expire within 30 days:\nid    name  domain  expires\nscs1  web   x       2026-07-30 10:00:00.0"
        );
        let nothing = Status::of(Vec::new(), Vec::new(), Vec::new(), datetime!(2026-07-22 10:11:12 UTC)).words();
        assert!(nothing.contains("No job runs.") && nothing.contains("No certificate expires"), "{nothing}");
    }
}
