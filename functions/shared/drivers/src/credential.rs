//! A device's user name and password.

use std::fmt;
use std::str::FromStr;

use rootcast_core::device::address::DeviceAddress;
use rootcast_core::device::credential::Scope;
use rootcast_core::job::task::{ErrorClass, Failure};
use serde::Deserialize;
use zeroize::Zeroizing;

/// Copies held here are wiped from memory when dropped. Never printed.
#[derive(Clone)]
pub struct Credential {
    pub(crate) username: String,
    pub(crate) password: Zeroizing<String>,
    /// Of a credential that several devices share: the addresses that it may be sent to.
    addresses: Vec<Scope>,
}

impl Credential {
    /// Whether the parameter itself says that it is for this address.
    pub fn is_for(&self, address: &DeviceAddress) -> bool {
        self.addresses.iter().any(|scope| scope.covers(address.host()))
    }
}

impl FromStr for Credential {
    type Err = Failure;

    /// Parses the parameter's value, `{"username": …, "password": …}`, for shared ones also `"addresses": […]`. Errors do
    /// not include serde's message, which quotes values.
    fn from_str(json: &str) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Parameter {
            username: String,
            password: String,
            #[serde(default)]
            addresses: Vec<Scope>,
        }
        let unreadable = || {
            let form = "{\"username\":…,\"password\":…}";
            Failure::new(ErrorClass::Credential, format!("The credential parameter does not hold {form}."))
        };
        let Parameter { username, password, addresses } = serde_json::from_str(json).map_err(|_| unreadable())?;
        let password = Zeroizing::new(password);
        // RFC 7617 §2: a user name with a colon cannot be sent by Basic authentication.
        if username.is_empty() || username.contains(':') {
            return Err(unreadable());
        }
        Ok(Self { username, password, addresses })
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
    fn a_shared_parameter_is_for_the_addresses_that_it_names() {
        let credential =
            |addresses: &str| format!(r#"{{"username":"admin","password":"s3cret"{addresses}}}"#).parse::<Credential>();
        let is_for = |addresses: &str, address: &str| credential(addresses).unwrap().is_for(&address.parse().unwrap());
        assert!(is_for(r#","addresses":["10.1.0.0/16",".example.com"]"#, "https://10.1.2.3:8443"));
        assert!(is_for(r#","addresses":["10.1.0.0/16",".example.com"]"#, "https://bmc.example.com"));
        assert!(!is_for(r#","addresses":["10.1.0.0/16"]"#, "https://10.2.0.1"));
        assert!(!is_for(r#","addresses":[]"#, "https://10.1.2.3") && !is_for("", "https://10.1.2.3"));
        assert_eq!(credential(r#","addresses":["every one"]"#).unwrap_err().class, ErrorClass::Credential);
    }

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
