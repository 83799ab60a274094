//! Somebody else may have a root's key: what follows from it.
//!
//! Through its links, whoever trusts one root trusts the others (RFC 9810 §4.4). So another root takes the place of all of
//! them, whichever was compromised.

use std::collections::BTreeSet;

use thiserror::Error;
use time::{Duration, OffsetDateTime};

use crate::job::{Job, JobId, JobState};
use crate::rollover::generation::GenerationState;

/// Whoever names no root, and asks this soon after a root was replaced, repeats a request whose answer was lost.
const REPEATED: Duration = Duration::minutes(10);

/// What is on record of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub generation: u32,
    pub state: GenerationState,
    /// Whether there is a certificate, which devices may hold.
    pub is_made: bool,
    /// When somebody said that it is compromised.
    pub compromised: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// Another root takes the place of this one, and of every older one. What an interruption left of it is finished.
    Replace { generation: u32 },
    /// It does not sign yet: the rollover that brings it to the devices is aborted.
    Abort { generation: u32, job: JobId },
    /// That is done, or under way by this job.
    Done { generation: u32, job: Option<JobId> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotReplaced {
    #[error("no root signs yet")]
    NoRoot,
    #[error("there is no root generation {0}")]
    Unknown(u32),
    #[error("root generation {0} is still being made: no device trusts it, and it has signed nothing")]
    BeingMade(u32),
    #[error("root generation {0} never signed, and its rollover was aborted: nothing is left to replace")]
    Abandoned(u32),
}

/// `named`: the compromised generation; `None`: the one that signs. `replacing`: those whose replacement was begun, and is
/// not published yet. `running`: the rollover that has not ended.
pub fn respond(
    named: Option<u32>,
    signing: Option<u32>,
    replacing: &BTreeSet<u32>,
    roots: &[Known],
    running: Option<&Job>,
    now: OffsetDateTime,
) -> Result<Response, NotReplaced> {
    if let Some(generation) = replacing.last().filter(|last| named.is_none_or(|named| named == **last)) {
        return Ok(Response::Replace { generation: *generation });
    }
    let running = running.filter(|job| job.state != JobState::Ended);
    let replaces = running.filter(|job| job.is_compromise());
    let job = replaces.map(|job| job.id);
    let Some(generation) = named.or(signing) else { return Err(NotReplaced::NoRoot) };
    let is_late = |root: &Known| root.compromised.is_some_and(|at| now < at + REPEATED);
    let is_replaced = |root: &Known| root.generation < generation && !root.state.is_live() && is_late(root);
    if named.is_none() && (replaces.is_some() || roots.iter().any(is_replaced)) {
        return Ok(Response::Done { generation, job });
    }
    let known = roots.iter().find(|root| root.generation == generation).ok_or(NotReplaced::Unknown(generation))?;
    match known.state {
        _ if !known.is_made => Err(NotReplaced::BeingMade(generation)),
        GenerationState::Reserved => Err(NotReplaced::BeingMade(generation)),
        GenerationState::Published => match running.filter(|job| job.generation == generation) {
            Some(job) if known.compromised.is_none() => Ok(Response::Abort { generation, job: job.id }),
            job => Ok(Response::Done { generation, job: job.map(|job| job.id) }),
        },
        GenerationState::Abandoned => match running.filter(|job| job.generation == generation) {
            // It is being removed from the devices.
            Some(job) if known.compromised.is_some() => Ok(Response::Done { generation, job: Some(job.id) }),
            Some(job) => Ok(Response::Abort { generation, job: job.id }),
            None => Err(NotReplaced::Abandoned(generation)),
        },
        GenerationState::Distrusted | GenerationState::Retired
            if known.compromised.is_some() && !replacing.contains(&generation) =>
        {
            Ok(Response::Done { generation, job })
        }
        _ => Ok(Response::Replace { generation }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use super::*;
    use crate::device::SHARDS;
    use crate::job::{Activation, Command, Front, JobOutcome, NewJob, Phase, Refusal, Tally};
    use crate::rollover::plan::{Action, Step, plan, way_out};
    use crate::rollover::rollout::Rollout;
    use crate::rollover::survey::{Findings, SurveyedShard};

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn known(generation: u32, state: GenerationState) -> Known {
        Known { generation, state, is_made: true, compromised: None }
    }

    fn marked(generation: u32, state: GenerationState, at: OffsetDateTime) -> Known {
        Known { compromised: Some(at), ..known(generation, state) }
    }

    fn job(id: u64, generation: u32, compromised: &[u32]) -> Job {
        let new = NewJob {
            id: JobId(id),
            generation,
            old_generation: Some(1),
            activation: Activation::Proven,
            rollout: Rollout::default(),
            until: Phase::LAST,
            requested_for: None,
        };
        Job { compromised: compromised.iter().copied().collect(), ..Job::new(new, NOW) }
    }

    fn answer(named: Option<u32>, roots: &[Known], running: Option<&Job>) -> Result<Response, NotReplaced> {
        let signing = roots.iter().find(|root| root.state == GenerationState::Signing).map(|root| root.generation);
        respond(named, signing, &BTreeSet::new(), roots, running, NOW)
    }

    #[test]
    fn whichever_root_that_signed_is_compromised_all_are_replaced() {
        use GenerationState::{Distrusted, Retired, Signing, Superseded};
        let roots = [known(1, Retired), known(2, Distrusted), known(3, Superseded), known(4, Signing)];
        for (named, generation) in [(None, 4), (Some(1), 1), (Some(2), 2), (Some(3), 3), (Some(4), 4)] {
            assert_eq!(answer(named, &roots, None), Ok(Response::Replace { generation }));
        }
    }

    #[test]
    fn a_root_that_does_not_sign_yet_is_only_taken_off() {
        let (rollover, abort) = (job(7, 2, &[]), Response::Abort { generation: 2, job: JobId(7) });
        for state in [GenerationState::Published, GenerationState::Abandoned] {
            let done = Response::Done { generation: 2, job: Some(JobId(7)) };
            let roots = |second| [known(1, GenerationState::Signing), second];
            assert_eq!(answer(Some(2), &roots(known(2, state)), Some(&rollover)), Ok(abort), "{state:?}");
            assert_eq!(answer(Some(2), &roots(marked(2, state, NOW)), Some(&rollover)), Ok(done), "{state:?}");
        }
        let given_up = [known(1, GenerationState::Signing), known(2, GenerationState::Abandoned)];
        assert_eq!(answer(Some(2), &given_up, None), Err(NotReplaced::Abandoned(2)));
        let reserved = Known { is_made: false, ..known(2, GenerationState::Reserved) };
        assert_eq!(answer(Some(2), &[reserved], None), Err(NotReplaced::BeingMade(2)));
        assert_eq!(answer(Some(9), &given_up, None), Err(NotReplaced::Unknown(9)));
        assert_eq!(answer(None, &[], None), Err(NotReplaced::NoRoot));
    }

    #[test]
    fn a_repeated_request_replaces_nothing_more() {
        let roots = |at| [marked(1, GenerationState::Distrusted, at), known(2, GenerationState::Signing)];
        let replacing = job(7, 2, &[1]);
        let done = |job: Option<u64>| Response::Done { generation: 2, job: job.map(JobId) };
        let long_ago = NOW - Duration::DAY;
        assert_eq!(answer(None, &roots(long_ago), Some(&replacing)), Ok(done(Some(7))));
        assert_eq!(answer(None, &roots(NOW), None), Ok(done(None)), "there are no devices");
        assert_eq!(answer(Some(1), &roots(long_ago), None), Ok(Response::Done { generation: 1, job: None }));
        // Whoever names the new one, or comes later, means it.
        assert_eq!(answer(Some(2), &roots(NOW), Some(&replacing)), Ok(Response::Replace { generation: 2 }));
        assert_eq!(answer(None, &roots(long_ago), None), Ok(Response::Replace { generation: 2 }));
        let mut ended = replacing;
        ended.end(JobOutcome::Completed, "done");
        assert_eq!(answer(None, &roots(long_ago), Some(&ended)), Ok(Response::Replace { generation: 2 }));
    }

    #[test]
    fn an_interrupted_replacement_is_finished() {
        let roots = [marked(1, GenerationState::Retired, NOW), known(2, GenerationState::Signing)];
        for named in [None, Some(1)] {
            let again = respond(named, Some(2), &[1].into(), &roots, None, NOW);
            assert_eq!(again, Ok(Response::Replace { generation: 1 }));
        }
    }

    /// The next step after the pass has reached every device, and a survey has found this.
    fn after(job: &mut Job, found: Findings) -> Step {
        job.cursor = Front::END;
        let nothing = |shard| SurveyedShard { shard, revision: 0, findings: Findings::NONE };
        (0..SHARDS).for_each(|shard| job.survey.note(nothing(shard)));
        job.survey.note(SurveyedShard { findings: found, ..nothing(0) });
        let tally = Tally { dispatched: found.all(), acked: found.proven, failed: found.failed, ..Tally::default() };
        plan(job, &tally, NOW, Duration::HOUR)
    }

    #[test]
    fn devices_that_fail_hold_up_only_the_end() {
        let mut job = Job { rollout: Rollout { error_budget: 100, ..Rollout::default() }, ..job(7, 2, &[1]) };
        job.replace(5, NOW);
        assert_eq!(plan(&job, &Tally::default(), NOW, Duration::HOUR).action, Action::Distribute);
        job.distribute(NOW);
        assert_eq!(way_out(&job), "then resume", "nothing else is taken");
        let clean = Findings { proven: 9, oldest: Some(NOW), ..Findings::NONE };
        let one = Findings { failed: 1, ..clean };
        assert_eq!(after(&mut job.clone(), clean).action, Action::Reissue, "without a hold-down");
        let step = after(&mut job, one);
        assert!(step.action == Action::Reissue && step.why.contains("1 devices"), "{step:?}");
        job.reissue(NOW);
        assert_eq!(after(&mut job, clean).action, Action::Distrust);
        job.distrust(5, NOW);
        let step = after(&mut job.clone(), one);
        assert!(step.action == Action::Pause && step.why.contains("no longer hold the old roots"), "{step:?}");
        assert_eq!(after(&mut job, clean).action, Action::Retire);
        job.retire();
        let step = plan(&job, &Tally::default(), NOW, Duration::HOUR);
        assert_eq!(step.action, Action::End(JobOutcome::Completed));
        assert!(step.why.contains("root generation 1 is compromised"), "{step:?}");
    }

    #[test]
    fn a_compromise_only_goes_on_and_what_it_took_over_is_over() {
        let mut replacing = job(7, 2, &[1]);
        replacing.replace(5, NOW);
        for command in [Command::Abort, Command::RollBack] {
            assert_eq!(replacing.clone().command(command, NOW), Err(Refusal::Compromised), "{command:?}");
        }
        let paused = replacing.command(Command::Pause, NOW).unwrap();
        assert!(paused.command(Command::Resume, NOW).is_ok());
        let mut over = job(6, 2, &[]);
        over.activate(NOW);
        over.reissue(NOW);
        over.take_over(NOW);
        assert_eq!((over.outcome, over.state), (Some(JobOutcome::TakenOver), JobState::Ended));
        for command in [Command::RollBack, Command::Continue { until: Phase::LAST }] {
            assert_eq!(over.clone().command(command, NOW), Err(Refusal::GivenUp), "{command:?}");
        }
    }
}
