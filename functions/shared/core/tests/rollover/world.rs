//! The conductor, its workers and its records, each step of which may be the last.

mod events;

use std::collections::{BTreeMap, BTreeSet};

use rootcast_core::device::{DeviceId, DeviceVersion, Incarnation, SHARDS};
use rootcast_core::fingerprint::Fingerprint;
use rootcast_core::job::{Activation, Cursor, Job, JobId, JobState, Leg, NewJob, Selection, Tally};
use rootcast_core::plan::{Action, plan};
use rootcast_core::rollout::Rollout;
use rootcast_core::survey::{Deed, Finding, Purpose, find};
use rootcast_core::task::{Ack, ErrorClass, Failure, Probe, TaskRecord, TaskState};
use rootcast_core::transition::WaveRecord;
use time::{Duration, OffsetDateTime};

pub(crate) use events::{Choice, Event, choice, events, worlds};

pub(crate) const STALL: Duration = Duration::minutes(15);

/// Devices that a pass reads between two records of its place.
const PAGE: usize = 3;

#[derive(Clone)]
pub(crate) struct World {
    pub job: Job,
    pub fleet: BTreeMap<DeviceId, DeviceVersion>,
    /// Devices that were enrolled since the job began.
    pub enrolments: u32,
    /// The fleet's revision in each shard.
    pub revisions: Vec<u64>,
    pub broken: BTreeSet<DeviceId>,
    /// Devices that a worker comes back to by itself, so that no message of theirs is lost for good.
    pub under_way: BTreeSet<DeviceId>,
    /// What the devices really hold.
    pub holding: BTreeSet<DeviceId>,
    /// When each device was last read, of those that nobody has replaced or edited since.
    pub proved: BTreeMap<(Leg, DeviceId), OffsetDateTime>,
    pub rows: BTreeMap<(Leg, DeviceId), TaskRecord>,
    pub dispatched: BTreeMap<(Leg, u8), u64>,
    pub waves: Vec<WaveRecord>,
    /// The wave that a device was sent in.
    pub wave_of: BTreeMap<(Leg, DeviceId), u32>,
    /// Devices that an operator has named or described since the leg began; with a resume, all.
    pub asked_for: BTreeSet<(Leg, DeviceId)>,
    pub messages: Vec<(Leg, DeviceId, u32)>,
    pub now: OffsetDateTime,
    pub sent_while_paused: bool,
    /// Who lacked a proof when the gate was passed.
    pub unproven: Option<BTreeSet<DeviceId>>,
}

fn enrolment(number: u32) -> DeviceVersion {
    DeviceVersion { incarnation: Incarnation::from_random(u128::from(number).to_be_bytes()), endpoint_revision: 0 }
}

pub(crate) fn device(number: u8) -> DeviceId {
    format!("bmc-{number:03}").parse().unwrap()
}

/// Each device has its own way to fail.
pub(crate) fn class_of(device: &DeviceId) -> ErrorClass {
    [ErrorClass::Connect, ErrorClass::Unauthorized, ErrorClass::StoreFull][usize::from(device.shard() % 3)]
}
impl World {
    pub(crate) fn new(devices: u8, broken: BTreeSet<u8>, activation: Activation, rollout: Rollout) -> Self {
        let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        let new =
            NewJob { id: JobId(7), generation: 2, old_generation: Some(1), activation, rollout, requested_for: None };
        let mut job = Job::new(new, now);
        job.publish(2);
        Self {
            job,
            fleet: (0..devices).map(|number| (device(number), enrolment(0))).collect(),
            enrolments: 0,
            revisions: vec![0; usize::from(SHARDS)],
            broken: broken.into_iter().map(device).collect(),
            under_way: BTreeSet::new(),
            holding: BTreeSet::new(),
            proved: BTreeMap::new(),
            rows: BTreeMap::new(),
            dispatched: BTreeMap::new(),
            waves: Vec::new(),
            wave_of: BTreeMap::new(),
            asked_for: BTreeSet::new(),
            messages: Vec::new(),
            now,
            sent_while_paused: false,
            unproven: None,
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        let leg = self.job.leg();
        let count = |wanted: TaskState| {
            self.rows.iter().filter(|((of, _), task)| *of == leg && task.state == wanted).count() as u64
        };
        Tally {
            dispatched: self.dispatched.iter().filter(|((of, _), _)| *of == leg).map(|(_, n)| n).sum(),
            acked: count(TaskState::Acked),
            failed: count(TaskState::Failed),
            skipped: count(TaskState::Skipped),
            waived: count(TaskState::Waived),
        }
    }

    pub(crate) fn in_shard(&self, shard: u8) -> Vec<DeviceId> {
        self.fleet.keys().filter(|device| device.shard() == shard).cloned().collect()
    }

    pub(crate) fn send(&mut self, device: DeviceId, attempt: u32) {
        self.sent_while_paused |= self.job.state != JobState::Running;
        self.messages.push((self.job.leg(), device, attempt));
    }

    /// One step; `die`: the conductor dies between its record and its messages.
    pub(crate) fn step(&mut self, die: bool) -> bool {
        let tally = self.tally();
        let step = plan(&self.job, &tally, self.now, STALL);
        assert_eq!(step, plan(&self.job, &tally, self.now, STALL), "asked twice, it says the same");
        let now = self.now;
        match step.action {
            Action::Wait { .. } => {
                self.job.note_progress(&tally, now);
                return false;
            }
            Action::Distribute => self.job.distribute(now),
            Action::OpenWave { number, size } => self.job.open_wave(number, size, &tally, now),
            Action::Begin(Purpose::Survey) => self.job.begin_survey(self.revisions.clone(), &tally, now),
            Action::Begin(Purpose::Resend) => self.job.begin_resend(now),
            Action::Begin(Purpose::GiveUp) => self.job.begin_giving_up(now),
            Action::Pass => self.pass(die),
            Action::Dispatch { at_most } => self.dispatch(at_most, die),
            Action::FinishSending => self.finish_sending(),
            Action::CloseWave => {
                self.job.note_progress(&tally, now);
                let record = self.job.close_wave(&tally, now);
                self.waves.extend(record);
            }
            Action::Reopen => self.reopen(die),
            Action::Pause => self.job.pause(&step.why),
            Action::Withdraw => self.job.withdraw(3, now),
            Action::Activate if self.job.activation == Activation::Immediate => self.job.activate(now),
            // The write demands the revisions that the survey noted.
            Action::Activate | Action::NoteWithdrawn if self.job.survey.forget_changed(&self.revisions) => {}
            Action::Activate => {
                self.unproven = Some(self.without_proof());
                self.job.activate(now);
            }
            Action::NoteWithdrawn => {
                self.unproven = Some(self.without_proof());
                self.job.note_withdrawn(now);
            }
            Action::End(outcome) => self.job.end(outcome, &step.why),
        }
        self.job.state == JobState::Running
    }

    /// As the conductor pages: a shard at a time, the devices without a row.
    pub(crate) fn dispatch(&mut self, at_most: u64, die: bool) {
        let Cursor { after, .. } = self.job.cursor.clone();
        let (leg, shard) = (self.job.leg(), self.job.cursor.shard(self.job.id));
        let bound =
            self.job.bound.clone().filter(|bound| bound.step == self.job.cursor.step).and_then(|bound| bound.after);
        let mut page = self.in_shard(shard);
        page.retain(|device| {
            after.as_ref().is_none_or(|after| device > after) && bound.as_ref().is_none_or(|to| device <= to)
        });
        let full = page.len() as u64 > at_most;
        page.truncate(usize::try_from(at_most).unwrap_or(usize::MAX));
        let to = match page.last() {
            Some(last) if full => Cursor { step: self.job.cursor.step, after: Some(last.clone()) },
            _ => self.job.cursor.next_shard(),
        };
        page.retain(|device| !self.rows.contains_key(&(leg, device.clone())));
        let over = self.job.rollout.is_exceeded(self.tally().failed, self.tally().settled());
        let judged = self.tally().settled() >= self.job.rollout.error_budget_minimum;
        assert!(!(over && judged), "nobody new is sent while too many failed");
        let wave = self.job.wave.as_ref().unwrap().number;
        self.wave_of.extend(page.iter().map(|device| ((leg, device.clone()), wave)));
        self.job.take_page(to, page.len() as u64);
        *self.dispatched.entry((leg, shard)).or_default() += page.len() as u64;
        if die {
            return;
        }
        for device in page {
            self.send(device, 1);
        }
        self.job.sending = None;
    }

    /// As the conductor does: a shard at a time, recorded first and sent then. It dies in the middle of a record.
    pub(crate) fn reopen(&mut self, die: bool) {
        let (leg, id) = (self.job.leg(), self.job.id);
        let sends = !self.job.begins_to_resend();
        let selection = self.job.reopen.selection().cloned();
        let at = selection.as_ref().map_or(self.now, |selection| selection.asked);
        for shard in selection.map_or(0, |selection| selection.shards_done)..SHARDS {
            let tasks: Vec<TaskRecord> = self.tasks(leg).filter(|task| in_shard(task, shard)).collect();
            let (failed, open) = (
                |task: &&TaskRecord| self.job.reopen.opens(id, task),
                |task: &&TaskRecord| self.job.reopen.has_opened(id, task),
            );
            let failed: Vec<_> = tasks.iter().filter(failed).map(|task| (named(task), task.attempt + 1)).collect();
            let mut sent: Vec<_> = tasks.iter().filter(open).map(|task| (named(task), task.attempt)).collect();
            let recorded = if die { failed.len() / 2 } else { failed.len() };
            for (device, _) in &failed[..recorded] {
                assert!(self.asked_for.contains(&(leg, device.clone())), "nobody asked for {device}");
                self.open(device, at);
            }
            if die && !failed.is_empty() {
                return;
            }
            sent.extend(failed);
            if !sent.is_empty() {
                if sends {
                    sent.into_iter().for_each(|(device, attempt)| self.send(device, attempt));
                }
                self.job.reopen.note_shard(shard);
            }
        }
        self.job.note_reopened(self.tally().failed, self.now);
    }

    /// The task waits again, for its next attempt.
    fn open(&mut self, device: &DeviceId, at: OffsetDateTime) -> u32 {
        let task = self.rows.get_mut(&(self.job.leg(), device.clone())).unwrap();
        (task.state, task.attempt, task.at) = (TaskState::Waiting, task.attempt + 1, at);
        task.attempt
    }

    /// What failed, and what waits to be tried again, as it is recorded.
    pub(crate) fn tasks(&self, leg: Leg) -> impl Iterator<Item = TaskRecord> {
        let troubled = |task: &&TaskRecord| matches!(task.state, TaskState::Waiting | TaskState::Failed);
        self.rows.iter().filter(move |((of, _), _)| *of == leg).map(|(_, task)| task).filter(troubled).cloned()
    }

    pub(crate) fn state(&self, leg: Leg, device: &DeviceId) -> Option<TaskState> {
        self.rows.get(&(leg, device.clone())).map(|task| task.state)
    }

    /// As the API does. Whether anything was chosen.
    pub(crate) fn retry(&mut self, choice: &Choice) -> bool {
        self.now += Duration::SECOND;
        let leg = self.job.leg();
        let failed: BTreeSet<DeviceId> =
            self.tasks(leg).filter(|task| task.state == TaskState::Failed).map(|task| named(&task)).collect();
        let class = choice.class.map(|n| class_of(&device(n)));
        let wave = choice.wave.zip(self.job.wave.as_ref()).map(|(n, wave)| 1 + u32::from(n) % wave.number);
        let devices: BTreeSet<DeviceId> = choice
            .devices
            .map(|n| (0..120).filter(|m| (m ^ n).count_ones() % 2 == 0).map(device).collect())
            .unwrap_or_default();
        let selection = Selection {
            classes: class.into_iter().collect(),
            stretches: wave.map(|number| self.job.stretch_of_wave(number, &self.waves).into_iter().collect()),
            devices: devices.clone(),
            ..Selection::everything(self.now)
        };
        // What that says, by what was seen to happen. Who joined and came with a resend is in no wave; a survey's wave
        // has the whole fleet.
        let of_survey = |wave: u32| {
            let of_old = |record: &WaveRecord| record.leg == leg && record.number == wave && record.from.is_none();
            self.job.wave.as_ref().is_some_and(|now| now.survey && now.number == wave) || self.waves.iter().any(of_old)
        };
        let said = |device: &DeviceId| {
            let sent_in = self.wave_of.get(&(leg, device.clone()));
            class.is_none_or(|class| class == class_of(device))
                && wave.zip(sent_in).is_none_or(|(wave, sent_in)| wave == *sent_in || of_survey(wave))
                && (devices.is_empty() || devices.contains(device))
        };
        let chosen: BTreeSet<DeviceId> = self
            .tasks(leg)
            .filter(|task| task.state == TaskState::Failed && selection.chooses(self.job.id, task))
            .map(|task| named(&task))
            .collect();
        for device in
            failed.iter().filter(|device| wave.is_none() || self.wave_of.contains_key(&(leg, (*device).clone())))
        {
            assert_eq!(chosen.contains(device), said(device), "{device} {choice:?}");
        }
        let told: Vec<_> = (0..120).map(device).filter(said).map(|device| (leg, device)).collect();
        match self.job.clone().retry(selection, self.now) {
            Ok(job) if !chosen.is_empty() => self.job = job,
            _ => return false,
        }
        self.asked_for.extend(told);
        true
    }

    /// Whoever of the page has no record may not have been sent.
    pub(crate) fn finish_sending(&mut self) {
        let sending = self.job.sending.take().unwrap();
        let leg = self.job.leg();
        let (from, to, id) = (sending.from, sending.to, self.job.id);
        let unsent: Vec<DeviceId> = self
            .fleet
            .keys()
            .filter(|device| to.is_past(id, device) && !from.is_past(id, device) && self.job.is_taken(device))
            .filter(|device| self.state(leg, device).is_none())
            .cloned()
            .collect();
        unsent.into_iter().for_each(|device| self.send(device, 1));
    }

    /// One page of the pass that is under way. `die`: half of what follows from it is recorded, and nothing is sent.
    fn pass(&mut self, die: bool) {
        let (leg, pass) = (self.job.leg(), self.job.pass.clone().unwrap());
        if self.job.is_pass_over() {
            return self.job.end_pass();
        }
        let shard = pass.at.shard(self.job.id);
        let known = self.rows.keys().filter(|(of, _)| *of == leg).map(|(_, device)| device);
        let mut page: BTreeSet<DeviceId> = self.fleet.keys().chain(known).cloned().collect();
        page.retain(|device| device.shard() == shard && pass.at.after.as_ref().is_none_or(|after| device > after));
        let is_last = page.len() <= PAGE;
        let page: Vec<DeviceId> = page.into_iter().take(PAGE).collect();
        let to = match page.last() {
            Some(last) if !is_last => Cursor { step: pass.at.step, after: Some(last.clone()) },
            _ => pass.at.next_shard(),
        };
        let demand = self.job.demand_of_pass(self.now);
        let found: Vec<(DeviceId, Finding)> = page
            .into_iter()
            .filter(|device| {
                let known = self.rows.contains_key(&(leg, device.clone()));
                known || self.job.concerns(device, self.since(device))
            })
            .map(|device| {
                let task = self.rows.get(&(leg, device.clone()));
                (device.clone(), find(self.fleet.get(&device).copied(), task, demand))
            })
            .collect();
        let deeds: Vec<_> =
            found.iter().filter_map(|(device, finding)| Some((device, pass.purpose.deed(*finding)?))).collect();
        let done = if die { deeds.len() / 2 } else { deeds.len() };
        for (device, deed) in &deeds[..done] {
            let deed = if self.under_way.contains(*device) { deed.under_way() } else { *deed };
            match deed {
                Deed::Send { attempt } if !die => self.send((*device).clone(), attempt),
                Deed::Send { .. } => {}
                Deed::Reopen => {
                    let attempt = self.open(device, self.now);
                    if !die {
                        self.send((*device).clone(), attempt);
                    }
                }
                Deed::Lose { attempt } => self.record(leg, device, attempt, TaskState::Failed),
                Deed::Skip { attempt } => self.record(leg, device, attempt, TaskState::Skipped),
            }
        }
        if die && !deeds.is_empty() {
            return;
        }
        if let Some((shard, all)) = self.job.note_page(to, found.into_iter().map(|(_, finding)| finding)) {
            self.dispatched.insert((leg, shard), all);
        }
    }

    /// Records a result of the device as it is now.
    pub(crate) fn record(&mut self, leg: Leg, device: &DeviceId, attempt: u32, state: TaskState) {
        let of = self.fleet.get(device).copied();
        let ack = of.filter(|_| state == TaskState::Acked).map(|of| Ack {
            of,
            at: self.now,
            bundle_version: self.job.bundle_version,
            sha256: Fingerprint::from_bytes([0; 32]),
            probe: Probe::ReadBack,
        });
        let task = TaskRecord {
            device: device.to_string(),
            state,
            attempt,
            of,
            ack,
            shown: None,
            failure: Some(Failure::new(class_of(device), "no")),
            waiver: None,
            history: Vec::new(),
            at: OffsetDateTime::UNIX_EPOCH,
        };
        self.rows.insert((leg, device.clone()), task);
    }

    /// Approved devices that proved nothing of late, and that nobody waived as they are now.
    fn without_proof(&self) -> BTreeSet<DeviceId> {
        let leg = self.job.leg();
        let since = self.job.demand(self.now).since;
        let lacks = |(device, version): (&DeviceId, &DeviceVersion)| {
            let key = (leg, device.clone());
            let waived = |task: &TaskRecord| task.state == TaskState::Waived && task.of == Some(*version);
            let proved = self.proved.get(&key).is_some_and(|at| *at >= since);
            let concerned = leg == Leg::Distribute || self.job.concerns(device, self.since(device));
            (concerned && !proved && !self.rows.get(&key).is_some_and(waived)).then(|| device.clone())
        };
        self.fleet.iter().filter_map(lacks).collect()
    }

    /// Those that were there before the job began have neither been enrolled again nor edited.
    fn since(&self, device: &DeviceId) -> Option<OffsetDateTime> {
        let version = self.fleet.get(device)?;
        let is_old = *version == enrolment(0);
        Some(if is_old { OffsetDateTime::UNIX_EPOCH } else { self.job.created })
    }

    pub(crate) fn enrol(&mut self, device: &DeviceId) {
        self.enrolments += 1;
        self.change(device, Some(enrolment(self.enrolments)));
    }

    /// The id names another device from now on, or the same one somewhere else.
    pub(crate) fn change(&mut self, device: &DeviceId, version: Option<DeviceVersion>) {
        self.holding.remove(device);
        self.proved.retain(|(_, of), _| of != device);
        self.revisions[usize::from(device.shard())] += 1;
        match version {
            Some(version) => _ = self.fleet.insert(device.clone(), version),
            None => _ = self.fleet.remove(device),
        }
    }
}

pub(crate) fn in_shard(task: &TaskRecord, shard: u8) -> bool {
    named(task).shard() == shard
}

pub(crate) fn named(task: &TaskRecord) -> DeviceId {
    task.device.parse().unwrap()
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} devices, broken {:?}, {:?}", self.fleet.len(), self.broken, self.job.rollout)
    }
}
