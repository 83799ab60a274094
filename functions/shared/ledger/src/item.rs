//! Records to items and back.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::LedgerError;

pub(crate) type Item = HashMap<String, AttributeValue>;

pub(crate) fn to_item<T: Serialize>(what: &'static str, record: &T) -> Result<Item, LedgerError> {
    serde_dynamo::to_item(record).map_err(|source| LedgerError::Unwritable { what, source: Box::new(source) })
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
