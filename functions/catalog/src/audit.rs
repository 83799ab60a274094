//! `GET /jobs/{id}/audit`, `GET /certificates/{id}/audit`, `GET /roots/{generation}/audit`, `GET /devices/{id}/audit`,
//! and `GET /audit/policies`, `/audit/principals`, `/audit/denials` and `/audit/requests` with `name` in the query: who
//! did what, as recorded and hashed. `GET /audit/heads`: what was signed of these chains, hour by hour.
//!
//! A certificate's chain outlives the certificate: principals who may read everything can still read it by the deleted
//! certificate's id. A device's chain is about its id.

use std::str::FromStr;

use axum::Extension;
use axum::extract::State;
use rootcast_core::access::permission::{DEVICES, EVERYTHING, Right};
use rootcast_core::audit::{Head, Subject};
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::JobId;
use rootcast_dialects::lenovo::{Envelope, LenovoError, Params};
use rootcast_dialects::native::{AuditChain, AuditHeads};
use rootcast_gate::{Cursors, Kind, Principal};
use serde::Deserialize;

use crate::app::App;
use crate::devices::may;
use crate::extract::Id;
use crate::page::{Paging, cursor};

pub(crate) async fn of_job(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(id): Id<JobId>,
    Params(paging, _): Params<Paging>,
) -> Result<Envelope<AuditChain>, LenovoError> {
    may_read_all_devices(&caller)?;
    show(&app, &caller, Subject::Job(id), &paging).await
}

pub(crate) async fn of_certificate(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(id): Id<CertificateId>,
    Params(paging, _): Params<Paging>,
) -> Result<Envelope<AuditChain>, LenovoError> {
    let subject = Subject::Certificate(id);
    if !caller.sees_everything() {
        let there = app.parts().await?.ledger.certificate_or_pending(id).await?;
        let there = there.filter(|there| caller.sees(&there.dn())).ok_or_else(|| nothing_on_record(&subject))?;
        // A device's own certificate goes to no other device.
        match there.device() {
            Some(device) => may(&caller, Right::Read, device)?,
            None => may_read_all_devices(&caller)?,
        }
    }
    show(&app, &caller, subject, &paging).await
}

pub(crate) async fn of_root(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(generation): Id<u32>,
    Params(paging, _): Params<Paging>,
) -> Result<Envelope<AuditChain>, LenovoError> {
    show(&app, &caller, Subject::Root(generation), &paging).await
}

pub(crate) async fn of_device(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(id): Id<DeviceId>,
    Params(paging, _): Params<Paging>,
) -> Result<Envelope<AuditChain>, LenovoError> {
    may(&caller, Right::Read, &id)?;
    show(&app, &caller, Subject::Device(id), &paging).await
}

/// In the query, where a name may have any character.
#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    name: Option<String>,
}

impl Named {
    fn read<T: FromStr>(self) -> Result<T, LenovoError> {
        let name = self.name.and_then(|name| name.parse().ok());
        name.ok_or_else(|| {
            LenovoError::invalid(
                "The query does not name what the audit is wanted of.",
                "Send name: issuance, certificate or anchors for a policy; else a principal, or the ARN of an IAM identity after iam#; for requests, a request's id.",
            )
        })
    }
}

pub(crate) async fn of_policy(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Params(named, paging): Params<Named, Paging>,
) -> Result<Envelope<AuditChain>, LenovoError> {
    show(&app, &caller, Subject::Policy(named.read()?), &paging).await
}

pub(crate) async fn of_principal(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Params(named, paging): Params<Named, Paging>,
) -> Result<Envelope<AuditChain>, LenovoError> {
    show(&app, &caller, Subject::Principal(named.read()?), &paging).await
}

pub(crate) async fn of_denials(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Params(named, paging): Params<Named, Paging>,
) -> Result<Envelope<AuditChain>, LenovoError> {
    show(&app, &caller, Subject::Denials(named.read()?), &paging).await
}

/// The chain outlives the request, which is gone after a day.
pub(crate) async fn of_request(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Params(named, paging): Params<Named, Paging>,
) -> Result<Envelope<AuditChain>, LenovoError> {
    show(&app, &caller, Subject::Request(named.read()?), &paging).await
}

/// DynamoDB returns 1 MB at most, and so does a page.
pub(crate) async fn heads(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Params(paging, _): Params<Paging>,
) -> Result<Envelope<AuditHeads>, LenovoError> {
    caller.require(Right::Read, EVERYTHING).map_err(|_| {
        LenovoError::new(
            Kind::Forbidden,
            "The statements name every device, certificate and caller, and are signed as a whole.",
            format!(r"Ask an administrator for the right read on {EVERYTHING}, or to verify the audit for you."),
        )
    })?;
    let ledger = &app.parts().await?.ledger;
    let list = Cursors { ledger, caller: &caller, list: "audit heads" };
    let limit = paging.limit(100)?;
    let after = paging.place(list).await?.unwrap_or(0);
    let page = ledger.statements(after, limit).await?;
    let cursor = cursor(list, page.next.as_ref()).await?;
    Ok(Envelope::success(AuditHeads { statements: page.statements, cursor }))
}

async fn show(
    app: &App,
    caller: &Principal,
    subject: Subject,
    paging: &Paging,
) -> Result<Envelope<AuditChain>, LenovoError> {
    let ledger = &app.parts().await?.ledger;
    let list = Cursors { ledger, caller, list: &format!("audit of {subject}") };
    let limit = paging.limit(100)?;
    let after = paging.place(list).await?.unwrap_or(0);
    // The head is read first: an entry appended meanwhile is on a later page, or after the head.
    let head = ledger.audit_head(&subject).await?;
    if head == Head::NONE {
        return Err(nothing_on_record(&subject));
    }
    let page = ledger.audit_page(&subject, after, limit).await?;
    let cursor = cursor(list, page.next.as_ref()).await?;
    Ok(Envelope::success(AuditChain { subject, entries: page.lines, head, cursor }))
}

/// A chain names devices and their addresses. Its lines are hashed, so none can be left out for a caller.
fn may_read_all_devices(caller: &Principal) -> Result<(), LenovoError> {
    caller.require(Right::Read, DEVICES).map_err(|_| {
        LenovoError::new(
            Kind::Forbidden,
            "The audit names devices that you may not read, and is hashed as a whole.",
            format!(r"Ask an administrator for the right read on {DEVICES}, or to read the audit for you."),
        )
    })
}

fn nothing_on_record(subject: &Subject) -> LenovoError {
    LenovoError::not_found(
        format!("Nothing is on record of {subject}."),
        "GET /jobs, GET /devices, GET /principals, GET /v3/scm/certificates and GET /signingCertificate/details list what there is.",
    )
}
