//! The authenticated caller, and bearer tokens (RFC 6750), which every API accepts.

use std::collections::BTreeSet;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use rootcast_core::access::permission::{EVERYTHING, Grants, Operation, Right};
use rootcast_core::access::principal::PrincipalName;
use rootcast_core::access::scope::{Privilege, Resource, Scopes};
use rootcast_core::access::second::Party;
use rootcast_core::audit::Actor;
use rootcast_ledger::{Exchanged, Ledger, LedgerError, PrincipalRecord, TokenRecord};
use rootcast_pki::fingerprint::Fingerprint;
use thiserror::Error;
use time::OffsetDateTime;

use crate::denials::{Denial, Missed, record_denial};
use crate::header::only;
use crate::refusal::Refusal;
use crate::request_id::RequestId;
use crate::routes::Denied;

/// The authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// For the log: a principal's name, or the IAM identity that `rootcast login` made a token for.
    pub name: String,
    /// An IAM identity without a principal has the grants that its token was given. Any other caller has the present
    /// grants of its record, narrowed to the token's scopes.
    pub grants: Grants,
    /// The scopes that the token was narrowed to when it was requested.
    pub scopes: Option<Scopes>,
    /// `None`: the token has no principal, and nobody knows whose it is.
    pub party: Option<Party>,
    /// The operations that the caller may carry out in this request if he holds them: those that need no second person,
    /// and those that one has confirmed. The guard of a route says which; until then there are none.
    pub alone: BTreeSet<Operation>,
    /// What the caller lacked so far, for the audit.
    pub missed: Missed,
}

impl Principal {
    /// The caller as named in the audit chains.
    pub fn acting(&self, RequestId(id): &RequestId) -> Actor {
        Actor { principal: self.name.clone(), request_id: Some(id.clone()) }
    }
}

/// A valid token, its record and its principal.
#[derive(Debug, Clone)]
pub struct Presented {
    pub token: Fingerprint,
    pub record: TokenRecord,
    pub principal: Principal,
}

/// The permission or right that the caller lacks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Forbidden {
    #[error("This needs the permission {0}: `rootcast login` and `rootcast access` give it with --permission {0}.")]
    Operation(Operation),
    /// The caller holds the permission.
    #[error("This needs the confirmation of a second person with the permission {0}.")]
    SecondPerson(Operation),
    /// The caller may read the object.
    #[error("This needs the right {right} on {dn}: `rootcast login` and `rootcast access` give it with --grant.")]
    Right { right: Right, dn: String },
}

/// The caller's token was narrowed to less than is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OutOfScope {
    #[error(
        "The token's scope does not include {}{}, which this needs: log in with it.",
        .0.as_str(),
        .1.map_or_else(String::new, |privilege| format!(":{}", privilege.as_str()))
    )]
    Lacks(Resource, Option<Privilege>),
    /// Scopes are Venafi's and apply to its API alone.
    #[error("The token was narrowed to a scope, with which it is good for the API under /vedsdk alone.")]
    OtherApi,
}

impl Principal {
    pub(crate) fn of(name: &PrincipalName, record: PrincipalRecord) -> Self {
        Self { party: Some(record.party(name)), ..Self::unknown(name.to_string(), record.grants) }
    }

    /// A caller who is no principal.
    pub fn unknown(name: impl Into<String>, grants: Grants) -> Self {
        Self { name: name.into(), grants, scopes: None, party: None, alone: BTreeSet::new(), missed: Missed::default() }
    }

    /// Whether the caller may carry out the operation now.
    pub fn may(&self, operation: Operation) -> Result<(), Forbidden> {
        match (self.grants.may(operation), self.alone.contains(&operation)) {
            (false, _) => {
                self.missed.operation(format!("permission {operation}"));
                Err(Forbidden::Operation(operation))
            }
            (true, false) => Err(Forbidden::SecondPerson(operation)),
            (true, true) => Ok(()),
        }
    }

    /// Requires the right on the object with this distinguished name.
    ///
    /// # Errors
    /// [`Denied::Unseen`] if the caller does not [see](Self::sees) the object, unless it is to be created.
    pub fn require(&self, right: Right, dn: &str) -> Result<(), Denied> {
        let denied = match self.grants.allow(right, dn) {
            _ if right != Right::Create && !self.sees(dn) => Denied::Unseen,
            true => return Ok(()),
            false => Denied::Forbidden(Forbidden::Right { right, dn: dn.to_owned() }),
        };
        self.missed.required(format!("right {right} on {dn}"));
        Err(denied)
    }

    /// Notes what the caller lacks for a request that is refused because of it.
    pub fn lacks(&self, what: impl Into<String>) {
        self.missed.required(what.into());
    }

    /// An object that the caller may not read is treated as absent.
    pub fn sees(&self, dn: &str) -> bool {
        let sees = self.grants.allow(Right::Read, dn);
        if !sees {
            self.missed.unseen(dn);
        }
        sees
    }

    /// Whether the caller may read everything, so that a list needs no filter.
    pub fn sees_everything(&self) -> bool {
        self.grants.allow(Right::Read, EVERYTHING)
    }

    /// A token that was never narrowed has every scope.
    pub fn require_scope(&self, resource: Resource, privilege: impl Into<Option<Privilege>>) -> Result<(), OutOfScope> {
        let privilege = privilege.into();
        let lacks = self.scopes.as_ref().is_some_and(|scopes| !scopes.allow(resource, privilege));
        if lacks { Err(OutOfScope::Lacks(resource, privilege)) } else { Ok(()) }
    }

    /// As [`Self::require_no_scope`]. The denial is recorded, since no route sees this caller.
    pub(crate) async fn admit_unscoped(
        &self,
        ledger: &Ledger,
        request: &Parts,
        now: OffsetDateTime,
    ) -> Result<(), OutOfScope> {
        let Err(why) = self.require_no_scope() else { return Ok(()) };
        let denial = Denial {
            caller: self.name.clone(),
            request_id: request.extensions.get::<RequestId>().map(|RequestId(id)| id.clone()),
            route: request.method.to_string(),
            path: request.uri.path().to_owned(),
            missing: why.to_string(),
        };
        record_denial(ledger, denial, now).await;
        Err(why)
    }

    /// Required by every API except Venafi's, which defines the scopes.
    pub(crate) fn require_no_scope(&self) -> Result<(), OutOfScope> {
        if self.scopes.is_some() { Err(OutOfScope::OtherApi) } else { Ok(()) }
    }
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

/// The principal, unless it changed since the token was issued. `login`: its login epoch at that time.
async fn holder(
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
    use http::{HeaderValue, Request};
    use proptest::prelude::*;
    use rootcast_core::access::password::PasswordHash;
    use rootcast_core::access::permission::Role;
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
