//! `GET Certificates/`, and `HEAD`: certificates, and devices' own certificates that were never issued (pending).
//!
//! A filter by stage or error reads the index of unfinished uses; a filter by thumbprint reads the index of
//! thumbprints. Everything else is listed in the order of the last change, so that what changes between two pages comes
//! last. Pending certificates with work to do, or with failed work, follow after the others.
//!
//! A page costs what it shows: the number of all certificates is stored, and the certificates of a caller who may read some, or
//! below a `ParentDn`, are found by their names.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::extract::State;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures::{StreamExt, TryStreamExt, stream};
use rootcast_core::access::permission::CertificatesSeen;
use rootcast_core::deployment::lifecycle::{Lifecycle, Work, worst};
use rootcast_core::inventory::id::CertificateId;
use rootcast_dialects::venafi::{Filter, ListRequest, Listed, VenafiError};
use rootcast_gate::{Principal, Raw};
use rootcast_ledger::{CertificateOrPending, CertificateRow, LedgerError, Listing, Sort, UseRecord, Visible};
use serde::Serialize;

use crate::App;

/// Concurrent look-ups of thumbprints.
const CONCURRENCY: usize = 16;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    certificates: Vec<Listed>,
    data_range: String,
    total_count: u64,
}

/// The state of whole certificates, from their unfinished uses.
#[derive(Default)]
struct Unfinished {
    lives: HashMap<CertificateId, Lifecycle>,
    /// Certificates that are being issued; some have no record yet.
    issuing: BTreeSet<CertificateId>,
}

/// The number of all matches, and one page of them.
type Found = (u64, Vec<CertificateOrPending>);

/// Lists only certificates that the caller may read, as if there were no others.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    method: Method,
    Raw(query, _): Raw<ListRequest>,
) -> Result<Response, VenafiError> {
    let asked = ListRequest::of(&query)?;
    let (total, found) = app.page(&asked, &caller, method == Method::HEAD).await?;
    let count = [("x-record-count", total.to_string())];
    if method == Method::HEAD {
        return Ok(count.into_response());
    }
    let (first, last) = if found.is_empty() { (0, 0) } else { (asked.offset + 1, asked.offset + found.len()) };
    let page = Page {
        certificates: found.iter().map(Listed::from).collect(),
        data_range: format!("Certificates {first} - {last}"),
        total_count: total,
    };
    Ok((count, Json(page)).into_response())
}

impl App {
    async fn page(&self, asked: &ListRequest, caller: &Principal, only_count: bool) -> Result<Found, LedgerError> {
        let filter = &asked.filter;
        let mut visible = Visible::Many(None);
        if filter.thumbprints.is_none() && !filter.is_of_lives() {
            let (seen, below) = (caller.grants.certificates_seen(), filter.below());
            visible = match &below {
                Some(below) if seen == CertificatesSeen::All => self.ledger.visible(below).await?,
                _ => self.ledger.visible(&seen).await?,
            };
            if let (Visible::Many(_), Some(below), true) = (&visible, &below, seen != CertificatesSeen::All) {
                visible = self.ledger.visible(below).await?;
            }
            if let Visible::Few(held) = visible {
                return self.few(held, asked, caller).await;
            }
        }
        let unfinished = match filter.thumbprints {
            Some(_) if !filter.is_of_lives() => Unfinished::default(),
            _ => Unfinished::of(self.ledger.unfinished_uses().await?),
        };
        if let Some(thumbprints) = &filter.thumbprints {
            let look_up = async |print: String| self.ledger.certificates_with(&print).await;
            let found = stream::iter(thumbprints.iter().cloned()).map(look_up);
            let found: Vec<_> = found.buffer_unordered(CONCURRENCY).try_collect().await?;
            return self.some(found.into_iter().flatten().collect(), asked, caller, &unfinished).await;
        }
        if filter.wants_unfinished() {
            return self.some(unfinished.lives.keys().copied().collect(), asked, caller, &unfinished).await;
        }
        self.all(asked, caller, &unfinished, visible.count(), only_count).await
    }

    /// Those of the certificates that pass the filter, in the order of the last change; pending ones with work after them.
    async fn few(
        &self,
        mut held: Vec<CertificateOrPending>,
        ListRequest { limit, offset, filter }: &ListRequest,
        caller: &Principal,
    ) -> Result<Found, LedgerError> {
        held.retain(|held| caller.sees(&held.dn()) && filter.takes_held(held));
        let pending = held.iter().filter_map(|held| match held {
            CertificateOrPending::Pending(place) => Some((place.id, &place.device)),
            CertificateOrPending::Certificate(_) => None,
        });
        let uses = self.ledger.uses(&pending.collect::<Vec<_>>()).await?;
        let issuing: BTreeSet<CertificateId> =
            uses.iter().filter(|each| each.lifecycle.stage.is_some()).map(|each| each.certificate).collect();
        held.retain(|held| matches!(held, CertificateOrPending::Certificate(_)) || issuing.contains(&held.id()));
        held.sort_by_cached_key(|held| match held {
            CertificateOrPending::Certificate(record) => (false, record.updated.unix_timestamp(), record.id),
            CertificateOrPending::Pending(place) => (true, 0, place.id),
        });
        Ok((held.len() as u64, held.into_iter().skip(*offset).take(*limit).collect()))
    }

    /// The given certificates that pass the filter, ordered by id.
    async fn some(
        &self,
        ids: BTreeSet<CertificateId>,
        ListRequest { limit, offset, filter }: &ListRequest,
        caller: &Principal,
        unfinished: &Unfinished,
    ) -> Result<Found, LedgerError> {
        let mut found = self.ledger.certificates_or_pending(ids).await?;
        found.retain(|held| {
            caller.sees(&held.dn()) && filter.takes_held(held) && filter.takes_life(unfinished.lives.get(&held.id()))
        });
        found.sort_by_key(CertificateOrPending::id);
        Ok((found.len() as u64, found.into_iter().skip(*offset).take(*limit).collect()))
    }

    async fn all(
        &self,
        ListRequest { limit, offset, filter }: &ListRequest,
        caller: &Principal,
        unfinished: &Unfinished,
        counted: Option<u64>,
        only_count: bool,
    ) -> Result<Found, LedgerError> {
        let takes = |row: &CertificateRow| {
            caller.sees(&row.dn()) && filter.takes_row(row) && filter.takes_life(unfinished.lives.get(&row.id))
        };
        let takes_all = !filter.is_of_rows() && !filter.is_of_lives();
        let is_filtered = !takes_all || !caller.sees_everything();
        let listing = Listing {
            sort: Sort::Update,
            descending: false,
            ends_from: None,
            ends_before: None,
            filter: is_filtered.then_some(&takes),
        };
        let skipped = if only_count { 0 } else { *offset };
        let (issued, behind) = match counted.filter(|_| takes_all) {
            Some(issued) if skipped as u64 >= issued => (issued, None),
            Some(issued) => (issued, self.ledger.position_behind(&listing, skipped).await?),
            None => self.ledger.survey_certificates(&listing, skipped).await?,
        };
        let places = self.places(filter, caller, unfinished).await?;
        let total = issued + places.len() as u64;
        if only_count {
            return Ok((total, Vec::new()));
        }
        let skipped = offset.saturating_sub(usize::try_from(issued).unwrap_or(usize::MAX));
        let rows = match issued > *offset as u64 {
            true => self.ledger.certificates_behind(&listing, behind, *limit).await?,
            false => Vec::new(),
        };
        let held = self.ledger.certificates_or_pending(rows.iter().map(|row| row.id)).await?;
        let mut held: HashMap<_, _> = held.into_iter().map(|held| (held.id(), held)).collect();
        let mut found: Vec<_> = rows.iter().filter_map(|row| held.remove(&row.id)).collect();
        found.extend(places.into_iter().skip(skipped).take(limit - rows.len()));
        Ok((total, found))
    }

    /// Pending certificates that pass the filter, ordered by id.
    async fn places(
        &self,
        filter: &Filter,
        caller: &Principal,
        unfinished: &Unfinished,
    ) -> Result<Vec<CertificateOrPending>, LedgerError> {
        let mut places = self.ledger.certificates_or_pending(unfinished.issuing.iter().copied()).await?;
        places.retain(|held| {
            matches!(held, CertificateOrPending::Pending(_))
                && caller.sees(&held.dn())
                && filter.takes_held(held)
                && filter.takes_life(unfinished.lives.get(&held.id()))
        });
        places.sort_by_key(CertificateOrPending::id);
        Ok(places)
    }
}

impl Unfinished {
    fn of(uses: Vec<UseRecord>) -> Self {
        let issuing = uses.iter().filter(|each| each.lifecycle.work == Work::Issue).map(|each| each.certificate);
        let issuing = issuing.collect();
        let mut lives: HashMap<CertificateId, Vec<Lifecycle>> = HashMap::new();
        for UseRecord { certificate, lifecycle, .. } in uses {
            lives.entry(certificate).or_default().push(Lifecycle { history: Vec::new(), ..lifecycle });
        }
        let whole = |(id, lives): (CertificateId, Vec<Lifecycle>)| Some((id, worst(&lives)?.clone()));
        Self { lives: lives.into_iter().filter_map(whole).collect(), issuing }
    }
}
