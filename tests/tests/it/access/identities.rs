//! Tokens for identities in IAM or at an OpenID Connect provider, which API Gateway verifies.

use aws_lc_rs::hmac;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData, SigningKey};
use reqwest::Method;
use rootcast_core::access::identity::Identity;
use rootcast_core::access::permission::Role;
use rootcast_ledger::{IdentityRecord, PrincipalRecord};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};
use x509_parser::public_key::PublicKey;

use crate::api::Answer;
use crate::stack::{Stack, by_tests};

/// Makes the local cloud assume its root user as the caller: it verifies no signature.
pub const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=test/20261123/us-east-1/execute-api/aws4_request, \
                          SignedHeaders=host;x-amz-date, Signature=00";

/// A provider with one key, on loopback.
pub struct Provider {
    pub issuer: String,
    key: KeyPair,
}

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let der = key.subject_public_key_info();
        let info = SubjectPublicKeyInfo::from_der(&der).unwrap().1;
        let PublicKey::RSA(public) = info.parsed().unwrap() else {
            panic!("no RSA key");
        };
        let (n, e) = (URL_SAFE_NO_PAD.encode(public.modulus), URL_SAFE_NO_PAD.encode(public.exponent));
        let keys = json!({ "keys": [{ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1", "n": n, "e": e }] });
        let found = json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys") });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async || Json(found)))
            .route("/keys", get(async || Json(keys)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { issuer, key }
    }

    fn claims(&self) -> Value {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        json!({ "iss": self.issuer, "sub": "Jane", "aud": ["rootcast"], "iat": now - 5, "exp": now + 300 })
    }

    pub fn token(&self) -> String {
        self.signed(&self.claims())
    }

    fn with(&self, claim: &str, value: Value) -> String {
        let mut claims = self.claims();
        claims[claim] = value;
        self.signed(&claims)
    }

    fn signed(&self, claims: &Value) -> String {
        let text = text(json!({ "alg": "RS256", "typ": "JWT", "kid": "1" }), claims);
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(self.key.sign(text.as_bytes()).unwrap()))
    }
}

/// The signing input: RFC 7515 §5.1.
fn text(header: Value, claims: &Value) -> String {
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", encoded(&header), encoded(claims))
}

impl Stack {
    /// Creates a user without a password, with this identity.
    pub async fn known_as(&self, name: &str, identity: &Identity) {
        let created = OffsetDateTime::now_utc();
        let record = PrincipalRecord {
            password: None,
            grants: Role::Operator.into(),
            epoch: 7,
            created,
            person: None,
            made_by: Default::default(),
        };
        self.ledger.put_principal(&name.parse().unwrap(), &record, &by_tests()).await.unwrap();
        let bound = IdentityRecord { principal: name.parse().unwrap(), epoch: 7, created };
        self.ledger.put_identity(identity, &bound, &by_tests()).await.unwrap();
    }

    /// Checks that the token is this user's, and valid until the identity is removed.
    async fn good_while_bound(&self, given: Answer, name: &str, identity: &Identity) {
        let given = given.response();
        assert_eq!((&given["principal"], &given["identity"]), (&json!(name), &json!(identity)));
        let token = given["access_token"].as_str();
        let verified = self.api.send_as(token, Method::GET, "/vedauth/authorize/verify", None).await.json();
        assert_eq!(verified["identity"], format!("local:{name}"));
        assert!(verified["valid_for"].as_i64().is_some_and(|seconds| (3500..=3600).contains(&seconds)), "{verified}");
        self.api.send_as(token, Method::GET, "/jobs", None).await.response();
        assert_eq!(self.api.send_as(token, Method::GET, "/v3/scm/certificates", None).await.status, 200);
        assert!(self.ledger.remove_identity(identity, &by_tests(), time::OffsetDateTime::now_utc()).await.unwrap());
        self.api.send_as(token, Method::GET, "/jobs", None).await.refused(401);
    }
}

#[tokio::test]
async fn a_providers_token_is_exchanged_and_every_forgery_refused() {
    let provider = Provider::start().await;
    let parameters = [("OidcIssuer", provider.issuer.as_str()), ("OidcAudience", "another,rootcast")];
    Stack::run_with(0, &parameters, async |stack| {
        let jane = Identity::oidc(&provider.issuer, "Jane").unwrap();
        stack.known_as("jane", &jane).await;
        let ask = async |token: &str| stack.api.send_as(Some(token), Method::POST, "/sessions/oidc", None).await;

        let good = provider.token();
        let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let none = text(json!({ "alg": "none", "typ": "JWT", "kid": "1" }), &provider.claims());
        let symmetric = text(json!({ "alg": "HS256", "typ": "JWT", "kid": "1" }), &provider.claims());
        let with_public = |key: &[u8]| {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), symmetric.as_bytes());
            format!("{symmetric}.{}", URL_SAFE_NO_PAD.encode(tag))
        };
        let stranger =
            Provider { issuer: provider.issuer.clone(), key: KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap() };
        let other = URL_SAFE_NO_PAD.encode(json!({ "sub": "John" }).to_string());
        let forged = [
            ("no signature", format!("{none}.")),
            ("a signature of none", format!("{none}.{signature}")),
            ("HS256 with the public key", with_public(&provider.key.subject_public_key_info())),
            ("HS256 with its PEM", with_public(provider.key.public_key_pem().as_bytes())),
            ("HS256 with nothing", with_public(b"")),
            ("another key", stranger.signed(&provider.claims())),
            ("other claims", format!("{header}.{other}.{signature}")),
            ("half a signature", good[..good.len() - 8].to_owned()),
            ("two parts", format!("{header}.{claims}")),
            ("expired", provider.with("exp", json!(now - 1))),
            ("not yet good", provider.with("nbf", json!(now + 300))),
            ("a foreign issuer", provider.with("iss", json!("https://login.example.com"))),
            ("no issuer", provider.with("iss", Value::Null)),
            ("another audience", provider.with("aud", json!("somebody"))),
            ("no audience", provider.with("aud", json!([]))),
            ("one of our own tokens", stack.api.token.clone()),
        ];
        for (what, token) in &forged {
            assert_eq!(ask(token).await.status, 401, "{what}");
        }
        let none = stack.api.send_as(None, Method::POST, "/sessions/oidc", None).await;
        assert_eq!(none.status, 401);
        // Genuine tokens of unknown subjects.
        for subject in ["John", "jane", "Jane "] {
            let status = ask(&provider.with("sub", json!(subject))).await.status.as_u16();
            assert!([401, 403].contains(&status), "{subject}: {status}");
        }
        // The provider's token is not one of our tokens and is refused on every other path.
        for path in ["/jobs", "/vedauth/authorize/verify", "/sessions/iam"] {
            let answer = stack.api.send_as(Some(&good), Method::GET, path, None).await;
            assert!(answer.status.is_client_error(), "{path}: {answer:?}");
        }
        stack.good_while_bound(ask(&good).await, "jane", &jane).await;
        ask(&good).await.refused(403);
        let log = stack.log("LoginFunction").await;
        assert!(!log.is_empty() && !log.contains(signature) && !log.contains(&stack.api.token));
    })
    .await;
}

#[tokio::test]
async fn an_iam_signature_gives_a_token_without_a_provider() {
    Stack::run(0, async |stack| {
        // The local cloud verifies no signature. It reports the owner of the access key, and refuses requests without
        // one.
        let root = Identity::iam("arn:aws:iam::000000000000:root").unwrap();
        let ask = async || stack.api.send_with(&[("authorization", SIGNED)], Method::POST, "/sessions/iam", None).await;
        assert_eq!(stack.api.send_as(None, Method::POST, "/sessions/iam", None).await.status, 403);
        let refused = ask().await.refused(403);
        assert!(refused["text"].as_str().unwrap().contains("iam#arn:aws:iam::000000000000:root"), "{refused}");
        stack.known_as("root", &root).await;
        stack.good_while_bound(ask().await, "root", &root).await;

        stack.api.send_as(None, Method::POST, "/sessions/oidc", None).await.refused(401);
        stack.api.post("/sessions/oidc", json!({})).await.refused(404);
    })
    .await;
}
