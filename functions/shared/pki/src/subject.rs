//! The holder of a certificate: its subject, names and usages. For a device, they come from its record, never from its
//! own request.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Host;

use crate::name::{self, InvalidName, Subject};

/// Most host names and addresses together: enough for a controller with every port, alias and address family, and far
/// fewer than a certificate can hold.
pub const NAMES: usize = 32;

/// The subject of a TLS server. Every value fits into a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Text")]
pub struct DeviceSubject {
    common_name: String,
    #[serde(skip_serializing_if = "is_default")]
    attributes: Subject,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dns_names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ip_addresses: Vec<IpAddr>,
    #[serde(skip_serializing_if = "is_default")]
    client_auth: bool,
}

/// Why none of our certificates can have a subject.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidSubject {
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error("{0:?} is not a host name: labels of letters, digits and hyphens, the first of which may be *")]
    DnsName(String),
    #[error("{0} is there twice")]
    Twice(String),
    #[error("a certificate needs a host name or an address")]
    NoNames,
    #[error("a certificate has at most {NAMES} host names and addresses, and {0} are given")]
    TooManyNames(usize),
}

impl DeviceSubject {
    /// A server with these names. `dns_names`: the first label may be `*`; not case-sensitive.
    pub fn new(
        common_name: impl Into<String>,
        dns_names: impl IntoIterator<Item = String>,
        ip_addresses: Vec<IpAddr>,
    ) -> Result<Self, InvalidSubject> {
        let common_name = common_name.into();
        name::check("CN", name::COMMON_NAME_LIMIT, &common_name)?;
        let dns_names: Vec<String> = dns_names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        match dns_names.len() + ip_addresses.len() {
            0 => return Err(InvalidSubject::NoNames),
            count if count > NAMES => return Err(InvalidSubject::TooManyNames(count)),
            _ => {}
        }
        if let Some(name) = dns_names.iter().find(|name| !is_dns_name(name)) {
            return Err(InvalidSubject::DnsName(name.chars().take(DNS_NAME_LIMIT).collect()));
        }
        if let Some(name) = twice(&dns_names) {
            return Err(InvalidSubject::Twice(name.clone()));
        }
        if let Some(address) = twice(&ip_addresses) {
            return Err(InvalidSubject::Twice(address.to_string()));
        }
        Ok(Self { common_name, attributes: Subject::default(), dns_names, ip_addresses, client_auth: false })
    }

    /// A server of which only the host is known: it becomes the CN and the only name.
    ///
    /// # Errors
    /// Some reachable hosts cannot be certified, such as one with an underscore or with more than 64 characters. Their
    /// subject must be set explicitly.
    pub fn of_host(host: &Host<String>) -> Result<Self, InvalidSubject> {
        match host {
            Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                Self::new(name, [name.to_owned()], Vec::new())
            }
            Host::Ipv4(v4) => Self::new(v4.to_string(), [], vec![(*v4).into()]),
            Host::Ipv6(v6) => Self::new(v6.to_string(), [], vec![(*v6).into()]),
        }
    }

    /// Adds the rest of the distinguished name: C, ST, L, O and OU.
    #[must_use]
    pub fn with_attributes(self, attributes: Subject) -> Self {
        Self { attributes, ..self }
    }

    /// Also allows connections that the holder opens (id-kp-clientAuth).
    #[must_use]
    pub fn with_client_auth(self) -> Self {
        Self { client_auth: true, ..self }
    }

    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// The distinguished name without the CN.
    pub fn attributes(&self) -> &Subject {
        &self.attributes
    }

    /// In lower case.
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.ip_addresses
    }

    /// Whether it may also be used as a client certificate.
    pub fn client_auth(&self) -> bool {
        self.client_auth
    }
}

/// The serialised form. Unknown keys are refused: otherwise a mistyped usage would be ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Text {
    common_name: String,
    #[serde(default)]
    attributes: Subject,
    #[serde(default)]
    dns_names: Vec<String>,
    #[serde(default)]
    ip_addresses: Vec<IpAddr>,
    #[serde(default)]
    client_auth: bool,
}

impl TryFrom<Text> for DeviceSubject {
    type Error = InvalidSubject;

    fn try_from(text: Text) -> Result<Self, InvalidSubject> {
        let named = Self::new(text.common_name, text.dns_names, text.ip_addresses)?;
        Ok(Self { attributes: text.attributes, client_auth: text.client_auth, ..named })
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn twice<T: PartialEq>(values: &[T]) -> Option<&T> {
    values.iter().enumerate().find(|(at, value)| values[..*at].contains(value)).map(|(_, value)| value)
}

/// RFC 1035 §2.3.4: 255 octets, including the lengths of all labels and of the root.
const DNS_NAME_LIMIT: usize = 253;

/// RFC 1034 §3.5 and RFC 1123 §2.1, with `*` as the whole first label (RFC 6125 §6.4.3).
pub(crate) fn is_dns_name(name: &str) -> bool {
    let host = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= DNS_NAME_LIMIT && host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> Result<DeviceSubject, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_device_without_a_subject_is_named_by_its_host() {
        for (host, written) in [
            ("10.0.0.7", json!({"commonName": "10.0.0.7", "ipAddresses": ["10.0.0.7"]})),
            ("[2001:DB8::7]", json!({"commonName": "2001:db8::7", "ipAddresses": ["2001:db8::7"]})),
            ("BMC-1.example.", json!({"commonName": "bmc-1.example", "dnsNames": ["bmc-1.example"]})),
        ] {
            let subject = DeviceSubject::of_host(&Host::parse(host).unwrap()).unwrap();
            assert_eq!(serde_json::to_value(&subject).unwrap(), written);
            assert_eq!(read(written).unwrap(), subject);
        }
        let refused = |host: &str| DeviceSubject::of_host(&Host::parse(host).unwrap()).unwrap_err();
        assert_eq!(refused("bmc_1.example"), InvalidSubject::DnsName("bmc_1.example".to_owned()));
        assert!(matches!(refused(&format!("{}.example", "x".repeat(60))), InvalidSubject::Name(_)));
    }

    #[test]
    fn a_subject_has_all_supported_attributes_and_names() {
        let written = json!({
            "commonName": "bmc 1", "attributes": "O=Example Corp,C=DE", "dnsNames": ["*.example.com"],
            "ipAddresses": ["10.0.0.7", "fd00::7"], "clientAuth": true,
        });
        let subject = read(written.clone()).unwrap();
        assert!(subject.client_auth());
        assert_eq!(subject.attributes().to_string(), "O=Example Corp,C=DE");
        assert_eq!(serde_json::to_value(&subject).unwrap(), written);
    }

    #[test]
    fn invalid_subjects_are_refused_with_a_reason() {
        let names = |count: usize| (0..count).map(|n| format!("bmc-{n}.example")).collect::<Vec<_>>();
        for (written, reason) in [
            (json!({"commonName": "x"}), "needs a host name"),
            (json!({"commonName": "", "dnsNames": ["a"]}), "CN must have 1 to 64"),
            (json!({"commonName": "x".repeat(65), "dnsNames": ["a"]}), "CN must have 1 to 64"),
            (json!({"commonName": "x\n", "dnsNames": ["a"]}), "no control characters"),
            (json!({"commonName": "x", "attributes": "C=Germany", "dnsNames": ["a"]}), "C must have"),
            (json!({"commonName": "x", "dnsNames": ["local host"]}), "is not a host name"),
            (json!({"commonName": "x", "dnsNames": ["a.*.example"]}), "is not a host name"),
            (json!({"commonName": "x", "dnsNames": ["a", "A"]}), "a is there twice"),
            (json!({"commonName": "x", "dnsNames": [""]}), "is not a host name"),
            (json!({"commonName": "x", "ipAddresses": ["10.0.0.7", "10.0.0.7"]}), "10.0.0.7 is there twice"),
            (json!({"commonName": "x", "ipAddresses": ["10.0.0.777"]}), "invalid IP address"),
            (json!({"commonName": "x", "dnsNames": names(NAMES + 1)}), "at most 32"),
            (json!({"commonName": "x", "dnsNames": ["a"], "clientauth": true}), "unknown field"),
        ] {
            let error = read(written.clone()).unwrap_err();
            assert!(error.contains(reason), "{written}: {error}");
        }
        assert!(read(json!({"commonName": "x", "dnsNames": names(NAMES)})).is_ok());
    }
}
