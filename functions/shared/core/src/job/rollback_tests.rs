#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use time::{Duration, OffsetDateTime};

use crate::job::{
    Activation, Command, Continued, Job, JobId, JobOutcome, JobState, NewJob, Pass, Phase, Refusal, Tally,
};
use crate::rollover::plan::{Action, plan};
use crate::rollover::rollout::Rollout;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn job(old: Option<u32>) -> Job {
    let new = NewJob {
        id: JobId(7),
        generation: 2,
        old_generation: old,
        activation: Activation::Proven,
        rollout: Rollout::default(),
        until: Phase::LAST,
        requested_for: None,
    };
    let mut job = Job::new(new, NOW);
    job.publish(2);
    job.distribute(NOW);
    job
}

fn active() -> Job {
    let mut job = job(Some(1));
    job.activate(NOW);
    job
}

fn action(job: &Job) -> Action {
    plan(job, &Tally::default(), NOW, Duration::HOUR).action
}

fn refused(job: Job) -> Refusal {
    job.command(Command::RollBack, NOW).unwrap_err()
}

#[test]
fn an_activated_root_is_rolled_back_whatever_its_job_does() {
    let mut reissuing = active();
    reissuing.reissue(NOW);
    let mut paused = reissuing.clone();
    paused.pause("too many failures");
    for job in [active(), reissuing, paused] {
        let asked = job.command(Command::RollBack, NOW).unwrap();
        assert_eq!((asked.state, action(&asked)), (JobState::Running, Action::RollBack));
        assert!(!asked.takes_device_work(Pass::Install), "no device is begun");
        assert_eq!(refused(asked.clone()), Refusal::AlreadyRollingBack);
        assert_eq!(asked.command(Command::Continue { until: Phase::LAST }, NOW), Err(Refusal::GivenUp));
    }
}

#[test]
fn a_job_that_had_ended_is_alone_before_it_is_rolled_back() {
    for outcome in [JobOutcome::Activated, JobOutcome::ActivatedWithFailures] {
        let mut ended = active();
        ended.end(outcome, "done");
        let asked = ended.command(Command::RollBack, NOW).unwrap();
        assert_eq!((asked.outcome, asked.continued), (None, Some(Continued::Asked)));
        assert_eq!(action(&asked), Action::GoOnAlone);
        let mut refused = asked.clone();
        refused.end_as_before("another job runs");
        assert_eq!((refused.outcome, refused.rollback_requested), (Some(outcome), false));
        let mut alone = asked;
        alone.go_on_alone(alone.bundle_version, NOW);
        assert_eq!(action(&alone), Action::RollBack);
    }
}

/// One of an earlier release ended without the phase that it had reached.
#[test]
fn a_job_of_an_earlier_release_is_rolled_back() {
    let mut ended = active();
    ended.end(JobOutcome::Activated, "done");
    ended.reached = None;
    assert_eq!(ended.command(Command::RollBack, NOW).unwrap().phase, Phase::Activate);
}

#[test]
fn a_rollback_that_comes_too_early_or_too_late_is_refused() {
    assert_eq!(refused(job(Some(1))), Refusal::NotActivated);
    let mut first = job(None);
    first.activate(NOW);
    assert_eq!(refused(first), Refusal::NoOldRoot);
    let mut distrusting = active();
    distrusting.distrust(3, NOW);
    assert_eq!(refused(distrusting.clone()), Refusal::OldRootsLeft);
    distrusting.end(JobOutcome::Activated, "as asked");
    assert_eq!(refused(distrusting), Refusal::OldRootsLeft);
    let mut retired = active();
    retired.distrust(3, NOW);
    retired.retire();
    retired.end(JobOutcome::Completed, "done");
    assert_eq!(refused(retired), Refusal::OldRootsLeft);
    let mut back = active();
    back.end(JobOutcome::RolledBack, "done");
    assert_eq!(refused(back), Refusal::GivenUp);
    let aborting = job(Some(1)).command(Command::Abort, NOW).unwrap();
    assert_eq!(refused(aborting), Refusal::AlreadyAborting);
}
