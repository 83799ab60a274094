//! The policy of root keys: who may sign, who may give a key up, who looks after it.
//!
//! It grants the functions their rights itself: an IAM statement for keys that do not exist yet could only name them
//! by a tag, and whoever can tag a key of the account could then use it. It names the roles by
//! `aws:PrincipalArn`, not as principals: KMS replaces a principal by its unique id, and a stack that is deleted and
//! made again would lose its keys.

use std::str::FromStr;

use thiserror::Error;

/// `policy.json` is also read by tests/template/check.py.
const POLICY: &str = include_str!("policy.json");

/// The IAM path of a stack's roles, each in a folder with its function's name:
/// `arn:aws:iam::111122223333:role/rootcast/eu-central-1/STACK`. It is the same for a stack that is made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRoles(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not the path of a stack's roles: arn:aws:iam::ACCOUNT:role/PATH")]
pub struct NotRoles;

impl KeyRoles {
    /// The policy that [`Vault::create_key`](crate::Vault::create_key) gives a key.
    pub fn policy(&self) -> String {
        let mut parts = self.0.split(':');
        let (partition, account) = (parts.nth(1).unwrap_or_default(), parts.nth(2).unwrap_or_default());
        let policy = POLICY.replace("PARTITION", partition).replace("ACCOUNT", account).replace("ROLES", &self.0);
        policy.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl FromStr for KeyRoles {
    type Err = NotRoles;

    /// Refuses what would not be literal in a policy: a wildcard or a quote.
    fn from_str(text: &str) -> Result<Self, NotRoles> {
        let parts: Vec<&str> = text.split(':').collect();
        let ["arn", partition, "iam", "", account, path] = parts.as_slice() else { return Err(NotRoles) };
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./+=,@".contains(&byte))
        };
        let named = path.strip_prefix("role/").is_some_and(|path| plain(path) && !path.ends_with('/'));
        let digits = !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit());
        (plain(partition) && digits && named).then(|| Self(text.to_owned())).ok_or(NotRoles)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test fails by panicking

    use super::*;

    #[test]
    fn a_policy_names_account_and_roles() {
        let roles: KeyRoles = "arn:aws-cn:iam::111122223333:role/rootcast/cn-north-1/fleet".parse().unwrap();
        let policy = roles.policy();
        for wanted in [
            r#""Principal": { "AWS": "arn:aws-cn:iam::111122223333:root" }"#,
            r#""kms:CallerAccount": "111122223333""#,
            r#""arn:aws-cn:iam::111122223333:role/rootcast/cn-north-1/fleet/issue/*""#,
        ] {
            assert!(policy.contains(wanted), "{wanted}: {policy}");
        }
        for placeholder in ["PARTITION", "ACCOUNT", "ROLES"] {
            assert!(!policy.contains(placeholder), "{placeholder}: {policy}");
        }
    }

    #[test]
    fn roles_with_a_wildcard_or_without_an_account_are_refused() {
        for text in [
            "",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam::111122223333:role/rootcast/",
            "arn:aws:iam::111122223333:role/*",
            "arn:aws:iam::*:role/rootcast",
            "arn:aws:iam:::role/rootcast",
            "arn:aws:iam::111122223333:user/rootcast",
            "arn:aws:iam::111122223333:role/root\"cast",
            "arn:aws:iam::111122223333:role/root:cast",
        ] {
            assert_eq!(text.parse::<KeyRoles>(), Err(NotRoles), "{text}");
        }
    }
}
