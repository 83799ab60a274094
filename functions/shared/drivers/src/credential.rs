//! A device's user name and password.

use std::fmt;
use std::str::FromStr;

use rootcast_core::job::task::{ErrorClass, Failure};
use serde::Deserialize;
use zeroize::Zeroizing;

/// Copies held here are wiped from memory when dropped. Never printed.
#[derive(Clone)]
pub struct Credential {
    pub(crate) username: String,
    pub(crate) password: Zeroizing<String>,
}

impl FromStr for Credential {
    type Err = Failure;

    /// Parses the parameter's value, `{"username": …, "password": …}`. Errors do not include serde's message, which
    /// quotes values.
    fn from_str(json: &str) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Parameter {
            username: String,
            password: String,
        }
        let unreadable = || {
            let form = "{\"username\":…,\"password\":…}";
            Failure::new(ErrorClass::Credential, format!("The credential parameter does not hold {form}."))
        };
        let Parameter { username, password } = serde_json::from_str(json).map_err(|_| unreadable())?;
        let password = Zeroizing::new(password);
        // RFC 7617 §2: a user name with a colon cannot be sent by Basic authentication.
        if username.is_empty() || username.contains(':') {
            return Err(unreadable());
        }
        Ok(Self { username, password })
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_is_parsed_and_never_printed() {
        let credential: Credential = r#"{"username":"admin","password":"s3cret"}"#.parse().unwrap();
        assert_eq!((credential.username.as_str(), credential.password.as_str()), ("admin", "s3cret"));
        assert_eq!(format!("{credential:?}"), "Credential(..)");
        for bad in ["", "s3cret", r#"{"username":"s3cret"}"#, r#"{"username":"","password":"s3cret"}"#, r#"["s3cret"]"#]
        {
            let failure = bad.parse::<Credential>().unwrap_err();
            assert_eq!(failure.class, ErrorClass::Credential);
            assert!(!failure.message.contains("s3cret"));
        }
    }
}
