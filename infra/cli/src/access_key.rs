//! `rootcast access-key`: a key for a client that signs its requests, by the rights to write the stack's table of tokens
//! and to seal with its KMS key.

use anyhow::{Context, Result};
use aws_config::{BehaviorVersion, SdkConfig};
use clap::Args;
use rootcast_ledger::{AccessKeyId, AccessKeyRecord, Ledger, Tables};
use rootcast_seal::Sealer;
use serde_json::json;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::{
    allowed::{Allowed, told},
    exit::{End, Usage},
    output::{self, Format, out},
    stack::Stack,
};

/// As long as Huawei Cloud's are: 238 random bits.
const SECRET_LENGTH: usize = 40;
const SECRET_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

#[derive(Debug, Args)]
pub(crate) struct AccessKey {
    /// CloudFormation stack whose outputs name table and KMS key
    #[arg(long, value_name = "NAME", required_unless_present = "access_table")]
    stack: Option<String>,
    /// Name of the table of tokens, instead of the stack's; then --sealing-key is needed too
    #[arg(long, value_name = "NAME")]
    access_table: Option<String>,
    /// ARN of the KMS key that seals secrets, instead of the stack's
    #[arg(long, value_name = "ARN")]
    sealing_key: Option<String>,
    /// Who calls, for the records
    #[arg(long, value_name = "NAME", env = "USER")]
    principal: String,
    #[command(flatten)]
    allowed: Allowed,
    /// For how many days the key is good, instead of until it is removed
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=3650))]
    expires: Option<u16>,
}

pub(crate) async fn run(arguments: AccessKey, format: Format) -> Result<End> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let (table, sealing_key) = find(&config, &arguments).await?;
    let AccessKey { principal, allowed, expires, .. } = arguments;
    let created = OffsetDateTime::now_utc();
    let id: AccessKeyId = random_text(AccessKeyId::ALPHABET, AccessKeyId::LENGTH)?.parse()?;
    let secret = random_text(SECRET_ALPHABET, SECRET_LENGTH)?;

    let sealer = Sealer::new(&aws_sdk_kms::Client::new(&config), sealing_key);
    let sealed = sealer.seal(&id.seal_context(), secret.as_bytes()).await;
    let record = AccessKeyRecord {
        principal: principal.clone(),
        grants: allowed.grants(),
        secret: sealed.context("the secret could not be sealed with your AWS credentials")?,
        expires: expires.map(|days| created + Duration::days(i64::from(days))),
        created,
    };
    let ledger =
        Ledger::new(aws_sdk_dynamodb::Client::new(&config), Tables { access: Some(table), ..Tables::default() });
    ledger.put_access_key(&id, &record).await.context("the key could not be stored with your AWS credentials")?;

    match format {
        Format::Text => {
            let until = expires.map_or_else(|| "until it is removed".to_owned(), |days| format!("for {days} days"));
            out!("{principal} may sign requests with this key {until}. Its secret is shown this once.");
            out!("may         {}", told(&record.grants));
            out!("access key  {id}");
            out!("secret key  {}", *secret);
        }
        Format::Json => output::json(&json!({
            "access_key": id.to_string(),
            "secret_key": *secret,
            "principal": principal,
            "grants": record.grants,
            "expires": record.expires.map(OffsetDateTime::unix_timestamp),
        }))?,
    }
    Ok(End::Done)
}

/// The table and the KMS key: those that were given, and the stack's outputs for the others.
async fn find(config: &SdkConfig, arguments: &AccessKey) -> Result<(String, String)> {
    if let (Some(table), Some(key)) = (&arguments.access_table, &arguments.sealing_key) {
        return Ok((table.clone(), key.clone()));
    }
    let stack = arguments.stack.as_ref();
    let stack = stack.ok_or_else(|| Usage("--access-table needs --sealing-key as well".to_owned()))?;
    let stack = Stack::describe(config, stack).await?;
    let given_or =
        |given: &Option<String>, name| given.clone().map_or_else(|| stack.output(name).map(str::to_owned), Ok);
    Ok((given_or(&arguments.access_table, "AccessTable")?, given_or(&arguments.sealing_key, "AccessKeyArn")?))
}

/// Every letter of the alphabet is as likely as any other.
fn random_text(alphabet: &[u8], length: usize) -> Result<Zeroizing<String>> {
    // Bytes above the last whole round of the alphabet would make its first letters likelier.
    let fair = 256 - 256 % alphabet.len();
    let mut text = Zeroizing::new(String::with_capacity(length));
    while text.len() < length {
        let mut bytes = Zeroizing::new([0; 64]);
        getrandom::fill(&mut *bytes).context("the system gives no random numbers")?;
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
    fn random_texts_are_of_their_alphabet_and_differ() {
        let made: BTreeSet<String> =
            (0..100).map(|_| random_text(AccessKeyId::ALPHABET, AccessKeyId::LENGTH).unwrap().to_string()).collect();
        assert!(made.len() == 100 && made.iter().all(|text| text.parse::<AccessKeyId>().is_ok()));
        let letters: BTreeSet<u8> = random_text(SECRET_ALPHABET, 5000).unwrap().bytes().collect();
        assert_eq!(letters, BTreeSet::from_iter(SECRET_ALPHABET.iter().copied()));
    }
}
