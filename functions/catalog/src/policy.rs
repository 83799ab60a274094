//! The settings of the next root: `GET` and `PUT /certificatePolicy`.

use axum::extract::State;
use axum::{Extension, Json};
use rootcast_dialects::lenovo::{Body, Envelope, LenovoError, Message};
use rootcast_gate::{Principal, RequestId};
use rootcast_ledger::{LedgerError, Policy};
use rootcast_pki::algorithm::KeyAlgorithm;
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::app::App;

/// Attempts to write the choice: another caller may write at the same time.
const ATTEMPTS: u32 = 5;

/// `DEFAULT` and `CNSA` are the vendor's names, the others ours.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Choice {
    spec_name: String,
}

impl Choice {
    fn of(algorithm: KeyAlgorithm) -> Self {
        Self { spec_name: algorithm.spec_name().to_owned() }
    }

    fn algorithm(&self) -> Result<KeyAlgorithm, LenovoError> {
        KeyAlgorithm::from_spec_name(&self.spec_name).ok_or_else(|| {
            let known: Vec<&str> = KeyAlgorithm::ALL.into_iter().map(KeyAlgorithm::spec_name).collect();
            LenovoError::invalid(
                "specName names no algorithm that a root can have here.",
                format!("Choose one of {}.", known.join(", ")),
            )
        })
    }
}

pub(crate) async fn show(State(app): State<App>) -> Result<Envelope<Choice>, LenovoError> {
    let policy = app.parts().await?.ledger.policy().await?;
    Ok(Envelope::success(Choice::of(policy.algorithm)))
}

pub(crate) async fn choose(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Body(choice): Body<Choice>,
) -> Result<Json<Envelope<Choice>>, LenovoError> {
    let parts = app.parts().await?;
    let (ledger, by, now) = (&parts.ledger, caller.acting(&id), (parts.clock)());
    let algorithm = choice.algorithm()?;
    let mut attempt = 1;
    loop {
        let read = ledger.policy().await?;
        match ledger.set_policy(Policy { algorithm, ..read }, &by, now).await {
            // The conflicting write was a choice too; the last choice wins.
            Err(LedgerError::Conflict) if attempt < ATTEMPTS => attempt += 1,
            written => break written?,
        }
    }
    info!(caller = caller.name, policy.spec = choice.spec_name, "the next root's algorithm was chosen");
    let message = Message::done(
        "The certificate policy was changed.",
        "The next root is made with it; existing roots stay as they are.",
    );
    Ok(Json(Envelope::success(choice).saying(message)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_gate::parse_json;

    use super::*;

    #[test]
    fn spec_names_map_to_algorithms() {
        let algorithm = |body: &str| parse_json::<Choice>(body.as_bytes()).unwrap().algorithm();
        assert_eq!(algorithm(r#"{"specName":"DEFAULT"}"#).unwrap(), KeyAlgorithm::Rsa2048);
        assert_eq!(algorithm(r#"{"specName":"CNSA"}"#).unwrap(), KeyAlgorithm::Rsa3072);
        assert_eq!(algorithm(r#"{"specName":"ECDSA_P384"}"#).unwrap(), KeyAlgorithm::EcdsaP384);
        assert_eq!(algorithm(r#"{"specName":"ML_DSA_65"}"#).unwrap_err().status(), 400);
        assert!(parse_json::<Choice>(br#"{"specname":"CNSA"}"#).unwrap_err().text().contains("`specname`"));
        assert_eq!(
            serde_json::to_string(&Choice::of(KeyAlgorithm::EcdsaP384)).unwrap(),
            r#"{"specName":"ECDSA_P384"}"#
        );
    }
}
