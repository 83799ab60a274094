//! `rootcast access passwd`, and how a password is read.

use std::io::Read;

use anyhow::{Context, Result, bail};
use aws_config::SdkConfig;
use clap::Args;
use console::Term;
use rootcast_core::access::password::{NoPassword, PasswordHash};
use rootcast_core::access::principal::PrincipalName;
use rootcast_ledger::LedgerError;
use serde_json::json;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{NOT_WRITTEN, Table};
use crate::{
    exit::{End, Usage},
    output::{self, Format, out},
};

#[derive(Debug, Args)]
pub(crate) struct Passwd {
    #[arg(value_name = "NAME")]
    name: PrincipalName,
    /// Read the password from standard input, a line break at its end left out
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    table: Table,
}

pub(super) async fn run(config: &SdkConfig, arguments: Passwd, format: Format) -> Result<End> {
    let Passwd { name, password_stdin, table } = arguments;
    let (ledger, by) = table.to_write(config).await?;
    match ledger.change_password(&name, &asked(password_stdin).await?, None, &by, OffsetDateTime::now_utc()).await {
        Err(LedgerError::Conflict) => bail!("there is no user {name}: `rootcast access list` shows the users"),
        changed => changed.context(NOT_WRITTEN)?,
    }
    match format {
        Format::Text => out!("The password of {name} is changed; tokens and sessions of the former one are invalid."),
        Format::Json => output::json(&json!({ "name": name, "changed": true }))?,
    }
    Ok(End::Done)
}

/// The prompt and the password hash both block.
pub(super) async fn asked(piped_in: bool) -> Result<PasswordHash> {
    let hashed = tokio::task::spawn_blocking(move || {
        let password = typed_or_piped(piped_in)?;
        PasswordHash::of(&password, random()?).map_err(|error| match error {
            NoPassword::Length => anyhow::Error::new(Usage(error.to_string())),
            NoPassword::Hashing(_) => error.into(),
        })
    });
    hashed.await?
}

/// The password itself, for a device.
pub(crate) async fn read(piped_in: bool) -> Result<Zeroizing<String>> {
    tokio::task::spawn_blocking(move || typed_or_piped(piped_in)).await?
}

fn typed_or_piped(piped_in: bool) -> Result<Zeroizing<String>> {
    if piped_in { piped() } else { typed() }
}

/// Asks twice, because a typing error is invisible without an echo.
fn typed() -> Result<Zeroizing<String>> {
    let terminal = Term::stderr();
    if !terminal.is_term() {
        return Err(Usage("no terminal to type a password at: use --password-stdin".to_owned()).into());
    }
    let ask = |prompt| -> Result<Zeroizing<String>> {
        terminal.write_str(prompt)?;
        Ok(Zeroizing::new(terminal.read_secure_line()?))
    };
    let (password, again) = (ask("Password: ")?, ask("Repeat the password: ")?);
    if password != again {
        return Err(Usage("the two passwords are not the same".to_owned()).into());
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

pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the operating system gives no random numbers")?;
    Ok(bytes)
}
