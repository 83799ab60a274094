//! What each write of DynamoDB is charged for, by who writes which kind of item, for the figures of a rollover.

use std::collections::BTreeMap;

use dynoxide::Database;
use dynoxide::types::{Item, item_size, table_write_capacity_units, write_capacity_units};
use serde_json::{Map, Value, json};

use crate::dynamo::key_names;
use crate::functions::Function;

/// Write units, how many writes, and the largest item in bytes.
#[derive(Debug, Default, Clone, Copy)]
pub struct Charge {
    pub units: f64,
    pub writes: u32,
    pub largest: usize,
}

/// By function, operation, kind of item, and the table or one of its indexes.
pub type Charges = BTreeMap<String, Charge>;

/// One write of a request, with the item that it replaces.
pub struct Write {
    table: String,
    key: Value,
    operation: &'static str,
    factor: f64,
    before: Option<Item>,
}

const OPERATIONS: [&str; 4] = ["Put", "Update", "Delete", "ConditionCheck"];

/// The writes of a request, before it is carried out.
pub fn writes(database: &Database, operation: &str, body: &[u8]) -> Vec<Write> {
    let body: Value = serde_json::from_slice(body).unwrap();
    let one = |write: &Value, operation, factor| {
        let table = write["TableName"].as_str().unwrap().to_owned();
        let named = write.get("Key").or_else(|| write.get("Item")).unwrap();
        let key: Value = key_names(&table).iter().map(|name| ((*name).to_owned(), named[*name].clone())).collect();
        let before = item(database, &table, &key);
        Write { table, key, operation, factor, before }
    };
    if operation != "TransactWriteItems" {
        let operation = OPERATIONS.into_iter().find(|known| operation.starts_with(known)).unwrap();
        return vec![one(&body, operation, 1.0)];
    }
    let inner = |write: &Value| OPERATIONS.into_iter().find_map(|kind| Some(one(write.get(kind)?, kind, 2.0))).unwrap();
    body["TransactItems"].as_array().unwrap().iter().map(inner).collect()
}

fn item(database: &Database, table: &str, key: &Value) -> Option<Item> {
    let request = json!({ "TableName": table, "Key": key, "ConsistentRead": true });
    let answer = database.get_item(serde_json::from_value(request).unwrap()).unwrap();
    serde_json::from_value(serde_json::to_value(answer).unwrap().get("Item")?.clone()).ok()
}

/// Adds what the writes are charged for, after they were carried out. `tables`: their definitions.
pub fn add(charges: &mut Charges, database: &Database, tables: &[Value], function: Function, writes: Vec<Write>) {
    for write in writes {
        let after = item(database, &write.table, &write.key);
        let mut count = |place: &str, units: f64, bytes: usize| {
            let kind = kind(write.key.as_object().unwrap());
            let charge = charges.entry(format!("{function:?} {} {kind} {place}", write.operation)).or_default();
            charge.units += units;
            charge.writes += 1;
            charge.largest = charge.largest.max(bytes);
        };
        let [old, new] = [&write.before, &after].map(|image| image.as_ref().map(item_size));
        let bytes = old.max(new).unwrap_or_default();
        count(&write.table, write.factor * table_write_capacity_units(old, new), bytes);
        let definition = tables.iter().find(|table| table["TableName"] == *write.table).unwrap();
        for index in definition["GlobalSecondaryIndexes"].as_array().into_iter().flatten() {
            let entry = |image: &Option<Item>| entry(image.as_ref()?, index, &write.table);
            let (units, bytes) = match (entry(&write.before), entry(&after)) {
                (None, None) => continue,
                (Some((_, _, old)), None) => (write_capacity_units(old), old),
                (None, Some((_, _, new))) => (write_capacity_units(new), new),
                (Some((was, _, old)), Some((is, _, new))) if was != is => {
                    (write_capacity_units(old) + write_capacity_units(new), old.max(new))
                }
                (Some((_, was, _)), Some((_, is, _))) if was == is => continue,
                (Some((_, _, old)), Some((_, _, new))) => (write_capacity_units(old.max(new)), old.max(new)),
            };
            count(index["IndexName"].as_str().unwrap(), units, bytes);
        }
    }
}

/// The entry's key in the index, all of it, and its size.
fn entry(item: &Item, index: &Value, table: &str) -> Option<(Value, Value, usize)> {
    let named = |names: Vec<&str>| {
        names.into_iter().filter_map(|name| Some((name.to_owned(), item.get(name)?.clone()))).collect::<Item>()
    };
    let keys: Vec<&str> =
        index["KeySchema"].as_array().unwrap().iter().map(|key| key["AttributeName"].as_str().unwrap()).collect();
    let key = named(keys.clone());
    if key.len() < keys.len() {
        return None;
    }
    let more = index["Projection"]["NonKeyAttributes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let all = named(keys.into_iter().chain(key_names(table).iter().copied()).chain(more).collect());
    let size = item_size(&all);
    Some((json!(key), json!(all), size))
}

/// The letters with which each part of the key begins.
fn kind(key: &Map<String, Value>) -> String {
    let letters = |part: &Value| -> String {
        part["S"].as_str().unwrap_or_default().chars().take_while(char::is_ascii_alphabetic).collect()
    };
    let parts: Vec<String> = key.values().map(letters).filter(|part| !part.is_empty()).collect();
    parts.join("/")
}
