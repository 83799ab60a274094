//! Which names, usages and life a device's certificate may have: rules by distinguished name (DN), made by whoever may
//! make roots. The record of a device only chooses among what its rule permits.

use std::collections::BTreeSet;
use std::fmt;

use rootcast_pki::name::Subject;
use rootcast_pki::permitted::{DnsSuffix, HostName, Network, names_of};
use rootcast_pki::subject::DeviceSubject;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::Duration;
use url::Host;

use crate::access::permission::DnPrefix;

/// The rules, each for all DNs below its prefix. The most specific one decides alone.
///
/// A device that no rule covers may be named by the host of its address, for servers. A common name that no client
/// takes for a host is free there and everywhere, except on a client's certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text")]
pub struct IssuancePolicy {
    rules: Vec<Rule>,
}

/// What certificates below a prefix may say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    prefix: DnPrefix,
    /// Whether a device may be named by the host of its address, whatever the other fields say.
    #[serde(default = "yes")]
    address_host: bool,
    #[serde(default)]
    dns_suffixes: Vec<DnsSuffix>,
    /// Whether a name may begin with `*.`, below a suffix.
    #[serde(default)]
    wildcards: bool,
    #[serde(default)]
    networks: Vec<Network>,
    /// The permitted distinguished names without CN. None is always permitted.
    #[serde(default)]
    attributes: Vec<Subject>,
    #[serde(default = "server")]
    usages: BTreeSet<Usage>,
    /// From the start to the end of a certificate's validity. `None`: as long as the deployment issues them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    longest_days: Option<u16>,
}

/// An extended key usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Usage {
    Server,
    Client,
}

fn yes() -> bool {
    true
}

fn server() -> BTreeSet<Usage> {
    [Usage::Server].into()
}

/// Most rules, and most entries of a list in one of them.
const MOST: usize = 100;
/// In bytes of JSON, of all rules together: an item of DynamoDB has 400 KB, and everything that is issued reads this
/// one.
const LARGEST: usize = 64 << 10;
/// In days. A shorter life is not worth an installation, and a certificate begins an hour early.
const SHORTEST: u16 = 2;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPolicy {
    #[error("a policy has at most {MOST} rules")]
    ManyRules,
    #[error("the rule for {0}: a list has at most {MOST} entries")]
    ManyEntries(DnPrefix),
    #[error("there are two rules for {0}")]
    Twice(DnPrefix),
    #[error("the rule for {0}: longestDays is {SHORTEST} or more")]
    Short(DnPrefix),
    #[error("the rules have more than {} KiB of JSON together", LARGEST >> 10)]
    Large,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    rules: Vec<Rule>,
}

impl TryFrom<Text> for IssuancePolicy {
    type Error = InvalidPolicy;

    fn try_from(Text { rules }: Text) -> Result<Self, InvalidPolicy> {
        Self::new(rules)
    }
}

/// What a certificate says, and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The certificate's DN.
    pub dn: &'a str,
    /// The host of the device's address.
    pub host: &'a Host<String>,
    pub subject: &'a DeviceSubject,
}

/// Something that a certificate may not say.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} is not permitted by {by}")]
pub struct NotPermitted {
    pub what: Unpermitted,
    /// Which rule decided.
    pub by: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unpermitted {
    #[error("the common name {0:?}")]
    CommonName(String),
    #[error("the name {0:?}")]
    Name(String),
    #[error("{0:?} beside the common name")]
    Attributes(String),
    #[error("the use as a {0}'s certificate")]
    Usage(Usage),
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

impl IssuancePolicy {
    pub fn new(rules: Vec<Rule>) -> Result<Self, InvalidPolicy> {
        if rules.len() > MOST {
            return Err(InvalidPolicy::ManyRules);
        }
        for (at, rule) in rules.iter().enumerate() {
            let prefix = || rule.prefix.clone();
            if [rule.dns_suffixes.len(), rule.networks.len(), rule.attributes.len()].iter().any(|each| *each > MOST) {
                return Err(InvalidPolicy::ManyEntries(prefix()));
            }
            if rules[..at].iter().any(|other| other.prefix.is_same(&rule.prefix)) {
                return Err(InvalidPolicy::Twice(prefix()));
            }
            if rule.longest_days.is_some_and(|days| days < SHORTEST) {
                return Err(InvalidPolicy::Short(prefix()));
            }
        }
        let size = serde_json::to_vec(&rules).map_or(usize::MAX, |json| json.len());
        if size > LARGEST { Err(InvalidPolicy::Large) } else { Ok(Self { rules }) }
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Checks everything that the certificate says of its holder. Returns its longest life, if a rule limits it.
    pub fn check(&self, wanted: Wanted<'_>) -> Result<Option<Duration>, NotPermitted> {
        let covering = self.rules.iter().filter(|rule| rule.prefix.covers(wanted.dn));
        let (rule, by) = match covering.max_by_key(|rule| rule.prefix.depth()) {
            Some(rule) => (rule, format!("the issuance policy's rule for {}", rule.prefix)),
            None => (&Rule::for_all_others(), unruled(wanted)),
        };
        match rule.refuse(wanted) {
            Some(what) => Err(NotPermitted { what, by }),
            None => Ok(rule.longest_days.map(|days| Duration::days(days.into()))),
        }
    }
}

fn unruled(Wanted { dn, host, .. }: Wanted<'_>) -> String {
    format!(
        "the issuance policy: it has no rule for {dn}, and without one a device is named by the host of its address \
         ({host}), as a server"
    )
}

impl Rule {
    fn for_all_others() -> Self {
        Self {
            prefix: DnPrefix::everything(),
            address_host: true,
            dns_suffixes: Vec::new(),
            wildcards: false,
            networks: Vec::new(),
            attributes: Vec::new(),
            usages: server(),
            longest_days: None,
        }
    }

    fn refuse(&self, Wanted { host, subject, .. }: Wanted<'_>) -> Option<Unpermitted> {
        let is_client = subject.client_auth();
        let usage = [Usage::Server].into_iter().chain(is_client.then_some(Usage::Client));
        if let Some(usage) = usage.into_iter().find(|usage| !self.usages.contains(usage)) {
            return Some(Unpermitted::Usage(usage));
        }
        let attributes = subject.attributes();
        if *attributes != Subject::default() && !self.attributes.contains(attributes) {
            return Some(Unpermitted::Attributes(attributes.to_string()));
        }
        let own = self.address_host.then(|| HostName::from(host));
        let permits = |name: &HostName| own.as_ref() == Some(name) || self.covers(name);
        let common = subject.common_name();
        // A server is known by the names beside the common name, a client by the common name itself.
        if !HostName::in_text(common).map_or(!is_client, |name| permits(&name)) {
            return Some(Unpermitted::CommonName(common.to_owned()));
        }
        names_of(subject).find(|(_, name)| !permits(name)).map(|(text, _)| Unpermitted::Name(text.into_owned()))
    }

    fn covers(&self, name: &HostName) -> bool {
        match name {
            HostName::Name { name, wildcard } => {
                (!wildcard || (self.wildcards && !name.contains('*')))
                    && self.dns_suffixes.iter().any(|suffix| suffix.covers(name))
            }
            HostName::Address(address) => self.networks.iter().any(|network| network.covers(*address)),
        }
    }
}

#[cfg(test)]
#[path = "issuance_tests.rs"]
mod tests;
