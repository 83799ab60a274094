//! Calls that need a second person: the first one is answered with 202 and a request, which somebody else confirms; the
//! same call again is then carried out, once.
//!
//! A call is carried out by the one who asked, who also gets its answer (an exported key, say): whoever confirms only
//! says yes. No body is stored, and the rights of both are checked again when the call is carried out. Who does not
//! need a second person costs no call to AWS.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use rootcast_core::access::permission::Operation;
use rootcast_core::access::second::{
    Ask, AskId, Call, Decision, LIFETIME, MOST_OPEN, Party, ShownBody, State, TwoPersons,
};
use rootcast_core::audit::{Act, Action, Actor, Name, Outcome, Subject};
use rootcast_ledger::{Ledger, LedgerError, Misconfigured, pause, variable};
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::principal::Principal;
use crate::refusal::{Kind, Refusal};
use crate::request_id::RequestId;
use crate::routes::Route;

/// Attempts to find and write a request: the same call may come twice at the same time, and all open requests of a user
/// share a counter.
const ATTEMPTS: u32 = 8;

/// Which operations need a second person, and the requests that wait for one. An extension of every authenticated
/// request to a function with routes that need an operation: without it, nobody may carry out any.
#[derive(Clone)]
pub struct SecondPerson(Arc<Inner>);

struct Inner {
    ledger: Ledger,
    operations: TwoPersons,
    clock: fn() -> OffsetDateTime,
}

impl fmt::Debug for SecondPerson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecondPerson({:?})", self.0.operations)
    }
}

/// In the extensions of a refusal: it was refused only for want of a second person.
#[derive(Debug, Clone, Copy)]
pub struct Awaits(pub Operation);

/// An authenticated call, with its body read.
pub(crate) struct Called<'a> {
    pub(crate) route: Route,
    pub(crate) parts: &'a Parts,
    pub(crate) body: ShownBody,
    pub(crate) caller: &'a Principal,
}

impl SecondPerson {
    pub fn new(ledger: Ledger, operations: TwoPersons, clock: fn() -> OffsetDateTime) -> Self {
        Self(Arc::new(Inner { ledger, operations, clock }))
    }

    /// From `TWO_PERSONS`: operations between commas, or nothing. The log says what is wrong with it.
    pub fn from_env(ledger: Ledger, clock: fn() -> OffsetDateTime) -> Result<Self, Misconfigured> {
        const NAME: &str = "TWO_PERSONS";
        let operations = variable::<String>(NAME)?.parse().map_err(|why| {
            error!("the environment variable {NAME} (parameter TwoPersons) is not valid: {why}");
            Misconfigured(NAME)
        })?;
        Ok(Self::new(ledger, operations, clock))
    }

    /// Whether nobody may carry out the operation alone: an event has no second person, so none may either.
    pub fn is_needed_for(&self, operation: Operation) -> bool {
        self.0.operations.contains(operation)
    }

    pub(crate) fn is_off(&self) -> bool {
        self.0.operations.is_empty()
    }

    /// What everybody who holds it may carry out alone.
    pub(crate) fn alone(&self) -> BTreeSet<Operation> {
        Operation::ALL.iter().copied().filter(|operation| !self.0.operations.contains(*operation)).collect()
    }

    /// With the stored rollout that the call names: whoever confirms the call confirms that one. One read if it names one.
    pub(crate) async fn with_rollout(
        &self,
        route: Route,
        query: Option<&str>,
        body: ShownBody,
    ) -> Result<ShownBody, LedgerError> {
        let Some(name) = route.rollout(query, &body) else { return Ok(body) };
        let rollouts = self.0.ledger.rollouts().await?;
        let text = |template| serde_json::to_string(template);
        let text = rollouts.get(&name).map_or(Ok("null".to_owned()), text);
        let text = text.map_err(|source| LedgerError::Unwritable { what: "rollout", source: Box::new(source) })?;
        Ok(ShownBody { rollout: Some(text), ..body })
    }

    /// The confirmed request for a call that needs `operation`, its confirmation used up; otherwise what to answer.
    pub(crate) async fn confirmed(&self, called: &Called<'_>, operation: Operation) -> Result<Ask, Refusal> {
        let party = called.caller.party.as_ref().ok_or_else(nobody_knows)?;
        let call = called.call();
        let (digest, now) = (call.digest(&party.name, party.epoch), (self.0.clock)());
        for attempt in 1..=ATTEMPTS {
            let before = self.0.ledger.ask_for(&digest).await?;
            if before.as_ref().is_some_and(|before| before.digest != digest) {
                return Err(Refusal::new(
                    Kind::Conflict,
                    "Another request of yours has the same place.",
                    "Wait until that has expired, or send the call in another form.",
                ));
            }
            let decision = match &before {
                Some(before) => self.0.ledger.decision(&before.ask).await?,
                None => None,
            };
            match self.go_on(called, party, (operation, digest), before.as_ref(), decision.as_ref(), now).await {
                Err(Stopped::Again) => pause(attempt).await,
                Err(Stopped::Refused(refusal)) => return Err(refusal),
                Ok(ask) => return Ok(ask),
            }
        }
        Err(LedgerError::Conflict.into())
    }

    async fn go_on(
        &self,
        called: &Called<'_>,
        party: &Party,
        (operation, digest): (Operation, Fingerprint),
        before: Option<&Ask>,
        decision: Option<&Decision>,
        now: OffsetDateTime,
    ) -> Result<Ask, Stopped> {
        if let Some(before) = before {
            match (before.state(decision, now), decision) {
                (State::Open, _) => return Err(waits(before).into()),
                (State::Rejected, Some(decision)) if decision.person != party.person => {
                    return Err(rejected(before, decision).into());
                }
                (State::Confirmed, Some(decision)) if self.still_counts(before, party, decision).await? => {
                    let begun = Ask { carried_out: Some(now), ..before.clone() };
                    let act = act(called, before, Action::CarryOut, now).with("confirmedBy", &decision.by);
                    self.0.ledger.begin_ask(before, now, &act.came_to(Outcome::Begun)).await?;
                    return Ok(begun);
                }
                _ => {}
            }
        }
        let operations = called.route.further(called.parts.uri.query()).into_iter().chain([operation]).collect();
        let asked = self.ask(called, party, operations, digest, before, now).await?;
        Err(waits(&asked).into())
    }

    /// Whoever confirmed may have lost the permission since, or have come into the hands of the one who asked.
    async fn still_counts(&self, ask: &Ask, asker: &Party, decision: &Decision) -> Result<bool, LedgerError> {
        let record = self.0.ledger.principal(&decision.by).await?.filter(|record| record.epoch == decision.epoch);
        let counts =
            record.is_some_and(|by| ask.can_be_confirmed(Some(asker), &by.party(&decision.by), &by.grants).is_ok());
        if !counts {
            warn!(caller = %ask.by, request = %ask.ask, confirmed.by = %decision.by, "a confirmation no longer counts");
        }
        Ok(counts)
    }

    async fn ask(
        &self,
        called: &Called<'_>,
        party: &Party,
        operations: BTreeSet<Operation>,
        digest: Fingerprint,
        before: Option<&Ask>,
        now: OffsetDateTime,
    ) -> Result<Ask, Stopped> {
        let open = self.0.ledger.open_asks(&party.name, now).await?;
        if open.is_full() {
            return Err(too_many().into());
        }
        let mut random = [0; 6];
        random.copy_from_slice(&Uuid::new_v4().as_bytes()[..6]);
        let call = called.call();
        let ask = Ask {
            ask: AskId::new(&digest, random),
            digest,
            operations,
            by: party.name.clone(),
            epoch: party.epoch,
            person: party.person.clone(),
            method: call.method.to_owned(),
            path: call.path.to_owned(),
            query: call.query.to_owned(),
            content_type: String::from_utf8_lossy(call.content_type).into_owned(),
            body: called.body.clone(),
            about: called.route.about(call.path),
            created: now,
            expires: now + LIFETIME,
            carried_out: None,
            formerly: before.filter(|before| before.carried_out.is_some()).map(|before| before.ask.clone()),
        };
        self.0.ledger.put_ask(&ask, before, &open, &act(called, &ask, Action::Request, now)).await?;
        info!(caller = called.caller.name, request = %ask.ask, "a request waits for a second person");
        Ok(ask)
    }

    /// After a call whose confirmation was used up: `further` is an operation that it turned out to need as well.
    ///
    /// # Errors
    /// What to answer instead.
    pub(crate) async fn settle(
        &self,
        called: &Called<'_>,
        begun: Ask,
        status: StatusCode,
        further: Option<Operation>,
    ) -> Result<(), Refusal> {
        let now = (self.0.clock)();
        let act = || act(called, &begun, Action::CarryOut, now).with("status", status.as_u16());
        let written = if further.is_some() || status.is_client_error() {
            // Nothing was done, by the API's own word: the confirmation is good for another attempt.
            self.0.ledger.give_back_ask(&begun, &act().came_to(Outcome::Failed)).await
        } else if status.is_server_error() && called.route.goes_on() {
            self.0.ledger.give_back_ask(&begun, &act().came_to(Outcome::Begun)).await
        } else if status.is_server_error() {
            // It may be done: the same call would do it twice, so it has to be asked for again.
            self.0.ledger.try_audit(&act().came_to(Outcome::Begun)).await
        } else {
            info!(caller = called.caller.name, request = %begun.ask, "a confirmed request is carried out");
            Ok(())
        };
        if let Err(error) = written {
            let error: &(dyn Error + 'static) = &error;
            warn!(request = %begun.ask, error, "it could not be recorded how a confirmed request ended");
        }
        if let (Some(further), Some(party)) = (further, &called.caller.party) {
            let operations = begun.operations.iter().copied().chain([further]).collect();
            let before = Ask { carried_out: None, ..begun };
            let asked = self.ask(called, party, operations, before.digest, Some(&before), now).await?;
            return Err(waits(&asked));
        }
        Ok(())
    }
}

enum Stopped {
    /// Something else was faster.
    Again,
    Refused(Refusal),
}

impl From<LedgerError> for Stopped {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Conflict => Self::Again,
            error => Self::Refused(error.into()),
        }
    }
}

impl From<Stopped> for Refusal {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Again => LedgerError::Conflict.into(),
            Stopped::Refused(refusal) => refusal,
        }
    }
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Called<'_> {
    fn call(&self) -> Call<'_> {
        let uri = &self.parts.uri;
        Call {
            method: self.parts.method.as_str(),
            path: uri.path(),
            query: uri.query().unwrap_or_default(),
            content_type: self.parts.headers.get(CONTENT_TYPE).map_or(&[], HeaderValue::as_bytes),
            body: &self.body,
        }
    }
}

/// An entry in the chain of the request.
fn act(called: &Called<'_>, ask: &Ask, action: Action, now: OffsetDateTime) -> Act {
    let by = match called.parts.extensions.get::<RequestId>() {
        Some(id) => called.caller.acting(id),
        None => Actor { principal: called.caller.name.clone(), request_id: None },
    };
    said(ask, action, &by, now)
}

/// An entry in the chain of the request, with what it was for.
pub fn said(ask: &Ask, action: Action, by: &Actor, now: OffsetDateTime) -> Act {
    let operations = ask.operations.iter().map(|operation| operation.as_str()).collect::<Vec<_>>().join(",");
    Act::new(Subject::Request(Name::of(ask.ask.as_str())), action, by, now)
        .with("operations", operations)
        .with("call", format!("{} {}", ask.method, ask.path))
        .with("query", &ask.query)
        .with("bodySha256", ask.body.sha256)
        .with("askedBy", &ask.by)
        .with("askedByPerson", &ask.person)
}

fn nobody_knows() -> Refusal {
    Refusal::new(
        Kind::Forbidden,
        "This needs two persons, and it is not known whose token this is.",
        "Log in as a principal: `rootcast login --principal NAME`.",
    )
}

fn too_many() -> Refusal {
    Refusal::new(
        Kind::Conflict,
        format!("You have {MOST_OPEN} requests that wait for a second person, and nobody may have more."),
        "Have some of them confirmed or rejected, or withdraw them: GET /requests lists them, `rootcast request reject ID` \
         ends one. They expire after a day.",
    )
}

fn waits(ask: &Ask) -> Refusal {
    let (id, until) = (&ask.ask, told(ask.expires));
    let needed = ask.operations.iter().map(|operation| operation.as_str()).collect::<Vec<_>>();
    let again = ask.formerly.as_ref().map_or_else(String::new, |former| {
        format!(" The same call was carried out already, by request {former}: if its answer was lost, look first.")
    });
    let refusal = Refusal::new(
        Kind::Waits,
        format!(
            "Nothing is done yet: request {id} waits for a second person with the permission {}.{again}",
            needed.join(" and ")
        ),
        format!(
            "Have it confirmed until {until} (`rootcast request confirm {id}`, or POST /requests/{id}/confirm), and then send exactly the same call again."
        ),
    );
    refusal.with_response(json!({
        "request": id, "path": path_of(id), "permissions": needed, "expires": until, "formerly": ask.formerly,
    }))
}

fn rejected(ask: &Ask, decision: &Decision) -> Refusal {
    let (by, at, id) = (&decision.by, told(decision.at), &ask.ask);
    let reason = decision.reason.as_deref().unwrap_or("no reason was given");
    Refusal::new(
        Kind::Forbidden,
        format!(
            "Request {id} was rejected by {by} at {at}: {reason}. The same call can be asked for again from {} on.",
            told(ask.expires)
        ),
        format!("Talk to {by}."),
    )
}

pub(crate) fn told(time: OffsetDateTime) -> String {
    time.replace_nanosecond(0).unwrap_or(time).format(&Rfc3339).unwrap_or_default()
}

fn path_of(id: &AskId) -> String {
    format!("/requests/{id}")
}

/// Where a refusal that waits says how it stands.
pub(crate) fn located(response: &mut axum::response::Response, refusal: &Refusal) {
    let path = refusal.response().and_then(|data| data["path"].as_str()).and_then(|path| path.parse().ok());
    if let Some(path) = path.filter(|_| refusal.kind() == Kind::Waits) {
        response.headers_mut().insert(LOCATION, path);
    }
}
