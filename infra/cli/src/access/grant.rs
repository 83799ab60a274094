//! `rootcast access grant`.

use anyhow::{Context, Result, bail};
use aws_config::SdkConfig;
use clap::Args;
use rootcast_core::access::principal::PrincipalName;
use rootcast_ledger::LedgerError;
use serde_json::json;
use time::OffsetDateTime;

use super::{NOT_WRITTEN, Table};
use crate::{
    allowed::{Allowed, told},
    exit::{End, Usage},
    output::{self, Format, out},
};

#[derive(Debug, Args)]
pub(crate) struct Grant {
    #[arg(value_name = "NAME")]
    name: PrincipalName,
    #[command(flatten)]
    allowed: Allowed,
    #[command(flatten)]
    table: Table,
}

/// Replaces all rights and permissions: what is not given is taken away.
pub(super) async fn run(config: &SdkConfig, arguments: Grant, format: Format) -> Result<End> {
    let Grant { name, allowed, table } = arguments;
    if !allowed.is_said() {
        return Err(Usage("no rights: give --role, --grant or --permission".to_owned()).into());
    }
    let ((ledger, by), grants) = (table.to_write(config).await?, allowed.grants());
    match ledger.change_grants(&name, &grants, &by, OffsetDateTime::now_utc()).await {
        Err(LedgerError::Conflict) => bail!("there is no user {name}: `rootcast access list` shows the users"),
        changed => changed.context(NOT_WRITTEN)?,
    }
    match format {
        Format::Text => out!("{name} now has these rights: {}", told(&grants)),
        Format::Json => output::json(&json!({ "name": name, "grants": grants }))?,
    }
    Ok(End::Done)
}
