//! An identity that API Gateway has verified: an AWS IAM principal, or a subject of an OpenID Connect provider.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// One external identity. Written as `iam#ARN`, or `oidc#ISSUER#SUBJECT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(Kind);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Iam { arn: String },
    Oidc { issuer: String, subject: String },
}

/// Why a text is not an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotAnIdentity {
    #[error("this is no ARN of an IAM user or role, of an account's root user, or of a session of one of them")]
    Arn,
    #[error("an issuer is a URL without query and fragment, of 512 characters at most")]
    Issuer,
    #[error("a subject is 1 to 255 characters of ASCII without white space")]
    Subject,
    #[error("an identity is iam#ARN or oidc#ISSUER#SUBJECT")]
    Text,
}

/// Longest issuer, in characters.
const LONGEST_ISSUER: usize = 512;
/// Longest subject, in characters: OpenID Connect Core 1.0 §2.
const LONGEST_SUBJECT: usize = 255;

impl Identity {
    /// The identity of an IAM user or role. Every session of a role has the role's identity. The path of a role is
    /// ignored: session ARNs do not contain it, and role names are unique in an account
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html>).
    pub fn iam(arn: &str) -> Result<Self, NotAnIdentity> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let &["arn", partition, service, "", account, resource] = parts.as_slice() else {
            return Err(NotAnIdentity::Arn);
        };
        let named = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        let known = partition.starts_with("aws")
            && partition.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            && account.len() == 12
            && account.bytes().all(|byte| byte.is_ascii_digit());
        let mut steps = resource.split('/');
        let resource = match (service, steps.next(), steps.clone().next_back()) {
            ("iam", Some("root"), None) => resource.to_owned(),
            ("iam", Some("user"), Some(_)) if steps.all(named) => resource.to_owned(),
            ("iam", Some("role"), Some(name)) if steps.all(named) => format!("role/{name}"),
            ("sts", Some("assumed-role"), Some(session)) if steps.clone().count() == 2 && named(session) => {
                let role = steps.next().filter(|role| named(role)).ok_or(NotAnIdentity::Arn)?;
                format!("role/{role}")
            }
            _ => return Err(NotAnIdentity::Arn),
        };
        known
            .then(|| Self(Kind::Iam { arn: format!("arn:{partition}:iam::{account}:{resource}") }))
            .ok_or(NotAnIdentity::Arn)
    }

    /// The identity of an OpenID Connect token, from its `iss` and `sub` claims. Both are case-sensitive.
    pub fn oidc(issuer: &str, subject: &str) -> Result<Self, NotAnIdentity> {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let url = issuer.split_once("://").is_some_and(|(scheme, rest)| {
            ["https", "http"].contains(&scheme) && !rest.is_empty() && !rest.contains(['#', '?'])
        });
        if !url || !plain(issuer) || issuer.len() > LONGEST_ISSUER {
            return Err(NotAnIdentity::Issuer);
        }
        if !plain(subject) || !(1..=LONGEST_SUBJECT).contains(&subject.len()) {
            return Err(NotAnIdentity::Subject);
        }
        Ok(Self(Kind::Oidc { issuer: issuer.to_owned(), subject: subject.to_owned() }))
    }
}

impl FromStr for Identity {
    type Err = NotAnIdentity;

    fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
        match text.split_once('#').ok_or(NotAnIdentity::Text)? {
            ("iam", arn) => Self::iam(arn),
            ("oidc", claims) => {
                let (issuer, subject) = claims.split_once('#').ok_or(NotAnIdentity::Text)?;
                Self::oidc(issuer, subject)
            }
            _ => Err(NotAnIdentity::Text),
        }
    }
}

rootcast_pki::as_text!(Identity);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Iam { arn } => write!(f, "iam#{arn}"),
            Kind::Oidc { issuer, subject } => write!(f, "oidc#{issuer}#{subject}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_sessions_of_a_role_have_its_identity() {
        let role = "iam#arn:aws:iam::123456789012:role/deployer";
        for arn in [
            "arn:aws:iam::123456789012:role/deployer",
            "arn:aws:iam::123456789012:role/teams/pki/deployer",
            "arn:aws:sts::123456789012:assumed-role/deployer/i-0123",
            "arn:aws:sts::123456789012:assumed-role/deployer/jane@example.com",
        ] {
            assert_eq!(Identity::iam(arn).unwrap().to_string(), role, "{arn}");
        }
        for arn in ["arn:aws:iam::123456789012:user/pki/jane", "arn:aws-us-gov:iam::123456789012:root"] {
            assert_eq!(Identity::iam(arn).unwrap().to_string(), format!("iam#{arn}"));
        }
    }

    #[test]
    fn arns_of_neither_user_nor_role_are_refused() {
        for arn in [
            "",
            "deployer",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role",
            "arn:aws:iam::123456789012:role//deployer",
            "arn:aws:iam::123456789012:root/x",
            "arn:aws:iam::123456789012:group/admins",
            "arn:aws:iam::12345678901:role/deployer",
            "arn:aws:iam::*:role/deployer",
            "arn:aws:iam::123456789012:role/de ployer",
            "arn:aws:iam:eu-central-1:123456789012:role/deployer",
            "arn:AWS:iam::123456789012:role/deployer",
            "arn:aws:s3::123456789012:role/deployer",
            "arn:aws:sts::123456789012:assumed-role/deployer",
            "arn:aws:sts::123456789012:assumed-role//session",
            "arn:aws:sts::123456789012:assumed-role/a/deployer/session",
            "arn:aws:sts::123456789012:federated-user/jane",
        ] {
            assert_eq!(Identity::iam(arn), Err(NotAnIdentity::Arn), "{arn}");
        }
    }

    #[test]
    fn subjects_of_different_issuers_are_different() {
        let one = Identity::oidc("https://login.example.com/a", "b").unwrap();
        assert_eq!(one.to_string(), "oidc#https://login.example.com/a#b");
        assert_ne!(one, Identity::oidc("https://login.example.com/A", "b").unwrap());
        assert_eq!(Identity::oidc("https://login.example.com#a", "b"), Err(NotAnIdentity::Issuer));
        for issuer in ["", "login.example.com", "ftp://x", "https://", "https://x?y", "https://x y"] {
            assert_eq!(Identity::oidc(issuer, "b"), Err(NotAnIdentity::Issuer), "{issuer}");
        }
        for subject in ["", "a b", "ä", &"x".repeat(256)] {
            assert_eq!(Identity::oidc("https://x", subject), Err(NotAnIdentity::Subject), "{subject}");
        }
    }

    proptest! {
        #[test]
        fn parsed_identities_round_trip(text in "(iam#)?arn:aws:(iam|sts)::[0-9]{12}:(user|role|assumed-role)(/[a-z#]{0,2}){0,3}|(oidc#)?https://[a-z#]{0,3}#[!-~]{0,4}") {
            if let Ok(identity) = text.parse::<Identity>() {
                prop_assert_eq!(identity.to_string().parse::<Identity>(), Ok(identity));
            }
        }
    }
}
