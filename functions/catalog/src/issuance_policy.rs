//! Which names, usages and life certificates may have: `GET` and `PUT /issuancePolicy`, and the check of a device's
//! subject when it is written. The issuer checks it again, before it signs.

use axum::extract::State;
use axum::{Extension, Json};
use rootcast_core::access::issuance::{IssuancePolicy, Rule, Wanted};
use rootcast_core::inventory::dn::CertificateDn;
use rootcast_dialects::lenovo::{Body, Envelope, LenovoError, Message};
use rootcast_gate::{Principal, RequestId};
use rootcast_ledger::{DeviceRecord, IssuancePolicyRecord, LedgerError};
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::app::App;

/// The policy, and which one it is.
#[derive(Debug, Serialize)]
pub(crate) struct View {
    /// Grows with each change; 0 before the first.
    revision: u64,
    #[serde(flatten)]
    policy: IssuancePolicy,
}

impl From<IssuancePolicyRecord> for View {
    fn from(IssuancePolicyRecord { policy, revision }: IssuancePolicyRecord) -> Self {
        Self { revision, policy }
    }
}

/// The whole policy, with the revision that it replaces.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replacement {
    revision: u64,
    rules: Vec<Rule>,
}

impl Replacement {
    fn policy(self) -> Result<IssuancePolicy, LenovoError> {
        IssuancePolicy::new(self.rules).map_err(|why| {
            LenovoError::invalid(
                format!("The issuance policy is not valid: {why}."),
                "Correct the body and send the request again.",
            )
        })
    }
}

pub(crate) async fn show(State(app): State<App>) -> Result<Envelope<View>, LenovoError> {
    Ok(Envelope::success(app.parts().await?.ledger.issuance_policy().await?.into()))
}

pub(crate) async fn replace(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Body(sent): Body<Replacement>,
) -> Result<Json<Envelope<View>>, LenovoError> {
    let parts = app.parts().await?;
    let read = sent.revision;
    let written =
        parts.ledger.set_issuance_policy(sent.policy()?, read, &caller.acting(&id), (parts.clock)()).await.map_err(
            |error| match error {
                LedgerError::Conflict => LenovoError::conflict(
                    format!("Revision {read} is not the current one: the issuance policy was changed in the meantime."),
                    "GET /issuancePolicy shows the current one; make the change there, and send it with its revision.",
                ),
                other => other.into(),
            },
        )?;
    info!(
        caller = caller.name,
        policy.revision = written.revision,
        policy.rules = written.policy.rules().len(),
        "the issuance policy was changed"
    );
    let message = Message::done(
        "The issuance policy was changed.",
        "It applies to what is signed from now on; certificates that exist stay as they are.",
    );
    Ok(Json(Envelope::success(written.into()).saying(message)))
}

/// Whether the certificate may say what the device's subject says. Without a subject the device says nothing: it need
/// not ever have a certificate of ours.
pub(crate) fn permits(policy: &IssuancePolicy, device: &DeviceRecord) -> Result<(), String> {
    let Some(subject) = &device.subject else { return Ok(()) };
    let dn = CertificateDn::of_device(&device.id).to_string();
    let wanted = Wanted { dn: &dn, host: device.address.host(), subject };
    policy.check(wanted).map(|_| ()).map_err(|why| {
        format!("subject: {why}. Correct it, or have it permitted by somebody who may PUT /issuancePolicy.")
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_gate::parse_json;

    use super::*;

    fn read(body: &str) -> Result<IssuancePolicy, String> {
        let sent: Replacement = parse_json(body.as_bytes()).map_err(|error| error.text().to_owned())?;
        sent.policy().map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn a_policy_is_shown_as_it_is_sent() {
        let body = r#"{"revision":3,"rules":[{"prefix":"\\VED\\Policy\\Devices","addressHost":true,"dnsSuffixes":["lab.example"],"wildcards":false,"networks":["10.0.0.0/8"],"attributes":[],"usages":["server"],"longestDays":90}]}"#;
        let policy = read(body).unwrap();
        assert_eq!(serde_json::to_string(&View { revision: 3, policy }).unwrap(), body);
    }

    #[test]
    fn invalid_policies_are_refused_with_a_reason() {
        for (body, reason) in [
            (r#"{"rules":[]}"#, "missing field `revision`"),
            (r#"{"revision":-1,"rules":[]}"#, "invalid value"),
            (r#"{"revision":1}"#, "missing field `rules`"),
            (r#"{"revision":1,"rules":[],"rule":1}"#, "unknown field `rule`"),
            (r#"{"revision":1,"rules":[{}]}"#, "missing field `prefix`"),
            (r#"{"revision":1,"rules":[{"prefix":"\\VED\\Policy","networks":["10.0.0.7/8"]}]}"#, "not a network"),
            (r#"{"revision":1,"rules":[{"prefix":"\\VED\\Policy"},{"prefix":"\\VED\\POLICY"}]}"#, "two rules for"),
        ] {
            let error = read(body).unwrap_err();
            assert!(error.contains(reason), "{body}: {error}");
        }
    }
}
