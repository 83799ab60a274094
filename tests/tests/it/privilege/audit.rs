//! The deployed policies, asked what somebody else's code in a function could do to the audit.

use std::collections::BTreeMap;

use super::call::{Call, LEADING_KEYS, PLACE};
use super::policy::allowed;
use crate::stack::{FUNCTIONS, Stack};

/// Every way to change an item of a table: <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html>.
const CHANGES: [&str; 6] =
    ["UpdateItem", "DeleteItem", "BatchWriteItem", "PartiQLUpdate", "PartiQLDelete", "PartiQLInsert"];
const TABLE: [&str; 4] = ["DeleteTable", "UpdateTable", "UpdateTimeToLive", "ImportTable"];
const READS: [&str; 5] = ["GetItem", "BatchGetItem", "Query", "Scan", "PartiQLSelect"];

#[tokio::test]
async fn no_role_can_change_a_line_of_the_audit() {
    Stack::run(0, async |stack| {
        let [table, heads] = ["AuditTable", "HeadsTable"].map(|name| stack.local.outputs.of(name).unwrap());
        let (mut writers, mut signers, mut readers) = (Vec::new(), Vec::new(), Vec::new());
        for function in FUNCTIONS {
            let role = allowed(stack, function).await;
            let may_in = |table: &str, action: &str, subject: &str| {
                let call = Call {
                    function: function.to_owned(),
                    action: format!("dynamodb:{action}"),
                    resource: format!("arn:aws:dynamodb:{PLACE}:table/{table}"),
                    context: BTreeMap::from([(LEADING_KEYS.to_owned(), vec![subject.to_owned()])]),
                };
                role.permits(&call, None)
            };
            let may = |action: &str, subject: &str| may_in(table, action, subject);
            for action in CHANGES.iter().chain(&TABLE) {
                assert!(!may_in(heads, action, "statements"), "{function}: {action} on statements");
            }
            signers.extend(may_in(heads, "PutItem", "statements").then_some(function));
            readers.extend(READS.iter().any(|action| may_in(heads, action, "statements")).then_some(function));
            let subjects =
                ["7", "root-1", "scs0000000000001", "device:a", "principal:ops", "policy:issuance", "denials:x"];
            for subject in subjects {
                for action in CHANGES.iter().chain(&TABLE) {
                    assert!(!may(action, subject), "{function}: {action} on {subject}");
                }
                if may("PutItem", subject) {
                    writers.push((function, subject));
                }
                for action in READS.iter().chain(&["PutItem"]) {
                    assert!(function != "WorkerFunction" || !may(action, subject), "a worker: {action} on {subject}");
                }
            }
        }
        assert_eq!(signers, ["RotateFunction"]);
        assert_eq!(readers, ["CatalogFunction", "RotateFunction"]);
        assert!(
            writers.iter().all(|(function, _)| *function != "RotateFunction"),
            "who signs what is on record writes none"
        );
        for narrow in ["IssueFunction", "ImportFunction"] {
            let theirs = writers.iter().filter(|(function, _)| *function == narrow);
            let theirs: Vec<_> =
                theirs.map(|(_, subject)| *subject).filter(|subject| *subject != "denials:x").collect();
            assert_eq!(theirs, ["scs0000000000001"], "{narrow}");
        }
    })
    .await;
}
