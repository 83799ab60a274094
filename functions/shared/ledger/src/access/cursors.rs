//! The key that seals the cursors of lists. It is made once, by the first function that needs it, and never expires.
//! Without the record a new key is made, and earlier cursors are not valid any more.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Ledger, LedgerError};

const ID: &str = "cursors";

/// A key of AES-256.
#[derive(Clone)]
pub struct CursorKey(Zeroizing<[u8; CursorKey::LENGTH]>);

#[derive(Serialize, Deserialize)]
struct Record {
    /// Hexadecimal.
    key: String,
}

impl CursorKey {
    /// In bytes.
    pub const LENGTH: usize = 32;

    pub const fn from_random(random: Zeroizing<[u8; Self::LENGTH]>) -> Self {
        Self(random)
    }

    pub fn expose(&self) -> &[u8] {
        &*self.0
    }
}

/// Does not print the key.
impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CursorKey")
    }
}

impl Ledger {
    /// The installation's key, which is `new` if there is none yet. One call for each process.
    pub async fn cursor_key(&self, new: CursorKey) -> Result<&CursorKey, LedgerError> {
        self.cursor_key.get_or_try_init(|| self.shared_cursor_key(new)).await
    }

    async fn shared_cursor_key(&self, new: CursorKey) -> Result<CursorKey, LedgerError> {
        if let Some(stored) = self.stored_cursor_key().await? {
            return Ok(stored);
        }
        let record = Record { key: hex::encode(new.expose()) };
        match self.put_access_record("cursor key", "PutItem cursor key", ID.to_owned(), &record).await {
            Ok(()) => Ok(new),
            // Another process was faster, or an answer was lost.
            Err(LedgerError::Conflict) => self.stored_cursor_key().await?.ok_or(LedgerError::Conflict),
            Err(error) => Err(error),
        }
    }

    async fn stored_cursor_key(&self) -> Result<Option<CursorKey>, LedgerError> {
        let Some(Record { key }) = self.access_record("cursor key", "GetItem cursor key", ID.to_owned()).await? else {
            return Ok(None);
        };
        let mut bytes = Zeroizing::new([0; CursorKey::LENGTH]);
        hex::decode_to_slice(&key, &mut *bytes)
            .map_err(|_| LedgerError::Corrupt { what: "cursor key", source: "it is not 32 bytes".into() })?;
        Ok(Some(CursorKey(bytes)))
    }
}
