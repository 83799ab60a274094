//! What no role may reach, judged by the deployed policies: every function, with every action of a service, on everything that
//! the function's variables do not name. A function has no other way to learn what is its own.

use std::collections::{BTreeMap, BTreeSet};

use super::call::{Call, PLACE};
use super::policy::{Allowed, Statement, allowed, is_like};
use super::unused::UNDONE;
use crate::stack::{FUNCTIONS, Stack};

/// <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html>, and so on.
const ON_TABLES: &str = "BatchGetItem BatchWriteItem ConditionCheckItem CreateBackup DeleteItem DeleteTable DescribeTable ExportTableToPointInTime \
    GetItem GetRecords ImportTable PartiQLDelete PartiQLInsert PartiQLSelect PartiQLUpdate PutItem PutResourcePolicy Query \
    RestoreTableToPointInTime Scan UpdateContinuousBackups UpdateItem UpdateTable UpdateTimeToLive";
const ON_QUEUES: &str = "AddPermission ChangeMessageVisibility DeleteMessage DeleteQueue GetQueueAttributes GetQueueUrl PurgeQueue \
    ReceiveMessage RemovePermission SendMessage SetQueueAttributes StartMessageMoveTask";
const ON_PARAMETERS: &str = "DeleteParameter DeleteParameters GetParameter GetParameterHistory GetParameters \
    GetParametersByPath LabelParameterVersion ListTagsForResource PutParameter";
const ON_BUSES: &str = "CreateArchive DeleteEventBus DescribeEventBus PutEvents PutPermission PutRule RemovePermission";

/// A resource: what a variable says if it names it, its ARN, and the actions on it.
struct Thing {
    named: Option<String>,
    arn: String,
    actions: Vec<String>,
}

fn actions(service: &str, names: &str) -> Vec<String> {
    names.split_whitespace().map(|name| format!("{service}:{name}")).collect()
}

/// The stack's own things, each with what looks like it, and others'.
fn things(stack: &Stack) -> Vec<Thing> {
    let mut things = Vec::new();
    let mut add = |named: Option<String>, arn: String, actions: Vec<String>| things.push(Thing { named, arn, actions });
    let alike = |name: &str| [format!("other-{name}"), format!("{name}-2"), name[..name.len() - 1].to_owned()];
    for (output, value) in stack.local.outputs.iter() {
        if output.ends_with("Table") {
            let table = |name: &str| format!("arn:aws:dynamodb:{PLACE}:table/{name}");
            add(Some(value.to_owned()), table(value), actions("dynamodb", ON_TABLES));
            add(Some(value.to_owned()), format!("{}/index/by-change", table(value)), actions("dynamodb", "Query Scan"));
            for name in alike(value) {
                add(None, table(&name), actions("dynamodb", ON_TABLES));
            }
        } else if output.ends_with("QueueUrl") || output.ends_with("LettersUrl") {
            let queue = |name: &str| format!("arn:aws:sqs:{PLACE}:{name}");
            let name = value.rsplit('/').next().unwrap();
            add(Some(value.to_owned()), queue(name), actions("sqs", ON_QUEUES));
            for name in alike(name) {
                add(None, queue(&name), actions("sqs", ON_QUEUES));
            }
        }
    }
    for (named, name) in [
        (Some("/rootcast/devices/"), "/rootcast/devices/a"),
        (None, "/rootcast/devices"),
        (None, "/rootcast/devices-of-others/a"),
        (None, "/rootcast/other/devices/a"),
        (None, "/other"),
    ] {
        let arn = format!("arn:aws:ssm:{PLACE}:parameter{name}");
        add(named.map(str::to_owned), arn, actions("ssm", ON_PARAMETERS));
    }
    for bus in ["other", "default-2", "rootcast-requests"] {
        add(None, format!("arn:aws:events:{PLACE}:event-bus/{bus}"), actions("events", ON_BUSES));
    }
    things
}

/// Contexts in which the role may do this to something, if there are any.
fn contexts(role: &Allowed, action: &str) -> BTreeSet<BTreeMap<String, Vec<String>>> {
    let covers = |pattern: &String| is_like(action, pattern);
    let covering = role.statements.iter().filter(|each| !each.denies && each.actions.iter().any(covers));
    covering.map(Statement::favour).chain([BTreeMap::new()]).collect()
}

#[tokio::test]
async fn no_role_reaches_what_its_function_is_not_told_of() {
    Stack::run(0, async |stack| {
        let things = things(stack);
        let dead_letters = stack.local.outputs.of("EventDeadLettersUrl").unwrap().rsplit('/').next().unwrap();
        let dead_letters = format!("arn:aws:sqs:{PLACE}:{dead_letters}");
        for function in FUNCTIONS {
            let role = allowed(stack, function).await;
            let call = |action: &str, resource: &str, context: &BTreeMap<String, Vec<String>>| Call {
                function: function.to_owned(),
                action: action.to_owned(),
                resource: resource.to_owned(),
                context: context.clone(),
            };
            // Each statement allows something in the context that is made for it: the refusals below are not the context's.
            for statement in role.statements.iter().filter(|each| !each.denies) {
                let resource =
                    statement.resources[0].replace('*', if statement.resources[0] == "*" { "*" } else { "x" });
                let may = role.permits(&call(&statement.actions[0], &resource, &statement.favour()), None);
                assert!(may, "{function} {}: {resource} in no context of its own", statement.sid);
            }
            let mut reached = BTreeSet::new();
            for Thing { named, arn, actions } in &things {
                if named.as_ref().is_some_and(|named| role.told.contains(named)) {
                    continue;
                }
                for action in actions {
                    for context in contexts(&role, action) {
                        if role.permits(&call(action, arn, &context), None) {
                            reached.insert((action.as_str(), arn.as_str()));
                        }
                    }
                }
            }
            // Lambda itself puts there what was not carried out, as the function.
            let undone = role.statements.iter().filter(|each| each.sid == UNDONE);
            let undone: BTreeSet<(&str, &str)> =
                undone.map(|each| (each.actions[0].as_str(), each.resources[0].as_str())).collect();
            assert!(undone.iter().all(|found| *found == ("sqs:SendMessage", dead_letters.as_str())), "{undone:?}");
            assert_eq!(reached, undone, "{function}");
        }
    })
    .await;
}
