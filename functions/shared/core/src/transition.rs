//! How a job's record changes with each step of the conductor. Pure; the ledger writes what comes out.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::job::{Cursor, Job, JobOutcome, JobState, Leg, Phase, Reopen, Sending, Tally, Wave};

/// A wave that is over, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaveRecord {
    pub leg: Leg,
    pub number: u32,
    /// Devices that were sent in it.
    pub size: u64,
    pub acked: u64,
    pub failed: u64,
    /// Its devices lie between these places. `None` for a survey, whose devices lie everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Cursor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Cursor>,
    #[serde(with = "time::serde::timestamp")]
    pub opened: OffsetDateTime,
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<OffsetDateTime>,
}

impl Job {
    /// The bundle is published: nothing has been sent yet.
    pub fn publish(&mut self, bundle_version: u64) {
        self.phase = Phase::Publish;
        self.bundle_version = bundle_version;
    }

    pub fn distribute(&mut self, now: OffsetDateTime) {
        self.start_leg(Phase::Distribute, self.bundle_version, None, now);
    }

    /// Only devices to which the new root may have been sent are visited again.
    pub fn withdraw(&mut self, bundle_version: u64, now: OffsetDateTime) {
        let whole_fleet = self.cursor.is_at_end() || self.wave.as_ref().is_some_and(|wave| wave.survey);
        let bound = (!whole_fleet).then(|| self.cursor.clone());
        self.start_leg(Phase::Withdraw, bundle_version, bound, now);
    }

    fn start_leg(&mut self, phase: Phase, bundle_version: u64, bound: Option<Cursor>, now: OffsetDateTime) {
        self.phase = phase;
        self.bundle_version = bundle_version;
        self.bound = bound;
        self.wave = None;
        self.cursor = Cursor::default();
        self.sending = None;
        self.surveyed = false;
        self.reopen = Reopen::Nothing;
        self.tolerated = 0;
        self.resend = None;
        self.resends = 0;
        self.seen_settled = 0;
        self.progress_at = now;
    }

    pub fn open_wave(&mut self, number: u32, size: u64, tally: &Tally, now: OffsetDateTime) {
        self.wave = Some(Wave {
            number,
            size,
            dispatched: 0,
            from: Some(self.cursor.clone()),
            opened: now,
            acked_before: tally.acked,
            failed_before: tally.failed,
            closed: None,
            survey: false,
        });
        self.tolerated = 0;
        self.progress_at = now;
    }

    pub fn open_survey(&mut self, number: u32, tally: &Tally, now: OffsetDateTime) {
        self.open_wave(number, u64::MAX, tally, now);
        self.cursor = Cursor::default();
        if let Some(wave) = &mut self.wave {
            wave.survey = true;
            wave.from = None;
        }
    }

    /// The fleet is paged to `to`, and `fresh` devices of that page are about to be sent.
    pub fn take_page(&mut self, to: Cursor, fresh: u64) {
        let from = std::mem::replace(&mut self.cursor, to.clone());
        if fresh > 0 {
            self.sending = Some(Sending { from, to });
            self.tolerated = 0;
        }
        if let Some(wave) = &mut self.wave {
            wave.dispatched += fresh;
        }
    }

    /// `None` where the wave found nobody: there is nothing to keep, and after a survey the leg is complete.
    pub fn close_wave(&mut self, tally: &Tally, now: OffsetDateTime) -> Option<WaveRecord> {
        let record = self.wave_record(tally)?;
        let wave = self.wave.as_mut()?;
        wave.closed = Some(now);
        if wave.dispatched == 0 {
            self.surveyed = wave.survey;
            return None;
        }
        Some(WaveRecord { closed: Some(now), ..record })
    }

    /// The wave that is under way, in figures.
    pub fn wave_record(&self, tally: &Tally) -> Option<WaveRecord> {
        let wave = self.wave.as_ref().filter(|wave| wave.closed.is_none())?;
        Some(WaveRecord {
            leg: self.leg(),
            number: wave.number,
            size: wave.dispatched,
            acked: tally.acked.saturating_sub(wave.acked_before),
            failed: tally.failed.saturating_sub(wave.failed_before),
            to: wave.from.as_ref().map(|_| self.cursor.clone()),
            from: wave.from.clone(),
            opened: wave.opened,
            closed: None,
        })
    }

    /// Whether anything was settled since the conductor last looked.
    pub fn note_progress(&mut self, tally: &Tally, now: OffsetDateTime) -> bool {
        // Who was waived, or tried again since, need not be tolerated any more.
        let tolerated = self.tolerated.min(tally.failed);
        let moved = self.seen_settled != tally.settled() || self.tolerated != tolerated;
        if moved {
            self.seen_settled = tally.settled();
            self.tolerated = tolerated;
            self.progress_at = now;
            self.resends = 0;
        }
        moved
    }

    /// What was to be opened again first is open; `failed` devices of the leg are not.
    pub fn note_reopened(&mut self, failed: u64, now: OffsetDateTime) {
        self.reopen.finish();
        self.tolerated = self.tolerated.min(failed);
        self.resends = 0;
        self.progress_at = now;
    }

    /// The messages of unsettled devices are to be sent again, from the start of the fleet.
    pub fn begin_resend(&mut self, now: OffsetDateTime) {
        self.resend = Some(Cursor::default());
        self.resends += 1;
        self.progress_at = now;
    }

    pub fn pause(&mut self, why: &str) {
        self.state = JobState::Paused;
        why.clone_into(&mut self.reason);
    }

    /// The new root signs from now on.
    pub fn activate(&mut self, now: OffsetDateTime) {
        self.phase = Phase::Activate;
        self.activated = Some(now);
    }

    pub fn end(&mut self, outcome: JobOutcome, why: &str) {
        self.state = JobState::Ended;
        self.phase = Phase::Ended;
        self.outcome = Some(outcome);
        why.clone_into(&mut self.reason);
    }
}
