//! What a preflight found, in its own job and in the rollover after it.

use rootcast_core::job::{Job, JobId, Phase};
use rootcast_core::preflight::estimate::{self, ASSUMES, estimate};
use rootcast_core::preflight::report::{Named, Obstructed};
use rootcast_core::preflight::since;
use rootcast_core::usage::{Prices, dollars};
use serde::{Deserialize, Serialize};

/// Of a preflight, once its results are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub devices: u64,
    pub ready: u64,
    pub not_ready: u64,
    /// What keeps devices from being ready, the most frequent first.
    pub findings: Vec<Findings>,
    /// Certificates of our own that the rollover replaces.
    pub reissued: u64,
    /// Imported certificates under a root of today, which only their owners can replace.
    pub stranded: Named,
    /// Devices that were read, and their mean time in milliseconds.
    pub read: u64,
    pub mean_millis: u64,
    /// `None`: no device could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// An error class, or `changed`, `noRoom`, `clock`, `algorithm`, `unread`.
    pub finding: String,
    pub devices: u64,
    /// The first of them.
    pub names: Vec<String>,
    pub recovery: String,
}

/// Of the rollover that the preflight was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    pub seconds: u64,
    /// Decimal.
    pub dollars: String,
    pub parts: Vec<Part>,
    pub assumes: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub phase: Phase,
    pub devices: u64,
    pub waves: u32,
    pub seconds: u64,
    pub dollars: String,
}

/// The preflight before a rollover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preflight {
    pub job: JobId,
    /// When it ended.
    pub at: String,
    pub ready_then: Ready,
    /// What it estimated for this rollover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_dollars: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_seconds: Option<u64>,
    /// `None`: the fleet is not compared yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_since: Option<Changed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    pub devices: u64,
    pub ready: u64,
}

/// Until the rollover began to visit devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    pub enrolled: Named,
    /// Deleted, or waiting for an approval.
    pub left: Named,
    pub edited: Named,
    /// Not ready then, and not edited since.
    pub still_open: Named,
}

impl Report {
    /// `None` if the job is no preflight, or its results are not counted.
    pub fn of(job: &Job, prices: &Prices) -> Option<Self> {
        let preflight = job.preflight.as_deref().filter(|preflight| preflight.is_counted)?;
        let report = &preflight.report;
        let mut findings: Vec<Findings> = report.obstacles.iter().map(counted).collect();
        if report.unread.count > 0 {
            findings.push(Findings {
                finding: "unread".to_owned(),
                devices: report.unread.count,
                names: report.unread.names.clone(),
                recovery: "Approved or changed after their turn: run the preflight again.".to_owned(),
            });
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.devices));
        Some(Self {
            devices: report.devices,
            ready: report.ready,
            not_ready: report.not_ready(),
            findings,
            reissued: report.reissued,
            stranded: report.stranded.clone(),
            read: report.read,
            mean_millis: report.millis / report.read.max(1),
            estimate: estimate(job, preflight, prices).map(|parts| Estimate::of(parts, prices)),
        })
    }
}

fn counted(Obstructed { obstacle, devices }: &Obstructed) -> Findings {
    Findings {
        finding: obstacle.to_string(),
        devices: devices.count,
        names: devices.names.clone(),
        recovery: obstacle.remedy(),
    }
}

impl Estimate {
    fn of(parts: Vec<estimate::Part>, prices: &Prices) -> Self {
        let sum = |figure: fn(&estimate::Part) -> u64| parts.iter().map(figure).sum();
        let part = |part: &estimate::Part| Part {
            phase: part.phase,
            devices: part.devices,
            waves: part.waves,
            seconds: part.seconds,
            dollars: dollars(part.cost),
        };
        Self {
            seconds: sum(|part| part.seconds),
            dollars: dollars(sum(|part| part.cost)),
            parts: parts.iter().map(part).collect(),
            assumes: format!("{ASSUMES} Prices: {}.", priced_by(prices)),
        }
    }
}

/// Which prices these are.
pub(super) fn priced_by(prices: &Prices) -> String {
    format!("{} as of {} ({})", prices.region, prices.date, prices.source)
}

impl Preflight {
    /// `stamp`: how the answer writes times.
    pub fn of(since: &since::Since, at: String) -> Self {
        let changed = || Changed {
            enrolled: since.enrolled.clone(),
            left: since.left.clone(),
            edited: since.edited.clone(),
            still_open: since.open.clone(),
        };
        Self {
            job: since.preflight,
            at,
            ready_then: Ready { devices: since.devices, ready: since.ready },
            estimated_dollars: None,
            estimated_seconds: None,
            changed_since: since.place.is_none().then(changed),
        }
    }
}
