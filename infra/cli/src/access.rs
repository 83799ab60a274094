//! `rootcast access`: who may log in with a password, by the rights to write the stack's table of tokens.

use std::io::Read;

use anyhow::{Context, Result, bail};
use aws_config::{BehaviorVersion, SdkConfig};
use clap::{Args, Subcommand};
use console::Term;
use rootcast_core::{
    password::{NoPassword, PasswordHash},
    principal::PrincipalName,
};
use rootcast_ledger::{Ledger, LedgerError, PrincipalRecord, Tables};
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use zeroize::Zeroizing;

use crate::{
    allowed::{Allowed, told},
    exit::{End, Usage},
    output::{self, Format, out},
    stack::Stack,
};

const NOT_WRITTEN: &str = "the table of tokens could not be written with your AWS credentials";

/// Who may log in with a password
#[derive(Debug, Subcommand)]
pub(crate) enum AccessCommand {
    /// Let somebody log in with a password, which is asked for at the terminal
    Add(Add),
    /// Show who may log in with a password
    List(Table),
    /// Let somebody in no more: every token that was given for the password ends at once
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The name to log in with
    #[arg(value_name = "NAME")]
    name: PrincipalName,
    #[command(flatten)]
    allowed: Allowed,
    /// Read the password from standard input, a line break at its end left out
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    table: Table,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[arg(value_name = "NAME")]
    name: PrincipalName,
    #[command(flatten)]
    table: Table,
}

#[derive(Debug, Args)]
pub(crate) struct Table {
    /// CloudFormation stack whose outputs name the table
    #[arg(long, value_name = "NAME", required_unless_present = "access_table")]
    stack: Option<String>,
    /// Name of the table of tokens, instead of the stack's
    #[arg(long, value_name = "NAME")]
    access_table: Option<String>,
}

pub(crate) async fn run(command: AccessCommand, format: Format) -> Result<End> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    match command {
        AccessCommand::Add(add) => self::add(&config, add, format).await,
        AccessCommand::List(table) => list(&table.ledger(&config).await?, format).await,
        AccessCommand::Revoke(revoke) => self::revoke(&revoke.table.ledger(&config).await?, &revoke.name, format).await,
    }
}

async fn add(config: &SdkConfig, arguments: Add, format: Format) -> Result<End> {
    let Add { name, allowed, password_stdin, table } = arguments;
    let ledger = table.ledger(config).await?;
    // Both wait: for somebody who types, and for the CPU.
    let password = tokio::task::spawn_blocking(move || {
        let password = if password_stdin { piped()? } else { typed()? };
        PasswordHash::of(&password, random()?).map_err(|error| match error {
            NoPassword::Length => anyhow::Error::new(Usage(error.to_string())),
            NoPassword::Hashing(_) => error.into(),
        })
    });
    let record = PrincipalRecord {
        password: password.await??,
        grants: allowed.grants(),
        epoch: u64::from_be_bytes(random()?),
        created: OffsetDateTime::now_utc(),
    };
    match ledger.put_principal(&name, &record).await {
        Err(LedgerError::Conflict) => bail!("{name} may log in already: `rootcast access revoke {name}` comes first"),
        put => put.context(NOT_WRITTEN)?,
    }
    match format {
        Format::Text => out!("{name} may log in, and may: {}", told(&record.grants)),
        Format::Json => output::json(&shown(&name, &record)?)?,
    }
    Ok(End::Done)
}

async fn list(ledger: &Ledger, format: Format) -> Result<End> {
    let principals = ledger.principals().await;
    let principals = principals.context("the table of tokens could not be read with your AWS credentials")?;
    match format {
        Format::Json => {
            for (name, record) in &principals {
                output::json(&shown(name, record)?)?;
            }
        }
        Format::Text => {
            let row = |(name, record): (&PrincipalName, &PrincipalRecord)| {
                Ok([name.to_string(), created(record)?, told(&record.grants)])
            };
            let rows = principals.iter().map(row).collect::<Result<Vec<_>>>()?;
            out!("{}", output::table(["name", "created", "may"], &rows));
        }
    }
    Ok(End::Done)
}

async fn revoke(ledger: &Ledger, name: &PrincipalName, format: Format) -> Result<End> {
    if !ledger.remove_principal(name).await.context(NOT_WRITTEN)? {
        bail!("nobody logs in as {name}: `rootcast access list` shows who does");
    }
    match format {
        Format::Text => {
            out!("{name} may log in no more, and no token that was given for the password is good any more.")
        }
        Format::Json => output::json(&json!({ "name": name, "revoked": true }))?,
    }
    Ok(End::Done)
}

/// Never the password's hash.
fn shown(name: &PrincipalName, record: &PrincipalRecord) -> Result<serde_json::Value> {
    Ok(json!({ "name": name, "grants": record.grants, "created": created(record)? }))
}

/// In whole seconds.
fn created(record: &PrincipalRecord) -> Result<String> {
    Ok(record.created.replace_nanosecond(0)?.format(&Rfc3339)?)
}

impl Table {
    async fn ledger(&self, config: &SdkConfig) -> Result<Ledger> {
        let table = match (&self.access_table, &self.stack) {
            (Some(table), _) => table.clone(),
            (None, Some(stack)) => Stack::describe(config, stack).await?.output("AccessTable")?.to_owned(),
            (None, None) => return Err(Usage("no table: give --stack or --access-table".to_owned()).into()),
        };
        Ok(Ledger::new(aws_sdk_dynamodb::Client::new(config), Tables { access: Some(table), ..Tables::default() }))
    }
}

/// Twice, and without an echo: nobody sees a slip of the finger.
fn typed() -> Result<Zeroizing<String>> {
    let terminal = Term::stderr();
    if !terminal.is_term() {
        return Err(Usage("no terminal to type a password at: use --password-stdin".to_owned()).into());
    }
    let ask = |prompt| -> Result<Zeroizing<String>> {
        terminal.write_str(prompt)?;
        Ok(Zeroizing::new(terminal.read_secure_line()?))
    };
    let (password, again) = (ask("Password: ")?, ask("The same again: ")?);
    if password != again {
        return Err(Usage("these were two passwords".to_owned()).into());
    }
    Ok(password)
}

fn piped() -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().read_to_string(&mut text).context("no password on standard input")?;
    let length = text.strip_suffix('\n').map_or(text.len(), |line| line.strip_suffix('\r').unwrap_or(line).len());
    text.truncate(length);
    Ok(text)
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
    Ok(bytes)
}
