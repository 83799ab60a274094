//! `GET /v3/scm/certificates`: filtered, sorted and paged.
//!
//! A list costs at least 32 calls to DynamoDB, 16 at a time: every shard is counted, because `total_count` is exact,
//! and every shard is queried for the page. Read units grow with the number of rows that the filter is applied to:
//! about 50 for 1 000 certificates (rows of 400 bytes, eventually consistent), so 10 000 cost 500, or $0.00006 at
//! $0.125 a million. An `offset` or a filter by `content` or project costs no more units, but the rows are transferred;
//! a `cursor` avoids the transfer that an `offset` needs.
//!
//! Imports and deletions appear in lists within moments. Rows are sorted to the second, then by id.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use rootcast_dialects::huawei::HuaweiError;
use rootcast_dialects::huawei::certificate::Listed;
use rootcast_dialects::huawei::list::{Certificates, Chosen, Cursor, ListRequest};
use rootcast_gate::{Cursors, Principal};
use rootcast_ledger::{CertificateRow, Listing};

use crate::app::App;

pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    wanted: Result<Query<ListRequest>, QueryRejection>,
) -> Result<Json<Certificates>, HuaweiError> {
    let Query(wanted) = wanted.map_err(|why| HuaweiError::invalid(format!("{}.", why.body_text())))?;
    let parts = app.parts().await?;
    let ledger = &parts.ledger;
    let cursors = Cursors { ledger, caller: &caller, list: "certificates" };
    let opened = match wanted.cursor() {
        Some(text) => cursors.open::<Cursor>(text).await?,
        None => None,
    };
    let now = (parts.clock)();
    let nothing = |total_count| Ok(Json(Certificates { certificates: Vec::new(), total_count, cursor: None }));
    let Some(chosen) = wanted.choose(now, opened)? else { return nothing(0) };
    let Chosen { sort, descending, limit, skipped, place, ends_from, ends_before, filter } = chosen;
    let takes = |row: &CertificateRow| caller.sees(&row.dn()) && filter.takes(row);
    let takes_all = filter.is_empty() && caller.sees_everything();
    let filter: Option<&(dyn Fn(&CertificateRow) -> bool + Sync)> = if takes_all { None } else { Some(&takes) };
    let listing = Listing { sort, descending, ends_from, ends_before, filter };
    let (total_count, behind) = ledger.survey_certificates(&listing, skipped).await?;
    if skipped > 0 && behind.is_none() {
        return nothing(total_count);
    }
    let mut rows = ledger.certificates_behind(&listing, place.or(behind), limit + 1).await?;
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    let cursor = match rows.last().filter(|_| is_more) {
        Some(row) => Some(cursors.seal(&Cursor { sort, descending, place: listing.place(row) }).await?),
        None => None,
    };
    let certificates = rows.iter().map(|row| Listed::of(row, now)).collect();
    Ok(Json(Certificates { certificates, total_count, cursor }))
}
