//! `GET /jobs/{id}/audit`, `GET /certificates/{id}/audit` and `GET /roots/{generation}/audit`: who did what, as
//! recorded and hashed.
//!
//! A certificate's chain outlives the certificate: principals who may read everything can still read it by the deleted
//! certificate's id.

use axum::Extension;
use axum::extract::State;
use rootcast_core::audit::{Head, Subject};
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::JobId;
use rootcast_dialects::lenovo::{Envelope, LenovoError};
use rootcast_gate::{Cursors, Principal};
use serde::Serialize;

use crate::app::App;
use crate::extract::{Id, Params};
use crate::page::{Paging, cursor};

/// In the order of their sequence numbers.
#[derive(Debug, Serialize)]
pub(crate) struct Chain {
    subject: Subject,
    /// Each entry as the text whose SHA-256 the next entry contains.
    entries: Vec<String>,
    /// The chain's head when the page was read.
    head: Head,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

pub(crate) async fn of_job(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(id): Id<JobId>,
    Params(paging): Params<Paging>,
) -> Result<Envelope<Chain>, LenovoError> {
    show(&app, &caller, Subject::Job(id), &paging).await
}

pub(crate) async fn of_certificate(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(id): Id<CertificateId>,
    Params(paging): Params<Paging>,
) -> Result<Envelope<Chain>, LenovoError> {
    let subject = Subject::Certificate(id);
    if !caller.sees_everything() {
        let there = app.parts().await?.ledger.certificate_or_pending(id).await?;
        if !there.is_some_and(|there| caller.sees(&there.dn())) {
            return Err(nothing_on_record(&subject));
        }
    }
    show(&app, &caller, subject, &paging).await
}

pub(crate) async fn of_root(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(generation): Id<u32>,
    Params(paging): Params<Paging>,
) -> Result<Envelope<Chain>, LenovoError> {
    show(&app, &caller, Subject::Root(generation), &paging).await
}

async fn show(
    app: &App,
    caller: &Principal,
    subject: Subject,
    paging: &Paging,
) -> Result<Envelope<Chain>, LenovoError> {
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
    Ok(Envelope::success(Chain { subject, entries: page.lines, head, cursor }))
}

fn nothing_on_record(subject: &Subject) -> LenovoError {
    LenovoError::not_found(
        format!("Nothing is on record of {subject}."),
        "GET /jobs, GET /v3/scm/certificates and GET /signingCertificate/details list what there is.",
    )
}
