//! The conductor, its workers and its records, each step of which may be the last.

mod events;

use std::collections::{BTreeMap, BTreeSet};

use rootcast_core::device::{DeviceId, SHARDS};
use rootcast_core::job::{Activation, Cursor, Job, JobId, JobState, Leg, NewJob, Selection, Tally};
use rootcast_core::plan::{Action, plan};
use rootcast_core::rollout::Rollout;
use rootcast_core::task::{ErrorClass, Failure, TaskRecord, TaskState};
use rootcast_core::transition::WaveRecord;
use time::{Duration, OffsetDateTime};

pub(crate) use events::{Choice, Event, choice, events, worlds};

pub(crate) const STALL: Duration = Duration::minutes(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    Waiting(u32),
    Acked,
    Failed(u32),
    Waived,
}

#[derive(Clone)]
pub(crate) struct World {
    pub job: Job,
    pub fleet: BTreeSet<DeviceId>,
    pub broken: BTreeSet<DeviceId>,
    /// What the devices really hold.
    pub holding: BTreeSet<DeviceId>,
    pub rows: BTreeMap<(Leg, DeviceId), Row>,
    pub dispatched: BTreeMap<(Leg, u8), u64>,
    /// When tasks were opened again.
    pub opened: BTreeMap<(Leg, DeviceId), OffsetDateTime>,
    pub waves: Vec<WaveRecord>,
    /// The wave that a device was sent in.
    pub wave_of: BTreeMap<(Leg, DeviceId), u32>,
    /// Devices that an operator has named or described since the leg began; with a resume, all.
    pub asked_for: BTreeSet<(Leg, DeviceId)>,
    pub messages: Vec<(Leg, DeviceId, u32)>,
    pub now: OffsetDateTime,
    pub sent_while_paused: bool,
    /// The fleet when it was last surveyed. Who joins later than that holds what he brought.
    pub surveyed: BTreeSet<DeviceId>,
    /// What the devices of the survey held when the root began to sign.
    pub activated_with: Option<(BTreeSet<DeviceId>, BTreeSet<DeviceId>)>,
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
            fleet: (0..devices).map(device).collect(),
            broken: broken.into_iter().map(device).collect(),
            holding: BTreeSet::new(),
            rows: BTreeMap::new(),
            dispatched: BTreeMap::new(),
            opened: BTreeMap::new(),
            waves: Vec::new(),
            wave_of: BTreeMap::new(),
            asked_for: BTreeSet::new(),
            messages: Vec::new(),
            now,
            sent_while_paused: false,
            surveyed: BTreeSet::new(),
            activated_with: None,
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        let leg = self.job.leg();
        let count = |wanted: fn(&Row) -> bool| {
            self.rows.iter().filter(|((of, _), row)| *of == leg && wanted(row)).count() as u64
        };
        Tally {
            dispatched: self.dispatched.iter().filter(|((of, _), _)| *of == leg).map(|(_, n)| n).sum(),
            acked: count(|row| *row == Row::Acked),
            failed: count(|row| matches!(row, Row::Failed(_))),
            skipped: 0,
            waived: count(|row| *row == Row::Waived),
        }
    }

    pub(crate) fn in_shard(&self, shard: u8) -> Vec<DeviceId> {
        self.fleet.iter().filter(|device| device.shard() == shard).cloned().collect()
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
            Action::Survey { number } => {
                self.surveyed = self.fleet.clone();
                self.job.open_survey(number, &tally, now);
            }
            Action::Dispatch { at_most } => self.dispatch(at_most, die),
            Action::FinishSending => self.finish_sending(),
            Action::CloseWave => {
                self.job.note_progress(&tally, now);
                let record = self.job.close_wave(&tally, now);
                self.waves.extend(record);
            }
            Action::Reopen => self.reopen(die),
            Action::Resend => self.resend(),
            Action::GiveUp => {
                for (device, attempt) in self.open() {
                    self.rows.insert((self.job.leg(), device), Row::Failed(attempt));
                }
            }
            Action::Pause => self.job.pause(&step.why),
            Action::Withdraw => self.job.withdraw(3, now),
            Action::Activate => {
                self.activated_with = Some((self.surveyed.clone(), self.holding.clone()));
                self.job.activate(now);
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
        let sends = self.job.resend != Some(Cursor::default());
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
            for (device, attempt) in &failed[..recorded] {
                let key = (leg, device.clone());
                assert!(self.asked_for.contains(&key), "nobody asked for {device}");
                self.opened.insert(key.clone(), at);
                self.rows.insert(key, Row::Waiting(*attempt));
            }
            if die && !failed.is_empty() {
                return;
            }
            sent.extend(failed);
            if sends && !sent.is_empty() {
                sent.into_iter().for_each(|(device, attempt)| self.send(device, attempt));
                self.job.reopen.note_shard(shard);
            }
        }
        self.job.note_reopened(self.tally().failed, self.now);
    }

    /// What failed, and what waits to be tried again, as it is recorded.
    pub(crate) fn tasks(&self, leg: Leg) -> impl Iterator<Item = TaskRecord> {
        self.rows.iter().filter(move |((of, _), _)| *of == leg).filter_map(|(key, row)| {
            let (state, attempt) = match row {
                Row::Waiting(attempt) => (TaskState::Waiting, *attempt),
                Row::Failed(attempt) => (TaskState::Failed, *attempt),
                Row::Acked | Row::Waived => return None,
            };
            Some(TaskRecord {
                device: key.1.to_string(),
                state,
                attempt,
                ack: None,
                shown: None,
                failure: Some(Failure::new(class_of(&key.1), "no")),
                waiver: None,
                history: Vec::new(),
                at: self.opened.get(key).copied().unwrap_or(OffsetDateTime::UNIX_EPOCH),
            })
        })
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
        // What that says, by what was seen to happen. Who joined and came with a resend is in no wave.
        let said = |device: &DeviceId| {
            let sent_in = self.wave_of.get(&(leg, device.clone()));
            class.is_none_or(|class| class == class_of(device))
                && wave.zip(sent_in).is_none_or(|(wave, sent_in)| wave == *sent_in)
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

    pub(crate) fn finish_sending(&mut self) {
        let sending = self.job.sending.take().unwrap();
        self.resend_shard(sending.from.shard(self.job.id));
    }

    /// Unsettled devices up to the cursor.
    pub(crate) fn open(&self) -> Vec<(DeviceId, u32)> {
        let leg = self.job.leg();
        let taken = |device: &&DeviceId| self.job.cursor.is_past(self.job.id, device);
        let within =
            |device: &&DeviceId| self.job.bound.as_ref().is_none_or(|bound| bound.is_past(self.job.id, device));
        let waiting = self.rows.iter().filter_map(|((of, device), row)| match row {
            Row::Waiting(attempt) if *of == leg => Some((device.clone(), *attempt)),
            _ => None,
        });
        let unknown = self
            .fleet
            .iter()
            .filter(taken)
            .filter(within)
            .filter(|device| !self.rows.contains_key(&(leg, (*device).clone())));
        waiting.chain(unknown.map(|device| (device.clone(), 1))).collect()
    }

    pub(crate) fn resend(&mut self) {
        if self.job.resend.is_none() {
            self.job.begin_resend(self.now);
        }
        for shard in 0..rootcast_core::device::SHARDS {
            self.resend_shard(shard);
        }
        self.job.resend = None;
    }

    pub(crate) fn resend_shard(&mut self, shard: u8) {
        let leg = self.job.leg();
        let open: Vec<_> = self.open().into_iter().filter(|(device, _)| device.shard() == shard).collect();
        let rows = self.rows.keys().filter(|(of, device)| *of == leg && device.shard() == shard).count();
        let fresh = open.iter().filter(|(device, _)| !self.rows.contains_key(&(leg, device.clone()))).count();
        self.dispatched.insert((leg, shard), (rows + fresh) as u64);
        for (device, attempt) in open {
            self.send(device, attempt);
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
