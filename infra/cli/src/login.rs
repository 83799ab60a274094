//! `rootcast login`: creates a token for the caller. Requires AWS credentials that may write the stack's access
//! table.
//!
//! A token belongs to a principal, whose rights it has at every request; or to the caller's IAM identity, with rights of
//! its own. So its name is never one that a later principal could have.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use aws_config::{BehaviorVersion, SdkConfig};
use clap::Args;
use rootcast_core::access::identity::Identity;
use rootcast_core::access::permission::Grants;
use rootcast_core::access::principal::PrincipalName;
use rootcast_core::access::token::Token;
use rootcast_ledger::{Exchanged, Ledger, Tables, TokenRecord};
use serde_json::json;
use time::{Duration, OffsetDateTime};
use url::Url;

use crate::{
    access::callers,
    allowed::Allowed,
    api::Api,
    arguments::AccessArguments,
    exit::{End, Usage},
    output::{self, Format, out},
    profile::Access,
    restore::actor,
    stack::Stack,
};

const NOT_READ: &str = "the access table could not be read with your AWS credentials";
/// A route that every caller may use.
const VERSION: &str = "/vedsdk/systemstatus/version";

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// CloudFormation stack whose outputs name table and API
    #[arg(long, value_name = "NAME", required_unless_present = "access_table")]
    stack: Option<String>,
    /// Name of the access table, instead of the stack's; then --audit-table and --url are needed too
    #[arg(long, value_name = "NAME", requires = "audit_table")]
    access_table: Option<String>,
    /// Name of the table of audit chains, instead of the stack's
    #[arg(long, value_name = "NAME")]
    audit_table: Option<String>,
    /// User whose rights the token has; default: the user that your IAM identity belongs to, else that identity itself
    #[arg(long, value_name = "NAME")]
    principal: Option<PrincipalName>,
    #[command(flatten)]
    allowed: Allowed,
    /// Hours until the token expires
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u8).range(1..=24))]
    hours: u8,
    /// Print the token too, for use as ROOTCAST_TOKEN
    #[arg(long)]
    print: bool,
}

pub(crate) async fn run(arguments: &AccessArguments, login: Login, format: Format) -> Result<End> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let (tables, url) = find(&config, &login, arguments.url.clone()).await?;
    let ca = arguments.ca.as_deref().map(std::path::absolute).transpose()?;
    let lifetime = Duration::hours(login.hours.into());
    let (name, access) = grant(&config, tables, login.principal, login.allowed, lifetime, url, ca).await?;
    let file = arguments.file()?;
    access.save(&file)?;
    // Report a wrong address now, and not at the first use.
    Api::connect(&access)?.raw(VERSION).await?;
    match format {
        Format::Text => {
            out!("{name} may call {} for {} hours.", access.url, login.hours);
            out!("Saved in {}.", file.display());
            if login.print {
                out!("{}", access.token.expose());
            }
        }
        Format::Json => {
            let token = login.print.then(|| access.token.expose());
            output::json(&json!({"url": access.url, "principal": name, "profile": file, "token": token}))?;
        }
    }
    Ok(End::Done)
}

/// Creates a token, stores its hash in the access table, and returns whose it is and what its owner needs to call the API.
pub(crate) async fn grant(
    config: &SdkConfig,
    tables: Tables,
    principal: Option<PrincipalName>,
    allowed: Allowed,
    lifetime: Duration,
    url: Url,
    ca: Option<PathBuf>,
) -> Result<(String, Access)> {
    let ledger = Ledger::new(aws_sdk_dynamodb::Client::new(config), tables);
    let created = OffsetDateTime::now_utc();
    let (principal, grants, exchanged) = owner(config, &ledger, principal, allowed).await?;
    let record = TokenRecord { principal, grants, granted: None, exchanged, created, expires: created + lifetime };
    let mut random = [0; Token::RANDOM_BYTES];
    getrandom::fill(&mut random).context("the operating system gives no random numbers")?;
    let token = Token::from_random(&random);
    ledger.log_in(&token.sha256(), &record, &actor(config).await?).await.context(
        "no token could be stored with your AWS credentials \
         (those of an SSO session: eval \"$(aws configure export-credentials --format env)\")",
    )?;
    Ok((record.principal, Access { url, token, ca }))
}

/// Whose token it is: name, own rights, and what ties it to a principal.
type Owner = (String, Grants, Option<Exchanged>);

async fn owner(
    config: &SdkConfig,
    ledger: &Ledger,
    principal: Option<PrincipalName>,
    allowed: Allowed,
) -> Result<Owner> {
    if let Some(name) = principal {
        return of_user(ledger, name, None, &allowed).await;
    }
    let identity = caller(config).await?;
    match ledger.owner(&identity).await.context(NOT_READ)? {
        Some(name) => of_user(ledger, name, Some(identity), &allowed).await,
        None => Ok((identity.to_string(), allowed.grants(), None)),
    }
}

async fn of_user(ledger: &Ledger, name: PrincipalName, identity: Option<Identity>, allowed: &Allowed) -> Result<Owner> {
    let Some(user) = ledger.principal(&name).await.context(NOT_READ)? else {
        bail!(
            "there is no user {name}: add it with `rootcast access add {name}`, or leave out --principal for a token of \
             your IAM identity"
        );
    };
    if allowed.is_said() {
        return Err(Usage(format!(
            "a token of the user {name} has that user's rights: leave out --role, --grant and --permission, or choose \
             another user with --principal"
        ))
        .into());
    }
    Ok((name.to_string(), Grants::default(), Some(Exchanged { identity, epoch: user.epoch })))
}

/// The IAM user or role that the AWS credentials belong to. The call needs no permission.
async fn caller(config: &SdkConfig) -> Result<Identity> {
    let asked = aws_sdk_sts::Client::new(config).get_caller_identity().send().await;
    let arn = asked.context("AWS does not say whose your credentials are (sts:GetCallerIdentity)")?.arn;
    let arn = arn.context("AWS names no ARN for your credentials")?;
    Identity::iam(&arn).with_context(|| format!("{arn} gets no token: choose a user with --principal"))
}

/// The tables and the API's address: from the arguments, else from the stack's outputs.
async fn find(config: &SdkConfig, login: &Login, url: Option<Url>) -> Result<(Tables, Url)> {
    if let (Some(access), Some(audit), Some(url)) = (&login.access_table, &login.audit_table, &url) {
        return Ok((callers(access, audit), url.clone()));
    }
    let stack = login.stack.as_ref().ok_or_else(|| Usage("--access-table needs --url as well".to_owned()))?;
    let stack = Stack::describe(config, stack).await?;
    let given_or =
        |given: &Option<String>, name| given.clone().map_or_else(|| stack.output(name).map(str::to_owned), Ok);
    let (access, audit) = (given_or(&login.access_table, "AccessTable")?, given_or(&login.audit_table, "AuditTable")?);
    let url = url.map_or_else(|| Ok::<_, anyhow::Error>(stack.output("ApiUrl")?.parse()?), Ok)?;
    Ok((callers(&access, &audit), url))
}
