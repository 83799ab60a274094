//! `/requests`: calls that wait for a second person, who confirms or rejects them.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use rootcast_core::access::permission::Operation;
use rootcast_core::access::principal::PrincipalName;
use rootcast_core::access::second::{Ask, AskId, Decision, Party, Person, State as Standing, Verdict};
use rootcast_core::audit::Action;
use rootcast_dialects::lenovo::{Envelope, LenovoError, Message, Params};
use rootcast_gate::{Cursors, Kind, Principal, Reads, RequestId, media_type, parse_json, read, said};
use rootcast_ledger::LedgerError;
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use tracing::info;

use crate::App;
use crate::body::LIMIT;
use crate::principals::{PageStart, stale};

/// In characters.
const LONGEST_REASON: usize = 256;
/// Attempts to write a decision: two persons may decide at the same time.
const ATTEMPTS: u32 = 3;

/// The request in the path. Text that is not a valid id is answered like an unknown one.
pub(crate) struct Named(AskId);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = LenovoError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, LenovoError> {
        let id = Path::<String>::from_request_parts(parts, state).await.ok();
        id.and_then(|Path(id)| id.parse().ok()).map(Self).ok_or_else(no_such_request)
    }
}

impl Reads for Named {}

/// A request as whoever decides on it sees it: without secrets.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View {
    id: AskId,
    state: Standing,
    permissions: Vec<Operation>,
    by: PrincipalName,
    person: Person,
    method: String,
    path: String,
    query: String,
    body: Body,
    #[serde(with = "time::serde::rfc3339")]
    created: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    expires: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    carried_out: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Decided>,
    /// The request by which the same call was carried out before.
    #[serde(skip_serializing_if = "Option::is_none")]
    formerly: Option<AskId>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    sha256: Fingerprint,
    bytes: u64,
    /// `null` if the body cannot be shown.
    members: Option<Value>,
    /// Names of the members that are not shown.
    left_out: Vec<String>,
    /// The stored rollout that the call names.
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Decided {
    verdict: Verdict,
    by: PrincipalName,
    person: Person,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Page {
    requests: Vec<View>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rejection {
    reason: String,
}

impl View {
    fn of(ask: Ask, decision: Option<Decision>, now: OffsetDateTime) -> Self {
        let state = ask.state(decision.as_ref(), now);
        let Ask { ask: id, operations, by, person, method, path, query, body, created, expires, .. } = ask;
        let members = body.members.and_then(|members| serde_json::from_str(&members).ok());
        let rollout = body.rollout.and_then(|rollout| serde_json::from_str(&rollout).ok());
        Self {
            id,
            state,
            permissions: operations.into_iter().collect(),
            by,
            person,
            method,
            path,
            query,
            body: Body { sha256: body.sha256, bytes: body.bytes, members, left_out: body.left_out, rollout },
            created,
            expires,
            carried_out: ask.carried_out,
            decision: decision.map(Decided::from),
            formerly: ask.formerly,
        }
    }
}

impl From<Decision> for Decided {
    fn from(Decision { verdict, by, person, at, reason, .. }: Decision) -> Self {
        Self { verdict, by, person, at, reason }
    }
}

/// Whoever asked sees the request, and whoever holds what it needs.
fn sees(caller: &Principal, ask: &Ask) -> bool {
    ask.is_up_to(&caller.grants) || caller.party.as_ref().is_some_and(|party| ask.is_by(party))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Filter {
    state: Option<Wanted>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Wanted {
    Open,
    All,
}

/// The open requests; all of the last day with `state=all`. A page may be empty without being the last one.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Params(PageStart { cursor, .. }, Filter { state }): Params<PageStart, Filter>,
) -> Result<Envelope<Page>, LenovoError> {
    let list = Cursors { ledger: &app.ledger, caller: &caller, list: "requests" };
    let all = matches!(state, Some(Wanted::All));
    let after: Option<String> = match &cursor {
        Some(cursor) => Some(list.open(cursor).await?.ok_or_else(stale)?),
        None => None,
    };
    let page = app.ledger.asks_page(after.as_deref()).await?;
    let cursor = match page.next {
        // The position may be the id of any credential in the table.
        Some(next) => Some(list.seal(&next).await?),
        None => None,
    };
    let now = (app.clock)();
    let mut requests = Vec::new();
    for ask in page.asks.into_values().filter(|ask| sees(&caller, ask)) {
        let is_over = ask.state(None, now) != Standing::Open;
        if is_over && !all {
            continue;
        }
        let decision = app.ledger.decision(&ask.ask).await?;
        if all || decision.is_none() {
            requests.push(View::of(ask, decision, now));
        }
    }
    requests.sort_by_key(|request| request.created);
    Ok(Envelope::success(Page { requests, cursor }))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Named(id): Named,
) -> Result<Envelope<View>, LenovoError> {
    let ask = app.seen(&caller, &id).await?;
    let decision = app.ledger.decision(&id).await?;
    Ok(Envelope::success(View::of(ask, decision, (app.clock)())))
}

pub(crate) async fn confirm(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Named(id): Named,
) -> Result<Envelope<View>, LenovoError> {
    let told = app.decide(&caller, &request, &id, Verdict::Confirmed, None).await?;
    let text = format!(
        "Request {id} is confirmed. {} can send the same call again now, which is then carried out once.",
        told.by
    );
    Ok(Envelope::success(told).saying(Message::done(text, "A second person has agreed.")))
}

/// Whoever asked may reject too, which withdraws the request. What is confirmed and not carried out yet is stopped by
/// whoever asked or confirmed.
pub(crate) async fn reject(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(request): Extension<RequestId>,
    Named(id): Named,
    sent: Request,
) -> Result<Envelope<View>, LenovoError> {
    let (parts, body) = sent.into_parts();
    media_type(&parts.headers, &["application/json"])?;
    let Rejection { reason } = parse_json(&read(body, LIMIT).await?)?;
    let reason = reason.trim();
    if reason.is_empty() || reason.chars().count() > LONGEST_REASON || reason.chars().any(char::is_control) {
        let text = format!("reason says in 1 to {LONGEST_REASON} characters why the request is rejected.");
        return Err(LenovoError::invalid(text, "Correct the body and send the request again."));
    }
    let told = app.decide(&caller, &request, &id, Verdict::Rejected, Some(reason)).await?;
    let text = format!("Request {id} is rejected.");
    Ok(Envelope::success(told).saying(Message::done(text, "The call is not carried out.")))
}

impl App {
    async fn seen(&self, caller: &Principal, id: &AskId) -> Result<Ask, LenovoError> {
        let ask = self.ledger.ask(id).await?.ok_or_else(no_such_request)?;
        if !sees(caller, &ask) {
            caller.lacks(format!("what request {id} needs"));
            return Err(no_such_request());
        }
        Ok(ask)
    }

    async fn decide(
        &self,
        caller: &Principal,
        request: &RequestId,
        id: &AskId,
        verdict: Verdict,
        reason: Option<&str>,
    ) -> Result<View, LenovoError> {
        let party = caller.party.as_ref().ok_or_else(|| nobody_knows(caller))?;
        let now = (self.clock)();
        for _ in 0..ATTEMPTS {
            let ask = self.seen(caller, id).await?;
            let before = self.ledger.decision(id).await?;
            if let Some(before) = before.as_ref().filter(|before| is_the_same(before, party, verdict)) {
                // Sent again, since its answer was lost.
                return Ok(View::of(ask, Some(before.clone()), now));
            }
            let stops = before.as_ref().filter(|_| verdict == Verdict::Rejected).filter(|before| {
                ask.state(Some(before), now) == Standing::Confirmed
                    && (ask.is_by(party) || is_the_same(before, party, Verdict::Confirmed))
            });
            if stops.is_none() {
                is_open(&ask, before.as_ref(), now)?;
            }
            if verdict == Verdict::Confirmed {
                if !ask.shows_its_call() {
                    return Err(not_what_was_asked(id));
                }
                let asker = self.ledger.principal(&ask.by).await?.map(|record| record.party(&ask.by));
                ask.can_be_confirmed(asker.as_ref(), party, &caller.grants).map_err(|why| {
                    caller.lacks(format!("to be a second person to request {id}: {why}"));
                    LenovoError::new(
                        Kind::Forbidden,
                        format!("Request {id} cannot be confirmed by {}: {why}.", party.name),
                        "Ask somebody else.",
                    )
                })?;
            }
            let decision = Decision {
                verdict,
                by: party.name.clone(),
                epoch: party.epoch,
                person: party.person.clone(),
                reason: reason.map(str::to_owned),
                at: now,
                expires: ask.expires,
            };
            let action = if verdict == Verdict::Confirmed { Action::Confirm } else { Action::Reject };
            let act = said(&ask, action, &caller.acting(request), now).with("person", &party.person);
            let act = if let Some(reason) = reason { act.with("reason", reason) } else { act };
            let written = match stops {
                Some(_) => self.ledger.stop_ask(&ask, &decision, &act).await,
                None => self.ledger.put_decision(&ask, &decision, &act).await,
            };
            match written {
                Err(LedgerError::Conflict) => {}
                written => {
                    written?;
                    info!(caller = caller.name, request = %id, verdict = ?verdict, "a request is decided");
                    return Ok(View::of(ask, Some(decision), now));
                }
            }
        }
        Err(LedgerError::Conflict.into())
    }
}

fn is_the_same(decision: &Decision, party: &Party, verdict: Verdict) -> bool {
    (&decision.by, decision.epoch, decision.verdict) == (&party.name, party.epoch, verdict)
}

fn is_open(ask: &Ask, decision: Option<&Decision>, now: OffsetDateTime) -> Result<(), LenovoError> {
    let by = decision.map_or_else(String::new, |decision| format!(" by {}", decision.by));
    let what = match ask.state(decision, now) {
        Standing::Open => return Ok(()),
        Standing::Confirmed => format!("is confirmed{by} already"),
        Standing::Rejected => format!("is rejected{by} already"),
        Standing::CarriedOut => "is carried out already".to_owned(),
        Standing::Expired => "has expired".to_owned(),
    };
    Err(LenovoError::conflict(
        format!("Request {} {what}.", ask.ask),
        "Whoever asked can send the call again: what is over then becomes a new request.",
    ))
}

fn no_such_request() -> LenovoError {
    LenovoError::not_found(
        "There is no request of that id, or none that you may decide on.",
        "GET /requests lists what waits for you. A request is gone a day after it was made.",
    )
}

fn not_what_was_asked(id: &AskId) -> LenovoError {
    LenovoError::conflict(
        format!("Request {id} does not show the call that it was made for: its record was changed."),
        "Do not confirm it, and tell whoever looks after the stack: one of its functions may not be what it was.",
    )
}

fn nobody_knows(caller: &Principal) -> LenovoError {
    caller.lacks("to be known as a person");
    LenovoError::new(
        Kind::Forbidden,
        "It is not known whose token this is.",
        "Log in as a principal: `rootcast login --principal NAME`.",
    )
}
