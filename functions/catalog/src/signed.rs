//! `GET /certificates/signed`: every serial number that our authorities ever signed, whatever became of the certificate,
//! newest first.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::State;
use rootcast_dialects::lenovo::{Envelope, LenovoError, Params};
use rootcast_dialects::native::{Signed, SignedState};
use rootcast_gate::{Cursors, Principal};
use rootcast_ledger::{RevokedRecord, SerialRecord, SignedPlace};
use rootcast_pki::crl::CrlId;
use rootcast_pki::root::Serial;
use serde::Serialize;
use time::OffsetDateTime;

use crate::app::App;
use crate::page::{Paging, cursor};
use crate::stamp::stamp;

/// Most queries of one page. Each generation needs at least one, however little it signed.
const MOST_QUERIES: usize = 8;

#[derive(Debug, Serialize)]
pub(crate) struct SignedPage {
    signed: Vec<Signed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// A page reads `limit` rows, and has fewer if the caller may not see all of them. Three calls, or up to ten if
/// generations signed little.
pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Params(paging, _): Params<Paging>,
) -> Result<Envelope<SignedPage>, LenovoError> {
    let parts = app.parts().await?;
    let ledger = &parts.ledger;
    let list = Cursors { ledger, caller: &caller, list: "signed" };
    let limit = paging.limit(100)?;
    let mut next = match paging.place(list).await? {
        Some(place) => Some(place),
        None => SignedPlace::newest(ledger.authority().await?.last_generation),
    };
    let (mut rows, mut left) = (Vec::new(), limit);
    for _ in 0..MOST_QUERIES {
        let Some(place) = next.filter(|_| left > 0) else { break };
        let page = ledger.signed(place, left).await?;
        left = left.saturating_sub(u32::try_from(page.rows.len()).unwrap_or(u32::MAX));
        rows.extend(page.rows);
        next = page.next;
    }
    rows.retain(|(_, signed)| caller.sees(&signed.dn()));
    let keys = rows.iter().map(|(serial, signed)| (CrlId::of(signed.signer, serial), *serial));
    let revoked = ledger.revoked_among(keys).await?;
    let revoked: HashMap<Serial, RevokedRecord> = revoked.into_iter().map(|each| (each.serial, each)).collect();
    let now = (parts.clock)();
    let signed = rows.into_iter().map(|(serial, signed)| shown(serial, signed, revoked.get(&serial), now)).collect();
    Ok(Envelope::success(SignedPage { signed, cursor: cursor(list, next.as_ref()).await? }))
}

fn shown(serial: Serial, signed: SerialRecord, revoked: Option<&RevokedRecord>, now: OffsetDateTime) -> Signed {
    let state = match revoked {
        Some(_) => SignedState::Revoked,
        None if signed.leaf.is_none() => SignedState::Reserved,
        None if signed.not_after <= now => SignedState::Expired,
        None => SignedState::Valid,
    };
    Signed {
        serial,
        state,
        dn: signed.dn(),
        subject: signed.subject,
        device: signed.device,
        certificate: signed.certificate,
        generation: signed.signer.generation(),
        signer: signed.signer.to_string(),
        sha256: signed.leaf,
        thumbprint: signed.thumbprint,
        signed: stamp(signed.at),
        not_after: stamp(signed.not_after),
        revoked: revoked.map(|each| stamp(each.at)),
        reason: revoked.map(|each| each.reason),
        by: revoked.map(|each| each.by.clone()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_core::inventory::id::CertificateId;
    use rootcast_pki::crl::Reason;
    use rootcast_pki::fingerprint::Fingerprint;
    use rootcast_pki::signer::{IssuingId, SignerId};
    use time::Duration;

    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    #[test]
    fn each_row_says_what_became_of_its_certificate() {
        let serial = Serial::from_random([7; 16]);
        let valid = SerialRecord {
            certificate: CertificateId::from_random([1; 16]),
            device: "bmc-1".parse().unwrap(),
            signer: SignerId::root(3),
            leaf: Some(Fingerprint::of(b"leaf")),
            thumbprint: None,
            subject: None,
            not_after: NOW + Duration::SECOND,
            at: NOW,
        };
        let reserved = SerialRecord { leaf: None, ..valid.clone() };
        let expired = SerialRecord { not_after: NOW, ..valid.clone() };
        let revoked = RevokedRecord {
            serial,
            certificate: valid.certificate,
            at: NOW,
            reason: Reason::Superseded,
            by: "ops".to_owned(),
            comments: None,
            not_after: valid.not_after,
        };
        let state = |signed: &SerialRecord, revoked| shown(serial, signed.clone(), revoked, NOW).state;
        assert_eq!(state(&valid, None), SignedState::Valid);
        assert_eq!(state(&reserved, None), SignedState::Reserved);
        assert_eq!(state(&expired, None), SignedState::Expired);
        assert_eq!(state(&expired, Some(&revoked)), SignedState::Revoked);
        let below = SerialRecord { signer: IssuingId { generation: 3, number: 2 }.into(), ..valid.clone() };
        let below = shown(serial, below, None, NOW);
        assert_eq!((below.generation, below.signer.as_str()), (3, "3.2"));
        let shown = shown(serial, valid, Some(&revoked), NOW);
        assert_eq!((shown.generation, shown.signer.as_str()), (3, "3"));
        assert_eq!(
            (shown.reason, shown.dn.as_str()),
            (Some(Reason::Superseded), r"\VED\Policy\Devices\bmc-1\certificate")
        );
    }
}
