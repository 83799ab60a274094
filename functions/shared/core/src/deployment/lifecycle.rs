//! The stages of a certificate on its way to a device, by Venafi's numbers, and the transitions between them.
//!
//! | work | stages, in this order |
//! |---|---|
//! | [`Work::Install`]: a certificate with its private key | 800, 1100, 900, 1200 |
//! | [`Work::Issue`]: the device makes the key, we sign | 400, 500, 600, 700, then the same |
//! | [`Work::Trust`]: a device's trust anchors | 1500, 1600 |
//! | [`Work::Root`]: a root generation, until it signs | 300, 600, 700, 1500, 1600 |
//! | [`Work::Check`]: a device is read, and not written | 100 |
//!
//! A web server restarts (1100) before the certificate that it shows can be checked (900). A retry resumes at the
//! failed stage; the results of earlier stages are read, not redone. Each try is an *attempt* of its own: late messages
//! of earlier attempts change nothing.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;

use crate::job::task::{ErrorClass, Failure};

/// A stage of work. Written as its number in Venafi Trust Protection Platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
#[repr(u16)]
pub enum Stage {
    StartProcessing = 0,
    CheckStore = 100,
    CreateConfigureStore = 200,
    /// The key of a root generation is created.
    CreateKey = 300,
    /// The device creates a key and a certificate signing request (CSR).
    CreateCsr = 400,
    /// The issuer receives the CSR.
    PostCsr = 500,
    /// The certificate's contents are fixed and recorded, and its serial number is reserved.
    ApproveRequest = 600,
    /// The certificate is signed and stored.
    RetrieveCertificate = 700,
    /// The certificate is installed on the device.
    InstallCertificate = 800,
    /// The certificate that the device shows on a new connection is compared with the installed one.
    CheckConfiguration = 900,
    ConfigureApplication = 1000,
    /// The device's web server restarts.
    RestartApplication = 1100,
    /// Earlier pins are removed, and the result is recorded.
    EndProcessing = 1200,
    /// The published revocation list (CRL) contains the certificate.
    Revocation = 1400,
    /// Trust anchors are added to the trust store of one or all devices, and removed from it.
    UpdateTrustStore = 1500,
    /// The trust store was read back and compared. For a root: it starts to sign.
    EndTrustStoreProcessing = 1600,
}

impl Stage {
    pub const ALL: [Self; 16] = [
        Self::StartProcessing,
        Self::CheckStore,
        Self::CreateConfigureStore,
        Self::CreateKey,
        Self::CreateCsr,
        Self::PostCsr,
        Self::ApproveRequest,
        Self::RetrieveCertificate,
        Self::InstallCertificate,
        Self::CheckConfiguration,
        Self::ConfigureApplication,
        Self::RestartApplication,
        Self::EndProcessing,
        Self::Revocation,
        Self::UpdateTrustStore,
        Self::EndTrustStoreProcessing,
    ];

    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// What is done for one certificate or bundle at one device, or for a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Work {
    #[default]
    Install,
    Issue,
    Trust,
    Root,
    Check,
}

impl Work {
    /// The stages, in the order in which they are done.
    pub const fn stages(self) -> &'static [Stage] {
        use Stage::*;
        match self {
            Self::Install => &[InstallCertificate, RestartApplication, CheckConfiguration, EndProcessing],
            Self::Issue => &[
                CreateCsr,
                PostCsr,
                ApproveRequest,
                RetrieveCertificate,
                InstallCertificate,
                RestartApplication,
                CheckConfiguration,
                EndProcessing,
            ],
            Self::Trust => &[UpdateTrustStore, EndTrustStoreProcessing],
            Self::Root => &[CreateKey, ApproveRequest, RetrieveCertificate, UpdateTrustStore, EndTrustStoreProcessing],
            Self::Check => &[CheckStore],
        }
    }

    pub const fn first(self) -> Stage {
        match self {
            Self::Install => Stage::InstallCertificate,
            Self::Issue => Stage::CreateCsr,
            Self::Trust => Stage::UpdateTrustStore,
            Self::Root => Stage::CreateKey,
            Self::Check => Stage::CheckStore,
        }
    }

    fn place(self, stage: Stage) -> Option<usize> {
        self.stages().iter().position(|each| *each == stage)
    }
}

/// One result of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub stage: Stage,
    /// From 1.
    pub attempt: u32,
    pub result: StageResult,
    /// The device's own words if it sent any, or who requested the work.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StageResult {
    Done,
    Failed(ErrorClass),
    /// Work starts or resumes here.
    Queued,
    /// An operator ended the work here.
    Reset,
}

impl fmt::Display for StageResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Failed(class) => class.fmt(f),
            Self::Queued => f.write_str("queued"),
            Self::Reset => f.write_str("reset"),
        }
    }
}

/// A history in a record: lines, which take a third of the room. Records of an earlier release have a map for each entry.
pub(crate) mod lines {
    use serde::de::value::{Error, StrDeserializer};
    use serde::de::{Error as _, IntoDeserializer};
    use serde::{Deserialize, Deserializer, Serializer};
    use time::OffsetDateTime;

    use super::{Entry, ErrorClass, StageResult};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Line(String),
        Entry(Entry),
    }

    pub(crate) fn serialize<S: Serializer>(history: &[Entry], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(history.chunk_by(is_with).filter_map(line))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Entry>, D::Error> {
        let mut history = Vec::new();
        for stored in Vec::deserialize(deserializer)? {
            match stored {
                Stored::Entry(entry) => history.push(entry),
                Stored::Line(line) => {
                    let wrong = || D::Error::custom(format!("no line of a history: {line}"));
                    history.extend(entries(&line).ok_or_else(wrong)?);
                }
            }
        }
        Ok(history)
    }

    /// Stages that were done at the same time share a line.
    fn is_with(one: &Entry, next: &Entry) -> bool {
        let is_plain = |entry: &Entry| entry.result == StageResult::Done && entry.words.is_empty();
        let seconds = |entry: &Entry| entry.at.unix_timestamp();
        is_plain(one) && is_plain(next) && one.attempt == next.attempt && seconds(one) == seconds(next)
    }

    fn line(entries: &[Entry]) -> Option<String> {
        let Entry { attempt, result, words, at, .. } = entries.first()?;
        let stages = entries.iter().map(|entry| entry.stage.to_string()).collect::<Vec<_>>().join(",");
        let failed = if matches!(result, StageResult::Failed(_)) { "!" } else { "" };
        let line = format!("{stages} {attempt} {failed}{result} {}", at.unix_timestamp());
        Some(if words.is_empty() { line } else { format!("{line} {words}") })
    }

    fn entries(line: &str) -> Option<Vec<Entry>> {
        let mut parts = line.splitn(5, ' ');
        let mut next = || parts.next();
        let stages = next()?.split(',').map(|stage| stage.parse::<u16>().ok()?.try_into().ok());
        let stages = stages.collect::<Option<Vec<_>>>()?;
        let attempt = next()?.parse().ok()?;
        let result = match next()? {
            "done" => StageResult::Done,
            "queued" => StageResult::Queued,
            "reset" => StageResult::Reset,
            failed => {
                let class: StrDeserializer<'_, Error> = failed.strip_prefix('!')?.into_deserializer();
                StageResult::Failed(ErrorClass::deserialize(class).ok()?)
            }
        };
        let at = OffsetDateTime::from_unix_timestamp(next()?.parse().ok()?).ok()?;
        let words = next().unwrap_or_default();
        let entry = |stage| Entry { stage, attempt, result, words: words.to_owned(), at };
        Some(stages.into_iter().map(entry).collect())
    }
}

/// Entries kept; the oldest are dropped first. With the longest texts of a device, 30 KB.
pub const MOST_ENTRIES: usize = 40;

/// The current stage of one certificate's work at one device, with its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    pub work: Work,
    /// The stage being done, or failed; `None`: there is nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    pub in_error: bool,
    /// A sentence for the operator.
    pub status: String,
    /// From 1, within a job; 0 before the first attempt.
    pub attempt: u32,
    /// Oldest first.
    #[serde(default, with = "lines")]
    pub history: Vec<Entry>,
}

/// A transition that is not allowed from the current stage. It is refused, and nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OutOfOrder {
    #[error("it belongs to another attempt")]
    OtherAttempt,
    #[error("nothing is being done")]
    NotUnderWay,
    #[error("it did not fail")]
    NotInError,
    #[error("nothing is being done, and nothing failed")]
    Idle,
    #[error("the stage does not follow from the one before")]
    Stage,
}

impl Lifecycle {
    /// A lifecycle in which nothing was done yet.
    pub fn idle(work: Work, status: impl Into<String>) -> Self {
        Self { work, stage: None, in_error: false, status: status.into(), attempt: 0, history: Vec::new() }
    }

    pub const fn is_under_way(&self) -> bool {
        self.stage.is_some() && !self.in_error
    }

    /// A job starts the work at its first stage. Attempts count from 1 again.
    pub fn begin(&self, work: Work, status: impl Into<String>, at: OffsetDateTime) -> Self {
        let (stage, history) = (Some(work.first()), self.history.clone());
        let begun = Self { work, stage, in_error: false, status: status.into(), attempt: 1, history };
        begun.with(&[(work.first(), StageResult::Queued)], "", at)
    }

    /// Completes all stages before `to`.
    pub fn advance(
        &self,
        attempt: u32,
        to: Stage,
        status: impl Into<String>,
        at: OffsetDateTime,
    ) -> Result<Self, OutOfOrder> {
        let done = self.passed(attempt, to)?;
        if done.is_empty() {
            return Err(OutOfOrder::Stage);
        }
        Ok(Self { stage: Some(to), status: status.into(), ..self.with(&done, "", at) })
    }

    /// Completes all stages.
    pub fn finish(&self, attempt: u32, status: impl Into<String>, at: OffsetDateTime) -> Result<Self, OutOfOrder> {
        let last = self.work.stages().last().copied().ok_or(OutOfOrder::Stage)?;
        let mut done = self.passed(attempt, last)?;
        done.push((last, StageResult::Done));
        Ok(Self { stage: None, status: status.into(), ..self.with(&done, "", at) })
    }

    /// Fails the stage that the failure names, or else the current one. An earlier stage may fail too, when its result
    /// turns out to be unusable.
    pub fn fail(&self, attempt: u32, failure: &Failure, at: OffsetDateTime) -> Result<Self, OutOfOrder> {
        let now = self.current(attempt)?;
        let stage = failure.stage.filter(|stage| self.work.place(*stage).is_some()).unwrap_or(now);
        let mut entries = self.passed(attempt, stage).unwrap_or_default();
        entries.push((stage, StageResult::Failed(failure.class)));
        let after = self.with(&entries, &failure.message, at);
        Ok(Self { stage: Some(stage), in_error: true, status: failure.message.clone(), ..after })
    }

    /// After a device refused its own certificate for good: it may have another key by now than that of its request, since
    /// somebody else had it make one. Leads back to the request, once in an attempt, so that a device that refuses
    /// everything fails.
    pub fn lead_back(&self, attempt: u32, failure: &Failure, at: OffsetDateTime) -> Option<Self> {
        use ErrorClass::{Rejected, ServerError};
        let stage = self.current(attempt).ok().filter(|stage| *stage >= Stage::InstallCertificate)?;
        let is_refusal =
            failure.stage == Some(Stage::InstallCertificate) && matches!(failure.class, Rejected | ServerError);
        let mut since = self.history.iter().rev().take_while(|entry| entry.result != StageResult::Queued);
        let is_again = since.any(|entry| matches!(entry.result, StageResult::Failed(_)));
        if self.work != Work::Issue || !is_refusal || is_again {
            return None;
        }
        let after = self.with(&[(stage, StageResult::Failed(failure.class))], &failure.message, at);
        let status = format!(
            "The device refused its certificate and may have another key by now: it makes a new one, this once. {}",
            failure.message
        );
        Some(Self { stage: Some(Stage::CreateCsr), status, ..after })
    }

    /// Whether it failed because the device, which was reached, did not accept its certificate. The device may have lost the key
    /// that it made for it, so that the same certificate would never be accepted.
    pub fn was_refused(&self) -> bool {
        use ErrorClass::{Certificate, NotStored, Rejected, ServerError};
        self.stage.is_some_and(|stage| stage >= Stage::InstallCertificate)
            && self.history.last().is_some_and(|last| {
                matches!(last.result, StageResult::Failed(Certificate | NotStored | Rejected | ServerError))
            })
    }

    /// Retries the failed stage.
    pub fn retry(&self, at: OffsetDateTime) -> Result<Self, OutOfOrder> {
        let stage = self.stage.filter(|_| self.in_error).ok_or(OutOfOrder::NotInError)?;
        let status = format!("It is being retried. Last time: {}", self.status);
        let next = Self { attempt: self.attempt + 1, in_error: false, status, ..self.clone() };
        Ok(next.with(&[(stage, StageResult::Queued)], "", at))
    }

    /// Gives up the work under way or failed. `why` says who requested it.
    pub fn reset(&self, why: &str, at: OffsetDateTime) -> Result<Self, OutOfOrder> {
        let stage = self.stage.ok_or(OutOfOrder::Idle)?;
        let given_up = self.with(&[(stage, StageResult::Reset)], why, at);
        Ok(Self { stage: None, in_error: false, attempt: self.attempt + 1, status: why.to_owned(), ..given_up })
    }

    fn current(&self, attempt: u32) -> Result<Stage, OutOfOrder> {
        match self.stage {
            _ if attempt != self.attempt => Err(OutOfOrder::OtherAttempt),
            Some(stage) if !self.in_error => Ok(stage),
            _ => Err(OutOfOrder::NotUnderWay),
        }
    }

    /// The stages from the current one to the one before `to`.
    fn passed(&self, attempt: u32, to: Stage) -> Result<Vec<(Stage, StageResult)>, OutOfOrder> {
        let now = self.current(attempt)?;
        let (from, to) = self.work.place(now).zip(self.work.place(to)).ok_or(OutOfOrder::Stage)?;
        let stages = self.work.stages().get(from..to).ok_or(OutOfOrder::Stage)?;
        Ok(stages.iter().map(|stage| (*stage, StageResult::Done)).collect())
    }

    fn with(&self, results: &[(Stage, StageResult)], words: &str, at: OffsetDateTime) -> Self {
        let attempt = self.attempt;
        let entry = |(last, (stage, result)): (usize, &(Stage, StageResult))| {
            let words = if last + 1 == results.len() { words.to_owned() } else { String::new() };
            Entry { stage: *stage, attempt, result: *result, words, at }
        };
        let mut history = self.history.clone();
        history.extend(results.iter().enumerate().map(entry));
        history.drain(..history.len().saturating_sub(MOST_ENTRIES));
        Self { history, ..self.clone() }
    }
}

/// The lifecycle that represents a certificate installed on several devices: failed before under way before idle, then
/// the lowest stage. `None`: no device has the certificate.
pub fn worst<'a>(lives: impl IntoIterator<Item = &'a Lifecycle>) -> Option<&'a Lifecycle> {
    lives.into_iter().min_by_key(|life| (!life.in_error, life.stage.is_none(), life.stage))
}

/// A number without a stage.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("no stage is {0}")]
pub struct NotAStage(u16);

impl TryFrom<u16> for Stage {
    type Error = NotAStage;

    fn try_from(number: u16) -> Result<Self, NotAStage> {
        Self::ALL.into_iter().find(|stage| stage.number() == number).ok_or(NotAStage(number))
    }
}

impl From<Stage> for u16 {
    fn from(stage: Stage) -> Self {
        stage.number()
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests;
