//! What goes wrong with the ledger.

use std::error::Error as StdError;

use aws_sdk_dynamodb::error::SdkError;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum LedgerError {
    /// Somebody else wrote first: load again and decide again.
    #[error("the record was changed by another writer")]
    Conflict,
    /// The call may be repeated as it is.
    #[error("{operation} failed for a passing reason")]
    Transient { operation: &'static str, source: Box<dyn StdError + Send + Sync> },
    #[error("{operation} failed")]
    Aws { operation: &'static str, source: Box<dyn StdError + Send + Sync> },
    #[error("a record cannot be read: {what}")]
    Corrupt { what: &'static str, source: Box<dyn StdError + Send + Sync> },
    #[error("a record cannot be written: {what}")]
    Unwritable { what: &'static str, source: Box<dyn StdError + Send + Sync> },
    #[error("the environment variable {0} is not set")]
    Unconfigured(&'static str),
}

impl LedgerError {
    pub(crate) fn aws<E>(operation: &'static str) -> impl FnOnce(SdkError<E>) -> Self
    where
        E: StdError + Send + Sync + 'static,
    {
        move |source| Self::Aws { operation, source: Box::new(source) }
    }
}
