//! Tests of the plan in a world that loses, doubles and reorders messages.
//!
//! A model of the conductor and its workers: devices answer or fail, messages vanish or come twice, conductors die
//! between two writes, devices join, operators pause, resume, retry, waive and abort. In every order, the gate holds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may break off")]

mod world;

use std::collections::BTreeSet;

use proptest::prelude::*;
use rootcast_core::device::DeviceId;
use rootcast_core::job::task::TaskState;
use rootcast_core::job::{Activation, Job, JobOutcome, JobPurpose, JobState, NewPreflight, Pass, Phase, Selection};
use rootcast_core::preflight::{Expected, Preflight};
use rootcast_core::rollover::rollout::Rollout;
use rootcast_pki::algorithm::KeyAlgorithm;
use serde_json::json;
use time::Duration;

use world::*;

/// A preflight of this rollover.
fn preflight(rollover: &Job) -> Job {
    let expected = Expected { backdate: 3600, validity: 3600, algorithm: KeyAlgorithm::EcdsaP384 };
    let new = NewPreflight {
        id: rollover.id,
        signing: Some(1),
        bundle_version: 2,
        rollout: rollover.rollout.clone(),
        until: rollover.until,
        preflight: Preflight::new(expected, 50),
        requested_for: None,
    };
    Job::of_preflight(new, rollover.created)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_root_signs_before_each_device_holds_it(mut world in worlds(), events in events()) {
        for event in &events {
            world.happen(event);
            world.check();
        }
        let outcome = world.settle(&[]);
        world.check();
        if world.job.activation == Activation::Proven {
            prop_assert_ne!(outcome, JobOutcome::ActivatedWithFailures);
        }
        if outcome == JobOutcome::Aborted {
            // A device that was waived during the withdrawal is the operator's responsibility.
            for device in &world.holding {
                let waived = world.state(Pass::Withdraw, device) == Some(TaskState::Waived);
                prop_assert!(waived, "{} still holds the withdrawn root", device);
            }
            prop_assert!(world.job.activated.is_none());
        }
    }

    /// The trust anchors of others: the same waves and the same gate, and no root.
    #[test]
    fn no_job_without_a_root_ends_before_each_device_proves(mut world in worlds(), events in events()) {
        (world.job.purpose, world.job.until) = (JobPurpose::Anchors, Phase::Activate);
        world.job.activation = Activation::Proven;
        for event in &events {
            world.happen(event);
            world.check();
        }
        let outcome = world.settle(&[]);
        world.check();
        prop_assert!(world.job.activated.is_none() && world.job.withdrawn.is_none());
        prop_assert_eq!(outcome, if world.job.abort_requested { JobOutcome::Aborted } else { JobOutcome::Distributed });
        for device in world.holding.iter().filter(|_| outcome == JobOutcome::Aborted) {
            let waived = world.state(Pass::Withdraw, device) == Some(TaskState::Waived);
            prop_assert!(waived, "{} still holds what was added", device);
        }
        prop_assert!(!world.job.reason.contains("root"), "{}", world.job.reason);
    }

    /// However many devices fail, every one is read, and nobody has to resume the job.
    #[test]
    fn a_preflight_reads_on_whatever_fails(mut world in worlds(), events in events()) {
        world.job = preflight(&world.job);
        for event in &events {
            let before = world.job.state;
            world.happen(event);
            let paused = world.job.state == JobState::Paused && before == JobState::Running;
            prop_assert!(!paused || matches!(event, Event::Pause), "{}", world.job.reason);
            prop_assert_eq!(world.job.pass(), Pass::Preflight);
        }
        let outcome = world.settle(&[]);
        prop_assert_eq!(outcome, if world.job.abort_requested { JobOutcome::Aborted } else { JobOutcome::Checked });
    }

    #[test]
    fn a_preflight_visits_every_device_once(mut world in worlds()) {
        world.job = preflight(&world.job);
        let broken = std::mem::take(&mut world.broken);
        prop_assert_eq!(world.settle(&[]), JobOutcome::Checked);
        prop_assert_eq!(world.rows.len(), world.fleet.len());
        prop_assert!(world.rows.values().all(|task| task.attempt == 1), "{:?}", broken);
    }

    #[test]
    fn a_wave_begins_only_within_the_error_budget(mut world in worlds(), events in events()) {
        for event in &events {
            world.happen(event);
            prop_assert!(world.over_budget.is_none(), "{:?}", world.over_budget);
        }
        world.settle(&[]);
        prop_assert!(world.over_budget.is_none(), "{:?}", world.over_budget);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nobody is lost, given up or judged because its window is closed, and each is reached in the end.
    #[test]
    fn devices_wait_for_their_windows_and_turns(mut world in worlds(), events in events()) {
        world.broken.clear();
        (world.job.until, world.job.activation) = (Phase::Activate, Activation::Proven);
        let calm = |event: &&Event| matches!(event, Event::Wake | Event::WakeAndDie(_) | Event::Deliver { .. } | Event::Minutes(_));
        for event in events.iter().filter(calm) {
            // Nobody is given up for being late: each message arrives, and meets an open window or not.
            if matches!(event, Event::Minutes(_)) {
                while let Some(message) = world.messages.pop() {
                    world.deliver(message);
                }
            }
            world.happen(event);
            prop_assert!(world.in_order);
        }
        let settled = world.run_calmly();
        prop_assert!(settled, "{:?}", world.job);
        prop_assert!(world.in_order);
        let (failed, devices) = (world.rows.values().any(|task| task.state == TaskState::Failed), world.fleet.len());
        prop_assert!(!failed, "{:?}", world.rows);
        prop_assert_eq!(world.holding.len(), devices);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn partial_retries_have_the_same_outcome_as_one(
        mut world in worlds(),
        events in events(),
        choices in prop::collection::vec(choice(), 0..30),
    ) {
        // With an active root, the job would end despite failures.
        world.job.activation = Activation::Proven;
        events.iter().for_each(|event| world.happen(event));
        // What a device lost after its proof is noticed only where the proof becomes old.
        let lost: BTreeSet<DeviceId> =
            world.proved.keys().map(|(_, device)| device).filter(|device| !world.holding.contains(*device)).cloned().collect();
        let mut other = world.clone();
        prop_assert_eq!(world.settle(&choices), other.settle(&[]));
        world.check();
        for of in [&mut world, &mut other] {
            of.holding.retain(|device| !lost.contains(device));
        }
        prop_assert_eq!((world.holding, world.fleet), (other.holding, other.fleet));
    }

    /// Without crashes, and without a pause, after which workers drop their messages.
    #[test]
    fn a_retry_doubles_no_message_under_way(
        broken in prop::collection::btree_set(0u8..30, 0..20),
        events in prop::collection::vec(prop_oneof![
            4 => Just(Event::Wake),
            8 => any::<u8>().prop_map(|which| Event::Deliver { which, doubled: false }),
            3 => choice().prop_map(Event::Retry),
            1 => Just(Event::MendAll),
        ], 0..150),
    ) {
        let rollout = Rollout { error_budget: 100, ..Rollout::default() };
        let mut world = World::new(30, broken, Activation::Proven, rollout);
        for event in &events {
            world.happen(event);
            let messages: BTreeSet<_> = world.messages.iter().collect();
            prop_assert_eq!(messages.len(), world.messages.len());
        }
    }
}

/// Nine of ten canaries failed; three of them are fixed and retried.
#[test]
fn a_resumed_job_waits_for_its_retried_devices() {
    let rollout = Rollout { canary: 10, error_budget_minimum: 10, ..Rollout::default() };
    let mut world = World::new(30, (0..29).collect(), Activation::Proven, rollout);
    let run = |world: &mut World| {
        world.wake(u32::MAX);
        let some = world.messages.pop();
        some.into_iter().for_each(|message| world.deliver(message));
        world.messages.len()
    };
    while run(&mut world) > 0 || world.job.state == JobState::Running {}
    let failed: BTreeSet<DeviceId> = world
        .tasks(Pass::Distribute)
        .filter(|task| task.state == TaskState::Failed)
        .map(|task| task.device.clone())
        .collect();
    let mended: BTreeSet<DeviceId> = failed.iter().take(3).cloned().collect();
    world.broken.retain(|device| !mended.contains(device));
    let selection = Selection { devices: mended.clone(), ..Selection::everything(world.now) };
    let pass = Pass::Distribute;
    world.asked_for.extend(mended.iter().map(|device| (pass, device.clone())));
    // From now on, the budget would apply while these three are still open.
    world.job.rollout.error_budget_minimum = 5;
    world.job = world.job.retry(selection, world.now).unwrap();
    world.wake(u32::MAX);
    assert_eq!(world.job.state, JobState::Running, "{}", world.job.reason);
    while run(&mut world) > 0 || world.job.state == JobState::Running {}
    assert!(mended.iter().all(|device| world.state(pass, device) == Some(TaskState::Acked)));
    let left = failed.difference(&mended).all(|device| world.state(pass, device) == Some(TaskState::Failed));
    assert!(left && world.job.reason.starts_with("Paused"), "{:?} {}", world.rows, world.job.reason);
}

/// The conductor dies in the last shard. Meanwhile, devices it had retried fail again.
#[test]
fn an_interrupted_retry_resumes_where_it_was() {
    let rollout = Rollout { canary: 30, error_budget_minimum: 30, ..Rollout::default() };
    let mut world = World::new(30, (0..30).collect(), Activation::Proven, rollout);
    world.wake(u32::MAX);
    let deliver_all =
        |world: &mut World| std::mem::take(&mut world.messages).into_iter().for_each(|m| world.deliver(m));
    deliver_all(&mut world);
    world.wake(u32::MAX);
    world.happen(&Event::Resume);
    world.happen(&Event::WakeAndDie(0));
    deliver_all(&mut world);
    world.wake(u32::MAX);
    deliver_all(&mut world);
    assert!(world.rows.values().all(|task| (task.attempt, task.state) == (2, TaskState::Failed)), "{:?}", world.rows);
}

/// The device's place was paged in the first wave; the survey finds it.
#[test]
fn a_device_that_joined_is_sent_by_the_survey() {
    let mut world = World::new(3, BTreeSet::from([100]), Activation::Proven, Rollout::default());
    for step in 0..4 {
        world.wake(u32::MAX);
        if step == 0 {
            world.happen(&Event::Join(100));
        }
        while let Some(message) = world.messages.pop() {
            world.deliver(message);
        }
    }
    assert_eq!((world.job.state, world.tally().failed), (JobState::Paused, 1));
    assert!(world.waves.iter().any(|wave| wave.number == 2 && wave.from.is_none() && wave.size == 1));
    assert!(world.retry(&Choice { wave: Some(1), ..Choice::default() }));
}

#[test]
fn waves_grow_from_the_canary_to_the_largest() {
    let sizes: Vec<u64> = (1..=6).map(|number| Rollout::default().wave_size(number)).collect();
    assert_eq!(sizes, [5, 50, 500, 5000, 10_000, 10_000]);
}

#[test]
fn failed_canaries_stop_the_job_before_its_second_wave() {
    let rollout = Rollout { canary: 3, error_budget: 10, error_budget_minimum: 20, ..Rollout::default() };
    let mut world = World::new(30, (0..30).collect(), Activation::Proven, rollout);
    world.wake(u32::MAX);
    while let Some(message) = world.messages.pop() {
        world.deliver(message);
    }
    world.wake(u32::MAX);
    assert_eq!((world.job.state, world.tally().dispatched), (JobState::Paused, 3));
    assert!(world.job.reason.contains("3 of 3 devices failed"), "{}", world.job.reason);
}

#[test]
fn a_failed_wave_pauses_despite_few_failures_in_total() {
    let rollout = Rollout { canary: 20, growth: 1, error_budget: 60, ..Rollout::default() };
    let mut world = World::new(50, BTreeSet::new(), Activation::Proven, rollout);
    for wave in 1..=2 {
        world.wake(u32::MAX);
        std::mem::take(&mut world.messages).into_iter().for_each(|message| world.deliver(message));
        if wave == 1 {
            let left = world.fleet.keys().filter(|device| world.state(Pass::Distribute, device).is_none());
            world.broken = left.cloned().collect();
        }
    }
    world.wake(u32::MAX);
    assert_eq!((world.job.state, world.tally().failed), (JobState::Paused, 20));
    assert!(world.job.reason.contains("20 of 20 devices of wave 2 failed"), "{}", world.job.reason);
}

/// Devices that fail do so late, after others of their wave have let the next one begin.
#[test]
fn late_failures_of_a_wave_pause_no_later_one() {
    let rollout = Rollout { canary: 20, growth: 1, error_budget: 20, error_budget_minimum: 1, ..Rollout::default() };
    let mut world = World::new(70, BTreeSet::new(), Activation::Proven, rollout);
    let mut late = Vec::new();
    for wave in 1..=3 {
        world.wake(u32::MAX);
        assert_eq!(world.wave_of.values().filter(|of| **of == wave).count(), 20, "{}", world.job.reason);
        late = std::mem::replace(&mut world.messages, late);
        let open = if wave == 2 { 3 } else { 0 };
        while wave < 3 && late.len() > open {
            world.deliver(late.pop().unwrap());
        }
    }
    world.broken.extend(world.messages.iter().map(|(_, device, _)| device.clone()));
    while let Some(message) = world.messages.pop() {
        world.deliver(message);
    }
    world.wake(u32::MAX);
    assert_eq!((world.job.state, world.tally().failed), (JobState::Running, 3), "{}", world.job.reason);
    // Of the third wave's own, no more may fail than of any wave: four.
    world.broken.extend(late.iter().skip(15).map(|(_, device, _)| device.clone()));
    while let Some(message) = late.pop() {
        world.deliver(message);
    }
    world.wake(u32::MAX);
    assert_eq!((world.job.state, world.tally().failed), (JobState::Paused, 8));
    assert!(world.job.reason.contains("5 of 20 devices of wave 3 failed"), "{}", world.job.reason);
}

/// However few fail in total: what earlier waves leave open is no allowance that grows.
#[test]
fn a_wave_of_failures_pauses_whatever_earlier_ones_left_open() {
    let rollout = Rollout { canary: 18, growth: 1, error_budget: 20, error_budget_minimum: 1, ..Rollout::default() };
    let mut world = World::new(120, BTreeSet::new(), Activation::Proven, rollout);
    world.wake(u32::MAX);
    let mut late = Vec::new();
    for wave in 1..=5 {
        let mut own = std::mem::replace(&mut world.messages, std::mem::take(&mut late));
        // Those that are late succeed.
        while let Some(message) = world.messages.pop() {
            world.deliver(message);
        }
        while world.job.wave_number() == wave {
            world.deliver(own.pop().unwrap());
            world.wake(u32::MAX);
        }
        late = own;
        assert!(late.len() <= 4, "{} of wave {wave} are open", late.len());
    }
    world.broken.extend(world.messages.iter().map(|(_, device, _)| device.clone()));
    world.messages.append(&mut late);
    while let Some(message) = world.messages.pop() {
        world.deliver(message);
    }
    world.wake(u32::MAX);
    assert_eq!(world.job.state, JobState::Paused, "{}", world.job.reason);
    assert!(world.job.reason.contains("of wave 6"), "{}", world.job.reason);
}

#[test]
fn silent_devices_are_resent_three_times_then_failed() {
    let mut world = World::new(2, BTreeSet::new(), Activation::Proven, Rollout::default());
    let mut sent = 0;
    for _ in 0..6 {
        world.wake(u32::MAX);
        sent += world.messages.len();
        world.messages.clear();
        world.now += STALL;
    }
    assert_eq!((sent, world.job.state, world.tally().failed), (2 * 4, JobState::Paused, 2));
}

#[test]
fn devices_under_way_are_resent_and_not_given_up() {
    let mut world = World::new(2, BTreeSet::new(), Activation::Proven, Rollout::default());
    world.under_way = BTreeSet::from([device(0)]);
    let stalls = |world: &mut World, count: usize| -> usize {
        let mut sent = 0;
        for _ in 0..count {
            world.wake(u32::MAX);
            sent += world.messages.len();
            world.messages.clear();
            world.now += STALL;
        }
        sent
    };
    assert_eq!(stalls(&mut world, 5), 2 * 4 + 1, "with the last one the other is given up");
    assert_eq!((world.job.state, world.tally().failed), (JobState::Running, 1));
    assert_eq!(stalls(&mut world, 5), 3 + 1 + 1, "three more times, and then a stall from each to the next");
    world.under_way.clear();
    stalls(&mut world, 1);
    assert_eq!((world.job.state, world.tally().failed), (JobState::Paused, 2));
}

/// A worker counts a deleted device as skipped after a sweep has counted it out, so the counters hide an open device.
#[test]
fn an_open_device_is_awaited_whatever_the_counters_say() {
    let rollout =
        Rollout { growth: 1, error_budget: 0, error_budget_minimum: 0, proof_age: 3600, ..Rollout::default() };
    let mut world = World::new(13, BTreeSet::new(), Activation::Proven, rollout);
    let deliver = |numbers: &[u8]| -> Vec<Event> {
        numbers.iter().map(|which| Event::Deliver { which: *which, doubled: false }).collect()
    };
    let begin = [vec![Event::Wake], deliver(&[0]), vec![Event::Abort, Event::Wake, Event::Pause], deliver(&[71])];
    let events = [vec![Event::Rename(0, 2), Event::Resume], deliver(&[108, 18]), vec![Event::Wake]];
    let more = [vec![Event::Minutes(200), Event::Wake], deliver(&[168, 43]), vec![Event::Wake, Event::Delete(3)]];
    let end = deliver(&[42, 134, 3, 3, 29]);
    [begin.concat(), events.concat(), more.concat(), end].concat().iter().for_each(|event| world.happen(event));
    assert!(world.tally().is_settled() && world.tasks(Pass::Withdraw).any(|task| task.state == TaskState::Waiting));
    assert_eq!(world.settle(&[]), JobOutcome::Aborted);
}

/// The survey meets the device while it is tried again, and its new result leaves the counters as they were.
#[test]
fn a_device_that_is_retried_during_a_survey_is_surveyed_again() {
    let rollout = Rollout { canary: 4, growth: 1, error_budget: 0, error_budget_minimum: 4, ..Rollout::default() };
    for mended in [true, false] {
        let mut world = World::new(13, BTreeSet::from([6]), Activation::Proven, rollout.clone());
        let deliver = |count: usize| vec![Event::Deliver { which: 0, doubled: false }; count];
        let begin = [vec![Event::Wake], deliver(3), vec![Event::Abort, Event::Wake], deliver(5)].concat();
        begin.iter().for_each(|event| world.happen(event));
        // It dies with the survey begun.
        world.happen(&Event::WakeAndDie(1));
        assert!(world.retry(&Choice::default()));
        if mended {
            world.broken.clear();
        }
        world.wake(u32::MAX);
        while let Some(message) = world.messages.pop() {
            world.deliver(message);
        }
        world.wake(u32::MAX);
        let state = if mended { JobState::Ended } else { JobState::Paused };
        assert_eq!((world.job.state, world.job.outcome.is_some()), (state, mended), "{}", world.job.reason);
        assert_eq!(world.settle(&[]), JobOutcome::Aborted);
    }
}

/// A worker skips a deleted device after a survey has counted it out, so the counters hide one that has no task yet.
#[test]
fn a_joined_device_is_awaited_whatever_the_counters_say() {
    let deliver = |which| Event::Deliver { which, doubled: false };
    for is_deleted in [false, true] {
        let mut world = World::new(19, BTreeSet::new(), Activation::Proven, Rollout::default());
        let begin = [Event::Join(100), Event::Join(101), Event::Abort, Event::Wake, Event::Delete(100)];
        let joins = [Event::Minutes(15), Event::Wake, deliver(0), Event::Join(102), Event::Wake, deliver(1)];
        begin.iter().chain(&joins).for_each(|event| world.happen(event));
        assert!(world.tally().is_settled() && world.state(Pass::Withdraw, &device(102)).is_none());
        world.wake(u32::MAX);
        assert_eq!((world.job.state, world.messages.len()), (JobState::Running, 3), "{}", world.job.reason);
        if is_deleted {
            world.happen(&Event::LoseAllMessages);
            world.happen(&Event::Delete(102));
        }
        assert_eq!(world.settle(&[]), JobOutcome::Aborted);
    }
}

#[test]
fn a_job_that_goes_on_tries_again_what_failed() {
    let rollout = Rollout { error_budget: 100, ..Rollout::default() };
    let mut world = World::new(3, BTreeSet::from([1]), Activation::Immediate, rollout);
    while world.job.outcome.is_none() {
        world.wake(u32::MAX);
        while let Some(message) = world.messages.pop() {
            world.deliver(message);
        }
    }
    assert_eq!(world.job.outcome, Some(JobOutcome::ActivatedWithFailures));
    world.broken.clear();
    world.happen(&Event::Continue(4));
    world.wake(u32::MAX);
    assert_eq!(world.messages, [(Pass::Distribute, device(1), 2)]);
}

/// While nobody may ask a device, its proof does not age. Once somebody may, it is as old as it is: its window opens, or its
/// labels give it none.
#[test]
fn a_proof_is_read_anew_once_its_device_may_be_asked() {
    let window = json!({ "where": "site=b", "from": "23:30", "to": "06:00", "zone": "UTC" });
    let windows = vec![serde_json::from_value(window).unwrap()];
    let rollout = Rollout { proof_age: 3600, windows, ..Rollout::default() };
    for event in [Event::Minutes(10), Event::Relabel(1, 2)] {
        let mut world = World::new(3, BTreeSet::new(), Activation::Proven, rollout.clone());
        let deliver = |world: &mut World, number: u8| {
            let at = world.messages.iter().position(|(_, to, _)| *to == device(number)).unwrap();
            let message = world.messages.remove(at);
            world.deliver(message);
            world.wake(u32::MAX);
        };
        // From 22:13 to 05:50, and to 23:25.
        world.now += Duration::minutes(457);
        world.wake(u32::MAX);
        deliver(&mut world, 1);
        deliver(&mut world, 2);
        world.happen(&Event::Pause);
        world.now += Duration::minutes(1055);
        world.happen(&Event::Resume);
        deliver(&mut world, 0);
        let sent = |number| [(Pass::Distribute, device(number), 2)];
        assert_eq!(world.messages, sent(2), "it has no window; device 1 has one, which is closed");
        world.happen(&event);
        deliver(&mut world, 2);
        world.check();
        assert_eq!(world.messages, sent(1), "{event:?}: {}", world.job.reason);
        deliver(&mut world, 1);
        world.check();
        assert_eq!(world.job.outcome, Some(JobOutcome::Activated), "{event:?}: {}", world.job.reason);
    }
}

/// A dead device has no result for many minutes. Of 20 devices, one is the budget: more waves than one have such a device.
#[test]
fn waves_overlap_past_the_stragglers_of_others() {
    let rollout = Rollout { canary: 20, growth: 1, error_budget: 5, ..Rollout::default() };
    let mut world = World::new(120, BTreeSet::new(), Activation::Proven, rollout);
    let mut stragglers = Vec::new();
    for wave in 1..=6 {
        world.wake(u32::MAX);
        assert_eq!(world.job.wave_number(), wave, "{}", world.job.reason);
        assert_eq!(world.messages.len(), 20);
        // The first wave is awaited.
        if wave > 1 {
            stragglers.extend(world.messages.pop());
        }
        while let Some(message) = world.messages.pop() {
            world.deliver(message);
        }
    }
    assert_eq!(stragglers.len(), 5);
}

/// They share a count with the first ones, in which a device has no result.
#[test]
fn waves_do_not_overlap_others_with_their_count() {
    let rollout = Rollout { canary: 2, growth: 1, error_budget: 50, ..Rollout::default() };
    let mut world = World::new(80, BTreeSet::new(), Activation::Proven, rollout);
    let mut straggler = None;
    for _ in 0..40 {
        world.wake(u32::MAX);
        if world.job.wave_number() == 2 && straggler.is_none() {
            straggler = world.messages.pop();
        }
        while let Some(message) = world.messages.pop() {
            world.deliver(message);
        }
    }
    assert_eq!(world.job.wave_number(), 33, "{}", world.job.reason);
    world.deliver(straggler.unwrap());
    world.wake(u32::MAX);
    assert_eq!(world.job.wave_number(), 34);
}

/// A device had lost the new root before the window opened in which it is read anew.
#[test]
fn a_loss_in_the_hold_down_is_reported_before_the_sample() {
    let window = json!({ "where": "site=b", "from": "23:30", "to": "06:00", "zone": "UTC" });
    let windows = vec![serde_json::from_value(window).unwrap()];
    let rollout = Rollout { proof_age: 3600, hold_down: 86_400, windows, ..Rollout::default() };
    let mut world = World::new(3, BTreeSet::new(), Activation::Proven, rollout);
    let deliver_all = |world: &mut World| {
        while let Some(message) = world.messages.pop() {
            world.deliver(message);
        }
        world.wake(u32::MAX);
    };
    // From 22:13 to 05:50, and to 23:25.
    world.now += Duration::minutes(457);
    world.wake(u32::MAX);
    let late = world.messages.remove(0);
    deliver_all(&mut world);
    world.happen(&Event::Pause);
    world.now += Duration::minutes(1055);
    world.happen(&Event::Resume);
    world.messages.push(late);
    deliver_all(&mut world);
    deliver_all(&mut world);
    assert_eq!((world.job.phase, world.messages.len()), (Phase::HoldDown, 0), "{}", world.job.reason);
    world.happen(&Event::Forget(1));
    world.now += Duration::minutes(10);
    world.wake(u32::MAX);
    deliver_all(&mut world);
    assert_eq!(world.job.state, JobState::Paused, "{}", world.job.reason);
    assert!(world.job.reason.contains("1 devices had lost the new root"), "{}", world.job.reason);
    world.happen(&Event::Resume);
    assert!(world.job.reason.ends_with("so the hold-down begins anew."), "{}", world.job.reason);
    assert_eq!(world.settle(&[]), JobOutcome::Activated);
}

/// Paused and resumed between its begin and its first wave, the withdrawal sends to nobody outside a wave.
#[test]
fn a_resumed_pass_sends_nothing_before_its_first_wave() {
    let mut world = World::new(3, BTreeSet::from([100]), Activation::Proven, Rollout::default());
    world.wake(u32::MAX);
    world.happen(&Event::Join(100));
    world.happen(&Event::Abort);
    world.happen(&Event::WakeAndDie(0));
    assert_eq!(world.job.phase, Phase::Withdraw);
    world.happen(&Event::Pause);
    world.happen(&Event::Resume);
    world.messages.clear();
    while world.messages.is_empty() {
        assert!(world.step(false));
    }
    assert_eq!(world.job.wave_number(), 1, "{:?}", world.messages);
}

/// When one site can be read, what the other proved is older than `proofAge`.
#[test]
fn sites_whose_windows_never_meet_open_the_gate_together() {
    let (weekend, work) = (["sat", "sun"].as_slice(), ["mon", "tue", "wed", "thu", "fri"].as_slice());
    let window = |site, days, from, to| json!({ "where": format!("site={site}"), "days": days, "from": from, "to": to, "zone": "UTC" });
    for (age, one, other) in [
        (86_400, (weekend, "22:00", "04:00"), (&work[1..], "01:00", "05:00")),
        (86_400, (weekend, "08:00", "16:00"), (work, "22:00", "04:00")),
        (86_400, (weekend, "00:00", "23:59"), (work, "00:00", "23:59")),
        (3600, (weekend, "00:00", "24:00"), (work, "00:00", "20:00")),
        (3600, (&[], "20:00", "23:30"), (work, "00:00", "20:00")),
    ] {
        let windows = json!([window("a", one.0, one.1, one.2), window("b", other.0, other.1, other.2)]);
        let windows = serde_json::from_value(windows).unwrap();
        for hold_down in [0, 86_400] {
            let rollout = Rollout { proof_age: age, hold_down, windows: Vec::clone(&windows), ..Rollout::default() };
            let mut world = World::new(6, BTreeSet::new(), Activation::Proven, rollout);
            assert!(world.run_calmly(), "{one:?} {other:?}: {} {}", world.now, world.job.reason);
            world.check();
            let visits = if hold_down > 0 { 3 } else { 2 };
            // The others have no window, and are asked each time.
            let mut waits = world.rows.values().filter(|task| !world.labels[&task.device].is_empty());
            assert!(waits.all(|task| task.attempt <= visits), "{:?}", world.rows);
            assert_eq!(world.job.outcome, Some(JobOutcome::Activated), "{}", world.job.reason);
        }
    }
}

#[test]
fn a_resumed_gate_ages_what_closed_sites_proved() {
    let of = |site, day| json!({ "where": format!("site={site}"), "days": [day], "from": "01:00", "to": "09:00", "zone": "UTC" });
    let windows = serde_json::from_value(json!([of("a", "wed"), of("b", "fri")])).unwrap();
    let rollout = Rollout { proof_age: 3600, windows, ..Rollout::default() };
    // Once the gate waits for site a, and once that is asked.
    for (is_asked, pause) in [(false, Duration::days(10)), (true, Duration::MINUTE)] {
        let mut world = World::new(6, BTreeSet::new(), Activation::Proven, rollout.clone());
        loop {
            world.wake(u32::MAX);
            let asks = world.messages.iter().any(|(_, to, _)| *to == device(0));
            if world.job.waits_since.is_some() && asks == is_asked {
                break;
            }
            std::mem::take(&mut world.messages).into_iter().for_each(|message| world.deliver(message));
            world.now += Duration::minutes(5);
            assert_eq!(world.job.state, JobState::Running, "{}", world.job.reason);
        }
        world.happen(&Event::Pause);
        world.now += pause;
        world.happen(&Event::Resume);
        let resumed = world.now;
        assert!(world.run_calmly(), "{}", world.job.reason);
        assert_eq!(world.job.outcome, Some(JobOutcome::Activated));
        assert!(world.proved.values().all(|at| *at >= resumed), "{resumed} {:?}", world.proved);
        world.check();
    }
}

/// Three stragglers of the wave before have succeeded, and excuse nobody.
#[test]
fn a_retry_does_not_excuse_a_waves_failures() {
    let rollout = Rollout { canary: 20, growth: 1, error_budget: 20, error_budget_minimum: 1, ..Rollout::default() };
    let mut world = World::new(100, BTreeSet::new(), Activation::Proven, rollout);
    for wave in 1..=3 {
        world.wake(u32::MAX);
        let open = if wave == 2 { 3 } else { 0 };
        if wave == 3 {
            let own =
                world.messages.iter().filter(|(_, device, _)| world.wave_of[&(Pass::Distribute, device.clone())] == 3);
            world.broken = own.take(5).map(|(_, device, _)| device.clone()).collect();
        }
        while world.messages.len() > open {
            let message = world.messages.remove(0);
            world.deliver(message);
        }
    }
    for tried in ["first", "again"] {
        world.wake(u32::MAX);
        assert_eq!(world.job.state, JobState::Paused, "{tried}: {}", world.job.reason);
        assert!(world.job.reason.contains("5 of 20 devices of wave 3 failed"), "{tried}: {}", world.job.reason);
        world.now += Duration::SECOND;
        let one = BTreeSet::from([world.broken.first().unwrap().clone()]);
        world.asked_for.extend(one.iter().map(|device| (Pass::Distribute, device.clone())));
        let selection = Selection { devices: one, ..Selection::everything(world.now) };
        world.job = world.job.clone().retry(selection, world.now).unwrap();
        world.wake(u32::MAX);
        while let Some(message) = world.messages.pop() {
            world.deliver(message);
        }
    }
}
