//! Log-in attempts are counted exactly, even if answers are lost, and however many there are at once.

use std::cell::Cell;
use std::time::Duration;

use futures::future::join_all;
use rootcast_core::access::lockout::Counted;
use rootcast_ledger::{Attempted, Locked, NotCounted};
use tokio::time::{Instant, sleep};

use crate::clock;
use crate::cloud::Faults;
use crate::dynamo::{ACCESS, Row};
use crate::world::World;

const PAIR: Counted<'_> = Counted::Pair { name: "ops", source: "10.0.0.7" };
const ALL: [Counted<'_>; 3] = [PAIR, Counted::Source("10.0.0.7"), Counted::Name("ops")];
/// As long as a password is verified.
const VERIFIED: Duration = Duration::from_millis(100);

/// One attempt: whether its password was verified.
async fn attempt(world: &World, of: Counted<'_>, id: usize, attempted: Attempted) -> bool {
    let ledger = world.functions.ledger();
    let reserved = ledger.reserve_attempt(of, &format!("attempt-{id}"), clock::now(), Instant::now()).await;
    match reserved {
        Ok(reservation) => {
            sleep(VERIFIED).await;
            ledger.settle_attempt(reservation, attempted, clock::now()).await.unwrap();
            true
        }
        Err(NotCounted::Locked(Locked(pause))) => {
            assert!(pause >= time::Duration::SECOND);
            false
        }
        Err(NotCounted::Ledger(error)) => panic!("{error:?}"),
    }
}

#[test]
fn an_attempt_whose_answer_was_lost_counts_once() {
    for of in ALL {
        World::live(1, async |world| {
            world.faults(Faults { lost_answer: 0.3, ..Faults::default() });
            for id in 0..9 {
                assert!(attempt(&world, of, id, Attempted::Wrong).await);
            }
            for id in 9..20 {
                assert!(attempt(&world, of, id, Attempted::Not).await);
            }
            assert_eq!((failures(&world), in_flight(&world)), (9, 0), "{of:?}\n{}", world.cloud.trace());
            assert!(world.cloud.injected()["answer lost"] > 5);
        });
    }
}

#[test]
fn two_hundred_right_passwords_at_once_all_succeed() {
    for of in ALL {
        World::live(2, async |world| {
            let all = (0..200).map(|id| attempt(&world, of, id, Attempted::Right));
            assert!(join_all(all).await.into_iter().all(|verified| verified), "{}", world.cloud.trace());
            assert_eq!((failures(&world), in_flight(&world)), (0, 0));
        });
    }
}

#[test]
fn many_wrong_passwords_at_once_stay_within_the_limit() {
    for (of, limit) in ALL.into_iter().zip([10, 30, 100]) {
        World::live(3, async |world| {
            let (most, now) = (Cell::new(0), Cell::new(0));
            let all = (0..300).map(async |id| {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                let verified = attempt(&world, of, id, Attempted::Wrong).await;
                now.set(now.get() - 1);
                verified
            });
            let verified = join_all(all).await.into_iter().filter(|verified| *verified).count();
            assert_eq!(most.get(), 300);
            // Those who had waited for a place may come after the first delays, of one and of two seconds.
            assert!((limit..=limit + 2).contains(&verified), "{of:?}: {verified}\n{}", world.cloud.trace());
        });
    }
}

#[test]
fn an_attempt_that_died_counts_as_a_failure() {
    World::live(4, async |world| {
        let ledger = world.functions.ledger();
        for id in 0..10 {
            drop(ledger.reserve_attempt(PAIR, &id.to_string(), clock::now(), Instant::now()).await.unwrap());
        }
        assert_eq!((failures(&world), in_flight(&world)), (0, 10));
        // It waits for the ten in vain.
        assert!(!attempt(&world, PAIR, 10, Attempted::Right).await);
        sleep(Duration::from_secs(30)).await;
        assert!(!attempt(&world, PAIR, 11, Attempted::Right).await, "ten failures delay the next attempt");
        assert_eq!((failures(&world), in_flight(&world)), (10, 0));
    });
}

fn row(world: &World) -> Row {
    let rows = world.cloud.tables.all(ACCESS);
    rows.into_iter().find(|row| row["id"].as_str().unwrap().starts_with("attempts#")).unwrap()
}

/// Failures that are not forgotten: each is remembered for a time that depends on the count.
fn failures(world: &World) -> i64 {
    let row = row(world);
    let memory = match row["id"].as_str().unwrap().split('#').nth(1).unwrap() {
        "pair" => 900,
        "from" => 300,
        _ => 60,
    };
    let left = row["forgotten"].as_i64().unwrap() - clock::now().unix_timestamp();
    (left.max(0) + memory - 1) / memory
}

fn in_flight(world: &World) -> usize {
    row(world)["in_flight"].as_object().unwrap().len()
}
