//! Changes of jobs, roots, issuing authorities and devices, as events.
//!
//! Every record is read and written here, so no writer can forget to tell: what a write changed follows from the record
//! as it was read, in the same process, at the revision on which the write is conditional. Events are told after the
//! write, by whoever asks for it at the end of a step. A write that was not told stays: the record is what counts.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rootcast_core::audit::{Act, Subject};
use rootcast_core::deployment::Deployment;
use rootcast_core::event::{Approval, Event, JobKind};
use rootcast_core::job::{Job, JobId, JobPurpose, JobState};
use rootcast_pki::signer::IssuingId;

use crate::{DeviceRecord, IssuingRecord, Ledger, RootRecord};

/// Most records that are remembered as they were read, and most events that wait: about a megabyte. Of a record that is not
/// remembered any more, a change may be told twice.
const MOST: usize = 2000;

/// Where events go. Returns the indices of those that were not taken.
pub trait Outlet: Debug + Send + Sync {
    fn put<'a>(&'a self, events: &'a [Event]) -> Pin<Box<dyn Future<Output = Vec<usize>> + Send + 'a>>;
    /// Counts events that found no room to wait for it.
    fn lost(&self, events: u64);
}

#[derive(Debug, Clone)]
pub(crate) struct Changes {
    outlet: Arc<dyn Outlet>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Revision and standing.
    known: BTreeMap<Key, (u64, String)>,
    waiting: VecDeque<Event>,
    /// Events that found no room.
    lost: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Job(JobId),
    Root(u32),
    Issuing(IssuingId),
}

/// A record whose changes are told.
pub(crate) trait Told {
    fn key(&self) -> Key;
    fn revision(&self) -> u64;
    /// Another text after each change that is told.
    fn standing(&self) -> String;
    /// `by`: of the audit entries that are written with it.
    fn event(&self, acts: &[Act]) -> Event;
}

fn by(acts: &[Act], is: impl Fn(&Subject) -> bool) -> Option<String> {
    acts.iter().find(|act| is(&act.subject)).map(|act| act.actor.principal.clone())
}

impl Told for Job {
    fn key(&self) -> Key {
        Key::Job(self.id)
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn standing(&self) -> String {
        format!("{:?} {:?} {:?}", self.phase, self.state, self.outcome)
    }

    fn event(&self, acts: &[Act]) -> Event {
        Event::JobChanged {
            job_id: self.id,
            kind: match self.purpose {
                JobPurpose::Rollover => JobKind::Rollover,
                JobPurpose::Anchors => JobKind::Anchors,
                JobPurpose::Preflight => JobKind::Preflight,
            },
            state: self.state,
            phase: Some(self.phase),
            outcome: self.outcome.map(|outcome| word(&outcome)),
            reason: self.reason.clone(),
            generation: self.purpose.is_rollover().then_some(self.generation),
            certificate_id: None,
            by: by(acts, |subject| *subject == Subject::Job(self.id)),
        }
    }
}

impl Told for Deployment {
    fn key(&self) -> Key {
        Key::Job(self.id)
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn standing(&self) -> String {
        format!("{:?}", self.outcome)
    }

    fn event(&self, acts: &[Act]) -> Event {
        Event::JobChanged {
            job_id: self.id,
            kind: JobKind::Deployment,
            state: if self.is_running() { JobState::Running } else { JobState::Ended },
            phase: None,
            outcome: self.outcome.map(|outcome| word(&outcome)),
            reason: self.reason.clone(),
            generation: None,
            certificate_id: (self.certificates.len() < 2).then_some(self.certificate),
            by: by(acts, |subject| *subject == Subject::Job(self.id)),
        }
    }
}

impl Told for RootRecord {
    fn key(&self) -> Key {
        Key::Root(self.generation)
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn standing(&self) -> String {
        format!("{:?}", self.state)
    }

    fn event(&self, acts: &[Act]) -> Event {
        let by = by(acts, |subject| *subject == Subject::Root(self.generation));
        Event::RootChanged { generation: self.generation, state: self.state, by }
    }
}

impl Told for IssuingRecord {
    fn key(&self) -> Key {
        Key::Issuing(self.id())
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn standing(&self) -> String {
        format!("{:?}", self.state)
    }

    fn event(&self, acts: &[Act]) -> Event {
        let generation = self.id().generation;
        let by = by(acts, |subject| *subject == Subject::Root(generation));
        Event::IssuingChanged { id: self.id().to_string(), generation, state: word(&self.state), by }
    }
}

/// As records and the API name it.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

impl Changes {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Keeps what changes from now on, until [`Self::tell`].
    #[must_use]
    pub fn telling(self, outlet: impl Outlet + 'static) -> Self {
        Self { changes: Some(Changes { outlet: Arc::new(outlet), kept: Arc::default() }), ..self }
    }

    /// Sends the events of what has changed: one call for ten, none for none. What is not taken is sent with the next.
    pub async fn tell(&self) {
        let Some(changes) = &self.changes else { return };
        let (events, lost) = {
            let mut kept = changes.kept();
            (Vec::from(std::mem::take(&mut kept.waiting)), std::mem::take(&mut kept.lost))
        };
        if lost > 0 {
            changes.outlet.lost(lost);
        }
        if events.is_empty() {
            return;
        }
        let lost = changes.outlet.put(&events).await;
        let lost = events.into_iter().enumerate().filter(|(index, _)| lost.contains(index));
        let mut kept = changes.kept();
        for (_, event) in lost.collect::<Vec<_>>().into_iter().rev() {
            if kept.waiting.len() < MOST {
                kept.waiting.push_front(event);
            }
        }
    }

    /// Something else happened, which is recorded.
    pub fn happened(&self, event: Event) {
        if let Some(changes) = &self.changes {
            changes.kept().wait(event);
        }
    }

    /// The record was read.
    pub(crate) fn read<T: Told>(&self, record: &T) {
        if let Some(changes) = &self.changes {
            changes.kept().remember(record.key(), record.revision(), record.standing());
        }
    }

    /// The record was written as the one after the revision that it has; 0 for a new one.
    pub(crate) fn written<T: Told>(&self, record: &T, acts: &[Act]) {
        self.written_after(record, record.revision(), acts);
    }

    pub(crate) fn written_after<T: Told>(&self, record: &T, read: u64, acts: &[Act]) {
        let Some(changes) = &self.changes else { return };
        let (key, standing) = (record.key(), record.standing());
        let mut kept = changes.kept();
        if read == 0 || kept.known.get(&key) != Some(&(read, standing.clone())) {
            kept.wait(record.event(acts));
        }
        kept.remember(key, read + 1, standing);
    }

    /// A device was written: `None` before it was enrolled, and after it was deleted.
    pub(crate) fn device_written(&self, before: Option<&DeviceRecord>, after: Option<&DeviceRecord>, by: &str) {
        let (Some(changes), Some(device)) = (&self.changes, after.or(before)) else { return };
        let approved = |device: Option<&DeviceRecord>| device.and_then(DeviceRecord::approved_version);
        let approval = match (approved(before), approved(after)) {
            _ if after.is_none() => Approval::Deleted,
            (was, is) if was == is => return,
            (_, Some(_)) => Approval::Approved,
            (_, None) => Approval::Lost,
        };
        changes.kept().wait(Event::ApprovalChanged {
            device: device.id.clone(),
            approval,
            endpoint_revision: device.endpoint_revision,
            by: by.to_owned(),
        });
    }
}

impl Kept {
    fn remember(&mut self, key: Key, revision: u64, standing: String) {
        if self.known.len() >= MOST && !self.known.contains_key(&key) {
            self.known.clear();
        }
        self.known.insert(key, (revision, standing));
    }

    fn wait(&mut self, event: Event) {
        if self.waiting.len() < MOST {
            self.waiting.push_back(event);
        } else {
            self.lost += 1;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test's inputs are its own")]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use aws_smithy_mocks::{RuleMode, mock_client};
    use rootcast_core::audit::{Action, Actor};
    use rootcast_core::deployment::DeploymentOutcome;
    use rootcast_core::deployment::lifecycle::Work;
    use rootcast_core::device::{Driver, Incarnation, Profile};
    use rootcast_core::rollover::rollout::Rollout;
    use time::OffsetDateTime;

    use super::*;
    use crate::Tables;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    /// Takes events, or refuses the first of each call.
    #[derive(Debug, Clone, Default)]
    struct Bus(Arc<Mutex<Vec<Event>>>, Arc<AtomicBool>, Arc<AtomicU64>);

    impl Outlet for Bus {
        fn put<'a>(&'a self, events: &'a [Event]) -> Pin<Box<dyn Future<Output = Vec<usize>> + Send + 'a>> {
            let refused = usize::from(self.1.load(Ordering::Relaxed));
            self.0.lock().unwrap().extend_from_slice(&events[refused..]);
            Box::pin(async move { (0..refused).collect() })
        }

        fn lost(&self, events: u64) {
            self.2.fetch_add(events, Ordering::Relaxed);
        }
    }

    impl Bus {
        /// What it took since the last call, as `state` or `approval`.
        async fn told(&self, ledger: &Ledger) -> Vec<String> {
            ledger.tell().await;
            let events = std::mem::take(&mut *self.0.lock().unwrap());
            let said = |event: &Event| match event {
                Event::JobChanged { state, by, .. } => format!("{state:?} by {}", by.as_deref().unwrap_or("plan")),
                Event::ApprovalChanged { approval, .. } => format!("{approval:?}"),
                other => format!("{other:?}"),
            };
            events.iter().map(said).collect()
        }
    }

    fn ledger() -> (Ledger, Bus) {
        let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, []);
        let bus = Bus::default();
        (Ledger::new(client, Tables::default()).telling(bus.clone()), bus)
    }

    fn deployment(revision: u64, outcome: Option<DeploymentOutcome>) -> Deployment {
        let devices = ["bmc-1".parse().unwrap()].into();
        let certificate = "scs0000000000007".parse().unwrap();
        let new = Deployment::new(JobId(7), certificate, Work::Install, devices, "ops".to_owned(), NOW);
        Deployment { revision, outcome, ..new }
    }

    #[tokio::test]
    async fn only_another_state_is_told_and_once() {
        let (ledger, bus) = ledger();
        let by = Actor { principal: "ops".to_owned(), request_id: None };
        let created = [Act::new(Subject::Job(JobId(7)), Action::Create, &by, NOW)];
        ledger.written_after(&deployment(1, None), 0, &created);
        assert_eq!(bus.told(&ledger).await, ["Running by ops"]);
        assert!(bus.told(&ledger).await.is_empty());
        // Progress: written as read, three times, without another read.
        (1..4).for_each(|revision| ledger.written(&deployment(revision, None), &[]));
        assert!(bus.told(&ledger).await.is_empty());
        ledger.written(&deployment(4, Some(DeploymentOutcome::Deployed)), &[]);
        assert_eq!(bus.told(&ledger).await, ["Ended by plan"]);
        // Somebody else reopened it, which is known from a read.
        ledger.read(&deployment(6, None));
        ledger.written(&deployment(6, None), &[]);
        assert!(bus.told(&ledger).await.is_empty());
        // What was not read here may be a change.
        ledger.written(&deployment(9, None), &[]);
        assert_eq!(bus.told(&ledger).await, ["Running by plan"]);
    }

    #[test]
    fn a_job_is_told_as_what_it_brings() {
        let told = |event: Event| match event {
            Event::JobChanged { kind, generation, certificate_id, .. } => (kind, generation, certificate_id),
            other => panic!("{other:?}"),
        };
        let anchors = Job::of_anchors(JobId(7), 3, 9, Rollout::default(), None, NOW);
        assert_eq!(told(anchors.event(&[])), (JobKind::Anchors, None, None));
        let rollover = Job { purpose: JobPurpose::Rollover, ..anchors };
        assert_eq!(told(rollover.event(&[])), (JobKind::Rollover, Some(3), None));
        let [one, two] = ["scs0000000000007", "scs0000000000008"].map(|id| id.parse().unwrap());
        let renewed = [("bmc-1".parse().unwrap(), one), ("bmc-2".parse().unwrap(), two)];
        for (devices, certificate) in [(1, Some(one)), (2, None)] {
            let renewed = renewed.iter().take(devices).cloned().collect();
            let job = Deployment::renewing(JobId(7), renewed, "rule:renewal".to_owned(), NOW).unwrap();
            assert_eq!(told(job.event(&[])), (JobKind::Deployment, None, certificate));
        }
    }

    #[tokio::test]
    async fn what_is_not_taken_is_told_with_the_next() {
        let (ledger, bus) = ledger();
        bus.1.store(true, Ordering::Relaxed);
        ledger.written_after(&deployment(1, None), 0, &[]);
        ledger.written(&deployment(1, Some(DeploymentOutcome::Deployed)), &[]);
        assert_eq!(bus.told(&ledger).await, ["Ended by plan"]);
        bus.1.store(false, Ordering::Relaxed);
        assert_eq!(bus.told(&ledger).await, ["Running by plan"]);
    }

    #[tokio::test]
    async fn what_finds_no_room_to_wait_is_counted() {
        let (ledger, bus) = ledger();
        (0..MOST + 3).for_each(|_| ledger.happened(deployment(1, None).event(&[])));
        assert_eq!(bus.told(&ledger).await.len(), MOST);
        assert_eq!(bus.2.load(Ordering::Relaxed), 3);
        ledger.tell().await;
        assert_eq!(bus.2.load(Ordering::Relaxed), 3, "once");
    }

    #[tokio::test]
    async fn an_approval_is_told_when_it_changes() {
        let (ledger, bus) = ledger();
        let (id, address) = ("bmc-1".parse().unwrap(), "https://10.0.0.7".parse().unwrap());
        let credential = "/rootcast/devices/bmc-1".to_owned();
        let incarnation = Incarnation::from_random([1; 16]);
        let pending = DeviceRecord::new(id, incarnation, address, Driver::Redfish, Profile::Dmtf, credential);
        let pins = vec![format!("sha256:{}", "ab".repeat(32)).parse().unwrap()];
        let approved = DeviceRecord { pins, ..pending.clone() };
        let moved = DeviceRecord { endpoint_revision: 2, ..approved.clone() };
        let named = DeviceRecord { name: Some("BMC".to_owned()), ..approved.clone() };
        for (before, after, told) in [
            (None, Some(&pending), None),
            (None, Some(&approved), Some("Approved")),
            (Some(&pending), Some(&approved), Some("Approved")),
            (Some(&approved), Some(&named), None),
            (Some(&approved), Some(&moved), Some("Approved")),
            (Some(&approved), Some(&pending), Some("Lost")),
            (Some(&pending), None, Some("Deleted")),
        ] {
            ledger.device_written(before, after, "ops");
            assert_eq!(bus.told(&ledger).await, Vec::from_iter(told));
        }
    }

    #[tokio::test]
    async fn without_an_outlet_nothing_is_kept() {
        let ledger = Ledger::new(mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, []), Tables::default());
        ledger.written_after(&deployment(1, None), 0, &[]);
        ledger.tell().await;
        assert!(ledger.changes.is_none());
    }
}
