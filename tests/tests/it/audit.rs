//! The audit record, from the action to the verified file, and the detection of a changed chain.

use aws_sdk_dynamodb::types::AttributeValue;
use rootcast_core::audit::{Act, Action, Actor, Subject, Unverified, export, verify, verify_export};
use rootcast_core::job::JobOutcome;
use serde_json::json;
use time::OffsetDateTime;

use crate::import::deploying::fakes;
use crate::stack::Stack;

#[tokio::test]
async fn an_export_of_a_job_is_verified_or_found_changed() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let _fakes = fakes(stack, &["a", "b"]).await;
        let id = stack.put_root("?reason=yearly").await;
        let job = stack.ended(id).await;
        assert_eq!(job.outcome, Some(JobOutcome::Activated), "{}", job.reason);
        let subject = Subject::Job(id);

        let page = stack.ledger.audit_page(&Subject::Root(job.generation), 0, 100).await.unwrap();
        let (entries, _) = verify(page.lines.iter().map(String::as_str)).unwrap();
        let done: Vec<_> = entries.iter().map(|entry| (entry.action, entry.principal.as_str())).collect();
        assert_eq!(done, [(Action::Create, "tests"), (Action::Activate, "function:conduct")]);
        // The first root, which was created without a job.
        let first = stack.api.get("/roots/1/audit").await.response();
        let lines: Vec<&str> = first["entries"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        let (entries, _) = verify(lines).unwrap();
        let done: Vec<_> = entries.iter().map(|entry| (entry.action, entry.principal.as_str())).collect();
        assert_eq!(done, [(Action::Create, "tests"), (Action::Activate, "tests")]);

        // Concurrent writers may lose races, but no entry.
        let by = Actor { principal: "tests".to_owned(), request_id: None };
        let act = |number: u32| {
            Act::new(subject.clone(), Action::Waive, &by, OffsetDateTime::now_utc()).with("number", number)
        };
        let acts: Vec<Act> = (0..4).map(act).collect();
        futures::future::try_join_all(acts.iter().map(|act| stack.ledger.audit(act))).await.unwrap();
        let page = stack.ledger.audit_page(&subject, 0, 100).await.unwrap();
        let (entries, head) = verify(page.lines.iter().map(String::as_str)).unwrap();
        assert_eq!(head, stack.ledger.audit_head(&subject).await.unwrap());
        let done: Vec<_> = entries.iter().map(|entry| (entry.action, entry.principal.as_str())).collect();
        assert_eq!(done[..2], [(Action::Create, "tests"), (Action::Activate, "function:conduct")]);
        assert_eq!((done.len(), &entries[0].details["reason"]), (6, &"yearly".to_owned()));
        assert!(entries[0].request_id.is_some());
        let log = stack.log("RegenerateFunction").await;
        assert!(log.contains(&entries[1].previous.to_string()), "the log knows the head: {log}");

        let first = stack.api.get(&format!("/jobs/{id}/audit?limit=4")).await.response();
        let rest = format!("/jobs/{id}/audit?limit=4&cursor={}", first["cursor"].as_str().unwrap());
        let rest = stack.api.get(&rest).await.response();
        assert_eq!((first["entries"].as_array().unwrap().len(), rest["entries"].as_array().unwrap().len()), (4, 2));
        assert_eq!((&rest["entries"][1], &rest["cursor"]), (&json!(page.lines[5]), &json!(null)));
        stack.api.get("/jobs/77/audit").await.refused(404);
        stack.api.get("/certificates/scs0000000000000/audit").await.refused(404);

        // Change the last entry in the table itself.
        let database = aws_sdk_dynamodb::Client::new(&stack.local.sdk_config);
        let line = page.lines[5].replace("waive", "abort");
        let key = [("pk", id.to_string()), ("sk", "audit#000000000006".to_owned())];
        let key = key.map(|(name, value)| (name.to_owned(), AttributeValue::S(value)));
        let update = database.update_item().table_name(stack.local.outputs.of("JobsTable").unwrap());
        let update = update.set_key(Some(key.into())).update_expression("SET line = :line");
        update.expression_attribute_values(":line", AttributeValue::S(line)).send().await.unwrap();
        let page = stack.ledger.audit_page(&subject, 0, 100).await.unwrap();
        let file = export(subject.clone(), &page.lines, stack.ledger.audit_head(&subject).await.unwrap()).unwrap();
        assert_eq!(verify_export(&file, None), Err(Unverified::OtherHead(6)));
    })
    .await;
}
