//! What the conductor does next, and why: a pure function of the job, its counters and the time.
//!
//! [`plan`] is safe to call at any time and any number of times. It looks at states, not at events, so late, doubled or
//! lost events cannot mislead it. The phases are those of RFC 9810 §4.4 with a gate before the cutover: `Activate` is
//! not reached until every device has proven that it holds the new root or is waived, unless the job says otherwise.

mod budget;
mod gate;

use time::{Duration, OffsetDateTime};

use self::budget::{Budget, exceeded};
use self::gate::plan_gate;
use crate::job::{Activation, Continued, Job, JobOutcome, JobPurpose, JobState, Phase, Tally, Wave};
use crate::rollover::survey::Purpose;
use crate::rollover::windows::Held;

/// Resends without a single settled device after which open tasks count as lost.
pub const MAX_RESENDS: u32 = 3;

const ROLLED_BACK: &str = "Rolled back: the old root signs again. The new root stays trusted, and what was issued under it stays valid, until the next rollover removes it.";

/// What the conductor does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until the conductor is woken; at `until`, it wakes by itself.
    Wait {
        until: Option<OffsetDateTime>,
    },
    /// Nothing, until a window opens. Nothing is overdue meanwhile.
    AwaitWindow {
        until: OffsetDateTime,
    },
    /// Start the device work for the bundle.
    Distribute,
    /// Open the next wave, of at most `size` devices.
    OpenWave {
        number: u32,
        size: u64,
    },
    /// Go through the fleet once more: for devices whose windows were closed, or for the next in order.
    NextLap,
    /// Begin a sweep over the pass's devices.
    Begin(Purpose),
    /// Continue the current sweep.
    Sweep,
    /// Page on through the fleet and send at most this many tasks.
    Dispatch {
        at_most: u64,
    },
    /// Send the counted devices' messages again, after a crash between counting and sending.
    FinishSending,
    /// The wave is over: record its result.
    CloseWave,
    /// Reopen failed tasks.
    Reopen,
    /// Pause the job for the operator.
    Pause,
    /// Make a job that had ended the one rollover that runs.
    GoOnAlone,
    /// Publish a bundle without the new root, and bring it to the devices that may hold that root.
    Withdraw,
    /// Wait for the time of the hold-down.
    HoldDown,
    /// Read a sample of the devices anew.
    ReadSample,
    /// Sign the link certificates and switch the signing generation.
    Activate,
    /// Replace what old roots signed for devices.
    Reissue,
    /// Publish a bundle without the old roots, and remove them from the devices.
    Distrust,
    /// Sign the old roots' last revocation lists, and disable their keys.
    Retire,
    /// Switch the signing generation back to the old root.
    RollBack,
    /// Record that every device has removed the withdrawn root.
    NoteWithdrawn,
    /// Look up what has changed since the preflight before this rollover.
    Compare,
    /// Count what a preflight found.
    Report,
    /// Record that every device holds the trust anchors of others that it is to hold, and end the job.
    Settle(JobOutcome),
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

/// The next step. `stall`: time without a settled device after which a wave's messages count as lost.
pub fn plan(job: &Job, tally: &Tally, now: OffsetDateTime, stall: Duration) -> Step {
    match job.state {
        JobState::Ended | JobState::Paused => return step(Action::Wait { until: None }, job.reason.clone()),
        JobState::Running => {}
    }
    if job.abort_requested && job.purpose == JobPurpose::Preflight {
        return step(Action::End(JobOutcome::Aborted), format!("Aborted: {}", job.purpose.turns_back()));
    }
    if job.abort_requested && !matches!(job.phase, Phase::Withdraw | Phase::Ended) {
        return step(Action::Withdraw, format!("Aborted: {}", job.purpose.turns_back()));
    }
    if job.continued == Some(Continued::Asked) {
        return step(Action::GoOnAlone, job.reason.clone());
    }
    if job.rollback_requested && job.phase != Phase::Ended {
        return step(Action::RollBack, ROLLED_BACK);
    }
    match job.phase {
        Phase::Create => step(Action::Wait { until: None }, "The new root is being created."),
        Phase::Publish if job.until <= Phase::Publish => stopped("published"),
        Phase::Publish if job.activation == Activation::Immediate && job.activated.is_none() => step(
            Action::Activate,
            "The new root is activated at once, as requested; devices that do not hold it yet may refuse connections.",
        ),
        Phase::Publish if is_to_compare(job) => compare(),
        Phase::Publish => {
            step(Action::Distribute, "The bundle is published; its trust anchors are brought to the devices.")
        }
        Phase::Distribute | Phase::HoldDown | Phase::Reissue | Phase::Distrust | Phase::Withdraw => {
            plan_pass(job, tally, now, stall)
        }
        Phase::Activate if job.activated.is_none() => {
            step(Action::Activate, "Every device proved that it holds the new root.")
        }
        Phase::Activate if job.is_compromise() => step(
            Action::Distribute,
            format!(
                "The new root is active, since {}. One visit brings it to a device and removes every older root.",
                job.compromise()
            ),
        ),
        Phase::Activate if job.activation == Activation::Immediate && is_to_compare(job) => compare(),
        Phase::Activate if job.activation == Activation::Immediate => {
            step(Action::Distribute, "The new root is active; it is brought to the devices.")
        }
        Phase::Activate => after_activation(job),
        Phase::Retire | Phase::Ended if job.is_compromise() => step(
            Action::End(JobOutcome::Completed),
            format!(
                "The new root signs, and no device that was read trusts an older one. Since {}, its key stays in KMS as evidence, disabled. See `rootcast root show`.",
                job.compromise()
            ),
        ),
        Phase::Retire | Phase::Ended => step(
            Action::End(JobOutcome::Completed),
            "The new root signs, and no device trusts an older one. The keys of the older ones are put out of use: see `rootcast root show`.",
        ),
    }
}

/// The new root signs, and every device holds it or is waived. Without an older root, nothing is left to do.
fn after_activation(job: &Job) -> Step {
    if job.until <= Phase::Activate || job.old_generation.is_none() {
        return step(Action::End(JobOutcome::Activated), "The new root is active; every device holds it or is waived.");
    }
    step(Action::Reissue, "The new root is active; what older roots signed for devices is replaced.")
}

/// Before the devices change.
fn is_to_compare(job: &Job) -> bool {
    job.since.as_ref().is_some_and(|since| since.place.is_some())
}

fn compare() -> Step {
    step(Action::Compare, "The fleet is compared with what the preflight found.")
}

fn stopped(what: &str) -> Step {
    step(
        Action::Pause,
        format!(
            "Paused: the new root is {what}, and the job was to stop here. Continue the job (`rootcast job continue`), or abort it."
        ),
    )
}

fn plan_pass(job: &Job, tally: &Tally, now: OffsetDateTime, stall: Duration) -> Step {
    if job.sending.is_some() {
        return step(Action::FinishSending, "Tasks are sent again: the sending was interrupted.");
    }
    if !job.reopen.is_nothing() {
        return step(Action::Reopen, "Failed devices are retried.");
    }
    if let Some(sweep) = &job.sweep {
        return step(
            Action::Sweep,
            match sweep.purpose {
                Purpose::Survey => "Survey: each device's proof is compared with the device as it is now.",
                Purpose::Resend => "Tasks without a result are sent again.",
                Purpose::GiveUp => "Devices without a result are recorded as failed.",
            },
        );
    }
    if let Some(over) = exceeded(job, tally, Budget::InWave)
        && !(job.is_through() && tally.is_settled())
    {
        let tolerated = job.tolerated.min(tally.failed);
        let others = Tally { failed: tally.failed - tolerated, ..*tally };
        if tally.is_settled() || exceeded(job, &others, Budget::InWave).is_some() {
            return step(Action::Pause, over);
        }
        // The operator retried other devices: wait for them, and send no new ones.
        return await_devices(job, tally, now, stall, job.wave.as_ref().map_or(0, |wave| wave.number), tally.waiting());
    }
    match &job.wave {
        Some(wave) if wave.closed.is_none() => {
            if !wave.survey && wave.dispatched < wave.size && !job.is_paged() {
                let at_most = wave.size - wave.dispatched;
                step(Action::Dispatch { at_most }, format!("Wave {}: tasks are being sent.", wave.number))
            } else if tally.is_settled() {
                step(Action::CloseWave, format!("Wave {} completed.", wave.number))
            } else if overlaps(job, tally, wave) {
                let (number, open) = (wave.number, tally.waiting());
                let why = format!("Wave {number}: the {open} devices without a result fit the error budget.");
                step(Action::CloseWave, why)
            } else {
                await_devices(job, tally, now, stall, wave.number, tally.waiting())
            }
        }
        closed => plan_between_waves(job, tally, now, stall, closed.as_ref()),
    }
}

/// Whether the conductor is to look at the job: its wave was sent, and what is open of it need not be awaited.
pub fn is_next_wave_due(job: &Job, tally: &Tally) -> bool {
    let is_sent = |wave: &&Wave| wave.closed.is_none() && wave.dispatched >= wave.size;
    job.wave.as_ref().filter(is_sent).is_some_and(|wave| overlaps(job, tally, wave))
}

/// Whether the next wave may begin although devices have no result yet: even if all of them failed, the error budget would
/// be exceeded neither in total nor in their wave, so that one dead device holds up nobody. Never after the first wave, and
/// not before another group or lap.
fn overlaps(job: &Job, tally: &Tally, wave: &Wave) -> bool {
    let failed = tally.failed + tally.waiting();
    let settled = tally.with_result() + tally.waiting();
    let (failed_of_wave, settled_of_wave) = match job.own_wave(tally) {
        Some(_) if !job.has_count(wave.number + 1, tally) => return false,
        Some(own) => {
            let (results, waiting) = (own.results(tally), own.waiting(tally));
            (results.failed + waiting, results.with_result + waiting)
        }
        // As if all that is open were the wave's.
        None => (failed.saturating_sub(wave.before.failed), settled.saturating_sub(wave.before.with_result())),
    };
    wave.number > 1
        && !wave.survey
        && !job.is_paged()
        && job.rollout.wave_pause == 0
        && !job.rollout.is_exceeded(failed, settled)
        && !job.rollout.is_exceeded(failed_of_wave, settled_of_wave)
}

fn await_devices(job: &Job, tally: &Tally, now: OffsetDateTime, stall: Duration, wave: u32, open: u64) -> Step {
    let due = job.progress_at + stall;
    if job.seen_settled != tally.settled() || now < due {
        return step(
            Action::Wait { until: None },
            format!("Wave {wave}: {open} of {} devices have no result yet.", tally.dispatched),
        );
    }
    if job.resends < MAX_RESENDS {
        step(
            Action::Begin(Purpose::Resend),
            format!("No result from {open} devices for {stall}: their tasks are sent again."),
        )
    } else {
        step(Action::Begin(Purpose::GiveUp), format!("No result from {open} devices after {MAX_RESENDS} resends."))
    }
}

fn plan_between_waves(job: &Job, tally: &Tally, now: OffsetDateTime, stall: Duration, last: Option<&Wave>) -> Step {
    let number = last.map_or(0, |wave| wave.number);
    if !tally.is_settled() && !last.is_some_and(|wave| overlaps(job, tally, wave)) {
        // A resend has recounted the devices.
        return await_devices(job, tally, now, stall, number, tally.waiting());
    }
    if !job.is_through()
        && let Some(over) = exceeded(job, tally, Budget::AtItsEnd)
    {
        return step(Action::Pause, over);
    }
    if !job.is_paged() {
        // Between the waves of a preflight, nobody has to look at what was written.
        let pause = if job.preflight.is_some() { 0 } else { job.rollout.wave_pause };
        let pause = Duration::seconds(pause.into());
        let opens = last.and_then(|wave| wave.closed).map(|at| at + pause).filter(|at| now < *at);
        return match opens {
            Some(at) => step(
                Action::Wait { until: Some(at) },
                format!("Wave {} starts after the pause between waves.", number + 1),
            ),
            None => {
                // A wave that found nobody in a window is none.
                let number =
                    if last.is_some_and(|wave| !wave.survey && wave.dispatched == 0) { number } else { number + 1 };
                let size = job.rollout.wave_size(number);
                step(Action::OpenWave { number, size }, format!("Wave {number} started: at most {size} devices."))
            }
        };
    }
    if job.leaves_some(tally) {
        return await_window(job, job.lap.held, now, Action::NextLap, "Devices whose window is open now are sent to.");
    }
    if job.has_next_group() {
        return step(Action::NextLap, "The devices that come first are done: the next in order follow.");
    }
    plan_gate(job, tally, now, stall)
}

/// `then`: what follows once one of the windows is open.
fn await_window(job: &Job, held: Held, now: OffsetDateTime, then: Action, why: &str) -> Step {
    match job.rollout.schedule(now).opens(held) {
        Some((until, waits)) => step(Action::AwaitWindow { until }, waits),
        None => step(then, why),
    }
}

/// What the operator may do with a paused job, after what paused it is mended.
pub fn way_out(job: &Job) -> &'static str {
    match job.phase {
        Phase::Withdraw => "then resume",
        // Neither an abort nor a rollback brings a compromised root back.
        _ if job.is_compromise() => "then resume",
        _ if job.activated.is_none() => "then resume; or abort",
        Phase::Distribute | Phase::Activate | Phase::Reissue if job.old_generation.is_some() => {
            "then resume; or roll back (`rootcast job rollback`)"
        }
        _ => "then resume",
    }
}
