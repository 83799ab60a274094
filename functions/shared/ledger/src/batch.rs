//! Many items in few calls.

use std::collections::HashSet;

use aws_sdk_dynamodb::types::KeysAndAttributes;

use crate::item::Item;
use crate::retries::{ATTEMPTS, pause};
use crate::{Ledger, LedgerError};

/// Most keys in one BatchGetItem.
const AT_ONCE: usize = 100;
/// The possible key attributes, all of them text.
const PARTS: [&str; 3] = ["id", "pk", "sk"];

impl Ledger {
    /// Consistent reads of existing items, without duplicates, in no order. Makes no call without keys.
    pub(crate) async fn batch_get_of(
        &self,
        table: &str,
        mut keys: Vec<Item>,
        operation: &'static str,
    ) -> Result<Vec<Item>, LedgerError> {
        // BatchGetItem refuses duplicate keys.
        let mut seen = HashSet::new();
        keys.retain(|key| seen.insert(PARTS.map(|part| key.get(part).and_then(|name| name.as_s().ok()).cloned())));
        let mut items = Vec::new();
        for part in keys.chunks(AT_ONCE) {
            let mut keys = part.to_vec();
            let mut in_vain = 0;
            while !keys.is_empty() {
                let asked = keys.len();
                let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
                let wanted =
                    wanted.map_err(|source| LedgerError::Unwritable { what: operation, source: Box::new(source) })?;
                let answer = self.client.batch_get_item().request_items(table, wanted).send().await;
                let answer = answer.map_err(LedgerError::aws(operation))?;
                items.extend(answer.responses.unwrap_or_default().remove(table).unwrap_or_default());
                let left = answer.unprocessed_keys.unwrap_or_default().remove(table);
                keys = left.map(|left| left.keys).unwrap_or_default();
                if keys.is_empty() {
                    break;
                }
                // A response has at most 16 MB, so unprocessed keys do not always mean throttling.
                in_vain = if keys.len() < asked { 0 } else { in_vain + 1 };
                if in_vain >= ATTEMPTS {
                    return Err(LedgerError::Transient {
                        operation,
                        source: "DynamoDB leaves keys unprocessed".into(),
                    });
                }
                pause(in_vain + 1).await;
            }
        }
        Ok(items)
    }
}
