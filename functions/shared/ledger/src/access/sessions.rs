//! Sessions: logins of clients that keep cookies.

use std::collections::BTreeMap;

use rootcast_core::access::principal::PrincipalName;
use rootcast_core::audit::{Act, Action, Actor};
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::{Exchanged, principals::chain};
use crate::item::{id_key, number};
use crate::{Ledger, LedgerError};

/// A session's last use is recorded at most once in this time.
const NOTED: Duration = Duration::MINUTE;
/// A session ends this long after its login, whatever its use: no working day is longer.
pub const LONGEST_SESSION: Duration = Duration::hours(12);

const PREFIX: &str = "session#";

/// Stored under the SHA-256 of its id, which only the client knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    pub principal: PrincipalName,
    /// The principal's [login epoch](crate::PrincipalRecord::login_epoch) at the start of the session; with `exchanged`, nothing
    /// depends on it.
    pub epoch: u64,
    /// What was exchanged for the session, if its principal did not log in with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchanged: Option<Exchanged>,
    /// SHA-256 of the CSRF token that every changing request must carry.
    pub csrf: Fingerprint,
    /// Idle timeout in seconds.
    pub idle: i64,
    /// Based on the last recorded use.
    #[serde(with = "time::serde::timestamp")]
    pub expires: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
}

impl SessionRecord {
    /// When the session ends without a further use.
    pub fn until(&self) -> OffsetDateTime {
        self.expires.min(self.last())
    }

    fn last(&self) -> OffsetDateTime {
        self.created.saturating_add(LONGEST_SESSION)
    }

    /// The new expiry after a use now. `None` if it is the same, or if a use was recorded just before.
    pub fn used(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let until = now.saturating_add(Duration::seconds(self.idle)).min(self.last());
        (until - self.expires >= NOTED).then_some(until)
    }
}

/// One page of sessions, by the SHA-256 of their ids.
#[derive(Debug)]
pub struct SessionsPage {
    pub sessions: Vec<(Fingerprint, SessionRecord)>,
    /// Where the next page begins.
    pub next: Option<String>,
}

impl Ledger {
    /// `session`: SHA-256 of its id.
    pub async fn session(&self, session: &Fingerprint) -> Result<Option<SessionRecord>, LedgerError> {
        self.access_record("session", "GetItem session", session_id(session)).await
    }

    pub async fn put_session(&self, session: &Fingerprint, record: &SessionRecord) -> Result<(), LedgerError> {
        self.put_access_record("session", "PutItem session", session_id(session), record).await
    }

    /// All sessions, by the SHA-256 of their ids. For operators, not for request paths.
    pub async fn sessions(&self) -> Result<BTreeMap<Fingerprint, SessionRecord>, LedgerError> {
        self.access_records("session", PREFIX).await
    }

    /// In no order. A page may be empty without being the last. One call.
    pub async fn sessions_page(&self, after: Option<&str>) -> Result<SessionsPage, LedgerError> {
        let (sessions, next) = self.access_page("session", "Scan sessions", PREFIX, after).await?;
        Ok(SessionsPage { sessions, next })
    }

    /// Ends somebody's session, with an entry in the audit chain of whose it is. Returns whether it still existed.
    pub async fn end_session(
        &self,
        session: &Fingerprint,
        of: &PrincipalName,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<bool, LedgerError> {
        let act = Act::new(chain(of), Action::Logout, by, now).with("session", session);
        self.remove_audited("session", session_id(session), &act).await
    }

    /// Records a use, unless the session has ended.
    pub async fn extend_session(&self, session: &Fingerprint, until: OffsetDateTime) -> Result<(), LedgerError> {
        let update = self.client.update_item().table_name(self.access()?).set_key(Some(id_key(session_id(session))));
        let update = update
            .update_expression("SET expires = :until")
            .condition_expression("attribute_exists(id)")
            .expression_attribute_values(":until", number(until.unix_timestamp()));
        match update.send().await {
            Err(error) if !error.as_service_error().is_some_and(|why| why.is_conditional_check_failed_exception()) => {
                Err(LedgerError::aws("UpdateItem session")(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the session, if it still exists.
    pub async fn remove_session(&self, session: &Fingerprint) -> Result<(), LedgerError> {
        self.remove_access_record("DeleteItem session", session_id(session)).await.map(|_| ())
    }
}

fn session_id(session: &Fingerprint) -> String {
    format!("{PREFIX}{session}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use super::*;
    use crate::item::{from_item, to_item};

    #[test]
    fn a_use_is_recorded_at_most_once_a_minute() {
        let began = OffsetDateTime::UNIX_EPOCH;
        let session = SessionRecord {
            principal: "ops".parse().unwrap(),
            epoch: 7,
            exchanged: None,
            csrf: Fingerprint::of(b"csrf"),
            idle: 600,
            expires: began + Duration::minutes(10),
            created: began,
        };
        for (seconds, noted) in [(0, false), (59, false), (60, true), (599, true)] {
            let now = began + Duration::seconds(seconds);
            assert_eq!(session.used(now), noted.then(|| now + Duration::minutes(10)), "{seconds}");
        }
        // In use all the time, it ends after half a day.
        let mut used = session.clone();
        for minute in 0..2 * 12 * 60 {
            used.expires = used.used(began + Duration::minutes(minute)).unwrap_or(used.expires);
        }
        assert_eq!(used.until(), began + Duration::hours(12));
        let stored_by_an_earlier_version = SessionRecord { expires: began + Duration::DAY, ..session.clone() };
        assert_eq!(stored_by_an_earlier_version.until(), began + Duration::hours(12));
        let back: SessionRecord = from_item("session", to_item("session", &session).unwrap()).unwrap();
        assert_eq!(back, session);
    }
}
