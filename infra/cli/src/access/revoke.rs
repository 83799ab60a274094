//! `rootcast access revoke`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use aws_config::SdkConfig;
use clap::Args;
use rootcast_core::access::principal::PrincipalName;
use rootcast_core::audit::{Act, Action, Actor, Name, Subject};
use rootcast_ledger::{AccessKeyId, Ledger};
use serde_json::json;
use time::OffsetDateTime;

use super::{Identities, NOT_WRITTEN, Table};
use crate::{
    exit::End,
    output::{self, Format, out},
};

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["name", "key", "iam", "oidc"]))]
pub(crate) struct Revoke {
    /// A user, with all of its credentials
    #[arg(value_name = "NAME", conflicts_with_all = ["key", "iam", "oidc"])]
    name: Option<PrincipalName>,
    /// Only this access key; may be repeated
    #[arg(long, value_name = "ACCESS_KEY")]
    key: Vec<AccessKeyId>,
    #[command(flatten)]
    identities: Identities,
    #[command(flatten)]
    table: Table,
}

pub(super) async fn run(config: &SdkConfig, arguments: Revoke, format: Format) -> Result<End> {
    let Revoke { name, key, identities, table } = arguments;
    let identities = identities.all()?;
    let (ledger, by) = table.to_write(config).await?;
    let now = OffsetDateTime::now_utc();
    let mut revoked = Vec::new();
    if let Some(name) = name {
        if !principal(&ledger, &name, &by).await.context(NOT_WRITTEN)? {
            bail!("there is no user {name}: `rootcast access list` shows the users");
        }
        revoked.push(name.to_string());
    }
    for id in key {
        if !ledger.remove_access_key(&id, &by, now).await.context(NOT_WRITTEN)? {
            bail!("there is no key {id}: `rootcast access list` shows them");
        }
        revoked.push(id.to_string());
    }
    for identity in identities {
        let tokens = logins(&ledger, &[identity.to_string()], &by).await.context(NOT_WRITTEN)?;
        if !ledger.remove_identity(&identity, &by, now).await.context(NOT_WRITTEN)? && !tokens {
            bail!(
                "{identity} belongs to no user and has no token: `rootcast access list` shows the identities that do"
            );
        }
        revoked.push(identity.to_string());
    }
    match format {
        Format::Text => {
            out!("{} revoked; all of its tokens are invalid.", revoked.join(", "))
        }
        Format::Json => output::json(&json!({ "revoked": revoked }))?,
    }
    Ok(End::Done)
}

/// Removes the principal first, which invalidates its credentials, tokens and sessions at once. Then removes what does
/// not depend on the principal's record: tokens of `rootcast login` that were made for this name, or for an identity
/// that belongs to the principal. Then its keys and identities, including those that an interrupted revocation left.
/// Returns whether anything was removed.
async fn principal(ledger: &Ledger, name: &PrincipalName, by: &Actor) -> Result<bool> {
    let now = OffsetDateTime::now_utc();
    let mut any = ledger.remove_principal(name, by, now).await?;
    let identities = ledger.identities().await?;
    let his = identities.iter().filter(|(_, bound)| bound.principal == *name);
    let names: Vec<String> = his.map(|(identity, _)| identity.to_string()).chain([name.to_string()]).collect();
    any |= logins(ledger, &names, by).await?;
    for (id, key) in ledger.access_keys().await? {
        any |= key.principal == *name && ledger.remove_access_key(&id, by, now).await?;
    }
    for (identity, bound) in identities {
        any |= bound.principal == *name && ledger.remove_identity(&identity, by, now).await?;
    }
    Ok(any)
}

/// Removes the tokens of `rootcast login` that have one of these names, and every token for which one of these
/// identities was exchanged: it must stay invalid when the identity is given to the same user again. Returns whether
/// there was one.
async fn logins(ledger: &Ledger, names: &[String], by: &Actor) -> Result<bool> {
    let now = OffsetDateTime::now_utc();
    let mut any = false;
    let mut ended: BTreeMap<String, u64> = BTreeMap::new();
    for (token, record) in ledger.tokens().await? {
        let exchanged = record.exchanged.as_ref().and_then(|exchanged| exchanged.identity.as_ref());
        let is_of = |name: &String| *name == record.principal || exchanged.is_some_and(|it| it.to_string() == *name);
        if record.granted.is_none() && names.iter().any(is_of) {
            ledger.remove_token(&token).await?;
            any |= record.until() > now;
            *ended.entry(record.principal).or_default() += 1;
        }
    }
    for (name, tokens) in ended {
        let subject = Subject::Principal(Name::of(&name));
        ledger.audit(&Act::new(subject, Action::Logout, by, now).with("tokens", tokens)).await?;
    }
    Ok(any)
}
