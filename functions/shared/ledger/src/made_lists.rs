//! Which of a signer's [1 088 possible lists](CrlId::all) were made: their numbers, in one record of the signer, `crls#{signer}`.
//!
//! A number is added before its list is published, by an update that adds to a set: two writers do not hinder each other, and
//! who dies in between leaves a number without a list. All possible lists are read once a day, since an earlier release
//! made lists without adding their numbers.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use rootcast_pki::crl::CrlId;
use rootcast_pki::signer::SignerId;
use serde::Deserialize;
use time::{Duration, OffsetDateTime};

use crate::item::{Item, from_item, job_key, number};
use crate::revocation::list_key;
use crate::{CrlHead, Ledger, LedgerError};

const PREFIX: &str = "crls#";
const MADE: &str = "made";
const READ_WHOLE: Duration = Duration::DAY;

#[derive(Debug, Default, Deserialize)]
struct Made {
    #[serde(default)]
    lists: Vec<u16>,
    /// When all possible lists were last read.
    #[serde(with = "time::serde::timestamp::option", default)]
    whole: Option<OffsetDateTime>,
}

fn made_key(signer: SignerId) -> Item {
    job_key(format!("{PREFIX}{signer}"), MADE)
}

fn made(item: Item) -> Result<Option<(SignerId, Made)>, LedgerError> {
    let signer = item.get("pk").and_then(|pk| pk.as_s().ok()?.strip_prefix(PREFIX)?.parse().ok());
    let made: Made = from_item("made lists", item)?;
    Ok(signer.map(|signer| (signer, made)))
}

impl Made {
    fn is_whole(&self, now: OffsetDateTime) -> bool {
        self.whole.is_some_and(|whole| now - whole < READ_WHOLE)
    }

    /// The lists that there may be. A root's list of authorities has no number.
    fn takes(&self, list: CrlId) -> bool {
        list.shard().is_none_or(|shard| self.lists.contains(&shard))
    }
}

impl Ledger {
    /// What is on record about all lists of some signers, in no order. One call, and one a hundred lists that were made.
    pub async fn crls(
        &self,
        signers: impl IntoIterator<Item = SignerId>,
        now: OffsetDateTime,
    ) -> Result<Vec<CrlHead>, LedgerError> {
        let signers: BTreeSet<SignerId> = signers.into_iter().collect();
        let keys = signers.iter().copied().map(made_key).collect();
        let made = self.batch_get(keys, "BatchGetItem made lists").await?.into_iter();
        let mut made: BTreeMap<SignerId, Made> =
            made.filter_map(|item| self::made(item).transpose()).collect::<Result<_, _>>()?;
        made.retain(|_, made| made.is_whole(now));
        let keys = signers.iter().copied().flat_map(CrlId::all);
        let keys = keys.filter(|list| made.get(&list.signer()).is_none_or(|made| made.takes(*list))).map(list_key);
        let found = self.batch_get(keys.collect(), "BatchGetItem revocation lists").await?.into_iter();
        let found: Vec<CrlHead> = found.map(|item| from_item("revocation list", item)).collect::<Result<_, _>>()?;
        for signer in signers.into_iter().filter(|signer| !made.contains_key(signer)) {
            let shards = found.iter().filter(|each| each.list.signer() == signer).filter_map(|each| each.list.shard());
            self.note_made(signer, shards, Some(now)).await?;
        }
        Ok(found)
    }

    /// Adds to a signer's lists. `whole`: all that there are were read then.
    pub(crate) async fn note_made(
        &self,
        signer: SignerId,
        shards: impl IntoIterator<Item = u16>,
        whole: Option<OffsetDateTime>,
    ) -> Result<(), LedgerError> {
        let shards: Vec<String> = shards.into_iter().map(|shard| shard.to_string()).collect();
        let mut changes = Vec::new();
        let mut update = self.client.update_item().table_name(self.jobs()?).set_key(Some(made_key(signer)));
        if let Some(whole) = whole {
            changes.push("SET whole = :whole");
            update = update.expression_attribute_values(":whole", number(whole.unix_timestamp()));
        }
        // A set is not empty.
        if !shards.is_empty() {
            changes.push("ADD lists :lists");
            update = update.expression_attribute_values(":lists", AttributeValue::Ns(shards));
        }
        let sent = update.update_expression(changes.join(" ")).send().await;
        sent.map(|_| ()).map_err(LedgerError::aws("UpdateItem made lists"))
    }
}
