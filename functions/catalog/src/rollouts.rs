//! Stored rollouts: `GET /rollouts`, `GET`, `PUT` and `DELETE /rollouts/{name}`. A job that starts with one keeps a copy.

use axum::Extension;
use axum::extract::{Path, State};
use rootcast_core::rollover::template::{ManyRollouts, RolloutName, Rollouts, Template};
use rootcast_dialects::lenovo::{Body, Envelope, LenovoError, Message};
use rootcast_gate::{Principal, RequestId};
use rootcast_ledger::{Ledger, LedgerError};
use serde::Serialize;
use tracing::info;

use crate::app::{App, Parts};
use crate::extract::Id;

/// Attempts to write: another caller may write another rollout at the same time.
const ATTEMPTS: u32 = 5;

#[derive(Debug, Serialize)]
pub(crate) struct View {
    rollouts: Vec<Named>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Named {
    name: RolloutName,
    rollout: Template,
}

pub(crate) async fn list(State(app): State<App>) -> Result<Envelope<View>, LenovoError> {
    let stored = app.parts().await?.ledger.rollouts().await?;
    let rollouts = stored.rollouts.into_iter().map(|(name, rollout)| Named { name, rollout }).collect();
    Ok(Envelope::success(View { rollouts }))
}

/// As it was sent.
pub(crate) async fn show(State(app): State<App>, Id(name): Id<RolloutName>) -> Result<Envelope<Template>, LenovoError> {
    let stored = app.parts().await?.ledger.rollouts().await?;
    Ok(Envelope::success(stored.get(&name).cloned().ok_or_else(|| no_such_rollout(&name))?))
}

pub(crate) async fn put(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Path(name): Path<String>,
    Body(template): Body<Template>,
) -> Result<Envelope<Template>, LenovoError> {
    let name: RolloutName = name
        .parse()
        .map_err(|why| LenovoError::invalid(format!("The rollout is not stored: {why}."), "Choose another name."))?;
    let template = template.checked().map_err(|why| {
        LenovoError::invalid(
            format!("The rollout cannot be carried out: {why}."),
            "Correct the body and send the request again.",
        )
    })?;
    let with = |stored: &Rollouts| {
        stored.with(name.clone(), template.clone()).map_err(|why: ManyRollouts| {
            LenovoError::conflict(format!("Nothing is stored: {why}."), "Delete one that nobody needs.")
        })
    };
    write(app.parts().await?, &caller, &id, &name, with).await?;
    let message = Message::done(
        format!("Rollout {name} is stored."),
        "Jobs that start with it from now on have it so; those that have started keep what they have.",
    );
    Ok(Envelope::success(template).saying(message))
}

pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Id(name): Id<RolloutName>,
) -> Result<Envelope<()>, LenovoError> {
    let parts = app.parts().await?;
    if parts.ledger.policy().await?.rollout.as_ref() == Some(&name) {
        return Err(LenovoError::conflict(
            format!("The certificate policy names rollout {name}, for what begins by itself."),
            "Name another one, or none, with PUT /certificatePolicy; then delete it.",
        ));
    }
    let without = |stored: &Rollouts| match stored.get(&name) {
        Some(_) => Ok(stored.without(&name)),
        None => Err(no_such_rollout(&name)),
    };
    write(parts, &caller, &id, &name, without).await?;
    let message =
        Message::done(format!("Rollout {name} is deleted."), "Jobs that started with it keep what they have.");
    Ok(Envelope { response: None, ..Envelope::success(()) }.saying(message))
}

async fn write(
    parts: &Parts,
    caller: &Principal,
    id: &RequestId,
    name: &RolloutName,
    next: impl Fn(&Rollouts) -> Result<Rollouts, LenovoError>,
) -> Result<(), LenovoError> {
    let ledger: &Ledger = &parts.ledger;
    for _ in 0..ATTEMPTS {
        let rollouts = next(&ledger.rollouts().await?)?;
        match ledger.set_rollouts(rollouts, name, &caller.acting(id), (parts.clock)()).await {
            Err(LedgerError::Conflict) => {}
            written => {
                written?;
                info!(caller = caller.name, rollout = %name, "a stored rollout was changed");
                return Ok(());
            }
        }
    }
    Err(LedgerError::Conflict.into())
}

fn no_such_rollout(name: &RolloutName) -> LenovoError {
    LenovoError::not_found(format!("There is no rollout {name}."), "GET /rollouts lists those that are stored.")
}

/// The body of a request names it.
pub(crate) fn not_stored(name: &RolloutName) -> LenovoError {
    LenovoError::invalid(
        format!("There is no rollout {name}."),
        format!("GET /rollouts lists those that are stored; PUT /rollouts/{name} stores it."),
    )
}
