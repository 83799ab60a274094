//! Job ids: taking one conflicts with no other write, and none is given twice.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::scene;

/// Many deployments begin, and each takes an id.
#[test]
fn taken_job_ids_neither_recur_nor_stop_a_rollover() {
    scene(2, async |scene| {
        let ids = Rc::new(RefCell::new(Vec::new()));
        let (ledger, taken) = (scene.world.functions.ledger(), Rc::clone(&ids));
        let deploying = spawn_local(async move {
            for _ in 0..2000 {
                let id = ledger.next_job_id().await.unwrap();
                taken.borrow_mut().push(id.0);
                sleep(Duration::from_millis(2)).await;
            }
        });
        let first = scene.begin().await;
        assert_eq!(scene.world.ended(first).await["outcome"], "activated");
        let second = scene.begin().await;
        scene.post(second, "abort", Value::Null).await;
        assert_eq!(scene.world.ended(second).await["outcome"], "aborted");
        assert!(!deploying.is_finished(), "all along");
        deploying.abort();
        ids.borrow_mut().extend([first, second]);
        let different: BTreeSet<u64> = ids.borrow().iter().copied().collect();
        assert_eq!(different.len(), ids.borrow().len(), "{ids:?}");
    });
}
