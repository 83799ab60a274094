//! The permissions of the functions' roles in the deployed stack.
//!
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html>.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::call::{ALIASES, Call, LEADING_KEYS};
use super::engine;
use crate::stack::Stack;

/// The local cloud's account.
pub const ACCOUNT: &str = "000000000000";
pub const PRINCIPAL: &str = "aws:PrincipalArn";

/// A statement of a role's or a key's policy.
#[derive(Debug, Clone)]
pub struct Statement {
    pub function: String,
    pub sid: String,
    pub denies: bool,
    pub actions: Vec<String>,
    pub resources: Vec<String>,
    /// Operator, condition key, values.
    conditions: Vec<(String, String, Vec<String>)>,
    /// As it was deployed.
    pub document: Value,
}

/// A function's role: its ARN, and what IAM allows and denies it.
pub struct Allowed {
    pub role: String,
    /// What the function's variables say.
    pub told: BTreeSet<String>,
    pub statements: Vec<Statement>,
}

/// A statement of a key's policy.
#[derive(Debug, Clone)]
pub struct KeyStatement {
    /// The principal is `*`: whoever meets the conditions needs no permission of IAM. Otherwise it is the account, and
    /// IAM decides.
    pub directly: bool,
    pub statement: Statement,
}

impl Statement {
    /// Allows or denies the call.
    pub fn applies(&self, call: &Call) -> bool {
        self.function == call.function
            && self.resources.iter().any(|pattern| is_like(&call.resource, pattern))
            && self.covers(call)
    }

    /// Action and conditions, whoever asks and for what.
    fn covers(&self, call: &Call) -> bool {
        self.actions.iter().any(|pattern| is_like(&call.action, pattern))
            && self.conditions.iter().all(|(operator, key, values)| {
                let found = call.context.get(key);
                let is = |value: &String| match operator.rsplit(':').next().unwrap() {
                    "StringEquals" | "StringEqualsIfExists" | "BoolIfExists" => values.contains(value),
                    "StringLike" | "ArnLike" | "ArnNotLike" => values.iter().any(|pattern| is_like(value, pattern)),
                    "StringNotLike" => !values.iter().any(|pattern| is_like(value, pattern)),
                    _ => panic!("{operator} is not known here"),
                };
                match operator.as_str() {
                    "Null" => values.iter().all(|absent| (absent == "true") == found.is_none()),
                    _ if operator.ends_with("IfExists") => found.is_none_or(|found| found.iter().all(is)),
                    "ArnNotLike" => found.is_none_or(|found| !found.iter().any(is)),
                    _ if operator.starts_with("ForAllValues:") => found.is_none_or(|found| found.iter().all(is)),
                    _ if operator.starts_with("ForAnyValue:") => found.is_some_and(|found| found.iter().any(is)),
                    _ => found.is_some_and(|found| found.iter().all(is)),
                }
            })
    }

    /// The context of a call that meets the conditions. What must not be like something is left out.
    pub fn favour(&self) -> BTreeMap<String, Vec<String>> {
        let mut context = BTreeMap::new();
        for (operator, key, values) in &self.conditions {
            match operator.as_str() {
                "Null" if values == &["false"] => {
                    context.entry(key.clone()).or_insert_with(|| vec!["x".to_owned()]);
                }
                "Null" => {}
                _ if operator.contains("Not") => {}
                _ => {
                    context.insert(key.clone(), vec![values[0].replace('*', "x")]);
                }
            }
        }
        context
    }

    /// The roles that the statement's conditions name.
    pub fn roles(&self) -> impl Iterator<Item = &String> {
        self.conditions
            .iter()
            .filter(|(operator, key, _)| operator == "ArnLike" && key == PRINCIPAL)
            .flat_map(|(.., values)| values)
    }

    /// Patterns for the first part of a key.
    pub fn leading_keys(&self) -> impl Iterator<Item = &String> {
        let named = |(operator, key, values)| (key == LEADING_KEYS && operator != "Null").then_some(values);
        self.conditions
            .iter()
            .map(|(operator, key, values)| (operator.as_str(), key.as_str(), values))
            .filter_map(named)
            .flatten()
    }
}

impl Allowed {
    /// Whether KMS or another service lets the role do this. `key`: the policy of the key that the call uses, if any.
    ///
    /// # Panics
    /// The engine of others decides otherwise.
    pub fn permits(&self, call: &Call, key: Option<&[KeyStatement]>) -> bool {
        let ours = self.decides(call, key);
        assert_eq!(ours, engine::permits(self, call, key), "iam-rs decides otherwise: {} {call:?}", self.role);
        ours
    }

    fn decides(&self, call: &Call, key: Option<&[KeyStatement]>) -> bool {
        let iam = |denies| self.statements.iter().any(|each| each.denies == denies && each.applies(call));
        if iam(true) {
            return false;
        }
        let by_iam = iam(false);
        let Some(key) = key else { return by_iam };
        let mut call = call.clone();
        call.context.insert(PRINCIPAL.to_owned(), vec![self.role.clone()]);
        call.context.insert("kms:CallerAccount".to_owned(), vec![ACCOUNT.to_owned()]);
        let says = |denies, directly| {
            key.iter().any(|KeyStatement { directly: any, statement }| {
                statement.denies == denies && *any == directly && statement.covers(&call)
            })
        };
        !says(true, true) && !says(true, false) && (says(false, true) || (by_iam && says(false, false)))
    }
}

/// `*` matches any text, including none.
pub fn is_like(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => text == pattern,
        Some((head, tail)) => text
            .strip_prefix(head)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.is_char_boundary(at) && is_like(&rest[at..], tail))),
    }
}

/// The policy of a key in the local cloud.
pub async fn key_policy(stack: &Stack, key: &str) -> Vec<KeyStatement> {
    let kms = aws_sdk_kms::Client::new(&stack.local.sdk_config);
    let document: Value =
        serde_json::from_str(&kms.get_key_policy().key_id(key).send().await.unwrap().policy.unwrap()).unwrap();
    let of = |statement: &Value| {
        let principal = &statement["Principal"]["AWS"];
        let account = format!("arn:aws:iam::{ACCOUNT}:root");
        assert!(*principal == json!("*") || *principal == json!(account), "{statement}");
        assert_eq!(statement["Resource"], "*", "{statement}");
        let statement = read("", statement);
        let refused = statement.conditions.iter().find(|(_, key, _)| {
            ["aws:ResourceTag", "kms:ResourceTag", ALIASES].contains(&key.split('/').next().unwrap())
        });
        assert!(refused.is_none(), "KMS accepts this in no key policy: {refused:?}");
        KeyStatement { directly: *principal == json!("*"), statement }
    };
    listed(&document["Statement"]).iter().map(of).collect()
}

/// The role of the function that template.yaml's output names.
pub async fn allowed(stack: &Stack, output: &str) -> Allowed {
    let name = stack.local.outputs.of(output).unwrap();
    let url = format!("{}/2015-03-31/functions/{name}/configuration", stack.local.endpoint_url);
    let config: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let arn = config["Role"].as_str().unwrap().to_owned();
    let role = arn.rsplit('/').next().unwrap();
    let mut found = Vec::new();
    for policy in elements(&iam(stack, &[("Action", "ListRolePolicies"), ("RoleName", role)]).await, "member") {
        let asked = [("Action", "GetRolePolicy"), ("RoleName", role), ("PolicyName", policy.as_str())];
        let answer = iam(stack, &asked).await;
        let document = elements(&answer, "PolicyDocument").remove(0).replace("&quot;", "\"");
        let decoded = form_urlencoded::parse(format!("document={document}").as_bytes()).next().unwrap().1.into_owned();
        let document: Value = serde_json::from_str(&decoded).unwrap();
        let statements = listed(&document["Statement"]);
        found.extend(statements.iter().map(|statement| read(output, statement)));
    }
    assert!(!found.is_empty(), "{output} has no policy");
    let variables = config["Environment"]["Variables"].as_object().unwrap();
    let told = variables.values().map(|value| value.as_str().unwrap().to_owned()).collect();
    Allowed { role: arn, told, statements: found }
}

/// A query of IAM in the SDK's format: not worth another crate.
async fn iam(stack: &Stack, asked: &[(&str, &str)]) -> String {
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(asked)
        .append_pair("Version", "2010-05-08")
        .finish();
    let signed =
        "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0";
    let request = reqwest::Client::new()
        .post(&stack.local.endpoint_url)
        .header("authorization", signed)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    request.send().await.unwrap().error_for_status().unwrap().text().await.unwrap()
}

fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).map(|rest| rest.split(&close).next().unwrap().to_owned()).collect()
}

fn listed(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

fn texts(value: &Value) -> Vec<String> {
    listed(value).iter().map(|each| each.as_str().map_or_else(|| each.to_string(), str::to_owned)).collect()
}

fn read(function: &str, statement: &Value) -> Statement {
    let empty = serde_json::Map::new();
    let conditions: BTreeMap<&String, &Value> = statement["Condition"].as_object().unwrap_or(&empty).iter().collect();
    let conditions = conditions.into_iter().flat_map(|(operator, keys)| {
        keys.as_object().unwrap().iter().map(|(key, values)| (operator.clone(), key.clone(), texts(values)))
    });
    Statement {
        function: function.to_owned(),
        sid: statement["Sid"].as_str().unwrap_or_default().to_owned(),
        denies: statement["Effect"] == "Deny",
        actions: texts(&statement["Action"]),
        resources: texts(&statement["Resource"]),
        conditions: conditions.collect(),
        document: statement.clone(),
    }
}

#[test]
fn patterns_match_like_iams() {
    for (text, pattern, expected) in [
        ("scs0000000000001", "scs*", true),
        ("name#a", "scs*", false),
        ("policy", "policy", true),
        ("policy2", "policy", false),
        ("anything", "*", true),
        ("arn:aws:kms:r:1:key/k", "arn:aws:kms:r:1:key/*", true),
        ("a/b/c", "a/*/c", true),
        ("a/b/d", "a/*/c", false),
    ] {
        assert_eq!(is_like(text, pattern), expected, "{text} {pattern}");
    }
}
