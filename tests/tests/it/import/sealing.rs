//! A private key only opens in its own record and for permitted callers, and leaves no other trace.

use super::pki::Bundle;
use super::{path, refused};
use crate::stack::{FUNCTIONS, Stack};
use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::Method;
use rootcast_core::audit::{Action, Outcome, verify};

#[tokio::test]
async fn a_sealed_key_does_not_open_in_another_record() {
    Stack::run(0, async |stack| {
        let one = stack.import("one", &Bundle::new("one.example.com")).await;
        let two = stack.import("two", &Bundle::new("two.example.com")).await;
        let exporter = stack.exporter().await;
        let export = async |id| exporter.send(Method::POST, &format!("{}/export", path(id)), None).await;
        assert!(export(two).await.text.contains("BEGIN PRIVATE KEY"));

        let database = aws_sdk_dynamodb::Client::new(&stack.local.sdk_config);
        let table = stack.local.outputs.of("CertificatesTable").unwrap();
        let key = |id: String| [("id".to_owned(), AttributeValue::S(id))];
        let stored =
            database.get_item().table_name(table).set_key(Some(key(one.to_string()).into())).send().await.unwrap();
        let sealed = stored.item.unwrap().remove("key").unwrap();
        database
            .update_item()
            .table_name(table)
            .set_key(Some(key(two.to_string()).into()))
            .update_expression("SET #key = :sealed")
            .expression_attribute_names("#key", "key")
            .expression_attribute_values(":sealed", sealed)
            .send()
            .await
            .unwrap();
        let answer = export(two).await;
        refused(&answer, 500, "SCM.0500");
        assert!(!answer.text.contains("PRIVATE"), "{answer:?}");
        assert!(export(one).await.text.contains("BEGIN PRIVATE KEY"));
    })
    .await;
}

#[tokio::test]
async fn exports_and_deletes_are_recorded_and_no_key_logged() {
    Stack::run(0, async |stack| {
        let bundle = Bundle::new("web.example.com");
        let id = stack.import("web", &bundle).await;
        let exporter = stack.exporter().await;
        let out = exporter.send(Method::POST, &format!("{}/export", path(id)), None).await.json();
        let secret = out["private_key"].as_str().unwrap();
        assert_eq!(stack.api.delete(&path(id)).await.status, 204);
        refused(&stack.api.get(&path(id)).await, 404, "SCM.0404");

        let chain = stack.api.get(&format!("/certificates/{id}/audit")).await.response();
        let lines = chain["entries"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
        let (entries, head) = verify(lines).unwrap();
        assert_eq!(serde_json::to_value(head).unwrap(), chain["head"]);
        let who: Vec<_> = entries.iter().map(|entry| (entry.action, entry.principal.as_str())).collect();
        let exported = (Action::Export, "exporter");
        assert_eq!(who, [(Action::Import, "tests"), exported, exported, (Action::Delete, "tests")]);
        assert_eq!((entries[1].outcome, entries[2].outcome), (Outcome::Begun, Outcome::Done));
        assert!(entries[2].details.contains_key("to"), "{entries:?}");

        // The middle of the base64 is found regardless of line breaks.
        let middle: String = secret.lines().skip(1).collect::<String>()[8..40].to_owned();
        for function in FUNCTIONS {
            let log = stack.log(function).await;
            assert!(!log.contains("PRIVATE KEY") && !log.contains(&middle), "{function} wrote the key into its log");
        }
        let cloud = std::fs::read_to_string(stack.local.data.join("cloud.log")).unwrap();
        assert!(!cloud.contains(&middle));
    })
    .await;
}
