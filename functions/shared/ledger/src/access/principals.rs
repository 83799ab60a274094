//! Principals: API users, each with any number of credentials.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use rootcast_core::access::password::PasswordHash;
use rootcast_core::access::permission::Grants;
use rootcast_core::access::principal::PrincipalName;
use rootcast_core::access::second::{Party, Person};
use rootcast_core::audit::{Act, Action, Actor, Name, Subject};
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::commit::{Condition, put};
use crate::item::{id_key, text, to_item};
use crate::{Ledger, LedgerError};

const PREFIX: &str = "principal#";

/// Has no expiry: a principal is only deleted explicitly.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PrincipalRecord {
    /// `None` if the principal has no password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordHash>,
    #[serde(default)]
    pub grants: Grants,
    /// A random number, copied into access keys and identities. Those of an earlier principal of the same name are
    /// invalid.
    pub epoch: u64,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
    /// Whose principal it is. `None`: its own name stands for the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
    /// Whoever made it or set its password through the API. With AWS credentials, nobody is recorded.
    #[serde(default, with = "serde_dynamo::string_set", skip_serializing_if = "BTreeSet::is_empty")]
    pub made_by: BTreeSet<Person>,
}

/// One page of principals.
#[derive(Debug, Clone, Default)]
pub struct PrincipalsPage {
    pub principals: BTreeMap<PrincipalName, PrincipalRecord>,
    /// Where the next page starts.
    pub next: Option<String>,
}

impl PrincipalRecord {
    /// The principal as a person.
    pub fn party(&self, name: &PrincipalName) -> Party {
        Party {
            name: name.clone(),
            epoch: self.epoch,
            person: self.person.clone().unwrap_or_else(|| name.into()),
            made_by: self.made_by.clone(),
        }
    }

    /// Copied into grants and sessions from a password login. Changes with the password, which makes them invalid.
    pub fn login_epoch(&self) -> Option<u64> {
        let password = String::from(self.password.clone()?);
        let hash = Fingerprint::of(format!("{}:{password}", self.epoch).as_bytes());
        hash.as_bytes().first_chunk().map(|first| u64::from_be_bytes(*first))
    }
}

impl Ledger {
    pub async fn principal(&self, name: &PrincipalName) -> Result<Option<PrincipalRecord>, LedgerError> {
        self.access_record("principal", "GetItem principal", principal_id(name)).await
    }

    /// `by`: for the principal's audit chain, as in what follows.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the name is taken.
    pub async fn put_principal(
        &self,
        name: &PrincipalName,
        record: &PrincipalRecord,
        by: &Actor,
    ) -> Result<(), LedgerError> {
        let act = Act::new(chain(name), Action::Create, by, record.created).with("password", record.password.is_some());
        let act = act.changing("grants", None, told(&record.grants).as_deref());
        let act = act.with("person", record.party(name).person);
        let act = record.made_by.iter().fold(act, |act, maker| act.with("madeBy", maker));
        let key = id_key(principal_id(name));
        let put = put(self.access()?, "principal", record, key, Some(Condition::absent("id")))?;
        self.write_audited(put, &act).await
    }

    /// Returns whether the principal existed. Its credentials, grants and tokens become invalid.
    pub async fn remove_principal(
        &self,
        name: &PrincipalName,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<bool, LedgerError> {
        let act = Act::new(chain(name), Action::Delete, by, now);
        self.remove_audited("principal", principal_id(name), &act).await
    }

    /// Sets or changes a principal's password. `by`: who did it through the API, and is recorded.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if there is no principal of this name.
    pub async fn change_password(
        &self,
        name: &PrincipalName,
        password: &PasswordHash,
        person: Option<&Person>,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), LedgerError> {
        let act = Act::new(chain(name), Action::ChangePassword, by, now);
        self.change(name, "password", text(String::from(password.clone())), person, &act).await
    }

    /// Says whose principal it is.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if there is no principal of this name.
    pub async fn change_person(
        &self,
        name: &PrincipalName,
        person: &Person,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), LedgerError> {
        let before = self.principal(name).await?.ok_or(LedgerError::Conflict)?.party(name).person.to_string();
        let after = person.to_string();
        let act = Act::new(chain(name), Action::Edit, by, now).changing("person", Some(&before), Some(&after));
        self.change(name, "person", text(person.to_string()), None, &act).await
    }

    /// Replaces a principal's grants.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if there is no principal of this name.
    pub async fn change_grants(
        &self,
        name: &PrincipalName,
        grants: &Grants,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), LedgerError> {
        let acts = Act::new(chain(name), Action::Grant, by, now).saying("grants", &told(grants).unwrap_or_default());
        self.change_in_parts(name, "grants", AttributeValue::M(to_item("grants", grants)?), None, &acts).await
    }

    async fn change(
        &self,
        name: &PrincipalName,
        field: &str,
        to: AttributeValue,
        person: Option<&Person>,
        act: &Act,
    ) -> Result<(), LedgerError> {
        self.change_in_parts(name, field, to, person, std::slice::from_ref(act)).await
    }

    async fn change_in_parts(
        &self,
        name: &PrincipalName,
        field: &str,
        to: AttributeValue,
        person: Option<&Person>,
        acts: &[Act],
    ) -> Result<(), LedgerError> {
        let update = Update::builder().table_name(self.access()?).set_key(Some(id_key(principal_id(name))));
        let update = match person {
            Some(person) => update
                .update_expression("SET #field = :to ADD made_by :by")
                .expression_attribute_values(":by", AttributeValue::Ss(vec![person.to_string()])),
            None => update.update_expression("SET #field = :to"),
        };
        let update = update
            .condition_expression("attribute_exists(id)")
            .expression_attribute_names("#field", field)
            .expression_attribute_values(":to", to)
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "principal", source: Box::new(source) })?;
        self.write_audited_in_parts(TransactWriteItem::builder().update(update).build(), acts).await
    }

    /// One page of principals, in no order. A page may be empty without being the last. One call.
    pub async fn principals_page(&self, after: Option<&str>) -> Result<PrincipalsPage, LedgerError> {
        let (principals, next) = self.access_page("principal", "Scan principals", PREFIX, after).await?;
        Ok(PrincipalsPage { principals: principals.into_iter().collect(), next })
    }

    /// All principals. For operators, not for request paths.
    pub async fn principals(&self) -> Result<BTreeMap<PrincipalName, PrincipalRecord>, LedgerError> {
        self.access_records("principal", PREFIX).await
    }
}

/// The principal's audit chain.
pub(super) fn chain(name: &PrincipalName) -> Subject {
    Subject::Principal(Name::of(&name.to_string()))
}

fn told(grants: &Grants) -> Option<String> {
    serde_json::to_string(grants).ok()
}

pub(super) fn principal_id(name: &PrincipalName) -> String {
    format!("{PREFIX}{name}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use rootcast_core::access::permission::Role;

    use super::*;
    use crate::item::{from_item, to_item};

    const PASSWORD: &str = "correct horse battery staple";

    fn record() -> PrincipalRecord {
        PrincipalRecord {
            password: Some(PasswordHash::of(PASSWORD, [7; 16]).unwrap()),
            grants: Role::Administrator.into(),
            epoch: u64::MAX,
            created: OffsetDateTime::UNIX_EPOCH,
            person: None,
            made_by: BTreeSet::new(),
        }
    }

    #[test]
    fn a_principal_round_trips_and_never_expires() {
        let record = record();
        let mut item = to_item("principal", &record).unwrap();
        assert!(!item.contains_key("expires"), "DynamoDB would remove it");
        item.extend(id_key(principal_id(&"ops".parse().unwrap())));
        let back: PrincipalRecord = from_item("principal", item).unwrap();
        assert_eq!((back.login_epoch(), back.epoch), (record.login_epoch(), u64::MAX));
        assert_eq!((back.password, back.grants), (record.password, record.grants));
    }

    #[test]
    fn a_principal_is_its_own_person_unless_another_is_said() {
        let name = "Ops".parse().unwrap();
        let old = from_item::<PrincipalRecord>("principal", to_item("principal", &record()).unwrap()).unwrap();
        assert_eq!((old.party(&name).person.to_string(), old.made_by.len()), ("ops".to_owned(), 0));
        let (person, made_by): (Person, BTreeSet<_>) = ("jane".parse().unwrap(), ["root".parse().unwrap()].into());
        let said = PrincipalRecord { person: Some(person.clone()), made_by: made_by.clone(), ..record() };
        let item = to_item("principal", &said).unwrap();
        assert!(matches!(item["made_by"], AttributeValue::Ss(_)), "so that it can be added to");
        let party = from_item::<PrincipalRecord>("principal", item).unwrap().party(&name);
        assert_eq!((party.person, party.made_by), (person, made_by));
    }

    #[test]
    fn the_login_epoch_depends_on_password_and_principal() {
        let same_password_anew = PasswordHash::of(PASSWORD, [8; 16]).unwrap();
        let epochs = [
            record().login_epoch(),
            PrincipalRecord { password: Some(same_password_anew), ..record() }.login_epoch(),
            PrincipalRecord { epoch: 7, ..record() }.login_epoch(),
        ];
        assert!(epochs.iter().all(Option::is_some));
        assert_eq!(epochs.into_iter().collect::<BTreeSet<_>>().len(), 3);
        assert_eq!(PrincipalRecord { password: None, ..record() }.login_epoch(), None);
    }
}
