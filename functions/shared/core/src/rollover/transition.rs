//! How each step of the conductor changes the job's record. Pure; the ledger writes the result.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::device::{DeviceId, SHARDS};
use crate::job::task::TaskState;
use crate::job::{
    Continued, Counted, Cursor, Front, Hold, Job, JobOutcome, JobState, Lap, Pass, Phase, Reopen, Sending, Taken,
    Tally, Wave, none_open, place,
};
use crate::rollover::survey::{Finding, Purpose, Survey, SurveyedShard, Sweep};
use crate::rollover::windows::Held;

/// The record of a wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaveRecord {
    #[serde(rename = "leg")]
    pub pass: Pass,
    pub number: u32,
    /// Devices sent in the wave.
    pub size: u64,
    pub acked: u64,
    pub failed: u64,
    /// Devices without a result when the next wave was allowed to begin. Their results count to that one.
    #[serde(default, skip_serializing_if = "none_open")]
    pub open: u64,
    /// Of an earlier release, whose tasks did not name their wave: its devices lie between these positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Front>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Front>,
    #[serde(with = "time::serde::timestamp")]
    pub opened: OffsetDateTime,
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<OffsetDateTime>,
}

impl Job {
    /// The bundle is published. Nothing has been sent yet.
    pub fn publish(&mut self, bundle_version: u64) {
        self.phase = Phase::Publish;
        self.bundle_version = bundle_version;
    }

    pub fn distribute(&mut self, now: OffsetDateTime) {
        self.start_pass(Phase::Distribute, self.bundle_version, None, now);
    }

    /// Starts the withdrawal. Only devices to which the new root may have been sent are visited again.
    pub fn withdraw(&mut self, bundle_version: u64, now: OffsetDateTime) {
        let reach = self.reached();
        let bound = (reach.is_none() && !self.cursor.is_at_end()).then(|| self.cursor.clone());
        self.start_pass(Phase::Withdraw, bundle_version, bound, now);
        self.reach = reach;
    }

    /// Begins the hold-down. Every device has proven that it holds the new root.
    pub fn hold_down(&mut self, now: OffsetDateTime) {
        let until = now + Duration::seconds(self.rollout.hold_down.into());
        self.phase = Phase::HoldDown;
        self.hold = Some(Hold { since: now, until, sampled: None, devices: self.survey.total().proven });
        self.progress_at = now;
    }

    /// Begins to read a sample of the devices anew.
    pub fn read_sample(&mut self, now: OffsetDateTime) {
        if let Some(hold) = &mut self.hold {
            hold.sampled = Some(now);
        }
        self.survey = Survey::default();
    }

    /// Begins to replace what old roots signed for devices.
    pub fn reissue(&mut self, now: OffsetDateTime) {
        self.start_pass(Phase::Reissue, self.bundle_version, None, now);
    }

    /// Begins to remove the old roots, which this bundle lacks, from the devices.
    pub fn distrust(&mut self, bundle_version: u64, now: OffsetDateTime) {
        self.start_pass(Phase::Distrust, bundle_version, None, now);
    }

    /// A root was compromised: the job with this id does what was left of this one.
    pub fn take_over(&mut self, now: OffsetDateTime) {
        self.end(JobOutcome::TakenOver, "Taken over: a root is compromised, and the job that replaces it brings the devices what this one had left.");
        self.updated = now;
    }

    /// The compromised roots leave the bundle in the same write in which the new one signs.
    pub fn replace(&mut self, bundle_version: u64, now: OffsetDateTime) {
        self.publish(bundle_version);
        self.activate(now);
        self.reason = format!("The new root signs, and the bundle has no other: {}.", self.compromise());
        self.updated = now;
    }

    /// What the job is about, in a few words.
    pub fn compromise(&self) -> String {
        let generations: Vec<String> = self.compromised.iter().map(u32::to_string).collect();
        format!("root generation {} is compromised", generations.join(", "))
    }

    /// No device trusts the old roots, and their keys are disabled.
    pub fn retire(&mut self) {
        self.phase = Phase::Retire;
    }

    /// A job that was continued is the one rollover that runs.
    pub fn go_on_alone(&mut self, bundle_version: u64, now: OffsetDateTime) {
        (self.continued, self.formerly) = (Some(Continued::Begun), None);
        // Another job may have brought the devices a later bundle.
        self.bundle_version = bundle_version;
        self.reopen = Reopen::everything(now);
    }

    /// A job that was to run again cannot: it has ended as it had before.
    pub fn end_as_before(&mut self, why: &str) {
        self.rollback_requested = false;
        // A job that was continued by an earlier release does not say how it had ended.
        let outcome = self.formerly.take().unwrap_or(JobOutcome::Activated);
        self.end(outcome, why);
    }

    fn start_pass(&mut self, phase: Phase, bundle_version: u64, bound: Option<Front>, now: OffsetDateTime) {
        self.phase = phase;
        self.bundle_version = bundle_version;
        self.bound = bound;
        self.wave = None;
        self.open_waves = Vec::new();
        self.cursor = Front::default();
        self.sent = Some(Vec::new());
        self.fleet = 0;
        self.lap = Lap::default();
        self.reach = None;
        self.sending = None;
        self.survey = Survey::default();
        self.outside = Held::default();
        self.waits_since = None;
        self.sweep = None;
        self.refresh = false;
        self.reopen = Reopen::NOTHING;
        self.tolerated = 0;
        self.resends = 0;
        self.seen_settled = 0;
        self.in_use = None;
        self.progress_at = now;
    }

    pub fn open_wave(&mut self, number: u32, size: u64, tally: &Tally, now: OffsetDateTime) {
        let is_counted = tally.is_settled() || self.wave.as_ref().is_none_or(|wave| wave.counted.is_some());
        self.open_waves.retain(|wave| !tally.is_settled() && wave.waiting(tally) > 0);
        self.wave = Some(Wave {
            number,
            size,
            dispatched: 0,
            from: None,
            opened: now,
            before: *tally,
            closed: None,
            survey: false,
            open: 0,
            counted: is_counted.then(|| *tally.by_wave.of(number)),
        });
        self.tolerated = 0;
        self.progress_at = now;
    }

    /// Begins a survey of the shards without a valid result. `revisions`: the fleet's, by shard. The devices that it
    /// sends again form a wave of their own.
    pub fn begin_survey(&mut self, revisions: Vec<u64>, tally: &Tally, now: OffsetDateTime) {
        let number = match &self.wave {
            // The last survey sent no devices.
            Some(wave) if wave.survey && wave.dispatched == 0 => wave.number,
            last => last.as_ref().map_or(0, |wave| wave.number) + 1,
        };
        self.open_wave(number, u64::MAX, tally, now);
        if let Some(wave) = &mut self.wave {
            // Nobody is judged by it: the gate looks at every device.
            (wave.survey, wave.counted) = (true, None);
        }
        self.in_use = None;
        self.outside = Held::default();
        let refreshes = std::mem::take(&mut self.refresh);
        self.sweep = Some(Sweep { refreshes, ..Sweep::new(Purpose::Survey, revisions) });
        let demand = self.demand_of_sweep(now);
        self.survey.forget_unproven(demand.since() + demand.refresh, now);
        if let Some(sweep) = &mut self.sweep {
            sweep.at = Cursor::default().skip_known(self.id, &self.survey);
        }
    }

    /// Begins to send the messages of unsettled devices again.
    pub fn begin_resend(&mut self, now: OffsetDateTime) {
        self.sweep_lap(Purpose::Resend);
        self.resends += 1;
        self.counted_together = false;
        self.progress_at = now;
    }

    /// Begins to record unsettled devices as failed. Those under way are spared, and get the same time again.
    pub fn begin_giving_up(&mut self, now: OffsetDateTime) {
        self.sweep_lap(Purpose::GiveUp);
        self.progress_at = now;
    }

    /// The sweep finds again who was passed over.
    pub(crate) fn sweep_lap(&mut self, purpose: Purpose) {
        self.sweep = Some(Sweep::new(purpose, Vec::new()));
        self.lap.held = Held::default();
        // A device's first message may be sent again, and then names the current wave. What is open is no longer told apart.
        self.open_waves = Vec::new();
    }

    /// Whether a wave with this number shares its count with none that is open.
    pub(crate) fn has_count(&self, number: u32, tally: &Tally) -> bool {
        let shares = |wave: &&Counted| place(wave.number) == place(number);
        self.open_waves.iter().filter(shares).all(|wave| wave.waiting(tally) == 0)
    }

    /// Records that the sweep has read up to `to`, with these findings, each with the state of the device's task, and has acted
    /// on them. If this completes a shard, the devices in it that were sent to are counted anew.
    pub fn note_page(&mut self, to: Cursor, found: impl IntoIterator<Item = (Finding, Option<TaskState>)>) {
        let Some(sweep) = self.sweep.as_mut() else { return };
        let mut sent = 0;
        for (finding, task) in found {
            sweep.findings.add(finding, task.is_some());
            if let Finding::Postponed { turn } = finding {
                match (sweep.purpose, task) {
                    (Purpose::Survey, _) if !turn.is_open() => {
                        self.outside.add(turn);
                        self.waits_since = self.waits_since.or(self.wave.as_ref().map(|wave| wave.opened));
                    }
                    (Purpose::Resend | Purpose::GiveUp, None | Some(TaskState::Postponed)) => self.lap.held.add(turn),
                    _ => {}
                }
            }
            sent += u64::from(sweep.purpose.deed(finding).is_some() && finding.is_sent_by_a_survey());
            self.refresh |= sweep.purpose == Purpose::Survey && !sweep.refreshes && finding == Finding::Old;
        }
        if let Some(wave) = self.wave.as_mut().filter(|_| sweep.purpose == Purpose::Survey) {
            wave.dispatched += sent;
        }
        let shard = sweep.at.shard(self.id);
        let is_done = to.step > sweep.at.step;
        sweep.at = to;
        if !is_done {
            return;
        }
        let findings = std::mem::take(&mut sweep.findings);
        if sweep.purpose == Purpose::Survey {
            let revision = sweep.revisions.get(usize::from(shard)).copied().unwrap_or_default();
            self.survey.note(SurveyedShard { shard, revision, findings });
            sweep.at = std::mem::take(&mut sweep.at).skip_known(self.id, &self.survey);
        }
        *self.sent_in(shard) = findings.all() - findings.unsent;
    }

    /// Whether the sweep has read all that it must.
    pub fn is_sweep_over(&self) -> bool {
        self.sweep.as_ref().is_none_or(|sweep| sweep.at.is_at_end())
    }

    /// How far the sweep reads its current shard. A survey and a withdrawal read the whole fleet; other sweeps only the part
    /// that was sent to.
    pub fn sweeps(&self) -> &Taken {
        let everywhere =
            |sweep: &Sweep| sweep.purpose == Purpose::Survey || self.pass() == Pass::Withdraw || !self.lap.is_first();
        self.sweep
            .as_ref()
            .filter(|sweep| !everywhere(sweep))
            .map_or(&Taken::All, |sweep| self.cursor.at(sweep.at.step))
    }

    /// Whether a resend of all open messages of the pass is about to start.
    pub fn begins_to_resend(&self) -> bool {
        self.sweep.as_ref().is_some_and(|sweep| sweep.purpose == Purpose::Resend && sweep.at == Cursor::default())
    }

    /// Ends the sweep.
    pub fn end_sweep(&mut self) {
        self.sweep = None;
    }

    /// Records that the fleet is paged to `to`, and these devices of that page are about to be sent: `fresh` ones without a
    /// task, and so many postponed ones.
    pub fn take_page<'a>(&mut self, to: Front, fresh: impl IntoIterator<Item = &'a DeviceId>, postponed: u64) {
        let from = std::mem::replace(&mut self.cursor, to);
        let mut devices = postponed;
        for device in fresh {
            *self.sent_in(device.shard()) += 1;
            devices += 1;
        }
        if devices > 0 {
            self.sending = Some(Sending { from, to: None });
            self.tolerated = 0;
        }
        if let Some(wave) = &mut self.wave {
            wave.dispatched += devices;
        }
        self.lap.postponed = self.lap.postponed.saturating_sub(postponed);
    }

    /// The count of devices of this shard that were sent to.
    fn sent_in(&mut self, shard: u8) -> &mut u64 {
        let sent = self.sent.get_or_insert_default();
        if sent.len() < usize::from(SHARDS) {
            sent.resize(usize::from(SHARDS), 0);
        }
        let last = sent.len() - 1;
        &mut sent[usize::from(shard).min(last)]
    }

    /// Goes on with the counts of an earlier release, by shard.
    pub fn take_over_counts(&mut self, sent: impl FnOnce() -> Vec<u64>) {
        self.sent.get_or_insert_with(sent);
    }

    /// The counters of the pass. `counted`: of the results, and of an earlier release.
    pub fn tally(&self, counted: Tally) -> Tally {
        let dispatched = self.sent.as_ref().map_or(counted.dispatched, |sent| sent.iter().sum());
        Tally { dispatched, ..counted }
    }

    /// While the job waits for windows: returns whether labels have changed since its last look. Then it looks again for whom it
    /// waits.
    pub fn note_labelled(&mut self, labelled: u64) -> bool {
        let changed = self.labelled != labelled;
        if changed {
            self.labelled = labelled;
            (self.lap.held.windows, self.outside.windows) = (0, 0);
        }
        changed
    }

    /// Before the gate: forgets what the survey says of shards that have changed since they were read, and of devices whose
    /// windows may be others now. Returns whether there was anything.
    pub fn forget_changed(&mut self, revisions: &[u64], labelled: u64) -> bool {
        let is_relabelled = self.note_labelled(labelled) && self.survey.forget_spared();
        self.survey.forget_changed(revisions) || is_relabelled
    }

    /// Closes the wave. `None` if it had no devices.
    pub fn close_wave(&mut self, tally: &Tally, now: OffsetDateTime) -> Option<WaveRecord> {
        let record = self.wave_record(tally)?;
        let wave = self.wave.as_mut()?;
        (wave.closed, wave.open) = (Some(now), record.open);
        self.open_waves.extend(wave.own().filter(|own| own.waiting(tally) > 0));
        (wave.dispatched > 0).then_some(WaveRecord { closed: Some(now), ..record })
    }

    /// The figures of the current wave.
    pub fn wave_record(&self, tally: &Tally) -> Option<WaveRecord> {
        let wave = self.wave.as_ref().filter(|wave| wave.closed.is_none())?;
        Some(WaveRecord {
            pass: self.pass(),
            number: wave.number,
            size: wave.dispatched,
            acked: tally.acked.saturating_sub(wave.before.acked),
            failed: tally.failed.saturating_sub(wave.before.failed),
            open: tally.waiting(),
            to: wave.from.as_ref().map(|_| self.cursor.clone()),
            from: wave.from.clone(),
            opened: wave.opened,
            closed: None,
        })
    }

    /// The number of the current wave; 0 before the first.
    pub fn wave_number(&self) -> u32 {
        self.wave.as_ref().map_or(0, |wave| wave.number)
    }

    /// Records progress. Returns whether a device was settled since the conductor's last look.
    pub fn note_progress(&mut self, tally: &Tally, now: OffsetDateTime) -> bool {
        // Devices that were waived or retried since need no tolerance any more.
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

    /// Records that the first selection was reopened; `failed` devices of the pass remain failed.
    pub fn note_reopened(&mut self, failed: u64, now: OffsetDateTime) {
        self.reopen.finish();
        self.survey.forget_unproven(self.demand(now).since(), now);
        self.tolerated = self.tolerated.min(failed);
        // A survey that has begun meets these devices while they are open: their next results are news to it.
        if let Some(wave) = self.wave.as_mut().filter(|wave| wave.survey) {
            wave.before.failed = wave.before.failed.min(failed);
        }
        self.resends = 0;
        self.progress_at = now;
    }

    pub fn pause(&mut self, why: &str) {
        self.state = JobState::Paused;
        why.clone_into(&mut self.reason);
    }

    /// Records that every device was proven to have removed the withdrawn root.
    pub fn note_withdrawn(&mut self, now: OffsetDateTime) {
        self.withdrawn = Some(now);
    }

    /// Records that the new root signs from now on.
    pub fn activate(&mut self, now: OffsetDateTime) {
        self.phase = Phase::Activate;
        self.activated = Some(now);
    }

    /// Keys of older generations could not sign. `why`: what that means, told after the reason.
    pub fn note_unusable(&mut self, generations: impl IntoIterator<Item = u32>, why: &str) {
        self.unusable_keys.extend(generations);
        self.reason = format!("{} {why}", self.reason);
    }

    pub fn end(&mut self, outcome: JobOutcome, why: &str) {
        self.state = JobState::Ended;
        if self.phase != Phase::Ended {
            self.reached = Some(self.phase);
        }
        self.phase = Phase::Ended;
        self.outcome = Some(outcome);
        why.clone_into(&mut self.reason);
    }
}
