//! The plan against a world that loses, doubles and reorders everything.
//!
//! A model of the conductor and its workers: devices answer or fail, messages vanish or come twice, conductors die
//! between two writes, devices join, operators pause, resume, retry some, waive and abort. Whatever the order, the gate
//! holds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may break off")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rootcast_core::device::{DeviceId, SHARDS};
use rootcast_core::job::{
    Activation, Command, Cursor, Job, JobId, JobOutcome, JobState, Leg, NewJob, Phase, Selection, Tally,
};
use rootcast_core::plan::{Action, plan};
use rootcast_core::rollout::Rollout;
use rootcast_core::task::{ErrorClass, Failure, TaskRecord, TaskState};
use rootcast_core::transition::WaveRecord;
use time::{Duration, OffsetDateTime};

const STALL: Duration = Duration::minutes(15);

#[derive(Debug, Clone)]
enum Event {
    /// The conductor runs until it rests.
    Wake,
    /// It dies after so many steps, the last one half done.
    WakeAndDie(u8),
    /// A waiting message is delivered, and again where it is doubled.
    Deliver {
        which: u8,
        doubled: bool,
    },
    LoseAllMessages,
    Join(u8),
    MendAll,
    Pause,
    Resume,
    Retry(Choice),
    WaiveAll,
    Abort,
    Minutes(u8),
}

/// Which of the failed devices: of each filter there is, by a number that means something else in each.
#[derive(Debug, Clone, Default)]
struct Choice {
    class: Option<u8>,
    wave: Option<u8>,
    devices: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Waiting(u32),
    Acked,
    Failed(u32),
    Waived,
}

#[derive(Clone)]
struct World {
    job: Job,
    fleet: BTreeSet<DeviceId>,
    broken: BTreeSet<DeviceId>,
    /// What the devices really hold.
    holding: BTreeSet<DeviceId>,
    rows: BTreeMap<(Leg, DeviceId), Row>,
    dispatched: BTreeMap<(Leg, u8), u64>,
    /// When tasks were opened again.
    opened: BTreeMap<(Leg, DeviceId), OffsetDateTime>,
    waves: Vec<WaveRecord>,
    /// The wave that a device was sent in.
    wave_of: BTreeMap<(Leg, DeviceId), u32>,
    /// Devices that an operator has named or described since the leg began; with a resume, all.
    asked_for: BTreeSet<(Leg, DeviceId)>,
    messages: Vec<(Leg, DeviceId, u32)>,
    now: OffsetDateTime,
    sent_while_paused: bool,
    /// The fleet when it was last surveyed. Who joins later than that holds what he brought.
    surveyed: BTreeSet<DeviceId>,
    /// What the devices of the survey held when the root began to sign.
    activated_with: Option<(BTreeSet<DeviceId>, BTreeSet<DeviceId>)>,
}

fn device(number: u8) -> DeviceId {
    format!("bmc-{number:03}").parse().unwrap()
}

/// Each device has its own way to fail.
fn class_of(device: &DeviceId) -> ErrorClass {
    [ErrorClass::Connect, ErrorClass::Unauthorized, ErrorClass::StoreFull][usize::from(device.shard() % 3)]
}

impl World {
    fn new(devices: u8, broken: BTreeSet<u8>, activation: Activation, rollout: Rollout) -> Self {
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

    fn tally(&self) -> Tally {
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

    fn in_shard(&self, shard: u8) -> Vec<DeviceId> {
        self.fleet.iter().filter(|device| device.shard() == shard).cloned().collect()
    }

    fn send(&mut self, device: DeviceId, attempt: u32) {
        self.sent_while_paused |= self.job.state != JobState::Running;
        self.messages.push((self.job.leg(), device, attempt));
    }

    /// One step; `die`: the conductor dies between its record and its messages.
    fn step(&mut self, die: bool) -> bool {
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
    fn dispatch(&mut self, at_most: u64, die: bool) {
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
    fn reopen(&mut self, die: bool) {
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
    fn tasks(&self, leg: Leg) -> impl Iterator<Item = TaskRecord> {
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
    fn retry(&mut self, choice: &Choice) -> bool {
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

    fn finish_sending(&mut self) {
        let sending = self.job.sending.take().unwrap();
        self.resend_shard(sending.from.shard(self.job.id));
    }

    /// Unsettled devices up to the cursor.
    fn open(&self) -> Vec<(DeviceId, u32)> {
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

    fn resend(&mut self) {
        if self.job.resend.is_none() {
            self.job.begin_resend(self.now);
        }
        for shard in 0..rootcast_core::device::SHARDS {
            self.resend_shard(shard);
        }
        self.job.resend = None;
    }

    fn resend_shard(&mut self, shard: u8) {
        let leg = self.job.leg();
        let open: Vec<_> = self.open().into_iter().filter(|(device, _)| device.shard() == shard).collect();
        let rows = self.rows.keys().filter(|(of, device)| *of == leg && device.shard() == shard).count();
        let fresh = open.iter().filter(|(device, _)| !self.rows.contains_key(&(leg, device.clone()))).count();
        self.dispatched.insert((leg, shard), (rows + fresh) as u64);
        for (device, attempt) in open {
            self.send(device, attempt);
        }
    }

    /// As a worker does: judge the message by the records, never by itself.
    fn deliver(&mut self, (leg, device, attempt): (Leg, DeviceId, u32)) {
        if !self.job.takes_device_work(leg) {
            return;
        }
        match self.rows.get(&(leg, device.clone())) {
            None if attempt == 1 => {}
            Some(Row::Waiting(open)) if *open == attempt => {}
            _ => return,
        }
        let row = if self.broken.contains(&device) {
            Row::Failed(attempt)
        } else {
            if leg == Leg::Distribute {
                self.holding.insert(device.clone())
            } else {
                self.holding.remove(&device)
            };
            Row::Acked
        };
        self.rows.insert((leg, device), row);
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Wake => self.wake(u32::MAX),
            Event::WakeAndDie(steps) => {
                for _ in 0..*steps {
                    if !self.step(false) {
                        return;
                    }
                }
                self.step(true);
            }
            Event::Deliver { which, doubled } if !self.messages.is_empty() => {
                let message = self.messages.swap_remove(usize::from(*which) % self.messages.len());
                self.deliver(message.clone());
                if *doubled {
                    self.deliver(message);
                }
            }
            Event::Deliver { .. } => {}
            Event::LoseAllMessages => self.messages.clear(),
            Event::Join(number) => {
                self.fleet.insert(device(*number));
            }
            Event::MendAll => self.broken.clear(),
            Event::Pause => self.command(Command::Pause),
            Event::Resume => self.command(Command::Resume),
            Event::Retry(choice) => _ = self.retry(choice),
            Event::Abort => self.command(Command::Abort),
            Event::WaiveAll => {
                for ((_, _), row) in &mut self.rows {
                    if matches!(row, Row::Failed(_)) {
                        *row = Row::Waived;
                    }
                }
            }
            Event::Minutes(minutes) => self.now += Duration::minutes((*minutes).into()),
        }
    }

    fn command(&mut self, command: Command) {
        if let Ok(job) = self.job.clone().command(command, self.now) {
            self.job = job;
            if command == Command::Resume {
                let leg = self.job.leg();
                self.asked_for.extend((0..120).map(|number| (leg, device(number))));
            }
        }
    }

    fn wake(&mut self, most: u32) {
        for _ in 0..most.min(10_000) {
            if !self.step(false) {
                return;
            }
        }
        panic!("the conductor does not rest: {:?}", self.job);
    }

    /// Everything is mended, and everybody does his part: how does it end? `choices`: what of the failed devices is
    /// tried again each time; where they choose nothing, or are at their end, everything.
    fn settle(&mut self, choices: &[Choice]) -> JobOutcome {
        self.broken.clear();
        for round in 0..200 {
            if let Some(outcome) = self.job.outcome {
                return outcome;
            }
            if !choices.get(round).is_some_and(|choice| self.retry(choice)) {
                self.command(Command::Resume);
            }
            self.wake(u32::MAX);
            while let Some(message) = self.messages.pop() {
                self.deliver(message);
            }
            self.now += STALL + Duration::minutes(1);
        }
        panic!("the job does not end: {:?} {:?}", self.job, self.tally());
    }

    fn check(&self) {
        let tally = self.tally();
        assert!(tally.settled() <= tally.dispatched, "more settled than sent: {tally:?}");
        assert!(!self.sent_while_paused, "a job that does not run sends nothing");
        if let Some((fleet, holding)) = &self.activated_with
            && self.job.activation == Activation::Proven
        {
            for device in fleet {
                let waived = self.rows.get(&(Leg::Distribute, device.clone())) == Some(&Row::Waived);
                assert!(holding.contains(device) || waived, "{device} does not hold the root that signs");
            }
        }
    }
}

fn in_shard(task: &TaskRecord, shard: u8) -> bool {
    named(task).shard() == shard
}

fn named(task: &TaskRecord) -> DeviceId {
    task.device.parse().unwrap()
}

fn choice() -> impl Strategy<Value = Choice> {
    let filter = || prop::option::weighted(0.4, any::<u8>());
    (filter(), filter(), filter()).prop_map(|(class, wave, devices)| Choice { class, wave, devices })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => Just(Event::Wake),
        2 => (0u8..12).prop_map(Event::WakeAndDie),
        12 => (any::<u8>(), any::<bool>()).prop_map(|(which, doubled)| Event::Deliver { which, doubled }),
        1 => Just(Event::LoseAllMessages),
        1 => (100u8..120).prop_map(Event::Join),
        1 => Just(Event::MendAll),
        1 => Just(Event::Pause),
        2 => Just(Event::Resume),
        3 => choice().prop_map(Event::Retry),
        1 => Just(Event::WaiveAll),
        1 => Just(Event::Abort),
        2 => (0u8..40).prop_map(Event::Minutes),
    ];
    prop::collection::vec(event, 0..120)
}

fn worlds() -> impl Strategy<Value = World> {
    let rollout =
        (1u64..6, 1u64..4, 0u8..=100, 0u64..30, 0u32..120).prop_map(|(canary, growth, budget, minimum, pause)| {
            Rollout {
                canary,
                growth,
                largest_wave: 20,
                wave_pause: pause,
                error_budget: budget,
                error_budget_minimum: minimum,
            }
        });
    let activation = prop_oneof![4 => Just(Activation::Proven), 1 => Just(Activation::Immediate)];
    (0u8..40, prop::collection::btree_set(0u8..40, 0..6), activation, rollout)
        .prop_map(|(devices, broken, activation, rollout)| World::new(devices, broken, activation, rollout))
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} devices, broken {:?}, {:?}", self.fleet.len(), self.broken, self.job.rollout)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_root_signs_before_every_device_holds_it_or_is_waived(mut world in worlds(), events in events()) {
        for event in &events {
            world.happen(event);
            world.check();
        }
        let outcome = world.settle(&[]);
        world.check();
        if world.job.activation == Activation::Proven {
            prop_assert_ne!(outcome, JobOutcome::ActivatedWithFailures);
        }
        if outcome == JobOutcome::Aborted {
            // A device that was waived while the root was withdrawn is the operator's own.
            for device in &world.holding {
                let waived = world.rows.get(&(Leg::Withdraw, device.clone())) == Some(&Row::Waived);
                prop_assert!(waived, "{} still holds the withdrawn root", device);
            }
            prop_assert!(world.activated_with.is_none());
        }
    }

    #[test]
    fn a_wave_begins_only_within_the_error_budget(mut world in worlds(), events in events()) {
        for event in &events {
            let before = (world.job.wave.as_ref().map(|wave| wave.number), world.tally());
            let reopened = !world.job.reopen.is_nothing();
            world.happen(event);
            let opened = world.job.wave.as_ref().filter(|wave| Some(wave.number) > before.0 && !wave.survey);
            if let (Some(wave), JobState::Running, Phase::Distribute) = (opened, world.job.state, world.job.phase) {
                let tally = world.tally();
                let judged = !reopened && wave.dispatched == 0 && tally.settled() == before.1.settled();
                prop_assert!(!judged || !world.job.rollout.is_exceeded(tally.failed, tally.settled()), "{:?}", tally);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn piece_by_piece_a_job_comes_to_the_same_end_as_at_once(
        mut world in worlds(),
        events in events(),
        choices in prop::collection::vec(choice(), 0..30),
    ) {
        // A root that signs already has its job end whoever failed.
        world.job.activation = Activation::Proven;
        events.iter().for_each(|event| world.happen(event));
        let mut other = world.clone();
        prop_assert_eq!(world.settle(&choices), other.settle(&[]));
        world.check();
        prop_assert_eq!((world.holding, world.fleet), (other.holding, other.fleet));
    }

    /// Without crashes, and without a pause, which makes workers let their messages go.
    #[test]
    fn a_retry_doubles_no_message_that_is_on_its_way(
        broken in prop::collection::btree_set(0u8..30, 0..20),
        events in prop::collection::vec(prop_oneof![
            4 => Just(Event::Wake),
            8 => any::<u8>().prop_map(|which| Event::Deliver { which, doubled: false }),
            3 => choice().prop_map(Event::Retry),
            1 => Just(Event::MendAll),
        ], 0..150),
    ) {
        let rollout = Rollout { error_budget: 100, ..Rollout::default() };
        let mut world = World::new(30, broken, Activation::Proven, rollout);
        for event in &events {
            world.happen(event);
            let messages: BTreeSet<_> = world.messages.iter().collect();
            prop_assert_eq!(messages.len(), world.messages.len());
        }
    }
}

/// Nine of ten canaries failed; three of them are mended and tried again.
#[test]
fn a_paused_job_waits_for_what_is_tried_again_though_others_stay_failed() {
    let rollout = Rollout { canary: 10, error_budget_minimum: 10, ..Rollout::default() };
    let mut world = World::new(30, (0..29).collect(), Activation::Proven, rollout);
    let run = |world: &mut World| {
        world.wake(u32::MAX);
        let some = world.messages.pop();
        some.into_iter().for_each(|message| world.deliver(message));
        world.messages.len()
    };
    while run(&mut world) > 0 || world.job.state == JobState::Running {}
    let failed: BTreeSet<DeviceId> =
        world.tasks(Leg::Distribute).filter(|task| task.state == TaskState::Failed).map(|task| named(&task)).collect();
    let mended: BTreeSet<DeviceId> = failed.iter().take(3).cloned().collect();
    world.broken.retain(|device| !mended.contains(device));
    let selection = Selection { devices: mended.clone(), ..Selection::everything(world.now) };
    let leg = Leg::Distribute;
    world.asked_for.extend(mended.iter().map(|device| (leg, device.clone())));
    // From now on it would be judged with these three still open.
    world.job.rollout.error_budget_minimum = 5;
    world.job = world.job.retry(selection, world.now).unwrap();
    world.wake(u32::MAX);
    assert_eq!(world.job.state, JobState::Running, "{}", world.job.reason);
    while run(&mut world) > 0 || world.job.state == JobState::Running {}
    assert!(mended.iter().all(|device| world.rows[&(leg, device.clone())] == Row::Acked));
    let left = failed.difference(&mended).all(|device| world.rows[&(leg, device.clone())] == Row::Failed(1));
    assert!(left && world.job.reason.starts_with("Paused"), "{:?} {}", world.rows, world.job.reason);
}

/// Its place was paged in the first wave.
#[test]
fn a_device_that_joined_is_of_the_surveys_wave() {
    let mut world = World::new(3, BTreeSet::from([100]), Activation::Proven, Rollout::default());
    for step in 0..3 {
        world.wake(u32::MAX);
        if step == 0 {
            world.happen(&Event::Join(100));
        }
        while let Some(message) = world.messages.pop() {
            world.deliver(message);
        }
    }
    assert_eq!((world.job.state, world.tally().failed), (JobState::Paused, 1));
    assert!(world.job.wave.as_ref().is_some_and(|wave| wave.survey && wave.number == 2));
    let wave = |number: u8| Choice { wave: Some(number - 1), ..Choice::default() };
    assert!(!world.retry(&wave(1)));
    assert!(world.retry(&wave(2)));
}

#[test]
fn waves_grow_from_the_canary_to_the_largest() {
    let sizes: Vec<u64> = (1..=6).map(|number| Rollout::default().wave_size(number)).collect();
    assert_eq!(sizes, [5, 50, 500, 5000, 10_000, 10_000]);
}

#[test]
fn a_canary_that_fails_stops_the_job_before_the_second_wave() {
    let rollout = Rollout { canary: 3, error_budget: 10, error_budget_minimum: 20, ..Rollout::default() };
    let mut world = World::new(30, (0..30).collect(), Activation::Proven, rollout);
    world.wake(u32::MAX);
    while let Some(message) = world.messages.pop() {
        world.deliver(message);
    }
    world.wake(u32::MAX);
    assert_eq!((world.job.state, world.tally().dispatched), (JobState::Paused, 3));
    assert!(world.job.reason.contains("3 of 3 devices failed"), "{}", world.job.reason);
}

#[test]
fn what_never_comes_back_is_sent_three_more_times_and_then_counts_as_failed() {
    let mut world = World::new(2, BTreeSet::new(), Activation::Proven, Rollout::default());
    let mut sent = 0;
    for _ in 0..6 {
        world.wake(u32::MAX);
        sent += world.messages.len();
        world.messages.clear();
        world.now += STALL;
    }
    assert_eq!((sent, world.job.state, world.tally().failed), (2 * 4, JobState::Paused, 2));
}
