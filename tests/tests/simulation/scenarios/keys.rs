//! Every key ends: it is a root's, or it is given up.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::{ROLLOUT, Scene, scene};
use crate::cloud::Faults;
use crate::dynamo::CERTIFICATES;
use crate::end;
use crate::keys::State;

impl Scene {
    fn key_count(&self) -> usize {
        self.world.cloud.keys.states().len()
    }

    /// The answer of the next CreateKey is lost.
    async fn lose_key(&self, generation: u32) {
        let before = self.key_count();
        while self.world.cloud.tables.named(CERTIFICATES, &format!("root#{generation:010}")).is_none() {
            sleep(Duration::from_millis(1)).await;
        }
        self.world.faults(Faults { lost_answer: 1.0, ..Faults::default() });
        while self.key_count() == before {
            sleep(Duration::from_millis(1)).await;
        }
        self.world.faults(Faults::default());
    }

    fn given_up(&self) -> usize {
        let states = self.world.cloud.keys.states();
        states.iter().filter(|(_, state)| matches!(state, State::PendingDeletion(_))).count()
    }
}

/// The tags are the only trace of it, and KMS's index of them lags behind.
#[test]
fn a_lost_key_is_given_up_after_a_short_job() {
    scene(1, async |scene| {
        let (job, ()) = tokio::join!(scene.world.regenerate(ROLLOUT), scene.lose_key(2));
        assert_eq!(job, None, "the request failed");
        let job = scene.begin().await;
        assert_eq!(scene.world.ended(job).await["outcome"], "activated");
        end::rest(&scene.world).await;
        scene.world.assert_whole();
        assert_eq!((scene.key_count(), scene.given_up()), (5, 1));
    });
}

#[test]
fn an_aborted_roots_key_is_given_up_after_a_short_job() {
    scene(1, async |scene| {
        let job = scene.begin().await;
        scene.post(job, "abort", Value::Null).await;
        assert_eq!(scene.world.ended(job).await["outcome"], "aborted");
        end::rest(&scene.world).await;
        scene.world.assert_whole();
        assert_eq!((scene.key_count(), scene.given_up()), (3, 1));
    });
}
