//! The stages through which a certificate goes on its way to a device, by Venafi's numbers, and what may follow what.
//!
//! | work | stages, in this order |
//! |---|---|
//! | [`Work::Install`]: a certificate with its private key | 800, 1100, 900, 1200 |
//! | [`Work::Issue`]: the device makes the key, we sign | 400, 500, 600, 700, then the same |
//! | [`Work::Trust`]: a device's trust anchors | 1500, 1600 |
//! | [`Work::Root`]: a root generation, until it signs | 300, 600, 700, 1500, 1600 |
//!
//! A web server restarts (1100) before what it shows can be checked (900). Where a stage failed, its work is taken up at
//! that stage again; what was done before is looked at, not done anew. Each time is an *attempt* of its own: what
//! belongs to an earlier one and comes late changes nothing.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;

use crate::job::task::{ErrorClass, Failure};

/// A stage of work. Written as its number, which is Venafi Trust Protection Platform's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
#[repr(u16)]
pub enum Stage {
    StartProcessing = 0,
    CheckStore = 100,
    CreateConfigureStore = 200,
    /// A root generation's key is made.
    CreateKey = 300,
    /// The device makes a key, and a request for a certificate.
    CreateCsr = 400,
    /// The issuer takes the request.
    PostCsr = 500,
    /// What the certificate is to say is fixed and recorded, its serial number reserved.
    ApproveRequest = 600,
    /// It is signed and stored.
    RetrieveCertificate = 700,
    /// The device is given the certificate.
    InstallCertificate = 800,
    /// What the device shows on a new connection is compared with what it was given.
    CheckConfiguration = 900,
    ConfigureApplication = 1000,
    /// The device's web server comes back.
    RestartApplication = 1100,
    /// Earlier pins are dropped, and it is recorded.
    EndProcessing = 1200,
    /// It is in the published list of revoked certificates.
    Revocation = 1400,
    /// Trust anchors are brought to the device's trust store, or the devices', and removed from it.
    UpdateTrustStore = 1500,
    /// The trust store was read back, and compared; of a root, it begins to sign.
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

/// What is done for one certificate, or bundle, at one device; or for a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Work {
    #[default]
    Install,
    Issue,
    Trust,
    Root,
}

impl Work {
    /// In the order in which they are done.
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
        }
    }

    pub const fn first(self) -> Stage {
        match self {
            Self::Install => Stage::InstallCertificate,
            Self::Issue => Stage::CreateCsr,
            Self::Trust => Stage::UpdateTrustStore,
            Self::Root => Stage::CreateKey,
        }
    }

    fn place(self, stage: Stage) -> Option<usize> {
        self.stages().iter().position(|each| *each == stage)
    }
}

/// What became of a stage, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub stage: Stage,
    /// From 1.
    pub attempt: u32,
    pub result: StageResult,
    /// The device's own words where it had any, or who asked for it.
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
    /// Work begins, or goes on, here.
    Queued,
    /// Work ends here because an operator wanted it.
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

/// Entries that are kept; the oldest go first. With the longest words that a device can say, 30 KB.
pub const MOST_ENTRIES: usize = 40;

/// Where the work of one certificate at one device stands, and how it came there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    pub work: Work,
    /// What is being done, or failed; `None`: nothing is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    pub in_error: bool,
    /// A sentence.
    pub status: String,
    /// From 1, within a job; 0 before the first.
    pub attempt: u32,
    /// The latest last.
    #[serde(default)]
    pub history: Vec<Entry>,
}

/// A change that does not follow from where the work stands; nothing changes.
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
    /// Nothing was done yet.
    pub fn idle(work: Work, status: impl Into<String>) -> Self {
        Self { work, stage: None, in_error: false, status: status.into(), attempt: 0, history: Vec::new() }
    }

    pub const fn is_under_way(&self) -> bool {
        self.stage.is_some() && !self.in_error
    }

    /// A job takes the work up from its first stage, with attempts of its own.
    pub fn begin(&self, work: Work, status: impl Into<String>, at: OffsetDateTime) -> Self {
        let (stage, history) = (Some(work.first()), self.history.clone());
        let begun = Self { work, stage, in_error: false, status: status.into(), attempt: 1, history };
        begun.with(&[(work.first(), StageResult::Queued)], "", at)
    }

    /// All stages before `to` are done.
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

    /// All stages are done.
    pub fn finish(&self, attempt: u32, status: impl Into<String>, at: OffsetDateTime) -> Result<Self, OutOfOrder> {
        let last = self.work.stages().last().copied().ok_or(OutOfOrder::Stage)?;
        let mut done = self.passed(attempt, last)?;
        done.push((last, StageResult::Done));
        Ok(Self { stage: None, status: status.into(), ..self.with(&done, "", at) })
    }

    /// The stage that the failure names failed, or the one that was being done. One that lies before it may fail as well:
    /// what it made turned out to be of no use.
    pub fn fail(&self, attempt: u32, failure: &Failure, at: OffsetDateTime) -> Result<Self, OutOfOrder> {
        let now = self.current(attempt)?;
        let stage = failure.stage.filter(|stage| self.work.place(*stage).is_some()).unwrap_or(now);
        let mut entries = self.passed(attempt, stage).unwrap_or_default();
        entries.push((stage, StageResult::Failed(failure.class)));
        let after = self.with(&entries, &failure.message, at);
        Ok(Self { stage: Some(stage), in_error: true, status: failure.message.clone(), ..after })
    }

    /// The stage that failed is taken up again.
    pub fn retry(&self, at: OffsetDateTime) -> Result<Self, OutOfOrder> {
        let stage = self.stage.filter(|_| self.in_error).ok_or(OutOfOrder::NotInError)?;
        let status = format!("Retried. Last time: {}", self.status);
        let next = Self { attempt: self.attempt + 1, in_error: false, status, ..self.clone() };
        Ok(next.with(&[(stage, StageResult::Queued)], "", at))
    }

    /// What is being done, or failed, is given up. `why` says by whom.
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

    /// From the one that is being done to the one before `to`.
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

/// Of a certificate at several devices, the one that speaks for it: one in error before one under way before an idle
/// one, and of those the lowest stage. `None`: no device has it.
pub fn worst<'a>(lives: impl IntoIterator<Item = &'a Lifecycle>) -> Option<&'a Lifecycle> {
    lives.into_iter().min_by_key(|life| (!life.in_error, life.stage.is_none(), life.stage))
}

/// A number that no stage has.
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
