//! Options for a user's rights, shared by every command that creates a user or a token.

use clap::Args;
use rootcast_core::access::permission::{Grant, Grants, Operation, Role};

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Allowed {
    /// Role: reader (read everything), operator (read, write, create and delete everything) or
    /// administrator (operator, and every permission); default, without --grant: operator
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// Rights below a distinguished name: read, write, create, delete, or manage for all of them; may be repeated
    #[arg(long = "grant", value_name = r"\VED\Policy\…=RIGHT,…")]
    grants: Vec<Grant>,
    /// Permission that no right includes: regenerate, approve-device, activate, abort, export-key, administer-access; may be repeated
    #[arg(long = "permission", value_name = "PERMISSION")]
    permissions: Vec<Operation>,
}

impl Allowed {
    pub(crate) fn of(role: Role) -> Self {
        Self { role: Some(role), ..Self::default() }
    }

    pub(crate) fn is_said(&self) -> bool {
        self.role.is_some() || !self.grants.is_empty() || !self.permissions.is_empty()
    }

    pub(crate) fn grants(self) -> Grants {
        Grants::given(self.role, self.grants, self.permissions)
    }
}

/// The rights on one line.
pub(crate) fn told(grants: &Grants) -> String {
    let rights = grants.grants().map(|grant| grant.to_string());
    rights.chain(grants.operations().map(|operation| operation.to_string())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        allowed: Allowed,
    }

    fn given(line: &[&str]) -> String {
        told(&Line::try_parse_from([&["x"], line].concat()).unwrap().allowed.grants())
    }

    #[test]
    fn given_rights_replace_the_operators_default_rights() {
        let operator = r"\VED\Policy=read,write,create,delete";
        assert_eq!(given(&[]), operator);
        assert_eq!(given(&["--permission", "abort"]), format!("{operator} abort"));
        assert_eq!(given(&["--role", "reader"]), r"\VED\Policy=read");
        assert_eq!(given(&["--grant", r"\VED\Policy\Web=read"]), r"\VED\Policy\Web=read");
        let both = ["--role", "reader", "--grant", r"\VED\Policy\Web=write", "--permission", "export-key"];
        assert_eq!(given(&both), r"\VED\Policy=read \VED\Policy\Web=write export-key");
    }
}
