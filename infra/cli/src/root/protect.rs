//! `rootcast root protect-keys`: gives the root keys of an earlier version the policy with which keys are made now.

use anyhow::{Context, Result};
use aws_config::BehaviorVersion;
use clap::Args;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Ledger, Tables};
use rootcast_vault::{KeyRoles, Vault};
use serde_json::json;

use crate::{
    exit::End,
    output::{self, Format, out},
    stack::Stack,
};

#[derive(Debug, Args)]
pub(crate) struct ProtectKeys {
    /// CloudFormation stack whose root keys were made by an earlier version
    #[arg(long, value_name = "NAME")]
    stack: String,
}

/// May be repeated. Only keys that a record of the stack names.
pub(super) async fn run(ProtectKeys { stack: name }: ProtectKeys, format: Format) -> Result<End> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let stack = Stack::describe(&config, &name).await?;
    let certificates = Some(stack.output("CertificatesTable")?.to_owned());
    let roles: KeyRoles = stack.output("KeyRoles")?.parse().context("the stack's output KeyRoles cannot be used")?;
    let ledger = Ledger::new(aws_sdk_dynamodb::Client::new(&config), Tables { certificates, ..Tables::default() });
    let kms = aws_sdk_kms::Client::new(&config);
    let vault = Vault::new(&kms, &aws_sdk_resourcegroupstagging::Client::new(&config), name.as_str());
    let unread = "the table of roots cannot be read";
    let roots = ledger.roots(&ledger.authority().await.context(unread)?).await.context(unread)?;
    let mut protected = Vec::new();
    for root in &roots {
        let Some(key) = &root.key else { continue };
        if matches!(root.state, GenerationState::Abandoned | GenerationState::Retired) {
            continue;
        }
        let put = kms.put_key_policy().key_id(key).policy(roles.policy()).send().await;
        put.with_context(|| format!("the policy of {key} cannot be replaced with your AWS credentials"))?;
        // The conductor names a root's key when it activates the root.
        if !matches!(root.state, GenerationState::Reserved | GenerationState::Published) {
            let named = vault.mark_as_signing(key, root.spec.serial).await;
            named.with_context(|| format!("{key} cannot be protected from deletion"))?;
        }
        protected.push(json!({ "generation": root.generation, "key": key }));
    }
    match format {
        Format::Json => output::json(&json!({ "protected": protected }))?,
        Format::Text => out!("{} keys have the policy of this version.", protected.len()),
    }
    Ok(End::Done)
}
