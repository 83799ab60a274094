//! Bodies, in JSON as Venafi's clients send them, or as a form (RFC 6749 §4.3.2).

use axum::extract::Request;
use rootcast_dialects::venafi::{Code, OAuthError};
use rootcast_gate::{media_type, read};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// In bytes: a password of 1 KiB with every byte escaped, and the other fields.
pub(crate) const LIMIT: usize = 16 << 10;
const FORM: &str = "application/x-www-form-urlencoded";

/// # Errors
/// Errors quote nothing from the body: it may contain a password.
pub(crate) async fn fields<T: DeserializeOwned>(request: Request) -> Result<T, OAuthError> {
    let (head, body) = request.into_parts();
    let kind = media_type(&head.headers, &["application/json", FORM])?;
    let body = read(body, LIMIT).await?;
    let fields = if kind == FORM { form(&body) } else { serde_json::from_slice(&body).ok() };
    fields.and_then(|fields| serde_json::from_value(Value::Object(fields)).ok()).ok_or_else(|| {
        let text = "The body is not what its Content-Type says, or has a field that is no text, or one twice.";
        OAuthError::invalid(Code::InvalidRequest, text)
    })
}

/// `None` if a field occurs twice.
fn form(body: &[u8]) -> Option<Map<String, Value>> {
    let mut fields = Map::new();
    for (name, value) in form_urlencoded::parse(body) {
        if fields.insert(name.into_owned(), Value::String(value.into_owned())).is_some() {
            return None;
        }
    }
    Some(fields)
}

/// A mandatory field. An empty text counts as missing.
pub(crate) fn required(value: Option<String>, name: &str) -> Result<String, OAuthError> {
    let missing = || OAuthError::invalid(Code::InvalidRequest, format!("The body has no field {name}."));
    value.filter(|value| !value.is_empty()).ok_or_else(missing)
}

/// The application's own name, which nobody verifies.
pub(crate) fn client(value: Option<String>) -> Result<String, OAuthError> {
    let id = required(value, "client_id")?;
    // The characters of RFC 6749 appendix A.1; the length is our own limit.
    let valid = id.len() <= 128 && id.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let invalid = || OAuthError::invalid(Code::InvalidRequest, "client_id is 1 to 128 characters of ASCII.");
    valid.then_some(id).ok_or_else(invalid)
}

/// A missing grant type means the route's own.
pub(crate) fn grant_type(said: Option<&str>, own: &str) -> Result<(), OAuthError> {
    let other = || OAuthError::invalid(Code::UnsupportedGrantType, format!("grant_type can only be {own} here."));
    if said.is_none_or(|said| said == own) { Ok(()) } else { Err(other()) }
}
