//! Who calls, and bearer tokens (RFC 6750), by which every API can be called.

use std::collections::BTreeSet;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use rootcast_core::fingerprint::Fingerprint;
use rootcast_core::permission::Permission;
use rootcast_ledger::{Ledger, LedgerError};
use thiserror::Error;
use time::OffsetDateTime;

use crate::error::ApiError;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// As it was given when the token or the access key was made; for the log.
    pub name: String,
    /// Likewise.
    pub permissions: BTreeSet<Permission>,
}

/// The caller lacks a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("This needs the permission {0}: `rootcast login` and `rootcast access-key` give it with --permission {0}.")]
pub struct Forbidden(pub Permission);

impl Principal {
    pub fn require(&self, permission: Permission) -> Result<(), Forbidden> {
        if self.permissions.contains(&permission) { Ok(()) } else { Err(Forbidden(permission)) }
    }
}

/// Longer than any token that is made here (43 characters), short enough to be hashed without a thought.
const TOKEN_LIMIT: usize = 512;

/// Looks the token up by its SHA-256. That needs no comparison in constant time: who does not know the token cannot
/// choose its hash, so how far a lookup gets tells nothing of it.
///
/// # Errors
/// One and the same for a token that is missing, malformed, unknown or expired.
pub async fn authenticate(ledger: &Ledger, headers: &HeaderMap, now: OffsetDateTime) -> Result<Principal, ApiError> {
    let token = bearer(headers).ok_or_else(ApiError::unauthenticated)?;
    principal_of(ledger, token, now).await?.ok_or_else(ApiError::unauthenticated)
}

/// None where the token is unknown or expired.
pub(crate) async fn principal_of(
    ledger: &Ledger,
    token: &str,
    now: OffsetDateTime,
) -> Result<Option<Principal>, LedgerError> {
    let record = ledger.token(&Fingerprint::of(token.as_bytes())).await?.filter(|record| now < record.expires);
    Ok(record.map(|record| Principal { name: record.principal, permissions: record.permissions }))
}

/// RFC 9110 §11.4: one header, a scheme in any case, spaces, and a token.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).into_iter();
    let (Some(only), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
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
    use http::HeaderValue;
    use proptest::prelude::*;
    use rootcast_ledger::Tables;

    use super::*;
    use crate::error::Kind;

    const TOKEN: &str = "n0t-a-real-token_but.shaped~like+one/==";

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap())])
    }

    /// Knows [`TOKEN`] alone, until second 100.
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
    async fn a_known_token_has_a_name() {
        for scheme in ["Bearer", "bearer", "BEARER "] {
            let found = authenticate(&ledger(), &headers(&format!("{scheme} {TOKEN}")), at(99)).await;
            assert_eq!(found.unwrap().name, "ops");
        }
    }

    #[tokio::test]
    async fn every_refusal_reads_the_same() {
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
        let expected = format!("{:?}", ApiError::unauthenticated());
        for (headers, second) in refused {
            let error = authenticate(&ledger(), &headers, at(second)).await.unwrap_err();
            assert_eq!(format!("{error:?}"), expected, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn a_lookup_that_fails_lets_nobody_in() {
        let broken = mock!(Client::get_item)
            .then_error(|| GetItemError::ResourceNotFoundException(ResourceNotFoundException::builder().build()));
        let client = mock_client!(aws_sdk_dynamodb, [&broken]);
        let ledger = Ledger::new(client, Tables { access: Some("access".to_owned()), ..Tables::default() });
        let error = authenticate(&ledger, &headers(&format!("Bearer {TOKEN}")), at(0)).await.unwrap_err();
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
