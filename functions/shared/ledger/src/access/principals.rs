//! Who may log in with a password.

use std::collections::BTreeMap;

use rootcast_core::password::PasswordHash;
use rootcast_core::permission::Grants;
use rootcast_core::principal::PrincipalName;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::item::{from_item, id_key, text};
use crate::{Ledger, LedgerError};

const PREFIX: &str = "principal#";

/// It never expires; it is removed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PrincipalRecord {
    pub password: PasswordHash,
    #[serde(default)]
    pub grants: Grants,
    /// A random number that every grant repeats: those of one who had the same name before hold nothing.
    pub epoch: u64,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
}

/// What a list shows; not the password's hash.
#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(flatten)]
    record: PrincipalRecord,
}

impl Ledger {
    pub async fn principal(&self, name: &PrincipalName) -> Result<Option<PrincipalRecord>, LedgerError> {
        self.access_record("principal", "GetItem principal", principal_id(name)).await
    }

    /// # Errors
    /// [`LedgerError::Conflict`] where there is one of that name.
    pub async fn put_principal(&self, name: &PrincipalName, record: &PrincipalRecord) -> Result<(), LedgerError> {
        self.put_access_record("principal", "PutItem principal", principal_id(name), record).await
    }

    /// Answers whether there was one. What was granted to it holds nothing from now on.
    pub async fn remove_principal(&self, name: &PrincipalName) -> Result<bool, LedgerError> {
        let delete = self.client.delete_item().table_name(self.access()?).set_key(Some(id_key(principal_id(name))));
        match delete.condition_expression("attribute_exists(id)").send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|why| why.is_conditional_check_failed_exception()) => {
                Ok(false)
            }
            Err(error) => Err(LedgerError::aws("DeleteItem principal")(error)),
        }
    }

    /// All of them. Reads the whole table, in which principals are few: for an operator, and not for a request.
    pub async fn principals(&self) -> Result<BTreeMap<PrincipalName, PrincipalRecord>, LedgerError> {
        let scan = self.client.scan().table_name(self.access()?).consistent_read(true);
        let scan = scan.filter_expression("begins_with(id, :prefix)");
        let mut items = scan.expression_attribute_values(":prefix", text(PREFIX)).into_paginator().items().send();
        let mut found = BTreeMap::new();
        while let Some(item) = items.next().await {
            let listed: Listed = from_item("principal", item.map_err(LedgerError::aws("Scan principals"))?)?;
            let name = listed.id.trim_start_matches(PREFIX).parse();
            let name = name.map_err(|error| LedgerError::Corrupt { what: "principal", source: Box::new(error) })?;
            found.insert(name, listed.record);
        }
        Ok(found)
    }
}

pub(super) fn principal_id(name: &PrincipalName) -> String {
    format!("{PREFIX}{name}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use rootcast_core::permission::Role;

    use super::*;
    use crate::item::to_item;

    #[test]
    fn a_principal_comes_back_as_it_was_written_and_never_expires() {
        let record = PrincipalRecord {
            password: PasswordHash::of("correct horse battery staple", [7; 16]).unwrap(),
            grants: Role::Administrator.into(),
            epoch: u64::MAX,
            created: OffsetDateTime::UNIX_EPOCH,
        };
        let mut item = to_item("principal", &record).unwrap();
        assert!(!item.contains_key("expires"), "DynamoDB would remove it");
        item.extend(id_key(principal_id(&"ops".parse().unwrap())));
        let back: Listed = from_item("principal", item).unwrap();
        assert_eq!((back.id.as_str(), back.record.epoch), ("principal#ops", u64::MAX));
        assert_eq!((back.record.password, back.record.grants), (record.password, record.grants));
    }
}
