//! Parses DER elements of the few structures for which no parser is at hand. Strict: any deviation from X.690 is
//! refused, so that damaged data is never accepted.

use x509_parser::asn1_rs::{Any, Class, FromDer, Oid, Tag};

use super::Secret;

/// The content of one SEQUENCE with nothing after it.
pub(crate) fn sequence(der: &[u8]) -> Option<&[u8]> {
    element(der, Tag::Sequence).filter(|(rest, _)| rest.is_empty()).map(|(_, content)| content)
}

/// The bytes after a universal element, and its content.
pub(crate) fn element(der: &[u8], tag: Tag) -> Option<(&[u8], &[u8])> {
    let (rest, any) = Any::from_der(der).ok()?;
    let constructed = matches!(tag, Tag::Sequence | Tag::Set);
    let fits = any.tag() == tag && any.class() == Class::Universal && any.header.is_constructed() == constructed;
    fits.then_some((rest, any.data))
}

/// The bytes after a context-specific element, and its content. An implicit one is primitive or constructed like its
/// type.
pub(super) fn tagged(der: &[u8], tag: u32, constructed: bool) -> Option<(&[u8], &[u8])> {
    let (rest, any) = Any::from_der(der).ok()?;
    let fits = any.tag().0 == tag && any.class() == Class::ContextSpecific;
    (fits && any.header.is_constructed() == constructed).then_some((rest, any.data))
}

/// OID and parameters of an AlgorithmIdentifier's content.
pub(crate) fn identifier(content: &[u8]) -> Option<(String, Option<Any<'_>>)> {
    let (rest, oid) = element(content, Tag::Oid)?;
    let parameters = match rest {
        [] => None,
        _ => Some(Any::from_der(rest).ok().filter(|(after, _)| after.is_empty())?.1),
    };
    Some((dotted(oid)?, parameters))
}

/// An OID's content as text. `None` if its last number is incomplete.
pub(super) fn dotted(content: &[u8]) -> Option<String> {
    content.last().filter(|last| **last < 0x80)?;
    Some(Oid::new(content.into()).to_id_string())
}

/// The OID in an element.
pub(super) fn oid_of(any: &Any<'_>) -> Option<String> {
    let fits = any.tag() == Tag::Oid && any.class() == Class::Universal && !any.header.is_constructed();
    fits.then(|| dotted(any.data))?
}

/// Tag, length (X.690 §10.1) and content.
pub(crate) fn tlv(tag: u8, content: &[&[u8]]) -> Secret {
    let length = content.iter().map(|part| part.len()).sum::<usize>();
    let bytes = length.to_be_bytes();
    let from = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
    let bytes = &bytes[from..];
    let mut der = Secret::new(Vec::with_capacity(2 + bytes.len() + length));
    der.push(tag);
    if length >= 0x80 {
        der.push(0x80 | u8::try_from(bytes.len()).unwrap_or(8));
    }
    der.extend_from_slice(bytes);
    for part in content {
        der.extend_from_slice(part);
    }
    der
}
