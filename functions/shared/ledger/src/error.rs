//! Errors of the ledger.

use std::error::Error as StdError;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use rootcast_core::device::DeviceId;
use rootcast_core::job::JobId;
use thiserror::Error;
use time::OffsetDateTime;

use crate::authority::SCHEMA;
use crate::retries::is_passing;

#[derive(Debug, Error)]
pub enum LedgerError {
    /// Another writer was faster: read again and decide again.
    #[error("the record was changed by another writer")]
    Conflict,
    /// A write conflict, throttling, a fault or a timeout of DynamoDB that outlasted the client's own retries. The same
    /// call may be repeated later.
    #[error("{operation} failed for a passing reason")]
    Transient { operation: &'static str, source: Box<dyn StdError + Send + Sync> },
    #[error("{operation} failed")]
    Aws { operation: &'static str, source: Box<dyn StdError + Send + Sync> },
    #[error("a record cannot be read: {what}")]
    Corrupt { what: &'static str, source: Box<dyn StdError + Send + Sync> },
    #[error("a record cannot be written: {what}")]
    Unwritable { what: &'static str, source: Box<dyn StdError + Send + Sync> },
    /// A newer version of Rootcast wrote the records. Nothing was decided or written.
    #[error(
        "the records have schema version {schema}, and this version of Rootcast knows {SCHEMA}: deploy the version that wrote them, or a later one"
    )]
    Newer { schema: u32 },
    /// Nothing was written.
    #[error("the record of {what} would have {bytes} bytes, more than DynamoDB takes")]
    TooLarge { what: &'static str, bytes: usize },
    /// The device may not leave the fleet: the rollover waits for its proof. Nothing was written.
    #[error("job {job} waits for device {device}")]
    Awaited { job: JobId, device: DeviceId },
    /// The device may not be deleted: it has a valid certificate, which this caller may not revoke. Nothing was written.
    #[error("device {device} has a valid certificate")]
    Certified { device: DeviceId },
    /// Another device has this address. Nothing was written.
    #[error("device {by} has this address")]
    Claimed { by: DeviceId },
    /// A worker is at the device: what it finds there, or begins, belongs to that address. Nothing was written.
    #[error("a worker is at device {device} until {until} at most")]
    Visited { device: DeviceId, until: OffsetDateTime },
    #[error("the environment variable {0} is not set")]
    Unconfigured(&'static str),
}

impl LedgerError {
    /// Whether the same call may succeed later, without any intervention.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Transient { .. })
    }

    pub(crate) fn aws<E>(operation: &'static str) -> impl FnOnce(SdkError<E>) -> Self
    where
        E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    {
        move |source| match is_passing(&source) {
            true => Self::Transient { operation, source: Box::new(source) },
            false => Self::Aws { operation, source: Box::new(source) },
        }
    }
}
