//! What callers were refused: a metric, a line in the log and an entry in the caller's chain of denials. Nothing of it is
//! in the answer.
//!
//! A refusal is seen at one place, the guard of its route, whether the guard refuses or the handler. A handler asks the
//! [`Principal`](crate::Principal), which notes what it lacked.

use std::sync::{Arc, Mutex, PoisonError};

use axum::response::Response;
use http::StatusCode;
use rootcast_core::audit::{Act, Action, Actor, Name, Outcome, Subject};
use rootcast_core::metric::Metric;
use rootcast_ledger::{Ledger, variable};
use time::OffsetDateTime;
use tracing::warn;

/// What a caller lacked while a request was answered: of each kind, the last.
#[derive(Debug, Clone, Default)]
pub struct Missed(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    /// A right that an object of the request needs.
    required: Option<String>,
    /// The right to read an object: a list leaves it out, and a request for it is answered as if it were not there.
    unseen: Option<String>,
    /// An operation: its absence refuses a request, or only changes what the request does.
    operation: Option<String>,
}

/// Callers are the same whatever they have tried.
impl PartialEq for Missed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Missed {}

impl Missed {
    fn note(&self, note: impl FnOnce(&mut Noted)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn required(&self, what: String) {
        self.note(|noted| noted.required = Some(what));
    }

    pub(crate) fn unseen(&self, dn: &str) {
        self.note(|noted| noted.unseen = Some(format!("right read on {dn}")));
    }

    pub(crate) fn operation(&self, what: String) {
        self.note(|noted| noted.operation = Some(what));
    }

    /// What this answer was refused for; `None` if it was no denial.
    pub(crate) fn denied(&self, status: StatusCode) -> Option<String> {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Noted { required, unseen, operation } = &*noted;
        match status {
            StatusCode::FORBIDDEN => {
                let known = required.as_ref().or(operation.as_ref()).or(unseen.as_ref());
                Some(known.cloned().unwrap_or_else(|| "not said".to_owned()))
            }
            StatusCode::NOT_FOUND => required.as_ref().or(unseen.as_ref()).cloned(),
            // Parts of a request are refused with many a status.
            _ => required.clone(),
        }
    }
}

/// A refused operation of an authenticated caller.
#[derive(Debug, Clone)]
pub(crate) struct Denial {
    pub(crate) caller: String,
    pub(crate) request_id: Option<String>,
    /// Method and row of the table of routes, or what came before it.
    pub(crate) route: String,
    pub(crate) path: String,
    pub(crate) missing: String,
}

/// The answer. If it is a denial, that is recorded first.
pub async fn recorded(ledger: &Ledger, mut response: Response, now: OffsetDateTime) -> Response {
    if let Some(denial) = response.extensions_mut().remove::<Denial>() {
        record_denial(ledger, denial, now).await;
    }
    response
}

/// At most one entry, in a limited time. The answer is the same if it cannot be written.
pub(crate) async fn record_denial(ledger: &Ledger, denial: Denial, now: OffsetDateTime) {
    let Denial { caller, request_id, route, path, missing } = denial;
    count(Metric::OperationsDenied, now);
    warn!(caller, request.id = request_id, route, path, missing, "operation denied");
    let name = Name::of(&caller);
    let by = Actor { principal: caller, request_id };
    let act = Act::new(Subject::Denials(name), Action::Deny, &by, now).came_to(Outcome::Failed);
    ledger.audit_denial(act.with("route", route).with("path", path).with("missing", missing)).await;
}

/// The lock or unlock of a principal's name. `source`: from where.
pub(crate) async fn record_lock(ledger: &Ledger, name: &str, action: Action, source: &str, now: OffsetDateTime) {
    let by = Actor { principal: format!("login:{source}"), request_id: None };
    ledger.audit_denial(Act::new(Subject::Denials(Name::of(name)), action, &by, now).with("source", source)).await;
}

/// Only a deployed function has the variable, and a log from which CloudWatch reads metrics.
#[expect(clippy::print_stdout, reason = "CloudWatch reads metrics from the log's own lines")]
pub(crate) fn count(metric: Metric, now: OffsetDateTime) {
    if let Ok(stack) = variable::<String>("STACK") {
        println!("{}", metric.line(1, &stack, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_list_leaves_out_is_no_denial() {
        let missed = Missed::default();
        assert_eq!(missed.denied(StatusCode::NOT_FOUND), None);
        missed.unseen("a");
        missed.operation("permission activate".to_owned());
        assert_eq!((missed.denied(StatusCode::OK), missed.denied(StatusCode::CONFLICT)), (None, None));
        assert_eq!(missed.denied(StatusCode::NOT_FOUND).as_deref(), Some("right read on a"));
        assert_eq!(missed.denied(StatusCode::FORBIDDEN).as_deref(), Some("permission activate"));
        missed.required("right write on a".to_owned());
        assert_eq!(missed.denied(StatusCode::BAD_REQUEST).as_deref(), Some("right write on a"));
        assert_eq!(Missed::default().denied(StatusCode::FORBIDDEN).as_deref(), Some("not said"));
    }
}
