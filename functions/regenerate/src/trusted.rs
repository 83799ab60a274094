//! The trust anchors of others are added and removed.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use rootcast_authority::{AnchorRequest, AnchorsChanged, AuthorityError};
use rootcast_core::access::permission::Operation;
use rootcast_core::anchors::{AnchorChange, AnchorId, NotChanged};
use rootcast_core::device::Profile;
use rootcast_core::job::{Activation, JobId};
use rootcast_core::rollover::rollout::Rollout;
use rootcast_dialects::lenovo::{Body, Envelope, LenovoError, Message, NewTrusted, ResultKind, RootQuery};
use rootcast_gate::{Principal, Raw, RequestId};
use serde_json::json;

use crate::{App, behind, busy, compromised, refused, with_location};

const LISTED: &str = "GET /trustedCertificates lists them.";

/// `POST /trustedCertificates`. Takes the rollout's parameters of `PUT /signingCertificate`, and its `reason`.
pub(crate) async fn add(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Raw(query, _): Raw<RootQuery>,
    Body(new): Body<NewTrusted>,
) -> Result<Response, LenovoError> {
    caller.may(Operation::Activate)?;
    let change = AnchorChange::Add(new.anchors((app.clock)())?);
    carry_out(&app, &caller, &id, &query, &change).await
}

/// `DELETE /trustedCertificates/{id}`
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Raw(query, _): Raw<RootQuery>,
    Path(anchor): Path<String>,
) -> Result<Response, LenovoError> {
    caller.may(Operation::Activate)?;
    let anchor: AnchorId = anchor
        .parse()
        .map_err(|why| LenovoError::not_found(format!("There is no such trusted certificate: {why}."), LISTED))?;
    carry_out(&app, &caller, &id, &query, &AnchorChange::Remove(anchor)).await
}

async fn carry_out(
    app: &App,
    caller: &Principal,
    id: &RequestId,
    query: &str,
    change: &AnchorChange,
) -> Result<Response, LenovoError> {
    let RootQuery { activation, rollout, hold_down, until, reason, .. } = app.query(query).await?;
    // A stored rollout may name them for new roots.
    let is_given = rollout.name.is_none() && (hold_down.is_some() || until.is_some());
    if activation == Activation::Immediate || is_given {
        return Err(LenovoError::invalid(
            "activation, holdDown and until are for new roots: a trusted certificate signs nothing of ours.",
            "Leave it out.",
        ));
    }
    let rollout = Rollout { hold_down: 0, ..rollout };
    let (by, now) = (caller.acting(id), (app.clock)());
    let request = AnchorRequest { change, rollout: &rollout, requested_for: reason.as_deref(), by: &by, now };
    match app.authority.change_anchors(request).await {
        Ok(changed) => {
            if let Some(job) = changed.job {
                app.queue.wake_conductor(&app.control_queue, job, "created").await;
            }
            Ok(answer(change, &changed))
        }
        Err(AuthorityError::Busy(job)) => Ok(busy(job)),
        Err(AuthorityError::Compromised(generation)) => Err(compromised(generation)),
        Err(AuthorityError::Behind(why)) => Err(behind(why)),
        Err(AuthorityError::NoRoot) => Err(LenovoError::conflict(
            "No root signs yet, and so there is nothing to sign a bundle with.",
            "Ask for one with PUT /signingCertificate first.",
        )),
        Err(AuthorityError::Anchors(why)) => Err(unchanged(&why)),
        Err(why @ AuthorityError::ManyAnchors(_)) => Err(LenovoError::conflict(
            format!("Nothing is added: {why}."),
            "Remove trusted certificates that no device needs, then send the request again.",
        )),
        Err(error) => Err(refused(error)),
    }
}

fn unchanged(why: &NotChanged) -> LenovoError {
    let text = format!("Nothing is changed: {why}.");
    match why {
        NotChanged::Unknown(_) => LenovoError::not_found(text, LISTED),
        NotChanged::Repeated(_) => LenovoError::invalid(text, "Give each certificate once."),
        NotChanged::Ours(_) => LenovoError::conflict(text, "Our own roots come and go by PUT /signingCertificate."),
        NotChanged::Twice { id, .. } => {
            LenovoError::conflict(text, "Remove that one first if this one is to take its place.")
                .with_response(json!({ "id": id.to_string() }))
        }
        NotChanged::Many(_) => LenovoError::conflict(
            text,
            "Remove trusted certificates that no device needs, then send the request again.",
        ),
        NotChanged::Busy(_) => LenovoError::conflict(text, "Wait until the job has ended, or abort it: GET /jobs."),
    }
}

fn answer(change: &AnchorChange, changed: &AnchorsChanged) -> Response {
    let AnchorsChanged { ids, job, in_bundle } = changed;
    let ids: Vec<String> = ids.iter().map(AnchorId::to_string).collect();
    let (verb, towards) = match change {
        AnchorChange::Add(_) => ("added", "brings it to the devices"),
        AnchorChange::Remove(_) => ("removed", "takes it off the devices"),
    };
    let explanation = match job {
        Some(job) => format!("Job {job} {towards}: {}.", job.path()),
        None => "There is no approved device: that is all.".to_owned(),
    };
    let text = format!("Trusted certificate {} is {verb}.", ids.join(", "));
    let mut response = json!({ "id": ids.first(), "ids": ids, "jobPath": job.map(JobId::path).unwrap_or_default() });
    let warning = crowded(*in_bundle).filter(|_| matches!(change, AnchorChange::Add(_)));
    if let Some(warning) = &warning {
        response["warning"] = json!(format!("{} {}", warning.text, warning.recovery.text));
    }
    let envelope = Envelope::success(response).saying(Message::completed()).saying(Message::done(text, explanation));
    let envelope = match warning {
        Some(warning) => envelope.judged(ResultKind::Warning).saying(warning),
        None => envelope,
    };
    with_location(envelope.into_response(), *job)
}

/// A bundle that some devices have no room for. Whether there are such devices is not known here: only their own record
/// has the profile.
fn crowded(in_bundle: usize) -> Option<Message> {
    let name = |profile: Profile| json!(profile).as_str().unwrap_or_default().to_owned();
    let crowded: Vec<String> = Profile::ALL
        .into_iter()
        .filter_map(|profile| Some((profile, profile.places().filter(|places| *places < in_bundle)?)))
        .map(|(profile, places)| format!("{} ({places})", name(profile)))
        .collect();
    (!crowded.is_empty()).then(|| {
        Message::warning(
            format!(
                "The bundle has {in_bundle} trust anchors, more than devices of these profiles have places for: {}.",
                crowded.join(", ")
            ),
            "A device without room fails in the job, and counts against its error budget.",
            "If there are such devices, abort the job, and remove what they need not trust.",
        )
    })
}
