//! The request, and its answer.
//!
//! Calls to AWS where one deployment failed and nobody waits: token, name, uses, job, one transaction, one message.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use rootcast_core::certificate_dn::{CertificateDn, NotACertificateDn};
use rootcast_core::scope::{Privilege, Resource};
use rootcast_gate::{Principal, VenafiError, media_type, parse_json, read};
use rootcast_ledger::LedgerError;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::info;

use crate::refusal::{Failure, Refusal};
use crate::work::Added;
use crate::{App, Deadline};

/// In bytes. The longest DN that a certificate can have is of 587 characters.
const BODY_LIMIT: usize = 16 << 10;
/// In seconds; Venafi's.
const LONGEST_WAIT: i64 = 120;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Wanted {
    #[serde(rename = "CertificateDN")]
    certificate_dn: Option<String>,
    /// Seconds.
    work_to_do_timeout: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Done {
    success: bool,
}

impl Wanted {
    fn timeout(&self) -> Result<Duration, VenafiError> {
        let seconds = self.work_to_do_timeout.unwrap_or(0);
        let in_bounds = u64::try_from(seconds).ok().filter(|_| seconds <= LONGEST_WAIT);
        in_bounds.map(Duration::from_secs).ok_or_else(|| {
            VenafiError::invalid(format!("WorkToDoTimeout is a number of seconds from 0 to {LONGEST_WAIT}."))
        })
    }
}

pub(crate) async fn retry(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(Deadline(deadline)): Extension<Deadline>,
    request: Request,
) -> Result<Json<Done>, VenafiError> {
    caller.require_scope(Resource::Certificate, Privilege::Manage)?;
    let (head, body) = request.into_parts();
    media_type(&head.headers, &["application/json"])?;
    let wanted: Wanted = parse_json(&read(body, BODY_LIMIT).await?)?;
    let timeout = wanted.timeout()?;
    let dn = wanted.certificate_dn.unwrap_or_default();
    let place: CertificateDn = match dn.parse() {
        Ok(place) => place,
        Err(NotACertificateDn::NullOrWhiteSpace) => return Err(Refusal::InvalidDn(dn).into()),
        Err(NotACertificateDn::Unused) => return Err(Refusal::NoAccess(dn).into()),
    };
    let unread = |error: LedgerError| {
        let refusal = Refusal::Certificate { dn: dn.clone(), failure: Failure::from(&error) };
        VenafiError::from(refusal).caused_by(error)
    };
    let found = app.ledger.certificate_by_dn(&place).await.map_err(unread)?;
    let certificate = found.ok_or_else(|| Refusal::NoAccess(dn.clone()))?;
    let uses = app.ledger.uses_of_certificate(certificate).await.map_err(unread)?;
    let (failed, others): (Vec<_>, Vec<_>) = uses.into_iter().partition(|each| each.lifecycle.in_error);
    if failed.is_empty() {
        let under_way = others.iter().filter(|each| each.is_under_way()).count();
        let why = format!("No application is in error; {under_way} of {} are under way.", others.len());
        return Err(Refusal::NotRequired(why).into());
    }
    let Added { retried, refused } = app.add_work(certificate, failed, deadline).await;
    info!(
        caller = caller.name, certificate.id = %certificate, devices.retried = retried.len(),
        devices.refused = refused.len(), "retry"
    );
    if !refused.is_empty() {
        return Err(Refusal::Applications(refused).into());
    }
    app.outcome_of(certificate, retried, deadline.min(Instant::now() + timeout)).await;
    Ok(Json(Done { success: true }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_0_to_120_seconds() {
        let timeout = |body: &str| parse_json::<Wanted>(body.as_bytes()).unwrap().timeout().map(|time| time.as_secs());
        for (body, seconds) in [
            ("{}", 0),
            (r#"{"WorkToDoTimeout":null}"#, 0),
            (r#"{"WorkToDoTimeout":0}"#, 0),
            (r#"{"WorkToDoTimeout":120}"#, 120),
        ] {
            assert_eq!(timeout(body).unwrap(), seconds, "{body}");
        }
        for body in [r#"{"WorkToDoTimeout":-1}"#, r#"{"WorkToDoTimeout":121}"#, r#"{"WorkToDoTimeout":9000000000000}"#]
        {
            let error = timeout(body).unwrap_err();
            assert_eq!(
                (error.status().as_u16(), error.text()),
                (400, "WorkToDoTimeout is a number of seconds from 0 to 120.")
            );
        }
    }
}
