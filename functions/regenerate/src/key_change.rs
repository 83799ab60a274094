//! Somebody outside of the stack signed with a signing key, opened it to others, or put it out of use: an alarm, an event and an
//! entry in the audit. Nothing is done about it: that is for a person to decide, and a disabled key is evidence.

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::event::Event;
use rootcast_core::key_change::KeyChange;
use rootcast_core::metric::Metric;
use rootcast_gate::Unmet;
use rootcast_ledger::{IssuingState, LedgerError};
use rootcast_pki::signer::SignerId;
use tracing::{debug, error};

use crate::App;

/// Entries of the root's audit among which an earlier delivery's would be: it came within minutes.
const LAST: usize = 20;

impl App {
    /// The stack's own roles put roots' keys to sleep, and have unused ones deleted: that is no news.
    pub(crate) async fn key_changed(&self, event: &str) -> Result<(), Unmet> {
        let Some(KeyChange { event, change, key, by }) = KeyChange::read(event)? else { return Ok(()) };
        if by.as_deref().is_some_and(|by| self.settings.roles.include(by)) {
            return Ok(());
        }
        let Some(signer) = self.signer_with(&key).await? else {
            debug!(key, "it signs nothing of ours");
            return Ok(());
        };
        let (now, change) = ((self.clock)(), change.as_str());
        let generation = signer.generation();
        let issuing = (!signer.is_root()).then(|| signer.to_string());
        let by_whom = by.as_deref().unwrap_or("aws:kms").to_owned();
        let actor = Actor { principal: by_whom.clone(), request_id: Some(event.to_string()) };
        let act = Act::new(Subject::Root(generation), Action::Tamper, &actor, now).with("change", change);
        let act = act.changing("key", None, Some(&key)).changing("issuing", None, issuing.as_deref());
        if !self.is_recorded(&act).await? {
            self.ledger.audit(&act).await?;
        }
        error!(%signer, key, caller = by_whom, change, "somebody outside of the stack did this with a signing key: see its root's audit");
        self.ledger.happened(Event::KeyChanged { generation, issuing, change, key, by });
        self.count(Metric::SigningKeysChanged);
        Ok(())
    }

    /// Whether an earlier delivery of the event recorded it. It may have died before it told anybody.
    async fn is_recorded(&self, act: &Act) -> Result<bool, LedgerError> {
        let last = self.ledger.audit_head(&act.subject).await?.sequence;
        for sequence in (1..=last).rev().take(LAST) {
            let entry = self.ledger.audit_entry(&act.subject, sequence).await?;
            if entry.is_some_and(|entry| entry.action == act.action && entry.request_id == act.actor.request_id) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whose key it is. A root that was given up or has retired, and the issuing authorities below it, need theirs no more:
    /// KMS itself deletes them, and names nobody. One that was never finished needs none either.
    async fn signer_with(&self, key: &str) -> Result<Option<SignerId>, LedgerError> {
        let roots = self.ledger.roots(&self.ledger.authority().await?).await?;
        if let Some(root) = roots.iter().find(|root| root.key.as_deref() == Some(key)) {
            return Ok(root.needs_key(None, (self.clock)()).then(|| SignerId::root(root.generation)));
        }
        let issuings = self.ledger.issuings(&roots).await?;
        let issuing = issuings.into_iter().find(|issuing| issuing.key.as_deref() == Some(key));
        let Some(issuing) = issuing.filter(|issuing| issuing.state != IssuingState::Reserved) else { return Ok(None) };
        let id = issuing.id();
        let root = roots.iter().find(|root| root.generation == id.generation);
        Ok(root.is_none_or(|root| root.needs_key(Some(id.number), (self.clock)())).then(|| id.into()))
    }

    #[expect(clippy::print_stdout, reason = "CloudWatch reads metrics from the log's own lines")]
    fn count(&self, metric: Metric) {
        println!("{}", metric.line(1, self.settings.roles.stack(), (self.clock)()));
    }
}
