//! An OpenID provider, and API Gateway before the function access, as the page meets them.

use std::collections::HashMap;
use std::sync::Mutex;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use axum::Router;
use axum::body::to_bytes;
use axum::http::header::SET_COOKIE;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) const ISSUER: &str = "https://id.test";
pub(crate) const CLIENT: &str = "page";
/// Who is signed in there, and a principal's identity here.
pub(crate) const SUBJECT: &str = "Jane";

#[derive(Default)]
pub(crate) struct Provider {
    /// By the code, each good for one exchange.
    codes: Mutex<HashMap<String, HashMap<String, String>>>,
    given: Mutex<Vec<String>>,
    /// Claims that it puts into the next tokens instead of the right ones.
    pub(crate) wrong: Mutex<Value>,
    /// What it publishes about itself instead of the right members.
    pub(crate) published: Mutex<Value>,
}

pub(crate) type Answer = (u16, Vec<String>, String);

impl Provider {
    /// What a browser gets there when somebody signs in: the address to go back to.
    pub(crate) fn sign_in(&self, location: &str) -> String {
        let query = location.strip_prefix("https://id.test/authorize?tenant=1&").unwrap();
        let asked: HashMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        assert_eq!((asked["response_type"].as_str(), asked["client_id"].as_str()), ("code", CLIENT));
        assert_eq!((asked["scope"].as_str(), asked["code_challenge_method"].as_str()), ("openid", "S256"));
        assert_eq!(asked["redirect_uri"], "https://pki.test/console/oidc/callback", "the one that is registered");
        let mut codes = self.codes.lock().unwrap();
        let code = format!("code-{}", codes.len());
        let back = format!("/console/oidc/callback?code={code}&state={}", asked["state"]);
        codes.insert(code, asked);
        back
    }

    fn published(&self) -> Value {
        let mut told = json!({
            "issuer": ISSUER, "authorization_endpoint": "https://id.test/authorize?tenant=1", "token_endpoint": "https://id.test/token",
        });
        told.as_object_mut().unwrap().extend(self.published.lock().unwrap().as_object().cloned().unwrap_or_default());
        told
    }

    /// RFC 6749 §4.1.3, RFC 7636 §4.6.
    fn exchanged(&self, form: &[u8]) -> (u16, Value) {
        let form: HashMap<String, String> = form_urlencoded::parse(form).into_owned().collect();
        let refused = (400, json!({ "error": "invalid_grant" }));
        let Some(asked) = self.codes.lock().unwrap().remove(&form["code"]) else { return refused };
        let proven = URL_SAFE_NO_PAD.encode(Fingerprint::of(form["code_verifier"].as_bytes()).as_bytes());
        if proven != asked["code_challenge"]
            || form["redirect_uri"] != asked["redirect_uri"]
            || form["client_id"] != CLIENT
        {
            return refused;
        }
        let mut claims = json!({ "iss": ISSUER, "sub": SUBJECT, "aud": CLIENT, "nonce": asked["nonce"] });
        claims.as_object_mut().unwrap().extend(self.wrong.lock().unwrap().as_object().cloned().unwrap_or_default());
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
        self.given.lock().unwrap().push(token.clone());
        (200, json!({ "id_token": token, "access_token": "unused", "token_type": "Bearer" }))
    }

    /// `None`: the request is not for the provider, nor for the gateway.
    pub(crate) async fn answer(&self, request: &HttpRequest, access: &Router) -> Option<Answer> {
        let plain = |(status, body): (u16, Value)| (status, Vec::new(), body.to_string());
        match (request.method(), request.uri()) {
            ("GET", "https://id.test/.well-known/openid-configuration") => Some(plain((200, self.published()))),
            ("POST", "https://id.test/token") => Some(plain(self.exchanged(request.body().bytes().unwrap()))),
            ("POST", "https://pki.test/sessions/oidc?as=session") => Some(self.gateway(request, access).await),
            _ => None,
        }
    }

    /// Takes what the provider has signed, and tells the function the claims.
    async fn gateway(&self, request: &HttpRequest, access: &Router) -> Answer {
        let token = request.headers().get("authorization").unwrap().strip_prefix("Bearer ").unwrap();
        if !self.given.lock().unwrap().iter().any(|given| given == token) {
            return (401, Vec::new(), r#"{"message":"Unauthorized"}"#.to_owned());
        }
        let claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
        let texts: HashMap<&String, String> = claims
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect();
        let event = json!({
            "version": "2.0", "routeKey": "POST /sessions/oidc", "rawPath": "/sessions/oidc", "rawQueryString": "as=session",
            "headers": { "host": "pki.test" }, "isBase64Encoded": false,
            "requestContext": {
                "stage": "$default", "requestId": "r", "authorizer": { "jwt": { "claims": texts, "scopes": null } },
                "http": { "method": "POST", "path": "/sessions/oidc", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1" },
            },
        });
        let request = rootcast_gate::request(&event.to_string()).unwrap();
        let (parts, body) = access.clone().oneshot(request).await.unwrap().into_parts();
        let cookies = parts.headers.get_all(SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap().to_owned());
        let body = to_bytes(body, 1 << 20).await.unwrap();
        (parts.status.as_u16(), cookies.collect(), String::from_utf8_lossy(&body).into_owned())
    }
}
