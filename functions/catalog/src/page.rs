//! Long answers in pages: `limit` and an opaque `cursor`.

use rootcast_dialects::lenovo::LenovoError;
use rootcast_gate::Cursors;
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

    /// Where the previous page of the list ended; `None` for the first page.
    pub(crate) async fn place<T: DeserializeOwned>(&self, list: Cursors<'_>) -> Result<Option<T>, LenovoError> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        list.open(cursor).await?.map(Some).ok_or_else(stale)
    }

    /// For a list that is never longer than one page.
    pub(crate) fn is_first(&self) -> Result<(), LenovoError> {
        if self.cursor.is_none() { Ok(()) } else { Err(stale()) }
    }
}

/// The cursor is malformed, or belongs to another list or caller.
pub(crate) fn stale() -> LenovoError {
    LenovoError::invalid("The cursor is not one of this list.", "Start again without a cursor.")
}

/// The cursor of the position where the next page begins, if there is one.
pub(crate) async fn cursor<T: Serialize>(list: Cursors<'_>, next: Option<&T>) -> Result<Option<String>, LenovoError> {
    match next {
        Some(place) => Ok(Some(list.seal(place).await?)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_must_be_1_to_most() {
        let limit = |limit| Paging { limit, cursor: None }.limit(1000).ok();
        assert_eq!(limit(None), Some(100));
        assert_eq!((limit(Some(1)), limit(Some(1000))), (Some(1), Some(1000)));
        assert_eq!((limit(Some(0)), limit(Some(1001))), (None, None));
    }
}
