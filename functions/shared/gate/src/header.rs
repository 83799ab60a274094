//! Headers that are there once.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header's value, where it is there once: of two nobody knows which one another reader took.
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    values.next().filter(|_| values.next().is_none())
}
