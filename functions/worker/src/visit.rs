//! Visits a leased device. If the device still works on something by itself, the visit first waits for that, whichever
//! task started it: until then, nothing read from the device is final.

use std::error::Error;

use rootcast_core::device::Driver;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_core::job::tries::AllTries;
use rootcast_core::job::visit::Working;
use rootcast_drivers::{Ended, Enquiry, Monitor, Progress};
use rootcast_ledger::UseRecord;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::App;
use crate::attempt::{AfterVisit, Attempt, Visit, endpoint};
use crate::goals::Goal;

/// The result of an earlier visit's work.
struct Earlier {
    /// Set if the work belongs to the same attempt at the same task.
    own: Option<Ended>,
    /// The work exceeded its time. A failure is then permanent, because another try would wait as long again.
    overdue: bool,
}

impl App {
    pub(crate) async fn run(&self, mut attempt: Attempt, deadline: Instant) -> Attempt {
        attempt.visited = true;
        if matches!(attempt.goal, Goal::Probe) {
            // Only read: what the device works on may go on meanwhile.
            attempt.next = Some(self.probe(&mut attempt, deadline).await);
            return attempt;
        }
        let (visit, overdue) = match self.earlier(&mut attempt, deadline).await {
            Ok(Earlier { own, overdue }) => (self.visit(&mut attempt, own.as_ref(), deadline).await, overdue),
            Err((visit, overdue)) => (visit, overdue),
        };
        attempt.next = Some(match visit {
            Visit::Ended(next) => next,
            Visit::Running { monitor, after } => {
                let (task, since) = (attempt.task(), (self.clock)());
                let working = Working { monitor: monitor.to_string(), task, since };
                self.note(&attempt, &working, deadline).await;
                attempt.working = Some(working);
                self.wait(&attempt, after)
            }
            Visit::Failed(failure) => self.failed(&mut attempt, failure, overdue).await,
        });
        attempt
    }

    async fn visit(&self, attempt: &mut Attempt, earlier: Option<&Ended>, deadline: Instant) -> Visit {
        match attempt.goal.clone() {
            Goal::Trust(bundle) => self.trust(attempt, &bundle, earlier, deadline).await,
            Goal::Install { binding: Some(binding), identity: Ok(identity) } => {
                self.install(attempt, &binding, &identity, earlier, deadline).await
            }
            Goal::Request { binding } => self.request(attempt, &binding, earlier, deadline).await,
            Goal::Check { bundle, expected } => self.check(attempt, bundle.as_deref(), expected, deadline).await,
            // These attempts ended before a lease was taken.
            Goal::Install { .. } | Goal::PassOn | Goal::Probe => Visit::Ended(AfterVisit::Soon),
        }
    }

    /// Recorded at once: other devices of the batch may delay the release by a minute, and if the worker died in that
    /// time, no one would know of the work.
    async fn note(&self, attempt: &Attempt, working: &Working, deadline: Instant) {
        let device = &attempt.delivery.body.device;
        let noted = timeout_at(deadline, self.ledger.note_working(device, &attempt.owner, working)).await;
        let failed: Box<dyn Error> = match noted {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.into(),
            Err(late) => late.into(),
        };
        warn!(device.id = %device, error = failed.as_ref(), "what the device works on is recorded when it is given back");
    }

    /// Waits for the device's own work, until the next visit if necessary.
    async fn earlier(&self, attempt: &mut Attempt, deadline: Instant) -> Result<Earlier, (Visit, bool)> {
        let Some(working) = attempt.working.clone() else { return Ok(Earlier { own: None, overdue: false }) };
        let monitor = Monitor::from(working.monitor.as_str());
        let is_own = working.task == attempt.task();
        let overdue = working.is_overdue((self.clock)());
        let asked = self.ask(attempt, &monitor, deadline).await.map_err(|failure| (Visit::Failed(failure), false))?;
        match asked {
            Progress::Done(ended) => {
                attempt.working = None;
                Ok(Earlier { own: is_own.then_some(ended), overdue: false })
            }
            Progress::Running { after, .. } if !overdue => Err((Visit::Ended(self.wait(attempt, after)), false)),
            Progress::Running { .. } => {
                attempt.working = None;
                if is_own {
                    return Ok(Earlier { own: Some(Ended::given_up(&monitor)), overdue });
                }
                let job = working.task.job;
                let message = format!(
                    "Since {} the device has worked on {monitor} for job {job} without finishing; what it holds afterwards is not known.",
                    working.since
                );
                Err((Visit::Failed(Failure::new(ErrorClass::Timeout, message)), overdue))
            }
        }
    }

    async fn ask(&self, attempt: &Attempt, monitor: &Monitor, deadline: Instant) -> Result<Progress<Ended>, Failure> {
        let missing = || Failure::new(ErrorClass::Credential, "The device's credential was not read.");
        let (Some(device), Some(credential)) = (&attempt.device, &attempt.credential) else { return Err(missing()) };
        let endpoint = endpoint(device);
        let enquiry = Enquiry { endpoint: &endpoint, profile: device.profile, credential, monitor, deadline };
        match device.driver {
            Driver::Redfish => self.within(deadline, self.redfish.ask(&enquiry)).await,
        }
    }

    fn wait(&self, attempt: &Attempt, after: std::time::Duration) -> AfterVisit {
        let seconds = u32::try_from(after.as_secs()).unwrap_or(u32::MAX);
        info!(device.id = %attempt.delivery.body.device, seconds, "the device is still working; it is asked again");
        AfterVisit::Again { seconds }
    }

    async fn failed(&self, attempt: &mut Attempt, failure: Failure, overdue: bool) -> AfterVisit {
        let failure = match attempt.goal.stage() {
            Some(stage) => failure.at(stage),
            None => failure,
        };
        let before = attempt.tries.clone();
        let next = if overdue { self.gave_up(attempt, failure.clone()) } else { self.after(attempt, failure.clone()) };
        if matches!(next, AfterVisit::Settle(_))
            && let Some(back) = self.lead_back(attempt, &failure, before).await
        {
            return back;
        }
        if let (AfterVisit::Again { .. }, Goal::Install { binding: Some(binding), .. }) = (&next, &attempt.goal) {
            self.remember(binding, &failure).await;
        }
        next
    }

    /// If the device is to make another request. `None`: the failure stands. `before`: the tries before this visit.
    async fn lead_back(&self, attempt: &mut Attempt, failure: &Failure, before: AllTries) -> Option<AfterVisit> {
        let (Goal::Install { binding: Some(binding), .. }, now) = (&attempt.goal, (self.clock)()) else { return None };
        let lifecycle = binding.lifecycle.lead_back(binding.lifecycle.attempt, failure, now)?;
        let next = UseRecord { issuance: None, ..binding.with(lifecycle, now) };
        let saved = self.ledger.save_use(&next).await;
        let task = attempt.task();
        match saved {
            Ok(()) => {
                info!(job.id = task.job.0, device.id = %next.device, "the device is to make another request, since it refused its certificate");
                // The next stage has its own tries.
                attempt.tries = before.without(task);
                Some(AfterVisit::Again { seconds: crate::shift::SOON })
            }
            Err(error) => {
                warn!(device.id = %next.device, error = &error as &dyn Error, "what the device is to do next could not be recorded");
                attempt.tries = before;
                Some(AfterVisit::Soon)
            }
        }
    }

    /// Records the stage reached. The next attempt resumes there, and if the device cannot be reached any more, it
    /// fails there.
    async fn remember(&self, binding: &UseRecord, failure: &Failure) {
        let (attempt, now) = (binding.lifecycle.attempt, (self.clock)());
        let Some(Ok(lifecycle)) =
            failure.stage.map(|stage| binding.lifecycle.advance(attempt, stage, &failure.message, now))
        else {
            return;
        };
        if let Err(error) = self.ledger.save_use(&binding.with(lifecycle, now)).await {
            warn!(device.id = %binding.device, error = &error as &dyn std::error::Error, "the device's progress was not recorded");
        }
    }

    /// The driver keeps the deadline itself, including time for logging out; this enforces it.
    pub(crate) async fn within<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        timeout_at(deadline + crate::MARGIN / 2, work).await.unwrap_or_else(|_| {
            let seconds = self.device_timeout.as_secs();
            Err(Failure::new(ErrorClass::Timeout, format!("The device was not done within {seconds} s.")))
        })
    }
}
