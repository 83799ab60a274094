//! Sessions as in Lenovo XClarity Administrator: the cookies `JSESSIONID` and `csrf`, and the header `X-Csrf-Token`.
//!
//! Contract: <https://pubs.lenovo.com/lxca_scripting/rest_api_sessions_post>, and what PyPI `pylxca` 4.2.0 sends. The
//! cookie `JSESSIONID` identifies the caller, and a browser sends it with the requests of any page. The header can only
//! be sent by a client that could read the cookie `csrf` or the answer to the login.

use std::error::Error;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::COOKIE;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use rootcast_core::access::token::Token;
use rootcast_ledger::{Ledger, LedgerError, PrincipalRecord, SessionRecord};
use rootcast_pki::fingerprint::Fingerprint;
use time::OffsetDateTime;
use tracing::warn;

use crate::bearer::holder;
use crate::denials::{Denial, record_denial};
use crate::header::only;
use crate::principal::Principal;
use crate::refusal::{Kind, Refusal};
use crate::request_id::RequestId;

/// The cookie that identifies the session.
pub const SESSION_COOKIE: &str = "JSESSIONID";
/// The cookie with the value that the header `X-Csrf-Token` has to repeat.
pub const CSRF_COOKIE: &str = "csrf";
pub(crate) const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
/// A client marks its automatic requests with the value `checkSession`. They do not keep a session alive.
const X_NOT_USER_INPUT: HeaderName = HeaderName::from_static("x-not-user-input");
/// In characters, of a [`secret`].
const LENGTH: usize = 43;

/// A session's id or CSRF token, of 256 random bits, as text that needs no quotes in a cookie.
pub fn secret(random: [u8; 32]) -> Token {
    Token::from_text(URL_SAFE_NO_PAD.encode(random))
}

/// A valid session.
#[derive(Debug, Clone)]
pub struct InSession {
    pub id: Fingerprint,
    pub principal: Principal,
}

/// `None`: the request has no valid session. A request that changes something needs the session's CSRF token. Any other
/// request may omit the token, but may not send a wrong one.
///
/// # Errors
/// [`Kind::Forbidden`] for a CSRF token that is missing or wrong.
pub async fn in_session(ledger: &Ledger, request: &Parts, now: OffsetDateTime) -> Result<Option<InSession>, Refusal> {
    let Some(id) = cookie(&request.headers).map(|id| Fingerprint::of(id.as_bytes())) else { return Ok(None) };
    let Some(session) = ledger.session(&id).await?.filter(|session| now < session.until()) else { return Ok(None) };
    let Some(holder) = session_holder(ledger, &session).await? else { return Ok(None) };
    if !is_meant(request, &session) {
        record_denial(ledger, denial(request, &session), now).await;
        return Err(forged());
    }
    note(ledger, request, &id, &session, now).await;
    Ok(Some(InSession { id, principal: Principal::of(&session.principal, holder) }))
}

/// The session's principal, unless it changed since the session began: then the session is invalid.
pub async fn session_holder(ledger: &Ledger, session: &SessionRecord) -> Result<Option<PrincipalRecord>, LedgerError> {
    let login = session.exchanged.is_none().then_some(session.epoch);
    holder(ledger, &session.principal, login, session.exchanged.as_ref()).await
}

/// Whether the client itself sent the request, and not a page of another site.
fn is_meant(request: &Parts, session: &SessionRecord) -> bool {
    if !request.headers.contains_key(X_CSRF_TOKEN) {
        return request.method.is_safe();
    }
    let sent = only(&request.headers, &X_CSRF_TOKEN).map(|value| Fingerprint::of(value.as_bytes()));
    sent.is_some_and(|sent| verify_slices_are_equal(sent.as_bytes(), session.csrf.as_bytes()).is_ok())
}

/// Of the session's principal, in whose name another site may have sent the request.
fn denial(request: &Parts, session: &SessionRecord) -> Denial {
    Denial {
        caller: session.principal.to_string(),
        request_id: request.extensions.get::<RequestId>().map(|RequestId(id)| id.clone()),
        route: request.method.to_string(),
        path: request.uri.path().to_owned(),
        missing: "the session's X-Csrf-Token".to_owned(),
    }
}

fn forged() -> Refusal {
    Refusal::new(
        Kind::Forbidden,
        "The header X-Csrf-Token is missing, or is not this session's.",
        "Send the header X-Csrf-Token with the value of the cookie csrf, which the login set.",
    )
}

/// Extends the session. If that fails, the session ends too early, which is no reason to refuse the request.
async fn note(ledger: &Ledger, request: &Parts, id: &Fingerprint, session: &SessionRecord, now: OffsetDateTime) {
    let by_itself = request.headers.get(X_NOT_USER_INPUT).is_some_and(|value| value == "checkSession");
    let Some(until) = session.used(now).filter(|_| !by_itself) else { return };
    if let Err(error) = ledger.extend_session(id, until).await {
        let error: &(dyn Error + 'static) = &error;
        warn!(caller = %session.principal, error, "the use of a session could not be noted");
    }
}

/// The session cookie (RFC 6265 §5.4). Several headers count as one, as HTTP/2 sends them (RFC 9113 §8.2.3). `None` if
/// the cookie occurs twice, since it is unknown who set which.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(COOKIE).into_iter().flat_map(|value| value.to_str().unwrap_or_default().split(';'));
    let mut ids = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(name, _)| *name == SESSION_COOKIE);
    let (Some((_, id)), None) = (ids.next(), ids.next()) else { return None };
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    (id.len() == LENGTH && plain).then_some(id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

    fn of(cookies: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for cookies in cookies {
            headers.append(COOKIE, HeaderValue::from_str(cookies).unwrap());
        }
        cookie(&headers).map(str::to_owned)
    }

    #[test]
    fn the_session_cookie_has_to_occur_exactly_once() {
        let id = secret([1; 32]);
        assert_eq!((id.expose(), id.expose().len()), (ID, LENGTH));
        let it = format!("JSESSIONID={ID}");
        for cookies in [
            vec![it.as_str()],
            vec!["csrf=x; ", &it],
            vec![&format!("csrf=x; {it}; user=ops")],
            vec![&format!("user;{it};=;a=b=c")],
        ] {
            assert_eq!(of(&cookies).as_deref(), Some(ID), "{cookies:?}");
        }
        for cookies in [
            vec![],
            vec![""],
            vec!["csrf=x"],
            vec![&it, &it],
            vec![&format!("{it}; {it}")],
            vec![&format!("{it}; JSESSIONID=")],
            vec![&format!("jsessionid={ID}")],
            vec![&format!("JSESSIONID=\"{ID}\"")],
            vec![&format!("JSESSIONID={ID}x")],
            vec![&format!("JSESSIONID= {ID}")],
            vec![&format!("JSESSIONID={}", ID.replace('A', "%"))],
        ] {
            assert_eq!(of(&cookies), None, "{cookies:?}");
        }
    }

    proptest! {
        #[test]
        fn any_cookie_is_read_without_a_panic(value: Vec<u8>) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let _ = cookie(&HeaderMap::from_iter([(COOKIE, value)]));
            }
        }
    }
}
