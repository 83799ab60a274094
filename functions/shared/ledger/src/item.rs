//! Records to items and back.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::LedgerError;

pub(crate) type Item = HashMap<String, AttributeValue>;

/// The record, where DynamoDB takes it: a transaction with one that is too large would fail as a whole, and say so to
/// nobody who could do something about it.
pub(crate) fn to_item<T: Serialize>(what: &'static str, record: &T) -> Result<Item, LedgerError> {
    let item: Item =
        serde_dynamo::to_item(record).map_err(|source| LedgerError::Unwritable { what, source: Box::new(source) })?;
    let bytes = size(&item);
    if bytes > LARGEST { Err(LedgerError::TooLarge { what, bytes }) } else { Ok(item) }
}

/// DynamoDB's 400 KB an item, less 2 KB for keys and attributes of indexes, which follow.
const LARGEST: usize = (400 - 2) << 10;

/// As DynamoDB counts, rounded up:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>.
fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + size_of(value)).sum()
}

fn size_of(value: &AttributeValue) -> usize {
    // Of a list or a map 3 bytes, and one an element.
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        // Two digits a byte, and one for the exponent; at most 21.
        AttributeValue::N(_) => 21,
        AttributeValue::L(list) => 3 + list.iter().map(|each| 1 + size_of(each)).sum::<usize>(),
        AttributeValue::M(map) => 3 + map.len() + size(map),
        AttributeValue::Ss(set) => set.iter().map(String::len).sum(),
        AttributeValue::Ns(set) => 21 * set.len(),
        AttributeValue::Bs(set) => set.iter().map(|each| each.as_ref().len()).sum(),
        _ => 1,
    }
}

/// Key attributes that are not the record's own are passed over.
pub(crate) fn from_item<T: DeserializeOwned>(what: &'static str, item: Item) -> Result<T, LedgerError> {
    serde_dynamo::from_item(item).map_err(|source| LedgerError::Corrupt { what, source: Box::new(source) })
}

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The key of the tables that have only a partition key.
pub(crate) fn id_key(id: impl Into<String>) -> Item {
    HashMap::from([("id".to_owned(), text(id))])
}

/// The key of the jobs table.
pub(crate) fn job_key(partition: impl Into<String>, sort: impl Into<String>) -> Item {
    HashMap::from([("pk".to_owned(), text(partition)), ("sk".to_owned(), text(sort))])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use super::*;

    #[test]
    fn a_record_that_dynamodb_would_refuse_is_refused_before() {
        let record = |bytes: usize| HashMap::from([("reason", "x".repeat(bytes))]);
        assert!(to_item("job", &record(LARGEST - 6)).is_ok());
        let error = to_item("job", &record(LARGEST - 5)).unwrap_err();
        assert!(matches!(error, LedgerError::TooLarge { what: "job", bytes } if bytes == LARGEST + 1), "{error:?}");
    }

    #[test]
    fn lists_and_maps_count_with_all_that_is_in_them() {
        let record = HashMap::from([("devices", vec!["ab"; 10])]);
        assert_eq!(size(&to_item("job", &record).unwrap()), 7 + 3 + 10 * 3);
        let record = HashMap::from([("cursor", HashMap::from([("step", 4)]))]);
        assert_eq!(size(&to_item("job", &record).unwrap()), 6 + 3 + 1 + 4 + 21);
    }
}
