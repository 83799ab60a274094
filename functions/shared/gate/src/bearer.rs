//! Bearer tokens (RFC 6750), which every API accepts.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use rootcast_core::access::principal::PrincipalName;
use rootcast_ledger::{Exchanged, Ledger, LedgerError, PrincipalRecord, TokenRecord};
use rootcast_pki::fingerprint::Fingerprint;
use time::OffsetDateTime;

use crate::header::only;
use crate::principal::Principal;
use crate::refusal::Refusal;

/// A valid token, its record and its principal.
#[derive(Debug, Clone)]
pub struct Presented {
    pub token: Fingerprint,
    pub record: TokenRecord,
    pub principal: Principal,
}

/// Longer than any token made here (56 characters), and short enough to hash cheaply.
const TOKEN_LIMIT: usize = 512;

/// `None`: the request has no valid token.
pub async fn presented(
    ledger: &Ledger,
    headers: &HeaderMap,
    now: OffsetDateTime,
) -> Result<Option<Presented>, LedgerError> {
    match bearer(headers) {
        Some(token) => look_up(ledger, token, now).await,
        None => Ok(None),
    }
}

/// Authenticates a caller of the API under `/vedsdk`. The token may be narrowed: each route requires its own scope.
///
/// # Errors
/// The same refusal for a token that is missing, malformed, unknown, expired or revoked.
pub async fn authenticate_venafi(
    ledger: &Ledger,
    headers: &HeaderMap,
    now: OffsetDateTime,
) -> Result<Principal, Refusal> {
    Ok(presented(ledger, headers, now).await?.ok_or_else(Refusal::unauthenticated)?.principal)
}

/// Looks the token up by its SHA-256. This needs no comparison in constant time: without the token, nobody can choose
/// its hash, so the timing of a lookup reveals nothing. A principal's token is invalid once the principal is removed or
/// replaced by another one of the same name. A token without a principal is invalid once a principal has its name.
pub(crate) async fn look_up(
    ledger: &Ledger,
    token: &str,
    now: OffsetDateTime,
) -> Result<Option<Presented>, LedgerError> {
    let token = Fingerprint::of(token.as_bytes());
    let Some(record) = ledger.token(&token).await?.filter(|record| now < record.until()) else {
        return Ok(None);
    };
    let principal = match (&record.granted, &record.exchanged) {
        (None, None) if ledger.has_namesake(&record).await? => return Ok(None),
        (None, None) => Principal::unknown(record.principal.clone(), record.grants.clone()),
        (granted, exchanged) => {
            let Ok(name) = record.principal.parse() else { return Ok(None) };
            let Some(holder) = holder(ledger, &name, granted.as_ref().map(|it| it.epoch), exchanged.as_ref()).await?
            else {
                return Ok(None);
            };
            let whole = Principal::of(&name, holder);
            match granted {
                Some(granted) => Principal {
                    grants: granted.scopes.narrow(&whole.grants),
                    scopes: Some(granted.scopes.clone()),
                    ..whole
                },
                None => whole,
            }
        }
    };
    Ok(Some(Presented { token, record, principal }))
}

/// The principal, unless it changed since the token or session was made. `login`: its login epoch at that time.
pub(crate) async fn holder(
    ledger: &Ledger,
    name: &PrincipalName,
    login: Option<u64>,
    exchanged: Option<&Exchanged>,
) -> Result<Option<PrincipalRecord>, LedgerError> {
    if let Some(Exchanged { identity: Some(identity), epoch }) = exchanged {
        let owner = ledger.identity(identity).await?;
        if !owner.is_some_and(|owner| owner.principal == *name && owner.epoch == *epoch) {
            return Ok(None);
        }
    }
    let same = |record: &PrincipalRecord| {
        login.is_none_or(|login| record.login_epoch() == Some(login))
            && exchanged.is_none_or(|exchanged| record.epoch == exchanged.epoch)
    };
    Ok(ledger.principal(name).await?.filter(same))
}

/// RFC 9110 §11.4: one header, a scheme in any case, spaces, and a token.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = only(headers, &AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && is_token(token)).then_some(token)
}

/// RFC 6750 §2.1: a `b64token`.
pub(crate) fn is_token(token: &str) -> bool {
    let stem = token.trim_end_matches('=');
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '+' | '/');
    !stem.is_empty() && token.len() <= TOKEN_LIMIT && stem.chars().all(allowed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use aws_sdk_dynamodb::Client;
    use aws_sdk_dynamodb::operation::get_item::{GetItemError, GetItemOutput};
    use aws_sdk_dynamodb::types::AttributeValue;
    use aws_sdk_dynamodb::types::error::ResourceNotFoundException;
    use aws_smithy_mocks::{mock, mock_client};
    use http::request::Parts;
    use http::{HeaderValue, Request};
    use proptest::prelude::*;
    use rootcast_core::access::password::PasswordHash;
    use rootcast_core::access::permission::{EVERYTHING, Operation, Right, Role};
    use rootcast_core::access::scope::{Privilege, Resource};
    use rootcast_ledger::Tables;

    use super::*;
    use crate::caller::authenticate;
    use crate::refusal::Kind;

    const TOKEN: &str = "n0t-a-real-token_but.shaped~like+one/==";

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap())])
    }

    fn asking(headers: HeaderMap) -> Parts {
        let mut request = Request::new(()).into_parts().0;
        request.headers = headers;
        request
    }

    /// Holds only [`TOKEN`], which expires at second 100.
    fn ledger() -> Ledger {
        let id = format!("token#{}", Fingerprint::of(TOKEN.as_bytes()));
        let asks_for_it = move |request: &aws_sdk_dynamodb::operation::get_item::GetItemInput| {
            request.key().unwrap().get("id") == Some(&AttributeValue::S(id.clone()))
        };
        let known = mock!(Client::get_item).match_requests(asks_for_it).then_output(|| {
            let record = GetItemOutput::builder()
                .item("principal", AttributeValue::S("ops".to_owned()))
                .item("expires", AttributeValue::N("100".to_owned()))
                .item("created", AttributeValue::N("0".to_owned()));
            record.build()
        });
        let unknown = mock!(Client::get_item).then_output(|| GetItemOutput::builder().build());
        let client = mock_client!(aws_sdk_dynamodb, aws_smithy_mocks::RuleMode::MatchAny, [&known, &unknown]);
        Ledger::new(client, Tables { access: Some("access".to_owned()), ..Tables::default() })
    }

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(second).unwrap()
    }

    #[tokio::test]
    async fn a_known_token_names_its_principal() {
        for scheme in ["Bearer", "bearer", "BEARER "] {
            let found = authenticate(&ledger(), &asking(headers(&format!("{scheme} {TOKEN}"))), at(99)).await;
            assert_eq!(found.unwrap().name, "ops");
        }
    }

    #[tokio::test]
    async fn every_invalid_token_gets_the_same_refusal() {
        let two = {
            let mut two = headers(&format!("Bearer {TOKEN}"));
            two.append(AUTHORIZATION, HeaderValue::from_static("Bearer other"));
            two
        };
        let long = format!("Bearer {}", "a".repeat(TOKEN_LIMIT + 1));
        let refused = [
            (HeaderMap::new(), 0),
            (headers(&format!("Basic {TOKEN}")), 0),
            (headers("Bearer"), 0),
            (headers("Bearer ="), 0),
            (headers("Bearer a b"), 0),
            (headers("Bearer \u{e9}"), 0),
            (headers(&long), 0),
            (headers("Bearer unknown"), 0),
            (headers(&format!("Bearer {TOKEN}")), 100),
            (two, 0),
        ];
        let expected = format!("{:?}", Refusal::unauthenticated());
        for (headers, second) in refused {
            let error = authenticate(&ledger(), &asking(headers.clone()), at(second)).await.unwrap_err();
            assert_eq!(format!("{error:?}"), expected, "{headers:?}");
        }
    }

    fn principal(epoch: u64) -> PrincipalRecord {
        let hash = format!("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA${}", "A".repeat(43));
        PrincipalRecord {
            password: Some(PasswordHash::try_from(hash).unwrap()),
            grants: Role::Administrator.into(),
            epoch,
            created: at(0),
            person: None,
            made_by: Default::default(),
        }
    }

    /// Holds [`TOKEN`], granted in epoch 7. Its principal has the given epoch, or does not exist.
    fn granting(epoch: Option<u64>) -> Ledger {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let number = |value: u64| AttributeValue::N(value.to_string());
        let granted = [
            ("grant", text("g")),
            ("epoch", number(principal(7).login_epoch().unwrap())),
            ("scopes", text("certificate:manage")),
        ];
        let granted = AttributeValue::M(granted.map(|(name, value)| (name.to_owned(), value)).into());
        let read = mock!(Client::get_item).then_compute_output(move |request| {
            let id = request.key().unwrap()["id"].as_s().unwrap();
            let item = GetItemOutput::builder().item("created", number(0));
            match epoch {
                _ if id.starts_with("token#") => item
                    .item("principal", text("ops"))
                    .item("expires", number(100))
                    .item("granted", granted.clone())
                    .build(),
                Some(epoch) if id == "principal#ops" => {
                    GetItemOutput::builder().set_item(serde_dynamo::to_item(principal(epoch)).ok()).build()
                }
                _ => GetItemOutput::builder().build(),
            }
        });
        let client = mock_client!(aws_sdk_dynamodb, aws_smithy_mocks::RuleMode::MatchAny, [&read]);
        Ledger::new(client, Tables { access: Some("access".to_owned()), ..Tables::default() })
    }

    #[tokio::test]
    async fn a_granted_token_follows_its_principals_present_record() {
        let headers = headers(&format!("Bearer {TOKEN}"));
        for gone in [None, Some(8)] {
            assert!(presented(&granting(gone), &headers, at(0)).await.unwrap().is_none());
        }
        let found = presented(&granting(Some(7)), &headers, at(0)).await.unwrap().unwrap().principal;
        assert_eq!((found.name.as_str(), found.require(Right::Write, EVERYTHING)), ("ops", Ok(())));
        let narrowed = found.require(Right::Delete, EVERYTHING).is_err() && !found.grants.may(Operation::ExportKey);
        assert!(narrowed, "the scope lets neither through");
        assert_eq!(found.require_scope(Resource::Certificate, Privilege::Manage), Ok(()));
        let lacks = found.require_scope(Resource::Certificate, Privilege::Revoke).unwrap_err().to_string();
        assert!(lacks.contains("certificate:revoke"), "{lacks}");
        let error = authenticate(&granting(Some(7)), &asking(headers), at(0)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Forbidden);
    }

    #[tokio::test]
    async fn a_failed_lookup_admits_nobody() {
        let broken = mock!(Client::get_item)
            .then_error(|| GetItemError::ResourceNotFoundException(ResourceNotFoundException::builder().build()));
        let client = mock_client!(aws_sdk_dynamodb, [&broken]);
        let ledger = Ledger::new(client, Tables { access: Some("access".to_owned()), ..Tables::default() });
        let error = authenticate(&ledger, &asking(headers(&format!("Bearer {TOKEN}"))), at(0)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(value: Vec<u8>) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let _ = bearer(&HeaderMap::from_iter([(AUTHORIZATION, value)]));
            }
        }
    }
}
