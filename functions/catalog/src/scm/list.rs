//! `GET /v3/scm/certificates`: filtered, sorted and paged.
//!
//! A page costs what it shows: 17 calls to DynamoDB, one for the stored count and one for each shard. A caller who may read
//! some certificates costs a few calls for these, whatever else there is; above a thousand, the page is taken from the list of
//! all. An `offset` costs the rows before it, which a `cursor` does not. A filter by status, content or project reads all
//! rows, because `total_count` is exact: about 50 read units for 1 000 certificates.
//!
//! Imports and deletions appear in lists within moments. Rows are sorted to the second, then by id.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use rootcast_dialects::huawei::HuaweiError;
use rootcast_dialects::huawei::certificate::Listed;
use rootcast_dialects::huawei::list::{Certificates, Chosen, Cursor, ListRequest};
use rootcast_gate::{Cursors, Principal};
use rootcast_ledger::{CertificateRow, Listing, Visible};

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
    let visible = ledger.visible(&caller.grants.certificates_seen()).await?;
    let Chosen { sort, descending, limit, skipped, place, ends_from, ends_before, filter } = chosen;
    let takes = |row: &CertificateRow| caller.sees(&row.dn()) && filter.takes(row);
    let filter_is_empty = filter.is_empty();
    let takes_all = filter_is_empty && caller.sees_everything();
    let filter: Option<&(dyn Fn(&CertificateRow) -> bool + Sync)> = if takes_all { None } else { Some(&takes) };
    let listing = Listing { sort, descending, ends_from, ends_before, filter };
    let is_whole = filter_is_empty && ends_from.is_none() && ends_before.is_none();
    let (total_count, mut rows) = match visible {
        Visible::Few(held) => {
            listing.page_of(held.into_iter().filter_map(CertificateRow::issued), skipped, place, limit + 1)
        }
        visible => {
            let (total, behind) = match visible.count().filter(|_| is_whole) {
                Some(total) => (total, ledger.position_behind(&listing, skipped).await?),
                None => ledger.survey_certificates(&listing, skipped).await?,
            };
            if skipped > 0 && behind.is_none() {
                return nothing(total);
            }
            (total, ledger.certificates_behind(&listing, place.or(behind), limit + 1).await?)
        }
    };
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    let cursor = match rows.last().filter(|_| is_more) {
        Some(row) => Some(cursors.seal(&Cursor { sort, descending, place: listing.place(row) }).await?),
        None => None,
    };
    let certificates = rows.iter().map(|row| Listed::of(row, now)).collect();
    Ok(Json(Certificates { certificates, total_count, cursor }))
}
