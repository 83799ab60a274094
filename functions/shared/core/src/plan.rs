//! What the conductor does next, and why: a pure function of the job, its counters and the time.
//!
//! [`plan`] may be asked at any moment and any number of times. It looks at states, never at events, so events that
//! come late, twice or not at all cannot mislead it. The phases are those of RFC 9810 §4.4 with a gate in front of the
//! cutover: `Activate` is not reached before every device has a task that ended well, unless the job says otherwise.

use time::{Duration, OffsetDateTime};

use crate::job::{Activation, Job, JobOutcome, JobState, Phase, Tally, Wave};

/// After so many times without a single device settled, what is still open counts as lost.
pub const MAX_RESENDS: u32 = 3;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until somebody wakes the conductor; `until` where it is to wake by itself.
    Wait {
        until: Option<OffsetDateTime>,
    },
    /// Device work of the bundle may begin.
    Distribute,
    /// The next wave, of at most so many devices.
    OpenWave {
        number: u32,
        size: u64,
    },
    /// A last wave over the whole fleet again, of every device that joined since its place was paged.
    Survey {
        number: u32,
    },
    /// Page the fleet on and send tasks, at most so many.
    Dispatch {
        at_most: u64,
    },
    /// A crash came between counting devices and sending their messages: send them again.
    FinishSending,
    /// The wave is over; how it went is recorded.
    CloseWave,
    /// Failed tasks are opened again.
    Reopen,
    /// Messages of unsettled devices are sent again, and the dispatched devices are counted anew.
    Resend,
    /// Unsettled devices are recorded as failed: their workers died, or their messages were lost, each time.
    GiveUp,
    /// Stop and ask the operator.
    Pause,
    /// Publish a bundle without the new root and bring it to the devices that may hold it.
    Withdraw,
    /// Sign the links and switch the signing generation.
    Activate,
    End(JobOutcome),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub action: Action,
    /// A sentence for the operator.
    pub why: String,
}

fn step(action: Action, why: impl Into<String>) -> Step {
    Step { action, why: why.into() }
}

/// `stall`: so long may a wave go without a settled device before its messages are taken for lost.
pub fn plan(job: &Job, tally: &Tally, now: OffsetDateTime, stall: Duration) -> Step {
    match job.state {
        JobState::Ended | JobState::Paused => return step(Action::Wait { until: None }, job.reason.clone()),
        JobState::Running => {}
    }
    if job.abort_requested && !matches!(job.phase, Phase::Withdraw | Phase::Ended) {
        return step(Action::Withdraw, "Aborted: the new root is taken off the devices again.");
    }
    match job.phase {
        Phase::Create => step(Action::Wait { until: None }, "The new root is being made."),
        Phase::Publish if job.activation == Activation::Immediate && job.activated.is_none() => step(
            Action::Activate,
            "The new root signs at once, as was asked; devices that do not hold it yet may refuse connections.",
        ),
        Phase::Publish => step(Action::Distribute, "The bundle is published; its anchors go to the devices."),
        Phase::Distribute | Phase::Withdraw => plan_leg(job, tally, now, stall),
        Phase::Activate if job.activated.is_none() => {
            step(Action::Activate, "Every device proved that it holds the new root.")
        }
        Phase::Activate if job.activation == Activation::Immediate => {
            step(Action::Distribute, "The new root signs; it goes to the devices.")
        }
        // Hold-down, reissue, distrust and retire are not entered yet: a rollover is complete when its root signs.
        Phase::Activate | Phase::HoldDown | Phase::Reissue | Phase::Distrust | Phase::Retire | Phase::Ended => {
            step(Action::End(JobOutcome::Activated), "The new root signs, and every device holds it or is waived.")
        }
    }
}

fn plan_leg(job: &Job, tally: &Tally, now: OffsetDateTime, stall: Duration) -> Step {
    if job.sending.is_some() {
        return step(Action::FinishSending, "Messages that were about to be sent are sent again.");
    }
    if !job.reopen.is_nothing() {
        return step(Action::Reopen, "What failed is tried again.");
    }
    if job.resend.is_some() {
        return step(Action::Resend, "Devices without a result get their task again.");
    }
    let is_over = |failed: u64, settled: u64| {
        settled > 0 && settled >= job.rollout.error_budget_minimum && job.rollout.is_exceeded(failed, settled)
    };
    if is_over(tally.failed, tally.settled()) && !(job.is_paged() && tally.is_settled()) {
        let tolerated = job.tolerated.min(tally.failed);
        if tally.is_settled() || is_over(tally.failed - tolerated, tally.settled() - tolerated) {
            return step(Action::Pause, over_budget(job, tally));
        }
        // The operator had others tried again: they are waited for, and nobody new is sent.
        return await_devices(job, tally, now, stall, job.wave.as_ref().map_or(0, |wave| wave.number));
    }
    match &job.wave {
        Some(wave) if wave.closed.is_none() => {
            if wave.dispatched < wave.size && !job.is_paged() {
                let at_most = wave.size - wave.dispatched;
                step(Action::Dispatch { at_most }, format!("Wave {} is being sent.", wave.number))
            } else if tally.is_settled() {
                step(Action::CloseWave, format!("Wave {} is over.", wave.number))
            } else {
                await_devices(job, tally, now, stall, wave.number)
            }
        }
        closed => plan_between_waves(job, tally, now, stall, closed.as_ref()),
    }
}

fn await_devices(job: &Job, tally: &Tally, now: OffsetDateTime, stall: Duration, wave: u32) -> Step {
    let due = job.progress_at + stall;
    if job.seen_settled != tally.settled() || now < due {
        return step(
            Action::Wait { until: None },
            format!("Wave {wave}: {} of {} devices are still open.", tally.waiting(), tally.dispatched),
        );
    }
    if job.resends < MAX_RESENDS {
        step(
            Action::Resend,
            format!("Nothing came back from {} devices for {stall}: they get their task again.", tally.waiting()),
        )
    } else {
        step(
            Action::GiveUp,
            format!("Nothing came back from {} devices after {MAX_RESENDS} more tries.", tally.waiting()),
        )
    }
}

fn plan_between_waves(job: &Job, tally: &Tally, now: OffsetDateTime, stall: Duration, last: Option<&Wave>) -> Step {
    let number = last.map_or(0, |wave| wave.number);
    if !tally.is_settled() {
        // A resend counted the devices anew.
        return await_devices(job, tally, now, stall, number);
    }
    if !job.is_paged() {
        // At a wave's end the budget has no minimum: a canary that failed is too few devices to be ignored.
        if job.rollout.is_exceeded(tally.failed, tally.settled()) {
            return step(Action::Pause, over_budget(job, tally));
        }
        let pause = Duration::seconds(job.rollout.wave_pause.into());
        let opens = last.and_then(|wave| wave.closed).map(|at| at + pause).filter(|at| now < *at);
        return match opens {
            Some(at) => {
                step(Action::Wait { until: Some(at) }, format!("Wave {} begins when its pause is over.", number + 1))
            }
            None => {
                let size = job.rollout.wave_size(number + 1);
                step(
                    Action::OpenWave { number: number + 1, size },
                    format!("Wave {} begins: {size} devices at most.", number + 1),
                )
            }
        };
    }
    if tally.failed > 0 && job.activated.is_some() {
        return step(
            Action::End(JobOutcome::ActivatedWithFailures),
            format!(
                "The new root signs, but {} devices do not hold it: mend them and ask for the next root, or install it by hand.",
                tally.failed
            ),
        );
    }
    if tally.failed > 0 {
        return step(Action::Pause, unproven(job, tally));
    }
    if !job.surveyed {
        return step(
            Action::Survey { number: number + 1 },
            "Every wave is over; the fleet is paged once more for devices that joined.",
        );
    }
    match (job.phase, job.activated) {
        (Phase::Withdraw, _) => step(
            Action::End(JobOutcome::Aborted),
            "Aborted: no device holds the new root, and its key is scheduled for deletion.",
        ),
        (_, Some(_)) => {
            step(Action::End(JobOutcome::Activated), "The new root signs, and every device holds it or is waived.")
        }
        (_, None) => step(Action::Activate, "Every device proved that it holds the new root, or is waived."),
    }
}

fn over_budget(job: &Job, tally: &Tally) -> String {
    format!(
        "Paused: {} of {} devices failed, more than the error budget of {} %. See the failed tasks, mend the devices or waive them, then resume; or abort.",
        tally.failed,
        tally.settled(),
        job.rollout.error_budget
    )
}

fn unproven(job: &Job, tally: &Tally) -> String {
    let (proof, way_out) = match job.phase {
        Phase::Withdraw => ("are rid of the withdrawn root", "then resume"),
        _ => ("hold the new root", "then resume; or abort"),
    };
    format!(
        "Paused: {} of {} devices did not prove that they {proof}. See the failed tasks, mend the devices or waive them, {way_out}.",
        tally.failed, tally.dispatched
    )
}
