//! HPE's iLO, from documents, not seen (HPE's resource definitions of iLO 5 and 6, `HpeCertAuth`, `HpeCertificate` and
//! `HpeHttpsCert`, and its guide to certificates).
//!
//! iLO shows no certificate itself, but its serial number, names and validity. A certificate of ours is recognised by its
//! serial number, which is random, and its validity. What else a device holds cannot be told: so nothing is removed from it.

use http::Method;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_pki::certificate::Certificate;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Goal;
use super::collection::{by_clock, has_second_chance, proven};
use super::link::Link;
use super::listing::{Listing, Member};
use super::monitor::{Stop, write};
use super::session::Session;
use super::slot::{TrustSlot, members};
use crate::pem::Anchor;
use crate::trust::Converged;

pub(super) async fn converge(
    session: &mut Session<'_>,
    slot: &TrustSlot,
    goal: &Goal,
    earlier: Result<(), Failure>,
) -> Result<Converged, Stop> {
    let mut listing = list(session, slot, &goal.install).await?;
    let mut changed = false;
    for anchor in goal.install.iter().filter(|anchor| !listing.holds(&anchor.fingerprint)) {
        earlier.clone()?;
        let link = slot.collection.child("Actions/HpeCertAuth.ImportCACertificate");
        match write(session, Method::POST, &link, Some(&json!({"Certificate": anchor.to_pem()}))).await {
            Err(Stop::Failed(failure)) if has_second_chance(&failure) => {
                let now = list(session, slot, &goal.install).await;
                if !now.is_ok_and(|now| now.holds(&anchor.fingerprint)) {
                    return Err(by_clock(session, std::slice::from_ref(anchor), failure).into());
                }
            }
            outcome => outcome?,
        }
        changed = true;
    }
    if changed {
        listing = list(session, slot, &goal.install).await?;
        proven(&goal.install, &listing).map_err(|failure| by_clock(session, &goal.install, failure))?;
    }
    let unknown = listing.members.iter().filter(|member| member.anchors.is_empty()).count();
    if !goal.remove.is_empty() && unknown > 0 {
        let message = format!(
            "iLO does not show its CA certificates, so it is not known whether one of the {unknown} others in {} is a withdrawn one. Remove by hand what is not needed.",
            slot.collection
        );
        return Err(Failure::new(ErrorClass::Unsupported, message).into());
    }
    Ok(Converged { held: listing.held(), changed })
}

/// Members that are none of the `known` certificates have no anchor.
pub(super) async fn list(session: &mut Session<'_>, slot: &TrustSlot, known: &[Anchor]) -> Result<Listing, Failure> {
    let known: Vec<_> = known.iter().filter_map(|anchor| Some((anchor, anchor.certificate()?))).collect();
    let mut listed = Vec::new();
    for link in members(session, &slot.collection.child("CACertificates")).await? {
        let shown = session.get(&link).await?.json()?;
        let recognised = known.iter().filter(|(_, certificate)| is_of(&shown, certificate));
        let anchors = recognised.map(|(anchor, _)| (*anchor).clone()).collect();
        listed.push(Member { link, anchors });
    }
    Ok(Listing { members: listed })
}

/// The web server's certificate, as a listing of one.
pub(super) async fn web(session: &mut Session<'_>, https: &Link, leaf: &Certificate) -> Result<Listing, Failure> {
    let shown = session.get(https).await?.json()?;
    let is_it = shown.get("X509CertificateInformation").is_some_and(|shown| is_of(shown, leaf));
    let anchors = if is_it { vec![Anchor::new(leaf.der().to_vec())] } else { Vec::new() };
    Ok(Listing { members: vec![Member { link: https.clone(), anchors }] })
}

/// Serial number and validity are what a certificate authority never gives twice.
fn is_of(shown: &Value, certificate: &Certificate) -> bool {
    let text = |name| shown.get(name).and_then(Value::as_str);
    let at = |name| text(name).and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
    text("SerialNumber").is_some_and(|serial| digits(serial) == digits(certificate.serial()))
        && at("ValidNotBefore") == Some(certificate.not_before())
        && at("ValidNotAfter") == Some(certificate.not_after())
}

/// `0a:1B` → `a1b`
fn digits(serial: &str) -> String {
    let hex: String = serial.chars().filter(char::is_ascii_hexdigit).map(|digit| digit.to_ascii_lowercase()).collect();
    hex.trim_start_matches('0').to_owned()
}
