//! The gate of the SCM API (Huawei Cloud's Certificate Manager, v3): authenticates callers by token, by signature or by
//! session.
//!
//! A request uses one of four credentials: `X-Auth-Token`, `Authorization: Bearer`, `Authorization: SDK-HMAC-SHA256`, the
//! signature that the vendor's SDKs make with an access key, or, for the operator's page, a session with its
//! `X-Csrf-Token`: a cookie alone is none here, whatever the method. The refusal is the same whatever is wrong with any of them.

mod signature;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use rootcast_core::inventory::sealed::Sealed;
use rootcast_ledger::{AccessKeyId, Ledger};
use rootcast_seal::Sealer;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;
use zeroize::Zeroizing;

use self::signature::Signed;
use crate::bearer::{bearer, is_token, look_up};
use crate::body::read;
use crate::header::only;
use crate::principal::Principal;
use crate::refusal::Refusal;
use crate::session::{X_CSRF_TOKEN, in_session};

const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
/// In characters: the vendor's minimum. Our tokens are longer, so a shorter one was truncated.
const SHORTEST_TOKEN: usize = 32;

/// How long a decrypted secret is cached. The access key's record is read for every request, so that a removed key is
/// refused at once: the cache only saves the call to KMS.
const KEPT: Duration = Duration::minutes(5);

/// Authenticates requests. One per process: it caches decrypted secrets for some minutes.
pub struct ScmGate {
    ledger: Ledger,
    sealer: Sealer,
    opened: Mutex<HashMap<AccessKeyId, Opened>>,
}

type Secret = Arc<Zeroizing<Vec<u8>>>;

struct Opened {
    /// What the secret was decrypted from.
    sealed: Sealed,
    secret: Secret,
    at: OffsetDateTime,
}

impl Opened {
    fn is_kept(&self, now: OffsetDateTime) -> bool {
        (self.at..self.at + KEPT).contains(&now)
    }
}

/// Does not print the secrets.
impl fmt::Debug for ScmGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScmGate")
    }
}

impl ScmGate {
    /// `sealer`: uses the KMS key that the secrets of access keys are sealed with.
    pub fn new(ledger: Ledger, sealer: Sealer) -> Self {
        Self { ledger, sealer, opened: Mutex::default() }
    }

    /// Returns the request with its [`Principal`] in the extensions, and its body read. Path and query have to be as
    /// the client sent them. Behind API Gateway the path may be rewritten, since the event keeps the original.
    ///
    /// # Errors
    /// First, a body of more than `limit` bytes. Then the same refusal whatever is wrong with the caller's credential,
    /// and another one for a token that was narrowed to a Venafi scope.
    pub async fn admit(&self, request: Request, limit: usize, now: OffsetDateTime) -> Result<Request, Refusal> {
        let (mut parts, body) = request.into_parts();
        let body = read(body, limit).await?;
        let principal = match credential(&parts.headers).ok_or_else(Refusal::unauthenticated)? {
            Credential::Token(token) => look_up(&self.ledger, token, now).await?.map(|found| found.principal),
            Credential::Signature(authorization) => self.signer(authorization, &parts, &body, now).await?,
            Credential::Session => in_session(&self.ledger, &parts, now).await?.map(|session| session.principal),
        };
        let principal = principal.ok_or_else(Refusal::unauthenticated)?;
        principal.admit_unscoped(&self.ledger, &parts, now).await?;
        parts.extensions.insert(principal);
        Ok(Request::from_parts(parts, Body::from(body)))
    }

    /// Returns the principal that signed the request. The signature of a request that changes something is accepted
    /// once; the refusal of a second one says so. Only valid signatures are recorded, so that nobody without an access key can fill the table.
    async fn signer(
        &self,
        authorization: &str,
        parts: &Parts,
        body: &[u8],
        now: OffsetDateTime,
    ) -> Result<Option<Principal>, Refusal> {
        let Some(signed) = Signed::read(authorization, parts, body).filter(|signed| signed.is_fresh(now)) else {
            return Ok(None);
        };
        let record = self.ledger.access_key(&signed.access_key).await?;
        let Some(record) = record.filter(|record| record.expires.is_none_or(|expires| now < expires)) else {
            return Ok(None);
        };
        let secret = self.secret(&signed.access_key, record.secret, now).await?;
        if !signed.is_with(&secret) {
            return Ok(None);
        }
        let holder = self.ledger.principal(&record.principal).await?.filter(|holder| holder.epoch == record.epoch);
        let Some(principal) = holder.map(|holder| Principal::of(&record.principal, holder)) else {
            return Ok(None);
        };
        if parts.method.is_safe() {
            // Anyone who intercepted the request has intercepted its answer too. The signer's clock has whole seconds,
            // so that a client that repeats a request within one second sends the same signature.
            return Ok(Some(principal));
        }
        let request = Uuid::new_v4().to_string();
        let first = self.ledger.claim_signature(&signed.fingerprint(), &request, signed.good_until()).await?;
        if first { Ok(Some(principal)) } else { Err(Refusal::replayed()) }
    }

    async fn secret(&self, id: &AccessKeyId, sealed: Sealed, now: OffsetDateTime) -> Result<Secret, Refusal> {
        let kept = |map: &HashMap<AccessKeyId, Opened>| {
            let opened = map.get(id).filter(|opened| opened.sealed == sealed && opened.is_kept(now));
            opened.map(|opened| Arc::clone(&opened.secret))
        };
        if let Some(secret) = kept(&self.opened.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(secret);
        }
        let secret = Arc::new(self.sealer.open(&id.seal_context(), &sealed).await?);
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|_, each| each.is_kept(now));
        opened.insert(id.clone(), Opened { sealed, secret: Arc::clone(&secret), at: now });
        Ok(secret)
    }
}

#[derive(Debug)]
enum Credential<'a> {
    Token(&'a str),
    /// The value of `Authorization`.
    Signature(&'a str),
    Session,
}

/// The request's credential; `None` unless there is exactly one.
fn credential(headers: &HeaderMap) -> Option<Credential<'_>> {
    match (headers.contains_key(X_AUTH_TOKEN), headers.contains_key(AUTHORIZATION)) {
        (true, false) => {
            let token = only(headers, &X_AUTH_TOKEN)?.to_str().ok()?;
            (token.len() >= SHORTEST_TOKEN && is_token(token)).then_some(Credential::Token(token))
        }
        (false, true) => {
            let signature = || only(headers, &AUTHORIZATION)?.to_str().ok().map(Credential::Signature);
            bearer(headers).map(Credential::Token).or_else(signature)
        }
        (false, false) => headers.contains_key(X_CSRF_TOKEN).then_some(Credential::Session),
        (true, true) => None,
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod vectors;
