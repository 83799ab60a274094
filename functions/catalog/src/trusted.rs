//! `GET /trustedCertificates`: the trust anchors of others that the devices hold, get or lose.

use axum::extract::State;
use rootcast_core::anchors::{Anchor, AnchorId, AnchorState, Anchors};
use rootcast_core::job::JobId;
use rootcast_dialects::lenovo::{Envelope, LenovoError, Message};
use rootcast_dialects::native::Trusted;
use time::OffsetDateTime;

use crate::app::App;
use crate::extract::Id;
use crate::stamp::stamp;

/// Also for `/trustedCertificates/details`: the vendor's pages give both the same attributes.
pub(crate) async fn list(State(app): State<App>) -> Result<Envelope<Vec<Trusted>>, LenovoError> {
    let (anchors, now) = read(&app).await?;
    let rows = anchors.iter().map(|anchor| row(anchor, now)).collect();
    Ok(Envelope::success(rows).saying(Message::completed()))
}

pub(crate) async fn show(State(app): State<App>, Id(id): Id<AnchorId>) -> Result<Envelope<Trusted>, LenovoError> {
    let (anchors, now) = read(&app).await?;
    let anchor = anchors.get(id).ok_or_else(|| {
        LenovoError::not_found(format!("There is no trusted certificate {id}."), "GET /trustedCertificates lists them.")
    })?;
    Ok(Envelope::success(row(anchor, now)).saying(Message::completed()))
}

/// Two calls; one before there was any.
async fn read(app: &App) -> Result<(Anchors, OffsetDateTime), LenovoError> {
    let parts = app.parts().await?;
    let authority = parts.ledger.authority().await?;
    Ok((parts.ledger.anchors(&authority).await?, (parts.clock)()))
}

fn row(anchor: &Anchor, now: OffsetDateTime) -> Trusted {
    let certificate = &anchor.certificate;
    let job = || anchor.job.map_or_else(String::new, |job| format!(" by job {job}"));
    let status = match anchor.state {
        AnchorState::Adding => format!("It is being brought to the devices{}.", job()),
        AnchorState::Removing => format!("It is being removed from the devices{}.", job()),
        AnchorState::Trusted if certificate.not_after() < now => {
            "It has expired, and devices may refuse to take it: remove it.".to_owned()
        }
        AnchorState::Trusted => "The devices hold it, or get it when they join.".to_owned(),
    };
    Trusted {
        certificate: certificate.pem(),
        id: anchor.id,
        issuer_dn: certificate.issuer_dn().to_owned(),
        not_after: stamp(certificate.not_after()),
        not_before: stamp(certificate.not_before()),
        serial_number: certificate.serial().to_owned(),
        signature_algorithm: certificate.signature_algorithm_name().to_owned(),
        subject_dn: certificate.subject_dn().to_owned(),
        fingerprint: certificate.fingerprint(),
        state: anchor.state,
        status,
        job_path: anchor.job.map(JobId::path),
        added: stamp(anchor.added),
    }
}
