//! The paths of the HTTP API in template.yaml, made from the OpenAPI document: an operation is a route of API Gateway, which
//! leads to the function of the operation's row. API Gateway takes OpenAPI 3.0, and nothing of schemas.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rootcast_gate::routes::{Function, PAGES, Route, TABLE};
use serde_json::Value;

use crate::openapi::{WRITE, document, method, operation_id};
use crate::walk::ELSEWHERE;

/// Schemes by which API Gateway authorizes, and the template's condition for the routes that have it.
const AUTHORIZERS: [(&str, Option<&str>); 2] = [("AWS_IAM", None), ("Oidc", Some("HasOidc"))];
const ANY: &str = "x-amazon-apigateway-any-method";
/// The lines around the paths.
const BEFORE: &str = "\n        paths:\n";
const AFTER: &str = "        components:\n";

#[tokio::test]
async fn the_gateway_has_the_routes_of_the_document() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    let stored = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = stored.split_once(BEFORE).unwrap();
    let (_, after) = rest.split_once(AFTER).unwrap();
    let made = format!("{before}{BEFORE}{}{AFTER}{after}", paths(&document().await));
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let differs = stored.lines().zip(made.lines()).position(|(stored, made)| stored != made);
    assert!(
        std::fs::read_to_string(&file).unwrap() == made,
        "template.yaml, line {differs:?} differs: run this test with {WRITE}=1 and commit the file"
    );
}

#[derive(Default)]
struct Item {
    condition: Option<&'static str>,
    operations: BTreeMap<String, String>,
}

fn paths(document: &Value) -> String {
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    let mut add = |path: &str, method: &str, operation: String| {
        items.entry(path.to_owned()).or_default().operations.insert(method.to_owned(), operation);
    };
    let described = document["paths"].as_object().unwrap();
    let mut conditions = Vec::new();
    for (path, methods) in described {
        // Of a path that ends so there would be no route: https://github.com/aws/serverless-application-model/issues/1949
        for (method, operation) in methods.as_object().unwrap().iter().filter(|_| !path.ends_with('/')) {
            let id = operation["operationId"].as_str().unwrap();
            let row = TABLE.iter().find(|row| operation_id(row) == id).unwrap();
            let authorizer = AUTHORIZERS.iter().find(|(scheme, _)| operation["security"][0].get(*scheme).is_some());
            let security =
                authorizer.map(|(scheme, _)| format!("security: [{{ {scheme}: [] }}], ")).unwrap_or_default();
            conditions.extend(authorizer.and_then(|(_, condition)| Some((path, (*condition)?))));
            add(path, method, format!("operationId: {id}, {security}{}", answered_by(row.function)));
        }
    }
    // Of two spellings the document shows one, and the default route leads to another function.
    for row in TABLE.iter().filter(|row| row.function != Function::Catalog && !described.contains_key(row.path)) {
        if owner(first(row)).is_none() {
            add(row.path, &method(row), format!("operationId: {}, {}", operation_id(row), answered_by(row.function)));
        }
    }
    // So that a function refuses, in its API's own way, what is under its paths, and finds the letter cases that clients use.
    for segment in rows().map(first).collect::<BTreeSet<_>>() {
        let Some(function) = owner(segment) else { continue };
        let (itself, below) = (format!("/{segment}"), format!("/{segment}/"));
        if rows().any(|row| row.path == itself) {
            add(&itself, ANY, answered_by(function));
        }
        if rows().any(|row| row.path.starts_with(&below)) {
            add(&format!("{below}{{path+}}"), ANY, answered_by(function));
        }
    }
    add("/$default", ANY, format!("isDefaultRoute: true, {}", answered_by(Function::Catalog)));
    for (path, condition) in conditions {
        items.get_mut(path).unwrap().condition = Some(condition);
    }
    items.iter().map(|(path, item)| written(path, item)).collect()
}

fn answered_by(function: Function) -> String {
    format!(
        "responses: {{ default: {{ description: JSON }} }}, x-amazon-apigateway-integration: {{ $ref: \"#/components/x-amazon-apigateway-integrations/{function:?}\" }}"
    )
}

fn written(path: &str, item: &Item) -> String {
    let (condition, indent, otherwise) = match item.condition {
        Some(condition) => (
            format!(" !If\n            - {condition}\n            - "),
            "              ",
            "            - !Ref AWS::NoValue\n",
        ),
        None => ("\n            ".to_owned(), "            ", ""),
    };
    let named: Vec<_> = path.split(['{', '}']).skip(1).step_by(2).collect();
    let named =
        named.iter().map(|name| format!("{{ name: {name}, in: path, required: true, schema: {{ type: string }} }}"));
    let parameters = named.collect::<Vec<_>>().join(", ");
    let parameters = (!parameters.is_empty()).then(|| format!("parameters: [{parameters}]\n"));
    let operations = item.operations.iter().map(|(method, operation)| format!("{method}: {{ {operation} }}\n"));
    let lines: Vec<_> = parameters.into_iter().chain(operations).collect();
    format!("          {path}:{condition}{}{otherwise}", lines.join(indent))
}

/// The function that has all paths with this first part for itself, if it refuses what it does not know, which catalog does for
/// regenerate, and if API Gateway authorizes none of them: a route for all of them would lead around that.
fn owner(segment: &str) -> Option<Function> {
    let mut rows = rows().filter(|row| first(row).eq_ignore_ascii_case(segment));
    let function = rows.next()?.function;
    let is_alone = rows.all(|row| row.function == function);
    let refuses = !matches!(function, Function::Catalog | Function::Regenerate);
    let is_open = !ELSEWHERE.iter().any(|row| first(row) == segment);
    (is_alone && refuses && is_open).then_some(function)
}

fn rows() -> impl Iterator<Item = &'static Route> {
    TABLE.iter().chain(PAGES)
}

fn first(row: &Route) -> &'static str {
    row.path.split('/').nth(1).unwrap_or_default()
}
