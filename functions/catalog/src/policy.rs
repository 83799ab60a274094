//! The settings of the next root, and when it is made by itself: `GET` and `PUT /certificatePolicy`.

use axum::extract::State;
use axum::{Extension, Json};
use rootcast_core::rollover::rotation::Rotation;
use rootcast_core::rollover::template::RolloutName;
use rootcast_dialects::lenovo::{Body, Envelope, LenovoError, Message};
use rootcast_gate::{Principal, RequestId};
use rootcast_ledger::{LedgerError, Policy};
use rootcast_pki::algorithm::KeyAlgorithm;
use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;
use tracing::info;

use crate::app::App;
use crate::rollouts;

/// Attempts to write the choice: another caller may write at the same time.
const ATTEMPTS: u32 = 5;

/// `DEFAULT` and `CNSA` are the vendor's names, the others ours.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Choice {
    spec_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation: Option<Rotation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<RolloutName>,
}

/// What is left out stays as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Changes {
    spec_name: Option<String>,
    /// `null`: no root is made by itself.
    #[serde(deserialize_with = "some")]
    rotation: Option<Option<Rotation>>,
    /// `null`: what begins by itself has the defaults, and no windows.
    #[serde(deserialize_with = "some")]
    rollout: Option<Option<RolloutName>>,
}

/// What is there, also `null`.
fn some<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

impl From<&Policy> for Choice {
    fn from(policy: &Policy) -> Self {
        Self {
            spec_name: policy.algorithm.spec_name().to_owned(),
            rotation: policy.rotation,
            rollout: policy.rollout.clone(),
        }
    }
}

impl Changes {
    fn apply(&self, policy: Policy, now: OffsetDateTime) -> Result<Policy, LenovoError> {
        if self.spec_name.is_none() && self.rotation.is_none() && self.rollout.is_none() {
            return Err(LenovoError::invalid("Nothing is to be changed.", "Send specName, rotation or rollout."));
        }
        let algorithm = match &self.spec_name {
            None => policy.algorithm,
            Some(name) => KeyAlgorithm::from_spec_name(name).ok_or_else(|| {
                let known: Vec<&str> = KeyAlgorithm::ALL.into_iter().map(KeyAlgorithm::spec_name).collect();
                LenovoError::invalid(
                    "specName names no algorithm that a root can have here.",
                    format!("Choose one of {}.", known.join(", ")),
                )
            })?,
        };
        let (rotation, rotation_set) = match self.rotation {
            Some(rotation) => (rotation, Some(now)),
            None => (policy.rotation, policy.rotation_set),
        };
        let rollout = self.rollout.clone().unwrap_or(policy.rollout);
        Ok(Policy { algorithm, rotation, rotation_set, rollout, revision: policy.revision })
    }
}

pub(crate) async fn show(State(app): State<App>) -> Result<Envelope<Choice>, LenovoError> {
    let policy = app.parts().await?.ledger.policy().await?;
    Ok(Envelope::success(Choice::from(&policy)))
}

pub(crate) async fn choose(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Body(changes): Body<Changes>,
) -> Result<Json<Envelope<Choice>>, LenovoError> {
    let parts = app.parts().await?;
    let (ledger, by, now) = (&parts.ledger, caller.acting(&id), (parts.clock)());
    if let Some(Some(name)) = &changes.rollout
        && ledger.rollouts().await?.get(name).is_none()
    {
        return Err(rollouts::not_stored(name));
    }
    let mut attempt = 1;
    let policy = loop {
        let read = ledger.policy().await?;
        let policy = changes.apply(read.clone(), now)?;
        match ledger.set_policy(&read, policy.clone(), &by, now).await {
            // The conflicting write was a choice too; the last choice wins.
            Err(LedgerError::Conflict) if attempt < ATTEMPTS => attempt += 1,
            written => {
                written?;
                break policy;
            }
        }
    };
    let choice = Choice::from(&policy);
    info!(caller = caller.name, policy.spec = choice.spec_name, policy.rotation = ?choice.rotation, "the policy of roots was changed");
    let rotated = policy.rotation.map_or_else(String::new, |rotation| format!(" It is made by itself {rotation}."));
    let message = Message::done(
        "The certificate policy was changed.",
        format!("The next root is made with it; existing roots stay as they are.{rotated}"),
    );
    Ok(Json(Envelope::success(choice).saying(message)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_gate::parse_json;

    use super::*;

    const NOW: OffsetDateTime = time::macros::datetime!(2027-01-01 0:00 UTC);

    fn changed(body: &str) -> Result<Policy, LenovoError> {
        let (rotation, rotation_set) = (Some(Rotation::AgeDays(700)), Some(OffsetDateTime::UNIX_EPOCH));
        let rollout = "nightly".parse().ok();
        let before = Policy { algorithm: KeyAlgorithm::Rsa3072, rotation, rotation_set, rollout, revision: 3 };
        parse_json::<Changes>(body.as_bytes()).unwrap().apply(before, NOW)
    }

    #[test]
    fn spec_names_map_to_algorithms() {
        let algorithm = |body: &str| changed(body).unwrap().algorithm;
        assert_eq!(algorithm(r#"{"specName":"DEFAULT"}"#), KeyAlgorithm::Rsa2048);
        assert_eq!(algorithm(r#"{"specName":"CNSA"}"#), KeyAlgorithm::Rsa3072);
        assert_eq!(algorithm(r#"{"specName":"ECDSA_P384"}"#), KeyAlgorithm::EcdsaP384);
        assert_eq!(changed(r#"{"specName":"ML_DSA_65"}"#).unwrap_err().status(), 400);
        assert!(parse_json::<Changes>(br#"{"specname":"CNSA"}"#).unwrap_err().text().contains("`specname`"));
    }

    #[test]
    fn what_is_left_out_stays() {
        let rotation = |body: &str| changed(body).unwrap().rotation;
        assert_eq!(rotation(r#"{"specName":"CNSA"}"#), Some(Rotation::AgeDays(700)));
        assert_eq!(rotation(r#"{"rotation":{"percentLeft":20}}"#), Some(Rotation::PercentLeft(20)));
        assert_eq!(rotation(r#"{"rotation":null}"#), None);
        let rollout = |body: &str| changed(body).unwrap().rollout.map(String::from);
        assert_eq!(rollout(r#"{"specName":"CNSA"}"#).as_deref(), Some("nightly"));
        assert_eq!(rollout(r#"{"rollout":"weekend"}"#).as_deref(), Some("weekend"));
        assert_eq!(rollout(r#"{"rollout":null}"#), None);
        let set = |body: &str| changed(body).unwrap().rotation_set.unwrap();
        assert_eq!(set(r#"{"specName":"CNSA"}"#), OffsetDateTime::UNIX_EPOCH);
        assert_eq!(set(r#"{"rotation":{"ageDays":700}}"#), NOW, "also the same one");
        assert_eq!(changed(r#"{"rotation":null}"#).unwrap().algorithm, KeyAlgorithm::Rsa3072);
        assert_eq!(changed("{}").unwrap_err().status(), 400);
        let refused = parse_json::<Changes>(br#"{"rotation":{"percentLeft":0}}"#).unwrap_err();
        assert!(refused.text().contains("percentLeft is 1 to 90"), "{}", refused.text());
    }

    #[test]
    fn a_policy_without_rotation_has_the_vendors_form() {
        let shown = |policy: &Policy| serde_json::to_string(&Choice::from(policy)).unwrap();
        let policy = Policy { algorithm: KeyAlgorithm::EcdsaP384, ..Policy::default() };
        assert_eq!(shown(&policy), r#"{"specName":"ECDSA_P384"}"#);
        let policy = Policy { rotation: Some(Rotation::PercentLeft(20)), ..policy };
        assert_eq!(shown(&policy), r#"{"specName":"ECDSA_P384","rotation":{"percentLeft":20}}"#);
    }
}
