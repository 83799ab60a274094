//! DynamoDB: a strict engine in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use dynoxide::storage_backend::Clock;
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::charges::{self, Charges};
use crate::clock;
use crate::cloud::Refusal;
use crate::functions::Function;

pub const CERTIFICATES: &str = "certificates";
pub const JOBS: &str = "jobs";
pub const DEVICES: &str = "devices";
pub const ACCESS: &str = "access";
pub const AUDIT: &str = "audit";
pub const HEADS: &str = "heads";
pub const NAMES: [&str; 6] = [CERTIFICATES, JOBS, DEVICES, ACCESS, AUDIT, HEADS];

pub struct Tables {
    database: Database,
    /// Write units used, by table.
    units: Mutex<BTreeMap<String, f64>>,
    /// Each write by itself, in worlds that ask for it.
    charges: Mutex<Option<Charges>>,
}

/// Every row with its types, by table and key.
pub type Rows = BTreeMap<(&'static str, String), Value>;

/// A row's key in DynamoDB's format, without types.
pub type Key = Map<String, Value>;

struct VirtualClock;

impl Clock for VirtualClock {
    fn now_unix_secs(&self) -> u64 {
        clock::milliseconds(clock::now()) / 1000
    }

    fn now_unix_secs_f64(&self) -> f64 {
        clock::milliseconds(clock::now()) as f64 / 1000.0
    }
}

impl Tables {
    pub fn new() -> Self {
        let database = Database::memory_with_clock(Arc::new(VirtualClock)).unwrap();
        for table in tables() {
            database.create_table(serde_json::from_value(table).unwrap()).unwrap();
        }
        Self { database, units: Mutex::default(), charges: Mutex::default() }
    }

    pub fn write_units(&self) -> f64 {
        self.units.lock().unwrap().values().sum()
    }

    /// What was charged since the last call, once it was called.
    pub fn charges(&self) -> Charges {
        self.charges.lock().unwrap().replace(Charges::new()).unwrap_or_default()
    }

    /// A refusal has an entry in the audit, and changes nothing else.
    pub fn write_units_without_audit(&self) -> f64 {
        self.units.lock().unwrap().iter().filter(|(table, _)| *table != AUDIT).map(|(_, units)| units).sum()
    }

    pub fn call(&self, function: Function, operation: &str, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let writes = matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems");
        let counted = writes.then(|| [&body[..body.len() - 1], br#","ReturnConsumedCapacity":"TOTAL"}"#].concat());
        let body = counted.as_deref().unwrap_or(body);
        let database = &self.database;
        let is_charged = writes && self.charges.lock().unwrap().is_some();
        let charged = is_charged.then(|| charges::writes(database, operation, body));
        let answer = match operation {
            "GetItem" => run(body, |request| database.get_item(request)),
            "PutItem" => run(body, |request| database.put_item(request)),
            "UpdateItem" => run(body, |request| database.update_item(request)),
            "DeleteItem" => run(body, |request| database.delete_item(request)),
            "Query" => run(body, |request| database.query(request)),
            "Scan" => run(body, |request| database.scan(request)),
            "BatchGetItem" => run(body, |request| database.batch_get_item(request)),
            "TransactWriteItems" => run(body, |request| database.transact_write_items(request)),
            "TransactGetItems" => run(body, |request| database.transact_get_items(request)),
            other => Err(Refusal::new("UnknownOperationException", format!("{function:?} called {other}"))),
        }?;
        if writes {
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            let used = &answer["ConsumedCapacity"];
            let all: &[Value] = used.as_array().map_or(std::slice::from_ref(used), Vec::as_slice);
            let mut units = self.units.lock().unwrap();
            for used in all {
                let table = used["TableName"].as_str().unwrap_or_default().to_owned();
                *units.entry(table).or_default() += used["CapacityUnits"].as_f64().unwrap_or(0.0);
            }
        }
        if let (Some(writes), Some(charges)) = (charged, &mut *self.charges.lock().unwrap()) {
            charges::add(charges, database, &tables(), function, writes);
        }
        Ok(answer)
    }

    /// A read by the tests.
    fn read<Q: DeserializeOwned, A: Serialize>(
        &self,
        request: &Value,
        call: impl FnOnce(&Database, Q) -> Result<A, DynoxideError>,
    ) -> Value {
        let request = serde_json::to_vec(request).unwrap();
        serde_json::from_slice(&run(&request, |request| call(&self.database, request)).unwrap()).unwrap()
    }

    /// One row, without the types of its values.
    pub fn row(&self, table: &str, key: &Key) -> Option<Value> {
        let key: Map<String, Value> = key.iter().map(|(name, value)| (name.clone(), json!({ "S": value }))).collect();
        let request = json!({ "TableName": table, "Key": key, "ConsistentRead": true });
        let answer = self.read(&request, |database, request| database.get_item(request));
        answer.get("Item").map(plain)
    }

    pub fn named(&self, table: &str, id: &str) -> Option<Value> {
        self.row(table, &Map::from_iter([("id".to_owned(), id.into())]))
    }

    /// All rows of a partition of the jobs table.
    pub fn partition(&self, pk: &str) -> Vec<Value> {
        let mut request = json!({
            "TableName": JOBS, "KeyConditionExpression": "pk = :pk", "ConsistentRead": true,
            "ExpressionAttributeValues": { ":pk": { "S": pk } },
        });
        let mut rows = Vec::new();
        loop {
            let answer = self.read(&request, |database, request| database.query(request));
            rows.extend(answer["Items"].as_array().unwrap().iter().map(plain));
            match answer.get("LastEvaluatedKey") {
                Some(last) => request["ExclusiveStartKey"] = last.clone(),
                None => return rows,
            }
        }
    }

    /// Everything that the tables hold.
    pub fn rows(&self) -> Rows {
        let mut rows = Rows::new();
        for table in NAMES {
            let mut request = json!({ "TableName": table });
            loop {
                let answer = self.read(&request, |database, request| database.scan(request));
                for row in answer["Items"].as_array().unwrap() {
                    rows.insert((table, key(table, row).to_string()), row.clone());
                }
                match answer.get("LastEvaluatedKey") {
                    Some(last) => request["ExclusiveStartKey"] = last.clone(),
                    None => break,
                }
            }
        }
        rows
    }

    /// The tables hold these rows again, and no others.
    pub fn restore(&self, rows: &Rows) {
        let now = self.rows();
        for ((table, _), row) in now.iter().filter(|(id, _)| !rows.contains_key(*id)) {
            let request = json!({ "TableName": table, "Key": key(table, row) });
            self.read(&request, |database, request| database.delete_item(request));
        }
        for ((table, _), row) in rows.iter().filter(|(id, row)| now.get(*id) != Some(row)) {
            self.put(table, row);
        }
    }

    /// A write by the tests: `row` with its types.
    pub fn put(&self, table: &str, row: &Value) {
        self.read(&json!({ "TableName": table, "Item": row }), |database, request| database.put_item(request));
    }

    pub fn all(&self, table: &str) -> Vec<Value> {
        let mut request = json!({ "TableName": table });
        let mut rows = Vec::new();
        loop {
            let answer = self.read(&request, |database, request| database.scan(request));
            rows.extend(answer["Items"].as_array().unwrap().iter().map(plain));
            match answer.get("LastEvaluatedKey") {
                Some(last) => request["ExclusiveStartKey"] = last.clone(),
                None => return rows,
            }
        }
    }
}

fn run<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    call: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Result<Vec<u8>, Refusal> {
    let request =
        serde_json::from_slice(body).map_err(|why| Refusal::new("SerializationException", why.to_string()))?;
    call(request).map(|answer| serde_json::to_vec(&answer).unwrap()).map_err(|error| {
        let code = error.error_type().rsplit('#').next().unwrap_or_default();
        let mut refusal = Refusal::new(code, error.to_string());
        refusal.status = error.status_code();
        if let DynoxideError::TransactionCanceledException(_, reasons) = &error {
            refusal.reasons = reasons.iter().map(|reason| json!(reason)).collect();
        }
        refusal
    })
}

pub fn key_names(table: &str) -> &'static [&'static str] {
    if table == JOBS || table == AUDIT { &["pk", "sk"] } else { &["id"] }
}

/// The attributes that a row's key consists of.
fn key(table: &str, row: &Value) -> Value {
    key_names(table).iter().map(|name| ((*name).to_owned(), row[*name].clone())).collect()
}

/// The rows that a write names.
pub fn written(operation: &str, body: &[u8]) -> Vec<(String, Key)> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let one = |write: &Value| {
        let table = write["TableName"].as_str()?.to_owned();
        let named = write.get("Key").or_else(|| write.get("Item"))?.as_object()?;
        let key =
            ["id", "pk", "sk"].into_iter().filter_map(|name| Some((name.to_owned(), named.get(name)?["S"].clone())));
        let wanted = key_names(&table);
        Some((table, key.filter(|(name, _)| wanted.contains(&name.as_str())).collect()))
    };
    if operation == "TransactWriteItems" {
        let writes = body["TransactItems"].as_array().cloned().unwrap_or_default();
        let inner = |write: &Value| ["Put", "Update", "Delete"].iter().find_map(|kind| one(write.get(*kind)?));
        return writes.iter().filter_map(inner).collect();
    }
    one(&body).into_iter().collect()
}

/// `{"S": "x"}` becomes `"x"`, and so on.
fn plain(value: &Value) -> Value {
    let Some(fields) = value.as_object() else { return value.clone() };
    Value::Object(fields.iter().map(|(name, value)| (name.clone(), untyped(value))).collect())
}

fn untyped(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|fields| fields.iter().next()) else { return Value::Null };
    match kind.as_str() {
        "N" => {
            inner.as_str().and_then(|text| text.parse::<serde_json::Number>().ok()).map_or(Value::Null, Value::Number)
        }
        "NULL" => Value::Null,
        "M" => plain(inner),
        "L" => inner.as_array().map(|all| all.iter().map(untyped).collect()).unwrap_or_default(),
        _ => inner.clone(),
    }
}

/// As in template.yaml.
fn tables() -> [Value; 6] {
    let text = |name: &str| json!({ "AttributeName": name, "AttributeType": "S" });
    let number = |name: &str| json!({ "AttributeName": name, "AttributeType": "N" });
    let hash = |name: &str| json!({ "AttributeName": name, "KeyType": "HASH" });
    let range = |name: &str| json!({ "AttributeName": name, "KeyType": "RANGE" });
    let index = |name: &str, keys: Vec<Value>, projection: Value| json!({ "IndexName": name, "KeySchema": keys, "Projection": projection });
    let keys_only = || json!({ "ProjectionType": "KEYS_ONLY" });
    let some = |name: &str| {
        let (_, of) = include_str!("../../../template.yaml").split_once(&format!("IndexName: {name}")).unwrap();
        let (listed, _) = of.split_once("NonKeyAttributes: [").unwrap().1.split_once(']').unwrap();
        json!({ "ProjectionType": "INCLUDE", "NonKeyAttributes": listed.split(", ").collect::<Vec<_>>() })
    };
    let table = |name: &str, attributes: Vec<Value>, keys: Vec<Value>, indexes: Vec<Value>| {
        let mut table = json!({
            "TableName": name, "BillingMode": "PAY_PER_REQUEST", "AttributeDefinitions": attributes, "KeySchema": keys,
        });
        if !indexes.is_empty() {
            table["GlobalSecondaryIndexes"] = indexes.into();
        }
        table
    };
    [
        table(
            CERTIFICATES,
            vec![
                text("id"),
                number("shard"),
                number("notAfter"),
                number("updated"),
                number("renewAt"),
                text("thumbprint"),
                number("generation"),
                number("at"),
            ],
            vec![hash("id")],
            vec![
                index("by-expiry", vec![hash("shard"), range("notAfter")], some("by-expiry")),
                index("by-update", vec![hash("shard"), range("updated")], some("by-update")),
                index("by-renewal", vec![hash("shard"), range("renewAt")], keys_only()),
                index("by-thumbprint", vec![hash("thumbprint")], keys_only()),
                index("signed", vec![hash("generation"), range("at")], some("signed")),
            ],
        ),
        table(
            JOBS,
            vec![text("pk"), text("sk"), number("openShard")],
            vec![hash("pk"), range("sk")],
            vec![index("unfinished", vec![hash("openShard")], some("unfinished"))],
        ),
        table(DEVICES, vec![text("id")], vec![hash("id")], vec![]),
        // Without the index of heads, which only rotate reads.
        table(AUDIT, vec![text("pk"), text("sk")], vec![hash("pk"), range("sk")], vec![]),
        table(HEADS, vec![text("pk"), text("sk")], vec![hash("pk"), range("sk")], vec![]),
        table(ACCESS, vec![text("id")], vec![hash("id")], vec![]),
    ]
}
