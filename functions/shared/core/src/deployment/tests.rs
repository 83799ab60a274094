use proptest::prelude::*;

use super::*;
use crate::job::task::{TaskRecord, TaskState};

const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const STALL: Duration = Duration::minutes(15);

fn deployment(devices: usize) -> Deployment {
    let devices = (0..devices).map(|number| format!("bmc-{number}").parse().unwrap()).collect();
    Deployment::new(JobId(7), "scs1600313391074".parse().unwrap(), Work::Install, devices, "ops".to_owned(), START)
}

fn action(deployment: &Deployment, acked: u64, failed: u64, minutes: i64) -> Action {
    let tally = deployment.tally(Tally { acked, failed, ..Tally::default() });
    plan(deployment, &tally, START + Duration::minutes(minutes), STALL).action
}

#[test]
fn a_stalled_deployment_is_resent_then_given_up() {
    let mut job = deployment(2);
    assert_eq!(action(&job, 0, 0, 0), Action::Send);
    job.note_sent(START);
    assert_eq!(action(&job, 1, 0, 20), Action::Wait, "progress that was not noted yet");
    assert!(job.note_progress(&job.tally(Tally { acked: 1, ..Tally::default() }), START));
    for resend in 1..=i64::from(MAX_RESENDS) {
        assert_eq!(action(&job, 1, 0, resend * 15 - 1), Action::Wait);
        assert_eq!(action(&job, 1, 0, resend * 15), Action::Resend);
        job.begin_resend(START + Duration::minutes(resend * 15));
    }
    assert_eq!(action(&job, 1, 0, 60), Action::GiveUp);
    assert_eq!(action(&job, 1, 1, 60), Action::End(DeploymentOutcome::DeployedWithFailures));
}

#[test]
fn only_failed_devices_are_retried_even_after_the_end() {
    let everything = || Selection::everything(START);
    let mut running = deployment(2);
    running.note_sent(START);
    let mut running = running.retry(everything(), START).unwrap();
    assert_eq!(action(&running, 0, 1, 0), Action::Reopen);
    running.note_reopened(START);
    assert_eq!(action(&running, 0, 0, 0), Action::Send, "the other device is not to wait for its next try");
    running.note_sent(START);
    assert_eq!(action(&running, 0, 0, 0), Action::Wait);
    let mut job = deployment(2);
    job.note_sent(START);
    job.end(DeploymentOutcome::Deployed, "");
    assert_eq!(job.clone().retry(everything(), START), Err(NotResumed::NothingFailed));
    assert_eq!(action(&job, 2, 0, 99), Action::Wait);
    job.end(DeploymentOutcome::DeployedWithFailures, "");
    let job = job.retry(everything(), START).unwrap();
    assert_eq!(action(&job, 1, 1, 0), Action::Reopen);
    assert!(job.takes_device_work(Pass::Install) && !job.takes_device_work(Pass::Distribute));
}

#[test]
fn waiting_retries_are_bounded_and_not_duplicated() {
    let only = |device| Selection { devices: [named(device)].into(), ..Selection::everything(START) };
    let mut job = deployment(9);
    for device in [0, 1, 1, 2, 3, 0] {
        job = job.retry(only(device), START).unwrap();
    }
    assert_eq!(job.retry(only(4), START), Err(NotResumed::ManyRetries));
}

/// A world in which messages are lost, doubled and late, workers die, and the conductor is woken at any time.
#[derive(Debug)]
struct World {
    job: Deployment,
    /// Per device: its attempt; `None` while unsettled, else whether it succeeded; and since when.
    tasks: Vec<(u32, Option<bool>, OffsetDateTime)>,
    messages: Vec<(usize, u32)>,
    now: OffsetDateTime,
}

#[derive(Debug, Clone)]
enum Event {
    /// The conductor dies before it saves its step.
    Conduct {
        dies: bool,
    },
    Deliver {
        message: usize,
        well: bool,
        keep: bool,
    },
    Lose {
        message: usize,
    },
    Pass {
        minutes: i64,
    },
    Retry {
        from: usize,
    },
}

fn named(device: usize) -> DeviceId {
    format!("bmc-{device}").parse().unwrap()
}

fn task(device: usize, (attempt, settled, at): (u32, Option<bool>, OffsetDateTime)) -> TaskRecord {
    let state = match settled {
        None => TaskState::Waiting,
        Some(true) => TaskState::Acked,
        Some(false) => TaskState::Failed,
    };
    TaskRecord::new(named(device), state, attempt, at)
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any::<bool>().prop_map(|dies| Event::Conduct { dies }),
        (any::<usize>(), any::<bool>(), any::<bool>()).prop_map(|(message, well, keep)| Event::Deliver {
            message,
            well,
            keep
        }),
        any::<usize>().prop_map(|message| Event::Lose { message }),
        (1i64..40).prop_map(|minutes| Event::Pass { minutes }),
        (0..MOST_DEPLOYED).prop_map(|from| Event::Retry { from }),
    ]
}

impl World {
    fn tally(&self) -> Tally {
        let count = |wanted| self.tasks.iter().filter(|(_, settled, _)| *settled == wanted).count() as u64;
        self.job.tally(Tally { acked: count(Some(true)), failed: count(Some(false)), ..Tally::default() })
    }

    fn send(&mut self) {
        let open = self.tasks.iter().enumerate().filter(|(_, (_, settled, _))| settled.is_none());
        self.messages.extend(open.map(|(device, (attempt, ..))| (device, *attempt)));
    }

    fn conduct(&mut self, dies: bool) -> Action {
        let (tally, now, mut job) = (self.tally(), self.now, self.job.clone());
        let step = plan(&job, &tally, now, STALL);
        match step.action {
            Action::Wait => {
                job.note_progress(&tally, now);
            }
            Action::Send => {
                self.send();
                job.note_sent(now);
            }
            Action::Resend => {
                job.begin_resend(now);
                if !dies {
                    self.send();
                }
            }
            Action::Reopen => {
                let asked = job.reopen.selection().unwrap().asked;
                for (device, state) in self.tasks.iter_mut().enumerate() {
                    if job.reopen.opens(job.id, &task(device, *state)) {
                        *state = (state.0 + 1, None, asked);
                    }
                    if !dies && job.reopen.has_opened(job.id, &task(device, *state)) {
                        self.messages.push((device, state.0));
                    }
                }
                job.note_reopened(now);
            }
            Action::GiveUp => {
                self.tasks.iter_mut().for_each(|(_, settled, _)| *settled = settled.or(Some(false)));
            }
            Action::End(outcome) => job.end(outcome, &step.why),
        }
        if !dies {
            self.job = job;
        }
        step.action
    }

    fn apply(&mut self, event: Event) {
        let at = |message: usize, many: usize| (many > 0).then(|| message % many);
        match event {
            Event::Conduct { dies } => {
                self.conduct(dies);
            }
            Event::Deliver { message, well, keep } => {
                let Some(index) = at(message, self.messages.len()) else { return };
                let (device, attempt) = self.messages[index];
                if !keep {
                    self.messages.swap_remove(index);
                }
                let task = &mut self.tasks[device];
                if self.job.takes_device_work(Pass::Install) && (task.0, task.1) == (attempt, None) {
                    (task.1, task.2) = (Some(well), self.now);
                }
            }
            Event::Lose { message } => {
                if let Some(index) = at(message, self.messages.len()) {
                    self.messages.swap_remove(index);
                }
            }
            Event::Pass { minutes } => self.now += Duration::minutes(minutes),
            Event::Retry { from } => {
                let devices = (from..MOST_DEPLOYED).map(named).collect();
                let selection = Selection { devices, ..Selection::everything(self.now) };
                if let Ok(job) = self.job.clone().retry(selection, self.now) {
                    self.job = job;
                }
            }
        }
    }
}

proptest! {
    /// Whatever happens, every device is settled in the end, and the outcome matches the results.
    #[test]
    fn every_deployment_ends(
        devices in 1usize..=MOST_DEPLOYED,
        events in proptest::collection::vec(event(), 0..200),
    ) {
        let tasks = vec![(1, None, START); devices];
        let mut world = World { job: deployment(devices), tasks, messages: Vec::new(), now: START };
        for event in events {
            world.apply(event);
            prop_assert!(world.job.is_running() || world.tally().is_settled());
        }
        for _ in 0..3 * (MAX_RESENDS + 4) + 4 {
            world.conduct(false);
            world.now += STALL;
        }
        prop_assert_eq!(world.conduct(false), Action::Wait);
        let outcome = match world.tally().failed {
            0 => DeploymentOutcome::Deployed,
            _ => DeploymentOutcome::DeployedWithFailures,
        };
        prop_assert_eq!(world.job.outcome, Some(outcome), "{}", world.job.reason);
    }
}

#[test]
fn each_device_of_a_renewal_has_its_own_certificate() {
    let own: std::collections::BTreeMap<DeviceId, CertificateId> =
        (0..20).map(|number| (named(number), format!("scs{number:013}").parse().unwrap())).collect();
    let job = Deployment::renewing(JobId(7), own.clone(), "rule:renewal".to_owned(), START).unwrap();
    assert!(own.iter().all(|(device, certificate)| job.certificate_of(device) == *certificate));
    assert!(job.bindings().eq(own.iter().map(|(device, certificate)| (*certificate, device))));
    assert!(job.is_by_rule() && !deployment(1).is_by_rule());
    assert_eq!(serde_json::from_str::<Deployment>(&serde_json::to_string(&job).unwrap()).unwrap(), job);
    assert_eq!(Deployment::renewing(JobId(7), Default::default(), "ops".to_owned(), START), None);
}

#[test]
fn a_record_of_one_certificate_is_still_read() {
    let mut written = serde_json::to_value(deployment(2)).unwrap();
    assert!(written.as_object_mut().unwrap().remove("certificates").is_none());
    let read: Deployment = serde_json::from_value(written).unwrap();
    assert!(read.bindings().all(|(certificate, _)| certificate == deployment(2).certificate));
}
