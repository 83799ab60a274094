//! The active root, and all generations.

use axum::extract::State;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use rootcast_core::deployment::lifecycle::Lifecycle;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_dialects::lenovo::{Envelope, LenovoError};
use rootcast_dialects::native::{CompromisedRoot, IssuingAuthority, Root};
use rootcast_ledger::{IssuingRecord, LinkRecord, Retirement, RootRecord};
use rootcast_pki::certificate::Certificate;
use time::OffsetDateTime;

use crate::app::App;
use crate::stamp::stamp;
use crate::tasks::past;

/// `GET /signingCertificate`: the active root, as PEM.
pub(crate) async fn active(State(app): State<App>) -> Result<impl IntoResponse, LenovoError> {
    let ledger = &app.parts().await?.ledger;
    let signing = match ledger.authority().await?.signing {
        Some(generation) => ledger.root(generation).await?,
        None => None,
    };
    let certificate = signing.and_then(|root| root.certificate).ok_or_else(no_root)?;
    Ok(([(CONTENT_TYPE, "application/x-pem-file")], certificate.pem()))
}

/// `GET /signingCertificate/details`: a row for each generation that has a certificate, with its issuing authorities inside:
/// to Lenovo's clients, every row is a root. Three calls; two before there was any issuing authority.
pub(crate) async fn details(State(app): State<App>) -> Result<Envelope<Vec<Root>>, LenovoError> {
    let ledger = &app.parts().await?.ledger;
    let authority = ledger.authority().await?;
    let roots = ledger.roots(&authority).await?;
    let issuing = ledger.issuings(&roots).await?;
    let now = OffsetDateTime::now_utc();
    Ok(Envelope::success(rows(roots, &issuing, authority.signing, now)))
}

fn no_root() -> LenovoError {
    LenovoError::not_found(
        "No root signs yet.",
        "Ask for one with PUT /signingCertificate; while its job runs, GET /signingCertificate/details shows the new one.",
    )
}

/// The active generation first, then from the newest to the oldest.
fn rows(mut roots: Vec<RootRecord>, issuing: &[IssuingRecord], signing: Option<u32>, now: OffsetDateTime) -> Vec<Root> {
    roots.sort_by_key(|root| (Some(root.generation) != signing, std::cmp::Reverse(root.generation)));
    roots.iter().filter_map(|root| Some(row(root.certificate.as_ref()?, root, issuing, now))).collect()
}

fn row(certificate: &Certificate, root: &RootRecord, issuing: &[IssuingRecord], now: OffsetDateTime) -> Root {
    let pem = |link: &Option<LinkRecord>| Some(link.as_ref()?.certificate.as_ref()?.pem());
    let below = issuing.iter().rev().filter(|each| each.id().generation == root.generation);
    let retirement = root.retirement.as_ref();
    let counted = retirement.filter(|retirement| retirement.searched || retirement.again.is_some());
    let Lifecycle { stage, in_error, status, history, .. } = root.lifecycle.clone();
    Root {
        certificate: certificate.pem(),
        issuer_dn: certificate.issuer_dn().to_owned(),
        subject_dn: certificate.subject_dn().to_owned(),
        serial_number: certificate.serial().to_owned(),
        signature_algorithm: certificate.signature_algorithm_name().to_owned(),
        not_before: stamp(certificate.not_before()),
        not_after: stamp(certificate.not_after()),
        generation: root.generation,
        state: root.state,
        issuing_authorities: below.filter_map(authority).collect(),
        new_with_old: pem(&root.new_with_old),
        old_with_new: pem(&root.old_with_new),
        comes_next: comes_next(root, now),
        compromised: root.compromise.as_ref().map(|compromise| CompromisedRoot {
            at: stamp(compromise.at),
            by: compromise.by.clone(),
            certificates_revoked: compromise.pass.revoked,
            is_done: compromise.pass.is_done,
        }),
        key_deletion: retirement.and_then(|retirement| retirement.deletion).map(stamp),
        valid_certificates: counted.map(|retirement| retirement.certificates(now)),
        stage,
        in_error,
        status: if has_ended(root.state) { "The root does not sign any more.".to_owned() } else { status },
        history: past(history),
    }
}

/// The record's own status is that of its making, which ended when the root signed first.
const fn has_ended(state: GenerationState) -> bool {
    matches!(state, GenerationState::Superseded | GenerationState::Distrusted | GenerationState::Retired)
}

fn comes_next(root: &RootRecord, now: OffsetDateTime) -> String {
    let generation = root.generation;
    if let Some(compromise) = root.compromise.as_ref().filter(|_| root.retirement.is_none()) {
        let next = match root.state {
            state if state.is_live() => "Its replacement was interrupted: rootcast rotate --compromised goes on.",
            _ => "It leaves the devices.",
        };
        return format!(
            "It is compromised since {}, says {}. Its key is disabled, and kept as evidence. {next}",
            stamp(compromise.at),
            compromise.by
        );
    }
    match (root.state, &root.retirement) {
        (GenerationState::Reserved | GenerationState::Published, _) => {
            "It signs when its rollover has brought it to the devices.".to_owned()
        }
        (GenerationState::Signing, _) => "It signs until another root replaces it.".to_owned(),
        (GenerationState::Superseded, _) => {
            "It signs only its revocation lists. Devices trust it until a rollover goes on to distrust.".to_owned()
        }
        (GenerationState::Distrusted, None) => {
            "It leaves the devices. Its key is put out of use when the rollover goes on to retire.".to_owned()
        }
        (GenerationState::Distrusted | GenerationState::Retired, Some(retirement)) => {
            retirement_in_words(generation, retirement, now)
        }
        // Of an earlier release there is none.
        (GenerationState::Retired, None) => "Its key is out of use.".to_owned(),
        (GenerationState::Abandoned, _) => "It never signed, and its key is deleted.".to_owned(),
    }
}

fn retirement_in_words(generation: u32, retirement: &Retirement, now: OffsetDateTime) -> String {
    let valid = match retirement.certificates(now) {
        0 => String::new(),
        number => format!(" {number} certificates below it are still valid."),
    };
    match (&retirement.kept, retirement.deletion) {
        (Some(kept), _) => format!("Its key is disabled, and kept since {} by {}.{valid}", stamp(kept.at), kept.by),
        (None, Some(deletion)) if deletion <= now => "KMS has deleted its key.".to_owned(),
        (None, Some(deletion)) => format!(
            "Its key is disabled, and KMS deletes it at {}, unless somebody keeps it: rootcast root keep {generation}.{valid}",
            stamp(deletion)
        ),
        (None, None) => match retirement.again.filter(|again| *again > now) {
            Some(again) => format!(
                "Its key is put out of use after its last revocation list, which is signed at {} at the earliest.{valid}",
                stamp(again)
            ),
            None => {
                format!("Its last revocation list is signed, and its key is put out of use, within minutes.{valid}")
            }
        },
    }
}

/// `None` while it is being made.
fn authority(issuing: &IssuingRecord) -> Option<IssuingAuthority> {
    let certificate = issuing.certificate.as_ref()?;
    Some(IssuingAuthority {
        id: issuing.id().to_string(),
        state: issuing.state,
        subject_dn: certificate.subject_dn().to_owned(),
        serial_number: certificate.serial().to_owned(),
        not_before: stamp(certificate.not_before()),
        not_after: stamp(certificate.not_after()),
        certificate: certificate.pem(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_row_has_the_vendors_attributes() {
        let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let made = Certificate::from_der(params.self_signed(&key).unwrap().der().to_vec()).unwrap();
        let root: RootRecord = serde_json::from_value(json!({
            "revision": 1, "generation": 2, "state": "signing", "created": 0,
            "spec": {
                "generation": 2, "rootName": "Test Root", "subject": "O=Example", "algorithm": "ECDSA_P384",
                "serial": "40000000000000000000000000000000", "notBefore": 0, "notAfter": 1,
            },
            "lifecycle": { "work": "root", "inError": false, "status": "The root signs.", "attempt": 1 },
        }))
        .unwrap();
        let row = serde_json::to_value(row(&made, &root, &[], OffsetDateTime::UNIX_EPOCH)).unwrap();
        assert_eq!((&row["stage"], &row["status"]), (&Value::Null, &json!("The root signs.")));
        let attributes: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        for published in
            ["certificate", "issuerDn", "subjectDn", "serialNumber", "signatureAlgorithm", "notBefore", "notAfter"]
        {
            assert!(attributes.contains(&published), "{published}");
        }
        assert!(!attributes.contains(&"issuingAuthorities"));
        assert_eq!(row["signatureAlgorithm"], "SHA384withECDSA");
        assert_eq!(Certificate::from_pem(row["certificate"].as_str().unwrap()).unwrap(), made);
    }

    #[test]
    fn a_root_has_its_own_issuing_authorities_newest_first() {
        let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let made = Certificate::from_der(params.self_signed(&key).unwrap().der().to_vec()).unwrap();
        let root = |generation: u32| -> RootRecord {
            serde_json::from_value(json!({
                "revision": 1, "generation": generation, "state": "superseded", "created": 0, "certificate": made,
                "spec": {
                    "generation": generation, "rootName": "Test Root", "subject": "O=Example", "algorithm": "ECDSA_P384",
                    "serial": "40000000000000000000000000000000", "notBefore": 0, "notAfter": 1,
                },
                "lifecycle": { "work": "root", "inError": false, "status": "The root signs.", "attempt": 1 },
            }))
            .unwrap()
        };
        let superseded = row(&made, &root(1), &[], OffsetDateTime::UNIX_EPOCH);
        assert_eq!(superseded.status, "The root does not sign any more.");
        let issuing = |generation: u32, number: u32, state: &str, made: Option<&Certificate>| -> IssuingRecord {
            serde_json::from_value(json!({
                "revision": 1, "state": state, "created": 0, "certificate": made,
                "spec": {
                    "id": { "generation": generation, "number": number }, "rootName": "Test Root", "subject": "O=Example",
                    "algorithm": "ECDSA_P384", "serial": "40000000000000000000000000000000", "notBefore": 0, "notAfter": 1,
                    "crl": "https://example.com",
                },
            }))
            .unwrap()
        };
        let issuing = [
            issuing(1, 1, "superseded", Some(&made)),
            issuing(2, 1, "revoked", Some(&made)),
            issuing(2, 2, "signing", Some(&made)),
            issuing(2, 3, "reserved", None),
        ];
        let rows =
            serde_json::to_value(rows(vec![root(1), root(2)], &issuing, Some(2), OffsetDateTime::UNIX_EPOCH)).unwrap();
        let below = |row: usize| -> Vec<(&str, &str)> {
            let all = rows[row]["issuingAuthorities"].as_array().unwrap();
            all.iter().map(|each| (each["id"].as_str().unwrap(), each["state"].as_str().unwrap())).collect()
        };
        assert_eq!(below(0), [("2.2", "signing"), ("2.1", "revoked")]);
        assert_eq!(below(1), [("1.1", "superseded")]);
        assert_eq!(rows[1]["issuingAuthorities"][0]["certificate"], made.pem());
    }

    #[test]
    fn a_row_says_what_becomes_of_a_key() {
        let words = |retirement: Value| {
            let retirement: Retirement = serde_json::from_value(retirement).unwrap();
            retirement_in_words(1, &retirement, OffsetDateTime::UNIX_EPOCH + time::Duration::DAY)
        };
        let valid = json!({ "1": { "certificates": 3, "until": 999_999 } });
        let waits = words(json!({ "since": 0, "again": 604_800, "valid": valid }));
        assert!(waits.contains("1970-01-08") && waits.contains("3 certificates"), "{waits}");
        let pending = words(json!({ "since": 0, "retired": 0, "deletion": 604_800, "done": true }));
        assert!(pending.contains("1970-01-08") && pending.contains("root keep 1"), "{pending}");
        assert!(words(json!({ "since": 0, "retired": 0, "deletion": 1, "done": true })).contains("has deleted"));
        let kept = words(json!({ "since": 0, "retired": 0, "kept": { "at": 0, "by": "ops" } }));
        assert!(kept.contains("kept since 1970-01-01") && kept.contains("ops"), "{kept}");
    }
}
