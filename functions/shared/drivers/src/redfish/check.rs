//! Reads from a device what a rollover depends on, and writes nothing: log in, find the trust slot, list it, log out.
//!
//! A device that sends no `Date` is asked for its manager's `DateTime` as well.

use std::time::Duration;

use rootcast_core::device::{Profile, Slot};
use rootcast_core::job::task::Failure;
use rootcast_core::preflight::Reading;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use super::link::Link;
use super::listing::Listing;
use super::session::Session;
use super::slot::{self, Shape};
use super::{Redfish, absence, bundle, dell, ilo};
use crate::credential::Credential;
use crate::pem::Anchor;
use crate::trust::Endpoint;

/// One visit to one device.
#[derive(Debug, Clone, Copy)]
pub struct Inspection<'a> {
    pub endpoint: &'a Endpoint,
    pub profile: Profile,
    /// As in [`super::Assignment`].
    pub slot: Option<&'a Slot>,
    pub credential: &'a Credential,
    /// Trust anchors that it may hold, DER: those of a device that does not show certificates are recognised among them.
    pub known: &'a [Vec<u8>],
    /// As in [`super::Assignment`].
    pub deadline: Instant,
}

impl Redfish {
    /// # Errors
    /// As [`Self::converge`] fails before it writes.
    pub async fn check(&self, wanted: &Inspection<'_>) -> Result<Reading, Failure> {
        let mut session = self.session(wanted.endpoint, wanted.credential, wanted.deadline).await?;
        let read = read(&mut session, wanted).await;
        session.close().await;
        read
    }
}

async fn read(session: &mut Session<'_>, wanted: &Inspection<'_>) -> Result<Reading, Failure> {
    let mut slot = slot::find(session, wanted.profile, wanted.slot).await?;
    let listing = match slot.shape {
        Shape::Members => Listing::read(session, &mut slot).await?,
        Shape::Bundle => bundle::list(session, &mut slot).await?,
        Shape::Dell => dell::list_or_nothing(session, &slot).await?,
        Shape::Ilo => {
            let known: Vec<_> = wanted.known.iter().cloned().map(Anchor::new).collect();
            ilo::list(session, &slot, &known).await?
        }
    };
    if listing.members.is_empty() {
        absence::proven(session, &mut slot, Duration::ZERO).await?;
    }
    let clock = clock(session).await;
    Ok(Reading {
        held: listing.held().anchors,
        members: listing.members.len(),
        places: slot.limit,
        clock,
        signatures: slot.signatures,
        requests: session.connection.asked(),
    })
}

/// Of the last answer, or the first manager's.
pub(super) async fn clock(session: &mut Session<'_>) -> Option<OffsetDateTime> {
    match session.connection.clock() {
        Some(clock) => Some(clock),
        None => managers_clock(session).await,
    }
}

/// `None`: the device does not say, which is no fault.
async fn managers_clock(session: &mut Session<'_>) -> Option<OffsetDateTime> {
    let managers = session.get(&Link::known("/redfish/v1/Managers")).await.ok()?.json().ok()?;
    let manager = slot::link(session, &managers, "/Members/0/@odata.id").ok()??;
    let manager = session.get(&manager).await.ok()?.json().ok()?;
    OffsetDateTime::parse(manager.get("DateTime").and_then(Value::as_str)?, &Rfc3339).ok()
}
