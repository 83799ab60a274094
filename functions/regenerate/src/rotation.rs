//! The root is replaced by itself: the schedule wakes the function every hour, and the rotation policy says whether the root
//! that signs is due.

use rootcast_authority::{AuthorityError, Made, RootRequest};
use rootcast_core::job::Activation;
use rootcast_core::rollover::rotation::{Past, Signing, rule};
use rootcast_dialects::lenovo::RootQuery;
use rootcast_ledger::LedgerError;
use serde::Deserialize;
use tracing::{debug, error, info};

use crate::App;

/// The schedule's input. It says nothing that the records do not say: whoever sends it has the policy looked at. No HTTP
/// request has this form.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wake {
    #[serde(rename = "wake")]
    _rotation: Rotation,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rotation {
    Rotation,
}

impl Wake {
    /// Whether this is the schedule's event.
    pub(crate) fn is(event: &str) -> bool {
        serde_json::from_str::<Self>(event).is_ok()
    }
}

/// Begins the rollover that a person would begin with `PUT /signingCertificate`, if the policy says that it is due, and none
/// is running or paused. At most once a day, whatever calls this how often, and not within a day after one was aborted.
///
/// One call if there is no policy, three if the root is not due, five before the rollover begins; one more for the rollout that the policy names.
///
/// # Errors
/// Records could not be read or written, or the root could not be made: what was begun is finished by the next call.
pub async fn look(app: &App) -> Result<Option<Made>, AuthorityError> {
    let now = (app.clock)();
    let policy = app.ledger.policy().await?;
    let Some(rotation) = policy.rotation else { return Ok(None) };
    let authority = app.ledger.authority().await?;
    // Also one that is paused: it waits for somebody. What a crash left of a root that was being made is finished.
    if authority.is_claimed(now) || (authority.running.is_some() && authority.claim.is_none()) {
        debug!("a rollover has not ended");
        return Ok(None);
    }
    let Some(generation) = authority.signing else { return Ok(None) };
    let root = app.ledger.root(generation).await?.ok_or(AuthorityError::Missing("root"))?;
    let Some(certificate) = &root.certificate else { return Ok(None) };
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    let signing = Signing { generation, made: root.created, not_before, not_after };
    if rotation.due(&signing).is_none_or(|due| due > now) {
        return Ok(None);
    }
    let asked = match &policy.rollout {
        None => RootQuery::default(),
        Some(name) => match app.named(name).await? {
            Some(asked) => asked,
            None => {
                error!(
                    "the root is due and not replaced: there is no rollout {name}, which the certificate policy names"
                );
                return Ok(None);
            }
        },
    };
    // To finish what was begun is not to begin.
    if authority.claim.is_none() {
        let last = app.ledger.last_rotation().await?;
        let (aborted, rolled_back) = (authority.aborted, authority.rolled_back);
        let past = Past { begun: last.begun, aborted, rolled_back, set: policy.rotation_set };
        if !rotation.begins(&signing, &past, now) {
            debug!(?past, "a rollover was begun, aborted or rolled back, and the rule waits");
            return Ok(None);
        }
        // Recorded first: of two calls one goes on.
        match app.ledger.note_rotation(&last, now).await {
            Err(LedgerError::Conflict) => return Ok(None),
            noted => noted?,
        }
    }
    info!(root.generation = generation, "the root is replaced by itself, {rotation}");
    let requested_for = Some(format!("By the rotation policy: {rotation}."));
    let (activation, rollout) = (Activation::Proven, asked.rollout);
    let request = RootRequest { activation, rollout, hold_down: asked.hold_down, until: asked.until, requested_for };
    match app.authority.make_root(&app.settings, &request, &rule(), now).await {
        Ok(made) => {
            app.wake(made.job).await;
            Ok(Some(made))
        }
        // A person was faster.
        Err(AuthorityError::Busy(_) | AuthorityError::Compromised(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
