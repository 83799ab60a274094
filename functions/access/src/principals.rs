//! `/principals`: manages API users and their grants.
//!
//! A principal with this right can give themselves every other right. Access keys, and the owners of identities, are
//! shown by `rootcast access`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use rootcast_core::access::identity::Identity;
use rootcast_core::access::password::{NoPassword, PasswordHash};
use rootcast_core::access::permission::{Grant, Grants, Operation, Role};
use rootcast_core::access::principal::PrincipalName;
use rootcast_core::access::second::Person;
use rootcast_dialects::lenovo::{Envelope, LenovoError, Message, Params};
use rootcast_gate::{Cursors, Principal, Reads, RequestId, authenticate, media_type, parse_json, read, recorded};
use rootcast_ledger::{IdentityRecord, LedgerError, PrincipalRecord, PrincipalsPage};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tracing::info;
use zeroize::Zeroizing;

use crate::body::LIMIT;
use crate::{App, random};

/// Each identity takes five calls to AWS.
const MOST_IDENTITIES: usize = 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    #[serde(deserialize_with = "to_add")]
    name: PrincipalName,
    person: Option<Person>,
    #[serde(default)]
    identities: Vec<Identity>,
    role: Option<Role>,
    #[serde(default)]
    grants: Vec<Grant>,
    #[serde(default)]
    permissions: Vec<Operation>,
}

fn to_add<'de, D: Deserializer<'de>>(from: D) -> Result<PrincipalName, D::Error> {
    PrincipalName::to_add(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// The attributes besides the password: none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The name in the path. Text that is not a valid name is answered like an unknown one.
pub(crate) struct Named(PrincipalName);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = LenovoError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, LenovoError> {
        let name = Path::<String>::from_request_parts(parts, state).await.ok();
        name.and_then(|Path(name)| name.parse().ok()).map(Self).ok_or_else(nobody)
    }
}

impl Reads for Named {}

/// Never contains the password's hash.
#[derive(Serialize)]
pub(crate) struct PrincipalView {
    name: PrincipalName,
    grants: Vec<Grant>,
    permissions: Vec<Operation>,
    /// Whether the principal has a password.
    password: bool,
    /// Whose principal it is.
    person: Person,
    /// Who made it or set its password.
    made_by: Vec<Person>,
    #[serde(with = "time::serde::rfc3339")]
    created: OffsetDateTime,
}

#[derive(Serialize)]
pub(crate) struct Page {
    principals: Vec<PrincipalView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

impl PrincipalView {
    fn of(name: PrincipalName, record: &PrincipalRecord) -> Self {
        Self {
            person: record.party(&name).person,
            made_by: record.made_by.iter().cloned().collect(),
            name,
            grants: record.grants.grants().collect(),
            permissions: record.grants.operations().collect(),
            password: record.password.is_some(),
            created: record.created.replace_nanosecond(0).unwrap_or(record.created),
        }
    }
}

/// Accepts every kind of credential of the native API.
pub(crate) async fn identify(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, LenovoError> {
    let (mut parts, body) = request.into_parts();
    let caller = authenticate(&app.ledger, &parts, (app.clock)()).await?;
    parts.extensions.insert(caller);
    parts.extensions.insert(app.second.clone());
    let response = next.run(Request::from_parts(parts, body)).await;
    Ok(recorded(&app.ledger, response, (app.clock)()).await)
}

/// Where the previous page of a list ended.
#[derive(Debug, Deserialize)]
pub(crate) struct PageStart {
    pub(crate) cursor: Option<String>,
    /// A page is what one call reads. `rootcast` sends it to each list.
    #[serde(rename = "limit")]
    _limit: Option<u32>,
}

/// A page may be empty without being the last one. One call.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Params(PageStart { cursor, .. }, _): Params<PageStart>,
) -> Result<Envelope<Page>, LenovoError> {
    let list = Cursors { ledger: &app.ledger, caller: &caller, list: "principals" };
    let after = place(list, cursor.as_deref()).await?;
    let PrincipalsPage { principals, next } = app.ledger.principals_page(after.as_deref()).await?;
    // The position may be the id of any credential in the table.
    let cursor = match next {
        Some(next) => Some(list.seal(&next).await?),
        None => None,
    };
    let principals = principals.into_iter().map(|(name, record)| PrincipalView::of(name, &record)).collect();
    Ok(Envelope::success(Page { principals, cursor }))
}

/// Where the page that the query asks for begins.
pub(crate) async fn place(list: Cursors<'_>, cursor: Option<&str>) -> Result<Option<String>, LenovoError> {
    match cursor {
        Some(cursor) => Ok(Some(list.open(cursor).await?.ok_or_else(stale)?)),
        None => Ok(None),
    }
}

pub(crate) fn stale() -> LenovoError {
    LenovoError::invalid("The cursor is not one of this list.", "Start again without a cursor.")
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Named(name): Named,
) -> Result<Envelope<PrincipalView>, LenovoError> {
    let record = app.ledger.principal(&name).await?.ok_or_else(nobody)?;
    Ok(Envelope::success(PrincipalView::of(name, &record)))
}

/// Not in one transaction: after a crash in between, the principal exists with fewer identities, and can be removed.
pub(crate) async fn add(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<(StatusCode, Envelope<PrincipalView>), LenovoError> {
    let (New { name, person, identities, role, grants, permissions }, password) = body(request).await?;
    if identities.len() > MOST_IDENTITIES {
        let text =
            format!("There are {} identities; a principal is added with {MOST_IDENTITIES} at most.", identities.len());
        return Err(LenovoError::invalid(text, "Add the others with `rootcast access add`."));
    }
    if password.is_none() && identities.is_empty() {
        return Err(LenovoError::invalid(
            "There is neither a password nor an identity.",
            "Send one: nobody could log in as this principal.",
        ));
    }
    for identity in &identities {
        if app.ledger.owner(identity).await?.is_some_and(|owner| owner != name) {
            return Err(taken(identity));
        }
    }
    let password = match password {
        Some(password) => Some(hashed(password).await?),
        None => None,
    };
    let (by, now) = (caller.acting(&id), (app.clock)());
    let epoch = u64::from_be_bytes(random()?);
    let made_by = [maker(&caller)].into();
    let grants = Grants::given(role, grants, permissions);
    let record = PrincipalRecord { password, grants, epoch, created: now, person, made_by };
    match app.ledger.put_principal(&name, &record, &by).await {
        Err(LedgerError::Conflict) => {
            return Err(LenovoError::conflict(
                format!("There is a principal {name} already."),
                "Choose another name, or delete the one who is there first.",
            ));
        }
        put => put?,
    }
    for identity in &identities {
        let bound = IdentityRecord { principal: name.clone(), epoch, created: now };
        match app.ledger.tie_identity(identity, &bound, &by).await {
            Err(LedgerError::Conflict) => {
                // Another caller bound the identity first. The principal is removed: all of it is added, or nothing.
                app.ledger.remove_principal(&name, &by, now).await?;
                return Err(taken(identity));
            }
            put => put?,
        }
    }
    info!(caller = caller.name, principal = %name, identities = identities.len(), "a principal is added");
    let text = Message::done(format!("{name} may log in."), "The principal is stored.");
    Ok((StatusCode::CREATED, Envelope::success(PrincipalView::of(name, &record)).saying(text)))
}

/// Invalidates all tokens, sessions, access keys and identities of the principal at once.
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Named(name): Named,
) -> Result<Envelope<()>, LenovoError> {
    if !app.ledger.remove_principal(&name, &caller.acting(&id), (app.clock)()).await? {
        return Err(nobody());
    }
    info!(caller = caller.name, principal = %name, "a principal is removed");
    Ok(done(format!("{name} may no longer log in."), "All tokens and sessions of this name are invalid."))
}

pub(crate) async fn change_password(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Named(name): Named,
    request: Request,
) -> Result<Envelope<()>, LenovoError> {
    let (Nothing {}, password) = body(request).await?;
    let password =
        password.ok_or_else(|| LenovoError::invalid("There is no password.", "Send the attribute password."))?;
    let person = maker(&caller);
    let hash = hashed(password).await?;
    match app.ledger.change_password(&name, &hash, Some(&person), &caller.acting(&id), (app.clock)()).await {
        Err(LedgerError::Conflict) => return Err(nobody()),
        changed => changed?,
    }
    info!(caller = caller.name, principal = %name, "a password is changed");
    Ok(done(format!("The password of {name} is changed."), "Tokens and sessions of the former one are invalid."))
}

/// Whoever made two users counts as one person behind both, also if he has no user himself.
fn maker(caller: &Principal) -> Person {
    caller.party.as_ref().map_or_else(|| Person::unknown(&caller.name), |party| party.person.clone())
}

pub(crate) fn done(text: String, explanation: &str) -> Envelope<()> {
    Envelope::success(()).saying(Message::done(text, explanation))
}

fn nobody() -> LenovoError {
    LenovoError::not_found("There is no principal of that name.", "GET /principals lists who there is.")
}

fn taken(identity: &Identity) -> LenovoError {
    LenovoError::conflict(
        format!("{identity} belongs to another principal."),
        "Revoke it there first: `rootcast access revoke` with --iam or --oidc.",
    )
}

/// The body as a JSON object, and the password from it.
///
/// # Errors
/// Errors do not quote the password.
async fn body<T: DeserializeOwned>(request: Request) -> Result<(T, Option<Zeroizing<String>>), LenovoError> {
    let (parts, body) = request.into_parts();
    media_type(&parts.headers, &["application/json"])?;
    let invalid = |text: String| LenovoError::invalid(text, "Correct the body and send the request again.");
    let mut object: Map<String, Value> =
        parse_json(&read(body, LIMIT).await?).map_err(|_| invalid("The body is not a JSON object.".to_owned()))?;
    let password = match object.remove("password") {
        None | Some(Value::Null) => None,
        Some(Value::String(password)) => Some(Zeroizing::new(password)),
        Some(_) => return Err(invalid("The attribute password is not a string.".to_owned())),
    };
    let rest = T::deserialize(Value::Object(object));
    Ok((rest.map_err(|why| invalid(format!("The body has an attribute that is not valid: {why}.")))?, password))
}

/// Takes tens of milliseconds of one CPU.
async fn hashed(password: Zeroizing<String>) -> Result<PasswordHash, LenovoError> {
    let salt = random()?;
    let hashed = tokio::task::spawn_blocking(move || PasswordHash::of(&password, salt)).await;
    hashed.map_err(LenovoError::internal)?.map_err(|why| match why {
        NoPassword::Length => {
            LenovoError::invalid(format!("The password is not accepted: {why}."), "Choose another one.")
        }
        NoPassword::Hashing(_) => LenovoError::internal(why),
    })
}
