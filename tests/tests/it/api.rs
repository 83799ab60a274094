//! A client of the HTTP API: over TLS, with a token. Checks that refusals are in the vendor's envelope.

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Certificate, Client, Method, StatusCode};
use serde_json::Value;

use crate::secrets::Secrets;
use crate::stack::{LIMIT, until};

/// A client that can send its token, another one, or none.
pub struct Api {
    http: Client,
    base: String,
    pub token: String,
    secrets: Secrets,
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    /// Method and path, for error messages.
    asked: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
    /// The body as text, if it is text.
    pub text: String,
}

impl Api {
    /// `ca`: PEM.
    pub fn new(base: &str, ca: &[u8], token: String, secrets: Secrets) -> Self {
        let ca = Certificate::from_pem(ca).unwrap();
        let http = Client::builder().tls_certs_only([ca]).https_only(true).build().unwrap();
        Self { http, base: base.to_owned(), token, secrets }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub async fn put(&self, path: &str) -> Answer {
        self.send(Method::PUT, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    /// With an additional header.
    pub async fn post_with(&self, header: &str, value: &str, path: &str, body: Value) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        self.send_with(&[("authorization", &bearer), (header, value)], Method::POST, path, Some(body)).await
    }

    /// With these headers, and without the client's token.
    pub async fn send_with(&self, headers: &[(&str, &str)], method: Method, path: &str, body: Option<Value>) -> Answer {
        let asked = format!("{method} {path}");
        self.secrets.keep_sent(headers, body.as_ref());
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = answer(asked, request).await;
        self.secrets.keep_told(&answer.headers, &answer.text);
        answer
    }

    pub async fn form(&self, headers: &[(&str, &str)], path: &str, fields: &[(&str, &str)]) -> Answer {
        let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.http.post(format!("{}{path}", self.base)).body(text);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        answer(format!("POST {path}"), request).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(body)).await
    }

    /// Edits a device, once no worker is at it.
    pub async fn edit(&self, id: &str, edit: Value) -> Value {
        until("the worker has left the device", LIMIT, async || {
            let answer = self.patch(&format!("/devices/{id}"), edit.clone()).await;
            (answer.status != 409).then(|| answer.response())
        })
        .await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let token = Some(self.token.as_str());
        self.send_as(token, method, path, body).await
    }

    /// With another token, or none.
    pub async fn send_as(&self, token: Option<&str>, method: Method, path: &str, body: Option<Value>) -> Answer {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        self.send_with(&headers, method, path, body).await
    }
}

async fn answer(asked: String, request: reqwest::RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let bytes = answer.bytes().await.unwrap().to_vec();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Answer { asked, status, headers, bytes, text }
}

impl Answer {
    /// The whole body of a 2xx.
    pub fn json(&self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{}: {error}: {}", self.asked, self.text))
    }

    /// The body of a 2xx that is not JSON.
    pub fn raw(&self) -> &str {
        assert!(self.status.is_success(), "{self:?}");
        &self.text
    }

    /// The `response` in a success's envelope.
    pub fn response(&self) -> Value {
        let mut envelope = self.json();
        assert_eq!(envelope["result"], "success", "{self:?}");
        envelope["response"].take()
    }

    /// Checks that this is a complete refusal with `status` in the vendor's envelope, and returns its message.
    pub fn refused(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        let kind = self.headers[CONTENT_TYPE].to_str().unwrap();
        assert_eq!(kind, "application/json", "{}", self.asked);
        let mut envelope: Value = serde_json::from_str(&self.text).unwrap();
        assert_eq!(envelope["result"], "failed", "{self:?}");
        let messages = envelope["messages"].as_array_mut().unwrap();
        assert_eq!(messages.len(), 1, "{}", self.text);
        let message = messages.remove(0);
        let id = message["id"].as_str().unwrap();
        let (digits, severity) = id.strip_prefix("FQXHMSE").unwrap().split_at(4);
        assert!(digits.bytes().all(|digit| digit.is_ascii_digit()), "{id}");
        assert!(matches!(severity, "H" | "J" | "K" | "L"), "{id}");
        for said in ["/text", "/explanation", "/recovery/text"] {
            let said = message.pointer(said).and_then(Value::as_str);
            assert!(said.is_some_and(|said| said.ends_with('.')), "{}", self.text);
        }
        assert!(message["recovery"]["URL"].is_string(), "{}", self.text);
        message
    }
}
