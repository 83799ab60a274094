//! Authenticates callers of the native and XClarity-style API: by bearer token, by name and password (RFC 7617), or by
//! session.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use rootcast_ledger::Ledger;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::bearer::{bearer, look_up};
use crate::header::only;
use crate::password::{Claim, Proven, prove};
use crate::principal::Principal;
use crate::refusal::Refusal;
use crate::session::in_session;
use crate::source::source;

/// In characters, of the encoded credentials: enough for a password of 1 KiB and a name.
const LONGEST: usize = 2048;

/// A request with the header `Authorization` is not checked for cookies, which clients send automatically.
///
/// # Errors
/// The same refusal whatever is wrong with the credential. Other refusals for a token narrowed to a Venafi scope, for a
/// session's request without its [token](in_session), and for a name or source address with too many wrong passwords.
pub async fn authenticate(ledger: &Ledger, request: &Parts, now: OffsetDateTime) -> Result<Principal, Refusal> {
    let headers = &request.headers;
    let found = if !headers.contains_key(AUTHORIZATION) {
        in_session(ledger, request, now).await?.map(|session| session.principal)
    } else if let Some(token) = bearer(headers) {
        look_up(ledger, token, now).await?.map(|presented| presented.principal)
    } else if let Some((name, password)) = basic(headers) {
        let claim = Claim { source: source(request), name, password };
        let Proven { name, record, .. } = prove(ledger, claim, now).await?;
        Some(Principal::of(&name, record))
    } else {
        None
    };
    let principal = found.ok_or_else(Refusal::unauthenticated)?;
    principal.admit_unscoped(ledger, request, now).await?;
    Ok(principal)
}

/// RFC 7617 §2: name and password, separated by the first colon, in UTF-8.
fn basic(headers: &HeaderMap) -> Option<(String, Zeroizing<String>)> {
    let (scheme, sent) = only(headers, &AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let sent = sent.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("basic") || sent.len() > LONGEST {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(sent).ok()?);
    let (name, password) = str::from_utf8(&decoded).ok()?.split_once(':')?;
    (!name.is_empty() && !password.is_empty()).then(|| (name.to_owned(), Zeroizing::new(password.to_owned())))
}

#[cfg(test)]
mod tests;
