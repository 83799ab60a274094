//! One sign-in: its secrets, and what has to come back. No call.

use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::COOKIE;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rootcast_gate::secret;
use rootcast_pki::fingerprint::Fingerprint;
use serde::Deserialize;
use tracing::error;

use super::broken;
use crate::api::Told;

/// Of this host alone, and never set by a neighbour's: RFC 6265bis §4.1.3.2.
const NAME: &str = "__Host-sign-in";
/// In seconds: to type a password and a second factor.
const LIVES: u32 = 600;
pub(super) const OVER: &str = "__Host-sign-in=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0";
/// In characters, of each part.
const LENGTH: usize = 43;
/// A code is opaque; no provider's is longer.
const LONGEST_CODE: usize = 4096;

/// No `Debug`: the parts are secrets of the browser that began.
pub(super) struct Begun {
    state: String,
    nonce: String,
    verifier: String,
}

/// Of a token that API Gateway has not verified yet: it does so before a session begins.
#[derive(Deserialize)]
struct Claims {
    nonce: Option<String>,
    aud: Audience,
    azp: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

pub(super) fn random() -> Result<[[u8; 32]; 3], Told> {
    let mut bytes = [[0; 32]; 3];
    for each in &mut bytes {
        getrandom::fill(each).map_err(|why| {
            error!(error = %why, "there are no random bytes");
            broken("A sign-in cannot be begun.", StatusCode::INTERNAL_SERVER_ERROR)
        })?;
    }
    Ok(bytes)
}

impl Begun {
    pub(super) fn from_random(bytes: [[u8; 32]; 3]) -> Self {
        let [state, nonce, verifier] = bytes.map(|bytes| secret(bytes).expose().to_owned());
        Self { state, nonce, verifier }
    }

    /// It comes back with a redirect from elsewhere, so it may not be `Strict`.
    pub(super) fn cookie(&self) -> String {
        let Self { state, nonce, verifier } = self;
        format!("{NAME}={state}.{nonce}.{verifier}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={LIVES}")
    }

    /// `None` if there is no such cookie, or two of them.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let pairs = headers.get_all(COOKIE).into_iter().flat_map(|value| value.to_str().unwrap_or_default().split(';'));
        let mut found = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(name, _)| *name == NAME);
        let (Some((_, value)), None) = (found.next(), found.next()) else { return None };
        let parts: Vec<&str> = value.split('.').collect();
        let [state, nonce, verifier] = parts[..] else { return None };
        let is_secret = |part: &str| part.len() == LENGTH && BASE64_URL_SAFE_NO_PAD.decode(part).is_ok();
        parts.iter().all(|part| is_secret(part)).then(|| Self {
            state: state.to_owned(),
            nonce: nonce.to_owned(),
            verifier: verifier.to_owned(),
        })
    }

    /// What the provider is asked, in the address to which the browser goes.
    pub(super) fn asked<'a>(&'a self, client: &'a str, back_to: &'a str) -> Vec<(&'a str, String)> {
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Fingerprint::of(self.verifier.as_bytes()).as_bytes());
        [
            ("response_type", "code"),
            ("scope", "openid"),
            ("client_id", client),
            ("redirect_uri", back_to),
            ("state", &self.state),
            ("nonce", &self.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into()
    }

    /// For what the code is exchanged.
    pub(super) fn redeemed<'a>(
        &'a self,
        client: &'a str,
        back_to: &'a str,
        code: &'a str,
    ) -> [(&'static str, &'a str); 5] {
        [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", back_to),
            ("client_id", client),
            ("code_verifier", &self.verifier),
        ]
    }

    /// The code of an answer to this sign-in by this provider.
    pub(super) fn code(&self, query: &str, issuer: &str) -> Result<String, Told> {
        let said: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        // RFC 6749 §3.1: no parameter occurs twice.
        let only = |wanted: &str| {
            let mut values = said.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
            values.next().filter(|_| values.next().is_none())
        };
        if only("state") != Some(self.state.as_str()) {
            return Err(not_begun_here());
        }
        // RFC 9207: where a provider names itself, it is the one that was asked.
        if said.iter().any(|(name, _)| name == "iss") && only("iss") != Some(issuer) {
            return Err(refused("The answer is of another provider."));
        }
        if let Some((_, why)) = said.iter().find(|(name, _)| name == "error") {
            let is_code = why.len() <= 64 && why.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let why = if is_code { why } else { "error" };
            return Err(refused(&format!("The provider did not sign you in: {why}.")));
        }
        let code = only("code").filter(|code| !code.is_empty() && code.len() <= LONGEST_CODE);
        code.map(str::to_owned).ok_or_else(|| refused("The answer has no code."))
    }

    /// Whether the token was made for this sign-in, and for this client (OpenID Connect Core 1.0 §3.1.3.7, 3 to 5 and 11).
    pub(super) fn takes(&self, token: &str, client: &str) -> Result<(), Told> {
        let parts: Vec<&str> = token.split('.').collect();
        let [_, payload, _] = parts[..] else { return Err(not_for_this("it is no JWT")) };
        let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
        let Ok(Claims { nonce, aud, azp }) = serde_json::from_slice(&payload) else {
            return Err(not_for_this("its claims cannot be read"));
        };
        if nonce.as_deref() != Some(self.nonce.as_str()) {
            return Err(not_for_this("its nonce is another one"));
        }
        let (is_for_us, is_for_others) = match &aud {
            Audience::One(one) => (one == client, false),
            Audience::Several(all) => (all.iter().any(|one| one == client), all.len() > 1),
        };
        let is_ours = azp.as_deref().map_or(!is_for_others, |azp| azp == client);
        if is_for_us && is_ours { Ok(()) } else { Err(not_for_this("it is for another client")) }
    }
}

pub(super) fn not_begun_here() -> Told {
    refused("This sign-in was not begun in this browser, or is over.")
}

fn refused(text: &str) -> Told {
    Told { status: StatusCode::UNAUTHORIZED, ..Told::invalid(text, "Begin the sign-in again.") }
}

fn not_for_this(why: &str) -> Told {
    error!(why, "the provider's token is not for this sign-in");
    refused("The provider's token is not for this sign-in.")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://id.example";

    fn begun() -> Begun {
        Begun::from_random([[1; 32], [2; 32], [3; 32]])
    }

    fn headers(cookies: &[&str]) -> HeaderMap {
        cookies.iter().map(|cookie| (COOKIE, cookie.parse().unwrap())).collect()
    }

    #[test]
    fn a_sign_in_is_known_by_exactly_one_whole_cookie() {
        let whole = begun().cookie();
        let pair = whole.split(';').next().unwrap();
        assert!(whole.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600"), "{whole}");
        let found = Begun::of(&headers(&[&format!("csrf=x; {pair}")])).unwrap();
        assert_eq!((found.state, found.nonce, found.verifier), (begun().state, begun().nonce, begun().verifier));
        for wrong in [
            vec![],
            vec![pair, pair],
            vec![pair.trim_end_matches('M')],
            vec!["__Host-sign-in=a.b.c"],
            vec!["__Host-sign-in="],
            vec![pair.trim_start_matches("__Host-")],
        ] {
            let is_whole = wrong == [pair];
            assert!(is_whole || Begun::of(&headers(&wrong)).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn only_the_answer_to_this_sign_in_has_a_code() {
        let (begun, state) = (begun(), begun().state);
        let code = |query: &str| begun.code(query, ISSUER);
        assert_eq!(code(&format!("code=c%26d&state={state}")).unwrap(), "c&d");
        assert_eq!(code(&format!("iss=https%3A%2F%2Fid.example&code=c&state={state}")).unwrap(), "c");
        for wrong in [
            String::new(),
            "code=c".to_owned(),
            "code=c&state=".to_owned(),
            format!("code=c&state={}", begun.nonce),
            format!("code=c&state={state}&state={state}"),
            format!("code=c&code=d&state={state}"),
            format!("code=&state={state}"),
            format!("code=c&iss=https%3A%2F%2Fevil.example&state={state}"),
            format!("code=c&iss=https%3A%2F%2Fid.example&iss=https%3A%2F%2Fevil.example&state={state}"),
            format!("code=c&error=access_denied&state={state}"),
        ] {
            assert_eq!(code(&wrong).unwrap_err().status, StatusCode::UNAUTHORIZED, "{wrong}");
        }
        let told = code(&format!("error=%3Cb%3E&state={state}")).unwrap_err().text;
        assert_eq!(told, "The provider did not sign you in: error.");
    }

    #[test]
    fn only_a_token_for_this_sign_in_and_client_is_taken() {
        let begun = begun();
        let taken = |claims: Value| {
            let token = format!("e30.{}.x", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
            begun.takes(&token, "page").is_ok()
        };
        let nonce = begun.nonce.as_str();
        assert!(taken(json!({ "nonce": nonce, "aud": "page" })) && taken(json!({ "nonce": nonce, "aud": ["page"] })));
        assert!(taken(json!({ "nonce": nonce, "aud": ["page", "api"], "azp": "page" })));
        for wrong in [
            json!({ "aud": "page" }),
            json!({ "nonce": null, "aud": "page" }),
            json!({ "nonce": begun.state, "aud": "page" }),
            json!({ "nonce": nonce }),
            json!({ "nonce": nonce, "aud": "api" }),
            json!({ "nonce": nonce, "aud": ["page", "api"] }),
            json!({ "nonce": nonce, "aud": "page", "azp": "api" }),
        ] {
            assert!(!taken(wrong.clone()), "{wrong}");
        }
        for wrong in ["", "a.b", "a.b.c", "a.b.c.d"] {
            assert!(begun.takes(wrong, "page").is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_challenge_is_the_verifiers_hash() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned();
        let begun = Begun { verifier, ..begun() };
        let asked = begun.asked("page", "https://pki.test/console/oidc/callback");
        let challenge = asked.iter().find(|(name, _)| *name == "code_challenge").unwrap();
        assert_eq!(challenge.1, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!(asked.iter().all(|(_, value)| *value != begun.verifier), "the verifier stays here");
    }
}
