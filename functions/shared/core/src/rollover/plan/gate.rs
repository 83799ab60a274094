//! All waves are over: what the survey found decides how the job goes on.

use time::{Duration, OffsetDateTime};

use super::{Action, Step, after_activation, await_devices, await_window, step, stopped, way_out};
use crate::job::{Job, JobOutcome, JobPurpose, Phase, Tally, Wave};
use crate::rollover::survey::{Findings, Purpose};

/// All waves are over: the survey decides.
pub(super) fn plan_gate(job: &Job, tally: &Tally, now: OffsetDateTime, stall: Duration) -> Step {
    if let Some(preflight) = &job.preflight {
        return match preflight.is_counted {
            true => step(Action::End(JobOutcome::Checked), preflight.report.sentence()),
            false => step(Action::Report, "Every device was read: the findings are counted."),
        };
    }
    let found = job.survey.total();
    if job.withdrawn.is_some() {
        return step(Action::End(JobOutcome::Aborted), aborted(found));
    }
    if job.survey.opens(job.demand(now).since(), now) {
        return match job.purpose {
            JobPurpose::Anchors => settle(job.phase, found),
            JobPurpose::Rollover | JobPurpose::Preflight => pass_gate(job, now),
        };
    }
    if found.forgot > 0 {
        return step(Action::Pause, forgot(found));
    }
    let only_failures = job.survey.is_complete() && found.awaited() == 0 && found.failed > 0 && tally.failed > 0;
    if only_failures && job.is_compromise() && job.phase == Phase::Distribute {
        // The other devices show certificates that nobody should believe any more, and do not wait for these.
        return step(
            Action::Reissue,
            format!(
                "{} devices may still trust a compromised root, and are visited again at the end. What older roots signed for devices is replaced.",
                found.failed
            ),
        );
    }
    if only_failures && job.activated.is_some() && job.phase == Phase::Distribute {
        return step(
            Action::End(JobOutcome::ActivatedWithFailures),
            format!(
                "The new root is active, but {} devices do not hold it: repair them and start the next rollover, or install the root by hand.",
                found.failed
            ),
        );
    }
    if only_failures {
        return step(Action::Pause, unproven(job, found));
    }
    if job.survey.is_complete() && found.postponed > 0 && found.awaited() == found.postponed {
        let why = "Devices whose window is open now are compared again.";
        return await_window(job, job.outside, now, Action::Begin(Purpose::Survey), why);
    }
    // A device that is deleted under way may be counted twice: skipped by a survey, and settled by its worker. Then the
    // counters are complete although another device is still open, and every further survey would find the same until
    // that device is settled. So the job waits; a resend recounts the devices. After a resend, it surveys again: a device
    // without a task, to which the survey sent, may have been deleted without a trace.
    let same = |wave: &&Wave| {
        wave.survey
            && wave.dispatched == found.unknown
            && wave.before.settled() == tally.settled()
            && (wave.dispatched == 0 || job.resends == 0)
    };
    if let (Some(wave), true) = (job.wave.as_ref().filter(same), job.survey.is_complete() && found.awaited() > 0) {
        return await_devices(job, tally, now, stall, wave.number, found.awaited());
    }
    step(
        Action::Begin(Purpose::Survey),
        "All waves completed: each device's proof is compared with the device as it is now.",
    )
}

/// The survey found nobody who lacks a proof.
fn pass_gate(job: &Job, now: OffsetDateTime) -> Step {
    match (job.phase, job.activated, job.hold) {
        (Phase::Withdraw, _, _) => {
            step(Action::NoteWithdrawn, "Every device that was read no longer holds the new root.")
        }
        (Phase::Reissue, _, _) if job.until <= Phase::Reissue => step(
            Action::End(JobOutcome::Activated),
            "The new root is active, and no device shows a certificate of an older one. The older roots are still trusted.",
        ),
        (Phase::Reissue, _, _) if job.is_compromise() => step(
            Action::Distrust,
            "No device shows a certificate of an older root. Devices that may still trust a compromised root are visited again.",
        ),
        (Phase::Reissue, _, _) => step(
            Action::Distrust,
            "No device needs an older root any more: the older roots are removed from the devices.",
        ),
        (Phase::Distrust, _, _) if job.until <= Phase::Distrust => step(
            Action::End(JobOutcome::Activated),
            "The new root is active, and no device trusts an older one. The keys of the older ones are still there.",
        ),
        (Phase::Distrust, _, _) => {
            step(Action::Retire, "No device trusts an older root: their keys are put out of use.")
        }
        (_, Some(_), _) => after_activation(job),
        (Phase::Distribute, None, _) if job.until <= Phase::Distribute => stopped("on every device that is not waived"),
        (Phase::Distribute, None, _) if job.rollout.hold_down > 0 => step(
            Action::HoldDown,
            format!(
                "Every device proved that it holds the new root, or is waived. It is to sign after the hold-down of {}.",
                Duration::seconds(job.rollout.hold_down.into())
            ),
        ),
        (Phase::HoldDown, None, Some(hold)) if now < hold.until => {
            let until = if hold.sampled.is_none() && job.rollout.sample > 0 { hold.half() } else { hold.until };
            if now >= until {
                return step(
                    Action::ReadSample,
                    "Half of the hold-down is over: a sample of the devices is read anew.",
                );
            }
            step(Action::Wait { until: Some(until) }, format!("Hold-down until {}.", hold.until))
        }
        (Phase::HoldDown, None, Some(hold)) if hold.sampled.is_none() && job.rollout.sample > 0 => {
            step(Action::ReadSample, "The hold-down is over: a sample of the devices is read anew.")
        }
        (Phase::HoldDown, None, _) if job.until <= Phase::HoldDown => stopped("on every device that is not waived"),
        (_, None, _) => step(Action::Activate, "Every device proved that it holds the new root, or is waived."),
    }
}

fn forgot(found: Findings) -> String {
    format!(
        "Paused: {} devices had lost the new root since they proved that they hold it, and were given it again. Find out what resets their trust stores, then resume: the hold-down begins anew; or abort.",
        found.forgot
    )
}

/// The end of a job that brings the trust anchors of others to the devices, or takes them away.
fn settle(phase: Phase, found: Findings) -> Step {
    let unread = match found.waived {
        0 => String::new(),
        waived => format!(" {waived} waived devices were not read."),
    };
    let proven = found.proven;
    match phase {
        Phase::Withdraw => step(
            Action::Settle(JobOutcome::Aborted),
            format!("Aborted: {proven} devices proved that they hold the trusted certificates of before.{unread}"),
        ),
        _ => step(
            Action::Settle(JobOutcome::Distributed),
            format!(
                "{proven} devices proved that they hold the trusted certificates, and none that was removed.{unread}"
            ),
        ),
    }
}

fn aborted(found: Findings) -> String {
    let unread = match found.waived {
        0 => String::new(),
        1 => " 1 waived device was not read, and may still hold it: see the waived tasks.".to_owned(),
        waived => format!(" {waived} waived devices were not read, and may still hold it: see the waived tasks."),
    };
    format!(
        "Aborted: none of the {} devices that were read holds the new root, and its key is scheduled for deletion.{unread}",
        found.proven
    )
}

fn unproven(job: &Job, found: Findings) -> String {
    let proof = match (job.purpose, job.phase) {
        (JobPurpose::Anchors, Phase::Withdraw) => "hold the trusted certificates of before",
        (JobPurpose::Anchors, _) => "hold the trusted certificates, and none that was removed",
        (_, Phase::Withdraw) => "no longer hold the withdrawn root",
        (_, Phase::Reissue) => "show a certificate of the new root",
        (_, Phase::Distrust) => "no longer hold the old roots",
        _ => "hold the new root",
    };
    format!(
        "Paused: {} of {} devices did not prove that they {proof}. See the failed tasks; repair the devices or waive them, {}.",
        found.failed,
        found.all(),
        way_out(job)
    )
}
