//! Trust anchors of Dell's iDRAC, from documents, not seen: one PEM text that `DelliDRACCardService` exports and replaces as
//! a whole. Of its certificate types, `CA` are those of the directory service (Dell's collection for Ansible,
//! `idrac_certificates`; the service's schema in iDRAC's mockups).

use http::Method;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};

use super::Goal;
use super::bundle::{text, wanted};
use super::collection::{by_clock, has_second_chance, kept, proven};
use super::link::Link;
use super::listing::{Listing, Member};
use super::monitor::{Stop, write};
use super::session::Session;
use super::slot::TrustSlot;
use crate::pem;
use crate::trust::Converged;

pub(super) fn import(slot: &Link) -> Link {
    slot.child("Actions/DelliDRACCardService.ImportSSLCertificate")
}

pub(super) async fn converge(
    session: &mut Session<'_>,
    slot: &TrustSlot,
    goal: &Goal,
    earlier: Result<(), Failure>,
) -> Result<Converged, Stop> {
    let listing =
        if goal.remove.is_empty() { list_or_nothing(session, slot).await? } else { list(session, slot).await? };
    let wanted = wanted(&listing, goal);
    let wanted_set: std::collections::BTreeSet<Fingerprint> = wanted.iter().map(|anchor| anchor.fingerprint).collect();
    if wanted_set == listing.fingerprints() {
        return Ok(Converged { held: listing.held(), changed: false });
    }
    earlier?;
    if wanted.is_empty() {
        let message = "iDRAC's CA certificates can be replaced, but not removed: at least one trust anchor must stay.";
        return Err(Failure::new(ErrorClass::Unsupported, message).into());
    }
    let body = json!({"CertificateType": "CA", "SSLCertificateFile": text(&wanted)});
    let failure = match write(session, Method::POST, &import(&slot.collection), Some(&body)).await {
        Ok(()) => None,
        Err(Stop::Failed(failure)) if has_second_chance(&failure) => Some(failure),
        Err(stop) => return Err(stop),
    };
    let listing = match (list(session, slot).await, failure) {
        (Ok(listing), Some(failure)) if listing.fingerprints() != wanted_set => Err(failure),
        (Err(_), Some(failure)) => Err(failure),
        (outcome, _) => outcome,
    };
    let listing = listing.map_err(|failure| by_clock(session, &goal.install, failure))?;
    proven(&wanted, &listing).map_err(|failure| by_clock(session, &goal.install, failure))?;
    match goal.remove.iter().find(|fingerprint| listing.holds(fingerprint)) {
        Some(fingerprint) => Err(kept(fingerprint).into()),
        None => Ok(Converged { held: listing.held(), changed: true }),
    }
}

/// Without a certificate there is nothing to export. That is no proof that one is gone, but reason to write.
pub(super) async fn list_or_nothing(session: &mut Session<'_>, slot: &TrustSlot) -> Result<Listing, Failure> {
    match list(session, slot).await {
        Err(failure) if is_answer(&failure) => Ok(Listing { members: Vec::new() }),
        read => read,
    }
}

/// The exported text, as one member.
pub(super) async fn list(session: &mut Session<'_>, slot: &TrustSlot) -> Result<Listing, Failure> {
    let link = slot.collection.child("Actions/DelliDRACCardService.ExportSSLCertificate");
    let body = session.ask(Method::POST, &link, Some(&json!({"SSLCertType": "CA"}))).await?.json()?;
    let text = body.get("CertificateFile").and_then(Value::as_str).unwrap_or_default();
    let anchors = pem::anchors(text);
    if anchors.is_empty() {
        let message = format!("{link}: the answer has no CertificateFile with certificates in it.");
        return Err(Failure::new(ErrorClass::Unsupported, message));
    }
    Ok(Listing { members: vec![Member { link: slot.collection.clone(), anchors }] })
}

/// Whether the device answered, and did not merely fail to.
const fn is_answer(failure: &Failure) -> bool {
    matches!(failure.class, ErrorClass::Rejected | ErrorClass::Unsupported | ErrorClass::ServerError)
}
