//! `rootcast access list`.

use anyhow::{Context, Result};
use rootcast_core::access::identity::Identity;
use rootcast_core::access::principal::PrincipalName;
use rootcast_ledger::{AccessKeyId, AccessKeyRecord, IdentityRecord, Ledger, PrincipalRecord};
use serde_json::json;
use std::collections::BTreeMap;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    allowed::told,
    exit::End,
    output::{self, Format, out},
};

/// Everything in the access table that is not short-lived, such as a session.
struct All {
    principals: BTreeMap<PrincipalName, PrincipalRecord>,
    keys: BTreeMap<AccessKeyId, AccessKeyRecord>,
    identities: BTreeMap<Identity, IdentityRecord>,
}

pub(super) async fn run(ledger: &Ledger, format: Format) -> Result<End> {
    let read = async || {
        let (principals, keys, identities) =
            tokio::try_join!(ledger.principals(), ledger.access_keys(), ledger.identities())?;
        anyhow::Ok(All { principals, keys, identities })
    };
    let all = read().await.context("the access table could not be read with your AWS credentials")?;
    match format {
        Format::Json => all.principals.iter().try_for_each(|(name, record)| output::json(&all.shown(name, record)?))?,
        Format::Text => {
            let rows = all.principals.iter().map(|(name, record)| all.row(name, record)).collect::<Result<Vec<_>>>()?;
            out!("{}", output::table(["name", "created", "may", "proven by"], &rows));
        }
    }
    Ok(End::Done)
}

impl All {
    fn keys_of(
        &self,
        name: &PrincipalName,
        record: &PrincipalRecord,
    ) -> impl Iterator<Item = (&AccessKeyId, &AccessKeyRecord)> {
        let now = OffsetDateTime::now_utc();
        self.keys.iter().filter(move |(_, key)| {
            key.principal == *name && key.epoch == record.epoch && key.expires.is_none_or(|expires| now < expires)
        })
    }

    fn identities_of(&self, name: &PrincipalName, record: &PrincipalRecord) -> impl Iterator<Item = &Identity> {
        let his = |(_, bound): &(&Identity, &IdentityRecord)| bound.principal == *name && bound.epoch == record.epoch;
        self.identities.iter().filter(his).map(|(identity, _)| identity)
    }

    fn row(&self, name: &PrincipalName, record: &PrincipalRecord) -> Result<[String; 4]> {
        let password = record.password.iter().map(|_| "password".to_owned());
        let keys = self.keys_of(name, record).map(|(id, _)| id.to_string());
        let ways: Vec<_> =
            password.chain(keys).chain(self.identities_of(name, record).map(Identity::to_string)).collect();
        Ok([name.to_string(), at(record.created)?, told(&record.grants), ways.join(" ")])
    }

    /// Without the password's hash.
    fn shown(&self, name: &PrincipalName, record: &PrincipalRecord) -> Result<serde_json::Value> {
        let key = |(id, key): (&AccessKeyId, &AccessKeyRecord)| {
            let expires = key.expires.map(at).transpose()?;
            Ok(json!({ "access_key": id.to_string(), "created": at(key.created)?, "expires": expires }))
        };
        Ok(json!({
            "name": name,
            "grants": record.grants,
            "created": at(record.created)?,
            "password": record.password.is_some(),
            "access_keys": self.keys_of(name, record).map(key).collect::<Result<Vec<_>>>()?,
            "identities": self.identities_of(name, record).collect::<Vec<_>>(),
        }))
    }
}

/// RFC 3339, in whole seconds.
fn at(time: OffsetDateTime) -> Result<String> {
    Ok(time.replace_nanosecond(0)?.format(&Rfc3339)?)
}
