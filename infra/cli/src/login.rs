//! `rootcast login`: creates a token for the caller. Requires AWS credentials that may write the stack's access
//! table.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use aws_config::{BehaviorVersion, SdkConfig};
use clap::Args;
use rootcast_core::access::permission::Grants;
use rootcast_core::access::token::Token;
use rootcast_ledger::{Ledger, Tables, TokenRecord};
use serde_json::json;
use time::OffsetDateTime;
use url::Url;

use crate::{
    allowed::Allowed,
    api::Api,
    arguments::AccessArguments,
    exit::{End, Usage},
    output::{self, Format, out},
    profile::Access,
    stack::Stack,
};

/// A route that every caller may use.
const VERSION: &str = "/vedsdk/systemstatus/version";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// CloudFormation stack whose outputs name table and API
    #[arg(long, value_name = "NAME", required_unless_present = "access_table")]
    stack: Option<String>,
    /// Name of the access table, instead of the stack's; then --url is needed too
    #[arg(long, value_name = "NAME")]
    access_table: Option<String>,
    /// Name of the caller in the audit record
    #[arg(long, value_name = "NAME", env = "USER")]
    principal: String,
    #[command(flatten)]
    allowed: Allowed,
    /// Days until the token expires
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=365))]
    days: u16,
    /// Print the token too, for use as ROOTCAST_TOKEN
    #[arg(long)]
    print: bool,
}

pub(crate) async fn run(arguments: &AccessArguments, login: Login, format: Format) -> Result<End> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let (table, url) = find(&config, &login, arguments.url.clone()).await?;
    let ca = arguments.ca.as_deref().map(std::path::absolute).transpose()?;
    let grants = login.allowed.clone().grants();
    let lifetime = u32::from(login.days) * DAY;
    let access = grant(&config, &table, &login.principal, grants, lifetime, url, ca).await.context(
        "no token could be stored with your AWS credentials \
         (those of an SSO session: eval \"$(aws configure export-credentials --format env)\")",
    )?;
    let file = arguments.file()?;
    access.save(&file)?;
    // Report a wrong address now, and not at the first use.
    Api::connect(&access)?.raw(VERSION).await?;
    match format {
        Format::Text => {
            out!("{} may call {} for {} days.", login.principal, access.url, login.days);
            out!("Saved in {}.", file.display());
            if login.print {
                out!("{}", access.token.expose());
            }
        }
        Format::Json => {
            let token = login.print.then(|| access.token.expose());
            output::json(&json!({"url": access.url, "principal": login.principal, "profile": file, "token": token}))?;
        }
    }
    Ok(End::Done)
}

/// Creates a token, stores its hash in `table`, and returns what its owner needs to call the API.
pub(crate) async fn grant(
    config: &SdkConfig,
    table: &str,
    principal: &str,
    grants: Grants,
    lifetime: Duration,
    url: Url,
    ca: Option<PathBuf>,
) -> Result<Access> {
    let tables = Tables { access: Some(table.to_owned()), ..Tables::default() };
    let ledger = Ledger::new(aws_sdk_dynamodb::Client::new(config), tables);
    let created = OffsetDateTime::now_utc();
    let expires = created + lifetime;
    let record =
        TokenRecord { principal: principal.to_owned(), grants, granted: None, exchanged: None, created, expires };
    let mut random = [0; Token::RANDOM_BYTES];
    getrandom::fill(&mut random).context("the operating system gives no random numbers")?;
    let token = Token::from_random(&random);
    ledger.put_token(&token.sha256(), &record).await?;
    Ok(Access { url, token, ca })
}

/// The access table and the API's address: from the arguments, else from the stack's outputs.
async fn find(config: &SdkConfig, login: &Login, url: Option<Url>) -> Result<(String, Url)> {
    if let (Some(table), Some(url)) = (&login.access_table, &url) {
        return Ok((table.clone(), url.clone()));
    }
    let stack = login.stack.as_ref().ok_or_else(|| Usage("--access-table needs --url as well".to_owned()))?;
    let stack = Stack::describe(config, stack).await?;
    let table = login.access_table.clone().map_or_else(|| stack.output("AccessTable").map(str::to_owned), Ok)?;
    let url = url.map_or_else(|| Ok::<_, anyhow::Error>(stack.output("ApiUrl")?.parse()?), Ok)?;
    Ok((table, url))
}
