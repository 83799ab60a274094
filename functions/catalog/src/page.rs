//! Long answers in pages: `limit` and an opaque `cursor`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rootcast_dialects::lenovo::LenovoError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Paging {
    limit: Option<u32>,
    cursor: Option<String>,
}

impl Paging {
    /// From 1 to `most`; the default is 100, or `most` if that is less.
    pub(crate) fn limit(&self, most: u32) -> Result<u32, LenovoError> {
        match self.limit {
            None => Ok(most.min(100)),
            Some(limit) if (1..=most).contains(&limit) => Ok(limit),
            Some(limit) => Err(LenovoError::invalid(
                format!("limit is {limit}; a page has 1 to {most} rows."),
                "Ask for less, and go on with the cursor that the answer has.",
            )),
        }
    }

    /// Where the previous page ended; `None` for the first page.
    pub(crate) fn place<T: DeserializeOwned>(&self) -> Result<Option<T>, LenovoError> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let place = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|json| serde_json::from_slice(&json).ok());
        place.map(Some).ok_or_else(stale)
    }
}

/// The cursor is malformed, or belongs to another list.
pub(crate) fn stale() -> LenovoError {
    LenovoError::invalid("The cursor is not one of this list.", "Start again without a cursor.")
}

/// base64url (RFC 4648 §5) of the position's JSON.
pub(crate) fn cursor<T: Serialize>(place: &T) -> Result<String, LenovoError> {
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(place).map_err(LenovoError::internal)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use proptest::prelude::*;
    use rootcast_core::device::DeviceId;
    use rootcast_core::job::Cursor;

    use super::*;

    fn paging(cursor: String) -> Paging {
        Paging { limit: None, cursor: Some(cursor) }
    }

    #[test]
    fn limit_must_be_1_to_most() {
        let limit = |limit| Paging { limit, cursor: None }.limit(1000).ok();
        assert_eq!(limit(None), Some(100));
        assert_eq!((limit(Some(1)), limit(Some(1000))), (Some(1), Some(1000)));
        assert_eq!((limit(Some(0)), limit(Some(1001))), (None, None));
    }

    proptest! {
        #[test]
        fn cursors_round_trip(step: u8, after in proptest::option::of("[A-Za-z0-9._-]{1,64}")) {
            let place = Cursor { step, after: after.map(|id| id.parse::<DeviceId>().unwrap()) };
            let text = cursor(&place).unwrap();
            prop_assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
            prop_assert_eq!(paging(text).place::<Cursor>().unwrap(), Some(place));
        }

        #[test]
        fn arbitrary_text_as_cursor_never_panics(text: String) {
            let _ = paging(text).place::<Cursor>();
        }

        #[test]
        fn arbitrary_bytes_as_cursor_never_panic(bytes: Vec<u8>) {
            let _ = paging(URL_SAFE_NO_PAD.encode(bytes)).place::<Cursor>();
        }
    }
}
