//! AWS's own events about KMS keys: somebody signed with one, opened it to others, or put it out of use.
//!
//! CloudTrail's events come from AWS alone (nobody else may put an event whose source begins with `aws.`), but repeat what
//! the caller wrote. Only the names of the call, of its key and of the caller are read.

use serde::Deserialize;

use crate::asked::{EventId, NotAsked};

const LONGEST_ARN: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Somebody signed with it.
    Signed,
    Granted,
    PolicyReplaced,
    Disabled,
    DeletionScheduled,
    Deleted,
}

impl Change {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Granted => "granted",
            Self::PolicyReplaced => "policyReplaced",
            Self::Disabled => "disabled",
            Self::DeletionScheduled => "deletionScheduled",
            Self::Deleted => "deleted",
        }
    }

    fn of_call(name: &str) -> Option<Self> {
        match name {
            "Sign" => Some(Self::Signed),
            "CreateGrant" => Some(Self::Granted),
            "PutKeyPolicy" => Some(Self::PolicyReplaced),
            "DisableKey" => Some(Self::Disabled),
            "ScheduleKeyDeletion" => Some(Self::DeletionScheduled),
            _ => None,
        }
    }
}

/// What was done to a key, or with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    pub event: EventId,
    pub change: Change,
    /// Its ARN.
    pub key: String,
    /// ARN of the role or user; `None`: KMS itself, after the waiting period.
    pub by: Option<String>,
}

#[derive(Deserialize)]
struct Envelope {
    id: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    detail: Detail,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Detail {
    event_name: String,
    error_code: Option<String>,
    resources: Vec<Resource>,
    user_identity: Identity,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(rename = "ARN")]
    arn: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Identity {
    arn: Option<String>,
    session_context: Session,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Session {
    session_issuer: Issuer,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Issuer {
    arn: Option<String>,
}

impl KeyChange {
    /// Whether AWS sent it about KMS. What it says is read by [`Self::read`].
    pub fn is_one(event: &str) -> bool {
        #[derive(Deserialize)]
        struct Sender {
            source: String,
        }
        serde_json::from_str::<Sender>(event).is_ok_and(|event| event.source == "aws.kms")
    }

    /// `None`: the call was refused, or is another one.
    ///
    /// # Errors
    /// A sentence for the log.
    pub fn read(event: &str) -> Result<Option<Self>, NotAsked> {
        let Envelope { id, detail_type, resources, detail } = serde_json::from_str(event)
            .map_err(|why| NotAsked::NotAnEvent(why.to_string().chars().take(256).collect()))?;
        let Detail { event_name, error_code, resources: named, user_identity } = detail;
        let (change, key) = match (detail_type.as_str(), Change::of_call(&event_name)) {
            ("KMS CMK Deletion", _) => (Change::Deleted, resources.into_iter().next()),
            (_, Some(change)) => (change, named.into_iter().next().map(|each| each.arn)),
            _ => return Ok(None),
        };
        if error_code.is_some() {
            return Ok(None);
        }
        let key = key.ok_or_else(|| NotAsked::Detail("it names no key".to_owned()))?;
        // Of a session, the role: a session's name is the caller's own choice.
        let by = user_identity.session_context.session_issuer.arn.or(user_identity.arn);
        let is_plain = |arn: &str| arn.len() <= LONGEST_ARN && arn.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain(&key) || !by.as_deref().is_none_or(is_plain) {
            return Err(NotAsked::Detail("an ARN in it is none".to_owned()));
        }
        Ok(Some(Self { event: id.parse()?, change, key, by }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

    fn call(name: &str, identity: &Value) -> Value {
        json!({
            "version": "0", "id": "1-a", "detail-type": "AWS API Call via CloudTrail", "source": "aws.kms",
            "account": "123456789012", "resources": [],
            "detail": {
                "eventSource": "kms.amazonaws.com", "eventName": name, "userIdentity": identity,
                "requestParameters": { "keyId": "alias/x" },
                "resources": [{ "accountId": "123456789012", "type": "AWS::KMS::Key", "ARN": KEY }],
            },
        })
    }

    #[test]
    fn a_call_names_its_key_and_the_role_behind_a_session() {
        let session = json!({
            "type": "AssumedRole", "arn": "arn:aws:sts::123456789012:assumed-role/admin/me",
            "sessionContext": { "sessionIssuer": { "arn": "arn:aws:iam::123456789012:role/admin" } },
        });
        let user = json!({ "type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/ops" });
        for (name, identity, change, by) in [
            ("DisableKey", &session, Change::Disabled, "arn:aws:iam::123456789012:role/admin"),
            ("Sign", &session, Change::Signed, "arn:aws:iam::123456789012:role/admin"),
            ("CreateGrant", &user, Change::Granted, "arn:aws:iam::123456789012:user/ops"),
            ("PutKeyPolicy", &user, Change::PolicyReplaced, "arn:aws:iam::123456789012:user/ops"),
            ("ScheduleKeyDeletion", &user, Change::DeletionScheduled, "arn:aws:iam::123456789012:user/ops"),
        ] {
            let event = call(name, identity).to_string();
            assert!(KeyChange::is_one(&event));
            let read = KeyChange::read(&event).unwrap().unwrap();
            assert_eq!((read.change, read.key.as_str(), read.by.as_deref()), (change, KEY, Some(by)));
        }
        let deleted = json!({
            "id": "1-a", "detail-type": "KMS CMK Deletion", "source": "aws.kms", "resources": [KEY],
            "detail": { "key-id": "1234abcd-12ab-34cd-56ef-1234567890ab" },
        });
        let read = KeyChange::read(&deleted.to_string()).unwrap().unwrap();
        assert_eq!((read.change, read.key.as_str(), read.by), (Change::Deleted, KEY, None));
    }

    #[test]
    fn a_refused_call_and_another_call_change_nothing() {
        let mut refused = call("DisableKey", &json!({}));
        refused["detail"]["errorCode"] = json!("AccessDenied");
        assert_eq!(KeyChange::read(&refused.to_string()), Ok(None));
        assert_eq!(KeyChange::read(&call("EnableKey", &json!({})).to_string()), Ok(None));
    }

    #[test]
    fn a_change_without_a_plain_key_and_caller_is_refused() {
        for (path, value) in [
            ("/detail/resources", json!([])),
            ("/detail/resources/0/ARN", json!("a b")),
            ("/detail/resources/0/ARN", json!("x".repeat(2049))),
            ("/detail/userIdentity", json!({ "arn": "\u{1b}[2J" })),
            ("/detail", json!(7)),
            ("/id", json!("../1")),
        ] {
            let mut event = call("DisableKey", &json!({}));
            *event.pointer_mut(path).unwrap() = value;
            let event = event.to_string();
            assert!(KeyChange::is_one(&event), "{event}");
            assert!(KeyChange::read(&event).is_err(), "{event}");
        }
        assert!(!KeyChange::is_one(r#"{"source":"ops","detail":"\"aws.kms\""}"#));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = KeyChange::read(&text);
            let _ = KeyChange::is_one(&text);
        }
    }
}
