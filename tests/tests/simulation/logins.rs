//! Log-in attempts are counted exactly, even if answers are lost.

use rootcast_core::access::lockout::Counted;
use serde_json::Value;

use crate::clock;
use crate::cloud::Faults;
use crate::dynamo::ACCESS;
use crate::world::World;

#[test]
fn an_attempt_whose_answer_was_lost_counts_once() {
    for whose in [Counted::Name, Counted::Source] {
        World::live(1, async |world| {
            let ledger = world.functions.ledger();
            world.faults(Faults { lost_answer: 0.3, ..Faults::default() });
            for _ in 0..9 {
                ledger.count_attempt(whose, "10.0.0.7", clock::now()).await.unwrap();
            }
            assert_eq!(failures(&world), 9, "{whose:?}\n{}", world.cloud.trace());
            if whose == Counted::Source {
                for _ in 0..5 {
                    ledger.forgive_attempt(whose, "10.0.0.7").await.unwrap();
                }
                assert_eq!(failures(&world), 4, "{}", world.cloud.trace());
            }
            assert!(world.cloud.injected()["answer lost"] > 5);
        });
    }
}

fn failures(world: &World) -> Value {
    let rows = world.cloud.tables.all(ACCESS);
    rows.into_iter().find(|row| row["id"].as_str().unwrap().starts_with("attempts#")).unwrap()["failures"].take()
}
