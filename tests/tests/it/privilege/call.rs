//! Calls to AWS in IAM's terms: action, resource and context.
//!
//! Source: <https://docs.aws.amazon.com/service-authorization/latest/reference/>.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::proxy::Recorded;

/// The local cloud's region and account.
pub const PLACE: &str = "us-east-1:000000000000";

/// A permission that a policy must grant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub function: String,
    pub action: String,
    /// The resource's ARN; `*` if the action has no resource.
    pub resource: String,
    /// Condition keys, and their values in the request.
    pub context: BTreeMap<String, Vec<String>>,
}

/// Several for a key with several names.
pub const ALIASES: &str = "kms:ResourceAliases";
pub const LEADING_KEYS: &str = "dynamodb:LeadingKeys";
const ATTRIBUTES: &str = "dynamodb:Attributes";

/// One request may need several permissions.
pub fn calls(asked: &Recorded) -> Vec<Call> {
    let (service, operation) = asked.target.split_once('.').unwrap_or((asked.target.as_str(), ""));
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let found = match service {
        "DynamoDB_20120810" => dynamodb(operation, &body),
        "AmazonSQS" => {
            // A batch needs the permission of its single operation.
            let action = format!("sqs:{}", operation.trim_end_matches("Batch"));
            let name = text(&body["QueueUrl"]).rsplit('/').next().unwrap_or_default().to_owned();
            vec![(action, format!("arn:aws:sqs:{PLACE}:{name}"), BTreeMap::new())]
        }
        "TrentService" => kms(operation, &body),
        "AmazonSSM" if operation == "ListTagsForResource" => {
            let arn = format!("arn:aws:ssm:{PLACE}:parameter{}", text(&body["ResourceId"]));
            vec![(format!("ssm:{operation}"), arn, BTreeMap::new())]
        }
        "AmazonSSM" => list(&body["Names"])
            .map(|name| {
                (format!("ssm:{operation}"), format!("arn:aws:ssm:{PLACE}:parameter{}", text(name)), BTreeMap::new())
            })
            .collect(),
        "AWSEvents" => list(&body["Entries"])
            .map(|entry| {
                let bus = entry["EventBusName"].as_str().unwrap_or("default");
                let context = [("events:source".to_owned(), vec![text(&entry["Source"]).to_owned()])];
                (format!("events:{operation}"), format!("arn:aws:events:{PLACE}:event-bus/{bus}"), context.into())
            })
            .collect(),
        // Lambda's API names the function in the path.
        path if path.starts_with("/2015-03-31/functions/") => {
            let name = path.split('/').nth(3).unwrap_or_default();
            vec![(
                "lambda:InvokeFunction".to_owned(),
                format!("arn:aws:lambda:{PLACE}:function:{name}"),
                BTreeMap::new(),
            )]
        }
        "ResourceGroupsTaggingAPI_20170126" => vec![(format!("tag:{operation}"), "*".to_owned(), BTreeMap::new())],
        // No policy allows this: an unknown call must be added to this table.
        _ => vec![(asked.target.clone(), "?".to_owned(), BTreeMap::new())],
    };
    let function = asked.who.to_string();
    let whole = |(action, resource, context)| Call { function: function.clone(), action, resource, context };
    found.into_iter().map(whole).collect()
}

type Part = (String, String, BTreeMap<String, Vec<String>>);

fn dynamodb(operation: &str, body: &Value) -> Vec<Part> {
    let on = |operation: &str, request: &Value, keys: Vec<String>| -> Part {
        let table = format!("arn:aws:dynamodb:{PLACE}:table/{}", text(&request["TableName"]));
        let resource = request["IndexName"].as_str().map_or(table.clone(), |index| format!("{table}/index/{index}"));
        let context = if keys.is_empty() { BTreeMap::new() } else { [(LEADING_KEYS.to_owned(), keys)].into() };
        (format!("dynamodb:{operation}"), resource, context)
    };
    let of_item = |item: &Value| vec![leading(item)];
    let with_attributes = |(action, resource, mut context): Part, update: &Value| {
        context.insert(ATTRIBUTES.to_owned(), attributes(update));
        (action, resource, context)
    };
    match operation {
        "TransactWriteItems" => list(&body["TransactItems"])
            .map(|write| {
                let (kind, request) = write.as_object().unwrap().iter().next().unwrap();
                let item = request.get("Item").unwrap_or(&request["Key"]);
                let operation =
                    if kind == "ConditionCheck" { "ConditionCheckItem".to_owned() } else { format!("{kind}Item") };
                let part = on(&operation, request, of_item(item));
                if kind == "Update" { with_attributes(part, request) } else { part }
            })
            .collect(),
        "BatchGetItem" => body["RequestItems"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(table, request)| {
                let keys = list(&request["Keys"]).map(leading).collect();
                on(operation, &serde_json::json!({ "TableName": table }), keys)
            })
            .collect(),
        "Query" => vec![on(operation, body, queried(body).into_iter().collect())],
        "Scan" => {
            let (action, resource, mut context) = on(operation, body, Vec::new());
            if let Some(projection) = body["ProjectionExpression"].as_str() {
                let names = projection.split(',').map(|name| name.trim().to_owned()).collect();
                context.insert(ATTRIBUTES.to_owned(), names);
            }
            if let Some(select) = body["Select"].as_str() {
                context.insert("dynamodb:Select".to_owned(), vec![select.to_owned()]);
            }
            vec![(action, resource, context)]
        }
        "UpdateItem" => vec![with_attributes(on(operation, body, of_item(&body["Key"])), body)],
        _ => vec![on(operation, body, of_item(body.get("Item").unwrap_or(&body["Key"])))],
    }
}

/// Top-level attributes that an update names, including its key.
fn attributes(update: &Value) -> Vec<String> {
    /// Other words in an expression.
    const WORDS: [&str; 12] = [
        "set",
        "remove",
        "add",
        "delete",
        "and",
        "or",
        "not",
        "attribute_exists",
        "attribute_not_exists",
        "begins_with",
        "if_not_exists",
        "size",
    ];
    let mut found: BTreeSet<String> =
        update["Key"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    for expression in ["UpdateExpression", "ConditionExpression"] {
        let breaks = |c: char| !(c.is_ascii_alphanumeric() || "_#:.".contains(c));
        for word in text(&update[expression]).split(breaks).filter(|word| !word.is_empty() && !word.starts_with(':')) {
            let top = word.split('.').next().unwrap();
            let name = if top.starts_with('#') { text(&update["ExpressionAttributeNames"][top]) } else { top };
            if !WORDS.contains(&name.to_ascii_lowercase().as_str()) {
                found.insert(name.to_owned());
            }
        }
    }
    found.into_iter().collect()
}

/// The partition key of an item or a key.
fn leading(item: &Value) -> String {
    let key = if item["pk"].is_null() { &item["id"] } else { &item["pk"] };
    text(&key["S"]).to_owned()
}

/// The partition that a query names first: `pk = :value AND ...`.
fn queried(body: &Value) -> Option<String> {
    let placeholder = text(&body["KeyConditionExpression"]).split_whitespace().nth(2)?;
    let value = &body["ExpressionAttributeValues"][placeholder];
    value["S"].as_str().or_else(|| value["N"].as_str()).map(str::to_owned)
}

fn kms(operation: &str, body: &Value) -> Vec<Part> {
    let key = text(&body["KeyId"]);
    let arn = |key: &str| match key {
        whole if whole.starts_with("arn:") => whole.to_owned(),
        alias if alias.starts_with("alias/") => format!("arn:aws:kms:{PLACE}:{alias}"),
        id => format!("arn:aws:kms:{PLACE}:key/{id}"),
    };
    let resource = arn(key);
    let action = format!("kms:{operation}");
    if operation == "CreateAlias" {
        // On both.
        let on = |named: &Value| (action.clone(), arn(text(named)), BTreeMap::new());
        return vec![on(&body["AliasName"]), on(&body["TargetKeyId"])];
    }
    if !matches!(operation, "CreateKey" | "TagResource") {
        let named = body["EncryptionContext"].as_object().into_iter().flatten();
        let context =
            named.map(|(name, value)| (format!("kms:EncryptionContext:{name}"), vec![text(value).to_owned()]));
        return vec![(action, resource, context.collect())];
    }
    let tags = || list(&body["Tags"]).map(|tag| (text(&tag["TagKey"]).to_owned(), text(&tag["TagValue"]).to_owned()));
    let mut context: BTreeMap<String, Vec<String>> =
        tags().map(|(name, value)| (format!("aws:RequestTag/{name}"), vec![value])).collect();
    context.insert("aws:TagKeys".to_owned(), tags().map(|(name, _)| name).collect());
    if operation == "TagResource" {
        return vec![(action, resource, context)];
    }
    context.insert("kms:KeyUsage".to_owned(), vec![text(&body["KeyUsage"]).to_owned()]);
    context.extend(body["MultiRegion"].as_bool().map(|it| ("kms:MultiRegion".to_owned(), vec![it.to_string()])));
    // Tags on a new key need a separate permission, on a key whose id is not known beforehand.
    let tagging = ("kms:TagResource".to_owned(), format!("arn:aws:kms:{PLACE}:key/new"), context.clone());
    vec![(action, "*".to_owned(), context), tagging]
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
