//! Access keys: `rootcast access-key` and `rootcast access rotate-key`. Requires AWS credentials that may write the
//! stack's access table and encrypt with its KMS key.

use anyhow::{Context, Result, bail};
use aws_config::{BehaviorVersion, SdkConfig};
use clap::Args;
use rootcast_core::access::principal::PrincipalName;
use rootcast_core::audit::Actor;
use rootcast_ledger::{AccessKeyId, AccessKeyRecord, Ledger, LedgerError, Tables};
use rootcast_seal::Sealer;
use serde_json::json;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::{
    access::{NOT_WRITTEN, callers},
    exit::{End, Usage},
    output::{self, Format, out},
    restore::actor,
    stack::Stack,
};

/// The length of Huawei Cloud's secrets: 238 random bits.
const SECRET_LENGTH: usize = 40;
const SECRET_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

#[derive(Debug, Args)]
pub(crate) struct AccessKey {
    #[command(flatten)]
    place: StackTable,
    /// The key's user, who was added with `rootcast access add`
    #[arg(long, value_name = "NAME")]
    principal: PrincipalName,
    /// Days until the key expires (default: never)
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=3650))]
    expires: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct RotateKey {
    /// The key to replace
    #[arg(value_name = "ACCESS_KEY")]
    old: AccessKeyId,
    /// Hours that the old key stays valid beside the new one
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u16).range(0..=720))]
    overlap: u16,
    #[command(flatten)]
    place: StackTable,
}

#[derive(Debug, Args)]
struct StackTable {
    /// CloudFormation stack whose outputs name table and KMS key
    #[arg(long, value_name = "NAME", required_unless_present = "access_table")]
    stack: Option<String>,
    /// Name of the access table, instead of the stack's; then --audit-table and --sealing-key are needed too
    #[arg(long, value_name = "NAME", requires = "audit_table")]
    access_table: Option<String>,
    /// Name of the table of audit chains, instead of the stack's
    #[arg(long, value_name = "NAME")]
    audit_table: Option<String>,
    /// ARN of the KMS key that seals secrets, instead of the stack's
    #[arg(long, value_name = "ARN")]
    sealing_key: Option<String>,
}

/// Creates access keys.
struct Forge {
    ledger: Ledger,
    by: Actor,
    sealer: Sealer,
}

pub(crate) async fn run(arguments: AccessKey, format: Format) -> Result<End> {
    let AccessKey { place, principal, expires } = arguments;
    let forge = place.forge().await?;
    let expires = expires.map(|days| OffsetDateTime::now_utc() + Duration::days(i64::from(days)));
    forge.make(principal, expires, format).await
}

pub(crate) async fn rotate(arguments: RotateKey, format: Format) -> Result<End> {
    let RotateKey { old, overlap, place } = arguments;
    let forge = place.forge().await?;
    let record = forge.ledger.access_key(&old).await.context(NOT_WRITTEN)?;
    let record = record.with_context(|| format!("there is no key {old}: `rootcast access list` shows them"))?;
    // The new key gets the old key's lifetime: a limited lifetime was chosen on purpose.
    let now = OffsetDateTime::now_utc();
    let expires = record.expires.map(|expires| now + (expires - record.created));
    forge.make(record.principal.clone(), expires, format).await?;
    let until = now + Duration::hours(i64::from(overlap));
    if record.expires.is_none_or(|expires| until < expires) {
        match forge.ledger.end_access_key(&old, &record.principal, until, &forge.by, now).await {
            // The old key was removed in the meantime.
            Ok(()) | Err(LedgerError::Conflict) => {}
            ended => ended.context(NOT_WRITTEN)?,
        }
    }
    if let Format::Text = format {
        match overlap {
            0 => out!("The key {old} is revoked."),
            hours => out!("The key {old} stays valid for {hours} hours."),
        }
    }
    Ok(End::Done)
}

impl Forge {
    async fn make(&self, principal: PrincipalName, expires: Option<OffsetDateTime>, format: Format) -> Result<End> {
        let Some(holder) = self.ledger.principal(&principal).await.context(NOT_WRITTEN)? else {
            bail!("there is no user {principal}: run `rootcast access add {principal}` first");
        };
        let id: AccessKeyId = random_text(AccessKeyId::ALPHABET, AccessKeyId::LENGTH)?.parse()?;
        let secret = random_text(SECRET_ALPHABET, SECRET_LENGTH)?;
        let sealed = self.sealer.seal(&id.seal_context(), secret.as_bytes()).await;
        let record = AccessKeyRecord {
            principal,
            epoch: holder.epoch,
            secret: sealed.context("the secret could not be sealed with your AWS credentials")?,
            expires,
            created: OffsetDateTime::now_utc(),
        };
        self.ledger.put_access_key(&id, &record, &self.by).await.context(NOT_WRITTEN)?;
        match format {
            Format::Text => {
                let until = expires.map_or_else(|| "it is revoked".to_owned(), |expires| expires.date().to_string());
                out!(
                    "{} may sign requests with this key until {until}. Its secret is shown this once.",
                    record.principal
                );
                out!("access key  {id}");
                out!("secret key  {}", *secret);
            }
            Format::Json => output::json(&json!({
                "access_key": id.to_string(),
                "secret_key": *secret,
                "principal": record.principal,
                "expires": expires.map(OffsetDateTime::unix_timestamp),
            }))?,
        }
        Ok(End::Done)
    }
}

impl StackTable {
    async fn forge(&self) -> Result<Forge> {
        let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
        let (tables, sealing_key) = self.find(&config).await?;
        Ok(Forge {
            by: actor(&config).await?,
            ledger: Ledger::new(aws_sdk_dynamodb::Client::new(&config), tables),
            sealer: Sealer::new(&aws_sdk_kms::Client::new(&config), sealing_key),
        })
    }

    /// The tables and the KMS key: from the arguments, else from the stack's outputs.
    async fn find(&self, config: &SdkConfig) -> Result<(Tables, String)> {
        if let (Some(access), Some(audit), Some(key)) = (&self.access_table, &self.audit_table, &self.sealing_key) {
            return Ok((callers(access, audit), key.clone()));
        }
        let stack = self.stack.as_ref();
        let stack = stack.ok_or_else(|| Usage("--access-table needs --sealing-key as well".to_owned()))?;
        let stack = Stack::describe(config, stack).await?;
        let given_or =
            |given: &Option<String>, name| given.clone().map_or_else(|| stack.output(name).map(str::to_owned), Ok);
        let access = given_or(&self.access_table, "AccessTable")?;
        let audit = given_or(&self.audit_table, "AuditTable")?;
        Ok((callers(&access, &audit), given_or(&self.sealing_key, "AccessKeyArn")?))
    }
}

/// Every character of the alphabet is equally likely.
fn random_text(alphabet: &[u8], length: usize) -> Result<Zeroizing<String>> {
    // Reject bytes above the largest multiple of the alphabet's length: they would favour its first characters.
    let fair = 256 - 256 % alphabet.len();
    let mut text = Zeroizing::new(String::with_capacity(length));
    while text.len() < length {
        let mut bytes = Zeroizing::new([0; 64]);
        getrandom::fill(&mut *bytes).context("the operating system gives no random numbers")?;
        let letters = bytes.iter().copied().map(usize::from).filter(|byte| *byte < fair);
        let missing = length - text.len();
        text.extend(letters.map(|byte| char::from(alphabet[byte % alphabet.len()])).take(missing));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn random_texts_use_their_alphabet_and_differ() {
        let made: BTreeSet<String> =
            (0..100).map(|_| random_text(AccessKeyId::ALPHABET, AccessKeyId::LENGTH).unwrap().to_string()).collect();
        assert!(made.len() == 100 && made.iter().all(|text| text.parse::<AccessKeyId>().is_ok()));
        let letters: BTreeSet<u8> = random_text(SECRET_ALPHABET, 5000).unwrap().bytes().collect();
        assert_eq!(letters, BTreeSet::from_iter(SECRET_ALPHABET.iter().copied()));
    }
}
