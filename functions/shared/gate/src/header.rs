//! Headers that occur exactly once.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header's value, if the header occurs exactly once: of two values, another reader may have used the other one.
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    values.next().filter(|_| values.next().is_none())
}
