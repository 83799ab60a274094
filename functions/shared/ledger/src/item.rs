//! Conversion between records and items.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::LedgerError;

pub(crate) type Item = HashMap<String, AttributeValue>;

/// Converts a record, and refuses one that is too large. In a transaction, DynamoDB's own error would not say which
/// record it was.
pub(crate) fn to_item<T: Serialize>(what: &'static str, record: &T) -> Result<Item, LedgerError> {
    let item: Item =
        serde_dynamo::to_item(record).map_err(|source| LedgerError::Unwritable { what, source: Box::new(source) })?;
    let bytes = size(&item);
    if bytes > LARGEST { Err(LedgerError::TooLarge { what, bytes }) } else { Ok(item) }
}

/// DynamoDB's 400 KB per item, less 2 KB for keys and index attributes, which are added later.
const LARGEST: usize = (400 - 2) << 10;

/// As DynamoDB counts, rounded up:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>.
fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + size_of(value)).sum()
}

fn size_of(value: &AttributeValue) -> usize {
    // 3 bytes for a list or map, and 1 per element.
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        // One byte per two digits, and one for the exponent; at most 21.
        AttributeValue::N(_) => 21,
        AttributeValue::L(list) => 3 + list.iter().map(|each| 1 + size_of(each)).sum::<usize>(),
        AttributeValue::M(map) => 3 + map.len() + size(map),
        AttributeValue::Ss(set) => set.iter().map(String::len).sum(),
        AttributeValue::Ns(set) => 21 * set.len(),
        AttributeValue::Bs(set) => set.iter().map(|each| each.as_ref().len()).sum(),
        _ => 1,
    }
}

/// Ignores key attributes that are not part of the record.
pub(crate) fn from_item<T: DeserializeOwned>(what: &'static str, item: Item) -> Result<T, LedgerError> {
    serde_dynamo::from_item(item).map_err(|source| LedgerError::Corrupt { what, source: Box::new(source) })
}

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The key of a table with a partition key only.
pub(crate) fn id_key(id: impl Into<String>) -> Item {
    HashMap::from([("id".to_owned(), text(id))])
}

/// The key of an item in the jobs table.
pub(crate) fn job_key(partition: impl Into<String>, sort: impl Into<String>) -> Item {
    HashMap::from([("pk".to_owned(), text(partition)), ("sk".to_owned(), text(sort))])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use super::*;

    #[test]
    fn a_record_too_large_for_dynamodb_is_refused() {
        let record = |bytes: usize| HashMap::from([("reason", "x".repeat(bytes))]);
        assert!(to_item("job", &record(LARGEST - 6)).is_ok());
        let error = to_item("job", &record(LARGEST - 5)).unwrap_err();
        assert!(matches!(error, LedgerError::TooLarge { what: "job", bytes } if bytes == LARGEST + 1), "{error:?}");
    }

    #[test]
    fn lists_and_maps_count_with_all_their_elements() {
        let record = HashMap::from([("devices", vec!["ab"; 10])]);
        assert_eq!(size(&to_item("job", &record).unwrap()), 7 + 3 + 10 * 3);
        let record = HashMap::from([("cursor", HashMap::from([("step", 4)]))]);
        assert_eq!(size(&to_item("job", &record).unwrap()), 6 + 3 + 1 + 4 + 21);
    }
}
