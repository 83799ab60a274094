//! `rootcast root protect-keys`: gives existing root keys, those of an earlier version too, the policy with which keys
//! are made now.

use anyhow::{Context, Result, bail};
use aws_config::BehaviorVersion;
use aws_sdk_kms::types::{KeyMetadata, KeyState, KeyUsageType};
use clap::Args;
use rootcast_core::audit::{Act, Action, Actor, Outcome, Subject};
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Ledger, RootRecord, Tables};
use rootcast_vault::{KeyRole, KeyRoles, Vault};
use serde_json::json;
use time::OffsetDateTime;

use crate::{
    exit::End,
    output::{self, Format, note, out},
    restore::actor,
    stack::Stack,
};

/// The tag with which an earlier version marked a key before its root signed for the first time.
const SIGNS_TAG: &str = "rootcast:signs";

#[derive(Debug, Args)]
pub(crate) struct ProtectKeys {
    /// CloudFormation stack whose root keys were made by an earlier version, or with another LeavesFromRoot
    #[arg(long, value_name = "NAME")]
    stack: String,
}

struct Protector {
    ledger: Ledger,
    kms: aws_sdk_kms::Client,
    vault: Vault,
    roles: KeyRoles,
    by: Actor,
}

/// May be repeated. Only keys that a record of the stack names, and that were made for that record's root. A key that
/// cannot be changed keeps no other from it.
pub(super) async fn run(ProtectKeys { stack: name }: ProtectKeys, format: Format) -> Result<End> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let stack = Stack::describe(&config, &name).await?;
    let table = |output| stack.output(output).map(|name| Some(name.to_owned()));
    let tables = Tables { certificates: table("CertificatesTable")?, audit: table("AuditTable")?, ..Tables::default() };
    let kms = aws_sdk_kms::Client::new(&config);
    let protector = Protector {
        ledger: Ledger::new(aws_sdk_dynamodb::Client::new(&config), tables),
        vault: Vault::new(&kms, &aws_sdk_resourcegroupstagging::Client::new(&config), name.as_str()),
        kms,
        roles: roles(&stack)?,
        by: actor(&config).await?,
    };
    let unread = "the table of roots cannot be read";
    let ledger = &protector.ledger;
    let roots = ledger.roots(&ledger.authority().await.context(unread)?).await.context(unread)?;
    let (mut protected, mut failed) = (Vec::new(), Vec::new());
    for root in &roots {
        let Some(key) = &root.key else { continue };
        let has_signed = protector.has_signed(root, key).await;
        // Of a retired one, only a key that is to be kept and does not let the conductor do so.
        let is_settled = root.retirement.as_ref().is_none_or(|retirement| retirement.done);
        if (root.state == GenerationState::Retired && is_settled)
            || (root.state == GenerationState::Abandoned && !has_signed.as_ref().is_ok_and(|signed| *signed))
        {
            continue;
        }
        let done = match has_signed {
            Ok(has_signed) => protector.protect(root, key, has_signed).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => protected.push(json!({ "generation": root.generation, "key": key })),
            Err(error) => {
                let reason = format!("{error:#}");
                note!("root generation {}: {key} is not protected: {reason}", root.generation);
                failed.push(json!({ "generation": root.generation, "key": key, "reason": reason }));
            }
        }
    }
    let end = End::unless(!failed.is_empty());
    match format {
        Format::Json => output::json(&json!({ "protected": protected, "failed": failed }))?,
        Format::Text if protected.len() == 1 => out!("1 key has the policy of this version."),
        Format::Text => out!("{} keys have the policy of this version.", protected.len()),
    }
    Ok(end)
}

/// As the functions of the stack read them.
fn roles(stack: &Stack) -> Result<KeyRoles> {
    let roles: KeyRoles = stack.output("KeyRoles")?.parse().context("the stack's output KeyRoles cannot be used")?;
    let leaves = stack.output("LeavesFromRoot")?.parse();
    Ok(roles.with_leaves_from_root(leaves.context("the stack's output LeavesFromRoot cannot be used")?))
}

impl Protector {
    /// Restored tables may say of a root that signs that it is only published.
    async fn has_signed(&self, root: &RootRecord, key: &str) -> Result<bool> {
        if !matches!(root.state, GenerationState::Reserved | GenerationState::Published | GenerationState::Abandoned) {
            return Ok(true);
        }
        let tags = self.kms.list_resource_tags().key_id(key).send().await.context("its tags cannot be read")?;
        Ok(tags.tags().iter().any(|tag| tag.tag_key() == SIGNS_TAG))
    }

    async fn protect(&self, root: &RootRecord, key: &str, has_signed: bool) -> Result<()> {
        let shown = self.kms.describe_key().key_id(key).send().await.context("KMS does not show it")?;
        self.admit(root, key, &shown.key_metadata.context("KMS says nothing of it")?).await?;
        let act = Act::new(Subject::Root(root.generation), Action::SetPolicy, &self.by, OffsetDateTime::now_utc());
        let begun = act.with("key", key).came_to(Outcome::Begun);
        self.ledger.audit(&begun).await.context("the audit entry cannot be written")?;
        let put = self.kms.put_key_policy().key_id(key).policy(self.roles.policy(KeyRole::Root)).send().await;
        put.context("its policy cannot be replaced with your AWS credentials")?;
        // The conductor names a root's key when it activates the root.
        if has_signed { self.name(root, key).await } else { Ok(()) }
    }

    /// Whoever can write the table could name a key of others there, and have its policy replaced.
    async fn admit(&self, root: &RootRecord, key: &str, shown: &KeyMetadata) -> Result<()> {
        let expected = self.vault.description(KeyRole::Root, root.generation);
        let described = shown.description().unwrap_or_default();
        if described != expected || shown.key_usage() != Some(&KeyUsageType::SignVerify) || shown.arn() != Some(key) {
            bail!(
                "it is not a signing key with the description {expected:?}, but says {described:?}: who wrote the record?"
            );
        }
        match (shown.key_state(), &root.certificate) {
            // KMS shows no public key of it.
            (Some(KeyState::Disabled | KeyState::PendingDeletion), _) | (_, None) => Ok(()),
            (_, Some(certificate)) => Ok(self.vault.confirm(key, certificate).await?),
        }
    }

    /// Works for a disabled key as well.
    async fn name(&self, root: &RootRecord, key: &str) -> Result<()> {
        let alias = self.vault.alias(root.spec.serial);
        let cannot = "it cannot be protected from deletion";
        match self.kms.describe_key().key_id(&alias).send().await {
            Ok(named) if named.key_metadata.as_ref().and_then(KeyMetadata::arn) == Some(key) => Ok(()),
            Ok(_) => bail!("{cannot}: {alias} is the name of another key"),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found_exception()) => {
                self.vault.mark_as_signing(key, root.spec.serial).await.context(cannot)
            }
            Err(error) => Err(error).context(cannot),
        }
    }
}
