//! What may happen to it.

use proptest::prelude::*;
use rootcast_core::device::DeviceId;
use rootcast_core::job::{Activation, Command, JobOutcome, Leg};
use rootcast_core::rollout::Rollout;
use time::Duration;

use super::{Row, STALL, World, device};

#[derive(Debug, Clone)]
pub(crate) enum Event {
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
pub(crate) struct Choice {
    pub class: Option<u8>,
    pub wave: Option<u8>,
    pub devices: Option<u8>,
}

impl World {
    /// As a worker does: judge the message by the records, never by itself.
    pub(crate) fn deliver(&mut self, (leg, device, attempt): (Leg, DeviceId, u32)) {
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

    pub(crate) fn command(&mut self, command: Command) {
        if let Ok(job) = self.job.clone().command(command, self.now) {
            self.job = job;
            if command == Command::Resume {
                let leg = self.job.leg();
                self.asked_for.extend((0..120).map(|number| (leg, device(number))));
            }
        }
    }

    pub(crate) fn wake(&mut self, most: u32) {
        for _ in 0..most.min(10_000) {
            if !self.step(false) {
                return;
            }
        }
        panic!("the conductor does not rest: {:?}", self.job);
    }

    /// Everything is mended, and everybody does his part: how does it end? `choices`: what of the failed devices is
    /// tried again each time; where they choose nothing, or are at their end, everything.
    pub(crate) fn settle(&mut self, choices: &[Choice]) -> JobOutcome {
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

    pub(crate) fn check(&self) {
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

pub(crate) fn choice() -> impl Strategy<Value = Choice> {
    let filter = || prop::option::weighted(0.4, any::<u8>());
    (filter(), filter(), filter()).prop_map(|(class, wave, devices)| Choice { class, wave, devices })
}

pub(crate) fn events() -> impl Strategy<Value = Vec<Event>> {
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

pub(crate) fn worlds() -> impl Strategy<Value = World> {
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
