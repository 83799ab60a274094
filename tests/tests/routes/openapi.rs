//! The OpenAPI document: made from the table of routes, the schemes and bodies that the walk tries, and what the real
//! routers answer an administrator. `GET /openapi.json` and `rootcast api` show the repository's file, which is equal to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use axum::body::to_bytes;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use rootcast_core::access::permission::Role;
use rootcast_dialects::huawei::HuaweiError;
use rootcast_dialects::lenovo::LenovoError;
use rootcast_dialects::venafi::{OAuthError, VenafiError};
use rootcast_gate::routes::{self, Function, Needs, Object, Route, TABLE};
use rootcast_gate::{CSRF_COOKIE, Kind, Parameter, Parameters, Refusal, SESSION_COOKIE, Value as Takes};
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use crate::requests::{Scheme, body, parameters, request};
use crate::tables::Caller;
use crate::walk::{ELSEWHERE, carries};
use crate::world::World;

/// Set to write the file.
pub(crate) const WRITE: &str = "ROOTCAST_WRITE_OPENAPI";
const KINDS: [Kind; 11] = [
    Kind::Invalid,
    Kind::Unauthenticated,
    Kind::Forbidden,
    Kind::NotFound,
    Kind::MethodNotAllowed,
    Kind::Conflict,
    Kind::TooLarge,
    Kind::MediaType,
    Kind::Locked,
    Kind::Internal,
    Kind::Unavailable,
];

#[tokio::test]
async fn the_document_in_the_repository_is_what_the_routers_answer() {
    let made = serde_json::to_string_pretty(&document().await).unwrap() + "\n";
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(file(), &made).unwrap();
    }
    let stored = std::fs::read_to_string(file()).unwrap();
    let differs = stored.lines().zip(made.lines()).position(|(stored, made)| stored != made);
    assert!(stored == made, "line {differs:?} differs: run this test with {WRITE}=1 and commit the file");
}

/// The attributes that the file says each refusal of this dialect has.
pub(crate) fn published_members(dialect: &str) -> Vec<&'static str> {
    let required = &PUBLISHED["components"]["schemas"][dialect]["required"];
    required.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// Whether the file says that the route can be answered so. A refusal is always `default`.
pub(crate) fn is_published(route: &Route, status: u16, body: &str) -> bool {
    let responses = &PUBLISHED["paths"][spelling(route)][method(shown_as(route))]["responses"];
    if status >= 400 {
        return responses.get("default").is_some();
    }
    let Some(response) = responses.get(status.to_string()) else { return responses.get("2XX").is_some() };
    let schema = &response["content"]["application/json"]["schema"];
    schema.is_null() || serde_json::from_str(body).is_ok_and(|told| is_valid(schema, &told))
}

/// By the few keywords that [`shape`] uses.
fn is_valid(schema: &Value, value: &Value) -> bool {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is_of = |types: &Vec<Value>| types.iter().any(|each| each == kind);
    schema["type"].as_array().is_none_or(is_of)
        && value.as_array().is_none_or(|items| items.iter().all(|item| is_valid(&schema["items"], item)))
        && value.as_object().is_none_or(|members| {
            members.iter().all(|(name, value)| is_valid(&schema["properties"][name.as_str()], value))
        })
}

static PUBLISHED: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&std::fs::read_to_string(file()).unwrap()).unwrap());

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../functions/catalog/openapi.json")
}

/// The format of a route's refusals.
pub(crate) fn dialect(route: &Route) -> &'static str {
    match (route.function, route.path) {
        (Function::Access, path) if path.starts_with("/vedauth") => "OAuthRefusal",
        (Function::Retry, _) => "VenafiRefusal",
        (_, path) if path.starts_with("/v3/scm") => "HuaweiRefusal",
        _ => "LenovoRefusal",
    }
}

pub(crate) async fn document() -> Value {
    let world = World::of(Some(&Caller { grants: Role::Administrator.into(), scope: None })).await;
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in TABLE.iter().filter(|route| shown_as(route) == *route) {
        paths.entry(spelling(route)).or_default().insert(method(route), operation(&world, route).await);
    }
    let refusals = [
        ("LenovoRefusal", refused(|refusal| LenovoError::from(refusal).into_response()).await),
        ("HuaweiRefusal", refused(|refusal| HuaweiError::from(refusal).into_response()).await),
        ("VenafiRefusal", refused(|refusal| VenafiError::from(refusal).into_response()).await),
        ("OAuthRefusal", refused(|refusal| OAuthError::from(refusal).into_response()).await),
    ];
    let (mut schemas, mut responses) = (Map::new(), Map::new());
    for (name, examples) in refusals {
        schemas.insert(name.to_owned(), schema(&examples["400"]["value"]));
        let content = json!({ "schema": { "$ref": format!("#/components/schemas/{name}") }, "examples": examples });
        let description = "Refused, with what is wrong and what to do. The examples' names are statuses.";
        responses
            .insert(name.to_owned(), json!({ "description": description, "content": { "application/json": content } }));
    }
    schemas.insert("GatewayMessage".to_owned(), schema(&json!({ "message": "Forbidden" })));
    let either =
        ["GatewayMessage", "LenovoRefusal"].map(|name| json!({ "$ref": format!("#/components/schemas/{name}") }));
    let content = json!({ "application/json": { "schema": { "anyOf": either } } });
    let description = "Refused: by API Gateway, or with what is wrong and what to do";
    responses.insert("GatewayRefusal".to_owned(), json!({ "description": description, "content": content }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Rootcast",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
            "description": "Paths are case-insensitive, except where they name a device or a user. Examples are what the functions answered in a test; \
                            hashes, times and keys in them are blanked.",
        },
        "servers": [{ "url": "https://{api}", "variables": { "api": { "default": "ID.execute-api.REGION.amazonaws.com" } } }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "basic": { "type": "http", "scheme": "basic" },
                "authToken": { "type": "apiKey", "in": "header", "name": "X-Auth-Token" },
                "signature": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "Huawei Cloud's SDK-HMAC-SHA256 with an access key",
                },
                "session": { "type": "apiKey", "in": "cookie", "name": SESSION_COOKIE },
                "csrf": {
                    "type": "apiKey", "in": "header", "name": "X-Csrf-Token",
                    "description": format!("The value of the cookie {CSRF_COOKIE}; not needed to GET"),
                },
                "AWS_IAM": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "AWS Signature Version 4 of the service execute-api, verified by API Gateway",
                },
                "Oidc": {
                    "type": "http", "scheme": "bearer",
                    "description": "The OpenID Connect provider's token, verified by API Gateway",
                },
            },
        },
    })
}

async fn operation(world: &World, route: &Route) -> Value {
    let answer = world.router(route.function).oneshot(request(route, Scheme::Bearer)).await.unwrap();
    let (status, kind) = (answer.status(), answer.headers().get(CONTENT_TYPE).cloned());
    let text = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    let success = match (status.is_success(), kind) {
        _ if let Some(example) = vendors_answer(route) => {
            let content = json!({ "application/json": { "schema": shape(&example), "example": example } });
            ("200".to_owned(), json!({ "description": "Done", "content": content }))
        }
        // What the test's tables cannot make succeed.
        (false, _) => ("2XX".to_owned(), json!({ "description": "Done" })),
        (true, None) => (status.as_str().to_owned(), json!({ "description": "Done" })),
        (true, Some(kind)) => {
            let kind = kind.to_str().unwrap().split(';').next().unwrap().to_owned();
            let example = serde_json::from_slice::<Value>(&text).ok().filter(|_| *route != routes::OPENAPI);
            let media =
                example.map_or_else(|| json!({}), |told| json!({ "schema": shape(&told), "example": blank(told) }));
            (status.as_str().to_owned(), json!({ "description": "Done", "content": { kind: media } }))
        }
    };
    let refusal = if ELSEWHERE.contains(route) { "GatewayRefusal" } else { dialect(route) };
    let refusal = json!({ "$ref": format!("#/components/responses/{refusal}") });
    let mut responses = Map::from_iter([success, ("default".to_owned(), refusal.clone())]);
    if matches!(route.needs, Needs::Operation(..)) {
        let mut waits = refusal;
        waits["description"] = json!("Where two persons are needed: another one has to confirm it first");
        responses.insert("202".to_owned(), waits);
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "tags": [tag(route)],
        "description": needs(route),
        "security": security(route),
        "responses": responses,
    });
    let named: Vec<Value> = parameters()
        .into_iter()
        .filter(|(name, _)| route.path.contains(&format!("{{{name}}}")))
        .map(|(name, value)| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" }, "example": value })
        })
        .collect();
    let asked = asked_of(world, route).await;
    let named: Vec<Value> = named.into_iter().chain(asked.iter().map(in_query)).collect();
    if !named.is_empty() {
        operation["parameters"] = named.into();
    }
    if let Some(example) = body(route) {
        let media = json!({ "schema": shape(&example), "example": example });
        operation["requestBody"] = json!({ "content": { "application/json": media } });
    }
    operation
}

/// What the route's handler reads of a query, as the router says it in the first answer that comes from there.
async fn asked_of(world: &World, route: &Route) -> Vec<Parameter> {
    for scheme in Scheme::ALL {
        let answer = world.router(route.function).oneshot(request(route, scheme)).await.unwrap();
        if let Some(Parameters(asked)) = answer.extensions().get() {
            return asked();
        }
    }
    panic!("{} is always answered before its row is asked", route.name)
}

fn in_query(Parameter { name, value }: &Parameter) -> Value {
    let schema = match value {
        Takes::Text => json!({ "type": "string" }),
        Takes::Number => json!({ "type": "integer", "minimum": 0 }),
        Takes::Flag => json!({ "type": "boolean" }),
        Takes::OneOf(values) => json!({ "type": "string", "enum": values }),
    };
    json!({ "name": name, "in": "query", "schema": schema })
}

/// The row that stands for this one, if there are two for two spellings of a path.
fn shown_as(route: &Route) -> &Route {
    let is_same = |other: &&Route| other.method == route.method && other.path.eq_ignore_ascii_case(route.path);
    TABLE.iter().filter(is_same).min_by_key(|other| other.path).unwrap_or(route)
}

/// With the documented letter case of the first part, if a row has it: upper case sorts first.
fn spelling(route: &Route) -> String {
    let first = |route: &Route| route.path.split('/').nth(1).unwrap_or_default();
    let same = TABLE.iter().map(first).filter(|other| other.eq_ignore_ascii_case(first(route)));
    let first = same.min().unwrap_or_default();
    format!("/{first}{}", &route.path[1 + first.len()..])
}

/// The vendors' own examples of answers, for what the tables here cannot make succeed.
fn vendors_answer(route: &Route) -> Option<Value> {
    Some(match *route {
        routes::REGENERATE => json!({
            "response": { "jobPath": "/signingCertificate/jobs/383" },
            "result": "success",
            "messages": [{
                "id": "FQXHMSE0132I",
                "text": "The request to generate the CA root certificate was successful.",
                "explanation": "The CA root certificate was regenerated.",
                "recovery": { "text": "Information only; no action is required.", "URL": "" },
            }],
        }),
        routes::SCM_IMPORT => json!({ "certificate_id": "scs1600313391074" }),
        routes::RETRY => json!({ "Success": true }),
        _ => return None,
    })
}

pub(crate) fn method(route: &Route) -> String {
    route.method.as_str().to_ascii_lowercase()
}

/// `APPROVE_DEVICE` is `approveDevice`.
pub(crate) fn operation_id(route: &Route) -> String {
    let words = route.name.split('_').enumerate();
    words
        .map(|(at, word)| if at == 0 { word.to_lowercase() } else { word[..1].to_owned() + &word[1..].to_lowercase() })
        .collect()
}

fn tag(route: &Route) -> &'static str {
    match dialect(route) {
        "HuaweiRefusal" => "Huawei Cloud SCM v3",
        "LenovoRefusal" => "Lenovo XClarity Administrator, and our own",
        _ => "Venafi Trust Protection Platform",
    }
}

fn needs(route: &Route) -> String {
    let of = |object: Object| match object {
        Object::Certificate => "the certificate",
        Object::Device => "the device",
        _ => object.dn().unwrap_or_default(),
    };
    let needs = match route.needs {
        _ if ELSEWHERE.contains(route) => "API Gateway authenticates the caller.".to_owned(),
        Needs::Public => "Public.".to_owned(),
        Needs::Authenticated => "For every user.".to_owned(),
        Needs::Right(right, object) => format!("Requires the right {right} on {}.", of(object)),
        Needs::Operation(operation, object) => {
            format!("Requires the permission {operation}, and the right read on {}.", of(object))
        }
    };
    match route.scope {
        Some((resource, privilege)) => {
            let privilege = privilege.map(|privilege| format!(":{}", privilege.as_str())).unwrap_or_default();
            format!("{needs} A token with a scope: {}{privilege}.", resource.as_str())
        }
        None => needs,
    }
}

fn security(route: &Route) -> Value {
    match *route {
        routes::OF_IAM => return json!([{ "AWS_IAM": [] }]),
        routes::OF_OIDC => return json!([{ "Oidc": [] }]),
        _ if route.needs == Needs::Public => return json!([]),
        _ => {}
    }
    let carried = Scheme::ALL.into_iter().filter(|scheme| carries(route, *scheme));
    let named = carried.filter_map(|scheme| match scheme {
        Scheme::Bearer => Some(json!({ "bearer": [] })),
        Scheme::AuthToken => Some(json!({ "authToken": [] })),
        Scheme::Signature => Some(json!({ "signature": [] })),
        Scheme::Basic => Some(json!({ "basic": [] })),
        Scheme::Session => Some(json!({ "session": [], "csrf": [] })),
        Scheme::None | Scheme::Cookie => None,
    });
    named.collect()
}

/// A refusal of each kind, by its status.
async fn refused(render: impl Fn(Refusal) -> axum::response::Response) -> Value {
    let mut examples = Map::new();
    for kind in KINDS {
        let answer = render(Refusal::new(kind, "What is wrong.", "What to do."));
        let status = answer.status();
        assert!(status != StatusCode::OK);
        let body: Value = serde_json::from_slice(&to_bytes(answer.into_body(), 1 << 20).await.unwrap()).unwrap();
        examples.insert(status.as_str().to_owned(), json!({ "value": body }));
    }
    examples.into()
}

/// Every member is required, since a refusal always has all of them.
fn schema(example: &Value) -> Value {
    match example {
        Value::Object(members) => {
            let properties: Map<_, _> = members.iter().map(|(name, value)| (name.clone(), schema(value))).collect();
            json!({ "type": "object", "required": members.keys().collect::<Vec<_>>(), "properties": properties })
        }
        Value::Array(items) => json!({ "type": "array", "items": items.first().map(schema) }),
        Value::Number(_) => json!({ "type": "number" }),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::String(_) | Value::Null => json!({ "type": "string" }),
    }
}

/// What one answer shows of its schema: names and types. Any member may be absent or null in another answer.
fn shape(example: &Value) -> Value {
    let kind = match example {
        Value::Null => return json!({}),
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(items) => {
            let items = items.first().map_or_else(|| json!({}), shape);
            return json!({ "type": ["array", "null"], "items": items });
        }
        Value::Object(members) => {
            // Answers name a parameter or a sealed credential; requests may have user name and password.
            let shape = |(name, value): (&String, &Value)| match name.as_str() {
                "credential" => json!({ "type": ["string", "object", "null"] }),
                _ => shape(value),
            };
            let properties: Map<_, _> = members.iter().map(|each| (each.0.clone(), shape(each))).collect();
            return json!({ "type": ["object", "null"], "properties": properties });
        }
    };
    json!({ "type": [kind, "null"] })
}

/// Replaces what is another one each time.
fn blank(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| if name == "valid_for" { (name, 3600.into()) } else { (name, blank(value)) })
            .collect(),
        Value::Array(items) => items.into_iter().map(blank).collect(),
        Value::String(text) => blank_text(&text).into(),
        Value::Number(number) if number.as_i64().is_some_and(|number| number > 1_500_000_000) => 1_767_225_600.into(),
        other => other,
    }
}

fn blank_text(text: &str) -> String {
    if text.contains("-----BEGIN") {
        return "-----BEGIN CERTIFICATE-----\n…".to_owned();
    }
    let is_time = |text: &str| text.len() >= 19 && text.as_bytes()[4] == b'-' && text.as_bytes()[13] == b':';
    if text.is_ascii() && is_time(text) {
        return if text.contains('T') { "2026-01-01T00:00:00Z" } else { "2026-01-01 00:00:00.0" }.to_owned();
    }
    // Hashes and serial numbers, and base64.
    let parts = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '+' && c != '=');
    parts.map(|part| if part.len() > 24 && !part.contains('_') { "…" } else { part }).collect()
}
