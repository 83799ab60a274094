//! Certificates that expire soon.

use rootcast_core::inventory::dn::{CertificateDn, device_of_application};
use rootcast_core::inventory::id::{CertificateId, policy_dn};
use serde::Deserialize;
use time::OffsetDateTime;

use crate::item::{Item, from_item, id_key, number};
use crate::{Ledger, LedgerError};

/// Index of certificates by expiry, per shard.
const BY_EXPIRY: &str = "by-expiry";

/// The attributes of that index.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expiring {
    pub id: CertificateId,
    pub folder: String,
    pub name: String,
    #[serde(with = "time::serde::timestamp")]
    pub not_after: OffsetDateTime,
    #[serde(default)]
    pub uses: u64,
    #[serde(default)]
    pub noticed: Option<u16>,
}

impl Expiring {
    pub fn dn(&self) -> String {
        policy_dn(&self.folder, &self.name)
    }

    /// Whether it has the name of a device's own certificate.
    fn is_named_own(&self) -> bool {
        let dn = self.dn();
        let device = dn.rsplit_once('\\').and_then(|(application, _)| device_of_application(application));
        device.is_some_and(|device| CertificateDn::of_device(&device).to_string() == dn)
    }
}

impl Ledger {
    /// One page of the shard's certificates that expire in this period, including both ends, and where the next page
    /// starts.
    pub async fn expiring(
        &self,
        shard: u8,
        from: OffsetDateTime,
        to: OffsetDateTime,
        after: Option<Item>,
    ) -> Result<(Vec<Expiring>, Option<Item>), LedgerError> {
        let answer = self
            .client
            .query()
            .table_name(self.certificates()?)
            .index_name(BY_EXPIRY)
            .key_condition_expression("#shard = :shard AND notAfter BETWEEN :from AND :to")
            .expression_attribute_names("#shard", "shard") // a reserved word
            .expression_attribute_values(":shard", number(shard))
            .expression_attribute_values(":from", number(from.unix_timestamp()))
            .expression_attribute_values(":to", number(to.unix_timestamp()))
            .set_exclusive_start_key(after)
            .send()
            .await
            .map_err(LedgerError::aws("Query by-expiry"))?;
        let items = answer.items.unwrap_or_default().into_iter().map(|item| from_item("certificate", item));
        Ok((items.collect::<Result<_, _>>()?, answer.last_evaluated_key))
    }

    /// Records that an event was sent this many days before expiry. Does nothing if the certificate no longer exists,
    /// or a later event was recorded.
    ///
    /// A device's own certificate from before there were times of renewal is due with its notice.
    pub async fn notice(&self, certificate: &Expiring, days: u16, now: OffsetDateTime) -> Result<(), LedgerError> {
        let update = self.client.update_item().table_name(self.certificates()?);
        let update = update.set_key(Some(id_key(certificate.id.to_string())));
        let update = match certificate.is_named_own() {
            true => update
                .update_expression("SET noticed = :days, renewAt = if_not_exists(renewAt, :now)")
                .expression_attribute_values(":now", number(now.unix_timestamp())),
            false => update.update_expression("SET noticed = :days"),
        };
        let noticed = update
            .condition_expression("attribute_exists(id) AND (attribute_not_exists(noticed) OR noticed > :days)")
            .expression_attribute_values(":days", number(days))
            .send()
            .await;
        match noticed {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(service) if service.is_conditional_check_failed_exception() => Ok(()),
                _ => Err(LedgerError::aws("UpdateItem notice")(error)),
            },
        }
    }
}
