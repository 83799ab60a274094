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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use aws_sdk_dynamodb::Client;
    use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
    use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
    use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};

    use super::*;
    use crate::Tables;
    use crate::item::text;

    fn ledger(rules: &[&Rule]) -> Ledger {
        let tables = Tables { access: Some("access".to_owned()), ..Tables::default() };
        Ledger::new(mock_client!(aws_sdk_dynamodb, RuleMode::Sequential, rules), tables)
    }

    fn new(byte: u8) -> CursorKey {
        CursorKey::from_random(Zeroizing::new([byte; CursorKey::LENGTH]))
    }

    fn stored(key: &'static str) -> Rule {
        mock!(Client::get_item).then_output(move || GetItemOutput::builder().item("key", text(key)).build())
    }

    fn none() -> Rule {
        mock!(Client::get_item).then_output(|| GetItemOutput::builder().build())
    }

    const SEVENS: &str = "0707070707070707070707070707070707070707070707070707070707070707";

    #[tokio::test]
    async fn the_first_key_is_stored_and_kept() {
        let put = mock!(Client::put_item)
            .match_requests(|put| {
                put.condition_expression() == Some("attribute_not_exists(id)")
                    && put.item().unwrap()["key"].as_s().unwrap() == SEVENS
            })
            .then_output(|| PutItemOutput::builder().build());
        let ledger = ledger(&[&none(), &put]);
        for later in [7, 8] {
            assert_eq!(ledger.clone().cursor_key(new(later)).await.unwrap().expose(), [7; CursorKey::LENGTH]);
        }
    }

    #[tokio::test]
    async fn another_process_key_is_taken() {
        let taken = mock!(Client::put_item).then_error(|| {
            PutItemError::ConditionalCheckFailedException(ConditionalCheckFailedException::builder().build())
        });
        let key = ledger(&[&none(), &taken, &stored(SEVENS)]);
        assert_eq!(key.cursor_key(new(8)).await.unwrap().expose(), [7; CursorKey::LENGTH]);
    }

    #[tokio::test]
    async fn a_key_of_another_length_is_corrupt_and_not_shown() {
        let error = ledger(&[&stored("0707")]).cursor_key(new(8)).await.unwrap_err();
        assert!(matches!(error, LedgerError::Corrupt { .. }));
        assert!(!format!("{error:?}{:?}", new(7)).contains('7'));
    }
}
