//! Events as received by an EventBridge rule.

use std::collections::BTreeMap;

use aws_sdk_eventbridge::types::Target;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use time::Duration;

use super::pki::Bundle;
use crate::stack::{LIMIT, Stack, until};

/// A queue that receives every event about certificates.
pub(crate) struct Listener {
    sqs: aws_sdk_sqs::Client,
    queue: String,
}

impl Listener {
    pub(crate) async fn start(stack: &Stack) -> Self {
        Self::of(stack, "Certificate ").await
    }

    /// Of detail-types that begin so.
    pub(crate) async fn of(stack: &Stack, prefix: &str) -> Self {
        let sqs = aws_sdk_sqs::Client::new(&stack.local.sdk_config);
        let queue = sqs.create_queue().queue_name("events").send().await.unwrap().queue_url.unwrap();
        let wanted = QueueAttributeName::QueueArn;
        let known = sqs.get_queue_attributes().queue_url(&queue).attribute_names(wanted.clone()).send().await.unwrap();
        let arn = known.attributes.unwrap().remove(&wanted).unwrap();
        let events = aws_sdk_eventbridge::Client::new(&stack.local.sdk_config);
        let pattern = json!({ "source": ["rootcast"], "detail-type": [{ "prefix": prefix }] }).to_string();
        events.put_rule().name("all").event_pattern(pattern).send().await.unwrap();
        let target = Target::builder().id("queue").arn(arn).build().unwrap();
        events.put_targets().rule("all").targets(target).send().await.unwrap();
        Self { sqs, queue }
    }

    /// The events since the last call, by detail-type, once there are `count`.
    pub(crate) async fn take(&self, count: usize) -> BTreeMap<String, Vec<Value>> {
        let taken =
            self.take_until(&format!("{count} events"), |taken| taken.values().flatten().count() >= count).await;
        assert_eq!(taken.values().flatten().count(), count, "{taken:?}");
        taken
    }

    /// The events since the last call, by detail-type, once these are there.
    pub(crate) async fn take_until(
        &self,
        what: &str,
        are_there: impl Fn(&BTreeMap<String, Vec<Value>>) -> bool,
    ) -> BTreeMap<String, Vec<Value>> {
        let mut taken: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        until(what, LIMIT, async || {
            let asked = self.sqs.receive_message().queue_url(&self.queue).max_number_of_messages(10);
            for message in asked.send().await.unwrap().messages.unwrap_or_default() {
                let mut event: Value = serde_json::from_str(&message.body.unwrap()).unwrap();
                let kind = event["detail-type"].as_str().unwrap().to_owned();
                taken.entry(kind).or_default().push(event["detail"].take());
                let receipt = message.receipt_handle.unwrap();
                self.sqs.delete_message().queue_url(&self.queue).receipt_handle(receipt).send().await.unwrap();
            }
            are_there(&taken).then_some(())
        })
        .await;
        taken
    }
}

#[tokio::test]
async fn an_import_and_its_nearing_expiry_are_each_reported_once() {
    Stack::run(0, async |stack| {
        let listener = Listener::start(stack).await;
        let near = stack.import("near", &Bundle::lasting("near.example.com", Duration::days(6))).await;
        let far = stack.import("far", &Bundle::lasting("far.example.com", Duration::days(31))).await;
        let told = listener.take(2).await;
        let imported = &told["Certificate Imported"];
        let of = |id: String| imported.iter().find(|detail| detail["certificateId"] == id).unwrap();
        assert_eq!(of(near.to_string())["dn"], r"\VED\Policy\Certificates\near");
        assert_eq!(of(far.to_string())["importedBy"], "tests");

        look(stack).await;
        let told = listener.take(1).await;
        let detail = &told["Certificate Expiring"][0];
        assert_eq!(detail["certificateId"], near.to_string());
        assert_eq!((&detail["days"], &detail["devices"]), (&json!(7), &json!(0)));
        assert_eq!(stack.ledger.certificate(near).await.unwrap().unwrap().noticed, Some(7));
        look(stack).await;
        stack.import("other", &Bundle::new("other.example.com")).await;
        assert_eq!(listener.take(1).await.keys().collect::<Vec<_>>(), ["Certificate Imported"]);
    })
    .await;
}

/// Runs the function as its hourly schedule does.
pub async fn look(stack: &Stack) {
    stack.invoke("RotateFunction", &json!({})).await;
}
