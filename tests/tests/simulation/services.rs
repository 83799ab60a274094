//! SSM, as far as credentials are read from it, or asked whether they exist, and EventBridge, which only records events.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::clock;
use crate::cloud::{Answer, Refusal};

/// GetParameters: names per call, and calls per second (the default throughput).
const NAMES: usize = 10;
const A_SECOND: u32 = 40;

#[derive(Default)]
pub struct Services {
    parameters: Mutex<BTreeMap<String, String>>,
    /// The current second, and the calls in it.
    spent: Mutex<(u64, u32)>,
    events: Mutex<u64>,
}

impl Services {
    pub fn set_parameter(&self, name: String, value: String) {
        self.parameters.lock().unwrap().insert(name, value);
    }

    pub fn call(&self, operation: &str, body: &[u8]) -> Answer {
        let body: Value = serde_json::from_slice(body).unwrap();
        match operation {
            "GetParameters" => self.parameters(&body),
            "ListTagsForResource" => self.tags(&body),
            "PutEvents" => {
                let entries = body["Entries"].as_array().map_or(0, Vec::len);
                if !(1..=10).contains(&entries) {
                    return Err(Refusal::new("ValidationException", "PutEvents takes 1 to 10 entries."));
                }
                *self.events.lock().unwrap() += entries as u64;
                Ok(json!({ "FailedEntryCount": 0, "Entries": vec![json!({ "EventId": "e" }); entries] }))
            }
            other => Err(Refusal::new("UnknownOperationException", other)),
        }
    }

    fn tags(&self, body: &Value) -> Answer {
        assert_eq!(body["ResourceType"], "Parameter");
        match self.parameters.lock().unwrap().contains_key(body["ResourceId"].as_str().unwrap_or_default()) {
            true => Ok(json!({ "TagList": [] })),
            false => Err(Refusal::new("InvalidResourceId", "")),
        }
    }

    fn parameters(&self, body: &Value) -> Answer {
        let names = body["Names"].as_array().cloned().unwrap_or_default();
        if !(1..=NAMES).contains(&names.len()) {
            return Err(Refusal::new("ValidationException", "GetParameters takes 1 to 10 names."));
        }
        let mut spent = self.spent.lock().unwrap();
        let second = clock::age().as_secs();
        *spent = if spent.0 == second { (second, spent.1 + 1) } else { (second, 1) };
        if spent.1 > A_SECOND {
            return Err(Refusal::new("ThrottlingException", "Rate exceeded"));
        }
        let parameters = self.parameters.lock().unwrap();
        let (mut found, mut invalid) = (Vec::new(), Vec::new());
        for name in names {
            match name.as_str().and_then(|name| parameters.get(name)) {
                Some(value) => found.push(json!({ "Name": name, "Value": value, "Type": "SecureString" })),
                None => invalid.push(name),
            }
        }
        Ok(json!({ "Parameters": found, "InvalidParameters": invalid }))
    }
}
