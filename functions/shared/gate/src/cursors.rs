//! The cursors of lists. A cursor is the position at which the next page begins, which may be the id of an object that
//! the caller may not see. So it is sealed: no caller can read a cursor, or make one.
//!
//! The key ([`Ledger::cursor_key`]) is made once. Whoever can read its table could also read the ids, so it protects
//! them from callers of the API, and from nobody else.

use aws_lc_rs::aead::{AES_256_GCM, Aad, MAX_TAG_LEN, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rootcast_ledger::{CursorKey, Ledger};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::principal::Principal;
use crate::refusal::Refusal;

/// In bytes. A position is filled up to a multiple of this, so that a cursor's length does not say how long an id is.
const BLOCK: usize = 128;
/// In characters. No cursor of ours is longer.
const LONGEST: usize = 4096;

/// The cursors of one list for one caller. Those of another list or caller are not valid.
#[derive(Debug, Clone, Copy)]
pub struct Cursors<'a> {
    pub ledger: &'a Ledger,
    pub caller: &'a Principal,
    /// The list's name, without a line break.
    pub list: &'a str,
}

impl Cursors<'_> {
    /// The cursor of a position: base64url (RFC 4648 §5) of nonce and ciphertext.
    pub async fn seal<T: Serialize>(&self, place: &T) -> Result<String, Refusal> {
        let mut text = serde_json::to_vec(place).map_err(Refusal::internal)?;
        // JSON may end with spaces.
        text.resize(text.len().next_multiple_of(BLOCK), b' ');
        let key = self.key().await?;
        let nonce = key.seal_in_place_append_tag(self.context(), &mut text).map_err(Refusal::internal)?;
        Ok(URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &text].concat()))
    }

    /// The position of a cursor; `None` if it is not one of this list for this caller.
    pub async fn open<T: DeserializeOwned>(&self, cursor: &str) -> Result<Option<T>, Refusal> {
        let sealed = Some(cursor).filter(|text| text.len() <= LONGEST).map(|text| URL_SAFE_NO_PAD.decode(text));
        let Some(Ok(mut sealed)) = sealed else { return Ok(None) };
        if sealed.len() < NONCE_LEN + BLOCK + MAX_TAG_LEN {
            return Ok(None);
        }
        let mut text = sealed.split_off(NONCE_LEN);
        let Ok(nonce) = Nonce::try_assume_unique_for_key(&sealed) else { return Ok(None) };
        let opened = self.key().await?.open_in_place(nonce, self.context(), &mut text);
        Ok(opened.ok().and_then(|text| serde_json::from_slice(text).ok()))
    }

    async fn key(&self) -> Result<RandomizedNonceKey, Refusal> {
        let mut random = Zeroizing::new([0; CursorKey::LENGTH]);
        rand::fill(&mut *random).map_err(Refusal::internal)?;
        let key = self.ledger.cursor_key(CursorKey::from_random(random)).await?;
        RandomizedNonceKey::new(&AES_256_GCM, key.expose()).map_err(Refusal::internal)
    }

    fn context(&self) -> Aad<String> {
        Aad::from(format!("{}\n{}", self.list, self.caller.name))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use aws_sdk_dynamodb::Client;
    use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
    use aws_sdk_dynamodb::types::AttributeValue;
    use aws_smithy_mocks::{RuleMode, mock, mock_client};
    use proptest::prelude::*;
    use rootcast_ledger::Tables;
    use serde_json::Value;

    use super::*;

    fn ledger(key: u8) -> Ledger {
        let stored = mock!(Client::get_item).match_requests(|request| request.table_name() == Some("access"));
        let stored = stored.then_output(move || {
            let key = AttributeValue::S(hex::encode([key; CursorKey::LENGTH]));
            GetItemOutput::builder().item("key", key).build()
        });
        let dynamodb = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&stored]);
        Ledger::new(dynamodb, Tables { access: Some("access".to_owned()), ..Tables::default() })
    }

    fn caller(name: &str) -> Principal {
        Principal::unknown(name, Default::default())
    }

    #[tokio::test]
    async fn a_cursor_is_valid_for_its_list_and_caller_only() {
        let (ours, other) = (ledger(7), ledger(8));
        let (jane, john) = (caller("Jane"), caller("jane"));
        let list = Cursors { ledger: &ours, caller: &jane, list: "devices" };
        let cursor = list.seal(&"hidden-device").await.unwrap();
        assert_eq!(list.open::<String>(&cursor).await.unwrap().as_deref(), Some("hidden-device"));
        for elsewhere in [
            Cursors { list: "jobs", ..list },
            Cursors { list: "device", ..list },
            Cursors { caller: &john, ..list },
            Cursors { ledger: &other, ..list },
        ] {
            assert_eq!(elsewhere.open::<String>(&cursor).await.unwrap(), None, "{}", elsewhere.list);
        }
    }

    #[tokio::test]
    async fn a_cursor_neither_shows_nor_measures_its_position() {
        let (ours, jane) = (ledger(7), caller("jane"));
        let list = Cursors { ledger: &ours, caller: &jane, list: "devices" };
        let (short, long) = (list.seal(&"a").await.unwrap(), list.seal(&"hidden".repeat(10)).await.unwrap());
        assert_eq!(short.len(), long.len());
        assert_ne!(short, list.seal(&"a").await.unwrap());
        let shown = String::from_utf8_lossy(&URL_SAFE_NO_PAD.decode(&long).unwrap()).into_owned();
        assert!(!long.contains("hidden") && !shown.contains("hidden"));
        assert!(long.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
    }

    #[tokio::test]
    async fn a_changed_or_invented_cursor_is_not_valid() {
        let (ours, jane) = (ledger(7), caller("jane"));
        let list = Cursors { ledger: &ours, caller: &jane, list: "devices" };
        let sealed = URL_SAFE_NO_PAD.decode(list.seal(&"a").await.unwrap()).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(list.open::<String>(&URL_SAFE_NO_PAD.encode(changed)).await.unwrap(), None, "{at}");
        }
        let plain = URL_SAFE_NO_PAD.encode(format!("{:300}", r#""a""#));
        for invented in
            ["", "!", "e30", "ImEi", &plain, &"A".repeat(LONGEST + 1), &URL_SAFE_NO_PAD.encode(&sealed[..99])]
        {
            assert_eq!(list.open::<String>(invented).await.unwrap(), None, "{invented}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn positions_round_trip(place: (u8, Option<String>), noise: Vec<u8>) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (ours, jane) = (ledger(7), caller("jane"));
            let list = Cursors { ledger: &ours, caller: &jane, list: "devices" };
            runtime.block_on(async {
                let cursor = list.seal(&place).await.unwrap();
                if cursor.len() <= LONGEST {
                    prop_assert_eq!(list.open::<(u8, Option<String>)>(&cursor).await.unwrap(), Some(place));
                }
                prop_assert_eq!(list.open::<Value>(&URL_SAFE_NO_PAD.encode(noise)).await.unwrap(), None);
                Ok(())
            })?;
        }
    }
}
