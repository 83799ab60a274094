//! Tokens for identities in IAM or at an OpenID Connect provider, which API Gateway verifies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData, SigningKey};
use reqwest::Method;
use reqwest::header::SET_COOKIE;
use reqwest::redirect::Policy;
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
#[derive(Clone)]
pub struct Provider {
    pub issuer: String,
    key: Arc<KeyPair>,
    /// The claims and signer of the token for each code, and the challenge (RFC 7636) that its verifier has to meet.
    codes: Codes,
}

type Codes = Arc<Mutex<HashMap<String, (String, String)>>>;

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let key = Arc::new(KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
        let der = key.subject_public_key_info();
        let info = SubjectPublicKeyInfo::from_der(&der).unwrap().1;
        let PublicKey::RSA(public) = info.parsed().unwrap() else {
            panic!("no RSA key");
        };
        let (n, e) = (URL_SAFE_NO_PAD.encode(public.modulus), URL_SAFE_NO_PAD.encode(public.exponent));
        let keys = json!({ "keys": [{ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1", "n": n, "e": e }] });
        let at = |path: &str| format!("{issuer}/{path}");
        let found = json!({
            "issuer": issuer, "jwks_uri": at("keys"), "authorization_endpoint": at("authorize"), "token_endpoint": at("token"),
        });
        let codes = Codes::default();
        let known = codes.clone();
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async || Json(found)))
            .route("/keys", get(async || Json(keys)))
            .route(
                "/token",
                post(async move |body: Bytes| {
                    let form: HashMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
                    let (token, challenge) =
                        known.lock().unwrap().remove(&form["code"]).ok_or(StatusCode::BAD_REQUEST)?;
                    let proven = URL_SAFE_NO_PAD.encode(digest(&SHA256, form["code_verifier"].as_bytes()));
                    if proven == challenge {
                        Ok(Json(json!({ "id_token": token })))
                    } else {
                        Err(StatusCode::BAD_REQUEST)
                    }
                }),
            );
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { issuer, key, codes }
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

impl Provider {
    /// Somebody signs in there; returns what the browser brings back. `signer`: whose key signs the token.
    fn sign_in(&self, location: &str, signer: &Self) -> String {
        let asked = location.strip_prefix(&format!("{}/authorize?", self.issuer)).unwrap();
        let asked: HashMap<String, String> = form_urlencoded::parse(asked.as_bytes()).into_owned().collect();
        let mut claims = self.claims();
        claims["aud"] = json!(asked["client_id"]);
        claims["nonce"] = json!(asked["nonce"]);
        let code = uuid::Uuid::new_v4().to_string();
        self.codes.lock().unwrap().insert(code.clone(), (signer.signed(&claims), asked["code_challenge"].clone()));
        format!("/console/oidc/callback?code={code}&state={}", asked["state"])
    }
}

#[tokio::test]
async fn people_sign_in_on_the_page_at_a_provider() {
    let provider = Provider::start().await;
    let parameters =
        [("OidcIssuer", provider.issuer.as_str()), ("OidcAudience", "rootcast,page"), ("OidcClientId", "page")];
    Stack::run_with(0, &parameters, async |stack| {
        let jane = Identity::oidc(&provider.issuer, "Jane").unwrap();
        let ca = reqwest::Certificate::from_pem(&std::fs::read(&stack.local.ca_pem).unwrap()).unwrap();
        let browser = reqwest::Client::builder().tls_certs_only([ca]).redirect(Policy::none()).build().unwrap();
        let ask = async |path: &str, cookie: &str| {
            let request = browser.get(format!("{}{path}", stack.local.api_url)).header("cookie", cookie);
            request.send().await.unwrap()
        };
        let set = |answer: &reqwest::Response| -> Vec<String> {
            let all = answer.headers().get_all(SET_COOKIE).iter();
            all.map(|each| each.to_str().unwrap().split(';').next().unwrap().to_owned()).collect()
        };
        let enter = async |signer: &Provider| {
            let begun = ask("/console/oidc", "").await;
            let back = provider.sign_in(begun.headers()["location"].to_str().unwrap(), signer);
            let cookie = set(&begun).remove(0);
            (ask(&back, &cookie).await, back, cookie)
        };
        // A genuine token, of nobody here.
        let (nobody, ..) = enter(&provider).await;
        assert_eq!((nobody.status().as_u16(), set(&nobody)), (403, vec!["__Host-sign-in=".to_owned()]));
        stack.known_as("jane", &jane).await;
        // API Gateway verifies the token, and not console.
        let stranger = Provider { key: KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap().into(), ..provider.clone() };
        let (forged, ..) = enter(&stranger).await;
        assert_eq!((forged.status().as_u16(), set(&forged).len()), (401, 1));

        let (entered, back, cookie) = enter(&provider).await;
        let cookies = set(&entered);
        assert_eq!((entered.status().as_u16(), cookies.len()), (200, 3), "{cookies:?}");
        assert_eq!(set(&ask(&back, &cookie).await).len(), 1, "a code is good once");
        let session = cookies.join("; ");
        assert_eq!(ask("/console", &session).await.status(), 200);
        let listed = stack.api.get("/sessions").await.response();
        assert_eq!(
            (&listed["sessions"][0]["principal"], &listed["sessions"][0]["identity"]),
            (&json!("jane"), &json!(jane))
        );

        // An administrator ends it, once; and the identity ends those that it began.
        let path = format!("/sessions/{}", listed["sessions"][0]["session"].as_str().unwrap());
        stack.api.delete(&path).await.response();
        stack.api.delete(&path).await.refused(404);
        assert_eq!(ask("/console", &session).await.headers()["location"], "/console/sign-in");
        let (again, ..) = enter(&provider).await;
        let session = set(&again).join("; ");
        assert_eq!(ask("/console", &session).await.status(), 200);
        assert!(stack.ledger.remove_identity(&jane, &by_tests(), OffsetDateTime::now_utc()).await.unwrap());
        assert_eq!(ask("/console", &session).await.status(), 303);
        assert_eq!(
            stack.api.get("/sessions").await.response()["sessions"],
            json!([]),
            "what is not valid is not listed"
        );
        let log = stack.log("ConsoleFunction").await;
        assert!(
            !log.contains(back.split(['=', '&']).nth(1).unwrap()) && !log.contains("eyJ"),
            "a code or token is in the log"
        );
    })
    .await;
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
        let stranger = Provider { key: KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap().into(), ..provider.clone() };
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
