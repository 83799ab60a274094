//! A root's key that stays awake: what the conductor tells CloudWatch each minute, whose alarm is in the template.

use rootcast_ledger::{Change, Waking};
use serde_json::json;
use time::{Duration, OffsetDateTime};

use crate::stack::{LIMIT, Stack, until};

/// Of a root that there is not, so that nobody can put its key to sleep.
const GONE: u32 = 99;

impl Stack {
    async fn change_waking(&self, waking: Option<Waking>) {
        until("the record is changed", LIMIT, async || {
            let mut record = self.ledger.sleep().await.unwrap();
            match &waking {
                Some(waking) => drop(record.awake.insert(GONE, waking.clone())),
                None => drop(record.awake.remove(&GONE)),
            }
            self.ledger.commit(Change { sleep: Some(&record), ..Change::default() }).await.ok()
        })
        .await;
    }

    /// After the conductor has looked at it.
    async fn told(&self) -> usize {
        self.invoke("ConductFunction", &json!({ "wake": "running" })).await;
        self.log("ConductFunction").await.matches("\"RootKeysAwake\":1").count()
    }
}

#[tokio::test]
async fn a_root_key_that_stays_awake_is_counted() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let now = OffsetDateTime::now_utc();
        let waking = |minutes| {
            let since = now - Duration::minutes(minutes);
            Waking { owner: "somebody".to_owned(), since, until: since + Duration::MINUTE, why: "a test".to_owned() }
        };
        stack.change_waking(Some(waking(5))).await;
        assert_eq!(stack.told().await, 0, "a crash is swept up by then");
        stack.change_waking(Some(waking(11))).await;
        let told = stack.told().await;
        assert!(told > 0, "{}", stack.log("ConductFunction").await);
        stack.change_waking(None).await;
        let told = stack.told().await;
        assert_eq!(stack.told().await, told);
    })
    .await;
}
