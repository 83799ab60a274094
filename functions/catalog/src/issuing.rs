//! `GET /issuingAuthorities`: who signs below our roots.

use std::cmp::Reverse;

use axum::extract::State;
use rootcast_dialects::lenovo::{Envelope, LenovoError};
use rootcast_dialects::native::{Issuing, RevokedIssuing};
use rootcast_ledger::{Authority, IssuingRecord, IssuingState};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::crl::Reason;

use crate::app::App;
use crate::stamp::stamp;

/// The newest first.
pub(crate) async fn list(State(app): State<App>) -> Result<Envelope<Vec<Issuing>>, LenovoError> {
    let ledger = &app.parts().await?.ledger;
    let authority = ledger.authority().await?;
    let roots = ledger.roots(&authority).await?;
    let mut issuings = ledger.issuings(&roots).await?;
    issuings.sort_by_key(|issuing| Reverse(issuing.id()));
    Ok(Envelope::success(issuings.into_iter().map(|issuing| row(issuing, &authority)).collect()))
}

fn row(issuing: IssuingRecord, authority: &Authority) -> Issuing {
    let id = issuing.id();
    let due = authority.issuing_due.filter(|_| authority.issuing == Some(id)).map(stamp);
    let pass = issuing.pass.unwrap_or_default();
    let status = match (issuing.state, &due) {
        (IssuingState::Reserved, _) => "It is being made.".to_owned(),
        (IssuingState::Signing, Some(due)) => format!("It signs; the next one is made at {due}."),
        (IssuingState::Signing, None) => "It signs, and ends with its root.".to_owned(),
        (IssuingState::Superseded, _) => "It signs only the revocation lists of what it signed before.".to_owned(),
        (IssuingState::Revoked, _) if issuing.revoked.as_ref().is_some_and(|it| it.reason == Reason::Superseded) => {
            "Its root is retired, and nothing that it signed was valid.".to_owned()
        }
        (IssuingState::Revoked, _) if issuing.revoked.as_ref().is_some_and(|it| it.reason != Reason::CaCompromise) => {
            "It was given up before it signed anything: another root signs now.".to_owned()
        }
        (IssuingState::Revoked, _) if pass.busy > 0 => format!(
            "What it signed is being revoked and renewed; {} devices are busy with another job{}.",
            pass.busy,
            if pass.is_done { ", and are not waited for any more: renew their certificates" } else { "" }
        ),
        (IssuingState::Revoked, _) if pass.is_done => {
            "What it signed is revoked, and its renewal was asked for.".to_owned()
        }
        (IssuingState::Revoked, _) => "What it signed is being revoked and renewed.".to_owned(),
    };
    let unapproved = match pass.unapproved {
        0 => String::new(),
        count => format!(" {count} devices are not approved: the approval of each renews its certificate."),
    };
    Issuing {
        id: id.to_string(),
        generation: id.generation,
        state: issuing.state,
        status: status + &unapproved,
        certificate: issuing.certificate.as_ref().map(Certificate::pem),
        chain: issuing.path.iter().map(Certificate::pem).collect(),
        serial_number: issuing.spec.serial,
        not_before: stamp(issuing.spec.not_before),
        not_after: stamp(issuing.spec.not_after),
        created: stamp(issuing.created),
        replaced_at: due,
        revoked: issuing.revoked.map(|revoked| RevokedIssuing {
            at: stamp(revoked.at),
            reason: revoked.reason,
            by: revoked.by,
            certificates_revoked: pass.revoked,
            renewals: pass.renewed,
            devices_busy: pass.busy,
            devices_unapproved: pass.unapproved,
            is_done: pass.is_done,
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_pki::signer::IssuingId;
    use serde_json::{Value, json};
    use time::OffsetDateTime;

    use super::*;

    fn shown(state: &str, more: Value) -> Value {
        let mut record = json!({
            "revision": 1, "state": state, "created": 0,
            "spec": {
                "id": { "generation": 2, "number": 1 }, "rootName": "Test Root", "subject": "O=Example",
                "algorithm": "ECDSA_P384", "serial": "40000000000000000000000000000000", "notBefore": 0,
                "notAfter": 86_400, "crl": "http://pki.example.com/crl/2/authorities.crl",
            },
        });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let issuing = Some(IssuingId { generation: 2, number: 1 });
        let signs = state == "signing";
        let authority = Authority {
            issuing: issuing.filter(|_| signs),
            issuing_due: signs.then_some(OffsetDateTime::UNIX_EPOCH),
            ..Authority::default()
        };
        serde_json::to_value(row(serde_json::from_value(record).unwrap(), &authority)).unwrap()
    }

    #[test]
    fn a_row_says_what_follows() {
        let signing = shown("signing", json!({}));
        assert_eq!((&signing["id"], &signing["replacedAt"]), (&json!("2.1"), &json!("1970-01-01T00:00:00Z")));
        assert!(signing["status"].as_str().unwrap().contains("1970-01-01"), "{signing}");
        assert_eq!(shown("superseded", json!({}))["replacedAt"], Value::Null);
        let revoked = json!({
            "revoked": { "at": 0, "reason": "caCompromise", "by": "ops" }, "pass": { "revoked": 3, "renewed": 2 },
        });
        let revoked = shown("revoked", revoked);
        let given_up =
            shown("revoked", json!({ "revoked": { "at": 0, "reason": "cessationOfOperation", "by": "conduct" } }));
        assert!(given_up["status"].as_str().unwrap().contains("before it signed anything"), "{given_up}");
        let busy = shown("revoked", json!({ "pass": { "revoked": 3, "renewed": 2, "busy": 4, "isDone": true } }));
        assert!(busy["status"].as_str().unwrap().contains("4 devices are busy"), "{busy}");
        let unapproved =
            shown("revoked", json!({ "pass": { "revoked": 3, "renewed": 2, "unapproved": 4, "isDone": true } }));
        assert!(
            unapproved["status"]
                .as_str()
                .unwrap()
                .ends_with("4 devices are not approved: the approval of each renews its certificate."),
            "{unapproved}"
        );
        assert_eq!(
            (&revoked["revoked"]["certificatesRevoked"], &revoked["revoked"]["isDone"]),
            (&json!(3), &json!(false))
        );
    }
}
