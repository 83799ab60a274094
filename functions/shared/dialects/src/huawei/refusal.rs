//! The refusals of an import. The codes of the checks are `rootcast_pki::import::CODES`; the codes of storing are
//! below.

use rootcast_ledger::StoreRefused;
use rootcast_pki::import::Problems;

use super::error::{HuaweiError, LONGEST_MESSAGE, Problem};

const SM2_PAIR: &str = "SCM.2100";
const NAME_TAKEN: &str = "SCM.2101";
const DUPLICATE: &str = "SCM.2102";
const TOKEN_TAKEN: &str = "SCM.2103";
const ISSUER_REVOKED: &str = "SCM.2104";
const ROOT_DISTRUSTED: &str = "SCM.2105";

/// Reports all problems: each in the list `problems`, and all in the message as far as there is room. The first one's
/// code is the refusal's.
pub fn checks_failed(problems: &Problems) -> HuaweiError {
    let others: Vec<String> = problems.iter().skip(1).map(|other| format!("{} {other}", other.code())).collect();
    let mut message = problems.to_string();
    if !others.is_empty() {
        message = format!("{message} (and {} more: {})", others.len(), others.join("; "));
    }
    let all = problems.iter().map(|problem| Problem { code: problem.code(), message: problem.to_string() });
    HuaweiError::invalid(cut(message)).coded(problems.first().code()).listing(all.collect())
}

/// Marks the message as cut.
fn cut(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(LONGEST_MESSAGE - 1)
        && message.chars().count() > LONGEST_MESSAGE
    {
        message.truncate(end);
        message.push('…');
    }
    message
}

pub(super) fn sm2_pair() -> HuaweiError {
    HuaweiError::invalid(
        "enc_certificate and enc_private_key are half of an SM2 pair, which is not supported: send a certificate whose \
         key is RSA, EC, Ed25519 or ML-DSA, without these two fields.",
    )
    .coded(SM2_PAIR)
}

/// `issuer`: the subject of an issuing authority of ours.
pub fn issuer_revoked(issuer: &str) -> HuaweiError {
    let message = format!(
        "The certificate is below {issuer}, an issuing authority of this deployment that is revoked: no client should \
         accept it. Have it issued again, and import the new one."
    );
    HuaweiError::invalid(cut(message)).coded(ISSUER_REVOKED)
}

/// `root`: the subject of a root of ours.
pub fn root_distrusted(root: &str) -> HuaweiError {
    let message = format!(
        "The certificate is below {root}, a root of this deployment that its devices no longer trust. Have it issued again \
         by an authority of today, and import the new one."
    );
    HuaweiError::invalid(cut(message)).coded(ROOT_DISTRUSTED)
}

/// `IdTaken` is reported as a transient internal error only.
pub fn not_stored(refusal: StoreRefused, dn: &str) -> HuaweiError {
    let conflict = |code, message: String| HuaweiError::conflict(message).coded(code);
    match refusal {
        StoreRefused::NameTaken(holder) => {
            let holder = holder.map_or_else(|| "Another certificate".to_owned(), |id| id.to_string());
            conflict(NAME_TAKEN, format!("{holder} is called {dn}: choose another name or folder, or delete it first."))
        }
        StoreRefused::Duplicate(first) => {
            let first = first.map(|id| format!(", first as {id}")).unwrap_or_default();
            conflict(
                DUPLICATE,
                format!("The same certificate is stored already{first}: use that one, or send duplicate_check false."),
            )
        }
        StoreRefused::TokenTaken => conflict(
            TOKEN_TAKEN,
            "X-Client-Token came with another request less than 24 hours ago: send a new token with a new request."
                .to_owned(),
        ),
        StoreRefused::Ledger(error) => error.into(),
        refusal @ StoreRefused::IdTaken => HuaweiError::unavailable(refusal),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use axum::body::to_bytes;
    use axum::response::IntoResponse;
    use rootcast_pki::import::{CODES, Material, check};
    use serde_json::Value;
    use time::OffsetDateTime;

    use super::*;

    #[tokio::test]
    async fn every_problem_is_reported_and_the_first_is_the_code() {
        let sent = Material::Pem { certificate: "no PEM", certificate_chain: None, private_key: "-----BEGIN nothing" };
        let problems = check(&sent, &[], OffsetDateTime::UNIX_EPOCH).unwrap_err();
        let answer = checks_failed(&problems).into_response();
        assert_eq!(answer.status(), 400);
        let body: Value = serde_json::from_slice(&to_bytes(answer.into_body(), 10_000).await.unwrap()).unwrap();
        assert!(problems.len() > 1 && body["problems"].as_array().unwrap().len() == problems.len(), "{body}");
        assert_eq!(body["problems"][0]["error_code"], body["error_code"]);
        let second = problems.iter().nth(1).unwrap();
        assert_eq!(body["error_code"], problems.first().code());
        assert_eq!(body["problems"][1]["error_msg"], second.to_string());
        let message = body["error_msg"].as_str().unwrap();
        let more = format!("{} (and {} more: {} {second}", problems.first(), problems.len() - 1, second.code());
        assert!(message.starts_with(&more), "{message}");
    }

    #[test]
    fn a_long_message_is_cut_to_the_vendors_length() {
        let whole = "ü".repeat(LONGEST_MESSAGE);
        assert_eq!(cut(whole.clone()), whole);
        let short = cut(format!("{whole}!"));
        assert!(short.ends_with("ü…") && short.chars().count() == LONGEST_MESSAGE);
    }

    #[test]
    fn storing_and_checks_share_no_code() {
        let ours = [SM2_PAIR, NAME_TAKEN, DUPLICATE, TOKEN_TAKEN];
        assert!(ours.iter().all(|code| !CODES.iter().any(|(other, _)| other == code)));
    }
}
