//! A device's credential as a caller sends it: the name of an SSM parameter, or user name and password, which are sealed
//! before they are stored and never shown again.

use std::fmt;

use rootcast_core::device::DeviceId;
use rootcast_core::inventory::sealed::Sealed;
use rootcast_ledger::DeviceRecord;
use rootcast_seal::{SealError, Sealer};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::inventory::Rules;

/// In characters. Redfish limits neither; a record has a limit.
const LONGEST: usize = 256;
const FORM: &str = "credential is the name of an SSM parameter, or {\"username\": ..., \"password\": ...}: each of 1 to 256 \
                    characters without control characters, and no colon in the user name.";

#[derive(Debug, Clone)]
pub(crate) enum SentCredential {
    Parameter(String),
    Login(Login),
}

/// Wiped from memory when dropped. Never printed.
#[derive(Clone)]
pub(crate) struct Login {
    /// As a worker reads it.
    text: Zeroizing<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

impl<'de> Deserialize<'de> for SentCredential {
    /// Errors do not have serde's message, which quotes values.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let refused = || D::Error::custom(FORM);
        let fits = |text: &String| (1..=LONGEST).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        match Value::deserialize(from)? {
            Value::String(name) => Ok(Self::Parameter(name)),
            Value::Object(mut fields) => {
                let mut text = |name| match fields.remove(name) {
                    Some(Value::String(text)) => Some(Zeroizing::new(text)).filter(|text| fits(text)),
                    _ => None,
                };
                let (username, password) = text("username").zip(text("password")).ok_or_else(refused)?;
                // RFC 7617 section 2: a user name with a colon cannot be sent by Basic authentication.
                if username.contains(':') || !fields.is_empty() {
                    return Err(refused());
                }
                let text = json!({ "username": *username, "password": *password }).to_string();
                Ok(Self::Login(Login { text: Zeroizing::new(text) }))
            }
            _ => Err(refused()),
        }
    }
}

impl SentCredential {
    /// A device may name its own parameter, or a shared one.
    pub(crate) fn check(&self, id: &DeviceId, rules: &Rules<'_>) -> Result<(), String> {
        match self {
            Self::Parameter(name) => rules.credential(id, name),
            Self::Login(_) => Ok(()),
        }
    }

    /// What is to be sealed, if anything.
    pub(crate) const fn login(&self) -> Option<&Login> {
        match self {
            Self::Parameter(_) => None,
            Self::Login(login) => Some(login),
        }
    }
}

impl Login {
    /// For this device in its present enrolment: one call to KMS.
    pub(crate) async fn seal(&self, sealer: &Sealer, device: &DeviceRecord) -> Result<Sealed, SealError> {
        sealer.seal(&device.seal_context(), self.text.as_bytes()).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use super::*;

    fn sent(value: Value) -> Result<SentCredential, String> {
        serde_json::from_value(value).map_err(|why| why.to_string())
    }

    #[test]
    fn a_parameter_or_user_name_and_password_are_read() {
        assert!(
            matches!(sent(json!("/rootcast/devices/b")), Ok(SentCredential::Parameter(name)) if name.ends_with("/b"))
        );
        let sent = sent(json!({ "username": "admin", "password": "s3cret: \"ü\"" })).unwrap();
        assert_eq!(format!("{sent:?}"), "Login(Login(..))");
        let read: Value = serde_json::from_str(&sent.login().unwrap().text).unwrap();
        assert_eq!(read, json!({ "username": "admin", "password": "s3cret: \"ü\"" }));
    }

    #[test]
    fn a_malformed_login_is_refused_without_quoting_it() {
        for wrong in [
            json!({ "username": "s3cret" }),
            json!({ "password": "s3cret" }),
            json!({ "username": "", "password": "s3cret" }),
            json!({ "username": "s3cret:s", "password": "s3cret" }),
            json!({ "username": "admin", "password": ["s3cret"] }),
            json!({ "username": "admin", "password": "s3cret\n" }),
            json!({ "username": "admin", "password": "s3cret".repeat(100) }),
            json!({ "username": "admin", "password": "s3cret", "addresses": ["10.0.0.0/8"] }),
            json!(["s3cret"]),
            json!(7),
        ] {
            assert_eq!(sent(wrong.clone()).unwrap_err(), FORM, "{wrong}");
        }
    }
}
