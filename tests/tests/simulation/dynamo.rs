//! DynamoDB: a strict engine in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dynoxide::actions::batch_get_item::{BatchGetItemRequest, BatchGetItemResponse};
use dynoxide::actions::delete_item::{DeleteItemRequest, DeleteItemResponse};
use dynoxide::actions::get_item::{GetItemRequest, GetItemResponse};
use dynoxide::actions::put_item::{PutItemRequest, PutItemResponse};
use dynoxide::actions::query::{QueryRequest, QueryResponse};
use dynoxide::actions::scan::{ScanRequest, ScanResponse};
use dynoxide::actions::transact_get_items::{TransactGetItemsRequest, TransactGetItemsResponse};
use dynoxide::actions::transact_write_items::{TransactWriteItemsRequest, TransactWriteItemsResponse};
use dynoxide::actions::update_item::{UpdateItemRequest, UpdateItemResponse};
use dynoxide::storage_backend::Clock;
use dynoxide::types::{AttributeValue, ConsumedCapacity, Item};
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

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

const WRITES: [&str; 4] = ["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"];

/// What a function read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reads {
    pub calls: u64,
    /// Also those that a filter of the call drops.
    pub rows: u64,
}

impl Reads {
    pub const fn since(self, before: Self) -> Self {
        Self { calls: self.calls - before.calls, rows: self.rows - before.rows }
    }
}

pub struct Tables {
    database: Database,
    /// Write units used, by table.
    units: Mutex<BTreeMap<&'static str, f64>>,
    read_units: Mutex<f64>,
    /// Reads by function, in worlds that ask for them: calls, and rows that were read for them.
    reads: Mutex<Option<BTreeMap<String, Reads>>>,
    /// Each write by itself, in worlds that ask for it.
    charges: Mutex<Option<Charges>>,
    seen: Mutex<Seen>,
    is_watched: bool,
}

/// Every row as it was read back after its last write, without types: invariants look at them all the time. It is read back
/// when the first one looks at it: nobody looks at the audit.
#[derive(Default)]
struct Seen {
    rows: BTreeMap<Place, Row>,
    /// Written since it was last read back.
    written: BTreeSet<Place>,
}

/// Every row with its types, by table and key.
pub type Rows = BTreeMap<(&'static str, String), Value>;

/// A row without the types of its values.
pub type Row = Arc<Value>;

/// Where a row is. A table whose key is one attribute, `id`, has no `sk`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub table: &'static str,
    pub pk: String,
    pub sk: String,
}

impl Place {
    fn of(table: &str, attributes: &Item) -> Self {
        let table = NAMES.into_iter().find(|name| *name == table).unwrap();
        let text = |name: &str| match attributes.get(name) {
            Some(AttributeValue::S(text)) => text.clone(),
            _ => String::new(),
        };
        let [pk, sk] = match key_names(table) {
            [pk, sk] => [text(pk), text(sk)],
            names => [text(names[0]), String::new()],
        };
        Self { table, pk, sk }
    }

    fn key(&self) -> Item {
        let values = [&self.pk, &self.sk];
        let named = key_names(self.table).iter().zip(values);
        named.map(|(name, value)| ((*name).to_owned(), AttributeValue::S(value.clone()))).collect()
    }
}

/// A call's answer, and the rows that it names, if it is a write.
pub struct Called {
    pub answer: Result<Vec<u8>, Refusal>,
    pub rows: Vec<Place>,
}

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
    pub fn new(is_watched: bool) -> Self {
        let database = Database::memory_with_clock(Arc::new(VirtualClock)).unwrap();
        for table in tables() {
            database.create_table(serde_json::from_value(table).unwrap()).unwrap();
        }
        Self {
            database,
            units: Mutex::default(),
            read_units: Mutex::default(),
            reads: Mutex::default(),
            charges: Mutex::default(),
            seen: Mutex::default(),
            is_watched,
        }
    }

    pub fn write_units(&self) -> f64 {
        self.units.lock().unwrap().values().sum()
    }

    pub fn read_units(&self) -> f64 {
        *self.read_units.lock().unwrap()
    }

    /// Since the first call of this.
    pub fn reads(&self, function: Function) -> Reads {
        let mut reads = self.reads.lock().unwrap();
        reads.get_or_insert_default().get(&format!("{function:?}")).copied().unwrap_or_default()
    }

    fn count_reads(&self, function: Function, answer: &[u8]) {
        let mut reads = self.reads.lock().unwrap();
        let Some(reads) = &mut *reads else { return };
        let answer: Value = serde_json::from_slice(answer).unwrap();
        let number = |value: &Value| value.as_u64();
        let all = |value: &Value| value.as_array().map(|rows| rows.len() as u64);
        let batch = |value: &Value| Some(value.as_object()?.values().filter_map(all).sum());
        let one = || answer.get("Item").map(|_| 1);
        let rows = number(&answer["ScannedCount"]).or_else(|| batch(&answer["Responses"])).or_else(one).unwrap_or(0);
        let reads = reads.entry(format!("{function:?}")).or_default();
        *reads = Reads { calls: reads.calls + 1, rows: reads.rows + rows };
    }

    /// What was charged since the last call, once it was called.
    pub fn charges(&self) -> Charges {
        self.charges.lock().unwrap().replace(Charges::new()).unwrap_or_default()
    }

    /// A refusal has an entry in the audit, and changes nothing else.
    pub fn write_units_without_audit(&self) -> f64 {
        self.units.lock().unwrap().iter().filter(|(table, _)| **table != AUDIT).map(|(_, units)| units).sum()
    }

    pub fn call(&self, function: Function, operation: &str, body: &[u8]) -> Called {
        let database = &self.database;
        let is_charged = WRITES.contains(&operation) && self.charges.lock().unwrap().is_some();
        let charged = is_charged.then(|| charges::writes(database, operation, body));
        let read = |answer| Called { answer, rows: Vec::new() };
        let called = match operation {
            "PutItem" => self.write::<PutItemRequest>(body),
            "UpdateItem" => self.write::<UpdateItemRequest>(body),
            "DeleteItem" => self.write::<DeleteItemRequest>(body),
            "TransactWriteItems" => self.write::<TransactWriteItemsRequest>(body),
            "GetItem" => read(self.counted(body, |request: GetItemRequest| database.get_item(request))),
            "Query" => read(self.counted(body, |request: QueryRequest| database.query(request))),
            "Scan" => read(self.counted(body, |request: ScanRequest| database.scan(request))),
            "BatchGetItem" => read(self.counted(body, |request: BatchGetItemRequest| database.batch_get_item(request))),
            "TransactGetItems" => {
                read(self.counted(body, |request: TransactGetItemsRequest| database.transact_get_items(request)))
            }
            other => read(Err(Refusal::new("UnknownOperationException", format!("{function:?} called {other}")))),
        };
        if let (Ok(answer), false) = (&called.answer, WRITES.contains(&operation)) {
            self.count_reads(function, answer);
        }
        if let (Ok(_), Some(writes), Some(charges)) = (&called.answer, charged, &mut *self.charges.lock().unwrap()) {
            charges::add(charges, database, &tables(), function, writes);
        }
        called
    }

    fn write<Q: Write>(&self, body: &[u8]) -> Called {
        let mut rows = Vec::new();
        let answer = run(body, |request: Q| {
            rows = request.rows();
            let answer = request.run(&self.database)?;
            let mut units = self.units.lock().unwrap();
            for used in Q::used(&answer) {
                let table = NAMES.into_iter().find(|name| *name == used.table_name).unwrap();
                *units.entry(table).or_default() += used.capacity_units;
            }
            Ok(answer)
        });
        if answer.is_ok() && self.is_watched {
            self.seen.lock().unwrap().written.extend(rows.iter().cloned());
        }
        Called { answer, rows }
    }

    /// A read, whose units are counted.
    fn counted<Q: Read>(
        &self,
        body: &[u8],
        call: impl FnOnce(Q) -> Result<Q::Answer, DynoxideError>,
    ) -> Result<Vec<u8>, Refusal> {
        run(body, |request: Q| {
            let answer = call(request.asking())?;
            *self.read_units.lock().unwrap() += Q::used(&answer).iter().map(|used| used.capacity_units).sum::<f64>();
            Ok(answer)
        })
    }

    /// Reads back what was written of these rows.
    fn look(&self, at: impl RangeBounds<Place>, is: impl Fn(&Place) -> bool) -> MutexGuard<'_, Seen> {
        let mut seen = self.seen.lock().unwrap();
        let written: Vec<Place> = seen.written.range(at).take_while(|at| is(at)).cloned().collect();
        for at in written {
            seen.written.remove(&at);
            match self.as_stored(&at) {
                Some(row) => _ = seen.rows.insert(at, row),
                None => _ = seen.rows.remove(&at),
            }
        }
        seen
    }

    fn as_stored(&self, at: &Place) -> Option<Row> {
        let request = GetItemRequest {
            table_name: at.table.to_owned(),
            key: at.key(),
            consistent_read: Some(true),
            ..GetItemRequest::default()
        };
        Some(Arc::new(plain(self.database.get_item(request).unwrap().item?)))
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

    pub fn row(&self, at: &Place) -> Option<Row> {
        if self.is_watched { self.look(at..=at, |_| true).rows.get(at).cloned() } else { self.as_stored(at) }
    }

    pub fn named(&self, table: &'static str, id: &str) -> Option<Row> {
        self.row(&Place { table, pk: id.to_owned(), sk: String::new() })
    }

    /// A row of the jobs table.
    pub fn of_jobs(&self, pk: &str, sk: &str) -> Option<Row> {
        self.row(&Place { table: JOBS, pk: pk.to_owned(), sk: sk.to_owned() })
    }

    /// All rows of a partition of the jobs table.
    pub fn partition(&self, pk: &str) -> Vec<Row> {
        self.seen_from(JOBS, pk, |at| at.pk == pk)
    }

    pub fn all(&self, table: &'static str) -> Vec<Row> {
        self.seen_from(table, "", |_| true)
    }

    /// The rows of certificates whose id begins so.
    pub fn beginning(&self, with: &str) -> Vec<Row> {
        self.seen_from(CERTIFICATES, with, |at| at.pk.starts_with(with))
    }

    fn seen_from(&self, table: &'static str, pk: &str, is: impl Fn(&Place) -> bool) -> Vec<Row> {
        let first = Place { table, pk: pk.to_owned(), sk: String::new() };
        let is = |at: &Place| at.table == table && is(at);
        let seen = self.look(&first.., is);
        seen.rows.range(&first..).take_while(|(at, _)| is(at)).map(|(_, row)| Arc::clone(row)).collect()
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
            let key = key(table, row);
            let request = json!({ "TableName": table, "Key": key });
            self.read(&request, |database, request| database.delete_item(request));
            self.wrote(place(table, &key));
        }
        for ((table, _), row) in rows.iter().filter(|(id, row)| now.get(*id) != Some(row)) {
            self.put(table, row);
        }
    }

    /// A write by the tests: `row` with its types.
    pub fn put(&self, table: &str, row: &Value) {
        self.read(&json!({ "TableName": table, "Item": row }), |database, request| database.put_item(request));
        self.wrote(place(table, &key(table, row)));
    }

    fn wrote(&self, at: Place) {
        self.seen.lock().unwrap().written.insert(at);
    }
}

/// A request that reads rows.
trait Read: DeserializeOwned {
    type Answer: Serialize;

    /// The same, asking for the units that it uses.
    fn asking(self) -> Self;

    fn used(answer: &Self::Answer) -> &[ConsumedCapacity];
}

/// `$used`: how the units of an answer become a slice.
macro_rules! read_of {
    ($request:ty, $answer:ty, $used:ident $(, $default:ident)?) => {
        impl Read for $request {
            type Answer = $answer;

            fn asking(self) -> Self {
                Self { return_consumed_capacity: Some("TOTAL".to_owned()), ..self }
            }

            fn used(answer: &$answer) -> &[ConsumedCapacity] {
                answer.consumed_capacity.$used()$(.$default())?
            }
        }
    };
}

read_of!(GetItemRequest, GetItemResponse, as_slice);
read_of!(QueryRequest, QueryResponse, as_slice);
read_of!(ScanRequest, ScanResponse, as_slice);
read_of!(BatchGetItemRequest, BatchGetItemResponse, as_deref, unwrap_or_default);
read_of!(TransactGetItemsRequest, TransactGetItemsResponse, as_deref, unwrap_or_default);

/// A request that changes rows.
trait Write: DeserializeOwned {
    type Answer: Serialize;

    /// The rows that it may change.
    fn rows(&self) -> Vec<Place>;

    fn run(self, database: &Database) -> Result<Self::Answer, DynoxideError>;

    fn used(answer: &Self::Answer) -> &[ConsumedCapacity];
}

/// A write of one row. `$attributes`: of its request, those that name the row.
macro_rules! write_of_one {
    ($request:ty, $answer:ty, $call:ident, $attributes:ident) => {
        impl Write for $request {
            type Answer = $answer;

            fn rows(&self) -> Vec<Place> {
                vec![Place::of(&self.table_name, &self.$attributes)]
            }

            fn run(mut self, database: &Database) -> Result<$answer, DynoxideError> {
                self.return_consumed_capacity = Some("TOTAL".to_owned());
                database.$call(self)
            }

            fn used(answer: &$answer) -> &[ConsumedCapacity] {
                answer.consumed_capacity.as_slice()
            }
        }
    };
}

write_of_one!(PutItemRequest, PutItemResponse, put_item, item);
write_of_one!(UpdateItemRequest, UpdateItemResponse, update_item, key);
write_of_one!(DeleteItemRequest, DeleteItemResponse, delete_item, key);

impl Write for TransactWriteItemsRequest {
    type Answer = TransactWriteItemsResponse;

    fn rows(&self) -> Vec<Place> {
        let items = self.transact_items.iter().filter_map(|write| {
            let put = write.put.as_ref().map(|put| Place::of(&put.table_name, &put.item));
            let update = || write.update.as_ref().map(|update| Place::of(&update.table_name, &update.key));
            let delete = || write.delete.as_ref().map(|delete| Place::of(&delete.table_name, &delete.key));
            put.or_else(update).or_else(delete)
        });
        items.collect()
    }

    fn run(mut self, database: &Database) -> Result<Self::Answer, DynoxideError> {
        self.return_consumed_capacity = Some("TOTAL".to_owned());
        database.transact_write_items(self)
    }

    fn used(answer: &Self::Answer) -> &[ConsumedCapacity] {
        answer.consumed_capacity.as_deref().unwrap_or_default()
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
    if [JOBS, AUDIT, HEADS].contains(&table) { &["pk", "sk"] } else { &["id"] }
}

/// The attributes that a row's key consists of.
fn key(table: &str, row: &Value) -> Value {
    key_names(table).iter().map(|name| ((*name).to_owned(), row[*name].clone())).collect()
}

fn place(table: &str, key: &Value) -> Place {
    Place::of(table, &serde_json::from_value(key.clone()).unwrap())
}

/// `{"S": "x"}` becomes `"x"`, and so on.
fn plain(item: Item) -> Value {
    Value::Object(item.into_iter().map(|(name, value)| (name, untyped(value))).collect())
}

fn untyped(value: AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => text.into(),
        AttributeValue::N(text) => text.parse().map_or(Value::Null, Value::Number),
        AttributeValue::B(bytes) => BASE64_STANDARD.encode(bytes).into(),
        AttributeValue::BOOL(is) => is.into(),
        AttributeValue::NULL(_) => Value::Null,
        AttributeValue::SS(all) | AttributeValue::NS(all) => all.into(),
        AttributeValue::BS(all) => all.iter().map(|bytes| BASE64_STANDARD.encode(bytes)).collect(),
        AttributeValue::L(all) => all.into_iter().map(untyped).collect(),
        AttributeValue::M(all) => plain(all),
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
                text("tree"),
            ],
            vec![hash("id")],
            vec![
                index("by-expiry", vec![hash("shard"), range("notAfter")], some("by-expiry")),
                index("by-update", vec![hash("shard"), range("updated")], some("by-update")),
                index("by-renewal", vec![hash("shard"), range("renewAt")], keys_only()),
                index("by-thumbprint", vec![hash("thumbprint")], keys_only()),
                index("signed", vec![hash("generation"), range("at")], some("signed")),
                index("by-name", vec![hash("tree"), range("id")], some("by-name")),
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
