//! Which device an address belongs to: a claim, in the jobs table under the address. One device under two ids would be
//! visited twice, and a proof of the one would be no proof of the other.
//!
//! A claim costs two write units when a device is enrolled or deleted, and four when it moves. It counts only while its
//! device is there and has the address: one that a restore left behind is removed by whoever meets it. A device that was
//! enrolled before there were claims has none until its address is edited, or [`Ledger::restore_fleet`] makes it.
//!
//! A device that leaves its address while it works by itself leaves its claim behind, with what it works on: whoever gets
//! the address waits for that as for work of its own.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, Delete, TransactWriteItem};
use rootcast_core::device::{DeviceId, Incarnation, place};
use rootcast_core::job::visit::Working;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::DeviceRecord;
use crate::commit::{Condition, put};
use crate::item::{Item, from_item, job_key, number, text};
use crate::{Ledger, LedgerError};

const PREFIX: &str = "address#";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Claim {
    #[serde(skip_serializing)]
    pk: String,
    claimant: DeviceId,
    /// Of its device when it was made, or left behind.
    incarnation: Incarnation,
    revision: u64,
    /// Only of one that was left behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    working: Option<Working>,
}

impl Claim {
    fn of(device: &DeviceRecord) -> Self {
        let DeviceRecord { id, incarnation, revision, .. } = device;
        Self {
            pk: claimed_by(device),
            claimant: id.clone(),
            incarnation: *incarnation,
            revision: *revision,
            working: None,
        }
    }

    /// What the device at this address may still be doing, which no attempt of its next owner began.
    pub(super) fn working(&self, now: OffsetDateTime) -> Option<Working> {
        let mut working = self.working.clone().filter(|working| !working.is_overdue(now))?;
        working.task.attempt = 0;
        Some(working)
    }

    /// A claim that its device has made anew since it was read, or left behind, is another one.
    fn as_read(&self) -> Condition {
        let (works, since) = working_as_read(self.working.as_ref());
        let values = [
            (":claimant", Some(text(self.claimant.as_str()))),
            (":incarnation", Some(text(self.incarnation.to_string()))),
            (":revision", Some(number(self.revision))),
            (":since", since),
        ];
        let of_claim = "claimant = :claimant AND incarnation = :incarnation AND #revision = :revision";
        Condition {
            expression: format!("{of_claim} AND {works}"),
            names: Some(HashMap::from([("#revision".to_owned(), "revision".to_owned())])),
            values: Some(values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()),
        }
    }
}

/// Who has an address.
#[derive(Debug, Clone)]
pub(crate) enum Holder {
    Device(DeviceId),
    /// Nobody. Its last device left the claim behind.
    Left(Claim),
}

/// What an edit, or a deletion, does to the device's claims.
pub(crate) struct Moved {
    pub(super) writes: Vec<TransactWriteItem>,
    /// What the device at its address may still be doing.
    pub(super) working: Option<Working>,
}

fn claimed_by(device: &DeviceRecord) -> String {
    format!("{PREFIX}{}", place(&device.address, device.profile, device.slot.as_ref()))
}

fn key(claim: &str) -> Item {
    job_key(claim, "claim")
}

impl Ledger {
    /// Other devices that have the address of one of these: by the latter's id.
    pub async fn claimants(
        &self,
        devices: impl IntoIterator<Item = &DeviceRecord>,
    ) -> Result<HashMap<DeviceId, DeviceId>, LedgerError> {
        let held = self.holders_of(devices).await?.into_iter();
        let others = held.filter_map(|(id, holder)| match holder {
            Holder::Device(by) if by != id => Some((id, by)),
            Holder::Device(_) | Holder::Left(_) => None,
        });
        Ok(others.collect())
    }

    /// Who has the addresses of these devices: by the latter's ids.
    pub(super) async fn holders_of(
        &self,
        devices: impl IntoIterator<Item = &DeviceRecord>,
    ) -> Result<HashMap<DeviceId, Holder>, LedgerError> {
        let wanted: Vec<(String, &DeviceId)> =
            devices.into_iter().map(|device| (claimed_by(device), &device.id)).collect();
        let held = self.holders(wanted.iter().map(|(claim, id)| (claim.as_str(), *id))).await?;
        Ok(wanted.into_iter().filter_map(|(claim, id)| Some((id.clone(), held.get(&claim)?.clone()))).collect())
    }

    /// Who holds these claims, each wanted by a device. A claim of another device that is gone, or has another address by
    /// now, is removed, unless it was left behind. One call a hundred, and one for the devices if others hold any.
    async fn holders<'a>(
        &self,
        wanted: impl Iterator<Item = (&'a str, &'a DeviceId)>,
    ) -> Result<HashMap<String, Holder>, LedgerError> {
        let wanted: HashMap<&str, &DeviceId> = wanted.collect();
        let found = self.batch_get(wanted.keys().map(|claim| key(claim)).collect(), "BatchGetItem claims").await?;
        let claims = found.into_iter().map(|item| from_item::<Claim>("claim", item));
        let claims = claims.collect::<Result<Vec<_>, LedgerError>>()?;
        let is_in_doubt = |claim: &&Claim| {
            let is_of_another = wanted.get(claim.pk.as_str()).is_some_and(|own| **own != claim.claimant);
            is_of_another || claim.working.is_some()
        };
        let devices = self.devices_by_id(claims.iter().filter(is_in_doubt).map(|claim| &claim.claimant)).await?;
        let mut held = HashMap::new();
        for claim in claims {
            let counts = || devices.get(&claim.claimant).is_some_and(|device| claimed_by(device) == claim.pk);
            if !is_in_doubt(&&claim) || counts() {
                held.insert(claim.pk, Holder::Device(claim.claimant));
            } else if claim.working.is_some() {
                held.insert(claim.pk.clone(), Holder::Left(claim));
            } else {
                self.remove_stale(&claim).await?;
            }
        }
        Ok(held)
    }

    async fn remove_stale(&self, claim: &Claim) -> Result<(), LedgerError> {
        let Condition { expression, names, values } = claim.as_read();
        let delete = self.client.delete_item().table_name(self.jobs()?).set_key(Some(key(&claim.pk)));
        let delete = delete
            .condition_expression(expression)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values);
        match delete.send().await {
            // The caller's own write finds out what there is now.
            Err(error) if error.as_service_error().is_some_and(|why| why.is_conditional_check_failed_exception()) => {
                Ok(())
            }
            deleted => deleted.map(|_| ()).map_err(LedgerError::aws("DeleteItem claim")),
        }
    }

    /// Refused if another device has the address; a repetition is not. `left`: the claim that was left behind there, as it was
    /// read. Without it, such a claim refuses too.
    pub(crate) fn put_claim(
        &self,
        device: &DeviceRecord,
        left: Option<&Claim>,
    ) -> Result<TransactWriteItem, LedgerError> {
        let free = "attribute_not_exists(pk) OR (claimant = :own AND attribute_not_exists(working))";
        let condition = left.map_or_else(|| if_own(free, &device.id), Claim::as_read);
        let claim = Claim::of(device);
        put(self.jobs()?, "claim", &claim, key(&claim.pk), Some(condition))
    }

    /// Those of these devices whose address nobody has claimed, each with the claim that was left behind there; of two devices
    /// with the same address, one.
    pub(crate) async fn unclaimed<'a>(
        &self,
        devices: &'a [DeviceRecord],
    ) -> Result<Vec<(&'a DeviceRecord, Option<Claim>)>, LedgerError> {
        let of_claim: HashMap<String, &DeviceRecord> =
            devices.iter().map(|device| (claimed_by(device), device)).collect();
        let mut held = self.holders(of_claim.iter().map(|(claim, device)| (claim.as_str(), &device.id))).await?;
        let unclaimed = of_claim.into_iter().filter_map(|(claim, device)| match held.remove(&claim) {
            Some(Holder::Device(_)) => None,
            Some(Holder::Left(claim)) => Some((device, Some(claim))),
            None => Some((device, None)),
        });
        Ok(unclaimed.collect())
    }

    /// What an edit, or a deletion, does to the device's claims: nothing, if its address stays.
    ///
    /// # Errors
    /// [`LedgerError::Claimed`].
    pub(super) async fn move_claim(
        &self,
        before: &DeviceRecord,
        after: Option<&DeviceRecord>,
        now: OffsetDateTime,
    ) -> Result<Moved, LedgerError> {
        let (old, new) = (claimed_by(before), after.map(claimed_by));
        if new.as_ref() == Some(&old) {
            return Ok(Moved { writes: Vec::new(), working: before.working.clone() });
        }
        let held = self.holders([&old].into_iter().chain(&new).map(|claim| (claim.as_str(), &before.id))).await?;
        let mut moved = Moved { writes: Vec::new(), working: before.working.clone() };
        // Nobody knows whether another address, or another slot, is another device: the work stays here and goes along. A
        // device that knows nothing of it says so.
        let behind = before.working.clone().filter(|working| !working.is_overdue(now));
        match (held.get(&old), behind) {
            (None, None) | (Some(Holder::Left(_)), _) => {}
            (Some(Holder::Device(by)), _) if *by != before.id => {}
            (_, Some(working)) => {
                let left = Claim { working: Some(working), ..Claim::of(before) };
                let is_free = if_own("attribute_not_exists(pk) OR claimant = :own", &before.id);
                moved.writes.push(put(self.jobs()?, "claim", &left, key(&left.pk), Some(is_free))?);
            }
            (_, None) => moved.writes.push(self.drop_claim(&old, &before.id)?),
        }
        if let (Some(after), Some(new)) = (after, new) {
            let left = match held.get(&new) {
                Some(Holder::Device(by)) if *by != before.id => return Err(LedgerError::Claimed { by: by.clone() }),
                Some(Holder::Left(claim)) => Some(claim),
                Some(Holder::Device(_)) | None => None,
            };
            moved.working = left.and_then(|claim| claim.working(now)).or(moved.working);
            moved.writes.push(self.put_claim(after, left)?);
        }
        Ok(moved)
    }

    fn drop_claim(&self, claim: &str, own: &DeviceId) -> Result<TransactWriteItem, LedgerError> {
        let delete = Delete::builder()
            .table_name(self.jobs()?)
            .set_key(Some(key(claim)))
            .condition_expression("claimant = :own")
            .expression_attribute_values(":own", text(own.as_str()))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "claim", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }
}

fn if_own(expression: &str, own: &DeviceId) -> Condition {
    let values = HashMap::from([(":own".to_owned(), text(own.as_str()))]);
    Condition { expression: expression.to_owned(), names: None, values: Some(values) }
}

/// The condition for a device to leave its address: it works on the same as when it was read, with the value `:since`, and no
/// worker is there `:now`, as one may note other work.
pub(super) fn leaving_as_read(device: &DeviceRecord) -> (String, Option<AttributeValue>) {
    let (works, since) = working_as_read(device.working.as_ref());
    (format!("{works} AND (attribute_not_exists(lease) OR lease.#until <= :now)"), since)
}

/// The condition that a record says the same about work as when it was read, with its value `:since`.
fn working_as_read(working: Option<&Working>) -> (&'static str, Option<AttributeValue>) {
    match working {
        Some(working) => ("working.since = :since", Some(number(working.since.unix_timestamp()))),
        None => ("attribute_not_exists(working)", None),
    }
}
