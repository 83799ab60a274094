//! Events: `Rotate Root` asks for the next root, `Root Compromised` for one in the place of all others; AWS says that somebody changed a signing key.

use rootcast_authority::AuthorityError;
use rootcast_core::access::permission::Operation;
use rootcast_core::asked::{self, Asked, EventId, NotAsked, Wanted};
use rootcast_core::audit::Subject;
use rootcast_core::key_change::KeyChange;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_core::rollover::rollout::Rollout;
use rootcast_core::rollover::template::RolloutName;
use rootcast_dialects::lenovo::{Compromised, KEY_COMPROMISE, RootQuery};
use rootcast_gate::{Unmet, once};
use rootcast_ledger::LedgerError;
use time::Duration;

use crate::rotation::{Wake, look};
use crate::{App, Requested};

/// EventBridge and Lambda together deliver an event for thirty hours at most.
const DELIVERED: Duration = Duration::days(2);

/// Whether Lambda's event is none of API Gateway.
pub fn is_event(event: &str) -> bool {
    Wake::is(event) || asked::is_event(event)
}

/// # Errors
/// See [`Unmet`].
pub async fn carry_out(app: &App, event: &str) -> Result<(), Unmet> {
    let _running = app.ledger.meter().run(0);
    let done = if Wake::is(event) {
        look(app).await.map(drop).map_err(|why| Unmet::Passing(why.to_string()))
    } else if KeyChange::is_one(event) {
        app.key_changed(event).await
    } else {
        rotate(app, event).await
    };
    app.ledger.tell().await;
    done
}

async fn rotate(app: &App, event: &str) -> Result<(), Unmet> {
    let asked = Asked::read(event)?;
    let (reason, rollout, compromised) = match asked.wanted.clone() {
        Wanted::Root { reason, rollout } => (reason, rollout, None),
        Wanted::Compromise { generation, reason } => (reason, None, Some(Compromised { generation })),
        Wanted::Renewals(_) => return Err(NotAsked::DetailType.into()),
    };
    once(&app.ledger, &asked, app.clock, async |again| {
        let at_once = compromised.is_some() && app.second.is_needed_for(Operation::Activate);
        if at_once || app.second.is_needed_for(Operation::Regenerate) {
            return Err(Unmet::Refused(
                "a new root needs a second person here (TwoPersons), and an event has none; somebody has to ask for it \
                 with PUT /signingCertificate."
                    .to_owned(),
            ));
        }
        if again && let Some(made) = app.made_for(&asked.id).await? {
            return Ok(made);
        }
        let reason = reason.or_else(|| compromised.map(|_| KEY_COMPROMISE.to_owned()));
        let query = match &rollout {
            Some(name) => match app.named(name).await? {
                Some(named) => named,
                None => return Err(Unmet::Refused(format!("there is no rollout {name}"))),
            },
            None => RootQuery::default(),
        };
        let query = RootQuery { reason, compromised, ..query };
        match Box::pin(app.requested(query, &asked.actor())).await {
            Ok(Requested { job: Some(job), .. }) => Ok(format!("job {job} brings a new root to the devices")),
            Ok(Requested { job: None, .. }) => Ok("a new root signs: there are no devices".to_owned()),
            Err(AuthorityError::Busy(Some(job))) if !again && compromised.is_none() => Err(Unmet::Refused(format!(
                "job {job} is still moving the devices to another root; wait until it has ended, and put an event again."
            ))),
            Err(
                why @ (AuthorityError::ManyRoots(_)
                | AuthorityError::Behind(_)
                | AuthorityError::Compromised(_)
                | AuthorityError::NoGeneration(_)
                | AuthorityError::NotReplaced(_)),
            ) => Err(Unmet::Refused(why.to_string())),
            Err(why @ AuthorityError::NoRoot) if compromised.is_some() => Err(Unmet::Refused(why.to_string())),
            Err(why) => Err(Unmet::Passing(why.to_string())),
        }
    })
    .await
}

impl App {
    /// A stored rollout, as a call would ask for it.
    pub(crate) async fn named(&self, name: &RolloutName) -> Result<Option<RootQuery>, LedgerError> {
        let rollouts = self.ledger.rollouts().await?;
        Ok(rollouts.get(name).map(|template| RootQuery {
            rollout: Rollout { name: Some(name.clone()), ..template.rollout() },
            hold_down: template.hold_down,
            until: template.until,
            ..RootQuery::default()
        }))
    }

    /// What an earlier delivery of the event made: the record of each root says who asked for it. A reserved one is
    /// finished.
    async fn made_for(&self, event: &EventId) -> Result<Option<String>, LedgerError> {
        let since = (self.clock)() - DELIVERED;
        let roots = self.ledger.roots(&self.ledger.authority().await?).await?;
        let is_new = |created| created >= since;
        for root in roots.iter().filter(|root| is_new(root.created) && root.state != GenerationState::Reserved) {
            let entry = self.ledger.audit_entry(&Subject::Root(root.generation), 1).await?;
            if entry.and_then(|entry| entry.request_id).is_some_and(|id| id == event.to_string()) {
                return Ok(Some(format!("an earlier delivery made root generation {}", root.generation)));
            }
        }
        Ok(None)
    }
}
