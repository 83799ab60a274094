//! `rootcast access add`.

use anyhow::{Context, Result, bail};
use aws_config::SdkConfig;
use clap::Args;
use rootcast_core::access::principal::PrincipalName;
use rootcast_core::access::second::Person;
use rootcast_ledger::{IdentityRecord, LedgerError, PrincipalRecord};
use serde_json::json;
use time::OffsetDateTime;

use super::{
    Identities, NOT_WRITTEN, Table,
    password::{asked, random},
};
use crate::{
    allowed::{Allowed, told},
    exit::End,
    output::{self, Format, out},
};

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The name to log in with
    #[arg(value_name = "NAME", value_parser = PrincipalName::to_add)]
    name: PrincipalName,
    /// Whose user it is, if somebody has several: nobody confirms a request of his own as another user of his. Default: the
    /// user's name
    #[arg(long, value_name = "PERSON")]
    person: Option<Person>,
    #[command(flatten)]
    allowed: Allowed,
    /// Read the password from standard input, a line break at its end left out
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    identities: Identities,
    #[command(flatten)]
    table: Table,
}

/// A user with an identity needs no password. An existing user only gets the new identities.
pub(super) async fn run(config: &SdkConfig, arguments: Add, format: Format) -> Result<End> {
    let Add { name, person, allowed, password_stdin, identities, table } = arguments;
    let identities = identities.all()?;
    let (ledger, by) = table.to_write(config).await?;
    // Check every identity before the first write.
    for identity in &identities {
        if let Some(owner) = ledger.owner(identity).await.context(NOT_WRITTEN)?.filter(|owner| *owner != name) {
            bail!("{identity} belongs to {owner} already: revoke it first with `rootcast access revoke`");
        }
    }
    let there = ledger.principal(&name).await.context(NOT_WRITTEN)?;
    let record = match there {
        Some(_) if (identities.is_empty() && person.is_none()) || password_stdin || allowed.is_said() => bail!(
            "user {name} exists already. Add identities with --iam or --oidc alone, say whose it is with --person; change the password with \
             `rootcast access passwd {name}`; for anything else, run `rootcast access revoke {name}` first"
        ),
        Some(record) => {
            if let Some(person) = &person {
                ledger.change_person(&name, person, &by, OffsetDateTime::now_utc()).await.context(NOT_WRITTEN)?;
            }
            record
        }
        None => {
            let password =
                if password_stdin || identities.is_empty() { Some(asked(password_stdin).await?) } else { None };
            let record = PrincipalRecord {
                password,
                grants: allowed.grants(),
                epoch: u64::from_be_bytes(random()?),
                created: OffsetDateTime::now_utc(),
                person: person.clone(),
                made_by: Default::default(),
            };
            match ledger.put_principal(&name, &record, &by).await {
                Err(LedgerError::Conflict) => bail!("another process has just added {name}"),
                put => put.context(NOT_WRITTEN)?,
            }
            record
        }
    };
    for identity in &identities {
        let bound = IdentityRecord { principal: name.clone(), epoch: record.epoch, created: OffsetDateTime::now_utc() };
        ledger.tie_identity(identity, &bound, &by).await.context(NOT_WRITTEN)?;
    }
    match format {
        Format::Text => out!("{name} is added, with these rights: {}", told(&record.grants)),
        Format::Json => {
            let password = record.password.is_some();
            output::json(&json!({
                "name": name, "grants": record.grants, "password": password, "identities": identities,
            }))?;
        }
    }
    Ok(End::Done)
}
