//! What an import is refused for. The codes of the checks are `rootcast_core::import::CODES`; those of storing are
//! these.

use axum::http::StatusCode;
use rootcast_core::import::Problems;
use rootcast_gate::ScmError;
use rootcast_ledger::StoreRefused;

const SM2_PAIR: &str = "SCM.2100";
const NAME_TAKEN: &str = "SCM.2101";
const DUPLICATE: &str = "SCM.2102";
const TOKEN_TAKEN: &str = "SCM.2103";

/// In characters; the vendor's.
const LONGEST_MESSAGE: usize = 1024;

/// All of them: the first as the code and the beginning of the message, and those after it in the list `problems`.
pub(crate) fn checks_failed(problems: &Problems) -> ScmError {
    let others = || problems.iter().skip(1);
    let mut message = problems.to_string();
    if others().next().is_some() {
        let told: Vec<String> = others().map(|problem| format!("{} {problem}", problem.code())).collect();
        message = format!("{message} (and {} more: {})", told.len(), told.join("; "));
        if let Some((end, _)) = message.char_indices().nth(LONGEST_MESSAGE - 1).filter(|(end, _)| *end < message.len())
        {
            message.truncate(end);
            message.push('…');
        }
    }
    let first = ScmError::new(StatusCode::BAD_REQUEST, problems.first().code(), message);
    others().fold(first, |error, problem| error.also(problem.code(), problem.to_string()))
}

pub(crate) fn sm2_pair() -> ScmError {
    ScmError::new(
        StatusCode::BAD_REQUEST,
        SM2_PAIR,
        "enc_certificate and enc_private_key are half of an SM2 pair, which is not supported: send a certificate whose \
         key is RSA, EC, Ed25519 or ML-DSA, without these two fields.",
    )
}

/// `IdTaken` is not the caller's to know.
pub(crate) fn not_stored(refusal: StoreRefused, dn: &str) -> ScmError {
    let conflict = |code, message: String| ScmError::new(StatusCode::CONFLICT, code, message);
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
        refusal @ StoreRefused::IdTaken => ScmError::unavailable(refusal),
    }
}
