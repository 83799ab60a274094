//! The events of the model.

use proptest::prelude::*;
use rootcast_core::device::DeviceId;
use rootcast_core::device::labels::Selector;
use rootcast_core::job::task::{Probe, TaskState};
use rootcast_core::job::{Activation, Command, Continued, Job, JobOutcome, JobState, Pass, Phase};
use rootcast_core::rollover::plan::plan;
use rootcast_core::rollover::rollout::Rollout;
use rootcast_core::rollover::windows::Window;
use serde_json::json;
use time::Duration;

use super::{STALL, World, device};

#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The conductor runs until it has nothing to do.
    Wake,
    /// The conductor dies after this many steps, in the middle of the last one.
    WakeAndDie(u8),
    /// Delivers a waiting message, or twice if it is doubled.
    Deliver {
        which: u8,
        doubled: bool,
    },
    /// A worker brings another bundle than the job's.
    Misdeliver(u8),
    LoseAllMessages,
    Join(u8),
    /// The device is deleted, or its approval is revoked.
    Delete(u8),
    /// The id is enrolled again, for another device.
    EnrolAgain(u8),
    /// The device is edited, for example its address.
    Edit(u8),
    /// A device is deleted, and enrolled under another id or the same one.
    Rename(u8, u8),
    /// The device moves to another site.
    Relabel(u8, u8),
    /// The device is reset, and loses its trust anchors.
    Forget(u8),
    MendAll,
    Pause,
    Resume,
    Retry(Choice),
    WaiveAll,
    Abort,
    RollBack,
    Continue(u8),
    Minutes(u8),
}

/// Which failed devices to retry: for each filter, a number that the filter interprets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choice {
    pub class: Option<u8>,
    pub wave: Option<u8>,
    pub devices: Option<u8>,
}

impl World {
    pub(crate) fn deliver(&mut self, message: (Pass, DeviceId, u32)) {
        self.visit(message, self.job.bundle_version);
    }

    /// Like a worker: judges the message by the records, never by its contents.
    fn visit(&mut self, (pass, device, attempt): (Pass, DeviceId, u32), bundle_version: u64) {
        if !self.job.takes_device_work(pass) {
            return;
        }
        match self.rows.get(&(pass, device.clone())) {
            None if attempt == 1 => {}
            Some(task) if task.state == TaskState::Waiting && task.attempt == attempt => {}
            _ => return,
        }
        let state = match self.fleet.contains_key(&device) {
            false => TaskState::Skipped,
            true if !self.turn(&device).is_open() => TaskState::Postponed,
            true if self.broken.contains(&device) => TaskState::Failed,
            true => TaskState::Acked,
        };
        let proved = self.rows.get(&(pass, device.clone())).and_then(|task| task.ack.clone());
        let proved = proved.is_some_and(|ack| {
            Some(&ack.of) == self.fleet.get(&device) && ack.bundle_version == self.job.bundle_version
        });
        let restores = pass == Pass::Distribute && proved && !self.holding.contains(&device);
        if state == TaskState::Acked && bundle_version == self.job.bundle_version {
            match pass {
                Pass::Distribute => _ = self.holding.insert(device.clone()),
                Pass::Withdraw => _ = self.holding.remove(&device),
                Pass::Distrust | Pass::Install | Pass::Join | Pass::Preflight | Pass::Probe => {}
            }
            self.proved.insert((pass, device.clone()), self.now);
        }
        self.record(pass, &device, attempt, state);
        if let Some(ack) = self.rows.get_mut(&(pass, device)).and_then(|task| task.ack.as_mut()) {
            ack.bundle_version = bundle_version;
            ack.probe = if restores { Probe::Restored } else { Probe::ReadBack };
        }
    }

    pub(crate) fn happen(&mut self, event: &Event) {
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
            Event::Misdeliver(which) if !self.messages.is_empty() => {
                let message = self.messages.swap_remove(usize::from(*which) % self.messages.len());
                self.visit(message, self.job.bundle_version - 1);
            }
            Event::Deliver { .. } | Event::Misdeliver(_) => {}
            Event::LoseAllMessages => self.messages.clear(),
            Event::Join(number) | Event::EnrolAgain(number) => self.enrol(&device(*number)),
            Event::Delete(number) => {
                self.holding.remove(&device(*number));
                self.change(&device(*number), None);
            }
            Event::Edit(number) => {
                let id = device(*number);
                if let Some(mut version) = self.fleet.get(&id).copied() {
                    version.endpoint_revision += 1;
                    self.change(&id, Some(version));
                }
            }
            Event::Rename(from, to) if self.job.withdrawn.is_none() => {
                let (from, to) = (device(*from), device(*to));
                let holds = self.holding.remove(&from);
                self.change(&from, None);
                self.enrol(&to);
                self.holding.extend(holds.then_some(to));
            }
            // After the withdrawal is complete, no device is read any more.
            Event::Rename(..) => {}
            Event::Relabel(number, site) => {
                self.labels.insert(device(*number), super::site(*site));
                self.labelled += 1;
                self.relabelled.insert(device(*number));
            }
            Event::Forget(number) => _ = self.holding.remove(&device(*number)),
            Event::MendAll => self.broken.clear(),
            Event::Pause => self.command(Command::Pause),
            Event::Resume => self.command(Command::Resume),
            Event::Retry(choice) => _ = self.retry(choice),
            Event::Abort => self.command(Command::Abort),
            Event::RollBack => self.command(Command::RollBack),
            Event::Continue(until) => {
                self.command(Command::Continue { until: Phase::STOPS[usize::from(*until) % Phase::STOPS.len()] });
            }
            Event::WaiveAll => {
                let pass = self.job.pass();
                for ((of, device), task) in &mut self.rows {
                    if *of == pass && task.state == TaskState::Failed {
                        (task.state, task.of) = (TaskState::Waived, self.fleet.get(device).copied());
                    }
                }
            }
            Event::Minutes(minutes) => self.now += Duration::minutes((*minutes).into()),
        }
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.now += Duration::SECOND;
        if let Ok(job) = self.job.clone().command(command, self.now) {
            self.go_on_as(job);
            // A job that had ended and goes on tries again what failed.
            if command == Command::Resume || self.job.continued == Some(Continued::Asked) {
                let pass = self.job.pass();
                self.asked_for.extend((0..120).map(|number| (pass, device(number))));
            }
        }
    }

    /// After a command.
    pub(crate) fn go_on_as(&mut self, job: Job) {
        if self.job.state != JobState::Running && job.state == JobState::Running {
            self.went_on = self.now;
        }
        self.job = job;
    }

    pub(crate) fn wake(&mut self, most: u32) {
        for _ in 0..most.min(10_000) {
            if !self.step(false) {
                return;
            }
        }
        panic!("the conductor does not rest: {:?}", self.job);
    }

    /// All causes are fixed, and everyone does their part: returns the outcome. `choices`: which failed devices are
    /// retried each time; if they select nothing, or are used up, all of them.
    ///
    /// Waves of one device, each in the few hours that a site's window is open, and then a withdrawal in the same waves,
    /// take weeks.
    pub(crate) fn settle(&mut self, choices: &[Choice]) -> JobOutcome {
        self.broken.clear();
        let latest = self.now + Duration::days(200);
        for round in 0.. {
            if self.now > latest {
                break;
            }
            if let Some(outcome) = self.job.outcome {
                return outcome;
            }
            // It may have stopped before its root signs.
            self.command(Command::Continue { until: Phase::Activate });
            if !choices.get(round).is_some_and(|choice| self.retry(choice)) {
                self.command(Command::Resume);
            }
            self.wake(u32::MAX);
            while let Some(message) = self.messages.pop() {
                self.deliver(message);
            }
            self.now += STALL + Duration::minutes(1);
        }
        let step = plan(&self.job, &self.tally(), self.now, STALL);
        panic!("the job does not end: {step:?} {:?} {:?} {:?}", self.job.survey.total(), self.tally(), self.rows);
    }

    /// Without an operator: until the job stops or ends by itself.
    pub(crate) fn run_calmly(&mut self) -> bool {
        for _ in 0..9000 {
            self.wake(u32::MAX);
            if self.job.state != JobState::Running {
                // At the end of the phase at which it was to stop, if it was to.
                return self.job.outcome.is_some() || self.job.until <= self.job.phase;
            }
            while let Some(message) = self.messages.pop() {
                self.deliver(message);
            }
            self.now += Duration::minutes(5);
        }
        false
    }

    pub(crate) fn check(&self) {
        assert!(!self.sent_while_paused, "a job that does not run sends nothing");
        if let Some(unproven) = &self.unproven {
            assert!(unproven.is_empty(), "the gate was passed without a proof of {unproven:?}");
        }
    }
}

pub(crate) fn choice() -> impl Strategy<Value = Choice> {
    let filter = || prop::option::weighted(0.4, any::<u8>());
    (filter(), filter(), filter()).prop_map(|(class, wave, devices)| Choice { class, wave, devices })
}

pub(crate) fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => Just(Event::Wake),
        2 => (0u8..12).prop_map(Event::WakeAndDie),
        12 => (any::<u8>(), any::<bool>()).prop_map(|(which, doubled)| Event::Deliver { which, doubled }),
        1 => any::<u8>().prop_map(Event::Misdeliver),
        1 => Just(Event::LoseAllMessages),
        1 => (100u8..120).prop_map(Event::Join),
        1 => (0u8..40).prop_map(Event::Delete),
        1 => (0u8..40).prop_map(Event::EnrolAgain),
        1 => (0u8..40).prop_map(Event::Edit),
        1 => (0u8..40, 0u8..120).prop_map(|(from, to)| Event::Rename(from, to)),
        1 => (0u8..40).prop_map(Event::Forget),
        1 => (0u8..40, 0u8..3).prop_map(|(number, site)| Event::Relabel(number, site)),
        1 => Just(Event::MendAll),
        1 => Just(Event::Pause),
        2 => Just(Event::Resume),
        3 => choice().prop_map(Event::Retry),
        1 => Just(Event::WaiveAll),
        1 => Just(Event::Abort),
        1 => Just(Event::RollBack),
        1 => any::<u8>().prop_map(Event::Continue),
        2 => (0u8..40).prop_map(Event::Minutes),
        1 => (200u8..).prop_map(Event::Minutes),
    ];
    prop::collection::vec(event, 0..120)
}

pub(crate) fn worlds() -> impl Strategy<Value = World> {
    let rollout = (
        1u64..6,
        1u64..4,
        0u8..=100,
        0u64..30,
        // Waves overlap only without a pause.
        prop_oneof![2 => Just(0), 1 => 0u32..120],
        prop_oneof![Just(0), 0u32..7200],
        prop_oneof![Just(100u8), 0u8..10],
    );
    let rollout = rollout.prop_map(|(canary, growth, budget, minimum, pause, hold_down, sample)| {
        Rollout {
            name: None,
            canary,
            growth,
            largest_wave: 20,
            wave_pause: pause,
            error_budget: budget,
            error_budget_minimum: minimum,
            // Within the few hours that the events of a world take.
            proof_age: 3600,
            hold_down,
            sample,
            windows: Vec::new(),
            order: Vec::new(),
        }
    });
    let activation = prop_oneof![4 => Just(Activation::Proven), 1 => Just(Activation::Immediate)];
    // The world begins on a Tuesday at 22:13 UTC, and its events take some hours.
    let windows = json!([
        { "where": "site=a", "from": "20:00", "to": "23:30", "zone": "UTC" },
        { "where": "site=a", "days": ["wed", "thu"], "from": "04:30", "to": "11:00", "zone": "Asia/Kathmandu" },
        { "where": "site=b", "from": "00:30", "to": "07:00", "zone": "Europe/Berlin" },
        { "where": "site=a", "days": ["tue", "wed", "thu", "fri"], "from": "01:00", "to": "05:00", "zone": "UTC" },
        { "where": "site=b", "days": ["sat", "sun"], "from": "22:00", "to": "04:00", "zone": "UTC" },
    ]);
    let windows: Vec<Window> = serde_json::from_value(windows).unwrap();
    let order: Vec<Selector> = ["site=b", "site=a"].map(|selector| selector.parse().unwrap()).to_vec();
    let some = (prop::sample::subsequence(windows, 0..=3), prop::sample::subsequence(order, 0..=2));
    let selective = prop_oneof![2 => Just((Vec::new(), Vec::new())), 3 => some];
    let rollout = (rollout, selective).prop_map(|(rollout, (windows, order))| Rollout { windows, order, ..rollout });
    (0u8..40, prop::collection::btree_set(0u8..40, 0..6), activation, rollout, 0..Phase::STOPS.len()).prop_map(
        |(devices, broken, activation, rollout, until)| {
            let mut world = World::new(devices, broken, activation, rollout);
            world.job.until = Phase::STOPS[until];
            world
        },
    )
}
