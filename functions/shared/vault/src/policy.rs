//! The policies of keys, by their role: who may sign, who may wake a key, who may give it up, who looks after it.
//!
//! It grants the functions their rights itself: an IAM statement for keys that do not exist yet could only name them
//! by a tag, and whoever can tag a key of the account could then use it. It names the roles by
//! `aws:PrincipalArn`, not as principals: KMS replaces a principal by its unique id, and a stack that is deleted and
//! made again would lose its keys.

use std::str::FromStr;

use thiserror::Error;

// All three are also read by tests/template/check.py.
const ROOT: &str = include_str!("policies/root.json");
const ISSUING: &str = include_str!("policies/issuing.json");
/// One more statement for the keys of roots that sign leaves themselves.
const LEAVES: &str = include_str!("policies/leaves.json");

/// What a key signs for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRole {
    /// Roots, links, issuing authorities, bundles, the root's own list: by the functions that make roots.
    Root,
    /// Devices' certificates and their lists: by the issuer alone.
    Issuing,
}

impl KeyRole {
    /// The value of [`ROLE_TAG`](crate::ROLE_TAG).
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Issuing => "issuing",
        }
    }
}

/// The IAM path of a stack's roles, each in a folder with its function's name:
/// `arn:aws:iam::111122223333:role/rootcast/eu-central-1/STACK`. It is the same for a stack that is made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRoles {
    path: String,
    leaves_from_root: bool,
    multi_region: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not the path of a stack's roles: arn:aws:iam::ACCOUNT:role/PATH")]
pub struct NotRoles;

impl KeyRoles {
    /// Whether the issuer may sign with roots' keys too.
    #[must_use]
    pub fn with_leaves_from_root(self, leaves_from_root: bool) -> Self {
        Self { leaves_from_root, ..self }
    }

    /// Whether new keys of roots are multi-Region primary keys. It is decided when a key is made; only an administrator replicates one.
    #[must_use]
    pub fn with_multi_region(self, multi_region: bool) -> Self {
        Self { multi_region, ..self }
    }

    /// What CreateKey is told of it, for a key in this role.
    pub(crate) fn multi_region(&self, role: KeyRole) -> Option<bool> {
        (self.multi_region && role == KeyRole::Root).then_some(true)
    }

    pub const fn leaves_from_root(&self) -> bool {
        self.leaves_from_root
    }

    /// The stack's name, with which the path ends.
    pub fn stack(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether the ARN is that of one of the roles.
    pub fn include(&self, role: &str) -> bool {
        role.strip_prefix(&self.path).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The policy that [`Vault::create_key`](crate::Vault::create_key) gives a key.
    pub fn policy(&self, role: KeyRole) -> String {
        let mut parts = self.path.split(':');
        let (partition, account) = (parts.nth(1).unwrap_or_default(), parts.nth(2).unwrap_or_default());
        let statements = r#""Statement": ["#;
        let policy = match role {
            KeyRole::Root if self.leaves_from_root => ROOT.replacen(statements, &format!("{statements} {LEAVES},"), 1),
            KeyRole::Root => ROOT.to_owned(),
            KeyRole::Issuing => ISSUING.to_owned(),
        };
        let policy = policy.replace("PARTITION", partition).replace("ACCOUNT", account).replace("ROLES", &self.path);
        policy.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl FromStr for KeyRoles {
    type Err = NotRoles;

    /// Refuses what would not be literal in a policy: a wildcard or a quote. Without leaves from roots.
    fn from_str(text: &str) -> Result<Self, NotRoles> {
        let parts: Vec<&str> = text.split(':').collect();
        let ["arn", partition, "iam", "", account, path] = parts.as_slice() else { return Err(NotRoles) };
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./+=,@".contains(&byte))
        };
        let named = path.strip_prefix("role/").is_some_and(|path| plain(path) && !path.ends_with('/'));
        let digits = !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit());
        let found = || Self { path: text.to_owned(), leaves_from_root: false, multi_region: false };
        (plain(partition) && digits && named).then(found).ok_or(NotRoles)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test fails by panicking

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_policy_names_account_and_roles() {
        let roles: KeyRoles = "arn:aws-cn:iam::111122223333:role/rootcast/cn-north-1/fleet".parse().unwrap();
        for (role, signs) in [(KeyRole::Root, "conduct"), (KeyRole::Issuing, "issue")] {
            let policy = roles.policy(role);
            for wanted in [
                r#""Principal": { "AWS": "arn:aws-cn:iam::111122223333:root" }"#,
                r#""kms:CallerAccount": "111122223333""#,
                &format!(r#""arn:aws-cn:iam::111122223333:role/rootcast/cn-north-1/fleet/{signs}/*""#),
            ] {
                assert!(policy.contains(wanted), "{wanted}: {policy}");
            }
            for placeholder in ["PARTITION", "ACCOUNT", "ROLES"] {
                assert!(!policy.contains(placeholder), "{placeholder}: {policy}");
            }
        }
    }

    #[test]
    fn the_issuer_signs_with_roots_only_if_it_may() {
        let roles: KeyRoles = "arn:aws:iam::111122223333:role/rootcast/eu-central-1/fleet".parse().unwrap();
        let leaves = roles.clone().with_leaves_from_root(true);
        let signers = |roles: &KeyRoles, role| -> Vec<String> {
            let policy: Value = serde_json::from_str(&roles.policy(role)).unwrap();
            let signs = |statement: &&Value| statement["Action"].to_string().contains("\"kms:Sign\"");
            let named = |statement: &Value| statement["Condition"]["ArnLike"]["aws:PrincipalArn"].to_string();
            policy["Statement"].as_array().unwrap().iter().filter(signs).map(named).collect()
        };
        let is_issuer = |signers: &String| signers.contains("/fleet/issue/*");
        assert!(!signers(&roles, KeyRole::Root).iter().any(is_issuer));
        assert!(signers(&leaves, KeyRole::Root).iter().any(is_issuer));
        assert!(signers(&leaves, KeyRole::Root).len() == 2 && !signers(&leaves, KeyRole::Root).iter().all(is_issuer));
        assert!(signers(&roles, KeyRole::Issuing).iter().all(is_issuer));
        assert_eq!(leaves.policy(KeyRole::Issuing), roles.policy(KeyRole::Issuing));
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
