//! `rootcast access`: API users and their credentials. Requires AWS credentials that may write the stack's access
//! table.

mod add;
mod grant;
mod list;
pub(crate) mod password;
mod revoke;

use anyhow::Result;
use aws_config::{BehaviorVersion, SdkConfig};
use clap::{Args, Subcommand};
use rootcast_core::access::identity::{Identity, NotAnIdentity};
use rootcast_core::audit::Actor;
use rootcast_ledger::{Ledger, Tables};

use self::{add::Add, grant::Grant, password::Passwd, revoke::Revoke};
use crate::{
    access_key::{self, RotateKey},
    exit::{End, Usage},
    output::Format,
    restore::actor,
    stack::Stack,
};

pub(crate) const NOT_WRITTEN: &str = "the access table could not be written with your AWS credentials";

/// API users and their credentials
#[derive(Debug, Subcommand)]
pub(crate) enum AccessCommand {
    /// Add a user, with a password (asked for at the terminal) or an identity in IAM or at an OpenID provider
    Add(Add),
    /// Replace a user's rights and permissions, at once also for its tokens and sessions
    Grant(Grant),
    /// List users and their credentials, with every live token and session
    List(Table),
    /// Revoke a user or one credential; its tokens become invalid at once
    Revoke(Revoke),
    /// Set a user's password; tokens and sessions of the former password become invalid at once
    Passwd(Passwd),
    /// Replace an access key with a new one of the same user
    RotateKey(RotateKey),
}

#[derive(Debug, Args)]
pub(crate) struct Table {
    /// CloudFormation stack whose outputs name the table
    #[arg(long, value_name = "NAME", required_unless_present = "access_table")]
    stack: Option<String>,
    /// Name of the access table, instead of the stack's; then --audit-table is needed too
    #[arg(long, value_name = "NAME", requires = "audit_table")]
    access_table: Option<String>,
    /// Name of the table of audit chains
    #[arg(long, value_name = "NAME", requires = "access_table")]
    audit_table: Option<String>,
}

/// An identity at another provider.
#[derive(Debug, Args)]
struct Identities {
    /// ARN of an IAM user or role, whose credentials sign POST /sessions/iam; may be repeated
    #[arg(long, value_name = "ARN", value_parser = Identity::iam)]
    iam: Vec<Identity>,
    /// Issuer and subject of the OpenID Connect tokens that come with POST /sessions/oidc; may be repeated
    #[arg(long, num_args = 2, value_names = ["ISSUER", "SUBJECT"], action = clap::ArgAction::Append)]
    oidc: Vec<String>,
}

impl Identities {
    fn all(&self) -> Result<Vec<Identity>> {
        let of = |pair: &[String]| match pair {
            [issuer, subject] => Identity::oidc(issuer, subject),
            _ => Err(NotAnIdentity::Text),
        };
        let oidc = self.oidc.chunks(2).map(of).collect::<Result<Vec<_>, _>>();
        let oidc = oidc.map_err(|error| Usage(error.to_string()))?;
        Ok(self.iam.iter().cloned().chain(oidc).collect())
    }
}

/// The tables of callers, and of what is recorded about them.
pub(crate) fn callers(access: &str, audit: &str) -> Tables {
    Tables { access: Some(access.to_owned()), audit: Some(audit.to_owned()), ..Tables::default() }
}

pub(crate) async fn run(command: AccessCommand, format: Format) -> Result<End> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    match command {
        AccessCommand::Add(add) => add::run(&config, add, format).await,
        AccessCommand::Grant(grant) => grant::run(&config, grant, format).await,
        AccessCommand::List(table) => list::run(&table.ledger(&config).await?, format).await,
        AccessCommand::Revoke(revoke) => revoke::run(&config, revoke, format).await,
        AccessCommand::Passwd(passwd) => password::run(&config, passwd, format).await,
        AccessCommand::RotateKey(rotate) => access_key::rotate(rotate, format).await,
    }
}

impl Table {
    async fn ledger(&self, config: &SdkConfig) -> Result<Ledger> {
        let tables = match (&self.access_table, &self.audit_table, &self.stack) {
            (Some(access), Some(audit), _) => callers(access, audit),
            (_, _, Some(stack)) => {
                let stack = Stack::describe(config, stack).await?;
                callers(stack.output("AccessTable")?, stack.output("AuditTable")?)
            }
            _ => return Err(Usage("no table: give --stack or --access-table".to_owned()).into()),
        };
        Ok(Ledger::new(aws_sdk_dynamodb::Client::new(config), tables))
    }

    /// And who writes into it.
    async fn to_write(&self, config: &SdkConfig) -> Result<(Ledger, Actor)> {
        Ok((self.ledger(config).await?, actor(config).await?))
    }
}
