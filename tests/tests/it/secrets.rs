//! Confidential values that a test exchanges with a stack, recorded to search the functions' logs for them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, SET_COOKIE};
use serde_json::Value;

/// In characters. A shorter text is no secret, and may occur anywhere.
const SHORTEST: usize = 12;
/// Confidential attributes of bodies, in any API's spelling.
const ATTRIBUTES: [&str; 7] =
    ["access_token", "csrf", "password", "private_key", "refresh_token", "sk", "enc_private_key"];
/// A log with one of these contains the secret that follows it.
const MARKS: [&str; 4] = ["PRIVATE KEY-----", "$argon2id$", "JSESSIONID=", "SDK-HMAC-SHA256 Access="];

/// Shared by all clients of one stack.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Arc<Mutex<BTreeSet<String>>>);

impl Secrets {
    pub fn keep(&self, secret: &str) {
        // For a key in PEM, only its first line: the log escapes line breaks.
        let line = secret.lines().find(|line| !line.starts_with("-----") && line.len() >= SHORTEST);
        self.0.lock().unwrap().extend(line.map(str::to_owned));
    }

    pub fn keep_sent(&self, headers: &[(&str, &str)], body: Option<&Value>) {
        for (name, value) in headers {
            match name.to_ascii_lowercase().as_str() {
                "authorization" => {
                    let sent = value.split(' ').next_back().unwrap_or_default();
                    self.keep(sent);
                    // The password of a name and password.
                    let pair = STANDARD.decode(sent).ok().and_then(|pair| String::from_utf8(pair).ok());
                    self.keep(pair.as_deref().and_then(|pair| pair.split_once(':')).map_or("", |(_, it)| it));
                }
                "x-auth-token" | "x-csrf-token" => self.keep(value),
                "cookie" => value.split("; ").for_each(|pair| self.keep(pair.split('=').nth(1).unwrap_or_default())),
                _ => {}
            }
        }
        body.into_iter().for_each(|body| self.keep_in(body));
    }

    pub fn keep_told(&self, headers: &HeaderMap, text: &str) {
        for cookie in headers.get_all(SET_COOKIE) {
            let value = cookie.to_str().unwrap().split([';', '=']).nth(1);
            self.keep(value.unwrap_or_default());
        }
        serde_json::from_str(text).iter().for_each(|body| self.keep_in(body));
    }

    fn keep_in(&self, body: &Value) {
        match body {
            Value::Array(values) => values.iter().for_each(|value| self.keep_in(value)),
            Value::Object(attributes) => {
                for (name, value) in attributes {
                    match value {
                        Value::String(text) if ATTRIBUTES.contains(&name.to_ascii_lowercase().as_str()) => {
                            self.keep(text);
                        }
                        value => self.keep_in(value),
                    }
                }
            }
            _ => {}
        }
    }

    /// The secrets that the text contains.
    pub fn found_in(&self, text: &str) -> Vec<String> {
        let secrets = self.0.lock().unwrap();
        let found = secrets.iter().map(String::as_str).chain(MARKS).filter(|secret| text.contains(secret));
        found.map(str::to_owned).collect()
    }
}

#[test]
fn confidential_headers_and_bodies_are_found_in_a_log() {
    let secrets = Secrets::default();
    let pair = STANDARD.encode("ops:correct horse battery");
    secrets.keep_sent(
        &[("Authorization", &format!("Basic {pair}")), ("cookie", "csrf=cccccccccccc; JSESSIONID=jjjjjjjjjjjj")],
        Some(&serde_json::json!({ "a": [{ "private_key": "-----BEGIN-----\nMIIEvQIBADANBg\n" }], "name": "n".repeat(20) })),
    );
    let told = HeaderMap::from_iter([(SET_COOKIE, "csrf=dddddddddddd; Path=/".parse().unwrap())]);
    secrets.keep_told(&told, r#"{"access_token":"tttttttttttt"}"#);
    for secret in [
        &pair,
        "correct horse battery",
        "cccccccccccc",
        "jjjjjjjjjjjj",
        "MIIEvQIBADANBg",
        "dddddddddddd",
        "tttttttttttt",
    ] {
        assert_eq!(secrets.found_in(&format!("x{secret}x")), [secret]);
    }
    assert_eq!(secrets.found_in("-----BEGIN PRIVATE KEY-----"), [MARKS[0]]);
    assert!(secrets.found_in(&format!("{} Path=/ short", "n".repeat(20))).is_empty());
}
