//! Classifies a device's error answer, and quotes its messages.

use http::StatusCode;
use rootcast_core::job::task::{Advice, ErrorClass, Failure};
use serde_json::Value;

use super::clock;

/// The class of an answer that is not a success, to any request.
pub(super) fn classify(status: StatusCode, body: &Value) -> ErrorClass {
    let says = |wanted: &str| message_ids(body).any(|id| id == wanted);
    match status.as_u16() {
        // Whatever the status: neither a wrong password nor a full trust store.
        _ if says("SessionLimitExceeded") => ErrorClass::Throttled,
        _ if wants_another_password(body) => ErrorClass::Unauthorized,
        401 | 403 => ErrorClass::Unauthorized,
        404 | 405 | 501 => ErrorClass::Unsupported,
        408 => ErrorClass::Timeout,
        429 | 503 => ErrorClass::Throttled,
        // Insufficient storage (RFC 4918 §11.5), or the standard's message id with any status.
        507 => ErrorClass::StoreFull,
        _ if says("CreateLimitReachedForResource") => ErrorClass::StoreFull,
        500..=599 => ErrorClass::ServerError,
        _ => ErrorClass::Rejected,
    }
}

/// Whether a refused log-in says that all sessions are taken. Vendors say so with any status: by the standard's message
/// ids, their own (Dell's RAC0218), or in words.
pub(super) fn sessions_used_up(status: StatusCode, body: &Value) -> bool {
    const IDS: [&str; 4] = ["SessionLimitExceeded", "CreateLimitReachedForResource", "InsufficientStorage", "RAC0218"];
    let words = words(body).to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    let in_words =
        says(&["session", "connections"]) && says(&["maximum", "limit", "too many", "exceed", "no more", "no free"]);
    // With 401, words about a limit may be about wrong passwords.
    status.as_u16() == 507
        || message_ids(body).any(|id| IDS.contains(&id))
        || in_words && !matches!(status.as_u16(), 401 | 403)
}

/// Whether the device takes a log-in only to have its password changed (DSP0266, "Password change required").
pub(super) fn wants_another_password(body: &Value) -> bool {
    message_ids(body).any(|id| id == "PasswordChangeRequired")
}

/// `asked`: the request, such as `POST /redfish/v1/x`.
pub(super) fn failure(asked: &str, status: StatusCode, body: &Value) -> Failure {
    let words = words(body);
    let message = match words.as_str() {
        "" => format!("{asked}: {status}."),
        words => format!("{asked}: {status}: {words}"),
    };
    let class = by_words(classify(status, body), &words);
    let class = message_ids(body).fold(class, by_words);
    let advice = wants_another_password(body).then_some(Advice::ChangePassword);
    Failure { advice, ..Failure::new(class, message) }
}

/// A message about the device's clock overrides the class of the status.
pub(super) fn by_words(class: ErrorClass, words: &str) -> ErrorClass {
    match class {
        ErrorClass::Rejected | ErrorClass::ServerError if clock::says_so(words) => ErrorClass::NotYetValid,
        _ => class,
    }
}

/// Messages and resolutions (DSP0266, "Error responses"). At most three, since many devices repeat themselves.
pub(super) fn words(body: &Value) -> String {
    let mut said: Vec<&str> = Vec::new();
    for entry in entries(body) {
        for key in ["Message", "Resolution"] {
            let text = entry.get(key).and_then(Value::as_str).map_or("", str::trim);
            if !matches!(text, "" | "None" | "None.") && !said.contains(&text) {
                said.push(text);
            }
        }
    }
    said.truncate(6);
    if said.is_empty() {
        // A job has its message at the top (Dell's `DellJob`).
        let plain = ["/error/message", "/Message"].into_iter().filter_map(|place| body.pointer(place)?.as_str());
        said.extend(plain.take(1));
    }
    clean(&without_pem(&said.join(" ")))
}

/// Removes PEM blocks. Devices quote what they were sent (OpenBMC quotes refused values): the sentence around the
/// block is kept, and the private key in it must not be shown.
fn without_pem(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, block)) = rest.split_once("-----BEGIN") {
        kept.push_str(before);
        // An end line has two runs of dashes: before END and after the label. A truncated block extends to the end of
        // the text.
        let after = block.split_once("-----END").and_then(|(_, tail)| tail.split_once("-----"));
        rest = after.map_or("", |(_, after)| after);
        if !kept.ends_with("[PEM]") {
            kept.push_str("[PEM]");
        }
        rest = rest.trim_start_matches(|c: char| c.is_whitespace());
    }
    kept + rest
}

/// `Base.1.13.CreateLimitReachedForResource` → `CreateLimitReachedForResource`: only the version differs.
fn message_ids(body: &Value) -> impl Iterator<Item = &str> {
    let ids = entries(body).filter_map(|entry| entry.get("MessageId")?.as_str());
    ids.map(|id| id.rsplit('.').next().unwrap_or(id))
}

/// The messages in an error's body, or in a finished task's body.
fn entries(body: &Value) -> impl Iterator<Item = &Value> {
    let lists = [body.pointer("/error/@Message.ExtendedInfo"), body.get("@Message.ExtendedInfo"), body.get("Messages")];
    lists.into_iter().flatten().filter_map(Value::as_array).flatten().take(3)
}

/// Removes characters that reorder or hide text on a terminal. [`Failure::new`] handles control characters and
/// length.
fn clean(text: &str) -> String {
    let hidden = |c: &char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.chars().filter(|c| !hidden(c)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_devices_message_is_quoted() {
        let entry = json!({"MessageId": "Base.1.8.PropertyValueFormatError", "Message": "No such\u{202e} form.\n", "Resolution": "Correct it."});
        let body = json!({"error": {"message": "see below", "@Message.ExtendedInfo": [entry, entry]}});
        let failure = failure("POST /redfish/v1/x", StatusCode::BAD_REQUEST, &body);
        assert_eq!(failure.class, ErrorClass::Rejected);
        assert_eq!(failure.message, "POST /redfish/v1/x: 400 Bad Request: No such form. Correct it.");
    }

    #[test]
    fn pem_sent_to_the_device_is_not_quoted() {
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nBBBB\n";
        for (text, kept) in [
            (format!("'{pem}-----END PRIVATE KEY-----\n' is no value."), "'[PEM]' is no value."),
            (format!("'{pem}"), "'[PEM]"),
            ("-----BEGIN".to_owned(), "[PEM]"),
            ("-----END".to_owned(), "-----END"),
            ("plain".to_owned(), "plain"),
        ] {
            assert_eq!(words(&json!({"error": {"message": text}})), kept);
        }
    }

    #[test]
    fn a_demand_for_another_password_has_its_own_advice() {
        let said = json!({"MessageId": "Base.1.8.PasswordChangeRequired", "Message": "Change the password first."});
        let body = json!({"error": {"@Message.ExtendedInfo": [said]}});
        for status in [StatusCode::FORBIDDEN, StatusCode::BAD_REQUEST] {
            let failure = failure("GET /redfish/v1/x", status, &body);
            assert_eq!(failure.class, ErrorClass::Unauthorized);
            assert!(failure.recovery().contains("demands a new password"), "{failure:?}");
            assert!(failure.message.contains("Change the password first."), "{failure:?}");
        }
    }

    #[test]
    fn classes_follow_the_status_and_the_message_id() {
        for (status, expected) in [
            (401, ErrorClass::Unauthorized),
            (403, ErrorClass::Unauthorized),
            (404, ErrorClass::Unsupported),
            (501, ErrorClass::Unsupported),
            (429, ErrorClass::Throttled),
            (503, ErrorClass::Throttled),
            (500, ErrorClass::ServerError),
            (409, ErrorClass::Rejected),
            (302, ErrorClass::Rejected),
            (507, ErrorClass::StoreFull),
        ] {
            assert_eq!(StatusCode::from_u16(status).map(|status| classify(status, &Value::Null)).ok(), Some(expected));
        }
        for (id, expected) in
            [("SessionLimitExceeded", ErrorClass::Throttled), ("PasswordChangeRequired", ErrorClass::Unauthorized)]
        {
            let body = json!({"error": {"@Message.ExtendedInfo": [{"MessageId": format!("Base.1.18.{id}")}]}});
            for status in [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE] {
                assert_eq!(classify(status, &body), expected, "{id} {status}");
            }
        }
        let full =
            json!({"error": {"@Message.ExtendedInfo": [{"MessageId": "Base.1.13.CreateLimitReachedForResource"}]}});
        assert_eq!(classify(StatusCode::BAD_REQUEST, &full), ErrorClass::StoreFull);
    }

    #[test]
    fn a_log_in_at_the_limit_of_sessions_is_recognised() {
        let used_up = |status, id: &str, words: &str| {
            let said = json!({"error": {"@Message.ExtendedInfo": [{"MessageId": id, "Message": words}]}});
            sessions_used_up(status, &said)
        };
        for (id, words) in [
            ("IDRAC.2.4.RAC0218", "The maximum number of user sessions is reached."),
            ("Base.1.18.SessionLimitExceeded", ""),
            ("Base.1.8.CreateLimitReachedForResource", "The create operation failed."),
            ("Oem.1.0.X", "Too many active sessions."),
        ] {
            assert!(used_up(StatusCode::BAD_REQUEST, id, words), "{id}");
        }
        assert!(used_up(StatusCode::INSUFFICIENT_STORAGE, "", ""));
        let guesses = "The maximum number of failed attempts of this session is reached.";
        assert!(!used_up(StatusCode::UNAUTHORIZED, "Base.1.8.GeneralError", guesses));
        assert!(!used_up(StatusCode::BAD_REQUEST, "Base.1.8.GeneralError", "The session type is not known."));
    }
}
