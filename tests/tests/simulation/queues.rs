//! SQS: delays, visibility, receive counts, dead letters, and its limits; messages are duplicated, late and
//! unordered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::clock;
use crate::cloud::{Answer, Cloud, Refusal};

/// SQS's limit for a message and for a batch, in bytes.
const LARGEST: usize = 1 << 20;
const BATCH: usize = 10;
/// SQS's limit for messages of a standard queue that were received and are neither deleted nor visible again.
const IN_FLIGHT: usize = 120_000;

#[derive(Debug, Clone)]
pub struct Message {
    pub id: String,
    pub receipt: String,
    pub body: String,
    pub receives: u32,
    /// When the message can be received.
    visible: Duration,
}

#[derive(Default)]
struct Queue {
    messages: Vec<Message>,
    dead: Vec<Message>,
    visibility: Duration,
    most_receives: u32,
    changed: Arc<Notify>,
    most_in_flight: usize,
}

#[derive(Default)]
pub struct Queues {
    queues: Mutex<BTreeMap<String, Queue>>,
}

pub fn url(name: &str) -> String {
    format!("https://sqs.invalid/{name}")
}

impl Queues {
    pub fn create(&self, name: &str, visibility: Duration, most_receives: u32) {
        let queue = Queue { visibility, most_receives, most_in_flight: IN_FLIGHT, ..Queue::default() };
        self.queues.lock().unwrap().insert(name.to_owned(), queue);
    }

    /// Lowers the limit, as if the fleet were larger.
    pub fn limit_in_flight(&self, name: &str, most: usize) {
        self.with(name, |queue| queue.most_in_flight = most);
    }

    fn with<T>(&self, name: &str, what: impl FnOnce(&mut Queue) -> T) -> T {
        what(self.queues.lock().unwrap().get_mut(name).unwrap())
    }

    pub fn call(&self, cloud: &Cloud, operation: &str, body: &[u8]) -> Answer {
        let body: Value = serde_json::from_slice(body).unwrap();
        let name = body["QueueUrl"].as_str().and_then(|url| url.rsplit('/').next()).unwrap_or_default().to_owned();
        match operation {
            "SendMessage" => {
                let delay = body["DelaySeconds"].as_u64().unwrap_or(0);
                self.send(cloud, &name, body["MessageBody"].as_str().unwrap_or_default(), delay)
            }
            "SendMessageBatch" => {
                let entries = entries(&body)?;
                let size: usize = entries.iter().filter_map(|entry| entry["MessageBody"].as_str()).map(str::len).sum();
                if size > LARGEST {
                    return Err(Refusal::new("BatchRequestTooLong", "The batch is longer than 1 MiB."));
                }
                let (mut sent, mut failed) = (Vec::new(), Vec::new());
                for entry in entries {
                    // SQS's own fault, for one entry of an accepted batch.
                    if cloud.random.chance(cloud.faults().server_error) {
                        cloud.inject("message of a batch refused");
                        failed.push(json!({ "Id": entry["Id"], "SenderFault": false, "Code": "InternalError" }));
                        continue;
                    }
                    let delay = entry["DelaySeconds"].as_u64().unwrap_or(0);
                    let message = self.send(cloud, &name, entry["MessageBody"].as_str().unwrap_or_default(), delay)?;
                    sent.push(json!({ "Id": entry["Id"], "MessageId": message["MessageId"], "MD5OfMessageBody": "" }));
                }
                Ok(json!({ "Successful": sent, "Failed": failed }))
            }
            "ReceiveMessage" => {
                let most = usize::try_from(body["MaxNumberOfMessages"].as_u64().unwrap_or(1)).unwrap();
                let visibility = Duration::from_secs(body["VisibilityTimeout"].as_u64().unwrap());
                let message = |message: Message| {
                    let count = json!({ "ApproximateReceiveCount": message.receives.to_string() });
                    json!({ "MessageId": message.id, "ReceiptHandle": message.receipt, "Body": message.body, "Attributes": count })
                };
                let received = self.take(cloud, &name, most, Some(visibility))?;
                Ok(json!({ "Messages": received.into_iter().map(message).collect::<Vec<_>>() }))
            }
            "DeleteMessageBatch" => {
                let entries = entries(&body)?;
                entries.iter().for_each(|entry| self.delete(cloud, &name, entry["ReceiptHandle"].as_str().unwrap()));
                let deleted: Vec<Value> = entries.iter().map(|entry| json!({ "Id": entry["Id"] })).collect();
                Ok(json!({ "Successful": deleted, "Failed": [] }))
            }
            "ChangeMessageVisibilityBatch" => {
                let (mut changed, mut failed) = (Vec::new(), Vec::new());
                for entry in entries(&body)? {
                    let seconds = entry["VisibilityTimeout"].as_u64().unwrap_or(0);
                    if seconds > 43_200 {
                        return Err(Refusal::new("InvalidParameterValue", "VisibilityTimeout is at most 43200."));
                    }
                    let receipt = entry["ReceiptHandle"].as_str().unwrap_or_default();
                    let is_there = self.with(&name, |queue| {
                        let found = queue.messages.iter_mut().find(|message| message.receipt == receipt);
                        found.map(|message| message.visible = clock::age() + Duration::from_secs(seconds)).is_some()
                    });
                    let id = &entry["Id"];
                    match is_there {
                        true => changed.push(json!({ "Id": id })),
                        false => {
                            failed.push(json!({ "Id": id, "SenderFault": true, "Code": "ReceiptHandleIsInvalid" }))
                        }
                    }
                }
                self.with(&name, |queue| queue.changed.notify_waiters());
                Ok(json!({ "Successful": changed, "Failed": failed }))
            }
            other => Err(Refusal::new("UnsupportedOperation", other)),
        }
    }

    fn send(&self, cloud: &Cloud, name: &str, body: &str, delay: u64) -> Answer {
        if delay > 900 || body.is_empty() || body.len() > LARGEST {
            return Err(Refusal::new("InvalidParameterValue", "A message has 1 byte to 1 MiB, and 900 s of delay."));
        }
        let id = format!("m{:x}", cloud.random.next());
        let mut visible = clock::age() + Duration::from_secs(delay);
        if cloud.random.chance(cloud.faults().late) {
            cloud.inject("message late");
            visible += Duration::from_secs(cloud.random.between(10, 600));
        }
        let message = Message { id: id.clone(), receipt: id.clone(), body: body.to_owned(), receives: 0, visible };
        if name == "task" && cloud.is_watched {
            cloud.passwords.sent(cloud, &id, body);
        }
        self.with(name, |queue| {
            queue.messages.push(message);
            queue.changed.notify_waiters();
        });
        Ok(json!({ "MessageId": id, "MD5OfMessageBody": "" }))
    }

    /// Messages that can be received now, in random order: at most ten, within the limit for messages in flight.
    pub fn receive(&self, cloud: &Cloud, name: &str) -> Result<Vec<Message>, Refusal> {
        self.take(cloud, name, BATCH, None)
    }

    /// `visibility`: the queue's own, unless another is asked for.
    fn take(
        &self,
        cloud: &Cloud,
        name: &str,
        most: usize,
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, Refusal> {
        let batch = most;
        let faults = cloud.faults();
        self.with(name, |queue| {
            let now = clock::age();
            let (most, visibility) = (queue.most_receives, visibility.unwrap_or(queue.visibility));
            let mut ready: Vec<usize> =
                (0..queue.messages.len()).filter(|index| queue.messages[*index].visible <= now).collect();
            let in_flight =
                queue.messages.iter().filter(|message| message.receives > 0 && message.visible > now).count();
            let free = queue.most_in_flight.saturating_sub(in_flight);
            if free == 0 && !ready.is_empty() {
                cloud.inject("over the limit in flight");
                return Err(Refusal::new("OverLimit", "Too many messages in flight."));
            }
            for last in (1..ready.len()).rev() {
                ready.swap(last, usize::try_from(cloud.random.below(last as u64 + 1)).unwrap());
            }
            ready.truncate(batch.min(free));
            let (mut received, mut spent) = (Vec::new(), BTreeSet::new());
            for index in ready {
                let message = &mut queue.messages[index];
                message.receives += 1;
                if message.receives > most {
                    spent.insert(message.id.clone());
                    continue;
                }
                message.receipt = format!("{}-{}", message.id, message.receives);
                message.visible = now + visibility;
                if cloud.random.chance(faults.duplicate) {
                    cloud.inject("message doubled");
                    message.visible = now + Duration::from_millis(cloud.random.between(1, 20_000));
                }
                received.push(message.clone());
            }
            let (dead, kept) =
                std::mem::take(&mut queue.messages).into_iter().partition(|message| spent.contains(&message.id));
            (queue.messages, _) = (kept, queue.dead.extend::<Vec<Message>>(dead));
            Ok(received)
        })
    }

    /// Everything in the queue is lost.
    pub fn lose(&self, name: &str) {
        self.with(name, |queue| queue.messages.clear());
    }

    /// Deletes a processed message.
    pub fn delete(&self, cloud: &Cloud, name: &str, receipt: &str) {
        let again = cloud.random.chance(cloud.faults().duplicate);
        self.with(name, |queue| match queue.messages.iter_mut().find(|message| message.receipt == receipt) {
            Some(message) if again => {
                message.visible = clock::age() + Duration::from_secs(cloud.random.between(1, 300))
            }
            _ => queue.messages.retain(|message| message.receipt != receipt),
        });
        if again {
            cloud.inject("message deleted in vain");
        }
    }

    /// Waits until there may be a message to receive.
    pub async fn wait(&self, name: &str) {
        let (changed, next) = self.with(name, |queue| {
            (Arc::clone(&queue.changed), queue.messages.iter().map(|message| message.visible).min())
        });
        let pause = next.map_or(Duration::from_secs(3600), |next| next.saturating_sub(clock::age()));
        tokio::select! {
            () = changed.notified() => {}
            () = tokio::time::sleep(pause.max(Duration::from_millis(1))) => {}
        }
    }

    pub fn waiting(&self, name: &str) -> usize {
        self.with(name, |queue| queue.messages.len())
    }

    /// Messages that can still be received, and those in the dead-letter queue.
    pub fn left(&self, name: &str) -> (Vec<Message>, Vec<Message>) {
        self.with(name, |queue| (queue.messages.clone(), queue.dead.clone()))
    }
}

fn entries(body: &Value) -> Result<Vec<Value>, Refusal> {
    let entries = body["Entries"].as_array().cloned().unwrap_or_default();
    let ids: BTreeSet<&str> = entries.iter().filter_map(|entry| entry["Id"].as_str()).collect();
    match entries.len() {
        0 => Err(Refusal::new("EmptyBatchRequest", "There is no entry.")),
        count if count > BATCH => Err(Refusal::new("TooManyEntriesInBatchRequest", "There are more than ten entries.")),
        count if count != ids.len() => Err(Refusal::new("BatchEntryIdsNotDistinct", "Two entries have one id.")),
        _ => Ok(entries),
    }
}
