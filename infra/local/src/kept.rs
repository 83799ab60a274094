//! What is made once per process: one that tests starts more than a hundred stacks.

use std::{collections::HashMap, hash::Hash, sync::LazyLock};

use anyhow::Result;
use tokio::sync::Mutex;

pub(crate) struct Kept<K, V>(LazyLock<Mutex<HashMap<K, V>>>);

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    pub(crate) const fn new() -> Self {
        Self(LazyLock::new(Mutex::default))
    }

    /// The value of `key`, made now if it was not made before. Whoever asks at the same time waits for it.
    pub(crate) async fn or_make(&self, key: K, make: impl Future<Output = Result<V>>) -> Result<V> {
        let mut kept = self.0.lock().await;
        if let Some(value) = kept.get(&key) {
            return Ok(value.clone());
        }
        let value = make.await?;
        kept.insert(key, value.clone());
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use anyhow::anyhow;

    use super::Kept;

    #[tokio::test]
    async fn a_value_is_made_once_and_a_failure_is_not_kept() {
        static KEPT: Kept<&str, u32> = Kept::new();
        KEPT.or_make("a", async { Err(anyhow!("not yet")) }).await.unwrap_err();
        assert_eq!(KEPT.or_make("a", async { Ok(1) }).await.unwrap(), 1);
        assert_eq!(KEPT.or_make("a", async { Ok(2) }).await.unwrap(), 1);
        assert_eq!(KEPT.or_make("b", async { Ok(3) }).await.unwrap(), 3);
    }
}
