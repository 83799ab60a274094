//! One invocation's work. It has places for ten devices. What ends is recorded a little later, with what ends meanwhile; and
//! while others go on, the free places are filled again from the queue. So a device that hangs takes one place, not ten.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use rootcast_core::job::JobRecord;
use rootcast_core::job::backoff;
use rootcast_core::job::message::Task;
use rootcast_ledger::OpenTask;
use rootcast_queue::{Delivery, Returning};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::error;

use crate::attempt::{AfterVisit, Attempt};
use crate::goals::Goals;
use crate::{App, batch};

/// Devices at a time: as many as Lambda delivers at once (`BatchSize` in template.yaml).
const PLACES: usize = 10;
/// Ends are recorded together if they lie within what the first one's visit took, and within this time. So a batch of similar
/// devices takes one transaction, and the places are filled again ten at a time: whatever is done for ten devices at once costs
/// a tenth, and of the calls that give credentials, SSM takes 40 a second.
const LONGEST_GATHERING: Duration = Duration::from_secs(2);
/// Seconds until a message returns after a service failed; doubles each time.
pub(crate) const SOON: u32 = 5;

pub(crate) struct Shift<'a> {
    app: &'a Arc<App>,
    /// The invocation.
    owner: String,
    until: Instant,
    running: JoinSet<Attempt>,
    /// The same attempts, in case that one panics, and when each began.
    begun: HashMap<Id, (Attempt, Instant)>,
    ended: Vec<Attempt>,
    /// When those are recorded.
    due: Option<Instant>,
    /// Without a visit.
    done: Vec<(Delivery<Task>, AfterVisit)>,
    /// Lambda's messages that are not done yet. It deletes them when the invocation ends.
    delivered: BTreeSet<String>,
    staying: Vec<String>,
    /// Whether free places are to be filled again.
    takes_more: bool,
    is_queue_empty: bool,
}

impl<'a> Shift<'a> {
    pub(crate) fn new(app: &'a Arc<App>, owner: String, until: Instant) -> Self {
        Self {
            app,
            owner,
            until,
            running: JoinSet::new(),
            begun: HashMap::new(),
            ended: Vec::new(),
            due: None,
            done: Vec::new(),
            delivered: BTreeSet::new(),
            staying: Vec::new(),
            takes_more: false,
            is_queue_empty: false,
        }
    }

    /// Works on these messages, and on others of the queue as long as one of them is worked on. Returns the ids of those that
    /// Lambda must not delete.
    pub(crate) async fn work(mut self, deliveries: Vec<Delivery<Task>>) -> Vec<String> {
        self.delivered.extend(deliveries.iter().map(|delivery| delivery.message_id.clone()));
        self.begin(deliveries).await;
        loop {
            if self.running.is_empty() || self.due.is_some_and(|due| due <= Instant::now()) {
                self.record().await;
            }
            if self.running.is_empty() {
                return self.staying;
            }
            if self.takes_more {
                self.take().await;
                continue;
            }
            let due = self.due;
            tokio::select! {
                Some(ended) = self.running.join_next_with_id() => self.note_end(ended),
                () = sleep_until(due.unwrap_or(self.until)), if due.is_some() => {}
            }
        }
    }

    /// A device's whole time must be left.
    async fn take(&mut self) {
        self.takes_more = false;
        let free = PLACES.saturating_sub(self.running.len());
        if free == 0 || self.is_queue_empty || Instant::now() + self.app.device_timeout > self.until {
            return;
        }
        // If this worker dies, these come back when their devices' leases are over.
        let hidden = self.app.device_timeout + LEFT;
        let taken = self.app.queue.receive(&self.app.task_queue, free, hidden).await;
        self.is_queue_empty = taken.is_empty();
        if !taken.is_empty() {
            self.begin(taken).await;
        }
    }

    async fn begin(&mut self, deliveries: Vec<Delivery<Task>>) {
        let app = self.app;
        let (records, authority) = match app.records(&deliveries).await {
            Ok(read) => read,
            Err(error) => {
                error!(error = &error as &dyn Error, "the batch's jobs could not be read");
                return self.done.extend(deliveries.into_iter().map(|delivery| (delivery, AfterVisit::Soon)));
            }
        };
        let (open, dropped) = records.open(deliveries, |task, job, record| batch::judge(task, job, record, &authority));
        self.done.extend(dropped.into_iter().map(|delivery| (delivery, AfterVisit::Done)));
        let wanted: Vec<_> = open.iter().map(|task| (task.work, &task.message.body.device)).collect();
        let goals = app.goals(&wanted).await.unwrap_or_else(|error| {
            error!(error = &error as &dyn Error, "what the batch's devices need could not be read");
            Goals::default()
        });
        let mut attempts = Vec::new();
        let schedules = app.schedules(&records);
        for OpenTask { mut message, work, wave, history } in open {
            message.body.wave = wave;
            let schedule = schedules.get(&message.body.job).cloned().unwrap_or_default();
            let haste = records.jobs().get(&message.body.job).and_then(JobRecord::haste).cloned();
            match goals.of(work, &message.body) {
                Some(goal) => {
                    attempts.push(Attempt { haste, ..Attempt::new(message, goal, history, &self.owner, schedule) });
                }
                None => self.done.push((message, AfterVisit::Soon)),
            }
        }
        let attempts = app.lease_all(attempts).await;
        for attempt in app.with_credentials(attempts).await {
            self.visit(attempt);
        }
        if !(self.ended.is_empty() && self.done.is_empty()) {
            self.due.get_or_insert(Instant::now() + LONGEST_GATHERING);
        }
    }

    fn visit(&mut self, attempt: Attempt) {
        if !attempt.is_open() {
            return self.ended.push(attempt);
        }
        let (app, kept, now) = (Arc::clone(self.app), attempt.clone(), Instant::now());
        let deadline = self.until.min(now + app.device_timeout);
        let handle = self.running.spawn(async move { app.run(attempt, deadline).await });
        self.begun.insert(handle.id(), (kept, now));
    }

    /// A task that panics fails alone.
    fn note_end(&mut self, ended: Result<(Id, Attempt), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(broken) => broken.id(),
        };
        let Some((kept, begun)) = self.begun.remove(&id) else { return };
        let attempt = ended.map_or_else(
            |broken| {
                error!(error = &broken as &dyn Error, "task panicked");
                kept.broken((self.app.clock)())
            },
            |(_, attempt)| attempt,
        );
        self.ended.push(attempt);
        let now = Instant::now();
        let took = now - begun;
        self.due.get_or_insert(now + took.min(LONGEST_GATHERING));
        // Nobody waits for those that take twice as long.
        if self.begun.values().all(|(_, since)| now - *since > 2 * took) {
            self.due = Some(now);
        }
    }

    /// Records what ended. Its messages are done, too: at once if the invocation goes on, so that they do not come back if it
    /// dies; otherwise, Lambda deletes its own.
    async fn record(&mut self) {
        self.due = None;
        let recorded = self.app.record(std::mem::take(&mut self.ended)).await;
        let (mut gone, mut returning) = (HashMap::new(), Vec::new());
        for (delivery, next) in self.done.drain(..).chain(recorded) {
            gone.insert(delivery.message_id.clone(), delivery.receipt_handle.clone());
            returning.extend(returned(delivery, next, self.app.random));
        }
        let stay = self.app.queue.come_back(&self.app.task_queue, returning).await;
        for id in stay {
            gone.remove(&id);
            if self.delivered.remove(&id) {
                self.staying.push(id);
            }
        }
        let goes_on = !self.running.is_empty();
        gone.retain(|id, _| !self.delivered.remove(id) || goes_on);
        self.app.queue.delete(&self.app.task_queue, gone.into_values().collect()).await;
        self.takes_more = true;
    }
}

/// Beyond a device's time limit, as its lease.
const LEFT: Duration = Duration::from_secs(10);

/// `None` if the message is done.
fn returned(delivery: Delivery<Task>, next: AfterVisit, random: fn() -> u32) -> Option<Returning<Task>> {
    let seconds = match next {
        AfterVisit::Again { seconds } => seconds,
        AfterVisit::Soon => backoff::seconds(SOON, delivery.receives, random()),
        AfterVisit::Settle(_) | AfterVisit::Done | AfterVisit::PassOn => return None,
    };
    Some(Returning { changed: delivery.body.unrecorded.is_some(), delivery, seconds })
}
