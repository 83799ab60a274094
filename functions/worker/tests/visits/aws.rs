//! A fake of the AWS calls that a worker makes in a rollover, behind the SDK's HTTP port: devices, one job, and faults.
//! Everything from the handler to the bytes that are sent is real, including the SDK's own retries.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::expression;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call has no effect.
    Throttled,
    /// The call takes effect, but its answer is lost.
    AnswerLost,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// DynamoDB's items, by device id.
    pub(crate) devices: BTreeMap<String, Map<String, Value>>,
    pub(crate) job: Value,
    pub(crate) bundle: Value,
    /// The job's task of the first device, once it is settled.
    pub(crate) task: Option<Value>,
    /// Empty: there is no parameter.
    pub(crate) parameter: String,
    /// Each message that was sent: its queue, its body, and its delay in seconds.
    pub(crate) sent: Vec<(String, Value, u64)>,
    /// Visibility timeouts that were set on messages, in seconds.
    pub(crate) postponed: Vec<u64>,
    /// The beginning of a call's name, the fault, and the number of calls that still fail.
    pub(crate) faults: Vec<(&'static str, Fault, usize)>,
    /// The names of all calls.
    pub(crate) calls: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Aws(Arc<Mutex<State>>);

type Answer = Result<Value, (u16, Value)>;

impl Aws {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn device<T: DeserializeOwned>(&self, id: &str) -> T {
        serde_json::from_value(plain(&json!({ "M": self.state().devices[id] }))).unwrap()
    }

    pub(crate) fn set_device(&self, device: &impl Serialize) {
        let item = wire(&serde_json::to_value(device).unwrap())["M"].as_object().unwrap().clone();
        self.state().devices.insert(item["id"]["S"].as_str().unwrap().to_owned(), item);
    }

    /// The next calls of this name fail.
    pub(crate) fn fault(&self, call: &'static str, fault: Fault, times: usize) {
        self.state().faults.push((call, fault, times));
    }

    pub(crate) fn count(&self, call: &str) -> usize {
        self.state().calls.iter().filter(|made| made.starts_with(call)).count()
    }

    fn answer(&self, call: &str, body: &Value) -> Answer {
        let mut state = self.state();
        state.calls.push(call.to_owned());
        let fault = state.faults.iter_mut().find(|(name, _, left)| call.starts_with(name) && *left > 0).map(|fault| {
            fault.2 -= 1;
            fault.1
        });
        if fault == Some(Fault::Throttled) {
            return Err((400, json!({ "__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException" })));
        }
        let answer = state.answer(call, body);
        if fault == Some(Fault::AnswerLost) {
            return Err((500, json!({ "__type": "com.amazonaws.dynamodb.v20120810#InternalServerError" })));
        }
        answer
    }
}

impl State {
    fn answer(&mut self, call: &str, body: &Value) -> Answer {
        match call {
            "UpdateItem lease" | "UpdateItem working" | "UpdateItem release" => self.update(body),
            "GetItem" if body["TableName"] == "devices" => {
                Ok(json!({ "Item": self.devices.get(body["Key"]["id"]["S"].as_str().unwrap()) }))
            }
            "GetItem" => Ok(json!({ "Item": self.bundle["M"] })),
            "BatchGetItem" => {
                let keys = body["RequestItems"]["jobs"]["Keys"].as_array().unwrap();
                let has = |sort: &str| keys.iter().any(|key| key["sk"]["S"].as_str().unwrap().starts_with(sort));
                let mut items = Vec::new();
                items.extend(has("meta").then(|| self.job["M"].clone()));
                items.extend(self.task.clone().filter(|_| has("task#")));
                Ok(json!({ "Responses": { "jobs": items } }))
            }
            "Query" if body["ExpressionAttributeValues"][":counters"].is_object() => Ok(json!({ "Items": [] })),
            "TransactWriteItems" => {
                let put = body["TransactItems"][0]["Put"]["Item"].clone();
                let is_open = |task: &Value| task["state"]["S"] == "waiting" && task["attempt"] == put["attempt"];
                if self.task.as_ref().is_some_and(|task| !is_open(task)) {
                    let reasons = json!([{ "Code": "ConditionalCheckFailed" }, { "Code": "None" }]);
                    let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
                    return Err((400, json!({ "__type": kind, "CancellationReasons": reasons })));
                }
                self.task = Some(put);
                Ok(json!({}))
            }
            "GetParameters" => {
                let names = body["Names"].as_array().unwrap();
                if self.parameter.is_empty() {
                    return Ok(json!({ "Parameters": [], "InvalidParameters": names }));
                }
                let found = names.iter().map(|name| json!({ "Name": name, "Value": self.parameter }));
                Ok(json!({ "Parameters": found.collect::<Vec<_>>() }))
            }
            "SendMessage" => {
                let text = body["MessageBody"].as_str().unwrap();
                let delay = body["DelaySeconds"].as_u64().unwrap_or(0);
                assert!(delay <= 900, "SQS delays by no more");
                let queue = body["QueueUrl"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
                self.sent.push((queue, serde_json::from_str(text).unwrap(), delay));
                Ok(json!({ "MessageId": "1", "MD5OfMessageBody": "" }))
            }
            "ChangeMessageVisibilityBatch" => {
                let entries = body["Entries"].as_array().unwrap();
                self.postponed.extend(entries.iter().map(|entry| entry["VisibilityTimeout"].as_u64().unwrap()));
                Ok(json!({ "Successful": [], "Failed": [] }))
            }
            other => panic!("{other} is not expected: {body}"),
        }
    }

    /// Updates a device.
    fn update(&mut self, body: &Value) -> Answer {
        let values = &body["ExpressionAttributeValues"];
        let id = body["Key"]["id"]["S"].as_str().unwrap();
        let old = self.devices.get(id).cloned();
        let holds = old.as_ref().is_some_and(|item| match values.get(":lease") {
            Some(_) => expression::is_free(item, values),
            None => item.get("lease").is_some_and(|lease| lease["M"]["owner"] == values[":owner"]),
        });
        if !holds {
            let kind = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
            let old = Some(old).filter(|_| body["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD");
            return Err((400, json!({ "__type": kind, "Item": old })));
        }
        let mut item = old.unwrap();
        let text = body["UpdateExpression"].as_str().unwrap();
        expression::apply(&mut item, text, &body["ExpressionAttributeNames"], values);
        self.devices.insert(id.to_owned(), item.clone());
        Ok(if body["ReturnValues"] == "ALL_NEW" { json!({ "Attributes": item }) } else { json!({}) })
    }
}

impl HttpConnector for Aws {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap().rsplit('.').next().unwrap();
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let values = &body["ExpressionAttributeValues"];
        let call = match target {
            "UpdateItem" if values.get(":lease").is_some() => "UpdateItem lease",
            "UpdateItem" if values.get(":begun").is_none() => "UpdateItem working",
            "UpdateItem" => "UpdateItem release",
            other => other,
        };
        let (status, answer) = self.answer(call, &body).map_or_else(|error| error, |answer| (200, answer));
        let answer = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(answer.to_string()));
        HttpConnectorFuture::ready(Ok(answer))
    }
}

impl HttpClient for Aws {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// In DynamoDB's JSON form.
pub(crate) fn wire(value: &Value) -> Value {
    match value {
        Value::Null => json!({ "NULL": true }),
        Value::Bool(is) => json!({ "BOOL": is }),
        Value::Number(number) => json!({ "N": number.to_string() }),
        Value::String(text) => json!({ "S": text }),
        Value::Array(list) => json!({ "L": list.iter().map(wire).collect::<Vec<_>>() }),
        Value::Object(map) => {
            let map: Map<String, Value> = map.iter().map(|(name, value)| (name.clone(), wire(value))).collect();
            json!({ "M": map })
        }
    }
}

pub(crate) fn plain(value: &Value) -> Value {
    let (kind, inner) = value.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "N" => serde_json::from_str(inner.as_str().unwrap()).unwrap(),
        "L" => inner.as_array().unwrap().iter().map(plain).collect(),
        "M" => inner.as_object().unwrap().iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        "NULL" => Value::Null,
        _ => inner.clone(),
    }
}
