//! What a form sends. Another site may send one too, with the browser's cookies: where it comes from is checked before it is
//! read, and the session's token by the API.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use rootcast_gate::{BODY_LIMIT, Reads, media_type, read};
use serde_json::Value;

use crate::api::{Told, Trouble};
use crate::caller::Caller;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORM: &str = "application/x-www-form-urlencoded";

/// No `Debug`: a field may be a password or a private key.
pub(crate) struct Sent {
    pub(crate) caller: Caller,
    fields: Vec<(String, String)>,
}

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Trouble;

    async fn from_request(request: Request, state: &S) -> Result<Self, Trouble> {
        let (mut parts, body) = request.into_parts();
        if !is_our_own(&parts.headers) {
            return Err(Told { status: StatusCode::FORBIDDEN, ..from_elsewhere() }.into());
        }
        let unreadable = |_| Told::invalid("The form cannot be read.", "Go back, and send less in it.");
        media_type(&parts.headers, &[FORM]).map_err(unreadable)?;
        let body = read(body, BODY_LIMIT).await.map_err(unreadable)?;
        let fields: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
        let Ok(caller) = Caller::from_request_parts(&mut parts, state).await;
        let csrf = fields.iter().find(|(name, _)| name == "csrf").map(|(_, value)| value.as_str());
        Ok(Self { caller: caller.meaning_it(csrf.unwrap_or_default()), fields })
    }
}

impl Reads for Sent {}

/// By what the browser says and no script can change: the fetch metadata, or else the origin.
fn is_our_own(headers: &HeaderMap) -> bool {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    match text(&SEC_FETCH_SITE) {
        Some(site) => site == "same-origin",
        None => {
            let origin = text(&ORIGIN).and_then(|origin| origin.strip_prefix("https://"));
            origin.is_some() && origin == text(&HOST)
        }
    }
}

fn from_elsewhere() -> Told {
    Told::invalid("This form was not sent by our own page.", "Open the page, and send its form.")
}

impl Sent {
    /// Without spaces around it; empty if the form has no such field.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// Exactly as typed: spaces of a password belong to it.
    pub(crate) fn raw(&self, name: &str) -> &str {
        self.fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.trim()).collect()
    }

    /// The fields that are filled in, as a query.
    pub(crate) fn query(&self, names: &[&str]) -> String {
        let filled = names.iter().map(|name| (*name, self.text(name))).filter(|(_, value)| !value.is_empty());
        form_urlencoded::Serializer::new(String::new()).extend_pairs(filled).finish()
    }

    /// The fields that are filled in, as a body.
    pub(crate) fn members(&self, names: &[&str]) -> Value {
        let filled = names.iter().map(|name| (*name, self.raw(name))).filter(|(_, value)| !value.is_empty());
        filled.map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
    }

    /// Grave forms have the name of what they are about typed in.
    pub(crate) fn names(&self, expected: &str) -> Result<(), Trouble> {
        if self.text("typed") == expected {
            return Ok(());
        }
        let text = format!("Nothing was done: what you typed is not “{expected}”.");
        Err(Told::invalid(&text, "Go back, and type it exactly as it is shown.").into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_send_forms() {
        let of = |headers: &[(&str, &str)]| {
            let pairs =
                headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
            is_our_own(&pairs.collect())
        };
        assert!(of(&[("sec-fetch-site", "same-origin")]));
        assert!(of(&[("origin", "https://pki.example"), ("host", "pki.example")]));
        for others in [
            &[][..],
            &[("host", "pki.example")],
            &[("sec-fetch-site", "cross-site"), ("origin", "https://pki.example"), ("host", "pki.example")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("origin", "null"), ("host", "pki.example")],
            &[("origin", "http://pki.example"), ("host", "pki.example")],
            &[("origin", "https://pki.example.evil"), ("host", "pki.example")],
        ] {
            assert!(!of(others), "{others:?}");
        }
    }
}
