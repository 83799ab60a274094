//! The conductor's steps. It may die in any of them.

use std::collections::BTreeSet;

use rootcast_core::device::{DeviceId, SHARDS};
use rootcast_core::job::task::{TaskRecord, TaskState};
use rootcast_core::job::{Activation, Cursor, Front, InUse, JobOutcome, JobState, Pass, Taken};
use rootcast_core::rollover::plan::{Action, plan};
use rootcast_core::rollover::survey::{Deed, Finding, Purpose, find};
use rootcast_core::rollover::windows::Turn;
use time::OffsetDateTime;

use super::{PAGE, STALL, World, in_shard};

impl World {
    /// One step. `die`: the conductor dies between its record and its messages.
    pub(crate) fn step(&mut self, die: bool) -> bool {
        let tally = self.tally();
        let step = plan(&self.job, &tally, self.now, STALL);
        assert_eq!(step, plan(&self.job, &tally, self.now, STALL), "asked twice, it says the same");
        let (now, pass) = (self.now, self.job.pass());
        match step.action {
            Action::AwaitWindow { .. } if self.job.note_labelled(self.labelled) => {}
            Action::Wait { .. } | Action::AwaitWindow { .. } => {
                self.job.note_progress(&tally, now);
                return false;
            }
            Action::NextLap => self.job.next_lap(&tally),
            Action::Distribute => self.job.distribute(now),
            Action::HoldDown => self.job.hold_down(now),
            Action::ReadSample => self.job.read_sample(now),
            Action::Reissue => self.job.reissue(now),
            Action::GoOnAlone => self.job.go_on_alone(self.job.bundle_version, now),
            Action::OpenWave { number, size } => {
                self.over_budget = self.over_budget.take().or_else(|| self.is_over_budget(&tally));
                self.job.open_wave(number, size, &tally, now);
            }
            Action::Begin(Purpose::Survey) => self.job.begin_survey(self.revisions.clone(), &tally, now),
            Action::Begin(Purpose::Resend) => self.job.begin_resend(now),
            Action::Begin(Purpose::GiveUp) => self.job.begin_giving_up(now),
            Action::Sweep => self.sweep(die),
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
            // The write is conditional on the revisions that the survey noted.
            Action::Activate | Action::NoteWithdrawn | Action::Distrust | Action::Retire | Action::Settle(_)
                if self.job.forget_changed(&self.revisions, self.labelled) => {}
            Action::Distrust => self.job.distrust(4, now),
            Action::Retire => {
                self.unproven = Some(self.without_proof());
                self.job.retire();
            }
            Action::Activate => {
                self.unproven = Some(self.without_proof());
                self.job.activate(now);
            }
            Action::NoteWithdrawn => {
                self.unproven = Some(self.without_proof());
                self.job.note_withdrawn(now);
            }
            Action::RollBack => self.job.end(JobOutcome::RolledBack, &step.why),
            Action::Settle(outcome) => {
                self.unproven = Some(self.without_proof());
                self.job.end(outcome, &step.why);
            }
            Action::Compare => unreachable!("no world has a preflight before its rollover"),
            Action::Report => self.report(),
            Action::End(outcome) => self.job.end(outcome, &step.why),
        }
        if self.job.pass() != pass {
            self.went_on = now;
        }
        self.job.state == JobState::Running
    }

    /// Counts all results at once.
    fn report(&mut self) {
        let Some(preflight) = &mut self.job.preflight else { return };
        for (device, version) in &self.fleet {
            preflight.report.count(device, *version, self.rows.get(&(Pass::Preflight, device.clone())));
        }
        preflight.note_stranded(InUse::default());
    }

    /// Pages like the conductor: in all shards at once, only devices of this lap without a row, or with a postponed one.
    pub(crate) fn dispatch(&mut self, at_most: u64, die: bool) {
        let (pass, job) = (self.job.pass(), self.job.id);
        let (mut front, bound) = (self.job.cursor.clone(), self.job.bound.clone());
        let (mut due, mut held) = (Vec::new(), Vec::new());
        for step in self.job.open_steps() {
            let mut page = self.in_shard(Front::shard(job, step));
            page.retain(|device| {
                !front.is_past(job, device) && bound.as_ref().is_none_or(|bound| bound.is_past(job, device))
            });
            let mut rank = 0;
            for device in page {
                let state = self.state(pass, &device);
                match self.turn(&device) {
                    _ if !self.job.is_in_lap(self.member(&device)) => {}
                    _ if state.is_some_and(|state| state != TaskState::Postponed) => {}
                    Turn::Open => {
                        due.push((rank, step, device));
                        rank += 1;
                    }
                    closed => held.push((step, device, closed)),
                }
            }
        }
        due.sort();
        let left = due.split_off(due.len().min(usize::try_from(at_most).unwrap_or(usize::MAX)));
        for step in self.job.open_steps() {
            let of = |(_, at, _): &&(u32, u8, DeviceId)| *at == step;
            match (left.iter().find(of), due.iter().rfind(of)) {
                (None, _) => front.set(step, bound.as_ref().map_or(Taken::All, |bound| bound.at(step).clone())),
                (Some(_), Some((.., last))) => front.set(step, Taken::UpTo(last.clone())),
                (Some(_), None) => {}
            }
        }
        let due: Vec<DeviceId> = due.into_iter().map(|(.., device)| device).collect();
        let before = held.into_iter().filter(|(_, device, _)| front.is_past(job, device));
        before.for_each(|(.., turn)| self.job.lap.held.add(turn));
        let over = self.job.rollout.is_exceeded(self.tally().failed, self.tally().with_result());
        let judged = self.tally().with_result() >= self.job.rollout.error_budget_minimum;
        assert!(!(over && judged) || self.job.preflight.is_some(), "nobody new is sent while too many failed");
        self.in_order &= due.iter().all(|device| self.is_its_turn(device));
        let wave = self.job.wave.as_ref().unwrap().number;
        self.wave_of.extend(due.iter().map(|device| ((pass, device.clone()), wave)));
        let fresh: Vec<&DeviceId> = due.iter().filter(|device| self.state(pass, device).is_none()).collect();
        let postponed = (due.len() - fresh.len()) as u64;
        self.job.take_page(front, fresh, postponed);
        self.send_due(due, die);
        if !die {
            self.job.sending = None;
        }
    }

    /// If the conductor dies, it has reopened some.
    fn send_due(&mut self, due: Vec<DeviceId>, die: bool) {
        let pass = self.job.pass();
        let done = if die { due.len() / 2 } else { due.len() };
        for device in due.into_iter().take(done) {
            let attempt = match self.state(pass, &device) {
                Some(_) => self.open(&device, self.now),
                None => 1,
            };
            if !die {
                self.send(device, attempt);
            }
        }
    }

    /// Whether every device that comes before it in order was sent to.
    fn is_its_turn(&self, device: &DeviceId) -> bool {
        let group = |device: &DeviceId| self.job.rollout.group(&self.labels[device]);
        let waits = |other: &&DeviceId| group(other) < group(device) && self.during(other).is_none();
        let pass = self.job.pass();
        pass == Pass::Withdraw || self.fleet.keys().filter(waits).all(|other| self.state(pass, other).is_some())
    }

    /// Reopens like the conductor: shard by shard, recording first and sending then. If it dies, it dies in the middle
    /// of the last record.
    pub(crate) fn reopen(&mut self, die: bool) {
        let (pass, id) = (self.job.pass(), self.job.id);
        let sends = !self.job.begins_to_resend();
        let selection = self.job.reopen.selection().cloned();
        let at = selection.as_ref().map_or(self.now, |selection| selection.asked);
        let shards = selection.map_or(0, |selection| selection.shards_done)..SHARDS;
        let fails = |shard| self.tasks(pass).any(|task| in_shard(&task, shard) && self.job.reopen.opens(id, &task));
        let dies_at = shards.clone().rev().find(|shard| die && fails(*shard));
        for shard in shards {
            let tasks: Vec<TaskRecord> = self.tasks(pass).filter(|task| in_shard(task, shard)).collect();
            let (failed, open) = (
                |task: &&TaskRecord| self.job.reopen.opens(id, task),
                |task: &&TaskRecord| self.job.reopen.has_opened(id, task),
            );
            let failed: Vec<_> =
                tasks.iter().filter(failed).map(|task| (task.device.clone(), task.attempt + 1)).collect();
            let mut sent: Vec<_> = tasks.iter().filter(open).map(|task| (task.device.clone(), task.attempt)).collect();
            let recorded = if dies_at == Some(shard) { failed.len() / 2 } else { failed.len() };
            for (device, _) in &failed[..recorded] {
                assert!(self.asked_for.contains(&(pass, device.clone())), "nobody asked for {device}");
                assert!(
                    self.opened.insert((pass, device.clone(), at)),
                    "{device} is tried again twice for one request"
                );
                self.open(device, at);
            }
            if dies_at == Some(shard) {
                return;
            }
            sent.extend(failed);
            if !sent.is_empty() {
                if sends {
                    sent.into_iter().for_each(|(device, attempt)| self.send(device, attempt));
                }
                self.job.reopen.note_page(shard, None);
            }
        }
        self.job.note_reopened(self.tally().failed, self.now);
    }

    /// Reopens the task with its next attempt.
    fn open(&mut self, device: &DeviceId, at: OffsetDateTime) -> u32 {
        let task = self.rows.get_mut(&(self.job.pass(), device.clone())).unwrap();
        (task.state, task.attempt, task.at) = (TaskState::Waiting, task.attempt + 1, at);
        task.attempt
    }

    /// Devices of the page without a result may not have been sent.
    pub(crate) fn finish_sending(&mut self) {
        let sending = self.job.sending.take().unwrap();
        let pass = self.job.pass();
        let (from, to, id) = (sending.from, self.job.cursor.clone(), self.job.id);
        let in_page: Vec<DeviceId> = self
            .fleet
            .keys()
            .filter(|device| to.is_past(id, device) && !from.is_past(id, device))
            .filter(|device| self.job.bound.as_ref().is_none_or(|bound| bound.is_past(id, device)))
            .cloned()
            .collect();
        let is_waiting = |device: &&DeviceId| self.state(pass, device) == Some(TaskState::Waiting);
        let waiting: Vec<DeviceId> = in_page.iter().filter(is_waiting).cloned().collect();
        let due = in_page.into_iter().filter(|device| {
            let state = self.state(pass, device);
            self.job.is_in_lap(self.member(device))
                && self.turn(device).is_open()
                && state.is_none_or(|state| state == TaskState::Postponed)
        });
        let due = due.collect();
        self.send_due(due, false);
        let selective = self.job.rollout.is_selective();
        for device in waiting.into_iter().filter(|_| selective) {
            let attempt = self.rows[&(pass, device.clone())].attempt;
            self.send(device, attempt);
        }
    }

    /// One page of the current sweep. `die`: half of its results are recorded, and nothing is sent.
    fn sweep(&mut self, die: bool) {
        let (pass, sweep) = (self.job.pass(), self.job.sweep.clone().unwrap());
        if self.job.is_sweep_over() {
            return self.job.end_sweep();
        }
        let shard = sweep.at.shard(self.job.id);
        let known = self.rows.keys().filter(|(of, _)| *of == pass).map(|(_, device)| device);
        let mut page: BTreeSet<DeviceId> = self.fleet.keys().chain(known).cloned().collect();
        let reads = |device: &DeviceId| match self.job.sweeps() {
            Taken::Nothing => false,
            Taken::UpTo(last) => device <= last,
            Taken::All => true,
        };
        page.retain(|device| {
            device.shard() == shard && sweep.at.after.as_ref().is_none_or(|after| device > after) && reads(device)
        });
        let is_last = page.len() <= PAGE;
        let page: Vec<DeviceId> = page.into_iter().take(PAGE).collect();
        let to = match page.last() {
            Some(last) if !is_last => Cursor { step: sweep.at.step, after: Some(last.clone()) },
            _ => sweep.at.next_shard(),
        };
        let demand = self.job.demand_of_sweep(self.now);
        let found: Vec<(DeviceId, Finding)> = page
            .into_iter()
            .filter(|device| {
                let known = self.rows.contains_key(&(pass, device.clone()));
                known || (self.fleet.contains_key(device) && self.job.concerns(self.member(device)))
            })
            .map(|device| {
                let task = self.rows.get(&(pass, device.clone()));
                let version = self.fleet.get(&device).copied();
                let turn = version.map_or(Turn::Open, |_| self.turn(&device));
                (device.clone(), find(version, task, demand, turn))
            })
            .collect();
        let states: Vec<Option<TaskState>> = found.iter().map(|(device, _)| self.state(pass, device)).collect();
        let deeds: Vec<_> =
            found.iter().filter_map(|(device, finding)| Some((device, sweep.purpose.deed(*finding)?))).collect();
        let done = if die { deeds.len() / 2 } else { deeds.len() };
        for (device, deed) in &deeds[..done] {
            let is_closed = self.fleet.contains_key(*device) && !self.turn(device).is_open();
            let deed = if is_closed || self.under_way.contains(*device) { deed.under_way() } else { *deed };
            if matches!(deed, Deed::Reopen) || !self.wave_of.contains_key(&(pass, (*device).clone())) {
                self.wave_of.insert((pass, (*device).clone()), self.job.wave_number());
            }
            match deed {
                Deed::Send { attempt } if !die => self.send((*device).clone(), attempt),
                Deed::Send { .. } => {}
                Deed::Reopen => {
                    let attempt = self.open(device, self.now);
                    if !die {
                        self.send((*device).clone(), attempt);
                    }
                }
                Deed::Lose { attempt } => self.record(pass, device, attempt, TaskState::Failed),
                Deed::Skip { attempt } => self.record(pass, device, attempt, TaskState::Skipped),
            }
        }
        if die && !deeds.is_empty() {
            return;
        }
        // As it was before the deeds.
        let found = found.into_iter().zip(states).map(|((_, finding), state)| (finding, state));
        self.job.note_page(to, found);
    }
}
