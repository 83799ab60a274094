//! The model's state: jobs, devices, workers and their records.

mod conductor;
mod events;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use rootcast_core::device::labels::Labels;
use rootcast_core::device::{DeviceId, DeviceVersion, Incarnation, SHARDS};
use rootcast_core::job::task::{Ack, ErrorClass, Failure, Probe, TaskRecord, TaskState};
use rootcast_core::job::{
    Activation, ByWave, Job, JobId, JobState, Member, NewJob, Pass, Phase, Results, Selection, Tally,
};
use rootcast_core::rollover::rollout::Rollout;
use rootcast_core::rollover::survey::Sample;
use rootcast_core::rollover::transition::WaveRecord;
use rootcast_core::rollover::windows::{Schedule, Turn};
use rootcast_pki::fingerprint::Fingerprint;
use time::{Duration, OffsetDateTime};

pub(crate) use events::{Choice, Event, choice, events, worlds};

pub(crate) const STALL: Duration = Duration::minutes(15);

/// Devices that a sweep reads between two records of its position.
const PAGE: usize = 3;

#[derive(Clone)]
pub(crate) struct World {
    pub job: Job,
    pub fleet: BTreeMap<DeviceId, DeviceVersion>,
    /// Devices enrolled since the job began.
    pub enrolments: u32,
    pub labels: BTreeMap<DeviceId, Labels>,
    pub labelled: u64,
    /// Devices that were labelled otherwise since the job began.
    pub relabelled: BTreeSet<DeviceId>,
    /// The fleet's revision in each shard.
    pub revisions: Vec<u64>,
    pub broken: BTreeSet<DeviceId>,
    /// Devices that a worker revisits by itself, so that a lost message does no harm.
    pub under_way: BTreeSet<DeviceId>,
    /// What the devices really hold.
    pub holding: BTreeSet<DeviceId>,
    /// When each device was last read, unless replaced or edited since.
    pub proved: BTreeMap<(Pass, DeviceId), OffsetDateTime>,
    pub rows: BTreeMap<(Pass, DeviceId), TaskRecord>,
    pub waves: Vec<WaveRecord>,
    /// The wave in which a device was sent.
    pub wave_of: BTreeMap<(Pass, DeviceId), u32>,
    /// Devices that an operator selected since the pass began; after a resume or once an ended job goes on, all of them.
    pub asked_for: BTreeSet<(Pass, DeviceId)>,
    /// Which device was reopened for which request.
    pub opened: BTreeSet<(Pass, DeviceId, OffsetDateTime)>,
    pub messages: Vec<(Pass, DeviceId, u32)>,
    pub now: OffsetDateTime,
    /// The windows at that time.
    schedule: RefCell<Option<(OffsetDateTime, Schedule)>>,
    /// When the pass began, or the job last went on.
    pub went_on: OffsetDateTime,
    pub sent_while_paused: bool,
    /// Whether each device was sent after those that come before it in order.
    pub in_order: bool,
    /// The devices without a proof when the gate was passed.
    pub unproven: Option<BTreeSet<DeviceId>>,
    /// Of what too many had failed, or could, when a wave began.
    pub over_budget: Option<String>,
}

/// Each third device has no site.
fn site(number: u8) -> Labels {
    let site = ["a", "b"].get(usize::from(number % 3)).map(|site| ("site".to_owned(), (*site).to_owned()));
    site.into_iter().collect::<BTreeMap<_, _>>().try_into().unwrap()
}

fn enrolment(number: u32) -> DeviceVersion {
    DeviceVersion { incarnation: Incarnation::from_random(u128::from(number).to_be_bytes()), endpoint_revision: 0 }
}

pub(crate) fn device(number: u8) -> DeviceId {
    format!("bmc-{number:03}").parse().unwrap()
}

/// Each device always fails in the same way.
pub(crate) fn class_of(device: &DeviceId) -> ErrorClass {
    [ErrorClass::Connect, ErrorClass::Unauthorized, ErrorClass::StoreFull][usize::from(device.shard() % 3)]
}
impl World {
    pub(crate) fn new(devices: u8, broken: BTreeSet<u8>, activation: Activation, rollout: Rollout) -> Self {
        let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        let new = NewJob {
            id: JobId(7),
            generation: 2,
            old_generation: Some(1),
            activation,
            rollout,
            until: Phase::Activate,
            requested_for: None,
        };
        let mut job = Job::new(new, now);
        job.publish(2);
        Self {
            job,
            fleet: (0..devices).map(|number| (device(number), enrolment(0))).collect(),
            enrolments: 0,
            labels: (0..120).map(|number| (device(number), site(number))).collect(),
            labelled: 0,
            relabelled: BTreeSet::new(),
            revisions: vec![0; usize::from(SHARDS)],
            broken: broken.into_iter().map(device).collect(),
            under_way: BTreeSet::new(),
            holding: BTreeSet::new(),
            proved: BTreeMap::new(),
            rows: BTreeMap::new(),
            waves: Vec::new(),
            wave_of: BTreeMap::new(),
            asked_for: BTreeSet::new(),
            opened: BTreeSet::new(),
            messages: Vec::new(),
            now,
            schedule: RefCell::default(),
            went_on: now,
            sent_while_paused: false,
            in_order: true,
            unproven: None,
            over_budget: None,
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        let pass = self.job.pass();
        let count = |wanted: TaskState| {
            self.rows.iter().filter(|((of, _), task)| *of == pass && task.state == wanted).count() as u64
        };
        let mut by_wave = ByWave::default();
        for (_, task) in self.rows.iter().filter(|((of, _), _)| *of == pass) {
            *by_wave.of_mut(task.wave) += Results::of(task.state);
        }
        self.job.tally(Tally {
            dispatched: 0,
            acked: count(TaskState::Acked),
            failed: count(TaskState::Failed),
            skipped: count(TaskState::Skipped),
            waived: count(TaskState::Waived),
            postponed: count(TaskState::Postponed),
            by_wave,
        })
    }

    pub(crate) fn in_shard(&self, shard: u8) -> Vec<DeviceId> {
        self.fleet.keys().filter(|device| device.shard() == shard).cloned().collect()
    }

    pub(crate) fn send(&mut self, device: DeviceId, attempt: u32) {
        self.sent_while_paused |= self.job.state != JobState::Running;
        self.messages.push((self.job.pass(), device, attempt));
    }

    /// Failed tasks, and tasks waiting for a retry, as recorded.
    pub(crate) fn tasks(&self, pass: Pass) -> impl Iterator<Item = TaskRecord> {
        let troubled = |task: &&TaskRecord| matches!(task.state, TaskState::Waiting | TaskState::Failed);
        self.rows.iter().filter(move |((of, _), _)| *of == pass).map(|(_, task)| task).filter(troubled).cloned()
    }

    pub(crate) fn state(&self, pass: Pass, device: &DeviceId) -> Option<TaskState> {
        self.rows.get(&(pass, device.clone())).map(|task| task.state)
    }

    /// Retries like the API. Returns whether anything was selected.
    pub(crate) fn retry(&mut self, choice: &Choice) -> bool {
        self.now += Duration::SECOND;
        let pass = self.job.pass();
        let failed: BTreeSet<DeviceId> =
            self.tasks(pass).filter(|task| task.state == TaskState::Failed).map(|task| task.device.clone()).collect();
        let class = choice.class.map(|n| class_of(&device(n)));
        // A wave of a rollout with windows or an order shares its stretch of the fleet with others.
        let wave = choice
            .wave
            .filter(|_| !self.job.rollout.is_selective())
            .zip(self.job.wave.as_ref())
            .map(|(n, wave)| 1 + u32::from(n) % wave.number);
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
        // What the choice selects, judged by observed events.
        let said = |device: &DeviceId| {
            let sent_in = self.wave_of.get(&(pass, device.clone()));
            class.is_none_or(|class| class == class_of(device))
                && wave.zip(sent_in).is_none_or(|(wave, sent_in)| wave == *sent_in)
                && (devices.is_empty() || devices.contains(device))
        };
        let chosen: BTreeSet<DeviceId> = self
            .tasks(pass)
            .filter(|task| task.state == TaskState::Failed && selection.chooses(self.job.id, task))
            .map(|task| task.device.clone())
            .collect();
        for device in
            failed.iter().filter(|device| wave.is_none() || self.wave_of.contains_key(&(pass, (*device).clone())))
        {
            assert_eq!(chosen.contains(device), said(device), "{device} {choice:?}");
        }
        let told: Vec<_> = (0..120).map(device).filter(said).map(|device| (pass, device)).collect();
        match self.job.clone().retry(selection, self.now) {
            Ok(job) if !chosen.is_empty() => self.go_on_as(job),
            _ => return false,
        }
        self.asked_for.extend(told);
        true
    }

    /// Whether more than the error budget has failed, in total or of the last wave, as if all failed that have no result yet.
    fn is_over_budget(&self, tally: &Tally) -> Option<String> {
        let is_over = |(failed, settled): (u64, u64)| self.job.rollout.is_exceeded(failed, settled);
        let all = (tally.failed + tally.waiting(), tally.with_result() + tally.waiting());
        if self.job.preflight.is_some() {
            return None;
        }
        if is_over(all) {
            return Some(format!("{all:?} of all"));
        }
        // A sweep takes those out of a wave whose windows have closed, and counters are exact only while nobody is enrolled.
        let is_exact = self.enrolments == 0 && !self.job.rollout.is_selective();
        let wave = self.job.own_wave(tally).filter(|_| is_exact)?.number;
        let of_wave = self.worst_of_wave(wave);
        is_over(of_wave).then(|| format!("{of_wave:?} of wave {wave}"))
    }

    /// The failures and results of a wave's devices, as if all failed that have no result yet.
    fn worst_of_wave(&self, wave: u32) -> (u64, u64) {
        let pass = self.job.pass();
        let sent = self.wave_of.iter().filter(|((of, _), in_wave)| *of == pass && **in_wave == wave);
        let states = sent.map(|((_, device), _)| (self.state(pass, device), self.fleet.contains_key(device)));
        let (mut failed, mut settled) = (0, 0);
        for (state, is_there) in states {
            let is_open = state == Some(TaskState::Waiting) || (state.is_none() && is_there);
            failed += u64::from(is_open || state == Some(TaskState::Failed));
            settled += u64::from(is_open || state.is_some());
        }
        (failed, settled)
    }

    /// Records a result of the device's current version.
    pub(crate) fn record(&mut self, pass: Pass, device: &DeviceId, attempt: u32, state: TaskState) {
        let of = self.fleet.get(device).copied();
        let ack = of.filter(|_| state == TaskState::Acked).map(|of| Ack {
            of,
            at: self.now,
            bundle_version: self.job.bundle_version,
            sha256: Fingerprint::from_bytes([0; 32]),
            probe: Probe::ReadBack,
        });
        let failure = Some(Failure::new(class_of(device), "no"));
        let settled = TaskRecord::new(device.clone(), state, attempt, OffsetDateTime::UNIX_EPOCH);
        let wave = self.wave_of.get(&(pass, device.clone())).copied().unwrap_or_else(|| self.job.wave_number());
        let task = TaskRecord { of, ack, failure, wave, ..settled };
        self.rows.insert((pass, device.clone()), task);
    }

    /// Approved devices without a recent proof or a waiver of their current version.
    fn without_proof(&self) -> BTreeSet<DeviceId> {
        let pass = self.job.pass();
        let demand = self.job.demand(self.now);
        let lacks = |(device, version): (&DeviceId, &DeviceVersion)| {
            let key = (pass, device.clone());
            let waived = |task: &TaskRecord| task.state == TaskState::Waived && task.of == Some(*version);
            // Nobody could ask it anew.
            let since = match self.turn(device) {
                Turn::Open => demand.since(),
                closed @ Turn::Closed { last, .. } => {
                    let asked = last.min(self.went_on).max(self.now - Duration::days(16));
                    demand.since_in(closed).max(asked - demand.age)
                }
            };
            let proved = self.proved.get(&key).is_some_and(|at| *at >= since);
            // In a withdrawal, devices that do not hold the root need no proof.
            let concerned = pass != Pass::Withdraw || self.holding.contains(device);
            let sample = demand.sample.filter(|sample| sample.covers(device));
            let read = |sample: Sample| self.proved.get(&key).is_some_and(|at| *at >= sample.since);
            let proved = proved && sample.is_none_or(read);
            (concerned && !proved && !self.rows.get(&key).is_some_and(waived)).then(|| device.clone())
        };
        self.fleet.iter().filter_map(lacks).collect()
    }

    /// `None` for the initial devices that were neither enrolled again nor edited.
    fn during(&self, device: &DeviceId) -> Option<JobId> {
        let version = self.fleet.get(device)?;
        (*version != enrolment(0) || self.relabelled.contains(device)).then_some(self.job.id)
    }

    pub(crate) fn member<'a>(&'a self, device: &'a DeviceId) -> Member<'a> {
        let had_task = self.rows.contains_key(&(Pass::Distribute, device.clone()));
        Member { device, labels: &self.labels[device], during: self.during(device), had_task }
    }

    /// Whether its window is open.
    pub(crate) fn turn(&self, device: &DeviceId) -> Turn {
        let mut schedule = self.schedule.borrow_mut();
        if schedule.as_ref().is_none_or(|(at, _)| *at != self.now) {
            *schedule = Some((self.now, self.job.rollout.schedule(self.now)));
        }
        schedule.as_ref().unwrap().1.turn(&self.labels[device])
    }

    /// Enrols a device under this id. It holds nothing.
    pub(crate) fn enrol(&mut self, device: &DeviceId) {
        self.holding.remove(device);
        self.enrolments += 1;
        self.change(device, Some(enrolment(self.enrolments)));
    }

    /// Changes the device's version, which voids its proofs.
    pub(crate) fn change(&mut self, device: &DeviceId, version: Option<DeviceVersion>) {
        self.proved.retain(|(_, of), _| of != device);
        self.revisions[usize::from(device.shard())] += 1;
        match version {
            Some(version) => _ = self.fleet.insert(device.clone(), version),
            None => _ = self.fleet.remove(device),
        }
    }
}

pub(crate) fn in_shard(task: &TaskRecord, shard: u8) -> bool {
    task.device.shard() == shard
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} devices, broken {:?}, {:?}", self.fleet.len(), self.broken, self.job.rollout)
    }
}
