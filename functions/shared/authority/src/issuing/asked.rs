//! What operators ask for: the next issuing authority, and the end of a compromised one. Both are only recorded here; the
//! conductor, which alone makes issuing authorities, does the rest.

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_ledger::{Authority, Change, IssuingRecord, IssuingRevocation, IssuingState, LeafPass};
use rootcast_pki::crl::Reason;
use rootcast_pki::signer::IssuingId;
use time::OffsetDateTime;
use tracing::info;

use crate::lists::without_old_key;
use crate::{AuthorityError, CertificateAuthority};

impl CertificateAuthority {
    /// Has the next issuing authority made and signing, below the root that signs. Returns its id. Twice before it is
    /// made is as good as once.
    ///
    /// # Errors
    /// [`AuthorityError::Busy`] while a root is being made; [`AuthorityError::NoRoot`].
    pub async fn ask_for_issuing(&self, by: &Actor, now: OffsetDateTime) -> Result<IssuingId, AuthorityError> {
        let authority = self.unclaimed(now).await?;
        let generation = authority.signing.ok_or(AuthorityError::NoRoot)?;
        let root = self.ledger.root(generation).await?.ok_or(AuthorityError::Missing("root"))?;
        // One that is being made is the next one.
        let being_made = self.left_over(&root).await?.map(|left| left.id());
        let next = being_made.unwrap_or(IssuingId { generation, number: root.last_issuing + 1 });
        if authority.issuing.is_some_and(|id| id.generation == generation)
            && authority.issuing_due.is_none_or(|due| due > now)
        {
            let act = Act::new(Subject::Root(generation), Action::Renew, by, now).with("issuing", next);
            let authority = Authority { issuing_due: Some(now), ..authority };
            let change = Change { authority: Some(&authority), acts: vec![act], ..Change::default() };
            self.ledger.commit(change).await?;
        }
        Ok(next)
    }

    /// Revokes the certificate of an issuing authority, whose key somebody else may have. It signs no more: its root's list,
    /// its successor, and the revocation and renewal of what it signed follow. Twice is as good as once.
    ///
    /// # Errors
    /// [`AuthorityError::Busy`] while a root is being made; [`AuthorityError::NoIssuing`]; [`AuthorityError::SignedNothing`].
    pub async fn revoke_issuing(
        &self,
        id: IssuingId,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<IssuingRecord, AuthorityError> {
        let mut authority = self.unclaimed(now).await?;
        let record = self.ledger.issuing(id).await?.ok_or(AuthorityError::NoIssuing(id))?;
        match record.state {
            IssuingState::Revoked => return Ok(record),
            IssuingState::Reserved => return Err(AuthorityError::SignedNothing(id)),
            IssuingState::Signing | IssuingState::Superseded => {}
        }
        let reason = Reason::CaCompromise;
        let mut record = IssuingRecord {
            state: IssuingState::Revoked,
            revoked: Some(IssuingRevocation { at: now, reason, by: by.principal.clone() }),
            pass: Some(LeafPass { began: Some(now), ..LeafPass::default() }),
            ..record
        };
        authority.compromised.insert(id);
        if authority.issuing == Some(id) {
            (authority.issuing, authority.issuing_due) = (None, None);
        }
        let act = Act::new(Subject::Root(id.generation), Action::Revoke, by, now).with("issuing", id);
        let acts = vec![act.with("serial", record.spec.serial).with("reason", format_args!("{reason:?}"))];
        let change = Change { authority: Some(&authority), issuing: vec![&record], acts, ..Change::default() };
        self.ledger.commit(change).await?;
        record.revision += 1;
        info!(issuing.id = %id, caller = by.principal, "an issuing authority is revoked");
        Ok(record)
    }

    /// Has the root's list name a revoked issuing authority, unless an old root's key cannot sign any more.
    pub async fn publish_revocation(
        &self,
        id: IssuingId,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let root = self.ledger.root(id.generation).await?.ok_or(AuthorityError::Missing("root"))?;
        let published = Box::pin(self.publish_authorities(&root, None, now));
        let published = self.awake("an issuing authority below it is revoked", by, now, published).await;
        without_old_key(&root, published)
    }

    /// Whoever makes a root relies on the authority's record to stay as it is.
    async fn unclaimed(&self, now: OffsetDateTime) -> Result<Authority, AuthorityError> {
        let authority = self.ledger.authority().await?;
        match &authority.claim {
            Some(claim) if claim.until > now => Err(AuthorityError::Busy(claim.job)),
            _ => Ok(authority),
        }
    }
}
